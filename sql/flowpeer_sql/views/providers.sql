-- Transit providers, one row per metro and provider
--
-- From the configured interfaces of role transit: the provider's name (of its contract, else of its
-- ASN), how many interfaces it has now, and their capacity in bit/s together (null where one is not stated).
-- Needs: asn_names

CREATE OR REPLACE VIEW providers AS
SELECT i.metro, i.asn AS provider_asn,
    coalesce(min(c.provider), min(n.name), 'AS' || i.asn) AS provider,
    count(*) AS interfaces,
    CASE WHEN count(i.capacity_bps) = count(*) THEN sum(i.capacity_bps)::BIGINT END AS capacity_bps
FROM interfaces i
LEFT JOIN contracts c USING (contract)
LEFT JOIN asn_names n ON n.asn = i.asn
WHERE i.role = 'transit' AND i.asn IS NOT NULL AND i.valid_until IS NULL
GROUP BY i.metro, i.asn;
