-- How does transit grow, week by week?
--
-- Mean and largest rate of each ISO week (from Monday, UTC) over its slots that were rolled up, so
-- that a week still running compares with a whole one; what a silent exporter did not report is taken
-- like the rest of it in that week (METHODS M5). growth is the change of the mean against the
-- week before, a fraction; null where that week is not there.
-- One row per metro, provider, direction and week.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both

WITH weeks AS (
    SELECT date_trunc('week', timezone('UTC', slot)) AS week, count(*) AS n_slots
    FROM _slots_rolled_up($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    GROUP BY week
), slots AS (
    SELECT metro, provider_asn, direction, slot, sum(bytes)::BIGINT AS bytes
    FROM transit_slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY ALL
), totals AS (
    SELECT metro, provider_asn, direction, date_trunc('week', timezone('UTC', slot)) AS week,
        sum(bytes)::BIGINT AS bytes, max(bytes) AS peak
    FROM slots GROUP BY ALL
), rates AS (
    SELECT t.*, w.n_slots, mbps(t.bytes + coalesce(u.bytes, 0), 300 * w.n_slots) AS mean_mbps
    FROM totals t JOIN weeks w USING (week)
    LEFT JOIN _transit_unreported($period_start::TIMESTAMP, $period_end::TIMESTAMP, 'week') u
        ON u.metro = t.metro AND u.direction = t.direction AND u.part = t.week
        AND u.provider_asn IS NOT DISTINCT FROM t.provider_asn
)
SELECT r.week::DATE AS week, r.metro, r.provider_asn, p.provider, r.direction, r.bytes, r.n_slots,
    r.mean_mbps, mbps(r.peak, 300) AS peak_mbps,
    r.mean_mbps / nullif(before.mean_mbps, 0) - 1 AS growth
FROM rates r
LEFT JOIN rates before
    ON before.metro = r.metro AND before.direction = r.direction
    AND before.provider_asn IS NOT DISTINCT FROM r.provider_asn
    AND before.week = r.week - INTERVAL 7 DAY
LEFT JOIN provider_names p ON p.provider_asn = r.provider_asn
ORDER BY r.week, r.metro, r.provider_asn, r.direction;
