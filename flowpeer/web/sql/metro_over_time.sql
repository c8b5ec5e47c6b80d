-- Transit over time, by metro
-- Average of each hour, or of each day where the period is longer than three weeks. Slots without
-- traffic count as zero. capacity_bps is of the metro's transit, where each link states its own.
-- Uses: period, metro, provider, direction, family
-- Columns: start, metro, direction, avg_bps, capacity_bps
WITH units AS (
    SELECT CASE WHEN $period_end::TIMESTAMP - $period_start::TIMESTAMP > INTERVAL 21 DAY
        THEN 86400 ELSE 3600 END AS seconds
), sums AS (
    SELECT epoch(t.slot)::BIGINT // u.seconds * u.seconds AS begins, t.metro, t.direction,
        any_value(u.seconds) AS seconds, sum(t.bytes)::BIGINT AS bytes
    FROM transit_slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    CROSS JOIN units u
    WHERE ($metros IS NULL OR list_contains($metros, t.metro))
        AND ($providers IS NULL OR list_contains($providers, t.provider_asn))
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
        AND ($family::INTEGER IS NULL OR t.family = $family::INTEGER)
    GROUP BY ALL
), capacities AS (
    SELECT metro, sum(capacity_bps)::BIGINT AS capacity_bps
    FROM providers
    WHERE $providers IS NULL OR list_contains($providers, provider_asn)
    GROUP BY metro
    HAVING count(capacity_bps) = count(*)
)
SELECT to_timestamp(s.begins) AS start, s.metro, s.direction,
    s.bytes * 8.0 / (least(s.begins + s.seconds, epoch($period_end::TIMESTAMP))
        - greatest(s.begins, epoch($period_start::TIMESTAMP))) AS avg_bps,
    c.capacity_bps
FROM sums s
LEFT JOIN capacities c USING (metro)
ORDER BY start, s.metro, s.direction
