"""Which slots of a period each exporter is due and covered in, and what that does to figures (M5).

A figure is made of exporters' series. What an exporter that was due did not tell is missing, not
zero: averages take it like the rest of that exporter's time, percentiles fill short gaps of small
exporters and leave the other slots out, and say so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.slots import SLOT
from flowpeer_reports.errors import ReportError

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Quality = Literal["exact", "estimate", "refused"]

REACH = 6
"""Slots, before and after, that a gap may be filled from."""


@dataclass(frozen=True, slots=True)
class Due:
    """An exporter, and when its data are due: from `since`, inclusive, until `until`, exclusive."""

    exporter: str
    metro: str
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class ObjectCoverage:
    """The slots of an object that count, and how good a percentile over them is."""

    coverage: Coverage
    places: Ints
    """Numbers of the slots that count, from the start of the period."""
    filled: int
    """How many of them hold filled bytes."""
    missing: int
    """Slots of the period that do not count."""
    quality: Quality
    left_out: tuple[str, ...]
    """Exporters that were covered in less than half of their due slots."""

    @property
    def counted(self) -> int:
        """Slots that count."""
        return len(self.places)

    def apply(self, series: Mapping[str, Ints]) -> Ints:
        """Bytes of each slot that counts, gaps filled, from the bytes of each exporter per slot.

        The series may be a part of the object's (a network's, a link's). Exporters that are not
        configured count as they are.

        Raises:
            ReportError: a series is not of the period's length.
        """
        total = np.zeros(len(self.places), np.int64)
        for exporter, values in series.items():
            due, covered = self.coverage.flags(exporter, values)
            if exporter in self.left_out:
                continue
            hole = due & ~covered
            if hole.any():
                values = bridged(values, due & covered, hole)
            total += values[self.places]
        return total


@dataclass(frozen=True)
class Coverage:
    """Due and covered slots of every exporter over one period."""

    start: datetime
    exporters: tuple[Due, ...]
    due: Flags
    """[exporter, slot]"""
    covered: Flags
    """[exporter, slot]: covered though it need not be due."""
    untold: frozenset[str]
    """Exporters without any coverage in the period (imported data): taken as covered."""

    @property
    def slots(self) -> int:
        """n, the slots of the period."""
        return int(self.due.shape[1])

    @cached_property
    def row(self) -> dict[str, int]:
        """Exporter → its row in `due` and `covered`."""
        return {each.exporter: n for n, each in enumerate(self.exporters)}

    def of(self, metro: str) -> list[str]:
        """The exporters of a metro."""
        return [each.exporter for each in self.exporters if each.metro == metro]

    def vouched(self, exporters: Collection[str]) -> Flags:
        """[slot]: one of these exporters is covered, or none is due."""
        rows = [self.row[e] for e in exporters if e in self.row]
        if len(rows) < len(exporters) or not rows:  # one that is not configured is always there
            return np.ones(self.slots, bool)
        due, covered = self.due[rows], self.covered[rows]
        found: Flags = np.logical_or((due & covered).any(axis=0), ~due.any(axis=0))
        return found

    def silences(self) -> list[str]:
        """What is missing of each exporter, in words: stated on every answer."""
        found = []
        for each, due, covered in zip(self.exporters, self.due, self.covered, strict=True):
            hole = np.flatnonzero(due & ~covered)
            if len(hole):
                first, last = (self.start + int(at) * SLOT for at in (hole[0], hole[-1] + 1))
                found.append(
                    f"{each.exporter}: not covered in {len(hole):,} of the {int(due.sum()):,} "
                    f"slots that it was due in, the first at {first:%Y-%m-%d %H:%M}, the last "
                    f"before {last:%Y-%m-%d %H:%M} UTC"
                )
        return found

    def missing(self, exporter: str) -> int:
        """Slots in which an exporter was due and not covered."""
        row = self.row[exporter]
        return int((self.due[row] & ~self.covered[row]).sum())

    def factor(self, exporter: str, carries: Flags) -> Fraction:
        """due / present: what an exporter's bytes are multiplied by before they are averaged.

        Args:
            carries: [slot]: it has bytes there, covered or not.
        """
        row = self.row.get(exporter)
        if row is None:  # not configured, so never due
            return Fraction(1)
        due = int(self.due[row].sum())
        present = int((self.due[row] & (self.covered[row] | carries)).sum())
        return Fraction(due, present) if present else Fraction(1)

    def flags(self, exporter: str, values: Ints) -> tuple[Flags, Flags]:
        """Due and covered slots of an exporter; all of them where it is not configured.

        Raises:
            ReportError: `values` is not of the period's length.
        """
        if len(values) != self.slots:
            raise ReportError(f"{exporter}: {len(values)} slots, {self.slots} in the period")
        row = self.row.get(exporter)
        if row is None:
            every = np.ones(self.slots, bool)
            return every, every
        return self.due[row], self.covered[row]

    def judge(self, series: Mapping[str, Ints]) -> ObjectCoverage:
        """Which slots of an object count, from the bytes of each of its exporters per slot.

        Raises:
            ReportError: a series is not of the period's length.
        """
        lines = [(e, v, *self.flags(e, v)) for e, v in series.items()]
        if not any((due & ~covered).any() for _, _, due, covered in lines):
            every = np.arange(self.slots, dtype=np.int64)
            return ObjectCoverage(self, every, 0, 0, "exact", ())
        # Means as fractions of integers, so that "99 % of" is exact in every slot.
        means = {e: _mean(v, due & covered) for e, v, due, covered in lines}
        left_out = tuple(
            e for e, _, due, covered in lines if 2 * int((due & covered).sum()) < int(due.sum())
        )
        total = sum(means.values(), Fraction(0))
        outside = sum((means[e] for e in left_out), Fraction(0))
        kept = [line for line in lines if line[0] not in left_out]
        expected = np.zeros(self.slots, object)
        present = np.zeros(self.slots, object)
        hole = np.zeros(self.slots, bool)
        weights = _weights([means[line[0]] for line in kept])
        for weight, (_, _, due, covered) in zip(weights, kept, strict=True):
            expected[due] += weight
            present[due & covered] += weight
            hole |= due & ~covered
        counts = np.array(100 * present >= 99 * expected, dtype=bool)
        places = np.flatnonzero(counts).astype(np.int64)
        filled, missing = int((hole & counts).sum()), self.slots - len(places)
        quality: Quality = "exact"
        if 20 * missing > self.slots or 20 * outside > total:
            quality = "refused"
        elif 100 * max(missing, filled) > self.slots or 100 * outside > total:
            quality = "estimate"
        return ObjectCoverage(self, places, filled, missing, quality, left_out)


def _mean(values: Ints, present: Flags) -> Fraction:
    return (
        Fraction(int(values[present].sum()), int(present.sum())) if present.any() else Fraction(0)
    )


def _weights(means: Sequence[Fraction]) -> list[int]:
    common = math.lcm(*(mean.denominator for mean in means))
    return [int(mean * common) for mean in means]


def bridged(values: Ints, present: Flags, hole: Flags) -> Ints:
    """The values, those in `hole` replaced by the mean of the nearest known ones around them."""
    out = values.copy()
    sure = np.flatnonzero(present)
    mean = _mean(values, present)
    for place in np.flatnonzero(hole):
        after = int(np.searchsorted(sure, place))
        near = [
            int(values[at])
            for at in (*sure[max(after - 1, 0) : after], *sure[after : after + 1])
            if abs(int(at) - int(place)) <= REACH
        ]
        exact = Fraction(sum(near), len(near)) if near else mean
        out[place] = (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
    return out


def coverage_of(
    rows: pl.DataFrame, exporters: Sequence[Due], start: datetime, end: datetime
) -> Coverage:
    """Coverage of [start, end) from the table `coverage`, `exporter` being the configured id.

    `rows`: slot, exporter, session, domain, received, lost, first_sequence, last_sequence, seen,
    at best from a little before the period to a little after it, so that a silence at its border
    can be proved; `last_sequence` is the number due next. A slot is covered where the exporter was
    seen with a loss below 5 %, or where its silence is proved by sequence numbers that go on
    exactly there.
    """
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    n = (end - start) // SLOT
    due = np.zeros((len(exporters), n), bool)
    covered = np.zeros((len(exporters), n), bool)
    seen = rows.filter(pl.col("seen"))
    untold: set[str] = set()
    for number, each in enumerate(exporters):
        first = max(-((start - each.since) // SLOT), 0) if each.since else 0
        last = min(-((start - each.until) // SLOT), n) if each.until else n
        due[number, first : max(last, first)] = True
        mine = seen.filter(pl.col("exporter") == each.exporter)
        inside = mine.filter((pl.col("slot") >= start) & (pl.col("slot") < end))
        if inside.is_empty():
            untold.add(each.exporter)
            covered[number] = True
            continue
        sums = inside.group_by("slot").agg(pl.col("received", "lost").sum())
        good = sums.filter(20 * pl.col("lost") < pl.col("lost") + pl.col("received"))
        places = _places(good["slot"], start)
        covered[number, places] = True
        silent = np.ones(n, bool)
        silent[_places(sums["slot"], start)] = False
        covered[number] |= silent & _proved(mine, start, n)
    return Coverage(start, tuple(exporters), due, covered, frozenset(untold))


def _places(slots: pl.Series, start: datetime) -> Ints:
    seconds = slots.dt.epoch("s").to_numpy().astype(np.int64)
    return (seconds - int(start.timestamp())) // int(SLOT.total_seconds())


def _proved(mine: pl.DataFrame, start: datetime, n: int) -> Flags:
    """[slot]: lies in a silence that the sequence numbers of every domain around it run across."""
    pairs = (
        mine.group_by("slot", "session", "domain")
        .agg(
            pl.col("lost").sum(),
            # Two collectors may have seen parts of a slot.
            pl.col("first_sequence").min(),
            pl.col("last_sequence").max(),
        )
        .sort("domain", "slot", "session")
        .with_columns(
            before=pl.col("slot").shift(1).over("domain"),
            same=(pl.col("session") == pl.col("session").shift(1).over("domain")),
            on=pl.col("first_sequence") == pl.col("last_sequence").shift(1).over("domain"),
        )
        .filter(pl.col("slot") - pl.col("before") > SLOT)
        .with_columns(
            proof=(pl.col("same") & pl.col("on") & (pl.col("lost") == 0)).fill_null(False)
        )
    )
    proofs, doubts = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    begins = _places(pairs["before"], start) + 1
    ends = _places(pairs["slot"], start)
    for begin, end, proof in zip(begins, ends, pairs["proof"].to_list(), strict=True):
        edges = proofs if proof else doubts
        edges[min(max(begin, 0), n)] += 1
        edges[min(max(end, 0), n)] -= 1
    proved: Flags = (np.cumsum(proofs)[:n] > 0) & (np.cumsum(doubts)[:n] == 0)
    return proved
