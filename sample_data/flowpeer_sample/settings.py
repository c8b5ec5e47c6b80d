"""flowpeer.toml of the sample network: every section of one, with comments that teach."""

from __future__ import annotations

from flowpeer_sample.networks import internet
from flowpeer_sample.world import (
    ANNOUNCEMENTS,
    ASN,
    CONTRACTS,
    DUCT,
    EXCHANGE,
    EXCLUDED,
    EXPORTERS,
    INTERFACES,
    METROS,
    NAME,
    OWN4,
    OWN6,
    QUARTZ,
    QUARTZ_SCOPE,
    SAMPLING,
    Interface,
)

_HEAD = f"""\
# flowpeer.toml of a sample network. Everything here is synthetic and every name is invented;
# {NAME} (AS{ASN}) stands in for your network. Paths are relative to this file.

[network]
asn = {ASN}
name = "{NAME}"
prefixes = ["{OWN4}", "{OWN6}"]   # what we announce; a remote end in here is "own"
timezone = "UTC"                    # of billing months, unless a contract says otherwise
currency = "USD"

[lake]
path = "lake"
keep_flows = "14d"                  # rollups are kept for good

[collector]
listen = ["0.0.0.0:2055"]
active_timeout = "60s"              # as set on the routers: `flow timeout active 60`

[sources]
ribs = "ribs"                       # MRT table dumps; one view per transit provider in each
peeringdb = "peeringdb.json"
as_relationships = "as-rel2.txt.bz2"
as_names = "asns.csv"
asks = "asks.csv"                   # whom we asked for peering, and what came of it

# == what peering itself costs a month; a metro, exchange or facility may state its own
[peering_costs]
port_per_month = {{ "10G" = 400, "100G" = 1200 }}
membership_per_month = 120
cross_connect_per_month = 120
router_port_per_month = {{ "10G" = 40, "100G" = 240 }}
setup = 900                         # once, spread over amortise_months
amortise_months = 24

# == metros: each its own failure domain
# facilities and exchanges are PeeringDB ids of where we are; from them follows where we can
# meet a network. route_servers = true: we have sessions with the exchange's route servers.
"""

_EXPORTERS = """
# == exporters: the routers that send flow records
# addresses are the source addresses of the export packets. sampling is used only where the
# exporter does not say its rate; what it says in options data or headers goes first.
"""

_NOTES = {
    "edge1.nyc": "NetFlow v9; announces its rate in options data minutes after its first flows",
    "edge1.iad": "IPFIX; does not say its rate, so it stands here",
    "edge1.chi": "IPFIX; the rate is a field of every record",
    "edge1.dfw": "NetFlow v5; the rate is in the packet header",
    "edge1.lax": "NetFlow v5; the header says nothing, so the rate stands here",
    "edge1.ams": "NetFlow v9; meters ingress everywhere and egress on external interfaces: "
    'double,\n# distinguished by flowDirection (61). metering = "auto" finds out',
    "edge1.fra": "IPFIX over IPv6; 1 of 1 + 999 packets by options data of its selector",
    "edge1.lon": "NetFlow v9; meters external interfaces only: ingress in, egress out",
    "edge1.par": "NetFlow v9; says no rate and none stands here: its bytes stay unscaled, and "
    "every\n# report says so. To fix it: sampling = 1000",
}

_INTERFACES = """
# == interfaces: what lies behind each SNMP index
# role is transit, peer (one network: asn), ix (many), customer or internal. One is missing
# here on purpose: index 14 of edge1.lon. `flowpeer check` finds it by its traffic.
"""

_CONTRACTS = """
# == contracts: what transit costs
# The billed object is the sum of all interfaces that name the contract. Prices are per Mbps
# and month, below and above the commit; renewal_price_per_mbps is what is offered for the time
# after `ends`. Notice is given notice_days before that.
"""

_SESSIONS = """
# == sessions: peerings that exist
# These networks are no candidates in the same metro; what still rides transit there is a leak.
"""

_EXCLUSIONS = f"""
# == exclusions: networks that are not to be proposed
[[exclusions]]
asn = {EXCLUDED}
reason = "asked 2026-05, declined"
until = 2027-05-01
"""

_FAILURES = f"""
# == routing: what `exits`, `drill` and the plans of a disaster-recovery test go by
# A learned route is for its own metro, unless it carries a community that lets it be used
# further: where a metro loses its links, its traffic may leave by {QUARTZ.name} elsewhere.
[routing]
default_scope = "metro"
route_scope = [{{ community = "{QUARTZ_SCOPE}", scope = "continent" }}]

# == announcements: our prefixes, where each is announced, and how far (metro, region, continent,
# global). The first metro is the prefix's home: where its servers are. In the others inbound
# traffic comes in when home is lost, and its demand goes there when home is emptied.
"""

_RISK = """
# == risk groups: what fails together, though nothing in the data says so
"""

_ACCEPTED = """
# == accepted: warnings that somebody has seen and works on; until then they are notes, and a job
# that is scheduled does not end with 1 for ever
[[accepted]]
code = "unknown-interface"
object = "interface 14 of edge1.lon"
reason = "a new port of Pelagolink, to be entered (NOC-4711)"

[[accepted]]
code = "unscaled"
object = "exporter edge1.par"
reason = "its owners are asked for the rate (NOC-4712)"
"""


def _interface(i: Interface) -> str:
    lines = [
        "[[interfaces]]",
        f'exporter = "edge1.{i.metro}"',
        f"index = {i.index}",
        f'name = "{i.name}"',
        f'role = "{i.role}"',
    ]
    if i.asn is not None:
        lines.append(f"asn = {i.asn}")
    if i.capacity:
        lines.append(f'capacity = "{i.capacity}"')
    if i.contract:
        lines.append(f'contract = "{i.contract}"')
    return "\n".join(lines) + "\n"


def flowpeer_toml(sessions: list[tuple[int, str, str]]) -> str:
    """The configuration; `sessions` are (asn, metro, kind)."""
    parts = [_HEAD]
    ports = {i.metro: i for i in INTERFACES if i.index == EXCHANGE}
    for m in METROS:
        parts.append(
            f'\n[[metros]]\nid = "{m.id}"\nname = "{m.name}"\nregion = "{m.region}"\n'
            f'continent = "{m.continent}"\nfacilities = {list(m.facilities)}\n'
        )
        if m.exchange is not None:
            speed = ports[m.id].capacity
            servers = str(m.route_servers).lower()
            parts.append(
                f"exchanges = [{{ id = {m.exchange}, route_servers = {servers}, "
                f'speed = "{speed}" }}]\n'
            )
        parts.append(f"latitude = {m.latitude}\nlongitude = {m.longitude}\n")
    parts.append(_EXPORTERS)
    for e in EXPORTERS:
        parts.append(
            f'\n# {_NOTES[e.id]}\n[[exporters]]\nid = "{e.id}"\nmetro = "{e.metro}"\n'
            f'addresses = ["{e.address}"]\n'
        )
        if e.metering == "both":
            parts.append('metering = "auto"                   # or "ingress", "egress"\n')
        if e.rate == "config":
            parts.append(f"sampling = {SAMPLING}\n")
    parts.append(_INTERFACES)
    for m in METROS:
        parts.append(f"\n# {m.name}\n")
        parts.append(
            "\n".join(_interface(i) for i in INTERFACES if i.metro == m.id and i.configured)
        )
    parts.append(_CONTRACTS)
    for c in CONTRACTS:
        parts.append(
            f'\n[[contracts]]\nid = "{c.id}"\nprovider = "{c.provider}"\ncommit = "{c.commit}"\n'
            f"price_per_mbps = {c.price}\noverage_per_mbps = {c.overage}\n"
            f'billing = "{c.billing}"\nends = {c.ends}\nnotice_days = {c.notice_days}\n'
            f"renewal_price_per_mbps = {c.renewal}\n"
        )
    parts.append(_SESSIONS)
    for asn, metro, kind in sessions:
        parts.append(
            f"\n[[sessions]]\nasn = {asn}   # {internet().networks[asn].name}\n"
            f'metro = "{metro}"\nkind = "{kind}"\n'
        )
    parts.append(_FAILURES)
    for one in ANNOUNCEMENTS:
        metros = ", ".join(f'"{m}"' for m in one.metros)
        parts.append(
            f'\n[[announcements]]\nprefix = "{one.prefix}"\nmetros = [{metros}]\n'
            f'scope = "{one.scope}"\n'
        )
    fibres = ", ".join(f'"edge1.{DUCT.metro}:{index}"' for index in DUCT.interfaces)
    parts.append(
        f'{_RISK}[[risk_groups]]\nid = "{DUCT.id}"   # {DUCT.why}\ninterfaces = [{fibres}]\n'
    )
    parts.append(_EXCLUSIONS)
    parts.append(_ACCEPTED)
    return "".join(parts)
