"""The 95th percentile of sparse series, nearest rank (METHODS M5)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from flowpeer_core import p95

Ints = npt.NDArray[np.int64]


def p95_of(values: Ints, n: int) -> int:
    """The p95 of non-negative values and as many zeros as make `n` of them; 0 where n is 0."""
    if n == 0:
        return 0
    place = p95.rank(n) - (n - len(values)) - 1
    return int(np.sort(values)[place]) if place >= 0 else 0


def p95_sparse(series: Iterable[tuple[Ints, Ints]], n: Ints) -> Ints:
    """The p95 of each group's non-negative values, to which zeros are added until there are n.

    `series` gives (group, value) in any order, some at a time; groups are places in `n`, and more
    values than n count as they are. Eight octets a value are held: one sort of integers, group
    above and value below, orders all groups at once.

    Raises:
        OverflowError: a value too large to stand beside the number of its group in 63 bits.
    """
    bits = 63 - int(n.size).bit_length()
    packed = np.concatenate(
        [np.empty(0, np.int64), *(_packed(group, value, bits) for group, value in series)]
    )
    packed.sort()
    edges = np.searchsorted(packed, np.arange(n.size + 1) << bits)
    held = np.diff(edges)
    whole = np.maximum(n, held)
    # Rank among all of them, less the zeros that sort before the values held.
    place = p95.rank(whole) - (whole - held) - 1
    out = np.zeros(n.size, np.int64)
    some = place >= 0
    out[some] = packed[edges[:-1][some] + place[some]] & ((1 << bits) - 1)
    return out


def _packed(group: Ints, value: Ints, bits: int) -> Ints:
    if value.size and (value.min() < 0 or value.max() >= 1 << bits):
        raise OverflowError(f"a slot with {value.max():,} bytes: beyond 2^{bits}")
    return group << bits | value
