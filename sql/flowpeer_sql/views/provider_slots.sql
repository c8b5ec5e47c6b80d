-- Transit per slot, metro, provider and direction
--
-- bytes of the slot, their rate in bit/s, the provider's capacity in the metro and how much of it
-- is used (fraction). Slots without traffic have no row.
-- Needs: transit, providers

CREATE OR REPLACE VIEW provider_slots AS
WITH sums AS (  -- qualified: a macro that reads the view may have a parameter of a column's name
    SELECT t.slot, t.metro, t.provider_asn, t.direction,
        sum(t.bytes)::BIGINT AS bytes, sum(t.packets)::BIGINT AS packets,
        sum(t.records)::BIGINT AS records, sum(t.variance_high) AS variance_high, t.date, t.hour
    FROM transit t
    GROUP BY t.slot, t.metro, t.provider_asn, t.direction, t.date, t.hour
)
SELECT s.slot, s.metro, s.provider_asn, p.provider, s.direction, s.bytes, s.packets, s.records,
    s.variance_high, s.bytes::DOUBLE * 8 / 300 AS rate_bps, p.capacity_bps,
    s.bytes::DOUBLE * 8 / 300 / nullif(p.capacity_bps, 0) AS utilisation, s.date, s.hour
FROM sums s LEFT JOIN providers p
    ON p.metro = s.metro AND p.provider_asn = s.provider_asn;
