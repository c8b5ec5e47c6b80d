-- Transit per slot, metro, provider and direction
--
-- bytes of the slot, their rate in bit/s, the provider's capacity in the metro and how much of it
-- is used (fraction). Slots without traffic have no row.
-- Needs: transit, providers

CREATE OR REPLACE VIEW provider_slots AS
WITH sums AS (
    SELECT slot, metro, provider_asn, direction,
        sum(bytes)::BIGINT AS bytes, sum(packets)::BIGINT AS packets,
        sum(records)::BIGINT AS records, sum(variance_high) AS variance_high,
        date, hour
    FROM transit GROUP BY slot, metro, provider_asn, direction, date, hour
)
SELECT s.slot, s.metro, s.provider_asn, p.provider, s.direction, s.bytes, s.packets, s.records,
    s.variance_high, s.bytes::DOUBLE * 8 / 300 AS rate_bps, p.capacity_bps,
    s.bytes::DOUBLE * 8 / 300 / nullif(p.capacity_bps, 0) AS utilisation, s.date, s.hour
FROM sums s LEFT JOIN providers p USING (metro, provider_asn);
