-- Names of networks, one row per ASN
--
-- From `asns`; the negative codes of `traffic.remote_asn` have names even where none were loaded.
-- Columns: asn, name, organisation, country.

CREATE OR REPLACE VIEW asn_names AS
WITH codes (asn, name) AS (
    VALUES (-1::BIGINT, 'unrouted'), (-2, 'private or reserved ASN'), (-3, 'AS set'), (-4, 'own'),
        (-5, 'no address'), (-6, 'folded to hours')
)
SELECT asn, any_value(name) AS name, any_value(organisation) AS organisation,
    any_value(country) AS country
FROM asns GROUP BY asn
UNION ALL
SELECT asn, name, NULL, NULL FROM codes WHERE asn NOT IN (SELECT asn FROM asns);
