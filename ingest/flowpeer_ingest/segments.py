"""A sealed segment → tables, by the same decoder that reads captures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowpeer_core.addresses import octets_of, parse, text_of
from flowpeer_ingest.datagrams import Datagrams, laid_out
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.interface_names import InterfaceNames
from flowpeer_ingest.quarantine import Quarantine
from flowpeer_ingest.spool import Block, Reading, read
from flowpeer_ingest.summary import CaptureSummary
from flowpeer_ingest.unit_decoder import BATCH_DATAGRAMS, UnitDecoder, WriteRows

UNKNOWN = "exporter not in the configuration"
OUTSIDE = "exporter outside the allowed prefixes"
CROWD = "too many exporters that are not in the configuration"
Allowed = tuple[IPv4Network | IPv6Network, ...] | None
"""Where exporters may be that the configuration does not name; None: anywhere."""
MAX_UNKNOWN = 1_024
"""Refused sources that are named; the others are only counted."""
MAX_UNCONFIGURED = 2_048
"""Exporters outside the configuration that are decoded at a time, about 5 MiB. Those in it are
not bounded by forged ones."""


@dataclass
class SegmentSummary(CaptureSummary):
    """A capture's integers for one segment. packets = datagrams in the spool, all of them UDP.

    `first`: how many datagrams its receiver had taken before the first one in it.
    """

    first: int = 0
    damaged_octets: int = 0
    octets: dict[str, int] = field(default_factory=dict)
    refused_sources: dict[str, int] = field(default_factory=dict)
    last_seen_us: dict[str, int] = field(default_factory=dict)


class SegmentDecoder(UnitDecoder):
    """One segment on its way through a decoder."""

    def __init__(
        self,
        decoder: Decoder,
        write: WriteRows,
        configured: frozenset[str],
        allowed: Allowed,
        quarantine: Quarantine | None,
    ) -> None:
        super().__init__(decoder, write, write)
        self.names = InterfaceNames(configured)
        self.configured = configured
        self.allowed = allowed
        self.strangers = {
            a for a in decoder.wire.state.exporters if a not in configured and self.allows(a)
        }
        self.quarantine = quarantine
        self.octets: Counter[str] = Counter()
        self.last_seen: dict[str, int] = {}
        self.unknown: Counter[str] = Counter()
        self.waiting: list[Block] = []

    def block(self, block: Block) -> None:
        """Decode all datagrams of a block, some time, in the order they came."""
        self.waiting.append(block)
        if sum(len(b.entries) for b in self.waiting) >= BATCH_DATAGRAMS:
            self.flush()

    def flush(self) -> None:
        """Decode what waits to be decoded together."""
        if not self.waiting:
            return
        blocks, self.waiting = self.waiting, []
        entries = np.concatenate([b.entries for b in blocks])
        begins = np.concatenate([b.begins() for b in blocks])
        names, code = sources(entries["address"])
        reasons = [self.refuses(name) for name in names]
        kept = np.array([not reason for reason in reasons])
        if not kept.all():
            chosen = kept[code]
            self.refuse(names, reasons, np.bincount(code[~chosen], minlength=len(names)))
            entries, begins = entries[chosen], begins[chosen]
            # Those refused are no exporters: a flood of them would be remembered for good.
            code = (np.cumsum(kept) - 1)[code[chosen]]
            names = [name for name, reason in zip(names, reasons, strict=True) if not reason]
        if not names:
            return
        octets = np.bincount(code, entries["length"], len(names)).astype(np.int64)
        last = np.zeros(len(names), np.int64)
        last[code] = entries["received_us"]  # of several to one place, the last one stays
        for name, size, last_us in zip(names, octets.tolist(), last.tolist(), strict=True):
            self.octets[name] += size
            self.last_seen[name] = last_us
        table = laid_out(begins, entries["length"])
        table["received_us"], table["port"] = entries["received_us"], entries["source_port"]
        table["exporter"] = code
        self.batch(Datagrams(blocks[0].octets, table, names))

    def refuses(self, source: str) -> str:
        """Why an exporter is not decoded; empty if it is."""
        if source in self.configured or source in self.strangers:
            return ""
        if not self.allows(source):
            return OUTSIDE if self.allowed else UNKNOWN
        if len(self.strangers) >= MAX_UNCONFIGURED:
            return CROWD
        self.strangers.add(source)
        return ""

    def allows(self, source: str) -> bool:
        """May an exporter that the configuration does not name send from there?"""
        if self.allowed is None:
            return True
        address = parse(source)
        return any(address in network for network in self.allowed)

    def refuse(self, names: list[str], reasons: list[str], counts: NDArray[np.int64]) -> None:
        """Count datagrams of sources that are refused."""
        for name, reason, count in zip(names, reasons, counts.tolist(), strict=True):
            if not reason:
                continue
            self.rejected[reason] += count
            if name in self.unknown or len(self.unknown) < MAX_UNKNOWN:
                self.unknown[name] += count

    def refused(
        self, reason: str, payload: bytes, exporter: str, port: int, received_us: int
    ) -> None:
        """Keep a sample of what is no export packet."""
        if self.quarantine is not None:
            self.quarantine.keep(reason, payload, octets_of(exporter), port, received_us)


def sources(addresses: NDArray[np.uint8]) -> tuple[list[str], NDArray[np.int64]]:
    """Rows of 16 octets → the different addresses in the order they appear, and which one each
    row has."""
    halves = np.ascontiguousarray(addresses).view(np.uint64)
    high = np.unique(halves[:, 0], return_inverse=True)[1]
    low = np.unique(halves[:, 1], return_inverse=True)[1]
    _, first, code = np.unique(high * len(halves) + low, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return [text(addresses[i].tobytes()) for i in first[order].tolist()], place[code]


text = lru_cache(maxsize=16_384)(text_of)


class StoppedError(Exception):
    """A segment was given up half way: there is no time left for it."""


def ingest_segment(
    path: Path,
    *,
    decoder: Decoder,
    write: WriteRows,
    configured: frozenset[str] = frozenset(),
    allowed: Allowed = None,
    quarantine: Quarantine | None = None,
    over: Callable[[], bool] = lambda: False,
) -> SegmentSummary:
    """Decode a spool segment: `ingest_capture` for datagrams that were received here.

    `configured`: exporters that are always decoded; others where they are `allowed`. A block that
    is damaged ends the reading; what is behind it is reported in the warnings. Raises IngestError
    for a file that is no segment, StoppedError where it is `over` between two blocks.
    """
    run = SegmentDecoder(decoder, write, configured, allowed, quarantine)
    reading = Reading()
    first = -1
    try:
        for block in read(path, reading):
            if over():
                raise StoppedError
            first = block.first if first < 0 else first
            run.block(block)
        run.flush()
        run.finish()
        decoder.wire.state.drop_overdue(run.last_us)
    except BaseException:
        decoder.columns.clear()
        raise
    summary = SegmentSummary(path=path.name, packets=reading.datagrams, datagrams=reading.datagrams)
    summary.first = max(first, 0)
    summary.damaged_octets = reading.torn
    if reading.torn:
        summary.warnings.append(f"damaged at offset {reading.end}: {reading.torn} octets not read")
    run.summarise(summary)
    summary.octets = {a: n for a, n in run.octets.items() if a in run.exporters}
    summary.refused_sources = dict(run.unknown)
    summary.last_seen_us = {a: t for a, t in run.last_seen.items() if a in run.exporters}
    return summary
