-- Providers by metro: how much, and how full
-- The 95th percentile is nearest rank over 5-minute slots, for sizing and not for a bill.
-- Uses: period, metro, provider, direction
-- Columns: metro, provider_asn, provider, direction, bytes, mean_mbps, p95_mbps, peak_mbps, capacity_mbps, utilisation, n_slots, missing_slots, quality
SELECT l.metro, l.provider_asn, l.provider, l.direction, l.* EXCLUDE (metro, provider_asn, provider,
    direction)
FROM p95_per_provider(period_start := $period_start, period_end := $period_end) l
WHERE ($metros IS NULL OR list_contains($metros, l.metro))
    AND ($providers IS NULL OR list_contains($providers, l.provider_asn))
    AND ($direction::VARCHAR IS NULL OR l.direction = $direction::VARCHAR)
ORDER BY l.metro, l.provider_asn, l.direction
