-- How much of our transit traffic goes through a network, not only to it?
--
-- own_bytes originates in or ends at the AS; through_bytes has it on the path behind the provider
-- with another origin. Paths are those of the providers' RIB views, so bytes without a known path
-- count for their origin alone. An AS set on a path stands for no network. Rows overlap: they do
-- not add up to the traffic.
-- One row per metro, direction and AS on a path; the largest `top` of each metro and direction.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter asn BIGINT = NULL: one network; NULL is all of them
-- Parameter top BIGINT = 20: rows per metro and direction; NULL is all

WITH paths AS (
    SELECT metro, direction, origin_asn, bytes,
        list_distinct(list_append(
            list_filter(
                list_transform(coalesce(path, []), lambda hop: TRY_CAST(hop AS BIGINT)),
                lambda hop: hop IS NOT NULL),
            origin_asn)) AS hops
    FROM transit_paths($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
), hops AS (
    SELECT metro, direction, origin_asn, bytes, unnest(hops) AS asn FROM paths
), totals AS (
    SELECT metro, direction, asn,
        coalesce(sum(bytes) FILTER (WHERE asn = origin_asn), 0)::BIGINT AS own_bytes,
        coalesce(sum(bytes) FILTER (WHERE asn <> origin_asn), 0)::BIGINT AS through_bytes,
        count(DISTINCT origin_asn) FILTER (WHERE asn <> origin_asn) AS origins_behind
    FROM hops WHERE $asn::BIGINT IS NULL OR asn = $asn::BIGINT
    GROUP BY metro, direction, asn
)
SELECT t.metro, t.direction, row_number() OVER largest AS place, t.asn, n.name,
    t.own_bytes, t.through_bytes, t.origins_behind
FROM totals t LEFT JOIN asn_names n USING (asn)
WINDOW largest AS (
    PARTITION BY t.metro, t.direction ORDER BY t.own_bytes + t.through_bytes DESC, t.asn)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, t.direction, place;
