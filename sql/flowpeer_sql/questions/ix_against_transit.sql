-- Which networks do we reach over exchanges and peerings, and over transit all the same?
--
-- Scaled bytes by role of the interface; transit_share is transit over all four, a fraction. A
-- network with a session and a high transit_share is a leak to look into (`flowpeer leaks`).
-- One row per metro and remote ASN that has bytes over ix or peer interfaces; the largest `top` by
-- transit of each metro.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro; NULL is all

WITH totals AS (
    SELECT metro, remote_asn,
        coalesce(sum(bytes) FILTER (WHERE role = 'ix'), 0)::BIGINT AS ix_bytes,
        coalesce(sum(bytes) FILTER (WHERE role = 'peer'), 0)::BIGINT AS peer_bytes,
        coalesce(sum(bytes) FILTER (WHERE role = 'transit'), 0)::BIGINT AS transit_bytes,
        sum(bytes)::BIGINT AS bytes
    FROM asn_sums_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE scaled AND role IN ('transit', 'peer', 'ix', 'customer')
        AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY metro, remote_asn
    HAVING ix_bytes + peer_bytes > 0
)
SELECT t.metro, row_number() OVER largest AS place, t.remote_asn, n.name, t.ix_bytes, t.peer_bytes,
    t.transit_bytes, t.bytes, t.transit_bytes / nullif(t.bytes, 0) AS transit_share
FROM totals t LEFT JOIN asn_names n ON n.asn = t.remote_asn
WINDOW largest AS (PARTITION BY t.metro ORDER BY t.transit_bytes DESC, t.bytes DESC, t.remote_asn)
QUALIFY place <= $top::BIGINT
ORDER BY t.metro, place;
