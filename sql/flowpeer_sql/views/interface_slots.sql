-- Traffic per slot, interface and direction
--
-- External interfaces and unknown ones; scaled bytes, their rate in bit/s, the interface's name,
-- capacity and use of it (fraction). Slots without traffic have no row.

CREATE OR REPLACE VIEW interface_slots AS
WITH sums AS (  -- qualified: a macro that reads the view may have a parameter of a column's name
    SELECT t.slot, t.metro, t.exporter, t.interface, t.role, t.provider_asn, t.direction,
        sum(t.bytes)::BIGINT AS bytes, sum(t.packets)::BIGINT AS packets, t.date, t.hour
    FROM traffic t
    WHERE t.scaled AND t.role IN ('transit', 'peer', 'ix', 'customer', 'unknown')
    GROUP BY t.slot, t.metro, t.exporter, t.interface, t.role, t.provider_asn, t.direction, t.date,
        t.hour
)
SELECT s.slot, s.metro, s.exporter, s.interface, i.name, s.role, s.provider_asn, s.direction,
    s.bytes, s.packets, s.bytes::DOUBLE * 8 / 300 AS rate_bps, i.capacity_bps,
    s.bytes::DOUBLE * 8 / 300 / nullif(i.capacity_bps, 0) AS utilisation, s.date, s.hour
FROM sums s
LEFT JOIN (
    SELECT exporter, interface, name, capacity_bps, valid_from, valid_until FROM interfaces
) i ON i.exporter = s.exporter AND i.interface = s.interface
    AND s.slot >= coalesce(i.valid_from, TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND s.slot < coalesce(i.valid_until, TIMESTAMPTZ '9999-12-31 00:00:00+00');
