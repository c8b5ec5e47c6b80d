-- Slots that count for a percentile: slots_uncovered, slots_by_metro
--
-- METHODS M5, for the transit of each metro, both directions together. An exporter is due in the
-- whole period, or from its `from` until its `until`. It is covered in a slot in which it was seen
-- and less than 5 % was lost, and in a silence across which the sequence numbers of every domain run
-- on. A slot counts where the covered exporters carry at least 99 % of the mean bytes of those due;
-- an exporter covered in less than half of its slots is left out. One without any row of `coverage`
-- in the period (imported from another tool) is taken as covered.
--   slots_uncovered(period_start, period_end)  one row per metro and missing slot
--   slots_by_metro(period_start, period_end)   one row per metro: n_slots that count, filled_slots of
--       them in which some small exporter is missing, missing_slots, and what a p95 over them is:
--       exact, estimate (over 1 % missing or filled) or refused (over 5 % missing)
-- Needs: periods

-- Of configured exporters; who is not configured is always there.
CREATE OR REPLACE MACRO _exporter_flags(period_start, period_end) AS TABLE
WITH span AS (
    FROM slots_between(period_start, period_end)
), seen AS (
    SELECT e.exporter, c.slot, c.session, c.domain, sum(c.received) AS received,
        sum(c.lost) AS lost, min(c.first_sequence) AS first_sequence,
        max(c.last_sequence) AS last_sequence
    FROM coverage c
    JOIN exporters e ON e.address = c.exporter_ip
    JOIN span s ON c.slot >= s.first_slot - INTERVAL 1 DAY AND c.slot <= s.last_slot + INTERVAL 1 DAY
    WHERE c.date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-02')::DATE - 1
    GROUP BY e.exporter, c.slot, c.session, c.domain
    HAVING bool_or(c.seen)
), reported AS (
    SELECT h.exporter, h.slot, 20 * sum(h.lost) < sum(h.lost) + sum(h.received) AS well
    FROM seen h JOIN span s ON h.slot BETWEEN s.first_slot AND s.last_slot
    GROUP BY h.exporter, h.slot
), silences AS (
    SELECT exporter, slot AS ends, lag(slot) OVER before AS begins,
        coalesce(lost = 0 AND session = lag(session) OVER before
            AND first_sequence = lag(last_sequence) OVER before, false) AS runs_on
    FROM seen
    WINDOW before AS (PARTITION BY exporter, domain ORDER BY slot, session)
    QUALIFY slot - lag(slot) OVER before > INTERVAL 5 MINUTE
), every AS (
    SELECT DISTINCT exporter, metro, valid_from, valid_until FROM exporters
), grid AS (
    SELECT v.*, unnest(generate_series(s.first_slot, s.last_slot, INTERVAL 5 MINUTE)) AS slot,
        v.exporter IN (SELECT exporter FROM reported) AS is_reported
    FROM every v CROSS JOIN span s
), proved AS (
    SELECT g.exporter, g.slot, bool_and(x.runs_on) AS runs_on
    FROM grid g JOIN silences x
        ON x.exporter = g.exporter AND g.slot > x.begins AND g.slot < x.ends
    GROUP BY g.exporter, g.slot
)
SELECT g.metro, g.exporter, g.slot,
    (g.valid_from IS NULL OR g.slot >= g.valid_from)
        AND (g.valid_until IS NULL OR g.slot < g.valid_until) AS due,
    NOT g.is_reported OR coalesce(t.well, p.runs_on, false) AS covered
FROM grid g
LEFT JOIN reported t ON t.exporter = g.exporter AND t.slot = g.slot
LEFT JOIN proved p ON p.exporter = g.exporter AND p.slot = g.slot;

-- Of metros in which something is missing: in all others every slot counts, and nothing is read.
CREATE OR REPLACE MACRO _metro_slots(period_start, period_end) AS TABLE
WITH sure AS MATERIALIZED (
    FROM _exporter_flags(period_start, period_end)
), silent AS MATERIALIZED (
    SELECT DISTINCT f.metro FROM sure f WHERE f.due AND NOT f.covered
), carried AS MATERIALIZED (
    SELECT t.metro, t.exporter, t.slot, sum(t.bytes)::DOUBLE AS bytes
    FROM transit_slots_between(period_start, period_end) t SEMI JOIN silent s ON s.metro = t.metro
    GROUP BY t.metro, t.exporter, t.slot
), every AS (
    SELECT f.metro, f.exporter, f.slot, f.due, f.covered FROM sure f SEMI JOIN silent USING (metro)
    UNION ALL
    SELECT n.metro, n.exporter,
        unnest(generate_series(s.first_slot, s.last_slot, INTERVAL 5 MINUTE)), true, true
    FROM (
        SELECT DISTINCT c.metro, c.exporter
        FROM carried c ANTI JOIN exporters e ON e.exporter = c.exporter
    ) n CROSS JOIN slots_between(period_start, period_end) s
), flags AS MATERIALIZED (
    SELECT e.metro, e.exporter, e.slot, e.due, e.covered, coalesce(c.bytes, 0) AS bytes
    FROM every e
    LEFT JOIN carried c ON c.metro = e.metro AND c.exporter = e.exporter AND c.slot = e.slot
), means AS (
    SELECT metro, exporter, coalesce(avg(bytes) FILTER (WHERE due AND covered), 0) AS mean,
        2 * count(*) FILTER (WHERE due AND covered) < count(*) FILTER (WHERE due) AS left_out
    FROM flags GROUP BY metro, exporter
), sums AS (
    SELECT f.metro, f.slot,
        coalesce(sum(m.mean) FILTER (WHERE f.due AND NOT m.left_out), 0) AS expected,
        coalesce(sum(m.mean) FILTER (WHERE f.due AND f.covered AND NOT m.left_out), 0) AS reported,
        bool_or(f.due) AS wanted, bool_or(f.due AND f.covered) AS seen,
        bool_or(f.due AND NOT f.covered AND NOT m.left_out) AS hole
    FROM flags f JOIN means m USING (metro, exporter)
    GROUP BY f.metro, f.slot
), outside AS (
    SELECT metro, coalesce(sum(mean) FILTER (WHERE left_out), 0) AS silent, sum(mean) AS whole
    FROM means GROUP BY metro
)
SELECT s.metro, s.slot, s.hole, o.silent, o.whole,
    100 * s.reported >= 99 * s.expected * (1 - 1e-12) AND (s.seen OR NOT s.wanted) AS counts
FROM sums s JOIN outside o USING (metro);

CREATE OR REPLACE MACRO _quality(missing, filled, slots, silent, whole) AS
    CASE WHEN 20 * missing > slots OR 20 * silent > whole THEN 'refused'
    WHEN 100 * greatest(missing, filled) > slots OR 100 * silent > whole THEN 'estimate'
    WHEN missing IS NOT NULL THEN 'exact' END;

CREATE OR REPLACE MACRO slots_uncovered(period_start, period_end) AS TABLE
SELECT m.metro, m.slot FROM _metro_slots(period_start, period_end) m WHERE NOT m.counts;

CREATE OR REPLACE MACRO slots_by_metro(period_start, period_end) AS TABLE
WITH sums AS (
    SELECT m.metro, count(*) FILTER (WHERE m.counts) AS n_slots,
        count(*) FILTER (WHERE m.counts AND m.hole) AS filled_slots,
        count(*) FILTER (WHERE NOT m.counts) AS missing_slots, any_value(m.silent) AS silent,
        any_value(m.whole) AS whole
    FROM _metro_slots(period_start, period_end) m
    GROUP BY m.metro
), metros_seen AS (
    SELECT DISTINCT metro FROM traffic_slots_between(period_start, period_end)
)
SELECT v.metro, coalesce(s.n_slots, b.n_slots) AS n_slots,
    coalesce(s.filled_slots, 0) AS filled_slots, coalesce(s.missing_slots, 0) AS missing_slots,
    coalesce(_quality(s.missing_slots, s.filled_slots, b.n_slots, s.silent, s.whole), 'exact')
        AS quality
FROM metros_seen v
CROSS JOIN slots_between(period_start, period_end) b
LEFT JOIN sums s USING (metro);

-- The part of a period that a slot is in: its calendar month or ISO week (its start, UTC), its hour
-- of the week (of the week of 2001-01-01), or the one part that there is.
CREATE OR REPLACE MACRO _part_of(parts, slot) AS
    CASE parts WHEN 'month' THEN date_trunc('month', timezone('UTC', slot))::TIMESTAMP
    WHEN 'week' THEN date_trunc('week', timezone('UTC', slot))::TIMESTAMP
    WHEN 'hour' THEN TIMESTAMP '2001-01-01' + to_days((isodow(timezone('UTC', slot)) - 1)::INTEGER)
        + to_hours(hour(timezone('UTC', slot)))
    ELSE TIMESTAMP '2001-01-01' END;

-- What the bytes of an exporter count for in an average (M5): due over present slots, where it was
-- due and not covered in some and carried nothing. Of all others it is 1, and they have no row.
-- By part (`_part_of`); unless that is 'period', from the first to the last slot rolled up.
CREATE OR REPLACE MACRO _part_weights(period_start, period_end, parts) AS TABLE
WITH rolled_up AS MATERIALIZED (
    SELECT min(slot) AS earliest, max(slot) AS latest
    FROM traffic_slots_between(period_start, period_end)
), flags AS MATERIALIZED (
    SELECT f.exporter, f.slot, f.due, f.covered, _part_of(parts, f.slot) AS part
    FROM _exporter_flags(period_start, period_end) f CROSS JOIN rolled_up r
    WHERE parts = 'period' OR f.slot BETWEEN r.earliest AND r.latest
), holes AS MATERIALIZED (
    SELECT f.exporter, f.slot, f.part FROM flags f WHERE f.due AND NOT f.covered
), carries AS (  -- made before it is joined: rows of traffic would fill the hash table
    SELECT DISTINCT t.exporter, t.slot FROM traffic_slots_between(period_start, period_end) t
    WHERE t.role = 'transit'
), dues AS (
    SELECT f.exporter, f.part, count(*) AS due FROM flags f SEMI JOIN holes USING (exporter, part)
    WHERE f.due GROUP BY f.exporter, f.part
), absent AS (
    SELECT h.exporter, h.part, count(*) AS slots
    FROM holes h ANTI JOIN carries c ON c.exporter = h.exporter AND c.slot = h.slot
    GROUP BY h.exporter, h.part
)
SELECT d.exporter, d.part,
    CASE WHEN d.due > a.slots THEN d.due::DOUBLE / (d.due - a.slots) ELSE 1 END AS weight
FROM dues d JOIN absent a USING (exporter, part);

CREATE OR REPLACE MACRO _exporter_weights(period_start, period_end) AS TABLE
SELECT exporter, weight FROM _part_weights(period_start, period_end, 'period');

-- Bytes of transit that exporters did not report while they were silent, taken like the rest of
-- theirs in that part (M5). Fractions are added in one order, so that a sum is the same each time.
CREATE OR REPLACE MACRO _transit_unreported(period_start, period_end, parts) AS TABLE
WITH sums AS (
    SELECT t.metro, t.provider_asn, t.direction, w.part, t.exporter,
        sum(t.bytes)::BIGINT * (w.weight - 1) AS bytes
    FROM transit_slots_between(period_start, period_end) t
    JOIN _part_weights(period_start, period_end, parts) w
        ON w.exporter = t.exporter AND w.part = _part_of(parts, t.slot)
    GROUP BY t.metro, t.provider_asn, t.direction, w.part, t.exporter, w.weight
)
SELECT metro, provider_asn, direction, part, list_sum(list(bytes ORDER BY exporter)) AS bytes
FROM sums GROUP BY metro, provider_asn, direction, part;

-- Slots of the exporters that something is missing of: reported, or a hole (due and not covered), with
-- the nearest reported ones before and after it, at most six away; reported_slots are all of an exporter.
CREATE OR REPLACE MACRO _exporter_holes(period_start, period_end) AS TABLE
WITH flags AS MATERIALIZED (
    SELECT f.exporter, f.slot, f.due AND f.covered AS reported, f.due AND NOT f.covered AS hole
    FROM _exporter_flags(period_start, period_end) f
), partly AS (
    FROM flags f SEMI JOIN (SELECT exporter FROM flags WHERE hole) h USING (exporter)
)
SELECT s.exporter, s.slot, s.reported, s.hole,
    last_value(CASE WHEN s.reported THEN s.slot END IGNORE NULLS)
        OVER (own ROWS BETWEEN 6 PRECEDING AND 1 PRECEDING) AS slot_before,
    first_value(CASE WHEN s.reported THEN s.slot END IGNORE NULLS)
        OVER (own ROWS BETWEEN 1 FOLLOWING AND 6 FOLLOWING) AS slot_after,
    count(*) FILTER (WHERE s.reported) OVER (PARTITION BY s.exporter) AS reported_slots
FROM partly s
WINDOW own AS (PARTITION BY s.exporter ORDER BY s.slot);
