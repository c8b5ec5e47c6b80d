-- Traffic whose sampling rate is not known
--
-- Rows of `traffic` with bytes and packets as exported; no figure of them can be added to others.

CREATE OR REPLACE VIEW unscaled AS
SELECT * EXCLUDE (scaled) FROM traffic WHERE NOT scaled;
