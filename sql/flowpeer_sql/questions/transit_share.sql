-- How much of our external traffic rides transit, over time?
--
-- Scaled bytes by role of the interface; transit_share is transit over all four, a fraction.
-- One row per time bucket, metro and direction.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter bucket INTERVAL = 1 hour: length of a row's time, like 5 minutes, 1 day, 1 month

SELECT time_bucket($bucket::INTERVAL, slot, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS bucket_start,
    metro, direction,
    coalesce(sum(bytes) FILTER (WHERE role = 'transit'), 0)::BIGINT AS transit_bytes,
    coalesce(sum(bytes) FILTER (WHERE role = 'peer'), 0)::BIGINT AS peer_bytes,
    coalesce(sum(bytes) FILTER (WHERE role = 'ix'), 0)::BIGINT AS ix_bytes,
    coalesce(sum(bytes) FILTER (WHERE role = 'customer'), 0)::BIGINT AS customer_bytes,
    transit_bytes / nullif(sum(bytes)::BIGINT, 0) AS transit_share
FROM traffic_slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
WHERE scaled AND role IN ('transit', 'peer', 'ix', 'customer')
    AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
    AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
GROUP BY bucket_start, metro, direction
ORDER BY bucket_start, metro, direction;
