-- What did one exporter see, and where?
--
-- All traffic of the exporter, whatever their role; bytes without a known rate stand apart
-- (scaled is false) and are never added to the others.
-- One row per exporter, interface, role, direction and scaled.
--
-- Parameter period_start TIMESTAMP = NULL: start of the period, UTC; NULL is the first slot
-- Parameter period_end TIMESTAMP = NULL: its end, exclusive; NULL is after the last slot there is
-- Parameter exporter VARCHAR = NULL: id (or address, where not configured); NULL is all of them
-- Parameter metro VARCHAR = NULL: one metro; NULL is all of them
-- Parameter provider BIGINT = NULL: ASN of one provider; NULL is all of them
-- Parameter direction VARCHAR = NULL: in or out; NULL is both

SELECT t.exporter, t.metro, t.interface, i.name, t.role, t.provider_asn, t.direction, t.scaled,
    sum(t.bytes)::BIGINT AS bytes, sum(t.packets)::BIGINT AS packets,
    sum(t.records)::BIGINT AS records, count(DISTINCT t.remote_asn) AS remote_asns
FROM asn_traffic_between($period_start::TIMESTAMP, $period_end::TIMESTAMP) t
LEFT JOIN (
    SELECT exporter, interface, arg_max(name, coalesce(valid_from, TIMESTAMPTZ '0001-01-01')) AS name
    FROM interfaces GROUP BY exporter, interface
) i ON i.exporter = t.exporter AND i.interface = t.interface
WHERE ($exporter::VARCHAR IS NULL OR t.exporter = $exporter::VARCHAR)
    AND ($metro::VARCHAR IS NULL OR t.metro = $metro::VARCHAR)
    AND ($provider::BIGINT IS NULL OR t.provider_asn = $provider::BIGINT)
    AND ($direction::VARCHAR IS NULL OR t.direction = $direction::VARCHAR)
GROUP BY ALL
ORDER BY t.exporter, bytes DESC, t.interface, t.role, t.direction, t.scaled, t.provider_asn;
