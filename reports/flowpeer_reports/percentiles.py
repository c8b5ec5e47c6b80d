"""The percentile of a row: its own slots, those that count, and what noise does to it (M5, M6)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC
from zlib import crc32

import numpy as np
import numpy.typing as npt

from flowpeer_core import p95
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.series import Series

Reals = npt.NDArray[np.float64]
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


class Counted:
    """The slots of one metro that count, by direction; the same for every row of it (M5)."""

    def __init__(self, inputs: Inputs, series: Series, metro: int, name: str, ways: Sequence[str]):
        self.slots, self._links = series.slots, series.links[metro]
        every = np.ones(self.slots, dtype=np.bool_)
        gone = inputs.uncovered.filter(inputs.uncovered["metro"] == name)["slot"]
        if len(gone):
            start = int(inputs.period_start.astimezone(UTC).timestamp())
            places = gone.dt.epoch("s").to_numpy() - start
            places = places[(places >= 0) & (places < self.slots * SLOT_SECONDS)] // SLOT_SECONDS
            every[places] = False
        missing = inputs.missing_slots.get(name, int((~every).sum()))
        self.quality = "exact"
        if missing * 20 > self.slots:
            self.quality = "refused"
        elif missing * 100 > self.slots:
            self.quality = "estimate"
        self.counts: Flags = every
        self.filled, self.missing = 0, missing
        self.ways = tuple(ways)

    @property
    def n(self) -> int:
        """How many slots count."""
        return self.slots - self.missing

    def line(self, series: Series, key: Hashable, metro: int) -> tuple[Ints, Reals, bool]:
        """Values and variance of the slots that count, the larger direction of each; and whether
        some of it is shaped."""
        values = np.zeros(self.slots, dtype=np.int64)
        variance = np.zeros(self.slots)
        shaped = False
        for way in self.ways:
            found = series.get(key, way, metro)
            total, spread = found.total(), found.variance.sum(axis=0)
            variance = np.where(total > values, spread, variance)
            values = np.maximum(values, total)
            shaped |= found.shaped
        return values, variance, shaped


def percentile(
    counted: Counted,
    values: Ints,
    variance: Reals,
    folded: bool,
    shaped: bool,
    seed: tuple[int, ...],
) -> Percentile:
    """The percentile of one series over the slots that count.

    Args:
        folded: some of it is kept by the hour only.
        seed: of the draws that the correction is made with.
    """
    weeks = _weeks(values, counted.counts)
    about = (counted.n, counted.filled, counted.missing)
    if counted.quality == "refused" or not counted.n:
        return Percentile(None, None, None, *about, weeks, shaped)
    kept, noise = values[counted.counts], variance[counted.counts]
    extra = counted.n - len(kept)
    if extra > 0:  # counted, but outside what was handed over: nothing was heard
        kept, noise = np.append(kept, np.zeros(extra, np.int64)), np.append(noise, np.zeros(extra))
    place = p95.rank(len(kept)) - 1
    measured = int(np.partition(kept, place)[place])
    total, sum_of = int(kept.sum()), float(noise.sum())
    scatter = math.sqrt(len(kept) * sum_of) / total if total else 0.0
    corrected = None
    if NOTICEABLE < scatter <= UNUSABLE:
        corrected = max(0.0, 2 * measured - _noisy(kept, noise, place, seed))
    quality = (
        "noisy"
        if scatter > UNUSABLE
        else "folded"
        if folded
        else "estimate"
        if counted.quality == "estimate"
        else "corrected"
        if corrected is not None
        else "exact"
    )
    return Percentile(
        _bps(measured), None if corrected is None else _bps(corrected), quality, *about, weeks,
        shaped,
    )  # fmt: skip


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


def _weeks(values: Ints, counts: Flags) -> tuple[float, ...]:
    """Averages of the weeks of the period; a shorter one at its end only if it is the only one."""
    found = []
    for begin in range(0, len(values), SLOTS_OF_WEEK):
        part = slice(begin, begin + SLOTS_OF_WEEK)
        n = int(counts[part].sum())
        if n and (begin == 0 or len(values[part]) == SLOTS_OF_WEEK):
            found.append(_bps(int(values[part][counts[part]].sum()) / n))
    return tuple(found)


def _bps(octets: float) -> float:
    return round(octets * 8 / SLOT_SECONDS, 3)
