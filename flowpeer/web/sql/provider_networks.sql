-- The networks that ride it
-- Transit bytes of the period by remote network; share is of the provider's bytes in the metro.
-- Uses: period, metro, provider, direction
-- Columns: metro, provider_asn, provider, place, remote_asn, name, out_bytes, in_bytes, bytes, mean_mbps, share
SELECT q.*
FROM top_remote_asns(period_start := $period_start, period_end := $period_end,
    provider := $provider, direction := $direction, top := 50) q
WHERE ($metros IS NULL OR list_contains($metros, q.metro))
