"""Small networks from end to end: captures, a RIB dump, relationships, PeeringDB, a configuration.

Written from the documents of the formats. What a world holds is kept as plain records beside its
files, for `figures_oracle`.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

START = datetime(2025, 7, 1, tzinfo=UTC)
BEGIN = int(START.timestamp())
HOURS = 3
SLOTS = 12 * HOURS
SLOT_S = 300
OURS, CUSTOMER, PEER, STRANGER = 64500, 2009, 2010, 6939
"""STRANGER has no provider and is not in the clique."""
TRANSITS = (174, 1299, 3356)
CLIQUE = (174, 1299, 2914, 3356)
NETWORKS = (*range(2001, 2013), STRANGER)
RELATED = 2013
"""A sibling of a transit."""
EXPORTERS = {"e1": "ams", "e2": "ams", "e3": "fra"}
VERSIONS = {"e1": 9, "e2": 10, "e3": 10}
LINKS: dict[tuple[str, int], tuple[str, int | None]] = {
    ("e1", 10): ("transit", 1299), ("e1", 11): ("transit", 174), ("e2", 10): ("transit", 174),
    ("e2", 12): ("peer", PEER), ("e3", 10): ("transit", 1299), ("e3", 11): ("transit", 3356),
    ("e3", 13): ("customer", CUSTOMER), ("e1", 20): ("internal", None),
    ("e2", 20): ("internal", None), ("e3", 20): ("internal", None),
}  # fmt: skip
FACILITIES = {"ams": 1, "fra": 2}
FIELDS = ((8, 4), (12, 4), (10, 4), (14, 4), (2, 4), (1, 4), (34, 4), (152, 8), (153, 8))
POLICIES = ("Open", "Open", "Selective", "Restrictive", "No", "")
MTU = {"e1": 1500, "e2": 9000, "e3": 1500}


@dataclass
class Record:
    exporter: str
    slot: int
    came: int
    left: int
    remote: str
    bytes: int
    packets: int
    rate: int
    """What the record itself says; 0 is unknown."""

    @property
    def direction(self) -> str:
        return "out" if self.came == 20 else "in"

    @property
    def link(self) -> int:
        return self.left if self.came == 20 else self.came


@dataclass
class World:
    seed: int
    prefixes: dict[str, int | None]
    """Prefix → origin; None is a set."""
    paths: list[tuple[str, int, list[int | tuple[int, ...]]]]
    """(prefix, peer, path)"""
    links: list[tuple[int, int, int]]
    nets: dict[int, dict[str, Any]]
    """PeeringDB's networks by ASN; `places`: the facilities of each."""
    records: list[Record] = field(default_factory=list)
    thin: str = ""
    """An exporter that carries next to nothing."""
    rates: dict[str, int] = field(default_factory=dict)
    """The configured rates of e1 (sampling) and e2 (override); e3's are in its records."""
    due: dict[str, tuple[int, int]] = field(default_factory=dict)
    told: dict[str, dict[int, tuple[int, int, int, int]]] = field(default_factory=dict)
    """Exporter → slot → units received, lost, first sequence, the number due next."""
    sessions: list[tuple[int, str]] = field(default_factory=list)
    excluded: list[tuple[int, str]] = field(default_factory=list)
    """ASN and until when."""
    acceptance: dict[int, float] = field(default_factory=dict)
    minimum: dict[str, int] = field(default_factory=dict)
    """Policy class → Mbit/s."""
    least: int = 0
    inferred: str = "0.3"
    capacity: dict[tuple[str, int], int | None] = field(default_factory=dict)
    commits: dict[int, int] = field(default_factory=dict)
    """Provider → Mbit/s of its contract; empty: no contracts."""
    targets: dict[str, dict[int, str]] = field(default_factory=dict)
    direction: str = "out"


def make(seed: int) -> World:
    dice = random.Random(seed)
    some = dice.sample
    world = routes(dice, seed)
    plain = dice.random() < 0.5  # unsampled: exact everywhere
    world.thin = dice.choice(["", "", *EXPORTERS])
    world.rates = {e: 1 if plain else dice.choice([50, 1000]) for e in EXPORTERS}
    exporters(dice, world, plain)
    world.sessions = [(a, m) for a in NETWORKS for m in FACILITIES if dice.random() < 0.06]
    if dice.random() < 0.2:
        world.sessions.append((174, "fra"))  # a peer there that sells us transit elsewhere
    world.excluded = [
        (a, dice.choice(["2025-06-30", "2025-07-01", "2026-01-01"])) for a in some(NETWORKS, 2)
    ]
    world.acceptance = {a: dice.choice([0.0, 0.25, 1.0]) for a in some(NETWORKS, 2)}
    world.minimum = {c: dice.choice([1, 5]) for c in some(["open", "selective", "restrictive"], 1)}
    world.least = dice.choice([1, 1, 100_000, 400_000])
    world.inferred = dice.choice(["0.3", "0.3", "1", "0"])
    world.direction = dice.choice(["out", "out", "in", "both"])
    for link, (role, _) in LINKS.items():
        if role == "transit":
            world.capacity[link] = dice.choice([10, 40, 100, None])
    if dice.random() < 0.5:
        world.commits = {p: dice.choice([100, 300, 500]) for p in TRANSITS if dice.random() < 0.8}
    if dice.random() < 0.25:
        world.targets["ams"] = {174: "0.25", 1299: "0.75"}
    return world


def routes(dice: random.Random, seed: int) -> World:
    below = [
        (a, b, -1) for i, a in enumerate(NETWORKS[:-1]) for b in NETWORKS[i + 1 : -1]
        if dice.random() < 0.2
    ]  # fmt: skip
    linked = {(a, b) for a, b, _ in below}
    links = [*below, *((t, n, -1) for t in TRANSITS for n in NETWORKS[:-1] if dice.random() < 0.5)]
    links += [(STRANGER, n, -1) for n in NETWORKS[:-1] if dice.random() < 0.2]
    links += [(a, b, 0) for a in CLIQUE for b in (*CLIQUE, STRANGER) if a < b]
    links += [
        (a, b, 0) for a in NETWORKS[:-1] for b in NETWORKS[:-1]
        if a < b and (a, b) not in linked and dice.random() < 0.1
    ]  # fmt: skip
    if dice.random() < 0.5 and (2005, 2006) not in linked:
        links = [each for each in links if each[:2] != (2005, 2006)]
        links.append((2005, 2006, 1))
    links.append((3356, RELATED, 1))
    links.append((OURS, CUSTOMER, -1))
    prefixes: dict[str, int | None] = {
        f"20.{i}.0.0/16": n for i, n in enumerate((*NETWORKS, dice.choice(NETWORKS)))
    }
    prefixes |= {"20.3.128.0/17": dice.choice(NETWORKS), "20.4.0.0/20": dice.choice(NETWORKS),
                 "0.0.0.0/0": 1299, "30.0.0.0/8": None, "31.0.0.0/8": 64512, "32.0.0.0/8": 23456,
                 "33.0.0.0/8": 2914, "34.0.0.0/8": RELATED, "35.0.0.0/8": OURS,
                 "36.0.0.0/8": 3356}  # fmt: skip
    paths: list[tuple[str, int, list[int | tuple[int, ...]]]] = []
    for prefix, origin in prefixes.items():
        for peer in dice.sample((1299, 174, STRANGER), dice.randint(1, 3)):
            middle = dice.choices((*NETWORKS, 2914, 3356), k=dice.choice([0, 1, 2, 3]))
            end: list[int | tuple[int, ...]] = (
                [(2003, 2004)] if origin is None else [origin] * dice.choice([1, 1, 3])
            )
            paths.append((prefix, peer, [peer, *middle, *end]))
    nets = {
        n: {"policy_general": dice.choice(POLICIES), "org_id": dice.choice([n, n, 1, 2]),
            "policy_ratio": dice.random() < 0.2,
            "places": [f for f in FACILITIES.values() if dice.random() < 0.6]}
        for n in NETWORKS if dice.random() < 0.8
    }  # fmt: skip
    nets[9999] = {"policy_general": "Open", "org_id": 99, "policy_ratio": False, "places": []}
    nets[OURS] = {"policy_general": "Open", "org_id": 98, "policy_ratio": False, "places": [1, 2]}
    return World(seed, prefixes, paths, links, nets)


def exporters(dice: random.Random, world: World, plain: bool) -> None:
    """What each exporter sends in which slot, and what is lost of it."""
    for exporter in EXPORTERS:
        world.due[exporter] = (0, SLOTS)
        what = dice.choice(["steady", "steady", "dies", "lost", "quiet", "again", "loss", "late",
                            "until", "small"])  # fmt: skip
        at, long = dice.randrange(2, SLOTS - 14), dice.choice([1, 2, 3, 9])
        silent = range(at, at + long) if what in ("lost", "quiet", "again") else range(0)
        if what == "dies":
            silent = range(dice.choice([at, SLOTS - 2]), SLOTS)
        elif what in ("late", "until"):
            silent = range(at) if what == "late" else range(at, SLOTS)
            if what == "until" or dice.random() < 0.5:
                world.due[exporter] = (at, SLOTS) if what == "late" else (0, at)
        sequence = 1_000_000
        told: dict[int, tuple[int, int, int, int]] = {}
        for slot in range(SLOTS):
            if slot in silent:
                continue
            lost = 0
            if slot == at + long and what in ("lost", "again"):
                lost = 7 if what == "lost" else 0
                sequence = sequence + 7 if what == "lost" else 5
            elif slot == at and what == "loss":
                lost, sequence = 20, sequence + 20
            some = [record(dice, world, exporter, slot, plain) for _ in range(dice.randint(1, 4))]
            if what == "small":  # one of many, which is below 5 %
                some += [record(dice, world, exporter, slot, plain) for _ in range(20)]
                lost, sequence = int(slot == at), sequence + int(slot == at)
            units = len(some) if VERSIONS[exporter] == 10 else 1
            told[slot] = (units, lost, sequence, sequence + units)
            world.records += some
            sequence += units
        world.told[exporter] = told


def record(dice: random.Random, world: World, exporter: str, slot: int, plain: bool) -> Record:
    links = [i for (e, i), (role, _) in LINKS.items() if e == exporter and role != "internal"]
    transit = [i for i in links if LINKS[exporter, i][0] == "transit"]
    link = dice.choice([*transit, *transit, *transit, *links])
    net = ip_network(dice.choice([*list(world.prefixes)[:-3], *world.prefixes]))
    size = 1 if exporter == world.thin else dice.choice([1, 200, 20_000, 20_000])
    packets = max(1, size // (1 if plain else dice.choice([1, 10])))
    remote = "99.1.2.3" if not net.prefixlen else str(net[dice.randrange(1, 2**12)])
    rate = dice.choice([world.rates["e3"]] * 12 + [0]) if exporter == "e3" else 0
    came, left = (20, link) if dice.random() < 0.6 else (link, 20)
    return Record(exporter, slot, came, left, remote, packets * dice.randint(64, 1500), packets,
                  rate)  # fmt: skip


def write(folder: Path, world: World) -> None:
    """The files of a world: flowpeer.toml, captures/, rib.mrt, as-rel2.txt, peeringdb.json."""
    (folder / "captures").mkdir()
    for exporter in EXPORTERS:
        (folder / "captures" / f"{exporter}.pcap").write_bytes(capture(world, exporter))
    (folder / "rib.mrt").write_bytes(rib(world))
    relations = [f"# inferred clique: {' '.join(map(str, CLIQUE))}"]
    relations += [f"{a}|{b}|{kind}" for a, b, kind in world.links]
    (folder / "as-rel2.txt").write_text("\n".join(relations) + "\n")
    rows: dict[str, list[dict[str, Any]]] = {
        "org": [{"id": o, "name": f"O{o}"} for o in sorted({n["org_id"] for n in
                                                            world.nets.values()})],
        "net": [{"id": a, "asn": a, "name": f"N{a}",
                 **{k: v for k, v in n.items() if k != "places"}} for a, n in world.nets.items()],
        "fac": [{"id": f, "name": f"F{f}"} for f in FACILITIES.values()],
        "netfac": [{"id": 10 * a + f, "net_id": a, "fac_id": f, "local_asn": a}
                   for a, n in world.nets.items() for f in n["places"]],
    }  # fmt: skip
    document = {name: {"data": data} for name, data in rows.items()}
    (folder / "peeringdb.json").write_text(json.dumps(document))
    (folder / "flowpeer.toml").write_text(configuration(world))


def configuration(world: World) -> str:
    out = [
        "[network]", f"asn = {OURS}", 'name = "Test"', 'prefixes = ["198.18.0.0/15"]',
        "[lake]", 'path = "lake"',
        "[sources]", 'ribs = "rib.mrt"', 'as_relationships = "as-rel2.txt"',
        'peeringdb = "peeringdb.json"',
        "[policy]", f'min_expected = "{world.least}"',
        f"weights = {{ inferred = {world.inferred} }}",
        "minimum = { " + ", ".join(f'{c} = "{m}M"' for c, m in world.minimum.items()) + " }",
    ]  # fmt: skip
    for metro, facility in FACILITIES.items():
        out += ["[[metros]]", f'id = "{metro}"', f'name = "{metro}"', f"facilities = [{facility}]"]
        if metro in world.targets:
            shares = ", ".join(f'"{a}" = {s}' for a, s in world.targets[metro].items())
            out.append(f"targets = {{ {shares} }}")
    for n, (exporter, metro) in enumerate(EXPORTERS.items(), start=1):
        begin, end = world.due[exporter]
        out += ["[[exporters]]", f'id = "{exporter}"', f'metro = "{metro}"',
                f'addresses = ["192.0.2.{n}"]', f"mtu = {MTU[exporter]}"]  # fmt: skip
        if exporter != "e3":
            key = "sampling" if exporter == "e1" else "sampling_override"
            out.append(f"{key} = {world.rates[exporter]}")
        for key, at, usual in (("from", begin, 0), ("until", end, SLOTS)):
            if at != usual:
                out.append(f'{key} = "{START + timedelta(minutes=5 * at):%Y-%m-%dT%H:%M:%SZ}"')
    for (exporter, index), (role, asn) in LINKS.items():
        out += ["[[interfaces]]", f'exporter = "{exporter}"', f"index = {index}",
                f'role = "{role}"']  # fmt: skip
        out += [f"asn = {asn}"] if asn else []
        if world.capacity.get((exporter, index)):
            out.append(f'capacity = "{world.capacity[exporter, index]}M"')
        if role == "transit" and asn in world.commits:
            out.append(f'contract = "c{asn}"')
    for provider, commit in world.commits.items():
        out += ["[[contracts]]", f'id = "c{provider}"', f'provider = "P{provider}"',
                f'commit = "{commit}M"']  # fmt: skip
    for asn, metro in world.sessions:
        out += ["[[sessions]]", f"asn = {asn}", f'metro = "{metro}"', 'kind = "pni"']
    for asn, until in world.excluded:
        out += ["[[exclusions]]", f"asn = {asn}", 'reason = "no"', f"until = {until}"]
    for asn, p in world.acceptance.items():
        out += ["[[networks]]", f"asn = {asn}", f"acceptance = {p}"]
    return "\n".join(out) + "\n"


def capture(world: World, exporter: str) -> bytes:
    version, number = VERSIONS[exporter], list(EXPORTERS).index(exporter) + 1
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
    fields = struct.pack(">HH", 256, len(FIELDS))
    fields += b"".join(struct.pack(">HH", *f) for f in FIELDS)
    template = set_(0 if version == 9 else 2, fields)
    by_slot: dict[int, list[Record]] = {}
    for each in world.records:
        if each.exporter == exporter:
            by_slot.setdefault(each.slot, []).append(each)
    for slot, (_, _, sequence, _) in sorted(world.told[exporter].items()):
        now = BEGIN + SLOT_S * slot + 10
        body = b"".join(octets_of(each, now * 1000) for each in by_slot[slot])
        sets = template + set_(256, body)
        if version == 9:
            count = 1 + len(by_slot[slot])
            head = struct.pack(">HHIIII", 9, count, 1000 * (now - BEGIN), now, sequence, 0)
        else:
            head = struct.pack(">HHIII", 10, 16 + len(sets), now, sequence, 0)
        payload = head + sets
        packet = struct.pack(
            ">BBHHHBBH4s4sHHHH", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0,
            bytes([192, 0, 2, number]), bytes([198, 51, 100, 9]), 40_000, 2055, 8 + len(payload), 0,
        ) + payload  # fmt: skip
        out += struct.pack("<IIII", now, 0, len(packet), len(packet)) + packet
    return out


def octets_of(each: Record, now_ms: int) -> bytes:
    remote, own = ip_address(each.remote).packed, bytes([198, 18, 0, 1])
    ends = (own, remote) if each.came == 20 else (remote, own)
    return struct.pack(">4s4sIIIIIQQ", *ends, each.came, each.left, each.packets, each.bytes,
                       each.rate, now_ms, now_ms)  # fmt: skip


def set_(number: int, body: bytes) -> bytes:
    return struct.pack(">HH", number, 4 + len(body)) + body


def rib(world: World) -> bytes:
    """TABLE_DUMP_V2 of one moment before the period (RFC 6396)."""
    when = BEGIN - 3600

    def dumped(subtype: int, body: bytes) -> bytes:
        return struct.pack(">IHHI", when, 13, subtype, len(body)) + body

    peers = sorted({peer for _, peer, _ in world.paths})
    body = bytes([10, 0, 0, 1, 0, 0]) + struct.pack(">H", len(peers))
    for peer in peers:
        body += bytes([2, 0, 0, 0, 0, 10, 0, 1, peers.index(peer) + 1]) + struct.pack(">I", peer)
    out = dumped(1, body)
    for number, prefix in enumerate(world.prefixes):
        net = ip_network(prefix)
        mine = [(peer, path) for of, peer, path in world.paths if of == prefix]
        body = struct.pack(">IB", number, net.prefixlen)
        body += net.network_address.packed[: (net.prefixlen + 7) // 8]
        body += struct.pack(">H", len(mine))
        for peer, path in mine:
            attributes = bytes([0x40, 1, 1, 0]) + as_path(path) + bytes([0x40, 3, 4, 10, 0, 1, 1])
            body += struct.pack(">HIH", peers.index(peer), when, len(attributes)) + attributes
        out += dumped(2, body)
    return out


def as_path(path: Sequence[int | tuple[int, ...]]) -> bytes:
    run = [hop for hop in path if isinstance(hop, int)]
    value = bytes([2, len(run)]) + struct.pack(f">{len(run)}I", *run)
    for hop in path:
        if isinstance(hop, tuple):
            value += bytes([1, len(hop)]) + struct.pack(f">{len(hop)}I", *hop)
    return bytes([0x40, 2, len(value)]) + value
