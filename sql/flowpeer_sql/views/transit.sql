-- Transit traffic: what crossed an interface of role transit
--
-- Rows of `traffic` whose bytes are scaled by a known sampling rate. Bytes without a rate are never
-- added to them: see `unscaled`.

CREATE OR REPLACE VIEW transit AS
SELECT * EXCLUDE (role, scaled) FROM traffic WHERE role = 'transit' AND scaled;
