-- How fresh it is
-- The last slot with traffic of each metro, and how many hours of the period have any.
-- Uses: period, metro
-- Columns: metro, data_until, hours_with_data, records
SELECT t.metro, max(t.slot) + INTERVAL 5 MINUTE AS data_until,
    count(DISTINCT date_trunc('hour', t.slot)) AS hours_with_data, sum(t.records)::BIGINT AS records
FROM traffic_slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
WHERE ($metros IS NULL OR list_contains($metros, t.metro))
GROUP BY t.metro
ORDER BY t.metro
