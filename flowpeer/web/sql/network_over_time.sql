-- Its profile, in and out
-- Average of each hour, or of each day where the period is longer than three weeks.
-- Uses: period, metro, provider, direction, family, asn
-- Columns: start, direction, avg_bps
WITH parts AS (
    SELECT epoch(slot)::BIGINT // 3600 * 3600 AS begins, 3600 AS seconds, metro, role,
        provider_asn, direction, family, remote_asn, scaled, bytes
    FROM asn_traffic_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE $period_end::TIMESTAMP - $period_start::TIMESTAMP <= INTERVAL 21 DAY
    UNION ALL
    SELECT epoch(day)::BIGINT, 86400, metro, role, provider_asn, direction, family, remote_asn,
        scaled, bytes
    FROM asn_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE $period_end::TIMESTAMP - $period_start::TIMESTAMP > INTERVAL 21 DAY
), sums AS (
    SELECT p.begins, p.direction, any_value(p.seconds) AS seconds, sum(p.bytes)::BIGINT AS bytes
    FROM parts p
    WHERE p.remote_asn = $asn::BIGINT AND p.scaled
        AND p.role IN ('transit', 'peer', 'ix', 'customer')
        AND ($metros IS NULL OR list_contains($metros, p.metro))
        AND ($providers IS NULL OR list_contains($providers, p.provider_asn))
        AND ($direction::VARCHAR IS NULL OR p.direction = $direction::VARCHAR)
        AND ($family::INTEGER IS NULL OR p.family = $family::INTEGER)
    GROUP BY ALL
)
SELECT to_timestamp(s.begins) AS start, s.direction,
    s.bytes * 8.0 / (least(s.begins + s.seconds, epoch($period_end::TIMESTAMP))
        - greatest(s.begins, epoch($period_start::TIMESTAMP))) AS avg_bps
FROM sums s
ORDER BY start, s.direction
