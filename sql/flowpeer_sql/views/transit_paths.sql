-- Transit traffic by route, with the path through the provider that carried it: transit_paths
--
--   transit_paths(period_start, period_end)   one row per metro, exporter, provider, direction, prefix
--       and view: scaled bytes, origin_asn, as_path, path and next_asn of `provider_paths`. An exporter
--       takes its own view of the provider (named after it, or from a neighbour of its interface), else
--       one of its metro, else any; of that the latest before the hour, else the earliest (METHODS
--       M4). as_path is null where there is no view of the provider or it has no such route.
-- Needs: route_sums, provider_paths

CREATE OR REPLACE MACRO transit_paths(period_start, period_end) AS TABLE
WITH links AS (
    SELECT DISTINCT t.metro, t.exporter, t.provider_asn
    FROM transit_slots_between(period_start, period_end) t
), hours AS (
    SELECT l.*, unnest(generate_series(
        date_trunc('day', s.first_slot), s.last_slot, INTERVAL 1 HOUR)) AS hour_start
    FROM links l CROSS JOIN slots_between(period_start, period_end) s
), neighbours AS (
    SELECT i.exporter, i.metro, i.asn, unnest(string_split(i.neighbours, ' ')) AS address
    FROM interfaces i WHERE i.neighbours <> ''
), seen AS (
    SELECT DISTINCT p.taken_at, p.vantage, p.provider_asn,
        regexp_extract(p.vantage, '@(.*)$', 1) AS address
    FROM provider_paths p
), owned AS (
    SELECT v.taken_at, v.vantage, v.provider_asn, v.address, n.exporter, n.metro
    FROM seen v LEFT JOIN neighbours n
        ON n.asn = v.provider_asn AND n.address = v.address AND v.address <> ''
), chosen AS (
    SELECT h.hour_start, h.exporter, h.provider_asn, v.taken_at, v.vantage
    FROM hours h JOIN owned v ON v.provider_asn = h.provider_asn
    QUALIFY row_number() OVER (
        PARTITION BY h.hour_start, h.exporter, h.provider_asn
        ORDER BY
            CASE WHEN v.vantage = h.exporter OR v.exporter = h.exporter THEN 1
                WHEN v.vantage = h.metro OR v.metro = h.metro THEN 2 ELSE 3 END,
            v.taken_at <= h.hour_start DESC,
            CASE WHEN v.taken_at <= h.hour_start THEN -epoch_us(v.taken_at)
                ELSE epoch_us(v.taken_at) END,
            v.vantage) = 1
), by_view AS (
    SELECT s.metro, s.exporter, s.provider_asn, s.direction, s.prefix, s.origin_asn, c.taken_at,
        c.vantage, sum(s.bytes)::BIGINT AS bytes
    FROM route_sums_between(period_start, period_end) s LEFT JOIN chosen c
        ON c.hour_start = s.since AND c.exporter = s.exporter
        AND c.provider_asn = s.provider_asn
    WHERE s.role = 'transit' AND s.scaled
    GROUP BY ALL
)
SELECT b.metro, b.exporter, b.provider_asn, b.direction, b.prefix, b.origin_asn, b.bytes,
    p.as_path, p.path, p.next_asn, b.taken_at, b.vantage
FROM by_view b LEFT JOIN provider_paths p
    ON p.taken_at = b.taken_at AND p.vantage = b.vantage AND p.provider_asn = b.provider_asn
    AND p.prefix = b.prefix;
