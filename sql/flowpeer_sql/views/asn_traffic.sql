-- Traffic by remote network, what was folded to hours included: asn_traffic, asn_traffic_between, asn_sums_between
--
-- Rows of `traffic`, but those of small networks that are kept by the hour only (code -6 there) are
-- replaced by their rows of `traffic_routes`: `folded` is true and `slot` the start of the hour. So
-- the sums of a network are exact; what moved in one slot is known of rows that are not folded.
--   asn_traffic_between(period_start, period_end)   the rows of a period; the bytes of a folded hour
--       count where the hour starts
--   asn_sums_between(period_start, period_end)      the same by day, without slot and interface: rows
--       to be summed, of whole days from `asn_days`, far fewer
-- Needs: periods, covered_slots

CREATE OR REPLACE VIEW asn_traffic AS
SELECT *, false AS folded FROM traffic WHERE remote_asn <> -6
UNION ALL BY NAME
SELECT hour_start AS slot, CASE WHEN contains(prefix, ':') THEN 6 ELSE 4 END::INTEGER AS family,
    origin_asn AS remote_asn, * EXCLUDE (hour_start, origin_asn, prefix, local_prefix)
FROM traffic_routes WHERE folded;

CREATE OR REPLACE MACRO asn_traffic_between(period_start, period_end) AS TABLE
SELECT * FROM asn_traffic
WHERE slot >= coalesce(_utc(period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND slot < coalesce(_utc(period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00')
    AND date >= coalesce(period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE;

CREATE OR REPLACE MACRO _first_whole_day(moment) AS
    coalesce(moment::TIMESTAMP + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND, TIMESTAMP '0001-01-01')::DATE;

CREATE OR REPLACE MACRO asn_sums_between(period_start, period_end) AS TABLE
SELECT * FROM asn_days
WHERE day >= _first_whole_day(period_start)
    AND day < coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE
UNION ALL BY NAME
SELECT date AS day, metro, role, provider_asn, direction, family, remote_asn, scaled, bytes, packets, records
FROM asn_traffic_between(
    period_start, least(_first_whole_day(period_start)::TIMESTAMP, period_end::TIMESTAMP))
UNION ALL BY NAME
SELECT date AS day, metro, role, provider_asn, direction, family, remote_asn, scaled, bytes, packets, records
FROM asn_traffic_between(
    greatest(_first_whole_day(period_start)::TIMESTAMP,
        date_trunc('day', coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31'))), period_end);

-- Bytes that exporters did not report while they were silent, taken like the rest of theirs in that
-- part of the period (M5).
CREATE OR REPLACE MACRO _asn_unreported(period_start, period_end, parts) AS TABLE
WITH weights AS (  -- the limit tells the planner that they are few: it would hash the traffic
    FROM _part_weights(period_start, period_end, parts) LIMIT 100000
)
SELECT t.metro, t.exporter, t.provider_asn, t.direction, t.remote_asn, w.part,
    sum(t.bytes)::BIGINT * (w.weight - 1) AS bytes
FROM asn_traffic_between(period_start, period_end) t
JOIN weights w ON w.exporter = t.exporter AND w.part = _part_of(parts, t.slot)
WHERE t.role = 'transit' AND t.scaled
GROUP BY t.metro, t.exporter, t.provider_asn, t.direction, t.remote_asn, w.part, w.weight;
