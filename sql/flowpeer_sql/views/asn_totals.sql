-- Bytes per metro, role and remote ASN over the whole lake
--
-- One row per metro, role and remote ASN: out_bytes and in_bytes (scaled), records, first and last
-- slot (the hour's start where folded). For a period use asn_traffic_between.
-- Needs: asn_names, asn_traffic

CREATE OR REPLACE VIEW asn_totals AS
WITH totals AS (
    SELECT metro, role, remote_asn,
        coalesce(sum(bytes) FILTER (WHERE direction = 'out'), 0)::BIGINT AS out_bytes,
        coalesce(sum(bytes) FILTER (WHERE direction = 'in'), 0)::BIGINT AS in_bytes,
        sum(records)::BIGINT AS records, min(slot) AS first_slot, max(slot) AS last_slot
    FROM asn_traffic WHERE scaled GROUP BY ALL
)
SELECT t.metro, t.role, t.remote_asn, n.name, n.organisation, n.country,
    t.* EXCLUDE (metro, role, remote_asn)
FROM totals t LEFT JOIN asn_names n ON n.asn = t.remote_asn;
