-- What changed against the time before
-- The networks whose transit changed most against as long a time just before the period; no rows
-- where there is no traffic before it.
-- Uses: period, metro, direction
-- Columns: metro, place, remote_asn, name, bytes_before, bytes, mean_mbps_before, mean_mbps, change_mbps, growth
WITH before AS (
    SELECT count(*) AS slots FROM transit_slots_between(
        $period_start::TIMESTAMP - ($period_end::TIMESTAMP - $period_start::TIMESTAMP),
        $period_start::TIMESTAMP)
)
SELECT c.*
FROM _change_between($period_start::TIMESTAMP, $period_end::TIMESTAMP,
    $period_start::TIMESTAMP - ($period_end::TIMESTAMP - $period_start::TIMESTAMP),
    $period_start::TIMESTAMP, NULL, NULL, $direction, 10) c
CROSS JOIN before b
WHERE b.slots > 0 AND ($metros IS NULL OR list_contains($metros, c.metro))
