-- Which networks stand right behind each transit provider, and how much goes through them?
--
-- The next AS on the path of the provider's RIB view, prepends collapsed. next_asn is null where the
-- provider itself is the origin, an AS set follows, or no view of the provider has the route; known
-- tells the last case.
-- One row per metro, provider, direction and next AS; the largest `top` of each metro and provider.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro and provider; NULL is all

WITH totals AS (
    SELECT metro, provider_asn, direction, next_asn, as_path IS NOT NULL AS known,
        count(DISTINCT origin_asn) AS origins, sum(bytes)::BIGINT AS bytes
    FROM transit_paths($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY ALL
)
SELECT t.metro, t.provider_asn, p.provider, t.direction,
    row_number() OVER largest AS place, t.next_asn, n.name, t.known, t.origins, t.bytes,
    t.bytes / sum(t.bytes) OVER (PARTITION BY t.metro, t.provider_asn) AS share
FROM totals t
LEFT JOIN provider_names p USING (provider_asn)
LEFT JOIN asn_names n ON n.asn = t.next_asn
WINDOW largest AS (
    PARTITION BY t.metro, t.provider_asn
    ORDER BY t.bytes DESC, t.direction, t.next_asn, t.known)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, t.provider_asn, place;
