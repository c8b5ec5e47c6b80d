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

CREATE OR REPLACE MACRO _provider_filled(period_start, period_end) AS TABLE
WITH flags AS MATERIALIZED (
    FROM _exporter_slots(period_start, period_end)
), sparse AS MATERIALIZED (
    SELECT t.metro, t.exporter, t.interface, t.provider_asn, t.direction, t.slot,
        sum(t.bytes)::BIGINT AS bytes
    FROM transit_between(period_start, period_end) t
    GROUP BY ALL
), links AS (
    SELECT DISTINCT metro, exporter, interface, provider_asn, direction FROM sparse
    UNION
    SELECT i.metro, i.exporter, i.interface, i.asn, d.direction
    FROM interfaces i CROSS JOIN (VALUES ('in'), ('out')) d(direction)
    WHERE i.role = 'transit'
), silent AS (
    SELECT DISTINCT f.exporter FROM flags f WHERE f.due AND NOT f.covered
), touched AS (
    SELECT DISTINCT l.metro, l.provider_asn, l.direction FROM links l JOIN silent USING (exporter)
), grid AS (
    SELECT l.metro, l.exporter, l.interface, l.provider_asn, l.direction, f.slot, f.due, f.covered,
        coalesce(s.bytes, 0) AS bytes
    FROM links l
    JOIN touched o ON o.metro = l.metro AND o.direction = l.direction
        AND o.provider_asn IS NOT DISTINCT FROM l.provider_asn
    JOIN flags f ON f.exporter = l.exporter
    LEFT JOIN sparse s ON s.exporter = l.exporter AND s.interface = l.interface
        AND s.provider_asn IS NOT DISTINCT FROM l.provider_asn AND s.direction = l.direction
        AND s.slot = f.slot
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
        coalesce(sum(m.mean) FILTER (WHERE m.left_out), 0) AS silent, sum(m.mean) AS whole
    FROM filled f
    JOIN means m ON m.metro = f.metro AND m.exporter = f.exporter AND m.direction = f.direction
        AND m.provider_asn IS NOT DISTINCT FROM f.provider_asn
    GROUP BY f.metro, f.provider_asn, f.direction, f.slot
)
FROM judged
UNION ALL
SELECT s.metro, s.provider_asn, s.direction, s.slot, sum(s.bytes)::BIGINT, true, false, 0, 1
FROM sparse s
ANTI JOIN touched o ON o.metro = s.metro AND o.direction = s.direction
    AND o.provider_asn IS NOT DISTINCT FROM s.provider_asn
GROUP BY s.metro, s.provider_asn, s.direction, s.slot;

CREATE OR REPLACE MACRO provider_counted(period_start, period_end) AS TABLE
SELECT f.metro, f.provider_asn, f.direction, f.slot, f.bytes
FROM _provider_filled(period_start, period_end) f
WHERE f.counts AND f.bytes > 0;

CREATE OR REPLACE MACRO provider_counts(period_start, period_end) AS TABLE
WITH sums AS (
    SELECT f.metro, f.provider_asn, f.direction,
        count(*) FILTER (WHERE f.counts AND f.hole) AS filled_slots,
        count(*) FILTER (WHERE NOT f.counts) AS missing_slots,
        any_value(f.silent) AS silent, any_value(f.whole) AS whole
    FROM _provider_filled(period_start, period_end) f
    GROUP BY f.metro, f.provider_asn, f.direction
)
SELECT s.metro, s.provider_asn, s.direction, b.n_slots - s.missing_slots AS n_slots,
    s.filled_slots, s.missing_slots,
    CASE WHEN 20 * s.missing_slots > b.n_slots OR 20 * s.silent > s.whole THEN 'refused'
        WHEN 100 * greatest(s.missing_slots, s.filled_slots) > b.n_slots
            OR 100 * s.silent > s.whole THEN 'estimate'
        ELSE 'exact' END AS quality
FROM sums s CROSS JOIN slots_between(period_start, period_end) b;
