-- Flow records that can be summed, of a period: crossings_between
--
--   crossings_between(period_start, period_end)   rows of `crossings`: a row a record, crossing and
--       hour, scaled, whose sums are those of `traffic`; its hours are whole
-- Apart from the other periods, since to name `crossings` is to have it made.
-- Needs: periods

CREATE OR REPLACE MACRO crossings_between(period_start, period_end) AS TABLE
SELECT * FROM crossings
WHERE hour_start >= coalesce(_utc(period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND hour_start < coalesce(_utc(period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00');
