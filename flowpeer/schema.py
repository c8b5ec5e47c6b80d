"""Every table of the lake but those the ingest package makes: each column stated once.

Parquet files, SQL views and the reference page read these tuples. To add a column: state it
here, fill it where the table is made (named in `TABLES`' comments), renew the golden files.
"""

from __future__ import annotations

import pyarrow as pa

from flowpeer_ingest.schema import TABLES as INGEST_TABLES
from flowpeer_ingest.schema import TIME, Column, arrow_schema

__all__ = ["PARTITIONED", "REFERENCE", "TABLES", "Column", "arrow_schema"]

SLOT_SECONDS = 300

# `traffic.remote_asn` that is no public network (DESIGN: tables).
UNROUTED, PRIVATE, AS_SET, OWN, NO_ADDRESS, FOLDED = -1, -2, -3, -4, -5, -6
SPECIAL_ASNS: dict[int, str] = {
    UNROUTED: "unrouted",
    PRIVATE: "private or reserved ASN",
    AS_SET: "AS set",
    OWN: "own",
    NO_ADDRESS: "no address",
    FOLDED: "folded to hours",
}

EXTERNAL_ROLES = ("transit", "peer", "ix", "customer")

_TEXT, _INT, _SMALL, _REAL, _FLAG = (
    pa.string(),
    pa.int64(),
    pa.int32(),
    pa.float64(),
    pa.bool_(),
)


def _c(
    name: str,
    type_: pa.DataType,
    unit: str,
    meaning: str,
    source: str = "",
    *,
    required: bool = False,
) -> Column:
    return Column(name, type_, unit, meaning, source, nullable=not required)


_WHERE = (
    _c(
        "metro",
        _TEXT,
        "",
        "metro of the exporter; `unknown` for an exporter not configured",
        required=True,
    ),
    _c("exporter", _TEXT, "", "configured id, else the IP address", required=True),
    _c("interface", _INT, "ifIndex", "the interface crossed; null where none is known"),
    _c(
        "role",
        _TEXT,
        "",
        "transit, peer, ix, customer, unknown, internal, discarded or set_aside (M1)",
        required=True,
    ),
    _c("provider_asn", _INT, "ASN", "the network on the other side of the interface"),
    _c("direction", _TEXT, "", "in, out or none (M1)", required=True),
)
_SUMS = (
    _c(
        "bytes",
        _INT,
        "bytes",
        "IP octets, scaled by the sampling rate where `scaled` (M2, M3)",
        required=True,
    ),
    _c("packets", _INT, "packets", "packets, scaled likewise", required=True),
    _c(
        "records",
        _INT,
        "records",
        "flow records, counted where they start, never scaled",
        required=True,
    ),
    _c("variance_low", _REAL, "bytes²", "sampling variance, lower bound (M6)", required=True),
    _c("variance_high", _REAL, "bytes²", "sampling variance, upper bound (M6)", required=True),
)
_SCALED = _c("scaled", _FLAG, "", "false: no sampling rate known, bytes as exported", required=True)

TRAFFIC: tuple[Column, ...] = (
    _c("slot", TIME, "UTC", "start of the 5-minute slot", required=True),
    *_WHERE,
    _c("family", _SMALL, "", "4 or 6; null where the record has no address"),
    _c(
        "remote_asn",
        _INT,
        "ASN",
        "origin AS of the remote end; negative: no public network, see asns",
        required=True,
    ),
    _SCALED,
    *_SUMS,
)
TRAFFIC_ROUTES: tuple[Column, ...] = (
    _c("hour_start", TIME, "UTC", "start of the hour", required=True),
    *_WHERE,
    _SCALED,
    _c("prefix", _TEXT, "", "matched route of the remote end; null: unrouted or no address"),
    _c(
        "origin_asn",
        _INT,
        "ASN",
        "its origin as the RIB says; negative: none, see asns",
        required=True,
    ),
    _c("local_prefix", _TEXT, "", "own prefix of the local end; null: not ours"),
    *_SUMS,
    _c(
        "folded",
        _FLAG,
        "",
        "true: in `traffic` these bytes are in rows of remote_asn −6, not in the network's own",
    ),
)
ROUTES: tuple[Column, ...] = (
    _c("snapshot", _TEXT, "", "name of the snapshot", required=True),
    _c("taken_at", TIME, "UTC", "when the routes were in force", required=True),
    _c(
        "vantage",
        _TEXT,
        "",
        "AS<peer>@<address> of an MRT peer, else exporter, metro or empty",
        required=True,
    ),
    _c("prefix", _TEXT, "", "network/length", required=True),
    _c("family", _SMALL, "", "4 or 6", required=True),
    _c("origin_asn", _INT, "ASN", "origin AS; null for an AS_SET"),
    _c("as_path", _TEXT, "", "AS path, {…} for sets"),
    _c("next_hop", _TEXT, "", "next hop"),
    _c("med", _INT, "", "multi-exit discriminator"),
    _c("local_pref", _INT, "", "local preference"),
    _c("communities", _TEXT, "", "communities, large ones included, separated by blanks"),
    _c("path_id", _INT, "", "path identifier of an ADD-PATH session (RFC 7911)"),
    _c("origin_code", _TEXT, "", "ORIGIN: IGP, EGP or INCOMPLETE; null where it is not known"),
)

METROS = (
    _c("metro", _TEXT, "", "id", required=True),
    _c("name", _TEXT, "", "name", required=True),
    _c("region", _TEXT, "", "region"),
    _c("continent", _TEXT, "", "continent code"),
    _c("latitude", _REAL, "degrees", "latitude"),
    _c("longitude", _REAL, "degrees", "longitude"),
)
EXPORTERS = (
    _c("exporter", _TEXT, "", "id", required=True),
    _c("metro", _TEXT, "", "metro", required=True),
    _c("address", _TEXT, "", "source address of its datagrams, one row each", required=True),
    _c("sampling", _INT, "1:N", "rate used where the exporter says none"),
    _c("sampling_override", _INT, "1:N", "rate used instead of what the exporter says"),
    _c("metering", _TEXT, "", "auto, ingress or egress (M1)", required=True),
)
INTERFACES = (
    _c("exporter", _TEXT, "", "exporter id", required=True),
    _c("metro", _TEXT, "", "metro of the exporter", required=True),
    _c("interface", _INT, "ifIndex", "SNMP index", required=True),
    _c("name", _TEXT, "", "name"),
    _c("role", _TEXT, "", "transit, peer, ix, customer or internal", required=True),
    _c("asn", _INT, "ASN", "network on the other side"),
    _c("capacity_bps", _INT, "bit/s", "capacity"),
    _c("contract", _TEXT, "", "contract it is billed under"),
    _c("valid_from", TIME, "UTC", "since when it is so; null: from the beginning"),
    _c("valid_until", TIME, "UTC", "until when, exclusive; null: still"),
)
CONTRACTS = (
    _c("contract", _TEXT, "", "id", required=True),
    _c("provider", _TEXT, "", "name of the provider"),
    _c("commit_bps", _INT, "bit/s", "committed rate"),
    _c("price_per_mbps", _REAL, "currency/Mbps/month", "price of the commit"),
    _c("overage_per_mbps", _REAL, "currency/Mbps/month", "price above the commit"),
    _c("billing", _TEXT, "", "max_of_p95, p95_of_max, in, out, sum or flat (M5)", required=True),
    _c("aggregate", _TEXT, "", "p95_of_sum or sum_of_p95 (M8)", required=True),
    _c("tier_mode", _TEXT, "", "marginal or all_volume, where it has tiers (M8)", required=True),
    _c("fixed_per_month", _REAL, "currency/month", "fixed charges"),
    _c("renewal_price_per_mbps", _REAL, "currency/Mbps/month", "price after renewal"),
    _c("currency", _TEXT, "", "currency of its prices", required=True),
    _c("timezone", _TEXT, "", "time zone of its months", required=True),
    _c("starts", pa.date32(), "", "first day"),
    _c("ends", pa.date32(), "", "last day"),
)
SESSIONS = (
    _c("asn", _INT, "ASN", "peer", required=True),
    _c("metro", _TEXT, "", "metro", required=True),
    _c("kind", _TEXT, "", "ix or pni", required=True),
)
ASNS = (
    _c(
        "asn",
        _INT,
        "ASN",
        "number; negative: a kind of traffic without a public network",
        required=True,
    ),
    _c("name", _TEXT, "", "name", required=True),
    _c("organisation", _TEXT, "", "organisation"),
    _c("country", _TEXT, "", "country code"),
)
AS_RELATIONSHIPS = (
    _c("asn", _INT, "ASN", "provider, or one of two peers", required=True),
    _c("other_asn", _INT, "ASN", "customer, or the other peer", required=True),
    _c(
        "relationship",
        _SMALL,
        "",
        "−1 asn is the provider of other_asn, 0 peers, 1 siblings",
        required=True,
    ),
)
AS_CONES = (
    _c("asn", _INT, "ASN", "network whose customer cone it is", required=True),
    _c("member_asn", _INT, "ASN", "a network in it, itself left out", required=True),
)
AS_CLIQUE = (_c("asn", _INT, "ASN", "member of the inferred clique", required=True),)


def _peeringdb(*columns: tuple[str, pa.DataType]) -> tuple[Column, ...]:
    """Columns that keep PeeringDB's own names and meaning; anything may be missing there."""
    return tuple(
        _c(name, type_, "", f"PeeringDB `{name}`", "PeeringDB", required=name == "id")
        for name, type_ in columns
    )


PEERINGDB: dict[str, tuple[Column, ...]] = {
    "peeringdb_org": _peeringdb(("id", _INT), ("name", _TEXT), ("country", _TEXT)),
    "peeringdb_net": _peeringdb(
        ("id", _INT),
        ("org_id", _INT),
        ("asn", _INT),
        ("name", _TEXT),
        ("aka", _TEXT),
        ("irr_as_set", _TEXT),
        ("info_type", _TEXT),
        ("info_traffic", _TEXT),
        ("info_ratio", _TEXT),
        ("info_scope", _TEXT),
        ("info_prefixes4", _INT),
        ("info_prefixes6", _INT),
        ("info_never_via_route_servers", _FLAG),
        ("policy_general", _TEXT),
        ("policy_locations", _TEXT),
        ("policy_ratio", _FLAG),
        ("policy_contracts", _TEXT),
        ("policy_url", _TEXT),
        ("notes", _TEXT),
    ),
    "peeringdb_ix": _peeringdb(
        ("id", _INT),
        ("org_id", _INT),
        ("name", _TEXT),
        ("city", _TEXT),
        ("country", _TEXT),
        ("region_continent", _TEXT),
    ),
    "peeringdb_ixlan": _peeringdb(("id", _INT), ("ix_id", _INT), ("rs_asn", _INT)),
    "peeringdb_ixpfx": _peeringdb(
        ("id", _INT),
        ("ixlan_id", _INT),
        ("protocol", _TEXT),
        ("prefix", _TEXT),
    ),
    "peeringdb_netixlan": _peeringdb(
        ("id", _INT),
        ("net_id", _INT),
        ("ix_id", _INT),
        ("ixlan_id", _INT),
        ("asn", _INT),
        ("ipaddr4", _TEXT),
        ("ipaddr6", _TEXT),
        ("speed", _INT),
        ("is_rs_peer", _FLAG),
        ("operational", _FLAG),
        ("net_side_id", _INT),
        ("ix_side_id", _INT),
    ),
    "peeringdb_fac": _peeringdb(
        ("id", _INT),
        ("org_id", _INT),
        ("campus_id", _INT),
        ("name", _TEXT),
        ("city", _TEXT),
        ("country", _TEXT),
        ("latitude", _REAL),
        ("longitude", _REAL),
    ),
    "peeringdb_ixfac": _peeringdb(("id", _INT), ("ix_id", _INT), ("fac_id", _INT)),
    "peeringdb_netfac": _peeringdb(
        ("id", _INT),
        ("net_id", _INT),
        ("fac_id", _INT),
        ("local_asn", _INT),
    ),
    "peeringdb_campus": _peeringdb(("id", _INT), ("org_id", _INT), ("name", _TEXT)),
    "peeringdb_carrier": _peeringdb(("id", _INT), ("org_id", _INT), ("name", _TEXT)),
    "peeringdb_carrierfac": _peeringdb(("id", _INT), ("carrier_id", _INT), ("fac_id", _INT)),
}

IXF_PORTS = (
    _c("ix_id", _INT, "", "PeeringDB id of the exchange", required=True),
    _c("asn", _INT, "ASN", "member", required=True),
    _c("ipaddr4", _TEXT, "", "IPv4 address on the exchange's LAN"),
    _c("ipaddr6", _TEXT, "", "IPv6 address on the exchange's LAN"),
    _c("speed", _INT, "Mbit/s", "speed of the port, of all its links together"),
    _c("is_rs_peer", _FLAG, "", "has sessions with the route servers"),
    _c("operational", _FLAG, "", "the exchange calls the connection active"),
    _c("source", _TEXT, "", "member export that says so", required=True),
)

PARTITIONED = ("flows", "sampling", "coverage", "traffic", "traffic_routes")
"""Tables in folders date=YYYY-MM-DD/hour=HH; `routes` is one folder of snapshots."""

CONFIGURED: dict[str, tuple[Column, ...]] = {  # made from flowpeer.toml by flowpeer.network
    "metros": METROS,
    "exporters": EXPORTERS,
    "interfaces": INTERFACES,
    "contracts": CONTRACTS,
    "sessions": SESSIONS,
}
REFERENCE: dict[str, tuple[Column, ...]] = {  # loaded into lake/reference/<table>.parquet
    "asns": ASNS,
    "as_relationships": AS_RELATIONSHIPS,
    "as_clique": AS_CLIQUE,
    "as_cones": AS_CONES,
    "ixf_ports": IXF_PORTS,
    **PEERINGDB,
}

TABLES: dict[str, tuple[Column, ...]] = {
    **INGEST_TABLES,  # flowpeer_ingest
    "traffic": TRAFFIC,  # flowpeer.rollup
    "traffic_routes": TRAFFIC_ROUTES,  # flowpeer.rollup
    "routes": ROUTES,  # flowpeer.routing.snapshot
    **CONFIGURED,
    **REFERENCE,
}


def table_columns(relative: str) -> tuple[Column, ...]:
    """The columns of a file of the lake, from its path."""
    folder, _, rest = relative.partition("/")
    return TABLES[rest.removesuffix(".parquet") if folder == "reference" else folder]
