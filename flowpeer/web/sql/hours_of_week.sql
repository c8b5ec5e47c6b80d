-- When in the week transit is busy
-- Hours are UTC, day 1 is Monday.
-- Uses: period, metro, provider, direction
-- Columns: metro, provider_asn, provider, direction, day, hour_utc, bytes, n_slots, mean_mbps, peak_mbps
SELECT h.*
FROM hour_of_week(period_start := $period_start, period_end := $period_end,
    direction := $direction) h
WHERE ($metros IS NULL OR list_contains($metros, h.metro))
    AND ($providers IS NULL OR list_contains($providers, h.provider_asn))
