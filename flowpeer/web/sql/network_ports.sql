-- The exchanges it is on
-- By PeeringDB.
-- Uses: asn
-- Columns: exchange, city, country, ix_id, speed_bps, route_servers, ipaddr4, ipaddr6
SELECT x.name AS exchange, x.city, x.country, p.ix_id, p.speed * 1000000 AS speed_bps,
    p.is_rs_peer AS route_servers, p.ipaddr4, p.ipaddr6
FROM peeringdb_netixlan p LEFT JOIN peeringdb_ix x ON x.id = p.ix_id
WHERE p.asn = $asn::BIGINT
ORDER BY exchange, p.ipaddr4, p.ipaddr6
