"""What is gathered of flow records while they are decoded: nobody reads them again for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer_ingest.parts import (
    ANY_DOMAIN,
    MAX_INTERFACES,
    PATHS_APART_US,
    WAYS,
    FlowFacts,
    Span,
    joined_span,
)

HOUR_US = 3_600_000_000
MAX_COUNTERS = 1 << 20
"""Up to so many possible values, one counter for each is faster than hashing."""
MAX_HOURS = 256
"""Hours that a table reaches into, up to which their pairs are counted instead of sorted."""
MAX_DOMAINS = 64
"""Domains of an exporter that have a span of their own; more are put together as `ANY_DOMAIN`."""
MAX_OCTETS = 1 << 40
"""Of one record, scaled, in `octets`: what is above cannot be traffic, and 2^22 rows of it still
fit into 63 bits."""

Ints = np.ndarray[Any, np.dtype[np.int64]]


class Facts:
    """Gathers `FlowFacts` table by table."""

    def __init__(self) -> None:
        self._hours: set[int] = set()
        self._seen: dict[str, dict[int, int]] = {}
        self._records: dict[str, dict[int, int]] = {}
        self._octets: dict[str, dict[int, list[int]]] = {}
        self._unlisted: dict[str, int] = {}
        self._unrated: dict[str, int] = {}
        self._announced: set[str] = set()
        self._corrected = 0
        self._spans: dict[str, dict[int, Span]] = {}

    def add(self, table: pa.Table) -> None:
        """Take the rows of `table` into account."""
        if not table.num_rows:
            return
        begins, ends = _microseconds(table, "start_time"), _microseconds(table, "end_time")
        # A record that ends on the border of an hour has no part in the one that begins there.
        start, end = begins // HOUR_US, np.maximum(begins, ends - 1) // HOUR_US
        for first, last in _pairs(start, end):
            self._hours.update(range(first, last + 1))
        named = table["exporter_ip"].combine_chunks().dictionary_encode()
        exporters = named.dictionary.to_pylist()
        exporter = named.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        egress = pc.equal(pc.fill_null(table["direction"], 0), 1).to_numpy().astype(np.int64)
        octets, exported, asking = _octets(table)
        unrated = pc.is_null(table["sampling_interval"]).to_numpy()
        for place, name in ((0, "input_if"), (2, "output_if")):
            interface = pc.fill_null(table[name], 0).to_numpy()
            way = egress + place + 4 * asking
            for of, index, at, count, total, plain in _sums(
                exporter, interface, way, octets, exported
            ):
                self._take(exporters[of], index, at, total, plain, count)
        for ip in exporters:  # some of them may have no row in this part of their table
            if len(self._seen.get(ip, ())) > 2 * MAX_INTERFACES:
                self._shorten(ip)
        for of, records in enumerate(np.bincount(exporter[unrated]).tolist()):
            if records:
                self._unrated[exporters[of]] = self._unrated.get(exporters[of], 0) + records
        self._announced.update(exporters[of] for of in np.unique(exporter[asking == 1]).tolist())
        self._corrected += pc.sum(table["time_corrected"]).as_py() or 0
        for of, domain, span in _spans(table, exporter):
            of_exporter = self._spans.setdefault(exporters[of], {})
            if domain not in of_exporter and len(of_exporter) >= MAX_DOMAINS:
                domain = ANY_DOMAIN
            of_exporter[domain] = joined_span(of_exporter.get(domain, span), span)

    def _take(self, ip: str, index: int, way: int, octets: int, exported: int, count: int) -> None:
        seen = self._seen.setdefault(ip, {})
        seen[index] = seen.get(index, 0) | WAYS[way & 3]
        records = self._records.setdefault(ip, {})
        records[index] = records.get(index, 0) + count
        of = self._octets.setdefault(ip, {}).setdefault(index, [0] * 12)
        of[way] += octets
        if way < 4:
            of[way + 8] += exported

    def _shorten(self, ip: str) -> None:
        """Keep the interfaces of an exporter that most records named."""
        seen, records = self._seen[ip], self._records[ip]
        for index in sorted(seen, key=lambda i: (-records[i], i))[MAX_INTERFACES:]:
            del seen[index], self._octets[ip][index]
            self._unlisted[ip] = self._unlisted.get(ip, 0) + records.pop(index)

    def facts(self) -> FlowFacts:
        """What was gathered."""
        for ip in self._seen:
            self._shorten(ip)
        return FlowFacts(
            hours=tuple(hour_text(h) for h in sorted(self._hours)),
            seen={ip: dict(sorted(seen.items())) for ip, seen in sorted(self._seen.items())},
            unlisted=dict(sorted(self._unlisted.items())),
            unrated=dict(sorted(self._unrated.items())),
            announced=tuple(sorted(self._announced)),
            time_corrected=self._corrected,
            octets={
                ip: {index: tuple(of[index]) for index in sorted(of)}
                for ip, of in sorted(self._octets.items())
            },
            spans={ip: dict(sorted(of.items())) for ip, of in sorted(self._spans.items())},
        )


def facts_of(table: pa.Table) -> FlowFacts:
    """The facts of one table of flow records."""
    gathered = Facts()
    gathered.add(table)
    return gathered.facts()


def hour_text(hours_since_epoch: int) -> str:
    """`2026-09-16T07`: an hour as the record names it."""
    return str(np.datetime64(hours_since_epoch, "h"))


def _spans(table: pa.Table, exporter: Ints) -> list[tuple[int, int, Span]]:
    """The spans of a table's datagrams, by exporter (as numbered) and domain."""
    sequence = pc.fill_null(table["datagram_sequence"], -1).to_numpy()
    domain = pc.fill_null(table["observation_domain"], 0).to_numpy()
    received = _microseconds(table, "received_at")
    sent = pc.fill_null(table["export_time"].cast(pa.int64()), -1).to_numpy()
    columns = (exporter, domain, sequence, sent, received)
    # The records of a datagram stand together: one row of each is enough.
    begins = np.ones(sequence.size, bool)
    begins[1:] = False
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    exporter, domain, sequence, sent, received = (c[begins & (sequence >= 0)] for c in columns)
    if not sequence.size:
        return []
    apart = np.where(sent < 0, PATHS_APART_US, 0)
    at = np.where(sent < 0, received, sent)
    order = np.lexsort((domain, exporter))
    exporter, domain = exporter[order], domain[order]
    first = np.flatnonzero(
        np.append(True, (exporter[1:] != exporter[:-1]) | (domain[1:] != domain[:-1]))
    )
    found = (
        np.minimum.reduceat((at - apart)[order], first),
        np.maximum.reduceat((at + apart)[order], first),
        np.minimum.reduceat(sequence[order], first),
        np.maximum.reduceat(sequence[order], first),
    )
    spans = zip(*(column.tolist() for column in found), strict=True)
    return list(zip(exporter[first].tolist(), domain[first].tolist(), spans, strict=True))


def _octets(table: pa.Table) -> tuple[Ints, Ints, Ints]:
    """Bytes times the rate that a record itself states (at most `MAX_OCTETS`), bytes as exported,
    and 1 where it states none. Of imported records, which have no session, that is all that they
    say."""
    interval = table["sampling_interval"]
    own = pc.or_(pc.is_valid(table["sampling_numerator"]), pc.is_null(table["session"]))
    asking = pc.invert(pc.and_(own, pc.is_valid(interval))).to_numpy().astype(np.int64)
    rate = np.where(asking == 1, 1, pc.fill_null(interval, 1).to_numpy())
    octets = np.clip(pc.fill_null(table["bytes"], 0).to_numpy(), 0, MAX_OCTETS)
    rate = np.clip(rate, 1, 1 << 22)  # the product fits into 63 bits
    return np.minimum(octets * rate, MAX_OCTETS), octets, asking


def _sums(
    exporter: Ints, interface: Ints, way: Ints, octets: Ints, exported: Ints
) -> list[tuple[int, int, int, int, int, int]]:
    """Exporter, interface, way, records, octets and octets as exported of each that is there. Each
    is made one integer, and octets are summed in halves, whose sums a float64 holds exactly."""
    base, span = int(interface.min()), int(interface.max()) - int(interface.min()) + 1
    keys = interface - base
    values = None
    if span * 8 * (int(exporter.max()) + 1) > MAX_COUNTERS:
        values, keys = np.unique(interface, return_inverse=True)
        span = values.size
    keys = (exporter * span + keys) * 8 + way
    places = None
    if span * 8 * (int(exporter.max()) + 1) > MAX_COUNTERS:
        places, keys = np.unique(keys, return_inverse=True)
    counts = np.bincount(keys)
    halves = [np.bincount(keys, n) for of in (octets, exported) for n in (of & 0xFFFFF, of >> 20)]
    found = np.flatnonzero(counts)
    rows: list[tuple[int, int, int, int, int, int]] = []
    for at, count in zip(found.tolist(), counts[found].tolist(), strict=True):
        key = at if places is None else int(places[at])
        index = key // 8 % span
        rows.append((
            key // 8 // span, base + index if values is None else int(values[index]), key % 8,
            count, *((int(high[at]) << 20) + int(low[at])
                     for low, high in (halves[:2], halves[2:])),
        ))  # fmt: skip
    return rows


def _pairs(first: Ints, second: Ints) -> list[tuple[int, int]]:
    """The distinct pairs of hours."""
    base = int(first.min())
    span = int(second.max()) - base + 1
    if span <= MAX_HOURS:  # no record ends before it starts
        found = np.flatnonzero(np.bincount((first - base) * span + (second - base)))
        return [(base + key // span, base + key % span) for key in found.tolist()]
    pairs = np.unique(np.stack((first, second)), axis=1)
    return [(a, b) for a, b in pairs.T.tolist()]


def _microseconds(table: pa.Table, name: str) -> Ints:
    values: Ints = table[name].cast(pa.int64()).to_numpy()
    return values
