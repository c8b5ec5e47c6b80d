-- Traffic by route, to be summed over a period: route_sums_between
--
--   route_sums_between(period_start, period_end)   `traffic_routes` of a period by day, without the
--       interface: rows of `route_days` of whole days, and of the hours of others. since is the first
--       of the hours that a row is of, with the same routing tables before it; hours tells which
--       hours of the day these are, a bit each.
-- Needs: asn_traffic

CREATE OR REPLACE MACRO _hours_by_route(period_start, period_end) AS TABLE
SELECT date AS day, hour_start AS since, metro, exporter, role, provider_asn, direction, scaled,
    prefix, origin_asn, 1::BIGINT << hour AS hours, bytes, packets, records
FROM routes_between(period_start, period_end);

CREATE OR REPLACE MACRO route_sums_between(period_start, period_end) AS TABLE
SELECT * FROM route_days
WHERE day >= _first_whole_day(period_start)
    AND day < coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE
UNION ALL BY NAME
FROM _hours_by_route(
    period_start, least(_first_whole_day(period_start)::TIMESTAMP, period_end::TIMESTAMP))
UNION ALL BY NAME
FROM _hours_by_route(
    greatest(_first_whole_day(period_start)::TIMESTAMP,
        date_trunc('day', coalesce(period_end::TIMESTAMP, TIMESTAMP '9999-12-31'))), period_end);
