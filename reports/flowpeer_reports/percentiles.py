"""The percentile of a row: its own slots, those that count, and what noise does to it (M5, M6)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from zlib import crc32

import numpy as np

from flowpeer_core import p95
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.coverage import ObjectCoverage
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.relations import Ints, Reals
from flowpeer_reports.series import Link, Series

NOTICEABLE, UNUSABLE = 0.02, 0.10
"""Noise of a slot (standard deviation ÷ mean) from which a percentile is corrected, or useless."""
DRAWS = 100
_REACH = 6.0
"""Standard deviations that noise is taken to stay within."""
SLOTS_OF_WEEK = 7 * 24 * 3600 // SLOT_SECONDS


@dataclass(frozen=True, slots=True)
class Percentile:
    """The percentile of one row and what it rests on."""

    p95_bps: float | None = None
    corrected_bps: float | None = None
    quality: str | None = None
    counted: int = 0
    filled: int = 0
    missing: int = 0
    weeks: tuple[float, ...] = ()
    """Weekly averages in bit/s, of 7 days each from the start of the period."""
    shaped: bool = False


@dataclass(slots=True)
class CountedSlots:
    """The slots of one metro that count; the same for every row of it (M5)."""

    places: Ints
    """Numbers of the slots that count, from the start of the period."""
    slots: int
    """Slots of the period."""
    quality: str = "exact"
    filled: int = 0
    judged: Mapping[str, ObjectCoverage] | None = None
    """By direction: how gaps of single exporters are filled; None: there are none to fill."""

    @property
    def missing(self) -> int:
        """Slots of the period that do not count."""
        return self.slots - len(self.places)

    def line(
        self, series: Series, key: Hashable, metro: int, ways: Sequence[str]
    ) -> tuple[Ints, Reals, bool]:
        """Values and variance of the slots that count, the larger direction of each; and whether
        some of it has the shape of its hours."""
        values = np.zeros(len(self.places), dtype=np.int64)
        variance = np.zeros(len(self.places))
        shaped = False
        for way in ways:
            found = series.get(key, way, metro)
            total = self._counting(series, found.links, found.octets, way)
            spread = found.variance[:, series.inside].sum(axis=0)[self.places]
            variance = np.where(total > values, spread, variance)
            values = np.maximum(values, total)
            shaped |= found.shaped
        return values, variance, shaped

    def _counting(self, series: Series, links: Sequence[Link], octets: Ints, way: str) -> Ints:
        inside = octets[:, series.inside]
        if self.judged is None:
            total: Ints = inside.sum(axis=0)[self.places]
            return total
        judged = self.judged[way]
        return judged.apply(by_exporter(links, inside))[np.isin(judged.places, self.places)]


def by_exporter(links: Sequence[Link], octets: Ints) -> dict[str, Ints]:
    """Slots of each exporter, from those of its links."""
    found: dict[str, Ints] = {}
    for link, line in zip(links, octets, strict=True):
        found[link.exporter] = found[link.exporter] + line if link.exporter in found else line
    return found


def counted(
    inputs: Inputs, series: Series, metro: int, name: str, ways: Sequence[str]
) -> CountedSlots:
    """Which slots of a metro count, in all of these directions."""
    slots = inputs.period_slots
    if inputs.coverage is None:
        every = np.ones(slots, dtype=np.bool_)
        gone = inputs.uncovered.filter(inputs.uncovered["metro"] == name)["slot"]
        if len(gone):
            start = int(inputs.period_start.astimezone(UTC).timestamp())
            places = (gone.dt.epoch("s").to_numpy() - start) // SLOT_SECONDS
            every[places[(places >= 0) & (places < slots)]] = False
        made = CountedSlots(np.flatnonzero(every), slots)
        missing = max(made.missing, inputs.missing_slots.get(name, 0))
        made.quality = _quality(missing, slots)
        return made
    totals = series.totals(metro)[:, series.inside]
    judged = {}
    for way in ways:
        mine = [i for i, link in enumerate(series.links[metro]) if link.direction == way]
        links = [series.links[metro][i] for i in mine]
        judged[way] = inputs.coverage.judge(by_exporter(links, totals[mine]))
    of = list(judged.values())
    places = of[0].places
    for other in of[1:]:
        places = np.intersect1d(places, other.places)
    worst = max((j.quality for j in of), key=("exact", "estimate", "refused").index)
    plain = all(j.quality == "exact" and not j.filled and len(j.places) == slots for j in of)
    return CountedSlots(places, slots, worst, max(j.filled for j in of), None if plain else judged)


def everywhere(parts: Sequence[CountedSlots]) -> CountedSlots:
    """Slots that count in every metro: those of a sum over all of them."""
    places = parts[0].places
    for part in parts[1:]:
        places = np.intersect1d(places, part.places)
    made = CountedSlots(places, parts[0].slots, filled=max(p.filled for p in parts))
    qualities = [*(p.quality for p in parts), _quality(made.missing, made.slots)]
    made.quality = max(qualities, key=("exact", "estimate", "refused").index)
    return made


def _quality(missing: int, slots: int) -> str:
    if missing * 20 > slots:
        return "refused"
    return "estimate" if missing * 100 > slots else "exact"


def percentile(
    counted: CountedSlots,
    values: Ints,
    variance: Reals,
    *,
    folded: bool = False,
    shaped: bool = False,
    seed: tuple[int, ...] = (0,),
) -> Percentile:
    """The percentile of one series, given by the slots that count.

    Args:
        folded: some of it is kept by the hour only.
        seed: of the draws that the correction is made with.
    """
    n = len(values)
    about = (n, counted.filled, counted.missing)
    weeks = _weeks(values, counted)
    if counted.quality == "refused" or not n:
        return Percentile(None, None, None, *about, weeks, shaped)
    place = int(p95.rank(n)) - 1
    measured = int(np.partition(values, place)[place])
    total = int(values.sum())
    scatter = math.sqrt(n * float(variance.sum())) / total if total else 0.0
    corrected = None
    if NOTICEABLE < scatter <= UNUSABLE:
        corrected = _bps(max(0.0, 2 * measured - _noisy(values, variance, place, seed)))
    if scatter > UNUSABLE:
        quality = "noisy"
    elif folded:
        quality = "folded"
    elif counted.quality == "estimate":
        quality = "estimate"
    else:
        quality = "exact" if corrected is None else "corrected"
    return Percentile(_bps(measured), corrected, quality, *about, weeks, shaped)


def _noisy(values: Ints, variance: Reals, place: int, seed: tuple[int, ...]) -> float:
    """Mean over draws of the percentile after noise of the same variance was added once more."""
    sigma = np.sqrt(variance)
    least = np.partition(values - _REACH * sigma, place)[place]
    near = values + _REACH * sigma >= least  # no other slot can come up to the rank
    x, s = values[near].astype(np.float64), sigma[near]
    from_top = len(values) - place
    draws = np.random.default_rng(seed).standard_normal((DRAWS, len(x)))
    draws *= s
    draws += x
    np.maximum(draws, 0.0, out=draws)
    at = len(x) - from_top
    return float(np.partition(draws, at, axis=1)[:, at].mean())


def seed_of(metro: str, asn: int | None) -> tuple[int, int]:
    """The seed of a row's draws."""
    return crc32(metro.encode()), asn or 0


def _weeks(values: Ints, counted: CountedSlots) -> tuple[float, ...]:
    """Averages of the weeks of the period; a shorter one at its end only if it is the only one."""
    found = []
    for begin in range(0, counted.slots, SLOTS_OF_WEEK):
        if begin and begin + SLOTS_OF_WEEK > counted.slots:
            break
        first, last = np.searchsorted(counted.places, [begin, begin + SLOTS_OF_WEEK])
        if last > first:
            found.append(_bps(int(values[first:last].sum()) / (last - first)))
    return tuple(found)


def _bps(octets: float) -> float:
    return round(octets * 8 / SLOT_SECONDS, 3)
