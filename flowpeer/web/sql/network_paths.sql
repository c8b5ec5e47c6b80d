-- The AS paths to it
-- As the provider's RIB view has them; inbound bytes need not have taken the path.
-- Uses: period, metro, provider, direction, asn
-- Columns: metro, provider_asn, provider, direction, as_path, prefixes, bytes
SELECT t.metro, t.provider_asn, p.provider, t.direction, t.as_path, count(DISTINCT t.prefix) AS prefixes,
    sum(t.bytes)::BIGINT AS bytes
FROM transit_paths($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
LEFT JOIN provider_names p USING (provider_asn)
WHERE t.origin_asn = $asn::BIGINT
    AND ($metros IS NULL OR list_contains($metros, t.metro))
    AND ($providers IS NULL OR list_contains($providers, t.provider_asn))
    AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
GROUP BY ALL
ORDER BY bytes DESC, t.metro, t.provider_asn, t.direction, t.as_path
LIMIT 200
