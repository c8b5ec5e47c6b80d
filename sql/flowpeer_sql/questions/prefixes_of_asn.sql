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
-- Parameter top BIGINT = 100: rows; NULL is all

WITH days AS (
    SELECT t.day, t.origin_asn, t.prefix, t.metro, t.role, t.provider_asn, t.direction,
        sum(t.bytes) AS bytes, sum(t.records) AS records, bit_or(t.hours) AS hours
    FROM route_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    WHERE t.scaled AND t.role IN ('transit', 'peer', 'ix', 'customer')
        AND ($asn::BIGINT IS NULL OR t.origin_asn = $asn::BIGINT)
        AND ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
    GROUP BY ALL
)
SELECT d.origin_asn, n.name, d.prefix, d.metro, d.role, d.provider_asn, d.direction,
    sum(d.bytes)::BIGINT AS bytes, sum(d.records)::BIGINT AS records,
    sum(bit_count(d.hours))::BIGINT AS hours
FROM days d
LEFT JOIN asn_names n ON n.asn = d.origin_asn
GROUP BY ALL
ORDER BY bytes DESC, d.origin_asn, d.prefix, d.metro, d.role, d.provider_asn, d.direction
LIMIT $top::BIGINT;
