-- Which services move most: protocols and ports?
--
-- Scaled bytes of external interfaces, from `crossings`: what is summed here adds up to `traffic`. A
-- record's service is the lower of its two ports, which is that of the server more often than not;
-- protocols without ports have none. share is the part of the metro's bytes in that direction.
-- One row per metro, direction, protocol and port; the largest `top` of each metro and direction.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro and direction; NULL is all

WITH totals AS (
    SELECT c.metro, c.direction, c.protocol, least(c.remote_port, c.local_port) AS port,
        sum(c.bytes)::BIGINT AS bytes, sum(c.packets)::BIGINT AS packets,
        sum(c.records)::BIGINT AS records, count(DISTINCT c.remote_asn) AS remote_asns
    FROM crossings_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) c
    WHERE c.scaled AND c.role IN ('transit', 'peer', 'ix', 'customer')
        AND ($metro::VARCHAR IS NULL OR c.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR c.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR c.direction = $direction::VARCHAR)
    GROUP BY ALL
)
SELECT t.metro, t.direction, row_number() OVER largest AS place,
    CASE t.protocol WHEN 1 THEN 'icmp' WHEN 6 THEN 'tcp' WHEN 17 THEN 'udp' WHEN 47 THEN 'gre'
        WHEN 50 THEN 'esp' WHEN 58 THEN 'icmpv6' WHEN 132 THEN 'sctp'
        ELSE t.protocol::VARCHAR END AS protocol, t.port,
    t.bytes, t.packets, t.records, t.remote_asns,
    mbps(t.bytes, 300 * s.n_slots) AS mean_mbps,
    t.bytes / sum(t.bytes) OVER (PARTITION BY t.metro, t.direction) AS share
FROM totals t
CROSS JOIN slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) s
WINDOW largest AS (
    PARTITION BY t.metro, t.direction ORDER BY t.bytes DESC, t.protocol, t.port)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, t.direction, place;
