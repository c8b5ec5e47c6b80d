-- Where its traffic enters and leaves
-- Every external role; avg_bps is over the whole period.
-- Uses: period, metro, provider, direction, family, asn
-- Columns: metro, role, provider_asn, provider, direction, bytes, avg_bps
SELECT t.metro, t.role, t.provider_asn, p.provider, t.direction, sum(t.bytes)::BIGINT AS bytes,
    sum(t.bytes) * 8.0 / (epoch($period_end::TIMESTAMP) - epoch($period_start::TIMESTAMP)) AS avg_bps
FROM asn_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
LEFT JOIN provider_names p USING (provider_asn)
WHERE t.remote_asn = $asn::BIGINT AND t.scaled AND t.role IN ('transit', 'peer', 'ix', 'customer')
    AND ($metros IS NULL OR list_contains($metros, t.metro))
    AND ($providers IS NULL OR list_contains($providers, t.provider_asn))
    AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
    AND ($family::INTEGER IS NULL OR t.family = $family::INTEGER)
GROUP BY ALL
ORDER BY bytes DESC, t.metro, t.role, t.provider_asn, t.direction
