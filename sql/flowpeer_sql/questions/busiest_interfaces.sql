-- How full are our external interfaces?
--
-- Largest and mean rate of a slot, and slots above 80 % of the capacity (where it is configured).
-- One row per interface and direction, the fullest first.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them

SELECT metro, exporter, interface, name, role, provider_asn, direction, sum(bytes)::BIGINT AS bytes,
    mbps(sum(bytes)::BIGINT, 300 * any_value(s.n_slots)) AS mean_mbps,
    mbps(max(bytes), 300) AS peak_mbps, any_value(capacity_bps) / 1e6 AS capacity_mbps,
    max(utilisation) AS peak_utilisation,
    count(*) FILTER (WHERE utilisation > 0.8) AS slots_over_80
FROM interface_slots
CROSS JOIN slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) s
WHERE slot >= s.first_slot AND slot <= s.last_slot
    AND date >= coalesce($period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
    AND date <= coalesce($period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE
    AND ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
GROUP BY metro, exporter, interface, name, role, provider_asn, direction
ORDER BY peak_utilisation DESC NULLS LAST, peak_mbps DESC, metro, exporter, interface, direction;
