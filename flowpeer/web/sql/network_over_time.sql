-- Its profile, in and out
-- Average of each hour, or of each day where the period is longer than three weeks.
-- Uses: period, metro, provider, direction, family, asn
-- Columns: start, direction, avg_bps
WITH units AS (
    SELECT CASE WHEN $period_end::TIMESTAMP - $period_start::TIMESTAMP > INTERVAL 21 DAY
        THEN 86400 ELSE 3600 END AS seconds
), sums AS (
    SELECT epoch(t.slot)::BIGINT // u.seconds * u.seconds AS begins, t.direction,
        any_value(u.seconds) AS seconds, sum(t.bytes)::BIGINT AS bytes
    FROM traffic_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t CROSS JOIN units u
    WHERE t.remote_asn = $asn::BIGINT AND t.scaled
        AND t.role IN ('transit', 'peer', 'ix', 'customer')
        AND ($metros IS NULL OR list_contains($metros, t.metro))
        AND ($providers IS NULL OR list_contains($providers, t.provider_asn))
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
        AND ($family::INTEGER IS NULL OR t.family = $family::INTEGER)
    GROUP BY ALL
)
SELECT to_timestamp(s.begins) AS start, s.direction,
    s.bytes * 8.0 / (least(s.begins + s.seconds, epoch($period_end::TIMESTAMP))
        - greatest(s.begins, epoch($period_start::TIMESTAMP))) AS avg_bps
FROM sums s
ORDER BY start, s.direction
