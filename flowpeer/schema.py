"""Every table of the lake but those the ingest package makes: each column stated once.

Parquet files, SQL views and the reference page read these tuples. To add a column: state it
here, fill it where the table is made (named in `TABLES`' comments), renew the golden files.
"""

from __future__ import annotations

from flowpeer_core.columns import (
    ADDRESS,
    DAY,
    FLAG,
    INT,
    REAL,
    SMALL,
    TEXT,
    TIME,
    Kind,
    TableColumn,
)
from flowpeer_core.columns import column as _c
from flowpeer_ingest.schema import TABLES as INGEST_TABLES

_WHERE = (
    _c(
        "metro",
        TEXT,
        "",
        "metro of the exporter; `unknown` for an exporter not configured",
        required=True,
    ),
    _c("exporter", TEXT, "", "configured id, else the IP address", required=True),
    _c("interface", INT, "ifIndex", "the interface crossed; null where none is known"),
    _c(
        "role",
        TEXT,
        "",
        "transit, peer, ix, customer, unknown, internal, discarded or set_aside (M1)",
        required=True,
    ),
    _c("provider_asn", INT, "ASN", "the network on the other side of the interface"),
    _c("direction", TEXT, "", "in, out or none (M1)", required=True),
)
_SUMS = (
    _c(
        "bytes",
        INT,
        "bytes",
        "IP octets, scaled by the sampling rate where `scaled` (M2, M3)",
        required=True,
    ),
    _c("packets", INT, "packets", "packets, scaled likewise", required=True),
    _c(
        "records",
        INT,
        "records",
        "flow records, counted where they start, never scaled",
        required=True,
    ),
    _c("variance_low", REAL, "bytes²", "sampling variance, lower bound (M6)", required=True),
    _c("variance_high", REAL, "bytes²", "sampling variance, upper bound (M6)", required=True),
)
_SCALED = _c("scaled", FLAG, "", "false: no sampling rate known, bytes as exported", required=True)

TRAFFIC: tuple[TableColumn, ...] = (
    _c("slot", TIME, "UTC", "start of the 5-minute slot", required=True),
    *_WHERE,
    _c("family", SMALL, "", "4 or 6; null where the record has no address"),
    _c(
        "remote_asn",
        INT,
        "ASN",
        "origin AS of the remote end; negative: no public network, see asns",
        required=True,
    ),
    _SCALED,
    *_SUMS,
)
TRAFFIC_ROUTES: tuple[TableColumn, ...] = (
    _c("hour_start", TIME, "UTC", "start of the hour", required=True),
    *_WHERE,
    _SCALED,
    _c("prefix", TEXT, "", "matched route of the remote end; null: unrouted or no address"),
    _c(
        "origin_asn",
        INT,
        "ASN",
        "its origin as the RIB says; negative: none, see asns",
        required=True,
    ),
    _c("local_prefix", TEXT, "", "own prefix of the local end; null: not ours"),
    *_SUMS,
    _c(
        "folded",
        FLAG,
        "",
        "true: in `traffic` these bytes are in rows of remote_asn −6, not in the network's own",
    ),
)
ROUTES: tuple[TableColumn, ...] = (
    _c("snapshot", TEXT, "", "name of the snapshot", required=True),
    _c("taken_at", TIME, "UTC", "when the routes were in force", required=True),
    _c(
        "vantage",
        TEXT,
        "",
        "AS<peer>@<address> of an MRT peer, else exporter, metro or empty",
        required=True,
    ),
    _c("prefix", TEXT, "", "network/length", required=True),
    _c("family", SMALL, "", "4 or 6", required=True),
    _c("origin_asn", INT, "ASN", "origin AS; null for an AS_SET"),
    _c("as_path", TEXT, "", "AS path, {…} for sets"),
    _c("next_hop", TEXT, "", "next hop"),
    _c("med", INT, "", "multi-exit discriminator"),
    _c("local_pref", INT, "", "local preference"),
    _c("communities", TEXT, "", "communities, large ones included, separated by blanks"),
    _c("path_id", INT, "", "path identifier of an ADD-PATH session (RFC 7911)"),
    _c("origin_code", TEXT, "", "ORIGIN: IGP, EGP or INCOMPLETE; null where it is not known"),
)

METROS = (
    _c("metro", TEXT, "", "id", required=True),
    _c("name", TEXT, "", "name", required=True),
    _c("region", TEXT, "", "region"),
    _c("continent", TEXT, "", "continent code"),
    _c("latitude", REAL, "degrees", "latitude"),
    _c("longitude", REAL, "degrees", "longitude"),
)
EXPORTERS = (
    _c("exporter", TEXT, "", "id", required=True),
    _c("metro", TEXT, "", "metro", required=True),
    _c("address", TEXT, "", "source address of its datagrams, one row each", required=True),
    _c("sampling", INT, "1:N", "rate used where the exporter says none"),
    _c("sampling_override", INT, "1:N", "rate used instead of what the exporter says"),
    _c("metering", TEXT, "", "auto, ingress or egress (M1)", required=True),
    _c("valid_from", TIME, "UTC", "since when its data are due (M5); null: from the beginning"),
    _c("valid_until", TIME, "UTC", "until when, exclusive; null: still"),
)
INTERFACES = (
    _c("exporter", TEXT, "", "exporter id", required=True),
    _c("metro", TEXT, "", "metro of the exporter", required=True),
    _c("interface", INT, "ifIndex", "SNMP index", required=True),
    _c("name", TEXT, "", "name"),
    _c("role", TEXT, "", "transit, peer, ix, customer or internal", required=True),
    _c("asn", INT, "ASN", "network on the other side"),
    _c("capacity_bps", INT, "bit/s", "capacity"),
    _c("contract", TEXT, "", "contract it is billed under"),
    _c("valid_from", TIME, "UTC", "since when it is so; null: from the beginning"),
    _c("valid_until", TIME, "UTC", "until when, exclusive; null: still"),
    _c("neighbours", TEXT, "", "addresses of its BGP neighbours, separated by blanks"),
)
CONTRACTS = (
    _c("contract", TEXT, "", "id", required=True),
    _c("provider", TEXT, "", "name of the provider"),
    _c("commit_bps", INT, "bit/s", "committed rate"),
    _c("price_per_mbps", REAL, "currency/Mbps/month", "price of the commit"),
    _c("overage_per_mbps", REAL, "currency/Mbps/month", "price above the commit"),
    _c("billing", TEXT, "", "max_of_p95, p95_of_max, in, out, sum or flat (M5)", required=True),
    _c("aggregate", TEXT, "", "p95_of_sum or sum_of_p95 (M8)", required=True),
    _c("tier_mode", TEXT, "", "marginal or all_volume, where it has tiers (M8)", required=True),
    _c("fixed_per_month", REAL, "currency/month", "fixed charges"),
    _c("renewal_price_per_mbps", REAL, "currency/Mbps/month", "price after renewal"),
    _c("currency", TEXT, "", "currency of its prices", required=True),
    _c("timezone", TEXT, "", "time zone of its months", required=True),
    _c("starts", DAY, "", "first day"),
    _c("ends", DAY, "", "last day"),
)
SESSIONS = (
    _c("asn", INT, "ASN", "peer", required=True),
    _c("metro", TEXT, "", "metro", required=True),
    _c("kind", TEXT, "", "ix or pni", required=True),
)
ASNS = (
    _c(
        "asn",
        INT,
        "ASN",
        "number; negative: a kind of traffic without a public network",
        required=True,
    ),
    _c("name", TEXT, "", "name", required=True),
    _c("organisation", TEXT, "", "organisation"),
    _c("country", TEXT, "", "country code"),
)
AS_RELATIONSHIPS = (
    _c("asn", INT, "ASN", "provider, or one of two peers", required=True),
    _c("other_asn", INT, "ASN", "customer, or the other peer", required=True),
    _c(
        "relationship",
        SMALL,
        "",
        "−1 asn is the provider of other_asn, 0 peers, 1 siblings",
        required=True,
    ),
)
AS_CONES = (
    _c("asn", INT, "ASN", "network whose customer cone it is", required=True),
    _c("member_asn", INT, "ASN", "a network in it, itself left out", required=True),
)
AS_CLIQUE = (_c("asn", INT, "ASN", "member of the inferred clique", required=True),)


def _peeringdb(*columns: tuple[str, Kind]) -> tuple[TableColumn, ...]:
    """Columns that keep PeeringDB's own names and meaning; anything may be missing there."""
    return tuple(
        _c(name, kind, "", f"PeeringDB `{name}`", "PeeringDB", required=name == "id")
        for name, kind in columns
    )


PEERINGDB: dict[str, tuple[TableColumn, ...]] = {
    "peeringdb_org": _peeringdb(("id", INT), ("name", TEXT), ("country", TEXT)),
    "peeringdb_net": _peeringdb(
        ("id", INT),
        ("org_id", INT),
        ("asn", INT),
        ("name", TEXT),
        ("aka", TEXT),
        ("irr_as_set", TEXT),
        ("info_type", TEXT),
        ("info_traffic", TEXT),
        ("info_ratio", TEXT),
        ("info_scope", TEXT),
        ("info_prefixes4", INT),
        ("info_prefixes6", INT),
        ("info_never_via_route_servers", FLAG),
        ("policy_general", TEXT),
        ("policy_locations", TEXT),
        ("policy_ratio", FLAG),
        ("policy_contracts", TEXT),
        ("policy_url", TEXT),
        ("notes", TEXT),
    ),
    "peeringdb_ix": _peeringdb(
        ("id", INT),
        ("org_id", INT),
        ("name", TEXT),
        ("city", TEXT),
        ("country", TEXT),
        ("region_continent", TEXT),
    ),
    "peeringdb_ixlan": _peeringdb(("id", INT), ("ix_id", INT), ("rs_asn", INT)),
    "peeringdb_ixpfx": _peeringdb(
        ("id", INT),
        ("ixlan_id", INT),
        ("protocol", TEXT),
        ("prefix", TEXT),
    ),
    "peeringdb_netixlan": _peeringdb(
        ("id", INT),
        ("net_id", INT),
        ("ix_id", INT),
        ("ixlan_id", INT),
        ("asn", INT),
        ("ipaddr4", TEXT),
        ("ipaddr6", TEXT),
        ("speed", INT),
        ("is_rs_peer", FLAG),
        ("operational", FLAG),
        ("net_side_id", INT),
        ("ix_side_id", INT),
    ),
    "peeringdb_fac": _peeringdb(
        ("id", INT),
        ("org_id", INT),
        ("campus_id", INT),
        ("name", TEXT),
        ("city", TEXT),
        ("country", TEXT),
        ("latitude", REAL),
        ("longitude", REAL),
    ),
    "peeringdb_ixfac": _peeringdb(("id", INT), ("ix_id", INT), ("fac_id", INT)),
    "peeringdb_netfac": _peeringdb(
        ("id", INT),
        ("net_id", INT),
        ("fac_id", INT),
        ("local_asn", INT),
    ),
    "peeringdb_poc": _peeringdb(
        ("id", INT),
        ("net_id", INT),
        ("role", TEXT),
        ("visible", TEXT),
        ("name", TEXT),
        ("email", TEXT),
    ),
    "peeringdb_campus": _peeringdb(("id", INT), ("org_id", INT), ("name", TEXT)),
    "peeringdb_carrier": _peeringdb(("id", INT), ("org_id", INT), ("name", TEXT)),
    "peeringdb_carrierfac": _peeringdb(("id", INT), ("carrier_id", INT), ("fac_id", INT)),
}

IXF_PORTS = (
    _c("ix_id", INT, "", "PeeringDB id of the exchange", required=True),
    _c("asn", INT, "ASN", "member", required=True),
    _c("ipaddr4", TEXT, "", "IPv4 address on the exchange's LAN"),
    _c("ipaddr6", TEXT, "", "IPv6 address on the exchange's LAN"),
    _c("speed", INT, "Mbit/s", "speed of the port, of all its links together"),
    _c("is_rs_peer", FLAG, "", "has sessions with the route servers"),
    _c("operational", FLAG, "", "the exchange calls the connection active"),
    _c("source", TEXT, "", "member export that says so", required=True),
    _c("macs", TEXT, "", "MAC addresses of the port, a blank between them"),
)

FORMAT = 3
"""Of the lake. Raised when an older flowpeer could not read what this one writes, or the other way
round; columns added since are null in older files (flowpeer.lake.older_layouts)."""
PARTITIONED = ("flows", "sampling", "coverage", "traffic", "traffic_routes")
"""Tables in folders date=YYYY-MM-DD/hour=HH; `routes` is one folder of snapshots."""

CROSSINGS: tuple[TableColumn, ...] = (  # flowpeer.rollup.crossings, made when a query names it
    _c("hour_start", TIME, "", "hour of the slots, as in `traffic_routes`"),
    _c("start_time", TIME, "", "first packet of the record"),
    _c("end_time", TIME, "", "last packet of the record"),
    _c("metro", TEXT, "", "as in `traffic`"),
    _c("exporter", TEXT, "", "as in `traffic`"),
    _c("exporter_ip", TEXT, "", "source address of the export packets"),
    _c("interface", INT, "", "as in `traffic`"),
    _c("role", TEXT, "", "as in `traffic`"),
    _c("provider_asn", INT, "", "as in `traffic`"),
    _c("direction", TEXT, "", "as in `traffic`"),
    _c("family", SMALL, "", "4 or 6; null without an address"),
    _c("remote_asn", INT, "", "as in `traffic`, never folded"),
    _c("prefix", TEXT, "", "route of the remote end; null: none"),
    _c("origin_asn", INT, "", "as in `traffic_routes`"),
    _c("local_prefix", TEXT, "", "own prefix of the local end; null: none"),
    _c("remote_addr", ADDRESS, "", "the remote end"),
    _c("local_addr", ADDRESS, "", "the local end"),
    _c("protocol", SMALL, "", "IP protocol number"),
    _c("remote_port", SMALL, "", "transport port of the remote end"),
    _c("local_port", SMALL, "", "transport port of the local end"),
    _c("tos", SMALL, "", "type of service or traffic class octet"),
    _c("dscp", SMALL, "", "its upper six bits (RFC 2474)"),
    _c("tcp_flags", SMALL, "", "TCP flags seen, or-ed"),
    _c("rate", REAL, "", "effective sampling rate (METHODS M2); null: not known"),
    _c("scaled", FLAG, "", "as in `traffic`"),
    _c("bytes", INT, "bytes", "of the hour, scaled by the rate"),
    _c("packets", INT, "packets", "of the hour, scaled by the rate"),
    _c("records", INT, "records", "1 in the hour of its start, else 0"),
)

TRAFFIC_SLOTS: tuple[TableColumn, ...] = tuple(
    c for c in TRAFFIC if c.name not in ("remote_asn", "variance_low", "variance_high")
)
ASN_DAYS: tuple[TableColumn, ...] = (
    _c("day", DAY, "UTC", "the day, in UTC", required=True),
    *(c for c in TRAFFIC_SLOTS if c.name in ("metro", "role", "provider_asn", "direction")),
    *(c for c in TRAFFIC if c.name in ("family", "remote_asn", "scaled")),
    *(c for c in TRAFFIC_SLOTS if c.name in ("bytes", "packets", "records")),
)
ROUTE_DAYS: tuple[TableColumn, ...] = (
    _c("day", DAY, "UTC", "the day, in UTC", required=True),
    _c(
        "since",
        TIME,
        "UTC",
        "first hour of a part of the day in which no routing table was taken",
        required=True,
    ),
    *(c for c in TRAFFIC_ROUTES if c.name in ("metro", "exporter", "role", "provider_asn")),
    *(c for c in TRAFFIC_ROUTES if c.name in ("direction", "scaled", "prefix", "origin_asn")),
    _c("hours", INT, "", "which hours of the day: bit 0 is the first", required=True),
    *(c for c in TRAFFIC_ROUTES if c.name in ("bytes", "packets", "records")),
)
SUMS: dict[str, tuple[TableColumn, ...]] = {  # flowpeer.lake.day_sums
    "traffic_slots": TRAFFIC_SLOTS,
    "asn_days": ASN_DAYS,
    "route_days": ROUTE_DAYS,
}

CONFIGURED: dict[str, tuple[TableColumn, ...]] = {  # made from flowpeer.toml by flowpeer.network
    "metros": METROS,
    "exporters": EXPORTERS,
    "interfaces": INTERFACES,
    "contracts": CONTRACTS,
    "sessions": SESSIONS,
}
REFERENCE: dict[str, tuple[TableColumn, ...]] = {  # loaded into lake/reference/<table>.parquet
    "asns": ASNS,
    "as_relationships": AS_RELATIONSHIPS,
    "as_clique": AS_CLIQUE,
    "as_cones": AS_CONES,
    "ixf_ports": IXF_PORTS,
    **PEERINGDB,
}

TABLES: dict[str, tuple[TableColumn, ...]] = {
    **INGEST_TABLES,  # flowpeer_ingest
    "traffic": TRAFFIC,  # flowpeer.rollup
    "traffic_routes": TRAFFIC_ROUTES,  # flowpeer.rollup
    "routes": ROUTES,  # flowpeer.routing.rib.snapshot
    **CONFIGURED,
    **REFERENCE,
}

SQL_TABLES: dict[str, tuple[TableColumn, ...]] = {**TABLES, **SUMS, "crossings": CROSSINGS}
"""What a statement reads: those that have no files of their own, too."""


def table_columns(relative: str) -> tuple[TableColumn, ...]:
    """The columns of a file of the lake, from its path."""
    folder, _, rest = relative.partition("/")
    return TABLES[rest.removesuffix(".parquet") if folder == "reference" else folder]
