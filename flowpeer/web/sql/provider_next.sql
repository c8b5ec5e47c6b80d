-- The networks right behind it
-- The next AS on the path of the provider's RIB view, prepends collapsed.
-- Uses: period, metro, provider, direction
-- Columns: metro, provider_asn, provider, direction, place, next_asn, name, known, origins, bytes, share
SELECT q.*
FROM next_as_after_provider(period_start := $period_start, period_end := $period_end,
    provider := $provider, direction := $direction, top := 50) q
WHERE ($metros IS NULL OR list_contains($metros, q.metro))
