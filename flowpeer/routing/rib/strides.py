"""Intervals over 64-bit keys spread over tables of several strides, for bulk IPv6 lookups.

A binary search in some 300,000 intervals mispredicts a branch at almost every step. The upper half
of an IPv6 address is instead walked by fixed strides of bits: an entry of a table is the answer,
or leads to a table of the next stride where the block is cut inside. Full tables have routes to
/48 and few beyond, so most addresses are answered after three or four gathers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowpeer.routing.prefix_columns import U64

I32 = npt.NDArray[np.int32]
ENDS = (16, 32, 40, 48, 56, 64)
"""Bits consumed after each stride."""
MAX_ENTRIES = 1 << 26
"""256 MiB of entries in all; today's full tables need 14 million (56 MB)."""


@dataclass(frozen=True)
class Strides:
    """One table of entries for each stride: node × 2^bits.

    An entry ≥ −1 is an owner; one ≤ −2 is node −2 − entry of the next stride, and after the last
    stride −2 − g for the group g of the intervals, whose lower halves decide.
    """

    tables: tuple[I32, ...]

    @classmethod
    def build(cls, hi: U64, lo: U64, owner: I32, group_hi: U64, cut: Any) -> Strides | None:
        """From the sorted starts (hi, lo) of intervals and their owners, starts[0] = (0, 0).

        Args:
            group_hi, cut: distinct values of hi, and which of them the lower half decides.

        Returns:
            None where the tables would be larger than `MAX_ENTRIES`.
        """
        tables: list[I32] = []
        nodes = np.zeros(1, dtype=np.uint64)  # prefixes of the nodes, in the bits consumed
        begin = 0
        total = 0
        for end in ENDS:
            width = end - begin
            total += len(nodes) << width
            if total > MAX_ENTRIES:
                return None
            shift = np.uint64(64 - end)
            low = np.uint64((1 << (64 - end)) - 1)
            # The first entry of this stride at or after each start; the interval holds from there.
            after = (hi >> shift) + ((hi & low != 0) | (lo != 0)).astype(np.uint64)
            place = _place(after, nodes, width)
            place[after < hi >> shift] = len(nodes) << width  # past the end of the space
            entries = np.repeat(owner, np.diff(place, append=len(nodes) << width))
            if end < 64:
                inner = np.unique(group_hi[((group_hi & low) != 0) | cut] >> shift)
                numbers = np.arange(len(inner), dtype=np.int32)
            else:
                numbers = np.flatnonzero(cut).astype(np.int32)
                inner = group_hi[numbers]
            entries[_place(inner, nodes, width)] = -2 - numbers
            nodes = inner
            tables.append(entries)
            begin = end
        return cls(tuple(tables))

    def match(self, hi: U64, out: I32) -> npt.NDArray[np.int64]:
        """Fill `out` with owners; returns the places whose entry is −2 − group instead."""
        tables = self.tables
        tables[0].take((hi >> np.uint64(64 - ENDS[0])).view(np.int64), out=out, mode="wrap")
        open_ = np.flatnonzero(out < -1)
        begin = ENDS[0]
        key, entry = hi[open_], out[open_]
        for table, end in zip(tables[1:], ENDS[1:], strict=True):
            if not len(open_):
                break
            width = end - begin
            bits = (key >> np.uint64(64 - end)).view(np.int64) & ((1 << width) - 1)
            entry = table.take((-2 - entry).astype(np.int64) << width | bits, mode="wrap")
            out[open_] = entry
            more = np.flatnonzero(entry < -1)
            open_, key, entry = open_[more], key[more], entry[more]
            begin = end
        return open_


def _place(prefixes: U64, nodes: U64, width: int) -> npt.NDArray[np.int64]:
    """Number of the first entry at or after each prefix, in a table of sorted `nodes`."""
    node = prefixes >> np.uint64(width)
    rank = np.searchsorted(nodes, node)
    exact = nodes[np.minimum(rank, len(nodes) - 1)] == node if len(nodes) else node != node
    within = (prefixes & np.uint64((1 << width) - 1)).astype(np.int64)
    return (rank.astype(np.int64) << width) + np.where(exact, within, 0)
