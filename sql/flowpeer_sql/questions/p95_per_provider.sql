-- What is the 95th percentile of each transit provider, and how full is it?
--
-- Sum of the provider's interfaces in the metro, nearest rank over the slots that count for them,
-- short gaps of small routers filled, slots without traffic as zeros (METHODS M5; provider_counted):
-- as in `flowpeer imbalance`, for sizing, not a bill. utilisation is p95 over capacity, a fraction;
-- p95_mbps is null where more than 5 % of the slots are missing.
-- One row per metro, provider and direction.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both

WITH counted AS (
    FROM provider_counted($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    WHERE ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
), figures AS (
    SELECT c.metro, c.provider_asn, c.direction, s.n_slots, s.missing_slots, s.quality,
        sum(c.bytes)::BIGINT AS bytes, max(c.bytes) AS peak_bytes,
        CASE WHEN s.quality <> 'refused' THEN p95(c.bytes, s.n_slots) END AS p95_bytes
    FROM counted c
    JOIN provider_counts($period_start::TIMESTAMP, $period_end::TIMESTAMP) s
        ON s.metro = c.metro AND s.direction = c.direction
        AND s.provider_asn IS NOT DISTINCT FROM c.provider_asn
    GROUP BY c.metro, c.provider_asn, c.direction, s.n_slots, s.missing_slots, s.quality
)
SELECT f.metro, f.provider_asn, n.provider, f.direction, f.bytes,
    mbps(f.bytes, 300 * f.n_slots) AS mean_mbps, mbps(f.p95_bytes, 300) AS p95_mbps,
    mbps(f.peak_bytes, 300) AS peak_mbps, p.capacity_bps / 1e6 AS capacity_mbps,
    mbps(f.p95_bytes, 300) * 1e6 / nullif(p.capacity_bps, 0) AS utilisation,
    f.n_slots, f.missing_slots, f.quality
FROM figures f
LEFT JOIN providers p USING (metro, provider_asn)
LEFT JOIN provider_names n USING (provider_asn)
ORDER BY f.metro, f.provider_asn, f.direction;
