"""Sums by key: what both ways of making them give, and the figures beside them.

Everything is an integer, so the order of files, batches and threads does not show in a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from flowpeer.rollup.reading import U64, FlowBatch, Ints
from flowpeer_core.native import table as native

ENTRIES = np.dtype(native.CEntry)
"""Sums of a key: `key`, `bytes`, `packets`, `records`, and the variances `low` and `high` in two
halves of 64 bits, the lower one first."""
Entries = npt.NDArray[Any]
RECORDS = np.dtype(native.CRecord)
"""What of a record lies in the hour (`bytes`, `packets`, `records`), and its keys by route
(`route`), as many as `crossings`."""


@dataclass
class HourFigures:
    """Sums beside the rows, for the record and METHODS M13."""

    through_bytes: int = 0
    through_bytes_unscaled: int = 0
    discarded_inbound_bytes: int = 0
    implausible_records: int = 0
    flow_bytes: int = 0  # this hour's parts of the records, each once, scaled
    flow_bytes_unscaled: int = 0
    records: int = 0
    duplicate_bytes: int = 0  # of datagrams that another unit holds too, in no row; as above
    duplicate_bytes_unscaled: int = 0
    duplicate_records: int = 0

    def add(self, other: HourFigures) -> None:
        """Add another batch's figures."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))


class SummedRows(NamedTuple):
    """Sums in the order of their keys, one row a key."""

    key: U64
    bytes: Ints
    packets: Ints
    records: Ints
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @classmethod
    def room(cls, rows: int) -> SummedRows:
        """Room for so many."""
        types = (np.uint64, *(np.int64,) * 3, *(np.float64,) * 2)
        return cls._make(np.empty(rows, type_) for type_ in types)


class SortedSums(NamedTuple):
    """Sums by slot and route, each key once and in order. The sides in their keys are numbers of
    `order`, where the numbers of `Codes.sides` are."""

    entries: Entries
    order: list[int]


class KeyField(NamedTuple):
    """Bits of a key, and where they go in a new one: as they are, or as the rank whose number they
    are."""

    begin: int
    bits: int
    to: int
    ranks: Ints | None = None


class OrderedSums(Protocol):
    """Sums in the order of their keys."""

    def take(self, room: SummedRows, at: int) -> int:
        """Put the next of them, one row a key, into `room` from row `at` on: how many; 0: that
        were all.

        Raises:
            OverflowError: a sum that cannot be traffic.
        """


class KeyedSums(NamedTuple):
    """Sums, and what their new keys are made of."""

    entries: Entries
    fields: Sequence[KeyField]


class Sums(Protocol):
    """Sums of an hour's records by slot and route."""

    def add(self, batch: FlowBatch) -> HourFigures:
        """Add the parts of records that lie in the hour.

        Raises:
            ValueError: a record that ingest lets nobody write.
            OverflowError: a sum that cannot be traffic.
        """

    def each(self, batch: FlowBatch) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Each record by itself instead of sums: an array of `RECORDS` and one of `KINDS`."""

    def kept(self) -> SortedSums | None:
        """The sums so far, to be used before the next call; None where there are more than fit."""


class Ordering(Protocol):
    """How sums are put into the order of new keys."""

    def ordered(
        self, parts: Sequence[KeyedSums], change: Callable[[U64], U64] | None = None
    ) -> OrderedSums:
        """Sums by new keys, which are changed by `change` at last, those of one key summed."""


def exact(values: Ints) -> int:
    """The sum of integers as a Python integer: NumPy's own wraps silently."""
    if values.size and max(int(values.max()), -int(values.min())) < (1 << 62) // values.size:
        return int(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFF_FFFF).sum())
