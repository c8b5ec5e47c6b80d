-- Names of transit providers, one row per ASN
--
-- As `providers`, for the whole network.
-- Needs: providers

CREATE OR REPLACE VIEW provider_names AS
SELECT provider_asn, min(provider) AS provider FROM providers GROUP BY provider_asn;
