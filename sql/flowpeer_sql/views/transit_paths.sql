-- Transit traffic by route, with the path through the provider that carried it: transit_paths
--
--   transit_paths(period_start, period_end)   one row per metro, provider, direction and prefix and
--       snapshot: scaled bytes, origin_asn, as_path, path and next_asn of `provider_paths`. An hour
--       takes the provider's latest RIB view before it, else its earliest (METHODS M4); as_path is
--       null where there is no view of the provider or it has no such route.
-- Needs: periods, provider_paths

CREATE OR REPLACE MACRO transit_paths(period_start, period_end) AS TABLE
WITH sums AS (
    SELECT hour_start, metro, provider_asn, direction, prefix, origin_asn,
        sum(bytes)::BIGINT AS bytes
    FROM routes_between(period_start, period_end)
    WHERE role = 'transit' AND scaled
    GROUP BY ALL
), hours AS (
    SELECT DISTINCT hour_start, provider_asn FROM sums
), times AS (
    SELECT DISTINCT taken_at,
        TRY_CAST(regexp_extract(vantage, '^AS([0-9]+)@', 1) AS BIGINT) AS provider_asn
    FROM routes
), chosen AS (
    SELECT h.hour_start, h.provider_asn, coalesce(
        max(t.taken_at) FILTER (WHERE t.taken_at <= h.hour_start), min(t.taken_at)) AS taken_at
    FROM hours h LEFT JOIN times t USING (provider_asn)
    GROUP BY ALL
), by_snapshot AS (
    SELECT s.metro, s.provider_asn, s.direction, s.prefix, s.origin_asn, c.taken_at,
        sum(s.bytes)::BIGINT AS bytes
    FROM sums s JOIN chosen c
        ON c.hour_start = s.hour_start AND c.provider_asn IS NOT DISTINCT FROM s.provider_asn
    GROUP BY ALL
)
SELECT b.metro, b.provider_asn, b.direction, b.prefix, b.origin_asn, b.bytes,
    p.as_path, p.path, p.next_asn, b.taken_at, p.vantage
FROM by_snapshot b LEFT JOIN provider_paths p USING (taken_at, provider_asn, prefix);
