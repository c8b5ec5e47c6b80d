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

CREATE OR REPLACE MACRO _exporter_slots(period_start, period_end) AS TABLE
WITH span AS (
    FROM slots_between(period_start, period_end)
), heard AS (
    SELECT e.exporter, c.slot, c.session, c.domain, sum(c.received) AS received,
        sum(c.lost) AS lost, min(c.first_sequence) AS first_sequence,
        max(c.last_sequence) AS last_sequence
    FROM coverage c
    JOIN exporters e ON e.address = c.exporter_ip
    JOIN span s ON c.slot >= s.first_slot - INTERVAL 1 DAY AND c.slot <= s.last_slot + INTERVAL 1 DAY
    WHERE c.date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-02')::DATE - 1
    GROUP BY e.exporter, c.slot, c.session, c.domain
    HAVING bool_or(c.seen)
), told AS (
    SELECT h.exporter, h.slot, 20 * sum(h.lost) < sum(h.lost) + sum(h.received) AS well
    FROM heard h JOIN span s ON h.slot BETWEEN s.first_slot AND s.last_slot
    GROUP BY h.exporter, h.slot
), silences AS (
    SELECT exporter, slot AS ends, lag(slot) OVER before AS begins,
        coalesce(lost = 0 AND session = lag(session) OVER before
            AND first_sequence = lag(last_sequence) OVER before, false) AS runs_on
    FROM heard
    WINDOW before AS (PARTITION BY exporter, domain ORDER BY slot, session)
    QUALIFY slot - lag(slot) OVER before > INTERVAL 5 MINUTE
), carried AS (
    SELECT t.metro, t.exporter, t.slot, sum(t.bytes)::DOUBLE AS bytes
    FROM transit_between(period_start, period_end) t
    GROUP BY t.metro, t.exporter, t.slot
), every AS (
    SELECT DISTINCT exporter, metro, valid_from, valid_until, true AS configured FROM exporters
    UNION ALL
    SELECT DISTINCT c.exporter, c.metro, NULL, NULL, false
    FROM carried c ANTI JOIN exporters e ON e.exporter = c.exporter
), grid AS (
    SELECT v.*, unnest(generate_series(s.first_slot, s.last_slot, INTERVAL 5 MINUTE)) AS slot,
        v.exporter IN (SELECT exporter FROM told) AS is_told
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
    NOT g.configured OR NOT g.is_told OR coalesce(t.well, p.runs_on, false) AS covered,
    coalesce(c.bytes, 0) AS bytes
FROM grid g
LEFT JOIN told t ON t.exporter = g.exporter AND t.slot = g.slot
LEFT JOIN proved p ON p.exporter = g.exporter AND p.slot = g.slot
LEFT JOIN carried c ON c.metro = g.metro AND c.exporter = g.exporter AND c.slot = g.slot;

CREATE OR REPLACE MACRO _metro_slots(period_start, period_end) AS TABLE
WITH flags AS MATERIALIZED (
    FROM _exporter_slots(period_start, period_end)
), means AS (
    SELECT metro, exporter, coalesce(avg(bytes) FILTER (WHERE due AND covered), 0) AS mean,
        2 * count(*) FILTER (WHERE due AND covered) < count(*) FILTER (WHERE due) AS left_out
    FROM flags GROUP BY metro, exporter
), sums AS (
    SELECT f.metro, f.slot,
        coalesce(sum(m.mean) FILTER (WHERE f.due AND NOT m.left_out), 0) AS expected,
        coalesce(sum(m.mean) FILTER (WHERE f.due AND f.covered AND NOT m.left_out), 0) AS told,
        bool_or(f.due) AS wanted, bool_or(f.due AND f.covered) AS heard,
        bool_or(f.due AND NOT f.covered AND NOT m.left_out) AS hole
    FROM flags f JOIN means m USING (metro, exporter)
    GROUP BY f.metro, f.slot
), outside AS (
    SELECT metro, coalesce(sum(mean) FILTER (WHERE left_out), 0) AS silent, sum(mean) AS whole
    FROM means GROUP BY metro
)
SELECT s.metro, s.slot, s.hole, o.silent, o.whole,
    100 * s.told >= 99 * s.expected * (1 - 1e-12) AND (s.heard OR NOT s.wanted) AS counts
FROM sums s JOIN outside o USING (metro);

CREATE OR REPLACE MACRO slots_uncovered(period_start, period_end) AS TABLE
SELECT m.metro, m.slot FROM _metro_slots(period_start, period_end) m WHERE NOT m.counts;

-- With the slots that do not count, for questions that need both: to find them is a scan.
CREATE OR REPLACE MACRO _slots_of_metros(period_start, period_end) AS TABLE
WITH sums AS (
    SELECT m.metro, count(*) FILTER (WHERE m.counts) AS n_slots,
        count(*) FILTER (WHERE m.counts AND m.hole) AS filled_slots,
        count(*) FILTER (WHERE NOT m.counts) AS missing_slots, any_value(m.silent) AS silent,
        any_value(m.whole) AS whole, list(m.slot) FILTER (WHERE NOT m.counts) AS uncovered_slots
    FROM _metro_slots(period_start, period_end) m
    GROUP BY m.metro
), metros_seen AS (
    SELECT DISTINCT metro FROM traffic_between(period_start, period_end)
)
SELECT v.metro, coalesce(s.n_slots, b.n_slots) AS n_slots,
    coalesce(s.filled_slots, 0) AS filled_slots, coalesce(s.missing_slots, 0) AS missing_slots,
    CASE WHEN 20 * s.missing_slots > b.n_slots OR 20 * s.silent > s.whole THEN 'refused'
        WHEN 100 * greatest(s.missing_slots, s.filled_slots) > b.n_slots
            OR 100 * s.silent > s.whole THEN 'estimate'
        ELSE 'exact' END AS quality, s.uncovered_slots
FROM metros_seen v
CROSS JOIN slots_between(period_start, period_end) b
LEFT JOIN sums s USING (metro);

CREATE OR REPLACE MACRO slots_by_metro(period_start, period_end) AS TABLE
SELECT * EXCLUDE (uncovered_slots) FROM _slots_of_metros(period_start, period_end);
