-- Networks by name or number
-- A part of the name, the organisation or another name in PeeringDB; the 100 best.
-- Uses: find
-- Columns: asn, name, organisation, country
WITH known AS (
    SELECT a.asn, a.name, a.organisation, a.country FROM asn_names a WHERE a.asn > 0
    UNION ALL
    SELECT n.asn, n.name, n.aka, NULL FROM peeringdb_net n
    WHERE n.asn NOT IN (SELECT asn FROM asns)
)
SELECT k.asn, k.name, k.organisation, k.country
FROM known k
WHERE contains(lower(k.name), lower($find)) OR contains(lower(k.organisation), lower($find))
    OR k.asn::VARCHAR = regexp_replace(lower($find), '^as', '')
ORDER BY NOT starts_with(lower(k.name), lower($find)), k.name, k.asn
LIMIT 100
