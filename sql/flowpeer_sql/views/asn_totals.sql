-- Bytes per metro, role and remote ASN over the whole lake
--
-- One row per metro, role and remote ASN: out_bytes and in_bytes (scaled), records, first and last
-- slot (the hour's start where folded). For a period use asn_traffic_between.
-- Needs: asn_names, asn_traffic

CREATE OR REPLACE VIEW asn_totals AS
WITH totals AS (  -- qualified: a macro that reads the view may have a parameter of a column's name
    SELECT a.metro, a.role, a.remote_asn,
        coalesce(sum(a.bytes) FILTER (WHERE a.direction = 'out'), 0)::BIGINT AS out_bytes,
        coalesce(sum(a.bytes) FILTER (WHERE a.direction = 'in'), 0)::BIGINT AS in_bytes,
        sum(a.records)::BIGINT AS records, min(a.slot) AS first_slot, max(a.slot) AS last_slot
    FROM asn_traffic a WHERE a.scaled GROUP BY a.metro, a.role, a.remote_asn
)
SELECT t.metro, t.role, t.remote_asn, n.name, n.organisation, n.country, t.out_bytes, t.in_bytes,
    t.records, t.first_slot, t.last_slot
FROM totals t LEFT JOIN asn_names n ON n.asn = t.remote_asn;
