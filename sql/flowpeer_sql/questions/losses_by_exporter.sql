-- How much of what each exporter sent was lost on the way?
--
-- received and lost are in the units that its sequence numbers count (datagrams, or records with
-- IPFIX); loss_share is lost over both, a fraction. bad_slots lost more than 5 % of theirs and are
-- left out of percentiles (METHODS M5). exporter and metro are null for an address not configured.
-- One row per exporter address, the worst first.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them

WITH reported AS (
    SELECT c.exporter_ip, c.slot, sum(c.datagrams)::BIGINT AS datagrams,
        sum(c.received)::BIGINT AS received, sum(c.lost)::BIGINT AS lost
    FROM coverage c
    WHERE c.slot >= coalesce(_utc($period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
        AND c.slot < coalesce(_utc($period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00')
        AND c.date >= coalesce($period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
        AND c.date <= coalesce($period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE
    GROUP BY ALL
)
SELECT e.metro, e.exporter, t.exporter_ip, sum(t.datagrams)::BIGINT AS datagrams,
    sum(t.received)::BIGINT AS received, sum(t.lost)::BIGINT AS lost,
    sum(t.lost) / nullif(sum(t.lost) + sum(t.received), 0) AS loss_share,
    count(*) AS slots, count(*) FILTER (WHERE 20 * t.lost > t.lost + t.received) AS bad_slots,
    min(t.slot) AS first_slot, max(t.slot) AS last_slot
FROM reported t LEFT JOIN exporters e ON e.address = t.exporter_ip
WHERE $metro::VARCHAR IS NULL OR e.metro = $metro::VARCHAR
GROUP BY e.metro, e.exporter, t.exporter_ip
ORDER BY loss_share DESC NULLS LAST, lost DESC, e.metro, e.exporter, t.exporter_ip;
