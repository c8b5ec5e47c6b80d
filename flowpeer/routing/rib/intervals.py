"""Longest-prefix match as sorted disjoint intervals, spread over tables for bulk work.

Nested prefixes are flattened: the address space is cut at every start and end of a prefix, and
each piece belongs to the longest prefix over it. Filling the pieces in the order of the lengths
leaves the longest on top; prefixes of one length never overlap, so each length is one assignment.

A search in a full IPv4 table misses the cache some twenty times an address. So for bulk work the
intervals are spread once over a table of the 2^24 blocks of 256 addresses, with a row of 256 of
its own for each block that is cut inside: one or two gathers an address. IPv6 has `strides`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from flowpeer.routing.prefix_columns import U64
from flowpeer.routing.rib.strides import Strides

I32 = npt.NDArray[np.int32]
CHUNK = 1 << 15
"""Addresses matched at a time: temporaries stay in the cache."""
SPREAD_FROM_INTERVALS = 1 << 12
SPREAD_FROM_ADDRESSES = 1 << 17
"""Spreading takes some 50 ms and 64 MiB: worth it for many addresses on many intervals."""
MAX_ROWS = 1 << 17
"""Blocks cut inside, 1 KiB each: 128 MiB. Full tables have a few thousand."""


def _owners(
    first: npt.NDArray[np.int64], after: npt.NDArray[np.int64], lengths: Any, pieces: int
) -> I32:
    """Owner of each piece: the longest of the prefixes i with first[i] ≤ piece < after[i]."""
    owner = np.full(pieces, -1, dtype=np.int32)
    order = np.argsort(lengths, kind="stable")
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    for group in np.split(order, cuts):
        if not len(group):
            continue
        widths = after[group] - first[group]
        total = int(widths.sum())
        shift = np.repeat(first[group] - (np.cumsum(widths) - widths), widths)
        owner[np.arange(total) + shift] = np.repeat(group.astype(np.int32), widths)
    return owner


def _before(starts: npt.NDArray[Any], at: npt.NDArray[Any]) -> I32:
    """Number of the last of sorted `starts` at or before each element of `at`, then of the last."""
    found = np.searchsorted(starts, at, side="right") - 1
    return np.append(found, len(starts) - 1).astype(np.int32)


@dataclass
class Index4:
    """IPv4 routes as intervals: `owner[i]` holds from `start[i]` to the next; `start[0]` is 0."""

    start: npt.NDArray[np.uint32]
    owner: I32
    _asked: int = 0
    _blocks: I32 | None = field(default=None, repr=False)
    _rows: I32 | None = field(default=None, repr=False)

    @classmethod
    def build(cls, network: npt.NDArray[np.uint32], length: npt.NDArray[np.integer[Any]]) -> Index4:
        """From networks (host bits zero) and lengths 0…32, all different."""
        begin = network.astype(np.uint64)
        end = begin + (np.uint64(1) << (32 - length.astype(np.int64)).astype(np.uint64))
        keys, place = np.unique(np.concatenate([[np.uint64(0)], begin, end]), return_inverse=True)
        n = len(begin)
        owner = _owners(place[1 : n + 1], place[n + 1 :], length, len(keys))
        inside = keys < np.uint64(1 << 32)
        keys, owner = keys[inside], owner[inside]
        change = np.concatenate([[True], owner[1:] != owner[:-1]])
        return cls(keys[change].astype(np.uint32), owner[change])

    @cached_property
    def by_block(self) -> I32:
        """For each block of addresses the interval that holds where it starts, and at the end the
        last one: between two of them lie few intervals to be searched. There are 2^16 blocks, or
        2^20 in a full table."""
        bits = 20 if len(self.start) >= 1 << 16 else 16
        starts = np.arange(1 << bits, dtype=np.uint32) << np.uint32(32 - bits)
        return _before(self.start, starts)

    def match(self, address: npt.NDArray[np.uint32]) -> I32:
        """Owner of each address; −1 for none."""
        self._asked += len(address)
        if self._blocks is None and (
            len(self.start) >= SPREAD_FROM_INTERVALS and self._asked >= SPREAD_FROM_ADDRESSES
        ):
            self.spread()
        if self._blocks is None or self._rows is None:
            return self.owner[np.searchsorted(self.start, address, side="right") - 1]
        out = np.empty(len(address), dtype=np.int32)
        blocks, rows = self._blocks, self._rows
        for at in range(0, len(address), CHUNK):
            part = address[at : at + CHUNK]
            found = blocks.take(part >> np.uint32(8), out=out[at : at + CHUNK], mode="wrap")
            cut = found < -1
            if cut.any():
                row = (-2 - found[cut]).astype(np.int64)
                found[cut] = rows[row << 8 | (part[cut] & np.uint32(255)).astype(np.int64)]
        return out

    def spread(self) -> None:
        """Make the table of blocks now. Does nothing if too many blocks are cut inside."""
        cut = np.unique(self.start[self.start & np.uint32(255) != 0] >> np.uint32(8))
        if len(cut) > MAX_ROWS:
            self._asked = -(1 << 62)  # do not try again
            return
        first = (self.start.astype(np.int64) + 255) >> 8
        widths = np.diff(first, append=1 << 24)
        blocks = np.repeat(self.owner, widths)
        addresses = (cut[:, None].astype(np.uint32) << np.uint32(8)) + np.arange(
            256, dtype=np.uint32
        )
        rows = self.owner[np.searchsorted(self.start, addresses.ravel(), side="right") - 1]
        blocks[cut] = -2 - np.arange(len(cut), dtype=np.int32)
        self._blocks, self._rows = blocks, rows


@dataclass
class Index6:
    """IPv6 routes as intervals, grouped by the upper half of their starts.

    `hi` holds the distinct upper halves, sorted, hi[0] = 0; the pieces of group g are
    `first[g]` … `first[g + 1]`, with lower halves `lo` and owners `owner`; `last[g]` is the owner
    of the last of them, which holds up to the next group. `cut[g]` says that the group has more
    than the one piece that starts at lower half 0: only then the lower half matters.
    """

    hi: U64
    last: I32
    cut: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    lo: U64
    owner: I32
    _asked: int = 0
    _strides: Strides | None = field(default=None, repr=False)

    @classmethod
    def build(cls, hi: U64, lo: U64, length: npt.NDArray[np.integer[Any]]) -> Index6:
        """From the halves of networks (host bits zero) and lengths 0…128, all different."""
        n = len(hi)
        bits = 128 - length.astype(np.int64)
        one, zero = np.uint64(1), np.uint64(0)
        low = np.where(bits < 64, one << np.minimum(bits, 63).astype(np.uint64), zero)
        high = np.where(
            (bits >= 64) & (bits < 128), one << np.clip(bits - 64, 0, 63).astype(np.uint64), zero
        )
        end_lo = lo + low
        carry = (end_lo < lo).astype(np.uint64)
        end_hi = hi + high + carry
        past = (bits == 128) | ((end_hi == 0) & (end_lo == 0) & (n > 0))
        key_hi = np.concatenate([[zero], hi, end_hi])
        key_lo = np.concatenate([[zero], lo, end_lo])
        key_past = np.concatenate([[False], np.zeros(n, dtype=bool), past])
        order = np.lexsort((key_lo, key_hi, key_past))
        s_hi, s_lo, s_past = key_hi[order], key_lo[order], key_past[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (s_hi[1:] != s_hi[:-1]) | (s_lo[1:] != s_lo[:-1]) | (s_past[1:] != s_past[:-1])
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.cumsum(new) - 1
        owner = _owners(place[1 : n + 1], place[n + 1 :], length, int(new.sum()))
        b_hi, b_lo, inside = s_hi[new], s_lo[new], ~s_past[new]
        b_hi, b_lo, owner = b_hi[inside], b_lo[inside], owner[inside]
        change = np.concatenate([[True], owner[1:] != owner[:-1]])
        b_hi, b_lo, owner = b_hi[change], b_lo[change], owner[change]
        groups, first, counts = np.unique(b_hi, return_index=True, return_counts=True)
        cut = (counts > 1) | (b_lo[first] != 0)
        bounds = np.append(first, len(b_hi)).astype(np.int64)
        return cls(groups, owner[bounds[1:] - 1], cut, bounds, b_lo, owner)

    @cached_property
    def by_block(self) -> I32:
        """As of `Index4`, for 2^16 blocks: groups instead of intervals."""
        return _before(self.hi, np.arange(1 << 16, dtype=np.uint64) << np.uint64(48))

    def match(self, hi: U64, lo: U64) -> I32:
        """Owner of each address; −1 for none."""
        self._asked += len(hi)
        if self._strides is None and (
            len(self.hi) >= SPREAD_FROM_INTERVALS and self._asked >= SPREAD_FROM_ADDRESSES
        ):
            self.spread()
        out = np.empty(len(hi), dtype=np.int32)
        for at in range(0, len(hi), CHUNK):
            part, found = hi[at : at + CHUNK], out[at : at + CHUNK]
            if self._strides is not None:
                inner = self._strides.match(part, found)
                group = (-2 - found[inner]).astype(np.int64)
            else:
                every = np.searchsorted(self.hi, part, side="right") - 1
                found[:] = self.last[every]
                inner = np.flatnonzero(self.cut[every])
                inner = inner[self.hi[every[inner]] == part[inner]]
                group = every[inner]
            if len(inner):
                found[inner] = self._inside(group, lo[at : at + CHUNK][inner])
        return out

    def spread(self) -> None:
        """Make the tables of strides now. Does nothing if they would be too large."""
        hi = np.repeat(self.hi, np.diff(self.first))
        self._strides = Strides.build(hi, self.lo, self.owner, self.hi, self.cut)
        if self._strides is None:
            self._asked = -(1 << 62)  # do not try again

    def _inside(self, group: npt.NDArray[np.int64], lo: U64) -> I32:
        """Owner at lower half `lo` of a group whose upper half is the address's own."""
        left, right = self.first[group].copy(), self.first[group + 1].copy()
        while True:  # bisection, all addresses at once: first piece that starts above lo
            open_ = left < right
            if not open_.any():
                break
            middle = (left + right) >> 1
            below = open_ & (self.lo[np.minimum(middle, len(self.lo) - 1)] <= lo)
            left = np.where(below, middle + 1, left)
            right = np.where(open_ & ~below, middle, right)
        return self.owner[left - 1]
