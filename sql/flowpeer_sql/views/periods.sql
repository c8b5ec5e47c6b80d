-- Periods of traffic: traffic_between, transit_between, routes_between, slots_between
--
-- A period starts at period_start (inclusive) and ends at period_end (exclusive), both TIMESTAMP in
-- UTC; NULL is an open end. Only the days of the period are read.
--   traffic_between(period_start, period_end)   rows of `traffic`
--   transit_between(period_start, period_end)   rows of `transit`
--   routes_between(period_start, period_end)    rows of `traffic_routes`; its slots are whole hours
--   slots_between(period_start, period_end)     one row: first_slot, last_slot, n_slots. A period
--       that has not ended yet, or has no end, ends with the last slot that was rolled up; one
--       without a start begins with the first.
-- Needs: transit

CREATE OR REPLACE MACRO traffic_between(period_start, period_end) AS TABLE
SELECT * FROM traffic
WHERE slot >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')
    AND slot < coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO transit_between(period_start, period_end) AS TABLE
SELECT * FROM transit
WHERE slot >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')
    AND slot < coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO routes_between(period_start, period_end) AS TABLE
SELECT * FROM traffic_routes
WHERE hour_start >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')
    AND hour_start < coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO slots_between(period_start, period_end) AS TABLE
WITH seen AS (
    SELECT min(slot) AS earliest, max(slot) AS latest FROM traffic
    WHERE date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
), ends AS (
    SELECT coalesce(period_start::TIMESTAMP, earliest) AS first_slot,
        CASE WHEN period_end IS NULL THEN latest
            ELSE least(latest, period_end::TIMESTAMP - INTERVAL 5 MINUTE) END AS last_slot
    FROM seen WHERE latest IS NOT NULL
)
SELECT first_slot, last_slot,
    ((epoch_us(last_slot) - epoch_us(first_slot)) // 300000000 + 1)::BIGINT AS n_slots
FROM ends WHERE last_slot >= first_slot;
