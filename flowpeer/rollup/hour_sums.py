"""The sums by slot and route of an hour, from many files, and where in them those of a slot or of
some sides lie."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import addressof
from threading import Lock
from typing import NamedTuple

import numpy as np

from flowpeer.rollup.codes import Codes
from flowpeer.rollup.reading import Bools, Ints
from flowpeer.rollup.sums import Entries
from flowpeer_core.native import library
from flowpeer_core.native import table as native
from flowpeer_core.slots import HOUR_SLOTS

GROUP_ROWS = 1 << 18
"""Sums that are put into order at once: of one side all, of several not many more than these."""


class SomeSums(NamedTuple):
    """Sums by slot and route, and the hour's numbers of the sides in their keys."""

    entries: Entries
    sides: Ints


class HourSums:
    """Sums of an hour. Several threads may add some."""

    def __init__(self, codes: Codes) -> None:
        self._codes, self._lock = codes, Lock()
        self._all: list[SomeSums] = []
        self._segments: list[Ints] = []
        self.used: Bools = np.zeros(codes.routes, bool)
        """Which codes of routes are in them."""

    def add(self, some: SomeSums) -> bool:
        """Add sums, which must stay where they are; False: they are not in the order of their keys,
        or have other slots, sides or routes than the hour."""
        _, bits = self._codes.route_fields["side"]
        keys, bounds = self._divided(some.entries, HOUR_SLOTS * len(some.sides))
        slot, side = keys >> bits, keys & ((1 << bits) - 1)
        if bounds[-1] != len(some.entries) or (slot >= HOUR_SLOTS).any():
            return False
        if (side >= len(some.sides)).any() or (some.sides[side] < 0).any():
            return False
        with self._lock:
            number = np.full(len(keys), len(self._all))
            self._all.append(some)
            self._segments.append(
                np.stack([number, slot, some.sides[side], bounds[:-1], bounds[1:]])
            )
        return True

    def _divided(self, entries: Entries, most: int) -> tuple[Ints, Ints]:
        """What stands above the route in the keys, wherever it changes, and where each of it begins
        and the last one ends: before the end of the sums, where they are not in order."""
        begin, bits = self._codes.route_fields["route"]
        core, none = library(), (np.empty(0, np.int64), np.full(1, -1))
        if core is not None:
            keys, bounds = np.empty(most, np.uint64), np.empty(most + 1, np.int64)
            route = native.CField(begin, bits, 0, None, self._codes.routes)
            found = core.flowpeer_segments(
                entries.ctypes.data, len(entries), addressof(route), self.used.ctypes.data,
                most, keys.ctypes.data, bounds.ctypes.data,
            )  # fmt: skip
            return none if found < 0 else (keys[:found].view(np.int64), bounds[: found + 1])
        codes = self._codes.route_part("route", entries["key"])
        if (entries["key"][1:] < entries["key"][:-1]).any() or (codes >= self._codes.routes).any():
            return none
        self.used[codes] = True
        above = (entries["key"] >> np.uint64(begin + bits)).view(np.int64)
        first = np.flatnonzero(np.diff(above, prepend=-1))
        return above[first], np.append(first, len(above))

    def groups(self, rank: Ints, slot: int | None = None) -> Iterator[list[tuple[Entries, Ints]]]:
        """The sums of a slot, or all, those of some sides after those of others: of few enough that
        they can be put into order together. `rank`: by number, what sides go by; beside sums it
        goes by the sides in their keys."""
        if not self._segments:
            return
        with self._lock:
            self._segments = [np.concatenate(self._segments, axis=1)]
            (segments,) = self._segments
        if slot is not None:
            segments = segments[:, segments[1] == slot]
        number, _, side, first, last = segments
        ranks = [rank.take(some.sides, mode="clip") for some in self._all]  # −2 is in no key
        place = rank[side]
        rows = np.zeros(len(rank), np.int64)
        np.add.at(rows, place, last - first)
        group = ((np.cumsum(rows) - rows) // GROUP_ROWS)[place]
        for n in np.unique(group):
            at = np.flatnonzero(group == n)
            # Segments that follow one another are taken as one.
            begins = np.ones(len(at), bool)
            begins[1:] = (number[at[1:]] != number[at[:-1]]) | (first[at[1:]] != last[at[:-1]])
            ends = np.append(begins[1:], True)
            yield [
                (self._all[file].entries[begin:end], ranks[file])
                for file, begin, end in zip(
                    number[at[begins]].tolist(), first[at[begins]].tolist(),
                    last[at[ends]].tolist(), strict=True,
                )
            ]  # fmt: skip
