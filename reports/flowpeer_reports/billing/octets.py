"""What crossed the billed links in every slot: from interface counters, else from flows (M5).

Counters count octets of frames. Flows count IP octets, to which the frame's are added for each
packet (`l2_overhead`). A link that has readings in a span is taken from them for all of it: a slot
that they do not cover is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.slots import SLOT
from flowpeer_reports.coverage import Coverage, Due

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Source = Literal["flows", "counters", "counters and flows"]
DIRECTIONS = ("in", "out")


@dataclass(frozen=True, slots=True)
class BilledLink:
    """One section of an interface: while it holds, its traffic is billed under a contract."""

    exporter: str
    interface: int
    contract: str
    metro: str
    l2_overhead: int = 18
    since: datetime | None = None
    until: datetime | None = None

    @property
    def key(self) -> tuple[str, int]:
        """(exporter, interface)"""
        return self.exporter, self.interface


@dataclass(frozen=True)
class Octets:
    """Octets of links over a span of slots, and which of them are known."""

    start: datetime
    links: tuple[BilledLink, ...]
    values: Ints
    """[link, 0 in 1 out, slot]"""
    counted: Flags
    """[link]: from counters"""
    flow_bytes: Ints
    """[link, direction, slot]: IP bytes by the flows, scaled, without framing."""
    coverage: Coverage
    """Due and covered slots of each source: an exporter, or `exporter:interface` of a counter."""

    @property
    def slots(self) -> int:
        """Slots of the span."""
        return int(self.values.shape[2])

    @property
    def end(self) -> datetime:
        """End of the span, exclusive."""
        return self.start + SLOT * self.slots

    @property
    def source(self) -> Source:
        """Where the octets are from."""
        if self.counted.all() and len(self.links):
            return "counters"
        return "counters and flows" if self.counted.any() else "flows"

    def source_of(self, place: int) -> str:
        """The row of `coverage` that tells which slots of a link are known."""
        link = self.links[place]
        return f"{link.exporter}:{link.interface}" if self.counted[place] else link.exporter

    def of(self, contract: str, start: datetime, end: datetime) -> Octets:
        """The links of one contract over a part of the span, which is cut where data end."""
        first = max((start - self.start) // SLOT, 0)
        last = min((end - self.start) // SLOT, self.slots)
        places = [n for n, link in enumerate(self.links) if link.contract == contract]
        begin = self.start + SLOT * first
        return Octets(
            begin,
            tuple(self.links[n] for n in places),
            self.values[places, :, first:last],
            self.counted[places],
            self.flow_bytes[places, :, first:last],
            Coverage(
                begin,
                self.coverage.exporters,
                self.coverage.due[:, first:last],
                self.coverage.covered[:, first:last],
                self.coverage.untold,
            ),
        )


def octets_of(
    links: Sequence[BilledLink],
    traffic: pl.LazyFrame,
    coverage: Coverage,
    counters: pl.DataFrame | None = None,
) -> Octets:
    """Octets of links over the span of `coverage`.

    Args:
        traffic: rows of the table `traffic`, or of `traffic_slots`; those without a sampling rate
            are left out.
        counters: exporter, interface, direction, slot, octets (integers) of the slots that
            readings cover whole.
    """
    start, n = coverage.start, coverage.slots
    places = {link.key: [] for link in links}  # type: dict[tuple[str, int], list[int]]
    for number, link in enumerate(links):
        places[link.key].append(number)
    values = np.zeros((len(links), 2, n), np.int64)
    overhead = {key: links[of[0]].l2_overhead for key, of in places.items()}
    keys = pl.DataFrame(
        [(e, i, o) for (e, i), o in overhead.items()],
        schema={"exporter": pl.String, "interface": pl.Int64, "overhead": pl.Int64},
        orient="row",
    )
    rows = (
        traffic.filter(
            pl.col("scaled"),
            pl.col("direction").is_in(DIRECTIONS),
            pl.col("slot") >= start,
            pl.col("slot") < start + SLOT * n,
        )
        .join(keys.lazy(), on=["exporter", "interface"])
        .group_by("exporter", "interface", "direction", "slot")
        .agg(pl.col("bytes", "packets").sum(), pl.col("overhead").first())
        .with_columns(octets=pl.col("bytes") + pl.col("overhead") * pl.col("packets"))
        .select("exporter", "interface", "direction", "slot", "octets", "bytes")
        .collect()
    )
    _place(rows, values, places, start)
    flow_bytes = np.zeros_like(values)
    _place(rows.with_columns(octets="bytes"), flow_bytes, places, start)
    counted = np.zeros(len(links), bool)
    exporters = list(coverage.exporters)
    due, covered = [coverage.due], [coverage.covered]
    if counters is not None and counters.height:
        inside = counters.filter((pl.col("slot") >= start) & (pl.col("slot") < start + SLOT * n))
        read = np.zeros((len(links), 2, n), np.int64)
        known = np.zeros((len(links), 2, n), np.int64)
        _place(inside, read, places, start)
        _place(inside.with_columns(octets=pl.lit(1, pl.Int64)), known, places, start)
        for number, link in enumerate(links):
            if not known[number].any():
                continue
            counted[number] = True
            values[number] = read[number]
            exporters.append(Due(f"{link.exporter}:{link.interface}", link.metro))
            due.append(np.ones((1, n), bool))
            covered.append((known[number] > 0).all(axis=0)[np.newaxis])
    for number, link in enumerate(links):
        outside = ~holds(link, start, n)
        values[number][:, outside] = 0
        flow_bytes[number][:, outside] = 0
    # One that is not configured, or twice as a link's counter, is recognised by its first row.
    return Octets(
        start,
        tuple(links),
        values,
        counted,
        flow_bytes,
        Coverage(
            start, tuple(exporters), np.concatenate(due), np.concatenate(covered), coverage.untold
        ),
    )


def _place(
    rows: pl.DataFrame, into: Ints, places: dict[tuple[str, int], list[int]], start: datetime
) -> None:
    for key, part in rows.group_by("exporter", "interface", "direction"):
        exporter, interface, direction = key
        slots = part["slot"].dt.epoch("s").to_numpy().astype(np.int64)
        numbers = (slots - int(start.timestamp())) // int(SLOT.total_seconds())
        for place in places.get((str(exporter), int(str(interface))), ()):
            into[place, DIRECTIONS.index(str(direction)), numbers] = part["octets"].to_numpy()


def holds(link: BilledLink, start: datetime, n: int) -> Flags:
    """[slot]: the link's section holds at its start."""
    holds = np.ones(n, bool)
    if link.since is not None:
        holds[: max(-((start - link.since) // SLOT), 0)] = False
    if link.until is not None:
        holds[max(-((start - link.until) // SLOT), 0) :] = False
    return holds


def by_source(octets: Octets, of: Iterable[int] | None = None) -> dict[str, Ints]:
    """Source → octets of both directions together, [slot], for judging which slots count."""
    sums: dict[str, Ints] = {}
    for place in range(len(octets.links)) if of is None else of:
        name = octets.source_of(place)
        line = octets.values[place].sum(axis=0)
        sums[name] = sums[name] + line if name in sums else line
    return sums
