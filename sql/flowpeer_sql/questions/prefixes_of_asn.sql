-- Which prefixes of a network carry our bytes, and over which provider?
--
-- Prefixes as matched in the RIB, over external interfaces; hours of the period.
-- One row per ASN, prefix, metro, role, provider and direction, the largest first.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter asn BIGINT = NULL: one network; NULL is all of them
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 100: rows

SELECT t.origin_asn, n.name, t.prefix, t.metro, t.role, t.provider_asn, t.direction,
    sum(t.bytes)::BIGINT AS bytes, sum(t.records)::BIGINT AS records,
    count(DISTINCT t.hour_start) AS hours
FROM routes_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
LEFT JOIN asn_names n ON n.asn = t.origin_asn
WHERE t.scaled AND t.role IN ('transit', 'peer', 'ix', 'customer')
    AND ($asn::BIGINT IS NULL OR t.origin_asn = $asn::BIGINT)
    AND ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
    AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
    AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
GROUP BY ALL
ORDER BY bytes DESC, t.origin_asn, t.prefix, t.metro, t.role, t.provider_asn, t.direction
LIMIT $top::BIGINT;
