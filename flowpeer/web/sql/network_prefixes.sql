-- Its prefixes that carry our bytes
-- Prefixes as matched in the RIB, over external interfaces; the 200 largest.
-- Uses: period, metro, asn
-- Columns: origin_asn, name, prefix, metro, role, provider_asn, direction, bytes, records, hours
SELECT q.*
FROM prefixes_of_asn(period_start := $period_start, period_end := $period_end,
    asn := $asn, top := 1000) q
WHERE ($metros IS NULL OR list_contains($metros, q.metro))
LIMIT 200
