-- Who sends us more than we send them, and the other way round?
--
-- Scaled bytes over external interfaces. out_in_ratio is our outbound over our inbound (their
-- inbound over their outbound), null where nothing came in. With role = transit: over transit alone.
-- One row per metro and remote ASN; the largest `top` of each metro.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter role VARCHAR = NULL: transit, peer, ix or customer; NULL is all four
-- Parameter top BIGINT = 20: rows per metro; NULL is all

WITH totals AS (
    SELECT metro, remote_asn,
        coalesce(sum(bytes) FILTER (WHERE direction = 'out'), 0)::BIGINT AS out_bytes,
        coalesce(sum(bytes) FILTER (WHERE direction = 'in'), 0)::BIGINT AS in_bytes
    FROM asn_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE scaled AND role IN ('transit', 'peer', 'ix', 'customer')
        AND ($role::VARCHAR IS NULL OR role = $role::VARCHAR)
        AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
    GROUP BY metro, remote_asn
)
SELECT t.metro, row_number() OVER largest AS place, t.remote_asn, n.name,
    t.out_bytes, t.in_bytes, t.out_bytes / nullif(t.in_bytes, 0) AS out_in_ratio
FROM totals t LEFT JOIN asn_names n ON n.asn = t.remote_asn
WINDOW largest AS (
    PARTITION BY t.metro ORDER BY t.out_bytes + t.in_bytes DESC, t.remote_asn)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, place;
