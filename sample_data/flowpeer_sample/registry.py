"""PeeringDB objects, AS relationships and AS names of the sample's internet; all invented."""

from __future__ import annotations

import bz2
import ipaddress
import json
from functools import cache
from typing import Any

from flowpeer_sample import world as w
from flowpeer_sample.demand import AFFINITY, members, sessions
from flowpeer_sample.dice import one
from flowpeer_sample.networks import CLIQUE, SampleNetwork, internet

Row = dict[str, Any]

CAMPUS = 301
CAMPUS_FACILITIES = (113, 114)
_STAMP = {"created": "2025-01-01T00:00:00Z", "updated": "2026-09-01T00:00:00Z", "status": "ok"}
_TYPE = {"clique": "NSP", "carrier": "NSP", "access": "Cable/DSL/ISP"}
_EDGE_TYPE = {"University": "Educational/Research", "Bank": "Enterprise", "Clinic": "Enterprise",
              "Broadband": "Cable/DSL/ISP", "Rural Net": "Cable/DSL/ISP"}  # fmt: skip
_TRAFFIC = ((30_000, "1-5Tbps"), (8_000, "100-200Gbps"), (3_000, "20-50Gbps"), (0, "1-5Gbps"))
OUR_NET = 1


def lan(ix: int) -> tuple[int, int]:
    """First addresses of the exchange's LAN, 34.<ix>.0.0/22 and 2e01:<f000 + ix>::/64."""
    return (34 << 24) + (ix << 16), (0x2E01 << 112) + ((0xF000 + ix) << 96)


@cache
def port_addresses(ix: int) -> dict[int, tuple[int, int]]:
    """ASN → (IPv4, IPv6) address of its port on the exchange's LAN."""
    base4, base6 = lan(ix)
    return {asn: (base4 + 10 + k, base6 + asn) for k, asn in enumerate(members(ix))}


def facilities(metro: str) -> tuple[int, int]:
    """The two facilities of a metro."""
    first = 101 + 2 * [m.id for m in w.METROS].index(metro)
    return first, first + 1


def _traffic(size: int) -> str:
    return next(text for least, text in _TRAFFIC if size >= least)


@cache
def listed() -> tuple[int, ...]:
    """The networks with an entry: nearly all, but a fifth of the small ones keep none."""
    net = internet()
    present = {a for ix in w.EXCHANGE_NAMES for a in members(ix)}
    return tuple(
        a for a, n in net.networks.items()
        if a in present or n.kind != "edge" or (a >= 505_000 and one(f"listed/{a}", 5))
        or a == w.NIGHT
    )  # fmt: skip


def _net(number: int, n: SampleNetwork) -> Row:
    kind = _TYPE.get(n.kind) or _EDGE_TYPE.get(n.name.split(" ", 1)[1], "Content")
    eyeball = kind == "Cable/DSL/ISP"
    selective = n.policy in ("selective", "restrictive")
    prefixes = [p for p in internet().prefixes if p.origin == n.asn]
    return {
        "id": number, "org_id": 20_000 + number, "name": n.name, "aka": "", "asn": n.asn,
        "website": "", "irr_as_set": f"AS{n.asn}:AS-ALL" if n.kind != "edge" else "",
        "info_type": kind, "info_types": [kind], "info_traffic": _traffic(n.size),
        "info_ratio": "Mostly Inbound" if eyeball else
        "Balanced" if kind == "NSP" else "Mostly Outbound",
        "info_scope": "Global" if n.kind == "clique" else "Regional",
        "info_prefixes4": 2 * sum(p.net.version == 4 for p in prefixes),
        "info_prefixes6": 2 * sum(p.net.version == 6 for p in prefixes),
        "info_unicast": True, "info_multicast": False,
        "info_ipv6": any(p.net.version == 6 for p in prefixes),
        "info_never_via_route_servers": selective and one(f"never/{n.asn}", 4) == 0,
        "policy_url": "", "policy_general": n.policy.capitalize(),
        "policy_locations": "Required - International" if n.kind == "clique" else
        "Preferred" if selective else "Not Required",
        "policy_ratio": n.policy == "restrictive" or (selective and one(f"r/{n.asn}", 4) == 0),
        "policy_contracts": "Required" if n.policy == "restrictive" else "Not Required",
        "notes": "Synthetic entry with an invented name.", **_STAMP,
    }  # fmt: skip


def _ports(net_of: dict[int, int]) -> list[Row]:
    rows: list[Row] = []

    def port(asn: int, ix: int, four: int, six: int, speed: int, servers: bool, up: bool) -> None:
        rows.append({
            "id": 40_001 + len(rows), "net_id": net_of[asn], "ix_id": ix, "ixlan_id": ix,
            "name": w.EXCHANGE_NAMES[ix][1], "asn": asn, "speed": speed,
            "ipaddr4": str(ipaddress.IPv4Address(four)),
            "ipaddr6": str(ipaddress.IPv6Address(six)), "is_rs_peer": servers, "operational": up,
            "bfd_support": False, "net_side_id": None, "ix_side_id": None, "notes": "", **_STAMP,
        })  # fmt: skip

    for m in w.METROS:
        if m.exchange is not None:
            four, six = lan(m.exchange)
            port(w.ASN, m.exchange, four + 2, six + w.ASN, 100_000, m.route_servers, True)
    for ix in w.EXCHANGE_NAMES:
        for asn, (four, six) in port_addresses(ix).items():
            n = internet().networks[asn]
            story = asn < 502_000
            speed = (
                100_000
                if n.size > 20_000 or n.kind == "carrier"
                else 10_000
                if n.size > 1_500
                else 1_000
            )
            servers = n.policy == "open" and one(f"rs/{ix}/{asn}", 10) < 7
            up = story or one(f"up/{ix}/{asn}", 20) > 0
            port(asn, ix, four, six, speed, servers, up)
            if speed == 100_000 and one(f"two/{ix}/{asn}", 2):  # some have two ports on a LAN
                port(asn, ix, four + 512, six + (1 << 32), speed, servers, up)
    return rows


def _presence() -> list[tuple[int, int]]:
    """(ASN, facility) of networks that can be met by a cross-connect."""
    net = internet()
    made = [(w.ASN, f) for m in w.METROS for f in m.facilities]
    for m in w.METROS:
        for asn, n in net.networks.items():
            if asn in net.cone_customers or asn in net.overlap_customers:
                continue
            if asn in (w.CUSTOMER, w.CUSTOMER_OF_CUSTOMER) or asn not in listed():
                continue
            near = AFFINITY[m.id].get(n.region, 0)
            odds = {"clique": 90, "carrier": 30 + near // 2, "access": near // 2}.get(n.kind, 4)
            for f in facilities(m.id):
                if near and one(f"fac/{f}/{asn}", 100) < odds:
                    made.append((asn, f))
    return made


def _contacts(net_of: dict[int, int]) -> list[Row]:
    """Whom to write to: of all but the edge networks, and of those that the sample is about."""
    rows: list[Row] = []
    for asn, number in net_of.items():
        n = internet().networks.get(asn)
        if n is None or (n.kind == "edge" and asn >= 502_000):
            continue
        for role, box in (("NOC", "noc"), ("Policy", "peering"), ("Abuse", "abuse")):
            rows.append({
                "id": 90_001 + len(rows), "net_id": number, "role": role, "visible": "Public",
                "name": "", "phone": "", "email": f"{box}@as{asn}.example", "url": "", **_STAMP,
            })  # fmt: skip
    return rows


def peeringdb() -> Row:
    """The dump: {"net": {"data": [...]}, ...}."""
    net = internet()
    net_of = {w.ASN: OUR_NET} | {a: 10_000 + k for k, a in enumerate(sorted(listed()))}
    ours = SampleNetwork(w.ASN, w.NAME, "edge", "na-east", "US", 60_000, policy="selective")
    nets = [_net(OUR_NET, ours)] + [
        _net(i, net.networks[a]) for a, i in net_of.items() if a != w.ASN
    ]
    nets[0] |= {"info_type": "Content", "info_ratio": "Heavy Outbound", "info_scope": "Global"}
    country = {m.id: {"ams": "NL", "fra": "DE", "lon": "GB", "par": "FR"}.get(m.id, "US")
               for m in w.METROS}  # fmt: skip
    continent = {w.NA: "North America", w.EU: "Europe"}
    orgs: list[Row] = [
        {"id": r["org_id"], "name": r["name"], "website": "", "notes": "", "city": "",
         "country": "US" if r["asn"] == w.ASN else net.networks[r["asn"]].country, **_STAMP}
        for r in nets
    ]  # fmt: skip
    facs: list[Row] = []
    for m in w.METROS:
        for k, f in enumerate(facilities(m.id)):
            facs.append({
                "id": f, "org_id": 80_000 + f,
                "campus_id": CAMPUS if f in CAMPUS_FACILITIES else None,
                "name": f"Stonevole {m.name} {k + 1}", "city": m.name, "country": country[m.id],
                "region_continent": continent[m.continent],
                "latitude": round(m.latitude + 0.02 - 0.05 * k, 6),
                "longitude": round(m.longitude - 0.01 + 0.06 * k, 6), **_STAMP,
            })  # fmt: skip
            orgs.append({"id": 80_000 + f, "name": "Stonevole Houses", "website": "", "notes": "",
                         "city": m.name, "country": country[m.id], **_STAMP})  # fmt: skip
    exchanges: list[Row] = []
    lans: list[Row] = []
    pools: list[Row] = []
    housed: list[Row] = []
    for ix, (metro, name) in w.EXCHANGE_NAMES.items():
        m = w.METRO[metro]
        exchanges.append({
            "id": ix, "org_id": 81_000 + ix, "name": name, "aka": "", "name_long": f"{name} "
            "(invented)", "city": m.name, "country": country[metro],
            "region_continent": continent[m.continent], "media": "Ethernet", "proto_unicast": True,
            "proto_ipv6": True, "net_count": len(members(ix)), **_STAMP,
        })  # fmt: skip
        orgs.append({"id": 81_000 + ix, "name": f"{name} Association", "website": "", "notes": "",
                     "city": m.name, "country": country[metro], **_STAMP})  # fmt: skip
        lans.append({
            "id": ix, "ix_id": ix, "name": "", "descr": "", "mtu": 1500, "dot1q_support": False,
            "rs_asn": w.ROUTE_SERVER_ASN[ix], "arp_sponge": None, **_STAMP,
        })  # fmt: skip
        four, six = lan(ix)
        for protocol, text in (("IPv4", f"{ipaddress.IPv4Address(four)}/22"),
                               ("IPv6", f"{ipaddress.IPv6Address(six)}/64")):  # fmt: skip
            pools.append({"id": 50_001 + len(pools), "ixlan_id": ix, "protocol": protocol,
                          "prefix": text, "in_dfz": False, **_STAMP})  # fmt: skip
        for f in facilities(metro) if ix < 210 else facilities(metro)[1:]:
            housed.append({"id": 60_001 + len(housed), "ix_id": ix, "fac_id": f, **_STAMP})
    netfacs = [
        {"id": 70_001 + k, "net_id": net_of[a], "fac_id": f, "local_asn": a, **_STAMP}
        for k, (a, f) in enumerate(_presence())
    ]
    campus = [{"id": CAMPUS, "org_id": 80_113, "name": "Stonevole Frankfurt Campus", **_STAMP}]
    objects = {"org": orgs, "fac": facs, "campus": campus, "net": nets, "ix": exchanges,
               "ixlan": lans, "ixpfx": pools, "ixfac": housed, "netixlan": _ports(net_of),
               "netfac": netfacs, "poc": _contacts(net_of)}  # fmt: skip
    note = "synthetic; every name is invented"
    return {"meta": {"note": note}} | {k: {"data": rows} for k, rows in objects.items()}


def peeringdb_json() -> bytes:
    """`peeringdb` as a file: one object a line, so that it can be read and compared."""
    parts = []
    for kind, value in peeringdb().items():
        if kind == "meta":
            parts.append(f'"meta": {json.dumps(value)}')
            continue
        rows = ",\n".join(json.dumps(r, separators=(",", ":")) for r in value["data"])
        parts.append(f'"{kind}": {{"data": [\n{rows}\n]}}')
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def as_relationships() -> str:
    """CAIDA's serial-2 form: provider|customer|-1|source, peer|peer|0|source."""
    net = internet()
    links = [*net.links, *((p.asn, w.ASN) for p in w.PROVIDERS)]
    peers = [*net.peerings, *((w.ASN, a) for a in sorted({s[0] for s in sessions()}))]
    lines = [
        "# synthetic: relationships of invented networks",
        f"# source:sample|{w.DAY_TEXT}",
        "# inferred clique: " + " ".join(map(str, sorted(CLIQUE))),
        *(f"{a}|{b}|-1|sample" for a, b in sorted(links)),
        *(f"{a}|{b}|0|sample" for a, b in sorted(peers)),
    ]
    return "\n".join(lines) + "\n"


def as_relationships_bz2() -> bytes:
    """`as_relationships`, packed as CAIDA packs it."""
    return bz2.compress(as_relationships().encode())


def as_names() -> str:
    """asn,name,organisation,country."""
    rows = [(w.ASN, w.NAME, w.NAME, "US")]
    rows += [(a, n.name, n.name, n.country) for a, n in internet().networks.items()]
    lines = ["asn,name,organisation,country"]
    lines += [f"{a},{name},{org} (invented),{country}" for a, name, org, country in sorted(rows)]
    return "\n".join(lines) + "\n"
