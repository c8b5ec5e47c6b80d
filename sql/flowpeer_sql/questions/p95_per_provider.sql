-- What is the 95th percentile of each transit provider, and how full is it?
--
-- Sum of the provider's interfaces in the metro, nearest rank over the slots that count for them,
-- short gaps of small routers filled, slots without traffic as zeros (METHODS M5; provider_counted):
-- as in `flowpeer imbalance`, for sizing, not a bill. bytes are those of the period; mean_mbps takes
-- what a silent exporter did not report like the rest of it. utilisation is p95 over capacity, a
-- fraction; p95_mbps is null where more than 5 % of the slots are missing.
-- One row per metro, provider and direction.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both

WITH sums AS MATERIALIZED (
    SELECT t.metro, t.exporter, t.provider_asn, t.direction, t.slot, sum(t.bytes)::BIGINT AS bytes
    FROM transit_slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    WHERE ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
    GROUP BY t.metro, t.exporter, t.provider_asn, t.direction, t.slot
), by_exporter AS (
    SELECT s.metro, s.exporter, s.provider_asn, s.direction, sum(s.bytes)::BIGINT AS bytes
    FROM sums s GROUP BY s.metro, s.exporter, s.provider_asn, s.direction
), totals AS (  -- fractions are added in one order, so that the sum is the same each time
    SELECT e.metro, e.provider_asn, e.direction, sum(e.bytes)::BIGINT AS bytes,
        list_sum(list(e.bytes * coalesce(w.weight, 1) ORDER BY e.exporter)) AS weighed_bytes
    FROM by_exporter e
    LEFT JOIN _exporter_weights($period_start::TIMESTAMP, $period_end::TIMESTAMP) w USING (exporter)
    GROUP BY e.metro, e.provider_asn, e.direction
), judged AS MATERIALIZED (
    FROM _provider_judged($period_start::TIMESTAMP, $period_end::TIMESTAMP)
), qualities AS MATERIALIZED (
    SELECT j.metro, j.provider_asn, j.direction,
        count(*) FILTER (WHERE j.counts AND j.hole) AS filled_slots,
        count(*) FILTER (WHERE NOT j.counts) AS missing_slots,
        any_value(j.silent) AS silent, any_value(j.whole) AS whole
    FROM judged j GROUP BY j.metro, j.provider_asn, j.direction
), counted AS (
    SELECT j.metro, j.provider_asn, j.direction, j.slot, j.bytes
    FROM judged j WHERE j.counts AND j.bytes > 0
    UNION ALL
    SELECT s.metro, s.provider_asn, s.direction, s.slot, sum(s.bytes)::BIGINT
    FROM sums s
    ANTI JOIN qualities q ON q.metro = s.metro AND q.direction = s.direction
        AND q.provider_asn IS NOT DISTINCT FROM s.provider_asn
    GROUP BY s.metro, s.provider_asn, s.direction, s.slot
), figures AS (
    SELECT c.metro, c.provider_asn, c.direction, max(c.bytes) AS peak_bytes,
        list(c.bytes) AS slot_bytes
    FROM counted c GROUP BY c.metro, c.provider_asn, c.direction
), joined AS (
    SELECT t.*, f.peak_bytes, f.slot_bytes, b.n_slots AS all_slots,
        b.n_slots - coalesce(q.missing_slots, 0) AS n_slots,
        coalesce(q.missing_slots, 0) AS missing_slots,
        coalesce(_quality(q.missing_slots, q.filled_slots, b.n_slots, q.silent, q.whole), 'exact')
            AS quality
    FROM totals t
    CROSS JOIN slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) b
    LEFT JOIN figures f ON f.metro = t.metro AND f.direction = t.direction
        AND f.provider_asn IS NOT DISTINCT FROM t.provider_asn
    LEFT JOIN qualities q ON q.metro = t.metro AND q.direction = t.direction
        AND q.provider_asn IS NOT DISTINCT FROM t.provider_asn
), rates AS (
    SELECT j.*, CASE WHEN j.quality <> 'refused'
        THEN mbps(_p95_sorted(list_sort(coalesce(j.slot_bytes, [])), j.n_slots), 300) END
        AS p95_mbps
    FROM joined j
)
SELECT r.metro, r.provider_asn, n.provider, r.direction, r.bytes,
    mbps(r.weighed_bytes, 300 * r.all_slots) AS mean_mbps, r.p95_mbps,
    mbps(r.peak_bytes, 300) AS peak_mbps, p.capacity_bps / 1e6 AS capacity_mbps,
    r.p95_mbps * 1e6 / nullif(p.capacity_bps, 0) AS utilisation,
    r.n_slots, r.missing_slots, r.quality
FROM rates r
LEFT JOIN providers p USING (metro, provider_asn)
LEFT JOIN provider_names n USING (provider_asn)
ORDER BY r.metro, r.provider_asn, r.direction;
