-- Which bytes could not be put in their place, where, and why?
--
-- kind is one of: no sampling rate (bytes as exported), unknown interface, discarded, set aside
-- (metered twice), and the codes of remote_asn: unrouted, private or reserved ASN, AS set, own, no
-- address. A row of traffic can be of several kinds; it is counted under the first of this order.
-- One row per kind, metro, exporter, interface and direction, the largest first.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them

WITH kinds AS (
    SELECT CASE
            WHEN NOT scaled THEN 'no sampling rate'
            WHEN role = 'unknown' THEN 'unknown interface'
            WHEN role = 'discarded' THEN 'discarded'
            WHEN role = 'set_aside' THEN 'set aside'
            WHEN remote_asn BETWEEN -5 AND -1 AND role <> 'internal'
            THEN coalesce(n.name, 'code ' || remote_asn)
        END AS kind, t.metro, t.exporter, t.interface, t.direction, t.bytes, t.records
    FROM traffic_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
    LEFT JOIN asn_names n ON n.asn = t.remote_asn
    WHERE $metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR
)
SELECT kind, metro, exporter, interface, direction, sum(bytes)::BIGINT AS bytes,
    sum(records)::BIGINT AS records
FROM kinds WHERE kind IS NOT NULL
GROUP BY kind, metro, exporter, interface, direction
ORDER BY bytes DESC, kind, metro, exporter, interface, direction;
