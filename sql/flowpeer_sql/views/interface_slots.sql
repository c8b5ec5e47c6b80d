-- Traffic per slot, interface and direction
--
-- External interfaces and unknown ones; scaled bytes, their rate in bit/s, the interface's name,
-- capacity and use of it (fraction). Slots without traffic have no row.

CREATE OR REPLACE VIEW interface_slots AS
WITH sums AS (
    SELECT slot, metro, exporter, interface, role, provider_asn, direction,
        sum(bytes)::BIGINT AS bytes, sum(packets)::BIGINT AS packets,
        date, hour
    FROM traffic
    WHERE scaled AND role IN ('transit', 'peer', 'ix', 'customer', 'unknown')
    GROUP BY slot, metro, exporter, interface, role, provider_asn, direction, date, hour
)
SELECT s.slot, s.metro, s.exporter, s.interface, i.name, s.role, s.provider_asn, s.direction,
    s.bytes, s.packets, s.bytes::DOUBLE * 8 / 300 AS rate_bps, i.capacity_bps,
    s.bytes::DOUBLE * 8 / 300 / nullif(i.capacity_bps, 0) AS utilisation, s.date, s.hour
FROM sums s
LEFT JOIN (SELECT exporter, interface, name, capacity_bps FROM interfaces) i
    USING (exporter, interface);
