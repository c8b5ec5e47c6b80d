"""Sums by key: partial ones of a batch, and folding them together.

Everything is an integer, so the order of files, batches and threads does not show in a sum. A
variance can exceed 63 bits and is kept in two halves: hi × 2^40 + lo.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer.rollup.reading import Bools
from flowpeer.rollup.slots import Ints

HALF_BITS = 40
SUMS = ("bytes", "packets", "records", "low_hi", "low_lo", "high_hi", "high_lo")
FOLD_ROWS = 500_000
"""Rows of a part that are kept before they are folded."""
HELD_ROWS = 8_000_000
"""Rows kept in memory, 64 bytes each."""
_SAFE = float(1 << 61)


@dataclass
class Figures:
    """Sums beside the rows, for the record and METHODS M13."""

    through_bytes: int = 0
    through_bytes_unscaled: int = 0
    discarded_inbound_bytes: int = 0
    implausible_records: int = 0
    flow_bytes: int = 0  # this hour's parts of the records, each once, scaled
    flow_bytes_unscaled: int = 0
    records: int = 0

    def add(self, other: Figures) -> None:
        """Add another batch's figures."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))


def exact(values: Ints, where: Bools | None = None) -> int:
    """The sum of values ≥ 0 as a Python integer: numpy's own wraps."""
    if where is not None and not where.all():
        values = values[where]
    if not values.size:
        return 0
    if int(values.max()) * values.size < 1 << 62:
        return int(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def fold(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a key; rows in no order."""
    return frame.lazy().group_by("key").agg(pl.col(SUMS).sum()).collect()


def no_sums() -> pl.DataFrame:
    """No row."""
    return pl.DataFrame(schema={"key": pl.UInt64, **dict.fromkeys(SUMS, pl.Int64)})


def summed(parts: pl.DataFrame) -> pl.DataFrame:
    """Sums by key of parts with variances `low` and `high`, float but whole numbers."""
    variances = ("low", "high")
    fits = parts.height == 0 or max(float(parts[name].sum()) for name in variances) < _SAFE
    if not fits:
        return fold(parts.with_columns(*(h for name in variances for h in _float_halves(name))))
    # All together they fit into 63 bits, so that summing comes before halving.
    whole = (
        parts.lazy()
        .with_columns(pl.col(variances).cast(pl.Int64))
        .group_by("key")
        .agg(pl.col("bytes", "packets", "records", *variances).sum())
    )
    mask = (1 << HALF_BITS) - 1
    return whole.select(
        "key", "bytes", "packets", "records",
        low_hi=pl.col("low") // (mask + 1), low_lo=pl.col("low") & mask,
        high_hi=pl.col("high") // (mask + 1), high_lo=pl.col("high") & mask,
    ).collect()  # fmt: skip


def _float_halves(name: str) -> tuple[pl.Expr, pl.Expr]:
    half = float(1 << HALF_BITS)
    upper = (pl.col(name) / half).floor()
    return (
        upper.cast(pl.Int64).alias(f"{name}_hi"),
        (pl.col(name) - upper * half).cast(pl.Int64).alias(f"{name}_lo"),
    )


class Sums:
    """Sums by key in parts that are folded apart: of one slot, or of some sides.

    Keys of different parts never meet, so each part is folded while it is small. What does not fit
    into `HELD_ROWS` waits on disk, so that memory does not depend on the size of the hour.
    """

    def __init__(self, parts: int, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._waiting: list[list[pl.DataFrame]] = [[] for _ in range(parts)]
        self._folded = [0] * parts
        self._rows = [0] * parts
        self._spilled: list[list[Path]] = [[] for _ in range(parts)]

    def add(self, frame: pl.DataFrame, part: npt.NDArray[np.integer[Any]]) -> None:
        """Add rows; `part` is the part of each of them."""
        present = np.flatnonzero(np.bincount(part, minlength=1))
        for n in present.tolist():
            mine = frame if present.size == 1 else frame.filter(pl.Series(part == n))
            self._waiting[n].append(mine)
            self._rows[n] += mine.height
            if self._rows[n] > FOLD_ROWS + 2 * self._folded[n]:  # each row is folded a few times
                self._fold(n)
        if sum(self._rows) > HELD_ROWS:
            self._make_room()

    def _fold(self, n: int) -> None:
        folded = fold(pl.concat(self._waiting[n]))
        self._waiting[n] = [folded]
        self._folded[n] = self._rows[n] = folded.height

    def _make_room(self) -> None:
        for n, rows in enumerate(self._rows):
            if rows > self._folded[n]:
                self._fold(n)
        if sum(self._rows) <= HELD_ROWS // 2:
            return
        for n, rows in enumerate(self._rows):
            if rows:
                path = self._folder / f"{os.getpid()}-{self._name}-{n}-{len(self._spilled[n])}"
                self._waiting[n][0].write_ipc(path)
                self._spilled[n].append(path)
                self._waiting[n], self._folded[n], self._rows[n] = [], 0, 0

    def take(self, n: int) -> pl.DataFrame:
        """The sums of one part, one row a key, which are then no longer kept."""
        frames = [pl.read_ipc(path) for path in self._spilled[n]]
        frames += self._waiting[n]
        self._waiting[n], self._folded[n], self._rows[n] = [], 0, 0
        for path in self._spilled[n]:
            path.unlink()
        self._spilled[n] = []
        if not frames:
            return no_sums()
        return frames[0] if len(frames) == 1 else fold(pl.concat(frames))

    def discard(self) -> None:
        """Remove what waits on disk."""
        for path in (path for paths in self._spilled for path in paths):
            path.unlink(missing_ok=True)
