"""METHODS M1 to M4 and M6 in plain Python, record by record: what a roll-up must equal.

Shares no code with the product; slow and obvious on purpose.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

SLOT = 300_000_000
EXTERNAL = {"transit", "peer", "ix", "customer"}
Row = dict[str, Any]


@dataclass
class World:
    """A small network: what `flowpeer.toml` says, routes and flow records."""

    asn: int
    prefixes: list[str]
    exporters: dict[str, Row]  # address → id, metro, sampling, sampling_override, metering
    interfaces: dict[tuple[str, int], Row]  # (exporter id, index) → role, asn
    routes: dict[str, int | None]  # prefix → origin, None for a set
    flows: list[Row] = field(default_factory=list)
    sampling: list[Row] = field(default_factory=list)
    members: dict[str, int] = field(default_factory=dict)  # address on our exchanges → ASN


def shares(start: int, end: int, total: int) -> dict[int, int]:
    if start == end:
        return {start // SLOT: total}
    exact = {}
    for slot in range(start // SLOT, (end - 1) // SLOT + 1):
        inside = min(end, (slot + 1) * SLOT) - max(start, slot * SLOT)
        exact[slot] = Fraction(total * inside, end - start)
    whole = {slot: int(share) for slot, share in exact.items()}
    rest = total - sum(whole.values())
    for slot in sorted(exact, key=lambda s: (whole[s] - exact[s], s))[:rest]:
        whole[slot] += 1
    return whole


def longest_match(address: str, prefixes: list[str]) -> str | None:
    best = None
    ip = ipaddress.ip_address(address)
    for prefix in prefixes:
        net = ipaddress.ip_network(prefix)
        if not net.prefixlen or net.version != ip.version or ip not in net:
            continue
        if best is None or net.prefixlen > ipaddress.ip_network(best).prefixlen:
            best = prefix
    return best


def rate_of(world: World, flow: Row) -> int:
    exporter = world.exporters.get(flow["exporter_ip"], {})
    if exporter.get("sampling_override"):
        return int(exporter["sampling_override"])
    if flow["sampling_interval"]:
        return int(flow["sampling_interval"])
    metered = flow["output_if"] if flow["direction"] == 1 else flow["input_if"]
    asked: list[tuple[int | None, int | None]] = []
    if flow["sampler_id"] is not None:
        asked.append((flow["sampler_id"], None))
    if metered:
        asked.append((None, metered))
    asked.append((None, None))

    def announced(domain: int, key: tuple[int | None, int | None]) -> list[Row]:
        return sorted(
            (
                s for s in world.sampling
                if s["exporter_ip"] == flow["exporter_ip"] and s["observation_domain"] == domain
                and (s["sampler_id"], s["interface"]) == key
            ),
            key=lambda s: (s["first_seen"], s["interval"]),
        )  # fmt: skip

    domains = list(dict.fromkeys((flow["observation_domain"], 0)))
    for key in asked:
        for domain in domains:
            rows = announced(domain, key)
            if rows:
                said = [r["interval"] for r in rows if r["first_seen"] <= flow["received"]]
                return int(said[-1] if said else rows[0]["interval"])
    if flow["sampler_id"] is None:
        for domain in domains:
            found = {
                s["interval"] for s in world.sampling
                if s["exporter_ip"] == flow["exporter_ip"] and s["observation_domain"] == domain
                and s["sampler_id"] is not None
            }  # fmt: skip
            if len(found) == 1:
                return int(found.pop())
    return int(exporter.get("sampling") or 0)


def member(world: World, flow: Row) -> int | None:
    """Whose port on an exchange the record's next hop is; BGP's next hop is the better one."""
    for hop in (flow.get("bgp_hop"), flow.get("hop")):
        if hop and int(ipaddress.ip_address(hop)):
            return world.members.get(hop)
    return None


def crossings(world: World, flow: Row) -> list[tuple[Row, str]]:
    """(where the record is counted, which end is remote) by M1."""
    ip = flow["exporter_ip"]
    exporter = world.exporters.get(ip, {"id": ip, "metro": "unknown", "metering": "auto"})
    day = flow["received"] // 86_400_000_000

    def role(index: int | None) -> str | None:
        return world.interfaces.get((exporter["id"], index or 0), {}).get("role")

    def sent(side: str, egress: bool, index: int) -> bool:
        return any(
            f[side] == index
            and (f["direction"] == 1) == egress
            and f["received"] // 86_400_000_000 == day
            and world.exporters.get(f["exporter_ip"], {"id": f["exporter_ip"]})["id"]
            == exporter["id"]
            for f in world.flows
        )

    def carried(side: str, egress: bool, index: int) -> int:
        """Scaled bytes of the day, by the rate that records state, else by the configured one."""
        rate = exporter.get("sampling_override") or exporter.get("sampling") or 1
        return sum(
            min((f["bytes"] or 0) * f["sampling_interval"], 1 << 40)
            if f["sampling_interval"]
            else (f["bytes"] or 0) * rate
            for f in world.flows
            if f[side] == index
            and (f["direction"] == 1) == egress
            and f["received"] // 86_400_000_000 == day
            and world.exporters.get(f["exporter_ip"], {"id": f["exporter_ip"]})["id"]
            == exporter["id"]
        )

    egress = flow["direction"] == 1
    came, left = flow["input_if"] or 0, flow["output_if"] or 0
    counted: list[tuple[Row, str]] = []
    for side, index, direction, remote in (
        ("input_if", came, "in", "src_addr"),
        ("output_if", left, "out", "dst_addr"),
    ):
        if role(index) not in EXTERNAL:
            continue
        if exporter["metering"] != "auto":
            use_egress = exporter["metering"] == "egress"
        else:
            # The natural way, unless it is clearly less than the other one.
            natural, other = (
                carried(side, e, index) for e in (direction == "out", direction == "in")
            )
            short = other - natural
            N = exporter.get("sampling_override") or exporter.get("sampling") or 1_000
            if not natural and not other:
                fits = sent(side, direction == "out", index) or not sent(
                    side, direction == "in", index
                )
            else:
                fits = natural * 10 >= other * 9 or (
                    natural * 2 >= other and short**2 < 4 * N * 1_500 * (natural + other)
                )
            use_egress = fits == (direction == "out")
        if use_egress == egress:
            interface = world.interfaces[exporter["id"], index]
            asn = interface["asn"]
            if interface["role"] == "ix":
                asn = member(world, flow) if direction == "out" else None
            counted.append(
                (
                    {
                        "interface": index, "role": interface["role"], "direction": direction,
                        "provider_asn": asn,
                    },
                    remote,
                )
            )  # fmt: skip
    where = {"metro": exporter["metro"], "exporter": exporter["id"]}
    if not counted:
        if role(came) in EXTERNAL or role(left) in EXTERNAL:
            index = came if role(came) in EXTERNAL else left
            only = ({"interface": index, "role": "set_aside", "direction": "none"}, "dst_addr")
        elif came and role(came) is None:
            only = ({"interface": came, "role": "unknown", "direction": "in"}, "src_addr")
        elif left and role(left) is None:
            only = ({"interface": left, "role": "unknown", "direction": "out"}, "dst_addr")
        elif not left:
            only = ({"interface": came or None, "role": "discarded", "direction": "none"},
                    "dst_addr")  # fmt: skip
        else:
            only = ({"interface": came or None, "role": "internal", "direction": "none"},
                    "dst_addr")  # fmt: skip
        counted = [({"provider_asn": None, **only[0]}, only[1])]
    return [({**where, **side}, remote) for side, remote in counted]


def remote_of(world: World, address: str | None) -> tuple[int, str | None, int]:
    """(remote_asn, prefix, origin_asn)."""
    if address is None:
        return -5, None, -5
    own = longest_match(address, world.prefixes)
    if own:
        return -4, own, -4
    prefix = longest_match(address, list(world.routes))
    if prefix is None:
        return -1, None, -1
    origin = world.routes[prefix]
    if origin is None:
        return -3, prefix, -3
    if origin == world.asn:
        return -4, prefix, -4
    reserved = origin in (0, 23456) or 64496 <= origin <= 131071 or origin >= 4_200_000_000
    return (-2 if reserved else origin), prefix, origin


def variances(flow: Row, rate: int) -> tuple[Fraction, Fraction]:
    b, k = flow["bytes"] or 0, flow["packets"] or 0
    if k <= 0:
        k = max(1, -(-b // 1500))
    m = min(Fraction(flow["min_length"] or 40), Fraction(b, k))
    largest = flow["max_length"] or min(Fraction(1500), b - (k - 1) * m)
    largest = max(Fraction(largest), Fraction(b, k))
    low = Fraction(b * b, k)
    high = max(low, b * (m + largest) - k * m * largest)
    return rate * (rate - 1) * low, rate * (rate - 1) * high


Table = dict[tuple[Any, ...], Row]


def tails(traffic: Table, share: Fraction, below_bps: int) -> dict[tuple[datetime, str], set[int]]:
    """Networks to be folded, by hour and metro."""
    bytes_of: dict[tuple[datetime, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for (time, metro, *_, asn, scaled), row in traffic.items():
        if scaled and asn > 0:
            bytes_of[time.replace(minute=0), metro][asn] += row["bytes"]
    found: dict[tuple[datetime, str], set[int]] = defaultdict(set)
    for place, sizes in bytes_of.items():
        together = 0
        for size, asn in sorted((size, asn) for asn, size in sizes.items()):
            together += size
            if together <= share * sum(sizes.values()) and size * 8 < below_bps * 3600:
                found[place].add(asn)
    return found


def fold(traffic: Table, routes: Table, share: Fraction, below_bps: int) -> tuple[Table, Table]:
    """Both tables after the tail was folded; those of routes have `folded` behind their key."""
    tail = tails(traffic, share, below_bps)
    folded: Table = defaultdict(lambda: defaultdict(int))
    for (time, metro, *rest, asn, scaled), row in traffic.items():
        if scaled and asn in tail[time.replace(minute=0), metro]:
            asn = -6
        for name, value in row.items():
            folded[time, metro, *rest, asn, scaled][name] += value
    marked = {
        (hour, metro, *rest, scaled, prefix, origin, local,
         scaled and origin in tail[hour, metro]): row
        for (hour, metro, *rest, scaled, prefix, origin, local), row in routes.items()
    }  # fmt: skip
    return folded, marked


def roll_up(world: World) -> tuple[Table, Table, Row]:
    """traffic and traffic_routes by their key columns, and the totals of M13."""
    traffic: dict[tuple[Any, ...], Row] = defaultdict(lambda: defaultdict(int))
    routes: dict[tuple[Any, ...], Row] = defaultdict(lambda: defaultdict(int))
    totals = {"flows": 0, "through": 0, "flows_unscaled": 0, "through_unscaled": 0}
    for flow in world.flows:
        rate = rate_of(world, flow)
        scaled = rate > 0
        octets = (flow["bytes"] or 0) * (rate or 1)
        packets = (flow["packets"] or 0) * (rate or 1)
        counted = crossings(world, flow)
        suffix = "" if scaled else "_unscaled"
        totals[f"flows{suffix}"] += octets
        totals[f"through{suffix}"] += octets * (len(counted) - 1)
        low, high = variances(flow, rate) if scaled else (Fraction(0), Fraction(0))
        parts = shares(flow["start"], flow["end"], octets)
        packet_parts = shares(flow["start"], flow["end"], packets)
        for side, remote in counted:
            asn, prefix, origin = remote_of(world, flow[remote])
            local = flow["src_addr" if remote == "dst_addr" else "dst_addr"]
            local_prefix = longest_match(local, world.prefixes) if local else None
            family = ipaddress.ip_address(flow[remote]).version if flow[remote] else None
            for slot, part in parts.items():
                time = datetime.fromtimestamp(slot * 300, UTC)
                key = tuple(side[c] for c in ("metro", "exporter", "interface", "role",
                                              "provider_asn", "direction"))  # fmt: skip
                inside = (
                    Fraction(1)
                    if flow["start"] == flow["end"]
                    else Fraction(
                        min(flow["end"], (slot + 1) * SLOT) - max(flow["start"], slot * SLOT),
                        flow["end"] - flow["start"],
                    )
                )
                for row in (
                    traffic[time, *key, family, asn, scaled],
                    routes[time.replace(minute=0), *key, scaled, prefix, origin, local_prefix],
                ):
                    row["bytes"] += part
                    row["packets"] += packet_parts[slot]
                    row["records"] += slot == flow["start"] // SLOT
                    row["variance_low"] += low * inside
                    row["variance_high"] += high * inside
    return traffic, routes, totals
