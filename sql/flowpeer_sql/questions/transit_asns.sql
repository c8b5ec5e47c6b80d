-- Which remote networks does each transit provider carry for us?
--
-- Over all metros; metros lists where. cumulative_share is the part of the provider's bytes that the
-- row and those above it carry, a fraction.
-- One row per provider and remote ASN, the largest first.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter top BIGINT = NULL: rows per provider; NULL is all of them

WITH totals AS (
    SELECT provider_asn, remote_asn,
        coalesce(sum(bytes) FILTER (WHERE direction = 'out'), 0)::BIGINT AS out_bytes,
        coalesce(sum(bytes) FILTER (WHERE direction = 'in'), 0)::BIGINT AS in_bytes,
        sum(bytes)::BIGINT AS bytes,
        list(DISTINCT metro ORDER BY metro) AS metros
    FROM asn_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE role = 'transit' AND scaled
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
    GROUP BY provider_asn, remote_asn
)
SELECT t.provider_asn, p.provider, row_number() OVER largest AS place, t.remote_asn, n.name,
    t.metros, t.out_bytes, t.in_bytes,
    sum(t.bytes) OVER largest / sum(t.bytes) OVER (PARTITION BY t.provider_asn) AS cumulative_share
FROM totals t
LEFT JOIN provider_names p USING (provider_asn)
LEFT JOIN asn_names n ON n.asn = t.remote_asn
WINDOW largest AS (PARTITION BY t.provider_asn ORDER BY t.bytes DESC, t.remote_asn)
QUALIFY $top::BIGINT IS NULL OR place <= $top::BIGINT
ORDER BY t.provider_asn, place;
