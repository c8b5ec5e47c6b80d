-- Flow records with addresses as text, exporter, metro and interface names
--
-- Bytes and packets as exported. exporter and metro are null for an exporter not configured.
-- Needs: addresses

CREATE OR REPLACE VIEW flows_readable AS
SELECT f.received_at, f.start_time, f.end_time, e.metro, e.exporter, f.exporter_ip, f.format,
    f.input_if, i.name AS input_name, f.output_if, o.name AS output_name, f.direction,
    ip_str(f.src_addr) AS src, f.src_port, ip_str(f.dst_addr) AS dst, f.dst_port, f.protocol,
    f.tos, f.tcp_flags, f.bytes, f.packets, f.sampling_interval, f.src_as, f.dst_as,
    ip_str(f.next_hop) AS next_hop, ip_str(f.bgp_next_hop) AS bgp_next_hop, f.time_corrected,
    f.src_addr, f.dst_addr, f.date, f.hour
FROM flows f
LEFT JOIN exporters e ON e.address = f.exporter_ip
LEFT JOIN interfaces i ON i.exporter = e.exporter AND i.interface = f.input_if
    AND f.received_at >= coalesce(i.valid_from, TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND f.received_at < coalesce(i.valid_until, TIMESTAMPTZ '9999-12-31 00:00:00+00')
LEFT JOIN interfaces o ON o.exporter = e.exporter AND o.interface = f.output_if
    AND f.received_at >= coalesce(o.valid_from, TIMESTAMPTZ '0001-01-01 00:00:00+00')
    AND f.received_at < coalesce(o.valid_until, TIMESTAMPTZ '9999-12-31 00:00:00+00');
