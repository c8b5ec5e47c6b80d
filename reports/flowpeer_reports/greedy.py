"""Whom to ask next: lazy greedy selection by expected marginal value (METHODS M7).

A party that says yes with probability p takes a route that it is known for with weight w. The
value of a row is Σ over its routes of p·w × bytes × Π over the rows above that take the route too
of (1 − p·w): a guess takes from those below only as much as it is worth. That is the increase of an
expected coverage, which is monotone and submodular: greedy reaches 1 − 1/e of the best at least.
Every row can only lower the value of those below, so a figure computed earlier is an upper bound,
and only the head of the heap has to be computed again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from flowpeer_reports.error_bars import tied
from flowpeer_reports.offload import Kinds
from flowpeer_reports.relations import Flags, Ints, Positions, Reals

Number = TypeVar("Number", np.int64, np.float64)
ENTRIES_AT_ONCE = 1 << 20
_sum = np.add.reduce  # a matrix product would be spread over threads, and its order with it


@dataclass(frozen=True, slots=True)
class Entries:
    """Parties against atoms: those of party i are `atom[first[i]:first[i + 1]]`, none empty."""

    asns: Ints
    first: Ints
    atom: Positions
    kind: Kinds

    def of(self, party: int) -> slice:
        """The entries of one party."""
        return slice(int(self.first[party]), int(self.first[party + 1]))

    def spread(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A value of each party at each of its entries."""
        return np.repeat(values, np.diff(self.first))

    def batches(self) -> Iterator[tuple[slice, slice]]:
        """Parties and their entries, some ENTRIES_AT_ONCE of these at a time."""
        at = 0
        while at < len(self.asns):
            end = int(np.searchsorted(self.first, self.first[at] + ENTRIES_AT_ONCE, "right")) - 1
            end = max(at + 1, end)
            yield slice(at, end), slice(int(self.first[at]), int(self.first[end]))
            at = end

    def totals(
        self, value: npt.NDArray[Number], share: npt.NDArray[Number] | None = None
    ) -> npt.NDArray[Number]:
        """Σ of `value` (by atom) over each party's atoms, times `share` (by entry)."""
        sums = np.zeros(len(self.asns), dtype=value.dtype)
        for parties, entries in self.batches():
            each = value[self.atom[entries]]
            if share is not None:
                each *= share[entries]
            sums[parties] = np.add.reduceat(each, self.first[parties] - entries.start)
        return sums

    def sums(self, value: Reals) -> Reals:
        """Σ of `value` (by entry) over each party's entries."""
        if not len(self.asns):
            return np.zeros(0)
        sums: Reals = np.add.reduceat(value, self.first[:-1])
        return sums

    def keep(self, mask: Flags) -> Entries:
        """The entries of the mask; parties left without any are dropped."""
        size = np.diff(self.first)
        held = np.add.reduceat(mask, self.first[:-1], dtype=np.int64) if len(size) else size
        remaining = held > 0
        return Entries(
            self.asns[remaining],
            np.concatenate([[0], np.cumsum(held[remaining])]).astype(np.int64),
            self.atom[mask],
            self.kind[mask],
        )


@dataclass(frozen=True, slots=True)
class Pick:
    """One row: index of the party, what it is expected to bring, and whether sampling cannot tell
    it from the row above."""

    party: int
    gain: float
    tied_with_above: bool


class Selection:
    """The search over one universe; `picks` yields the rows one by one and keeps `open`."""

    def __init__(
        self, entries: Entries, share: Reals, takes: Flags, value: Reals, variance: Reals
    ) -> None:
        """
        Args:
            share: p·w of each entry, 0 to 1.
            takes: by party: whether it takes from the rows below (policy *no* does not).
            value, variance: by atom, bytes and bytes².
        """
        self.entries, self.share, self.value = entries, share, value
        self.open: Reals = np.ones(len(value))
        """By atom: Π (1 − p·w) of the rows picked so far."""
        self._takes, self._variance = takes, variance

    def expected(self, party: int, value: Reals) -> float:
        """Σ of another `value` (by atom) that the party would bring next."""
        span = self.entries.of(party)
        atoms = self.entries.atom[span]
        return float(_sum(self.share[span] * value.take(atoms) * self.open.take(atoms)))

    def picks(self, ahead: Sequence[int] = ()) -> Iterator[Pick]:
        """Rows in the order of selection while they add anything; equal values: lower ASN first.

        `open` is changed for a row when the next one is asked for. `ahead`: parties that stand
        above all others, in an order that was found otherwise.
        """
        for party in ahead:
            span = self.entries.of(party)
            atoms = self.entries.atom[span]
            gain = self.expected(party, self.value)
            yield Pick(party, gain, False)
            if self._takes[party]:
                self.open[atoms] *= 1 - self.share[span]
        done = set(ahead)
        bound = self.entries.totals(self.value, self.share)
        # Slightly up: summed in another order than below, it must stay an upper bound.
        heap = [
            (-float(b) * (1 + 1e-9), i, -1) for i, b in enumerate(bound) if b > 0 and i not in done
        ]
        heapq.heapify(heap)
        before = self.open.copy()  # as `open` was when the last pick was chosen
        last = np.zeros(len(self.value))  # that pick's share of each atom
        first, entry_atoms = self.entries.first.tolist(), self.entries.atom
        count, above = 0, -1
        while heap:
            head, party, when = heapq.heappop(heap)
            span = slice(first[party], first[party + 1])
            atoms = entry_atoms[span]
            if when != count:
                gain = self.expected(party, self.value)
                if gain > 0:
                    heapq.heappush(heap, (-gain, party, count))
                continue
            share = self.share[span]
            same = False
            if above >= 0:
                old = entry_atoms[first[above] : first[above + 1]]
                same = self._tied(last, old, atoms, share * before.take(atoms))
                before[old] = self.open[old]
                last[old] = 0.0
            last[atoms] = share * self.open[atoms]
            yield Pick(party, -head, same)
            if self._takes[party]:
                self.open[atoms] *= 1 - share
            count, above = count + 1, party

    def _tied(
        self,
        first: Reals,
        first_atoms: Positions,
        second_atoms: Positions,
        second_share: Reals,
    ) -> bool:
        """Tie of two neighbours as they stood when the first was chosen; common parts cancel."""
        worth, variance = self.value, self._variance
        shown, common = first.take(first_atoms), first.take(second_atoms)
        difference = _sum(shown * worth.take(first_atoms)) - _sum(
            second_share * worth.take(second_atoms)
        )
        spread = _sum(shown * shown * variance.take(first_atoms)) + _sum(
            second_share * (second_share - 2 * common) * variance.take(second_atoms)
        )
        return tied(float(difference), max(float(spread), 0.0))
