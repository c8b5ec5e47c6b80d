"""The right answers, computed by the generator from its own ground truth, in exact integers.

Bytes are scaled by the sampling rate (1:1000) unless a name says otherwise. A crossing of an
external interface counts once: inbound from the records of its ingress, outbound from those of its
egress where the router meters egress there, else from ingress records that leave by it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flowpeer_sample import world as w
from flowpeer_sample.demand import INSIDE, OUT, Stream, sessions
from flowpeer_sample.networks import Prefix, internet
from flowpeer_sample.records import SampledRecords, records

UNROUTED, PRIVATE, AS_SET, OWN = -1, -2, -3, -4
SLOTS = 288
UNSCALED_METRO = "par"
UNCONFIGURED = ("edge1.lon", w.FORGOTTEN)
OVERLOADED = ("iad", w.UMBRA.asn)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PrefixTraffic:
    """Bytes of one remote prefix over one interface in one direction on the whole day.

    `role` is transit, peer, ix, customer, unknown (the interface is not configured), internal,
    discarded or set_aside; for the last three `interface` is the input interface and `direction`
    is none. `bytes` are scaled, or as exported where `scaled` is false. `prefix` is None for
    traffic that stays inside.
    """

    metro: str
    exporter: str
    interface: int
    role: str
    provider_asn: int | None
    direction: str
    prefix: Prefix | None
    origin: int
    scaled: bool
    bytes: int
    records: int


@dataclass(frozen=True, slots=True)
class ExporterRecords:
    """What one exporter sends on the whole day; `scaled_bytes` None: it has no sampling rate."""

    exporter: str
    format: str
    records: int
    bytes: int
    packets: int
    scaled_bytes: int | None


def origin_code(prefix: Prefix) -> int:
    """The remote ASN of a prefix, negative where it is no public network."""
    if prefix.origin == w.ASN:
        return OWN
    if not prefix.announced:
        return UNROUTED
    if prefix.origin_set:
        return AS_SET
    return PRIVATE if prefix.origin == w.PRIVATE_ORIGIN else prefix.origin


def _column(rows: SampledRecords, name: str) -> Ints:
    column = rows.columns[name]
    assert not isinstance(column, tuple)
    return column


@cache
def exported() -> tuple[ExporterRecords, ...]:
    """One row for each exporter, in the order of the configuration."""
    made = []
    for e in w.EXPORTERS:
        rows = records(e.metro)
        octets = int(_column(rows, "bytes").sum())
        scaled = None if e.rate == "nowhere" else octets * w.SAMPLING
        packets = int(_column(rows, "packets").sum())
        made.append(ExporterRecords(e.id, e.format, len(rows.stream), octets, packets, scaled))
    return tuple(made)


def _role(metro: str, index: int) -> tuple[str, int | None]:
    for i in w.INTERFACES:
        if i.metro == metro and i.index == index:
            return (i.role, i.asn) if i.configured else ("unknown", None)
    raise LookupError((metro, index))


def _sides(e: w.Exporter, s: Stream, egress: bool) -> list[tuple[int, str, str, Prefix | None]]:
    """(interface, role, direction, remote prefix) of what a record of this stream counts as."""
    if s.kind == INSIDE:
        return [(s.input_if, "internal", "none", None)]
    if s.kind == OUT:
        if s.output_if == 0:
            return [(s.input_if, "discarded", "none", s.prefix)]
        if e.metering == "both" and not egress:
            return [(s.input_if, "set_aside", "none", s.prefix)]
        return [(s.output_if, _role(e.metro, s.output_if)[0], "out", s.prefix)]
    if s.source is None:
        return [(s.input_if, _role(e.metro, s.input_if)[0], "in", s.prefix)]
    return [
        (s.input_if, _role(e.metro, s.input_if)[0], "in", s.source),
        (s.output_if, _role(e.metro, s.output_if)[0], "out", s.prefix),
    ]


@cache
def crossings() -> tuple[PrefixTraffic, ...]:
    """All of the day's traffic. Σ bytes = Σ exported (scaled) + `through_bytes`."""
    made: list[PrefixTraffic] = []
    for e in w.EXPORTERS:
        rows = records(e.metro)
        scaled = e.rate != "nowhere"
        direction = _column(rows, "direction")
        sums = np.zeros((len(rows.streams), 2), np.int64)
        counts = np.zeros_like(sums)
        np.add.at(sums, (rows.stream, direction), _column(rows, "bytes"))
        np.add.at(counts, (rows.stream, direction), 1)
        for k, s in enumerate(rows.streams):
            for egress in (0, 1):
                if counts[k, egress] == 0:
                    continue
                octets = int(sums[k, egress]) * (w.SAMPLING if scaled else 1)
                for port, role, way, prefix in _sides(e, s, bool(egress)):
                    asn = _role(e.metro, port)[1] if role in ("transit", "peer") else None
                    origin = origin_code(prefix) if prefix else 0
                    made.append(PrefixTraffic(
                        e.metro, e.id, port, role, asn, way, prefix, origin, scaled, octets,
                        int(counts[k, egress]),
                    ))  # fmt: skip
    return tuple(made)


@cache
def through_bytes() -> dict[str, int]:
    """Metro → scaled bytes from external to external interface, which count at both."""
    made: dict[str, int] = {}
    for m in w.METROS:
        rows = records(m.id)
        passing = np.array([s.source is not None for s in rows.streams])[rows.stream]
        made[m.id] = int(_column(rows, "bytes")[passing].sum()) * w.SAMPLING
    return made


def role_bytes(*, scaled: bool = True) -> dict[tuple[str, str, int | None, str], int]:
    """(metro, role, provider ASN, direction) → bytes."""
    made: dict[tuple[str, str, int | None, str], int] = defaultdict(int)
    for c in crossings():
        if c.scaled is scaled:
            provider = c.provider_asn if c.role == "transit" else None
            made[c.metro, c.role, provider, c.direction] += c.bytes
    return dict(made)


def transit_bytes() -> dict[tuple[str, int, str], int]:
    """(metro, provider ASN, direction) → scaled bytes on the configured transit interfaces."""
    return {
        (metro, provider, way): total
        for (metro, role, provider, way), total in role_bytes().items()
        if role == "transit" and provider is not None
    }


def origin_bytes() -> dict[tuple[str, int, str], dict[int, int]]:
    """(metro, provider ASN, direction) → remote ASN (or code) → scaled transit bytes."""
    made: dict[tuple[str, int, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for c in crossings():
        if c.role == "transit" and c.scaled and c.provider_asn is not None:
            made[c.metro, c.provider_asn, c.direction][c.origin] += c.bytes
    return {key: dict(value) for key, value in made.items()}


def unscaled_bytes() -> int:
    """Bytes as exported by the exporter that has no sampling rate."""
    return sum(e.bytes for e in exported() if e.scaled_bytes is None)


def unconfigured_bytes() -> int:
    """Scaled bytes over the interface that is missing from the configuration, both directions."""
    return sum(c.bytes for c in crossings() if c.role == "unknown")


def outage_bytes(provider: int, direction: str, day: int) -> int:
    """Scaled bytes over a link of the metro of the outage, in its hours, on either day."""
    out = w.OUTAGE
    slots = slot_bytes(out.metro, w.TRANSIT_INDEX[provider], direction, day)
    return int(slots[out.first_hour * 12 : out.end_hour * 12].sum())


def live_bytes() -> int:
    """Scaled outbound bytes over the session that an ask has brought."""
    asn, metro = w.LIVE
    return sum(
        c.bytes
        for c in crossings()
        if (c.metro, c.role, c.provider_asn, c.direction) == (metro, "peer", asn, "out")
    )


def predicted_bps() -> int:
    """What was predicted for it at the time of asking: a tenth too little, in whole Mbps."""
    return live_bytes() * 8 * 9 // (86_400 * 10 * 10**6) * 10**6


def spread(octets: Ints, start: Ints, end: Ints) -> Ints:
    """Bytes in each slot; a record of at most two slots, integers kept (largest remainder)."""
    slot = start // 300_000
    border = (slot + 1) * 300_000
    length = np.maximum(end - start, 1)
    first = np.where(end > border, border - start, length)
    one, rest = octets * first // length, octets * first % length
    two = octets * (length - first) // length
    left = octets - one - two
    one += np.where(2 * rest >= length, left, 0)
    made = np.zeros(SLOTS + 1, np.int64)
    np.add.at(made, slot, one)
    np.add.at(made, slot + 1, octets - one)
    assert made[SLOTS] == 0
    return made[:SLOTS]


def slot_bytes(metro: str, interface: int, direction: str, day: int = 0) -> Ints:
    """Scaled bytes over an interface in each of a day's 288 slots (METHODS M3)."""
    return _slots(metro, interface, direction, day, "bytes")


def _slots(metro: str, interface: int, direction: str, day: int, what: str) -> Ints:
    rows = records(metro, day)
    exporter = w.EXPORTER[metro]
    egress = _column(rows, "direction") == 1
    port = _column(rows, "output" if direction == "out" else "input")
    mine = port == interface
    if direction == "out" and exporter.metering != "ingress":
        mine &= egress
    if direction == "in":
        mine &= ~egress
    octets = _column(rows, what)[mine] * w.SAMPLING
    return spread(octets, _column(rows, "start")[mine], _column(rows, "end")[mine])


@cache
def billed_bps(contract: str) -> float:
    """The rate that a contract's day is billed by (METHODS M5): bytes with the framing of their
    packets, of all its interfaces, at the 95th percentile. Paris has no sampling rate."""
    sums = {}
    for way in ("in", "out"):
        links = [
            (i.metro, i.index, way, 0)
            for i in w.INTERFACES
            if i.contract == contract and i.configured and i.metro != UNSCALED_METRO
        ]
        octets = sum((_slots(*link, "bytes") for link in links), np.zeros(SLOTS, np.int64))
        packets = sum((_slots(*link, "packets") for link in links), np.zeros(SLOTS, np.int64))
        sums[way] = octets + w.FRAMING * packets
    mode = next(c.billing for c in w.CONTRACTS if c.id == contract)
    if mode == "p95_of_max":
        return bps(p95(np.maximum(sums["in"], sums["out"])))
    return bps(max(p95(sums["in"]), p95(sums["out"])))


def asn_slot_bytes(metro: str, asn: int) -> Ints:
    """Scaled outbound transit bytes to one network in each slot."""
    rows = records(metro)
    exporter = w.EXPORTER[metro]
    wanted = np.array([
        s.kind == OUT and s.prefix is not None and s.prefix.origin == asn and s.output_if != 0
        and _role(metro, s.output_if)[0] == "transit" for s in rows.streams
    ])[rows.stream]  # fmt: skip
    if exporter.metering != "ingress":
        wanted &= _column(rows, "direction") == 1
    octets = _column(rows, "bytes")[wanted] * w.SAMPLING
    return spread(octets, _column(rows, "start")[wanted], _column(rows, "end")[wanted])


def p95(slots: Ints) -> int:
    """Nearest rank: the value at (19 n + 19) div 20 in ascending order (METHODS M5)."""
    return int(np.sort(slots)[(19 * len(slots) + 19) // 20 - 1])


def bps(slot_value: int) -> float:
    """Bytes of a slot as bit/s."""
    return slot_value * 8 / 300


def leaked_bytes() -> int:
    """Scaled outbound bytes that ride transit in London although a session is there."""
    return sum(
        c.bytes
        for c in crossings()
        if (c.metro, c.origin, c.role, c.direction) == ("lon", w.PEERED, "transit", "out")
    )


def leaked_routes() -> str:
    """The prefixes of `leaked_bytes`."""
    routes = {
        str(c.prefix.net)
        for c in crossings()
        if c.prefix is not None
        and (c.metro, c.origin, c.role, c.direction) == ("lon", w.PEERED, "transit", "out")
    }
    return ", ".join(sorted(routes))


def moved_prefixes() -> tuple[Prefix, Prefix]:
    """(covering, more specific): what lies in the second belongs to the second's origin."""
    net = internet()
    return (next(p for p in net.prefixes if p.origin == w.COVERING),
            next(p for p in net.prefixes if p.origin == w.SPECIFIC))  # fmt: skip


def is_session(asn: int, metro: str) -> bool:
    """Whether a peering with `asn` exists in `metro`."""
    return any(a == asn and m == metro for a, m, _ in sessions())
