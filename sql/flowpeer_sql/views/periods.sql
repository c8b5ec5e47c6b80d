-- Periods of traffic: traffic_between, transit_between, traffic_slots_between, routes_between, slots_between
--
-- A period starts at period_start (inclusive) and ends at period_end (exclusive), both TIMESTAMP in
-- UTC; NULL is an open end. Only the days of the period are read.
--   traffic_between(period_start, period_end)   rows of `traffic`
--   transit_between(period_start, period_end)   rows of `transit`
--   traffic_slots_between(period_start, period_end), transit_slots_between(period_start, period_end)
--       the same without the remote network, from `traffic_slots`: rows to be summed, far fewer
--   routes_between(period_start, period_end)    rows of `traffic_routes`; its slots are whole hours
--   slots_between(period_start, period_end)     one row: first_slot, last_slot, n_slots. A period
--       that has not ended yet, or has no end, ends with the last slot that was rolled up; one
--       without a start begins with the first.
--
-- A time is taken as UTC, whatever the session's zone. _period_start and _period_end read a period as
-- the program writes it: 2026Q3, 2026-07, 2026-W30, 2026-07-01, START/END.
-- Needs: transit

CREATE OR REPLACE MACRO _utc(moment) AS timezone('UTC', moment);

-- A time with an offset is that moment; DuckDB's own cast would leave the offset out.
CREATE OR REPLACE MACRO _moment(given) AS
    CASE WHEN regexp_full_match(given, '.*:.*([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)')
    THEN timezone('UTC', given::TIMESTAMPTZ) ELSE given::TIMESTAMP END;

CREATE OR REPLACE MACRO _period_fault(period) AS
    CAST(period || ' is no period: write it like 2026Q3, 2026-07, 2026-W30, 2026-07-01 or START/END'
        AS BIGINT)::VARCHAR::TIMESTAMP;

CREATE OR REPLACE MACRO _week_start(period) AS
    date_trunc('week', (period[1:4] || '-01-04')::TIMESTAMP)
        + to_days(7 * (TRY_CAST(right(period, 2) AS INTEGER) - 1));

CREATE OR REPLACE MACRO _period_start(period) AS
    CASE WHEN period IS NULL THEN NULL
    WHEN regexp_full_match(period, '[0-9]{4}-?[Qq][1-4]')
    THEN (period[1:4] || '-01-01')::TIMESTAMP
        + to_months(3 * (TRY_CAST(right(period, 1) AS INTEGER) - 1))
    WHEN regexp_full_match(period, '[0-9]{4}-[0-9]{2}') THEN (period || '-01')::TIMESTAMP
    WHEN regexp_full_match(period, '[0-9]{4}-?[Ww][0-9]{2}') THEN _week_start(period)
    WHEN contains(period, '/') THEN _moment(split_part(period, '/', 1))
    WHEN regexp_full_match(period, '[0-9]{4}-[0-9]{2}-[0-9]{2}') THEN period::TIMESTAMP
    ELSE _period_fault(period) END;

CREATE OR REPLACE MACRO _period_end(period) AS
    CASE WHEN period IS NULL THEN NULL
    WHEN regexp_full_match(period, '[0-9]{4}-?[Qq][1-4]')
    THEN _period_start(period) + INTERVAL 3 MONTH
    WHEN regexp_full_match(period, '[0-9]{4}-[0-9]{2}') THEN _period_start(period) + INTERVAL 1 MONTH
    WHEN regexp_full_match(period, '[0-9]{4}-?[Ww][0-9]{2}') THEN _week_start(period) + INTERVAL 7 DAY
    WHEN contains(period, '/') THEN _moment(split_part(period, '/', 2))
    ELSE _period_start(period) + INTERVAL 1 DAY END;

-- The period to compare with, where none is given: the quarter or month before a whole one, else as
-- long a time before.
CREATE OR REPLACE MACRO _start_before(starts, ends) AS
    CASE WHEN starts IS NULL OR ends IS NULL
    THEN CAST('there is no period to compare with: give period, or period and before' AS BIGINT)
        ::VARCHAR::TIMESTAMP
    WHEN starts = date_trunc('quarter', starts) AND ends = starts + INTERVAL 3 MONTH
    THEN starts - INTERVAL 3 MONTH
    WHEN starts = date_trunc('month', starts) AND ends = starts + INTERVAL 1 MONTH
    THEN starts - INTERVAL 1 MONTH
    ELSE starts - (ends - starts) END;

CREATE OR REPLACE MACRO _before_start(starts, ends, before_starts, before_ends) AS
    CASE WHEN before_starts IS NULL AND before_ends IS NULL THEN _start_before(starts, ends)
    ELSE before_starts END;

CREATE OR REPLACE MACRO _before_end(starts, before_starts, before_ends) AS
    CASE WHEN before_starts IS NULL AND before_ends IS NULL THEN starts ELSE before_ends END;

-- AS15169 and 15169 are one network; a metro that is not configured is a mistake, not no rows.
-- Directions are those of `traffic`, and both as elsewhere in the program.
CREATE OR REPLACE MACRO _asn_of(given) AS
    CASE WHEN given IS NULL THEN NULL
    WHEN regexp_full_match(given::VARCHAR, '(?i)(as)?[0-9]{1,10}|-[1-6]')
        AND regexp_extract(given::VARCHAR, '[-0-9]+')::BIGINT < 4294967296
    THEN regexp_extract(given::VARCHAR, '[-0-9]+')::BIGINT
    ELSE error(given::VARCHAR || ' is no AS number: write it like 15169 or AS15169')::BIGINT END;

-- How many rows; NULL is all of them.
CREATE OR REPLACE MACRO _top_of(given) AS
    CASE WHEN given IS NULL THEN 9223372036854775807
    WHEN regexp_full_match(given::VARCHAR, '[1-9][0-9]{0,17}')
    THEN TRY_CAST(given::VARCHAR AS BIGINT)
    ELSE CAST('top = ' || given::VARCHAR || ' is no number of rows: write it like 20' AS BIGINT) END;

CREATE OR REPLACE MACRO _bucket_of(given) AS
    CASE WHEN TRY_CAST(given::VARCHAR AS INTERVAL) >= INTERVAL 5 MINUTE
    THEN TRY_CAST(given::VARCHAR AS INTERVAL)
    ELSE CAST(given::VARCHAR || ' is no length of time: write it like 5 minutes, 1 hour, 1 day'
        || ' or 1 month' AS BIGINT)::VARCHAR::INTERVAL END;

CREATE OR REPLACE MACRO _metro_known(given) AS (
    SELECT CASE WHEN given IS NULL OR given IN (SELECT m.metro FROM metros m)
        OR NOT EXISTS (FROM metros) THEN true
    ELSE error('no metro ' || given || ' is configured: there are '
        || (SELECT string_agg(m.metro, ', ' ORDER BY m.metro) FROM metros m))::BOOLEAN END);

CREATE OR REPLACE MACRO _exporter_known(given) AS (
    SELECT CASE WHEN given IS NULL OR given IN (SELECT e.exporter FROM exporters e)
        OR NOT EXISTS (FROM exporters) OR regexp_full_match(given, '([0-9]+\.){3}[0-9]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*')
    THEN true
    ELSE error('no exporter ' || given || ' is configured: there are '
        || (SELECT string_agg(DISTINCT e.exporter, ', ' ORDER BY e.exporter) FROM exporters e)
    )::BOOLEAN END);

CREATE OR REPLACE MACRO _role_of(given) AS
    CASE WHEN given IS NULL OR given IN ('transit', 'peer', 'ix', 'customer') THEN given
    ELSE error(given || ' is none of the roles: transit, peer, ix or customer')::VARCHAR END;

CREATE OR REPLACE MACRO _direction_of(given) AS
    CASE WHEN given IS NULL OR given = 'both' THEN NULL
    WHEN given IN ('in', 'out', 'none') THEN given
    ELSE error(given || ' is not a direction: in, out or both')::VARCHAR END;

CREATE OR REPLACE MACRO traffic_between(period_start, period_end) AS TABLE
SELECT * FROM traffic
WHERE slot >= coalesce(_utc(period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND slot < coalesce(_utc(period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO transit_between(period_start, period_end) AS TABLE
SELECT * FROM transit
WHERE slot >= coalesce(_utc(period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND slot < coalesce(_utc(period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO traffic_slots_between(period_start, period_end) AS TABLE
SELECT * FROM traffic_slots
WHERE slot >= coalesce(_utc(period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND slot < coalesce(_utc(period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO transit_slots_between(period_start, period_end) AS TABLE
SELECT t.* EXCLUDE (role, scaled) FROM traffic_slots_between(period_start, period_end) t
WHERE t.role = 'transit' AND t.scaled;

CREATE OR REPLACE MACRO routes_between(period_start, period_end) AS TABLE
SELECT * FROM traffic_routes
WHERE hour_start >= coalesce(_utc(period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND hour_start < coalesce(_utc(period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO slots_between(period_start, period_end) AS TABLE
WITH seen AS (
    SELECT min(slot) AS earliest, max(slot) AS latest FROM traffic_slots
    WHERE date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
), ends AS (
    SELECT coalesce(_utc(period_start::TIMESTAMP), earliest) AS first_slot,
        CASE WHEN period_end IS NULL THEN latest
            ELSE least(latest, _utc(period_end::TIMESTAMP) - INTERVAL 5 MINUTE) END AS last_slot
    FROM seen WHERE latest IS NOT NULL
)
SELECT first_slot, last_slot,
    ((epoch_us(last_slot) - epoch_us(first_slot)) // 300000000 + 1)::BIGINT AS n_slots
FROM ends WHERE last_slot >= first_slot;

-- Slots from the first to the last of the period that were rolled up, one row each.
CREATE OR REPLACE MACRO _slots_rolled_up(period_start, period_end) AS TABLE
SELECT unnest(generate_series(min(slot), max(slot), INTERVAL 5 MINUTE)) AS slot
FROM traffic_slots_between(period_start, period_end);
