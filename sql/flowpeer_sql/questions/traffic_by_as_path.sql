-- Over which AS paths does our transit traffic go?
--
-- The path is that of the RIB view of the provider that carried the bytes, without prepends, the
-- provider first; null where there is no such view or route. Inbound bytes are shown by the
-- path back to their source, which they need not have taken.
-- One row per metro, provider, direction and path; the largest `top` of each metro and provider.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro and provider; NULL is all

WITH totals AS (
    SELECT metro, provider_asn, direction,
        provider_asn || coalesce(' ' || nullif(array_to_string(path, ' '), ''), '') AS path,
        as_path IS NOT NULL AS known,
        count(DISTINCT prefix) AS prefixes, sum(bytes)::BIGINT AS bytes
    FROM transit_paths($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY ALL
)
SELECT t.metro, t.provider_asn, p.provider, t.direction,
    row_number() OVER largest AS place,
    CASE WHEN t.known THEN t.path END AS as_path,
    t.prefixes, t.bytes,
    t.bytes / sum(t.bytes) OVER (PARTITION BY t.metro, t.provider_asn) AS share
FROM totals t LEFT JOIN provider_names p USING (provider_asn)
WINDOW largest AS (
    PARTITION BY t.metro, t.provider_asn ORDER BY t.bytes DESC, t.direction, t.path, t.known)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, t.provider_asn, place;
