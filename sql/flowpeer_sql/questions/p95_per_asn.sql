-- What is the 95th percentile of each remote network over each transit provider?
--
-- Nearest rank over the slots of the period that count for the provider's links, short gaps of small
-- routers filled, slots without traffic as zeros (METHODS M5; as p95_per_provider): for sizing, not a
-- bill. n_slots count, missing_slots are left out: over 1 % of them (or of filled ones) quality is
-- `estimate`, over 5 % it is `refused` and p95_mbps is null. bytes are those of the whole period;
-- mean_mbps takes what a silent exporter did not report like the rest of it. peak_mbps is the largest
-- slot. folded_bytes are of hours of which the slots are not kept: where there are any, quality is
-- `estimate`, and p95_mbps and peak_mbps are those of the other slots, so the true ones are not
-- less; over 5 % of the bytes it is `refused`, and both are null. An hour that the period has a
-- part of counts whole in them.
-- One row per metro, provider, direction and remote ASN; the largest `top` by bytes of each metro,
-- provider and direction.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro, provider and direction; NULL is all

WITH known AS (
    -- Direction and network are one number: a narrow key is grouped by in two thirds of the time.
    SELECT t.metro, t.provider_asn, 4 * (t.remote_asn + 8)
            + CASE t.direction WHEN 'in' THEN 1 WHEN 'out' THEN 2 ELSE 0 END AS which,
        sum(t.bytes)::BIGINT AS bytes
    FROM transit_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    WHERE t.remote_asn <> -6
        AND ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
    GROUP BY ALL
), folded AS MATERIALIZED (
    SELECT t.metro, t.exporter, t.provider_asn, t.direction, t.origin_asn AS remote_asn,
        sum(t.bytes)::BIGINT AS bytes
    FROM routes_between(date_trunc('hour', $period_start::TIMESTAMP), $period_end::TIMESTAMP) t
    WHERE t.folded AND t.role = 'transit' AND t.scaled
        AND ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
    GROUP BY ALL
), every AS (
    SELECT k.metro, k.provider_asn, ['none', 'in', 'out'][1 + (k.which & 3)] AS direction,
        (k.which >> 2) - 8 AS remote_asn, k.bytes, 0 AS folded_bytes
    FROM known k
    UNION ALL
    SELECT f.metro, f.provider_asn, f.direction, f.remote_asn, f.bytes, f.bytes FROM folded f
), totals AS (
    SELECT e.metro, e.provider_asn, e.direction, e.remote_asn, sum(e.bytes)::BIGINT AS bytes,
        sum(e.folded_bytes)::BIGINT AS folded_bytes
    FROM every e GROUP BY e.metro, e.provider_asn, e.direction, e.remote_asn
), judged AS MATERIALIZED (
    FROM _provider_judged($period_start::TIMESTAMP, $period_end::TIMESTAMP)
), providers_judged AS MATERIALIZED (
    SELECT j.metro, j.provider_asn, j.direction, any_value(j.left_out) AS left_out,
        count(*) FILTER (WHERE j.counts AND j.hole) AS filled_slots,
        count(*) FILTER (WHERE NOT j.counts) AS missing_slots,
        any_value(j.silent) AS silent, any_value(j.whole) AS whole
    FROM judged j GROUP BY j.metro, j.provider_asn, j.direction
), span AS MATERIALIZED (
    SELECT n_slots AS all_slots FROM slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
), largest AS MATERIALIZED (
    SELECT t.*, row_number() OVER largest AS place FROM totals t
    WINDOW largest AS (
        PARTITION BY t.metro, t.provider_asn, t.direction ORDER BY t.bytes DESC, t.remote_asn)
    QUALIFY place <= $top::BIGINT
), keys AS MATERIALIZED (
    SELECT l.*, row_number() OVER () AS key, s.all_slots, j.metro IS NOT NULL AS touched,
        coalesce(j.missing_slots, 0) AS missing_slots, coalesce(j.left_out, []) AS left_out,
        s.all_slots - coalesce(j.missing_slots, 0) AS n_slots,
        coalesce(_quality(j.missing_slots, j.filled_slots, s.all_slots, j.silent, j.whole), 'exact')
            AS quality
    FROM largest l CROSS JOIN span s
    LEFT JOIN providers_judged j ON j.metro = l.metro AND j.direction = l.direction
        AND j.provider_asn IS NOT DISTINCT FROM l.provider_asn
), whole AS (  -- slots of these alone: of all networks they are many millions
    SELECT l.key, t.slot, sum(t.bytes)::BIGINT AS bytes
    FROM transit_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    JOIN (FROM keys WHERE NOT touched) l ON l.remote_asn = t.remote_asn AND l.metro = t.metro
        AND l.direction = t.direction AND l.provider_asn IS NOT DISTINCT FROM t.provider_asn
    GROUP BY l.key, t.slot
), series AS MATERIALIZED (  -- where something is missing of an exporter
    SELECT l.key, t.exporter, t.slot, sum(t.bytes)::BIGINT AS bytes
    FROM transit_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    JOIN (FROM keys WHERE touched) l ON l.remote_asn = t.remote_asn AND l.metro = t.metro
        AND l.direction = t.direction AND l.provider_asn IS NOT DISTINCT FROM t.provider_asn
    GROUP BY l.key, t.exporter, t.slot
), holes AS MATERIALIZED (
    FROM _exporter_holes($period_start::TIMESTAMP, $period_end::TIMESTAMP)
), sure AS (
    SELECT s.key, s.exporter, sum(s.bytes) AS bytes
    FROM series s JOIN holes h ON h.exporter = s.exporter AND h.slot = s.slot
    WHERE h.reported GROUP BY s.key, s.exporter
), parts AS (
    SELECT s.key, s.exporter, s.slot, s.bytes
    FROM series s
    ANTI JOIN (FROM holes WHERE hole) h ON h.exporter = s.exporter AND h.slot = s.slot
    UNION ALL
    SELECT k.key, k.exporter, h.slot,
        CASE WHEN h.slot_before IS NULL AND h.slot_after IS NULL
            THEN coalesce((2 * m.bytes + h.reported_slots) // (2 * h.reported_slots), 0)
        WHEN h.slot_before IS NULL THEN coalesce(a.bytes, 0)
        WHEN h.slot_after IS NULL THEN coalesce(b.bytes, 0)
        ELSE (coalesce(b.bytes, 0) + coalesce(a.bytes, 0) + 1) // 2 END::BIGINT
    FROM (  -- what is left out below needs no filling: of a quarter it would take a minute
        SELECT DISTINCT s.key, s.exporter FROM series s JOIN keys l USING (key)
        WHERE NOT list_contains(l.left_out, s.exporter)
    ) k
    JOIN (FROM holes WHERE hole) h ON h.exporter = k.exporter
    LEFT JOIN series b ON b.key = k.key AND b.exporter = k.exporter AND b.slot = h.slot_before
    LEFT JOIN series a ON a.key = k.key AND a.exporter = k.exporter AND a.slot = h.slot_after
    LEFT JOIN sure m ON m.key = k.key AND m.exporter = k.exporter
), counted AS (
    FROM whole
    UNION ALL
    SELECT p.key, p.slot, sum(p.bytes)::BIGINT
    FROM parts p
    JOIN keys k USING (key)
    ANTI JOIN (FROM judged WHERE NOT counts) j ON j.metro = k.metro AND j.direction = k.direction
        AND j.slot = p.slot AND j.provider_asn IS NOT DISTINCT FROM k.provider_asn
    WHERE NOT list_contains(k.left_out, p.exporter)
    GROUP BY p.key, p.slot
), figures AS (
    -- Of n values, with zeros, the one of rank r is the (n - r + 1)th from above.
    SELECT c.key, max(c.bytes, (SELECT all_slots - _p95_rank(all_slots) + 1 FROM span)) AS upper,
        max(c.bytes) AS peak_bytes
    FROM counted c GROUP BY c.key
), unreported AS (  -- fractions are added in one order, so that the sum is the same each time
    SELECT e.key, list_sum(list(e.bytes * (w.weight - 1) ORDER BY e.exporter)) AS bytes
    FROM (
        SELECT b.key, b.exporter, sum(b.bytes)::BIGINT AS bytes
        FROM (
            SELECT s.key, s.exporter, s.bytes FROM series s
            UNION ALL
            SELECT k.key, f.exporter, f.bytes FROM folded f
            JOIN (FROM keys WHERE touched) k ON k.remote_asn = f.remote_asn AND k.metro = f.metro
                AND k.direction = f.direction AND k.provider_asn IS NOT DISTINCT FROM f.provider_asn
        ) b GROUP BY b.key, b.exporter
    ) e JOIN _exporter_weights($period_start::TIMESTAMP, $period_end::TIMESTAMP) w USING (exporter)
    GROUP BY e.key
), judgements AS (
    SELECT k.*, f.peak_bytes, u.bytes AS untold_bytes,
        CASE WHEN 20 * k.folded_bytes > k.bytes THEN 'refused'
            WHEN k.folded_bytes > 0 AND k.quality = 'exact' THEN 'estimate'
            ELSE k.quality END AS judgement,
        CASE WHEN k.n_slots > 0
            THEN coalesce(f.upper[k.n_slots - _p95_rank(k.n_slots) + 1], 0) END AS p95_bytes
    FROM keys k
    LEFT JOIN figures f USING (key)
    LEFT JOIN unreported u USING (key)
)
SELECT j.metro, j.provider_asn, p.provider, j.direction, j.place, j.remote_asn, n.name, j.bytes,
    mbps(j.bytes + coalesce(j.untold_bytes, 0), 300 * j.all_slots) AS mean_mbps,
    CASE WHEN j.judgement <> 'refused' THEN mbps(j.p95_bytes, 300) END AS p95_mbps,
    CASE WHEN 20 * j.folded_bytes <= j.bytes THEN mbps(j.peak_bytes, 300) END AS peak_mbps,
    j.n_slots, j.missing_slots, j.judgement AS quality, j.folded_bytes
FROM judgements j
LEFT JOIN provider_names p USING (provider_asn)
LEFT JOIN asn_names n ON n.asn = j.remote_asn
ORDER BY j.metro, j.provider_asn, j.direction, j.place;
