-- Routes as each provider gives them, one row per view, provider and prefix
--
-- The provider is that of a RIB view named AS<provider>@<address>, else the first network on the path.
-- path is the AS path as a list without repetitions in a row (prepends), the provider itself left out
-- at its head; next_asn the first of it, null where the provider is the origin or a set follows.

CREATE OR REPLACE VIEW provider_paths AS
WITH views AS (
    SELECT taken_at, coalesce(
            TRY_CAST(regexp_extract(vantage, '^AS([0-9]+)@', 1) AS BIGINT),
            TRY_CAST(split_part(as_path, ' ', 1) AS BIGINT)) AS provider_asn,
        vantage, prefix, origin_asn, as_path, string_split(as_path, ' ') AS hops
    FROM routes WHERE as_path <> ''
), one AS (
    SELECT * FROM views WHERE provider_asn IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY taken_at, vantage, provider_asn, prefix ORDER BY as_path) = 1
), collapsed AS (
    SELECT *, list_filter(hops, lambda hop, i: i = 1 OR hop <> hops[i - 1]) AS distinct_hops
    FROM one
)
SELECT taken_at, provider_asn, vantage, prefix, origin_asn, as_path,
    CASE WHEN distinct_hops[1] = provider_asn::VARCHAR THEN distinct_hops[2:]
        ELSE distinct_hops END AS path,
    TRY_CAST(path[1] AS BIGINT) AS next_asn
FROM collapsed;
