"""Who to ask next: lazy greedy selection by expected marginal value (METHODS M7).

The value of a row is p × Σ over the routes it takes of weight × bytes × Π over rows above that
take the route too of (1 − p). Every row can only lower it for those below, so a figure computed
earlier is an upper bound: only the head of the heap has to be computed anew.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowpeer_reports.error_bars import tied
from flowpeer_reports.relations import Flags, Ints

Reals = npt.NDArray[np.float64]
_sum = np.add.reduce  # a matrix product would be spread over threads, and its order with it


@dataclass(frozen=True, slots=True)
class Entries:
    """Networks against atoms: those of network i are `atom[first[i]:first[i + 1]]`, none empty."""

    asns: Ints
    first: Ints
    atom: npt.NDArray[np.int32]
    observed: Flags

    def of(self, network: int) -> slice:
        """The entries of one network."""
        return slice(int(self.first[network]), int(self.first[network + 1]))

    def totals(self, value: Ints) -> Ints:
        """Σ of `value` (by atom) over each network's atoms, in integers."""
        if not len(self.asns):
            return np.zeros(0, dtype=np.int64)
        sums: Ints = np.add.reduceat(value[self.atom], self.first[:-1])
        return sums

    def keep(self, mask: Flags) -> Entries:
        """The entries of the mask; networks left without any are dropped."""
        size = np.diff(self.first)
        held = np.add.reduceat(mask, self.first[:-1], dtype=np.int64) if len(size) else size
        left = held > 0
        return Entries(
            self.asns[left],
            np.concatenate([[0], np.cumsum(held[left])]).astype(np.int64),
            self.atom[mask],
            self.observed[mask],
        )


@dataclass(frozen=True, slots=True)
class Pick:
    """One row: index of the network, its expected bytes when chosen, and whether sampling
    cannot tell it from the row above."""

    network: int
    expected: float
    tied_with_above: bool


def select(
    entries: Entries,
    value: Ints,
    variance: Reals,
    acceptance: Reals,
    inferred_weight: float,
    limit: int | None,
) -> list[Pick]:
    """Picks in the order of selection, at most `limit`, while they add anything.

    `value` (bytes) and `variance` (bytes²) by atom, `acceptance` by network. Equal values: the
    lower ASN first.
    """
    worth = value.astype(np.float64)
    weight = np.where(entries.observed, 1.0, inferred_weight)
    open_ = np.ones(len(value))  # Π (1 − p) of the rows above
    bound = np.zeros(len(entries.asns))
    weighed = weight * worth[entries.atom]
    if len(bound):
        bound = acceptance * np.add.reduceat(weighed, entries.first[:-1])
    # Slightly up: summed in another order than below, it must stay an upper bound.
    heap = [(-float(b) * (1 + 1e-9), i, -1) for i, b in enumerate(bound) if b > 0]
    heapq.heapify(heap)
    picks: list[Pick] = []
    before = open_.copy()  # as `open_` was when the last pick was chosen
    last = np.zeros(len(value))  # that pick's share of each atom
    first = entries.first.tolist()
    while heap and (limit is None or len(picks) < limit):
        head, network, when = heapq.heappop(heap)
        span = slice(first[network], first[network + 1])
        atoms = entries.atom[span]
        if when != len(picks):
            gain = float(acceptance[network] * _sum(weighed[span] * open_.take(atoms)))
            if gain > 0:
                heapq.heappush(heap, (-gain, network, len(picks)))
            continue
        share = acceptance[network] * weight[span]
        same = False
        if picks:
            above = entries.of(picks[-1].network)
            same = _tied(
                last, entries.atom[above], atoms, share * before.take(atoms), worth, variance
            )
            before[entries.atom[above]] = open_[entries.atom[above]]
            last[entries.atom[above]] = 0.0
        picks.append(Pick(network, -head, same))
        last[atoms] = share * open_[atoms]
        open_[atoms] *= 1 - acceptance[network]
    return picks


def _tied(
    first: Reals,
    first_atoms: npt.NDArray[np.int32],
    second_atoms: npt.NDArray[np.int32],
    second_share: Reals,
    worth: Reals,
    variance: Reals,
) -> bool:
    """Tie of two neighbours as they stood when the first was chosen; common parts cancel."""
    shown, common = first.take(first_atoms), first.take(second_atoms)
    difference = _sum(shown * worth.take(first_atoms)) - _sum(
        second_share * worth.take(second_atoms)
    )
    spread = _sum(shown * shown * variance.take(first_atoms)) + _sum(
        second_share * (second_share - 2 * common) * variance.take(second_atoms)
    )
    return tied(float(difference), max(float(spread), 0.0))
