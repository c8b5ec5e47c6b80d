-- What is the 95th percentile of each remote network over each transit provider?
--
-- Nearest rank over the slots of the period that count, slots without traffic as zeros (METHODS
-- M5): for sizing, not a bill. n_slots count, missing_slots are left out: over 1 % of them quality is
-- `estimate`, over 5 % it is `refused` and p95_mbps is null. peak_mbps is the largest slot.
-- folded_bytes are of hours of which the slots are not kept: where there are any, quality is
-- `estimate`, and p95_mbps and peak_mbps are those of the other slots, so the true ones are not
-- less; over 5 % of the bytes it is `refused`, and both are null. An hour that the period has a
-- part of counts whole in them.
-- One row per metro, provider, direction and remote ASN; the largest `top` by bytes of each metro,
-- provider and direction.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both
-- Parameter top BIGINT = 20: rows per metro, provider and direction

WITH by_metro AS MATERIALIZED (
    FROM _slots_of_metros($period_start::TIMESTAMP, $period_end::TIMESTAMP)
), uncovered AS (
    SELECT b.metro, unnest(b.uncovered_slots) AS slot FROM by_metro b
), totals AS (
    SELECT t.metro, t.provider_asn, t.direction, t.remote_asn, sum(t.bytes) AS total
    FROM asn_traffic_between(
        date_trunc('hour', $period_start::TIMESTAMP), $period_end::TIMESTAMP) t
    ANTI JOIN uncovered u
        ON u.metro = t.metro AND u.slot = t.slot AND NOT t.folded
    WHERE t.role = 'transit' AND t.scaled
        AND (t.folded OR t.slot >= coalesce(_utc($period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00'))
        AND ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
    GROUP BY ALL
), largest AS (
    FROM totals
    QUALIFY row_number() OVER (
        PARTITION BY metro, provider_asn, direction ORDER BY total DESC, remote_asn) <= $top::BIGINT
), counted AS (  -- slots of those alone: of all networks they are many millions
    SELECT t.metro, t.provider_asn, t.direction, t.remote_asn, t.slot,
        t.folded, sum(t.bytes)::BIGINT AS bytes
    FROM asn_traffic_between(
        date_trunc('hour', $period_start::TIMESTAMP), $period_end::TIMESTAMP) t
    ANTI JOIN uncovered u
        ON u.metro = t.metro AND u.slot = t.slot AND NOT t.folded
    SEMI JOIN largest l ON l.metro = t.metro AND l.direction = t.direction
        AND l.remote_asn = t.remote_asn AND l.provider_asn IS NOT DISTINCT FROM t.provider_asn
    WHERE t.role = 'transit' AND t.scaled
        AND (t.folded OR t.slot >= coalesce(_utc($period_start::TIMESTAMP), TIMESTAMPTZ '0001-01-01 00:00:00+00'))
        AND ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
        AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
        AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
    GROUP BY ALL
), figures AS (
    SELECT c.metro, c.provider_asn, c.direction, c.remote_asn, s.n_slots, s.missing_slots,
        sum(c.bytes)::BIGINT AS bytes,
        coalesce(sum(c.bytes) FILTER (WHERE c.folded), 0)::BIGINT AS folded_bytes,
        CASE WHEN 20 * folded_bytes > sum(c.bytes) THEN 'refused'
            WHEN folded_bytes > 0 AND s.quality = 'exact' THEN 'estimate'
            ELSE s.quality END AS quality,
        CASE WHEN 20 * folded_bytes <= sum(c.bytes)
            THEN max(c.bytes) FILTER (WHERE NOT c.folded) END AS peak_bytes,
        p95(CASE WHEN NOT c.folded THEN c.bytes END, s.n_slots) AS p95_bytes
    FROM counted c
    JOIN by_metro s USING (metro)
    GROUP BY c.metro, c.provider_asn, c.direction, c.remote_asn,
        s.n_slots, s.missing_slots, s.quality
)
SELECT f.metro, f.provider_asn, p.provider, f.direction,
    row_number() OVER largest AS place, f.remote_asn, n.name, f.bytes,
    mbps(f.bytes, 300 * f.n_slots) AS mean_mbps,
    CASE WHEN f.quality <> 'refused' THEN mbps(f.p95_bytes, 300) END AS p95_mbps,
    mbps(f.peak_bytes, 300) AS peak_mbps, f.n_slots, f.missing_slots, f.quality,
    f.folded_bytes
FROM figures f
LEFT JOIN provider_names p USING (provider_asn)
LEFT JOIN asn_names n ON n.asn = f.remote_asn
WINDOW largest AS (
    PARTITION BY f.metro, f.provider_asn, f.direction ORDER BY f.bytes DESC, f.remote_asn)
QUALIFY place <= $top::BIGINT
ORDER BY f.metro, f.provider_asn, f.direction, place;
