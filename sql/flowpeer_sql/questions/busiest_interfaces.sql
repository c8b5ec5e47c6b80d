-- How full are our external interfaces?
--
-- Largest and mean rate of a slot (the mean as reports have it, METHODS M5), and slots above 80 % of
-- the capacity (where it is configured).
-- One row per interface and direction, the fullest first.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both

WITH figures AS (
    SELECT v.metro, v.exporter, v.interface, v.name, v.role, v.provider_asn, v.direction,
        sum(v.bytes)::BIGINT AS bytes, max(v.bytes) AS peak_bytes,
        any_value(v.capacity_bps) AS capacity_bps, max(v.utilisation) AS peak_utilisation,
        count(*) FILTER (WHERE v.utilisation > 0.8) AS slots_over_80
    FROM interface_slots v
    WHERE v.slot >= coalesce(_utc($period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00')
        AND v.slot < coalesce(_utc($period_end::TIMESTAMP), TIMESTAMPTZ '9999-12-31 00:00:00+00')
        AND v.date >= coalesce($period_start::TIMESTAMP, TIMESTAMP '0001-01-01')::DATE
        AND v.date <= coalesce($period_end::TIMESTAMP, TIMESTAMP '9999-12-31')::DATE
        AND ($metro::VARCHAR IS NULL OR v.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR v.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR v.direction = $direction::VARCHAR)
    GROUP BY ALL
)
SELECT f.metro, f.exporter, f.interface, f.name, f.role, f.provider_asn, f.direction, f.bytes,
    mbps(f.bytes * coalesce(w.weight, 1), 300 * s.n_slots) AS mean_mbps, mbps(f.peak_bytes, 300) AS peak_mbps,
    f.capacity_bps / 1e6 AS capacity_mbps, f.peak_utilisation, f.slots_over_80
FROM figures f
CROSS JOIN slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) s
LEFT JOIN _exporter_weights($period_start::TIMESTAMP, $period_end::TIMESTAMP) w
    ON w.exporter = f.exporter
ORDER BY f.peak_utilisation DESC NULLS LAST, peak_mbps DESC, f.metro, f.exporter, f.interface,
    f.direction;
