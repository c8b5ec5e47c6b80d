-- Who it is
-- As the table of names and PeeringDB say; empty where they say nothing.
-- Uses: asn
-- Columns: asn, name, organisation, country, aka, policy, type, scope, ratio_text, as_set, prefixes4, prefixes6, siblings
SELECT w.asn, coalesce(a.name, n.name) AS name, a.organisation, a.country, n.aka,
    n.policy_general AS policy, n.info_type AS type, n.info_scope AS scope, n.info_ratio AS ratio_text,
    n.irr_as_set AS as_set, n.info_prefixes4 AS prefixes4, n.info_prefixes6 AS prefixes6,
    (SELECT string_agg('AS' || o.asn, ', ' ORDER BY o.asn) FROM peeringdb_net o
        WHERE o.org_id = n.org_id AND o.asn <> w.asn) AS siblings
FROM (SELECT $asn::BIGINT AS asn) w
LEFT JOIN asn_names a ON a.asn = w.asn
LEFT JOIN peeringdb_net n ON n.asn = w.asn
