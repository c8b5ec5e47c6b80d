-- Transit over time, by provider
-- Average and largest 5-minute slot of each hour, or of each day where the period is longer than
-- three weeks. Slots without traffic count as zero in the average. commit_bps is of the contracts
-- whose interfaces are all in the chosen metros.
-- Uses: period, metro, provider, direction, family
-- Columns: start, provider_asn, provider, direction, avg_bps, max_bps, capacity_bps, commit_bps
WITH units AS (
    SELECT CASE WHEN $period_end::TIMESTAMP - $period_start::TIMESTAMP > INTERVAL 21 DAY
        THEN 86400 ELSE 3600 END AS seconds
), slots AS (
    SELECT t.slot, t.provider_asn, t.direction, sum(t.bytes)::BIGINT AS bytes
    FROM transit_slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    WHERE ($metros IS NULL OR list_contains($metros, t.metro))
        AND ($providers IS NULL OR list_contains($providers, t.provider_asn))
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
        AND ($family::INTEGER IS NULL OR t.family = $family::INTEGER)
    GROUP BY ALL
), sums AS (
    SELECT epoch(s.slot)::BIGINT // u.seconds * u.seconds AS begins, s.provider_asn, s.direction,
        any_value(u.seconds) AS seconds, sum(s.bytes)::BIGINT AS bytes, max(s.bytes) AS largest
    FROM slots s CROSS JOIN units u
    GROUP BY ALL
), capacities AS (
    SELECT provider_asn, sum(capacity_bps)::BIGINT AS capacity_bps
    FROM providers
    WHERE $metros IS NULL OR list_contains($metros, metro)
    GROUP BY provider_asn
    HAVING count(capacity_bps) = count(*)
), commits AS (
    SELECT provider_asn, sum(commit_bps)::BIGINT AS commit_bps
    FROM (
        SELECT i.asn AS provider_asn, i.contract, any_value(c.commit_bps) AS commit_bps
        FROM interfaces i JOIN contracts c USING (contract)
        WHERE i.role = 'transit'
        GROUP BY i.asn, i.contract
        HAVING bool_and($metros IS NULL OR list_contains($metros, i.metro))
    )
    GROUP BY provider_asn
)
SELECT to_timestamp(s.begins) AS start, s.provider_asn, p.provider, s.direction,
    s.bytes * 8.0 / (least(s.begins + s.seconds, epoch($period_end::TIMESTAMP))
        - greatest(s.begins, epoch($period_start::TIMESTAMP))) AS avg_bps,
    s.largest * 8.0 / 300 AS max_bps, b.capacity_bps, c.commit_bps
FROM sums s
LEFT JOIN provider_names p USING (provider_asn)
LEFT JOIN capacities b USING (provider_asn)
LEFT JOIN commits c USING (provider_asn)
ORDER BY start, s.provider_asn, s.direction
