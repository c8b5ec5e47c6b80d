-- Which remote networks changed most between two periods?
--
-- Mean rates of transit traffic in both periods, over the slots of each that were rolled up, where
-- what a silent exporter did not report is taken like the rest of it (METHODS M5); a network that is
-- absent in one has 0 there. Without `before` it is the quarter or month before a whole one,
-- else as long a time before. change_mbps is the difference, growth the same as a fraction of
-- the rate before (null where that is 0).
-- One row per metro and remote ASN; the largest `top` changes of each metro, up or down.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter before_start TIMESTAMP = NULL: start of the period to compare with; NULL is the first slot
-- Parameter before_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro; NULL is all

WITH later AS (
    SELECT metro, remote_asn, sum(bytes)::BIGINT AS bytes
    FROM asn_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE role = 'transit' AND scaled
        AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY metro, remote_asn
), earlier AS (
    SELECT metro, remote_asn, sum(bytes)::BIGINT AS bytes
    FROM asn_sums_between($before_start::TIMESTAMP, $before_end::TIMESTAMP)
    WHERE role = 'transit' AND scaled
        AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY metro, remote_asn
), unreported_now AS (  -- fractions are added in one order, so that the sum is the same each time
    SELECT u.metro, u.remote_asn,
        list_sum(list(u.bytes ORDER BY u.exporter, u.provider_asn, u.direction)) AS bytes
    FROM _asn_unreported($period_start::TIMESTAMP, $period_end::TIMESTAMP, 'rolled up') u
    WHERE ($provider::BIGINT IS NULL OR u.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR u.direction = $direction::VARCHAR)
    GROUP BY u.metro, u.remote_asn
), unreported_before AS (  -- fractions are added in one order, so that the sum is the same each time
    SELECT u.metro, u.remote_asn,
        list_sum(list(u.bytes ORDER BY u.exporter, u.provider_asn, u.direction)) AS bytes
    FROM _asn_unreported($before_start::TIMESTAMP, $before_end::TIMESTAMP, 'rolled up') u
    WHERE ($provider::BIGINT IS NULL OR u.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR u.direction = $direction::VARCHAR)
    GROUP BY u.metro, u.remote_asn
), both_periods AS (
    SELECT metro, remote_asn, coalesce(e.bytes, 0) AS bytes_before, coalesce(l.bytes, 0) AS bytes,
        mbps(coalesce(e.bytes, 0) + coalesce(ue.bytes, 0), 300 * before.n_slots) AS mean_mbps_before,
        mbps(coalesce(l.bytes, 0) + coalesce(ul.bytes, 0), 300 * now.n_slots) AS mean_mbps
    FROM later l FULL JOIN earlier e USING (metro, remote_asn)
    LEFT JOIN unreported_now ul USING (metro, remote_asn)
    LEFT JOIN unreported_before ue USING (metro, remote_asn)
    CROSS JOIN (SELECT count(*) AS n_slots FROM _slots_rolled_up($period_start::TIMESTAMP, $period_end::TIMESTAMP)) now
    CROSS JOIN (SELECT count(*) AS n_slots FROM _slots_rolled_up($before_start::TIMESTAMP, $before_end::TIMESTAMP)) before
)
SELECT b.metro, row_number() OVER largest AS place, b.remote_asn, n.name, b.bytes_before, b.bytes,
    b.mean_mbps_before, b.mean_mbps, b.mean_mbps - b.mean_mbps_before AS change_mbps,
    b.mean_mbps / nullif(b.mean_mbps_before, 0) - 1 AS growth
FROM both_periods b LEFT JOIN asn_names n ON n.asn = b.remote_asn
WINDOW largest AS (
    PARTITION BY b.metro ORDER BY abs(b.mean_mbps - b.mean_mbps_before) DESC, b.remote_asn)
QUALIFY place <= $top::BIGINT
ORDER BY b.metro, place;
