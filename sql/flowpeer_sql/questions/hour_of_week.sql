-- When in the week is transit busy?
--
-- Hours of the week in UTC, Monday is day 1. mean_mbps is over the hour's slots of all weeks of the
-- period that were rolled up; what a silent exporter did not report is taken like the rest of it in that
-- hour of the week (METHODS M5), other slots without traffic are zeros. peak_mbps is the largest slot.
-- One row per metro, provider, direction, day and hour.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both

WITH hours AS (
    SELECT isodow(timezone('UTC', slot)) AS day, hour(timezone('UTC', slot)) AS hour_utc,
        count(*) AS n_slots
    FROM _slots_rolled_up($period_start::TIMESTAMP, $period_end::TIMESTAMP) GROUP BY ALL
), sums AS (
    SELECT metro, provider_asn, direction, slot, sum(bytes)::BIGINT AS bytes
    FROM transit_slots_between($period_start::TIMESTAMP, $period_end::TIMESTAMP)
    WHERE ($metro::VARCHAR IS NULL OR metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
    GROUP BY ALL
), by_hour AS (
    SELECT metro, provider_asn, direction, isodow(timezone('UTC', slot)) AS day,
        hour(timezone('UTC', slot)) AS hour_utc, sum(bytes)::BIGINT AS bytes, max(bytes) AS peak
    FROM sums GROUP BY ALL
)
SELECT b.metro, b.provider_asn, p.provider, b.direction, b.day, b.hour_utc, b.bytes, h.n_slots,
    mbps(b.bytes + coalesce(u.bytes, 0), 300 * h.n_slots) AS mean_mbps, mbps(b.peak, 300) AS peak_mbps
FROM by_hour b
JOIN hours h ON h.day = b.day AND h.hour_utc = b.hour_utc
LEFT JOIN _transit_unreported($period_start::TIMESTAMP, $period_end::TIMESTAMP, 'hour') u
    ON u.metro = b.metro AND u.direction = b.direction
    AND u.provider_asn IS NOT DISTINCT FROM b.provider_asn
    AND u.part = TIMESTAMP '2001-01-01' + to_days((b.day - 1)::INTEGER) + to_hours(b.hour_utc)
LEFT JOIN provider_names p ON p.provider_asn = b.provider_asn
ORDER BY b.metro, b.provider_asn, b.direction, b.day, b.hour_utc;
