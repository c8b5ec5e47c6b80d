-- Slots that count for a percentile: slots_uncovered, slots_by_metro
--
-- METHODS M5: a slot in which an exporter was not seen, or more than 5 % of what it sent was lost,
-- is missing, not zero. An exporter counts from the first slot of the period it was seen in to the
-- last; slots of a metro in which none counts are missing too. A metro without any row in `coverage`
-- (imported from another tool) is taken as covered.
--   slots_uncovered(period_start, period_end)  one row per metro and missing slot
--   slots_by_metro(period_start, period_end)   one row per metro: n_slots that count, missing_slots,
--       and what a p95 over them is: exact, estimate (over 1 % missing) or refused (over 5 %)
-- Needs: periods

CREATE OR REPLACE MACRO slots_uncovered(period_start, period_end) AS TABLE
WITH span AS (
    FROM slots_between(period_start, period_end)
), told AS (
    SELECT e.exporter, e.metro, c.exporter_ip AS address, c.slot,
        20 * sum(c.lost) <= sum(c.lost) + sum(c.received) AS well
    FROM coverage c
    JOIN exporters e ON e.address = c.exporter_ip
    JOIN span s ON c.slot BETWEEN s.first_slot AND s.last_slot
    WHERE c.date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    GROUP BY e.exporter, e.metro, c.exporter_ip, c.slot
    HAVING bool_or(c.seen)
), counted AS (
    SELECT exporter, metro, min(slot) AS first_seen, max(slot) AS last_seen
    FROM told GROUP BY exporter, metro
), every AS (
    SELECT metro, unnest(generate_series(s.first_slot, s.last_slot, INTERVAL 5 MINUTE)) AS slot
    FROM (SELECT DISTINCT metro FROM counted) CROSS JOIN span s
), due AS (
    SELECT v.metro, v.slot, c.exporter
    FROM every v LEFT JOIN counted c
        ON c.metro = v.metro AND v.slot BETWEEN c.first_seen AND c.last_seen
)
SELECT DISTINCT d.metro, d.slot
FROM due d ANTI JOIN (FROM told WHERE well) t ON t.exporter = d.exporter AND t.slot = d.slot;

CREATE OR REPLACE MACRO slots_by_metro(period_start, period_end) AS TABLE
WITH missing AS (
    SELECT metro, count(*) AS missing_slots
    FROM slots_uncovered(period_start, period_end) GROUP BY metro
), metros_seen AS (
    SELECT DISTINCT metro FROM traffic_between(period_start, period_end)
)
SELECT m.metro, s.n_slots - coalesce(x.missing_slots, 0) AS n_slots,
    coalesce(x.missing_slots, 0) AS missing_slots,
    CASE WHEN 20 * coalesce(x.missing_slots, 0) > s.n_slots THEN 'refused'
        WHEN 100 * coalesce(x.missing_slots, 0) > s.n_slots THEN 'estimate'
        ELSE 'exact' END AS quality
FROM metros_seen m
CROSS JOIN slots_between(period_start, period_end) s
LEFT JOIN missing x USING (metro);
