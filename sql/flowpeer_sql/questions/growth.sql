-- Which remote networks grow, month on month?
--
-- Mean rate of transit traffic in calendar months (UTC) over the slots of the month that were rolled
-- up, so that a month still running compares with a whole one; what a silent exporter did not report is
-- taken like the rest of it (METHODS M5). growth is the change against the
-- month before as a fraction, null where that month has no traffic of the network or no data.
-- One row per month and remote ASN; the largest `top` of each month.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per month; NULL is all

WITH months AS (
    SELECT time_bucket(INTERVAL 1 MONTH, timezone('UTC', slot)::DATE) AS month, count(*) AS n_slots
    FROM _slots_rolled_up($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    GROUP BY month
), totals AS (
    -- By the day of the file, which is that of the slot: once a file instead of once a row.
    SELECT time_bucket(INTERVAL 1 MONTH, date) AS month, remote_asn, sum(bytes)::BIGINT AS bytes
    FROM asn_traffic_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE role = 'transit' AND scaled
        AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY ALL
), unreported AS (  -- fractions are added in one order, so that the sum is the same each time
    SELECT u.part::DATE AS month, u.remote_asn,
        list_sum(list(u.bytes ORDER BY u.metro, u.exporter, u.provider_asn, u.direction)) AS bytes
    FROM _asn_unreported($period_start::TIMESTAMP, $period_end::TIMESTAMP, 'month') u
    WHERE ($metro::VARCHAR IS NULL OR u.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR u.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR u.direction = $direction::VARCHAR)
    GROUP BY u.part, u.remote_asn
), rates AS (
    SELECT t.month, t.remote_asn, t.bytes, m.n_slots,
        mbps(t.bytes + coalesce(u.bytes, 0), 300 * m.n_slots) AS mean_mbps
    FROM totals t JOIN months m USING (month) LEFT JOIN unreported u USING (month, remote_asn)
)
SELECT r.month::DATE AS month, row_number() OVER largest AS place, r.remote_asn, n.name, r.bytes,
    r.n_slots, r.mean_mbps, before.mean_mbps AS mean_mbps_before,
    r.mean_mbps / nullif(before.mean_mbps, 0) - 1 AS growth
FROM rates r
LEFT JOIN rates before
    ON before.remote_asn = r.remote_asn AND before.month = r.month - INTERVAL 1 MONTH
LEFT JOIN asn_names n ON n.asn = r.remote_asn
WINDOW largest AS (PARTITION BY r.month ORDER BY r.bytes DESC, r.remote_asn)
QUALIFY place <= $top::BIGINT
ORDER BY month, place;
