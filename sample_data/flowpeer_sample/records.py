"""Sampled flow records of one exporter, as columns: what its router would have measured."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flowpeer_sample import world as w
from flowpeer_sample.demand import IN, INSIDE, OUT, THROUGH, Stream, reach, records_of, streams
from flowpeer_sample.dice import below, one
from flowpeer_sample.mrt import PEER_ADDRESS, PEER_ADDRESS6, as_path
from flowpeer_sample.networks import Prefix
from flowpeer_sample.registry import port_addresses

Ints = NDArray[np.int64]
Halves = tuple[NDArray[np.uint64], NDArray[np.uint64]]

FLUSH = 20  # seconds between two looks of the router at its expired flows
FIRST_MS, LAST_MS = 3_000, 86_370_000  # so that all is received within the day

_EVENING = (62, 50, 42, 37, 35, 36, 42, 52, 62, 70, 76, 80, 83, 84, 85, 86, 88, 91, 95, 99, 100,
            98, 90, 77)  # fmt: skip
_OFFICE = (12, 10, 9, 9, 10, 14, 28, 60, 92, 100, 100, 96, 90, 96, 100, 97, 88, 66, 40, 28, 22, 18,
           15, 13)  # fmt: skip
_NIGHT = (70, 90, 100, 100, 98, 80, 40, 16, 8, 6, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 8, 12, 24, 45)
_HOURS = {"evening": _EVENING, "office": _OFFICE, "night": _NIGHT, "flat": (50,) * 24}


@dataclass(frozen=True, slots=True)
class SampledRecords:
    """Columns of equal length, in order of export. Times in ms since midnight; `stream` is the
    row in `streams`; `export` the second at which the router sends the record; addresses are two
    halves of 16 octets (IPv4: the low 32 bits of the low half)."""

    streams: tuple[Stream, ...]
    stream: Ints
    export: Ints
    family: Ints
    columns: dict[str, Ints | Halves]


@cache
def _day(cycle: str, offset: int) -> Ints:
    """Cumulative weight of each minute of the UTC day: hourly values joined by straight lines."""
    hours = _HOURS[cycle]
    minutes = [
        hours[h % 24] * (60 - m) + hours[(h + 1) % 24] * m
        for h, m in (((t // 60 + offset) % 24, t % 60) for t in range(1440))
    ]
    return np.cumsum(np.array(minutes, np.int64))


def _halves(address: int) -> tuple[int, int]:
    return address >> 64, address & (1 << 64) - 1


def _own(metro: str, n: int, six: NDArray[np.bool_], key: str) -> Halves:
    index = [m.id for m in w.METROS].index(metro)
    host = below(f"{key}/own", n, 900).astype(np.uint64)
    base4 = (198 << 24) + (18 << 16) + index * 8192 + 16
    high6 = (0x20010DB8 << 32) + (index + 1 << 16)
    hi = np.where(six, np.uint64(high6), np.uint64(0))
    lo = np.where(six, host + np.uint64(0x100), host + np.uint64(base4))
    return hi, lo


def _remote(prefixes: list[Prefix | None], at: Ints, key: str) -> Halves:
    """A host in the prefix of each record."""
    hosts = [_halves(p.hosts if p else 0) for p in prefixes]
    hi = np.array([h for h, _ in hosts], np.uint64)[at]
    lo = np.array([v for _, v in hosts], np.uint64)[at]
    bits = np.array([min(p.host_bits, 10) if p else 0 for p in prefixes], np.int64)[at]
    spread = np.array([max(0, p.host_bits - 10) if p else 0 for p in prefixes], np.uint64)[at]
    host = below(key, len(at), np.int64(1) << bits).astype(np.uint64)
    return hi, lo + (host << spread)


def _pick(where: NDArray[np.bool_], a: Halves, b: Halves) -> Halves:
    return np.where(where, a[0], b[0]), np.where(where, a[1], b[1])


def metered(exporter: w.Exporter) -> list[tuple[int, int]]:
    """(stream, direction) of all that the router meters: direction 0 at ingress, 1 at egress."""
    made: list[tuple[int, int]] = []
    for k, s in enumerate(streams(exporter.metro)):
        outward = s.kind == OUT and s.output_if != 0
        if exporter.metering == "split":
            made.append((k, 1 if outward else 0))
            continue
        made.append((k, 0))
        if exporter.metering == "both" and outward:
            made.append((k, 1))
    return made


def next_hop(metro: str, s: Stream) -> tuple[int, int]:
    """(IPv4, IPv6) next hop of a stream, 0 where it goes to our own servers or nowhere."""
    port = s.output_if
    for asn, index in w.TRANSIT_INDEX.items():
        if port == index or (port == w.FORGOTTEN and asn == w.PELAGO.asn):
            return (int(ipaddress.IPv4Address(PEER_ADDRESS[asn])),
                    int(ipaddress.IPv6Address(PEER_ADDRESS6[asn])))  # fmt: skip
    if port in (0, w.SERVERS, w.BACKBONE):
        return 0, 0
    assert s.prefix is not None
    neighbour = reach(metro)[s.prefix.origin][1]
    if port == w.EXCHANGE:
        ix = w.METRO[metro].exchange
        assert ix is not None
        return port_addresses(ix)[neighbour]
    return (33 << 24) + neighbour % 65536, (0x2E0100FF << 96) + neighbour


@dataclass(frozen=True, slots=True)
class _Rows:
    """The records before they have columns: for each its stream, and its row in `pairs`."""

    metro: str
    flows: tuple[Stream, ...]
    pairs: list[tuple[int, int]]
    counts: Ints
    row: Ints
    stream: Ints
    key: str
    """What the dice are named by: another day has another fall of them."""

    def of(self, values: list[int]) -> Ints:
        """A value of each stream, for each record."""
        return np.array(values, np.int64)[self.stream]

    def dice(self, name: str, bound: int | Ints) -> Ints:
        """One number for each record."""
        return below(f"{self.key}/{name}", len(self.row), bound)


def _rows(metro: str, day: int) -> _Rows:
    exporter, flows = w.EXPORTER[metro], streams(metro)
    pairs = metered(exporter)
    counts = np.array(records_of(tuple(flows[k] for k, _ in pairs), exporter.records), np.int64)
    row = np.repeat(np.arange(len(pairs)), counts)
    stream = np.array([k for k, _ in pairs], np.int64)[row]
    key = f"{metro}/day {day}" if day else metro
    return _Rows(metro, flows, pairs, counts, row, stream, key)


def _volumes(r: _Rows) -> tuple[Ints, Ints]:
    """Sampled bytes and packets: content leaves in large packets, requests come in small ones."""
    day = np.array([r.flows[k].volume // w.SAMPLING for k, _ in r.pairs], np.int64)
    wanted = day[r.row] // r.counts[r.row] * (40 + r.dice("bytes", 121)) // 100
    inward = r.of([s.kind == IN for s in r.flows]) == 1
    size = np.where(inward, 64 + r.dice("small", 420), 1040 + r.dice("big", 440))
    packets = np.maximum(1, wanted // size)
    return packets * size + r.dice("odd", packets), packets


def _times(r: _Rows, packets: Ints) -> tuple[Ints, Ints, Ints]:
    """Minute by the daily cycle of the remote end; first and last packet in ms of the day."""
    minute = np.zeros(len(r.row), np.int64)
    shapes = sorted({(s.cycle, s.utc_offset) for s in r.flows})
    shape = r.of([shapes.index((s.cycle, s.utc_offset)) for s in r.flows])
    for k, (cycle, offset) in enumerate(shapes):
        chosen = np.flatnonzero(shape == k)
        edges = _day(cycle, offset)
        dice = below(f"{r.key}/minute/{cycle}/{offset}", len(chosen), int(edges[-1]))
        minute[chosen] = np.searchsorted(edges, dice, side="right")
    length = np.where(packets == 1, 0, 1 + r.dice("length", 60_000))
    start = np.clip(minute * 60_000 + r.dice("second", 60_000), FIRST_MS, LAST_MS - length)
    return minute, start, start + length


def _hops(r: _Rows, six: NDArray[np.bool_]) -> Halves:
    hops = [next_hop(r.metro, s) for s in r.flows]
    long = [_halves(b) for _, b in hops]
    as_six = (np.array([h for h, _ in long], np.uint64)[r.stream],
              np.array([v for _, v in long], np.uint64)[r.stream])  # fmt: skip
    as_four = np.zeros(len(r.row), np.uint64), np.array([a for a, _ in hops], np.uint64)[r.stream]
    return _pick(six, as_six, as_four)


def _ends(r: _Rows, six: NDArray[np.bool_]) -> dict[str, Ints | Halves]:
    """Addresses, ports, AS numbers and masks of both ends."""
    n, flows = len(r.row), r.flows
    inward, passing, inside = (
        r.of([s.kind == kind for s in flows]) == 1 for kind in (IN, THROUGH, INSIDE)
    )
    own = _own(r.metro, n, six, r.key)
    other_own = _own(r.metro, n, six, f"{r.key}/second")
    far = _remote([s.prefix for s in flows], r.stream, f"{r.key}/far")
    near = _remote([s.source for s in flows], r.stream, f"{r.key}/near")
    client = 1024 + r.dice("client", 64_000)
    server = np.where(r.dice("server", 10) < 9, 443, 80)
    asn = r.of([_claimed(s.prefix) for s in flows])
    mask = r.of([s.prefix.net.prefixlen if s.prefix else 15 for s in flows])
    source_mask = r.of([s.source.net.prefixlen if s.source else 15 for s in flows])
    own_mask = np.where(six, 32, 15)
    return {
        "src": _pick(inward, far, _pick(passing, near, own)),
        "dst": _pick(inward, own, _pick(inside, other_own, far)),
        "sport": np.where(inward, client, server),
        "dport": np.where(inward, server, client),
        "sas": np.where(inward, asn, r.of([_claimed(s.source) for s in flows])),
        "das": np.where(inward, 0, asn),
        "smask": np.where(inward, mask, np.where(passing, source_mask, own_mask)),
        "dmask": np.where(inward, own_mask, mask),
    }


def records(metro: str, day: int = 0) -> SampledRecords:
    """All flow records of the metro's exporter on the day of the sample, or on the one after."""
    return _records(metro, day)


@cache
def _records(metro: str, day: int) -> SampledRecords:
    r = _rows(metro, day)
    six = r.of([s.prefix is not None and s.prefix.net.version == 6 for s in r.flows]) == 1
    octets, packets = _volumes(r)
    minute, start, end = _times(r, packets)
    udp = r.dice("quic", 10) < 3
    columns: dict[str, Ints | Halves] = _ends(r, six) | {
        "hop": _hops(r, six),
        "input": r.of([s.input_if for s in r.flows]),
        "output": r.of([s.output_if for s in r.flows]),
        "bytes": octets,
        "packets": packets,
        "start": start,
        "end": end,
        "minute": minute,
        "protocol": np.where(udp, 17, 6),
        "tos": np.where(r.dice("tos", 20) == 0, 0x48, 0),
        "flags": np.where(udp, 0, np.where(packets == 1, 0x10, 0x18)),
        "direction": np.array([d for _, d in r.pairs], np.int64)[r.row],
    }
    if day == w.NEXT and metro == w.OUTAGE.metro:
        end = _silence(r, columns, six, start, end)
    export = (end // 1000 // FLUSH + 1) * FLUSH
    family = np.where(six, 6, 4)
    order = np.lexsort((start, family, export))
    ordered: dict[str, Ints | Halves] = {
        name: (c[0][order], c[1][order]) if isinstance(c, tuple) else c[order]
        for name, c in columns.items()
    }
    return SampledRecords(r.flows, r.stream[order], export[order], family[order], ordered)


def _silence(
    r: _Rows, columns: dict[str, Ints | Halves], six: NDArray[np.bool_], start: Ints, end: Ints
) -> Ints:
    """Nothing over the link of the outage: what begins in it takes another, what is under way at
    its beginning ends there. The new ends of all records."""
    first, last = (hour * 3_600_000 for hour in (w.OUTAGE.first_hour, w.OUTAGE.end_hour))
    silent = (start >= first) & (start < last)
    port = w.TRANSIT_INDEX[w.OUTAGE.provider]
    on_it = (columns["input"] == port) | (columns["output"] == port)
    end = np.where(on_it & (start < first), np.minimum(end, first), end)
    columns["end"] = end
    moved = replace(r, flows=tuple(without_link(r.metro, s, port) for s in r.flows))
    for name, ports in (("input", [s.input_if for s in moved.flows]),
                        ("output", [s.output_if for s in moved.flows])):  # fmt: skip
        was = columns[name]
        assert not isinstance(was, tuple)
        columns[name] = np.where(silent, moved.of(ports), was)
    hop = columns["hop"]
    assert isinstance(hop, tuple)
    columns["hop"] = _pick(silent, _hops(moved, six), hop)
    return end


def without_link(metro: str, s: Stream, port: int) -> Stream:
    """A stream when a transit link is down: it leaves by the shortest path that another provider
    of the metro offers, and comes by any."""
    others = [a for a in w.TRANSIT_WEIGHT[metro] if w.TRANSIT_INDEX[a] != port]

    def any_of(asns: list[int], key: str) -> int:
        return w.TRANSIT_INDEX[asns[one(f"outage/{metro}/{key}", len(asns))]]

    if s.output_if == port and s.prefix is not None:
        ways = others
        if s.prefix.announced:
            length = {a: len(as_path(s.prefix, a)[0]) for a in others}
            ways = [a for a in others if length[a] == min(length.values())]
        s = replace(s, output_if=any_of(ways, f"out/{s.prefix.net}"))
    if s.input_if == port:
        s = replace(s, input_if=any_of(others, f"in/{s.prefix.net if s.prefix else ''}"))
    return s


def _claimed(prefix: Prefix | None) -> int:
    """The AS that the router itself would put into a record: 0 for our own and the unknown."""
    if prefix is None or not prefix.announced:
        return 0
    return prefix.origin_set[0] if prefix.origin_set else prefix.origin
