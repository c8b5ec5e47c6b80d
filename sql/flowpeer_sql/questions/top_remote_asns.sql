-- Which remote networks move most over each transit provider of each metro?
--
-- Transit bytes (scaled) of the period. share is the part of that provider's bytes in that metro,
-- mean_mbps the mean rate over the period, which takes what a silent exporter did not report like the
-- rest of it, as reports do (METHODS M5). Codes below zero are no public networks.
-- One row per metro, provider and remote ASN; the largest `top` of each metro and provider.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro and provider; NULL is all

WITH totals AS (
    SELECT metro, provider_asn, remote_asn,
        coalesce(sum(bytes) FILTER (WHERE direction = 'out'), 0)::BIGINT AS out_bytes,
        coalesce(sum(bytes) FILTER (WHERE direction = 'in'), 0)::BIGINT AS in_bytes,
        sum(bytes)::BIGINT AS bytes
    FROM asn_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE role = 'transit' AND scaled
        AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY metro, provider_asn, remote_asn
), unreported AS (  -- fractions are added in one order, so that the sum is the same each time
    SELECT u.metro, u.provider_asn, u.remote_asn,
        list_sum(list(u.bytes ORDER BY u.exporter, u.direction)) AS bytes
    FROM _asn_unreported($period_start::TIMESTAMP, $period_end::TIMESTAMP, 'period') u
    WHERE $direction::VARCHAR IS NULL OR u.direction = $direction::VARCHAR
    GROUP BY u.metro, u.provider_asn, u.remote_asn
)
SELECT t.metro, t.provider_asn, p.provider,
    row_number() OVER largest AS place,
    t.remote_asn, n.name, t.out_bytes, t.in_bytes, t.bytes,
    mbps(t.bytes + coalesce(u.bytes, 0), 300 * s.n_slots) AS mean_mbps,
    t.bytes / sum(t.bytes) OVER (PARTITION BY t.metro, t.provider_asn) AS share
FROM totals t
CROSS JOIN slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) s
LEFT JOIN unreported u ON u.metro = t.metro AND u.remote_asn = t.remote_asn
    AND u.provider_asn IS NOT DISTINCT FROM t.provider_asn
LEFT JOIN provider_names p ON p.provider_asn = t.provider_asn
LEFT JOIN asn_names n ON n.asn = t.remote_asn
WINDOW largest AS (
    PARTITION BY t.metro, t.provider_asn ORDER BY t.bytes DESC, t.remote_asn)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, t.provider_asn, place;
