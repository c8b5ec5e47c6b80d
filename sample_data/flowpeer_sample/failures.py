"""What becomes of the traffic when links of the sample go, by METHODS M12, in plain Python.

Ties do not occur here: of two exits that are left one has the shorter path, or is nearer. By the
hour the bytes are exact; within it a link's slots keep their shape.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from flowpeer_sample import answers as a
from flowpeer_sample import world as w
from flowpeer_sample.mrt import as_path
from flowpeer_sample.networks import Prefix
from flowpeer_sample.records import records

HOURS = 24
SLOTS_PER_HOUR = a.SLOTS // HOURS
Exit = tuple[str, int]
"""Metro and interface of its router."""


@dataclass(slots=True)
class Fallen:
    """Where outbound bytes go: exit → bytes; `without_way` those that nobody has a route to.

    `peak_bps`: the fullest slot of each exit then, with what it carries anyway.
    """

    moved: dict[Exit, int] = field(default_factory=dict)
    without_way: int = 0
    peak_bps: dict[Exit, float] = field(default_factory=dict)


@cache
def hourly(metro: str, interface: int) -> dict[Prefix | None, a.Ints]:
    """Outbound bytes over an interface by remote prefix (None: nobody announces it) and hour."""
    rows = records(metro)
    octets, start, end = (_column(metro, name) for name in ("bytes", "start", "end"))
    mine = _column(metro, "output") == interface
    if w.EXPORTER[metro].metering != "ingress":
        mine &= _column(metro, "direction") == 1
    made: dict[Prefix | None, a.Ints] = {}
    for number in sorted(set(rows.stream[mine].tolist())):
        here = mine & (rows.stream == number)
        slots = a.spread(octets[here] * w.SAMPLING, start[here], end[here])
        hours = slots.reshape(HOURS, SLOTS_PER_HOUR).sum(axis=1)
        prefix = rows.streams[number].prefix
        key = prefix if prefix is not None and prefix.announced else None
        made[key] = made[key] + hours if key in made else hours
    return made


def _column(metro: str, name: str) -> a.Ints:
    column = records(metro).columns[name]
    assert not isinstance(column, tuple)
    return column


def _length(prefix: Prefix, provider: int) -> int:
    sequence, members = as_path(prefix, provider)
    return len(sequence) + bool(members)


def _nearest(metro: str) -> str:
    """The metro of the same continent that is nearest, those of the region first."""
    here = w.METRO[metro]

    def far(m: w.Metro) -> tuple[bool, float]:
        one, two = np.radians([here.latitude, m.latitude])
        east = np.radians(m.longitude - here.longitude)
        angle = np.sin(one) * np.sin(two) + np.cos(one) * np.cos(two) * np.cos(east)
        return m.region != here.region, float(np.arccos(angle))

    others = [m for m in w.METROS if m.id != metro and m.continent == here.continent]
    return min(others, key=far).id


def fall(metro: str, interfaces: tuple[int, ...]) -> Fallen:
    """Outbound, when these go at once: to the transit that is left in the metro or, of the one
    provider whose routes may be used there, in the nearest metro: by the shortest path, then
    where it is nearer."""
    quartz = w.TRANSIT_INDEX[w.QUARTZ.asn]
    left = [asn for asn in w.TRANSIT_WEIGHT[metro] if w.TRANSIT_INDEX[asn] not in interfaces]
    ways: list[tuple[int, Exit]] = [(asn, (metro, w.TRANSIT_INDEX[asn])) for asn in left]
    if w.QUARTZ.asn not in left:
        ways.append((w.QUARTZ.asn, (_nearest(metro), quartz)))
    made, adds = Fallen(), {way: np.zeros(a.SLOTS) for _, way in ways}
    moved: dict[Exit, int] = defaultdict(int)
    for interface in interfaces:
        load = a.slot_bytes(metro, interface, "out").reshape(HOURS, SLOTS_PER_HOUR)
        for prefix, hours in hourly(metro, interface).items():
            if prefix is None:
                made.without_way += int(hours.sum())
                continue
            best = min(range(len(ways)), key=lambda n: (_length(prefix, ways[n][0]), n))
            moved[ways[best][1]] += int(hours.sum())
            share = hours / np.maximum(load.sum(axis=1), 1)
            adds[ways[best][1]] += (load * share[:, None]).ravel()
    made.moved = dict(moved)
    for way, more in adds.items():
        made.peak_bps[way] = float((a.slot_bytes(*way, "out") + more).max()) * 8 / 300
    return made


@cache
def by_own_prefix(metro: str) -> dict[str, tuple[int, int]]:
    """Announced own prefix of a metro → scaled bytes out and in over its external interfaces."""
    columns = records(metro).columns
    external = [i.index for i in w.INTERFACES
                if i.metro == metro and i.role != "internal" and i.configured]  # fmt: skip
    octets, way = _column(metro, "bytes"), _column(metro, "direction")
    made = {}
    for own in w.ANNOUNCEMENTS:
        if own.metros[0] != metro:
            continue
        net = ipaddress.ip_network(own.prefix)
        sums = []
        for end, port, egress in (("src", "output", True), ("dst", "input", False)):
            high, low = columns[end]
            shift = np.uint64(net.max_prefixlen - net.prefixlen)
            first = int(net.network_address)
            if net.version == 6:  # a prefix no longer than half of the address
                inside = (high >> (shift - np.uint64(64))) == np.uint64(first >> int(shift))
            else:
                inside = (high == 0) & (low >> shift == np.uint64(first >> int(shift)))
            mine = inside & np.isin(_column(metro, port), external)
            if egress and w.EXPORTER[metro].metering != "ingress":
                mine &= way == 1
            if not egress:
                mine &= way == 0
            sums.append(int(octets[mine].sum()) * w.SAMPLING)
        made[own.prefix] = (sums[0], sums[1])
    return made
