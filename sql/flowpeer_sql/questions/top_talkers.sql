-- Who are the top talkers of a prefix?
--
-- Hosts of the remote end inside `prefix` (192.0.2.0/24, 2001:db8::/32, or one address), from
-- `crossings`: scaled bytes of external interfaces in both directions.
-- One row per metro, provider and host; the largest `top` of each metro.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter prefix VARCHAR = NULL: where the hosts are; NULL is everywhere
-- Parameter top BIGINT = 20: rows per metro; NULL is all

WITH totals AS (
    SELECT c.metro, c.provider_asn, c.remote_addr, any_value(c.prefix) AS route,
        any_value(c.remote_asn) AS remote_asn,
        coalesce(sum(c.bytes) FILTER (WHERE c.direction = 'out'), 0)::BIGINT AS out_bytes,
        coalesce(sum(c.bytes) FILTER (WHERE c.direction = 'in'), 0)::BIGINT AS in_bytes,
        sum(c.bytes)::BIGINT AS bytes, sum(c.records)::BIGINT AS records
    FROM crossings_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) c
    WHERE c.scaled AND c.role IN ('transit', 'peer', 'ix', 'customer')
        AND ($prefix::VARCHAR IS NULL OR ip_in(c.remote_addr, $prefix::VARCHAR))
        AND ($metro::VARCHAR IS NULL OR c.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR c.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR c.direction = $direction::VARCHAR)
    GROUP BY c.metro, c.provider_asn, c.remote_addr
)
SELECT t.metro, t.provider_asn, row_number() OVER largest AS place, ip_str(t.remote_addr) AS host,
    t.route, t.remote_asn, n.name, t.out_bytes, t.in_bytes, t.bytes, t.records,
    mbps(t.bytes, 300 * s.n_slots) AS mean_mbps
FROM totals t
CROSS JOIN slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) s
LEFT JOIN asn_names n ON n.asn = t.remote_asn
WINDOW largest AS (PARTITION BY t.metro ORDER BY t.bytes DESC, t.remote_addr, t.provider_asn)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, place;
