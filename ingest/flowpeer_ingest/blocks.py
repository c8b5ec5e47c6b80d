"""Data sets that wait to be read: their octets, and what the messages around them say.

One array entry per data set, not per record: a set's records share all that its message says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flowpeer_ingest.reading import Ints
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.wire.events import Message
from flowpeer_ingest.wire.layout import Layout


@dataclass(slots=True)
class Block:
    """Data sets of one layout. `exporter` and `rate` index into `exporters` and `rates`."""

    flat: bytes
    counts: Ints
    received_us: Ints
    export_ms: Ints
    uptime_ms: Ints
    domain: Ints
    sampling: Ints
    exporters: list[str]
    exporter: Ints
    rates: list[Rates]
    rate: Ints

    def parts(self, layout: Layout, rows: int) -> Iterator[Block]:
        """The same sets in blocks of about so many records, so that their arrays stay in cache."""
        ends = np.cumsum(self.counts)
        total = int(ends[-1]) if len(ends) else 0
        if total <= rows:
            yield self
            return
        cuts = np.searchsorted(ends, np.arange(rows, total + rows, rows)).tolist()
        size = layout.flat_size
        start = at = 0
        for cut in cuts:
            stop = min(cut + 1, len(ends))
            if stop == start:
                continue
            end = int(ends[stop - 1])
            one = slice(start, stop)
            yield Block(
                self.flat[at * size : end * size], self.counts[one], self.received_us[one],
                self.export_ms[one], self.uptime_ms[one], self.domain[one], self.sampling[one],
                self.exporters, self.exporter[one], self.rates, self.rate[one],
            )  # fmt: skip
            start, at = stop, end

    def stretches(self) -> list[tuple[Rates, int, int]]:
        """Neighbouring sets that ask the same rates, as ranges of records."""
        if not len(self.rate):
            return []
        ends = np.cumsum(self.counts)
        last = np.append(np.flatnonzero(np.diff(self.rate)), len(self.rate) - 1)
        out = []
        at = 0
        for code, end in zip(self.rate[last].tolist(), ends[last].tolist(), strict=True):
            out.append((self.rates[code], at, end))
            at = end
        return out


def together(blocks: list[Block]) -> Block:
    """The sets of several blocks in one, in their order."""
    if len(blocks) == 1:
        return blocks[0]
    names: dict[str, int] = {}
    rates: dict[int, int] = {}
    known: list[Rates] = []
    exporter: list[NDArray[np.int64]] = []
    rate: list[NDArray[np.int64]] = []
    for b in blocks:
        codes = np.array([names.setdefault(e, len(names)) for e in b.exporters], np.int64)
        exporter.append(codes[b.exporter])
        for r in b.rates:
            if rates.setdefault(id(r), len(known)) == len(known):
                known.append(r)
        rate.append(np.array([rates[id(r)] for r in b.rates], np.int64)[b.rate])
    return Block(
        b"".join([b.flat for b in blocks]),
        np.concatenate([b.counts for b in blocks]),
        np.concatenate([b.received_us for b in blocks]),
        np.concatenate([b.export_ms for b in blocks]),
        np.concatenate([b.uptime_ms for b in blocks]),
        np.concatenate([b.domain for b in blocks]),
        np.concatenate([b.sampling for b in blocks]),
        list(names),
        np.concatenate(exporter),
        known,
        np.concatenate(rate),
    )


@dataclass(slots=True)
class Group:
    """Records of one layout: blocks of sets, and sets that came one by one."""

    version: int
    layout: Layout
    flat: list[bytes] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    rates: list[Rates] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def close(self) -> None:
        """Make a block of the sets that came one by one."""
        if not self.flat:
            return
        names: dict[str, int] = {}
        known: dict[int, int] = {}
        rates: list[Rates] = []
        for r in self.rates:
            if known.setdefault(id(r), len(rates)) == len(rates):
                rates.append(r)
        m = self.messages
        self.blocks.append(
            Block(
                b"".join(self.flat),
                np.array(self.counts, np.int64),
                np.array([x.received_us for x in m], np.int64),
                np.array([x.export_ms for x in m], np.int64),
                np.array([x.uptime_ms for x in m], np.int64),
                np.array([x.domain for x in m], np.int64),
                np.array([x.sampling for x in m], np.int64),
                exporter=np.array([names.setdefault(x.exporter, len(names)) for x in m], np.int64),
                exporters=list(names),
                rates=rates,
                rate=np.array([known[id(r)] for r in self.rates], np.int64),
            )
        )
        self.flat, self.counts, self.messages, self.rates = [], [], [], []

    def block(self) -> Block:
        """All sets, in the order they came."""
        self.close()
        return together(self.blocks)
