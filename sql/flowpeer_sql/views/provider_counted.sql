-- Transit of a provider in the slots that count for its percentile: provider_counted, provider_counts
--
-- METHODS M5, for the interfaces of a provider in a metro and direction. Where one of its exporters
-- was due and not covered, the slot counts if the others carry at least 99 % of the mean bytes of
-- those due; what is missing in it is the mean of that interface's nearest covered slots before and
-- after, at most six slots away, else its own mean. An exporter covered in less than half of its
-- slots is left out.
--   provider_counted(period_start, period_end)  one row per metro, provider, direction and slot that
--       counts and has bytes
--   provider_counts(period_start, period_end)   one row per metro, provider and direction: n_slots,
--       filled_slots, missing_slots, quality, as in slots_by_metro
-- Needs: covered_slots

-- Of providers with a link at an exporter that something is missing of: in all others every slot
-- counts, and nothing is read. left_out names exporters, in every row of a provider.
CREATE OR REPLACE MACRO _provider_judged(period_start, period_end) AS TABLE
WITH flags AS MATERIALIZED (
    FROM _exporter_flags(period_start, period_end)
), silent AS (
    SELECT DISTINCT f.exporter FROM flags f WHERE f.due AND NOT f.covered
), stated AS (
    SELECT DISTINCT i.metro, i.exporter, i.interface, i.asn AS provider_asn, d.direction
    FROM interfaces i CROSS JOIN (VALUES ('in'), ('out')) d(direction)
    WHERE i.role = 'transit'
), touched AS MATERIALIZED (
    SELECT DISTINCT l.metro, l.provider_asn, l.direction FROM stated l JOIN silent USING (exporter)
), sparse AS MATERIALIZED (
    SELECT t.metro, t.exporter, t.interface, t.provider_asn, t.direction, t.slot,
        sum(t.bytes)::BIGINT AS bytes
    FROM transit_slots_between(period_start, period_end) t
    SEMI JOIN touched o ON o.metro = t.metro AND o.direction = t.direction
        AND o.provider_asn IS NOT DISTINCT FROM t.provider_asn
    GROUP BY ALL
), links AS (
    SELECT DISTINCT metro, exporter, interface, provider_asn, direction FROM sparse
    UNION
    FROM stated l SEMI JOIN touched o ON o.metro = l.metro AND o.direction = l.direction
        AND o.provider_asn IS NOT DISTINCT FROM l.provider_asn
), slots AS (
    SELECT unnest(generate_series(first_slot, last_slot, INTERVAL 5 MINUTE)) AS slot
    FROM slots_between(period_start, period_end)
), grid AS (
    SELECT l.metro, l.exporter, l.interface, l.provider_asn, l.direction, x.slot,
        coalesce(f.due, true) AS due, coalesce(f.covered, true) AS covered,
        coalesce(s.bytes, 0) AS bytes
    FROM links l
    CROSS JOIN slots x
    LEFT JOIN flags f ON f.exporter = l.exporter AND f.slot = x.slot
    LEFT JOIN sparse s ON s.exporter = l.exporter AND s.interface = l.interface
        AND s.provider_asn IS NOT DISTINCT FROM l.provider_asn AND s.direction = l.direction
        AND s.slot = x.slot
), near AS (
    SELECT *,
        last_value(CASE WHEN due AND covered THEN bytes END IGNORE NULLS)
            OVER (link ROWS BETWEEN 6 PRECEDING AND 1 PRECEDING) AS before,
        first_value(CASE WHEN due AND covered THEN bytes END IGNORE NULLS)
            OVER (link ROWS BETWEEN 1 FOLLOWING AND 6 FOLLOWING) AS after,
        avg(CASE WHEN due AND covered THEN bytes END)
            OVER (PARTITION BY exporter, interface, provider_asn, direction) AS own_mean
    FROM grid
    WINDOW link AS (PARTITION BY exporter, interface, provider_asn, direction ORDER BY slot)
), filled AS (
    SELECT metro, exporter, provider_asn, direction, slot, bool_and(due) AS due,
        bool_and(covered) AS covered, sum(bytes) AS bytes,
        sum(CASE WHEN covered OR NOT due THEN bytes
            WHEN before IS NULL AND after IS NULL THEN floor(coalesce(own_mean, 0) + 0.5)
            ELSE (coalesce(before, after) + coalesce(after, before) + 1) // 2 END)::BIGINT AS filled
    FROM near
    GROUP BY metro, exporter, provider_asn, direction, slot
), means AS (
    SELECT metro, exporter, provider_asn, direction,
        coalesce(avg(bytes) FILTER (WHERE due AND covered), 0) AS mean,
        2 * count(*) FILTER (WHERE due AND covered) < count(*) FILTER (WHERE due) AS left_out
    FROM filled
    GROUP BY metro, exporter, provider_asn, direction
), judged AS (
    SELECT f.metro, f.provider_asn, f.direction, f.slot,
        coalesce(sum(f.filled) FILTER (WHERE NOT m.left_out), 0)::BIGINT AS bytes,
        100 * coalesce(sum(m.mean) FILTER (WHERE f.due AND f.covered AND NOT m.left_out), 0)
            >= 99 * coalesce(sum(m.mean) FILTER (WHERE f.due AND NOT m.left_out), 0) * (1 - 1e-12)
            AS counts,
        bool_or(f.due AND NOT f.covered AND NOT m.left_out) AS hole,
        coalesce(sum(m.mean) FILTER (WHERE m.left_out), 0) AS silent, sum(m.mean) AS whole,
        list(m.exporter) FILTER (WHERE m.left_out) AS left_out
    FROM filled f
    JOIN means m ON m.metro = f.metro AND m.exporter = f.exporter AND m.direction = f.direction
        AND m.provider_asn IS NOT DISTINCT FROM f.provider_asn
    GROUP BY f.metro, f.provider_asn, f.direction, f.slot
)
FROM judged;

CREATE OR REPLACE MACRO provider_counted(period_start, period_end) AS TABLE
WITH judged AS MATERIALIZED (
    FROM _provider_judged(period_start, period_end)
)
SELECT j.metro, j.provider_asn, j.direction, j.slot, j.bytes FROM judged j
WHERE j.counts AND j.bytes > 0
UNION ALL
SELECT t.metro, t.provider_asn, t.direction, t.slot, sum(t.bytes)::BIGINT
FROM transit_slots_between(period_start, period_end) t
ANTI JOIN judged j ON j.metro = t.metro AND j.direction = t.direction
    AND j.provider_asn IS NOT DISTINCT FROM t.provider_asn
GROUP BY t.metro, t.provider_asn, t.direction, t.slot
HAVING sum(t.bytes) > 0;

-- Of those that are judged; of the others every slot of the period counts.
CREATE OR REPLACE MACRO _provider_quality(period_start, period_end) AS TABLE
WITH sums AS (
    SELECT j.metro, j.provider_asn, j.direction,
        count(*) FILTER (WHERE j.counts AND j.hole) AS filled_slots,
        count(*) FILTER (WHERE NOT j.counts) AS missing_slots,
        any_value(j.silent) AS silent, any_value(j.whole) AS whole
    FROM _provider_judged(period_start, period_end) j
    GROUP BY j.metro, j.provider_asn, j.direction
)
SELECT s.metro, s.provider_asn, s.direction, b.n_slots - s.missing_slots AS n_slots,
    s.filled_slots, s.missing_slots,
    _quality(s.missing_slots, s.filled_slots, b.n_slots, s.silent, s.whole) AS quality
FROM sums s CROSS JOIN slots_between(period_start, period_end) b;

CREATE OR REPLACE MACRO provider_counts(period_start, period_end) AS TABLE
WITH judged AS MATERIALIZED (
    FROM _provider_quality(period_start, period_end)
)
FROM judged
UNION ALL
SELECT t.metro, t.provider_asn, t.direction, b.n_slots, 0, 0, 'exact'
FROM (
    SELECT DISTINCT metro, provider_asn, direction FROM transit_slots_between(period_start, period_end)
) t
CROSS JOIN slots_between(period_start, period_end) b
ANTI JOIN judged j ON j.metro = t.metro AND j.direction = t.direction
    AND j.provider_asn IS NOT DISTINCT FROM t.provider_asn;
