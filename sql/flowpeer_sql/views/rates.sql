-- Rates and percentiles: mbps, p95
--
--   mbps(bytes, seconds)   mean rate in Mbit/s (SI) of bytes moved in so many seconds
--   p95(bytes, n_slots)    aggregate: the 95th percentile of one value per slot, nearest rank, over
--                          n_slots slots; slots without a row are zeros (METHODS M5). The value at
--                          rank (19 n + 19) div 20 of the ascending series, never interpolated.
--                          NULL where n_slots is 0, an error where there are more values than slots.
--
-- One value per slot: sum the rows of a slot first. The rate of a slot is mbps(bytes, 300).

CREATE OR REPLACE MACRO mbps(bytes, seconds) AS bytes::DOUBLE * 8 / (seconds::DOUBLE * 1e6);

CREATE OR REPLACE MACRO _p95_rank(n) AS {p95_rank};

CREATE OR REPLACE MACRO _p95_sorted(ascending, n) AS
    CASE WHEN len(ascending) > n THEN error('p95: more values than slots')
    WHEN n = 0 THEN NULL
    WHEN _p95_rank(n) > n - len(ascending)
    THEN ascending[_p95_rank(n) - n + len(ascending)]
    ELSE 0 END;

CREATE OR REPLACE MACRO p95(bytes, n_slots) AS
    _p95_sorted(
        coalesce(list_sort(list(bytes) FILTER (WHERE bytes IS NOT NULL)), []), n_slots);
