"""The AS graph: who is whose provider, and customer cones.

Cones are recursive over provider → customer links (siblings count as one network): an upper
bound of what a network announces to its peers (METHODS M7).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.integer[Any]]
Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_SHIFT = 32
MAX_ASN = 2**32 - 1


class AsGraph:
    """Relationships as sorted arrays. `relationships`: asn, other_asn, relationship."""

    def __init__(self, relationships: pl.DataFrame) -> None:
        rows = relationships.select(
            pl.col("asn").cast(pl.Int64),
            pl.col("other_asn").cast(pl.Int64),
            pl.col("relationship").cast(pl.Int64),
        ).drop_nulls()
        rows = rows.filter(
            pl.col("asn").is_between(1, MAX_ASN),
            pl.col("other_asn").is_between(1, MAX_ASN),
            pl.col("asn") != pl.col("other_asn"),
        )
        left, right, kind = (rows[c].to_numpy() for c in ("asn", "other_asn", "relationship"))
        down, sibling = kind == -1, kind == 1
        # Edges provider → customer, and both ways between siblings.
        self._upper = np.concatenate([left[down], left[sibling], right[sibling]])
        self._lower = np.concatenate([right[down], right[sibling], left[sibling]])
        self._keys = np.unique(self._upper << _SHIFT | self._lower)
        self._provides = np.unique(left[down] << _SHIFT | right[down])
        self._peers = _both_ways(left[kind == 0], right[kind == 0])
        self._tied = _both_ways(left[sibling], right[sibling])
        self._siblings = (left[sibling], right[sibling])
        self.nodes: Ints = np.unique(np.concatenate([self._upper, self._lower]))

    def downhill(self, upper: Ints, lower: Ints) -> Flags:
        """For each pair: is `upper` a known provider or sibling of `lower`?"""
        return _among(self._keys, upper, lower)

    def upward(self, above: Ints, below: Ints) -> Flags:
        """For each pair: is `above` a provider or a peer of `below`, so that it is announced no
        more than any other peer?"""
        return _among(self._provides, above, below) | _among(self._peers, above, below)

    def tied(self, one: Ints, other: Ints) -> Flags:
        """For each pair: are they siblings?"""
        return _among(self._tied, one, other)

    def above(self, asns: Ints) -> tuple[Ints, Ints]:
        """Pairs (index into `asns`, ancestor): every network whose cone holds that ASN."""
        return self._closure(asns, self._lower, self._upper)

    def cone(self, asns: Iterable[int]) -> set[int]:
        """The networks in the customer cones of `asns`, themselves included."""
        start = np.array(sorted(set(asns)), dtype=np.int64)
        _, below = self._closure(start, self._upper, self._lower)
        return {int(a) for a in start} | {int(a) for a in np.unique(below)}

    def siblings(self, asns: Iterable[int]) -> set[int]:
        """`asns` and everything tied to them by sibling links."""
        found = set(asns)
        pairs = list(zip(*(side.tolist() for side in self._siblings), strict=True))
        while True:
            more = {b for a, b in pairs if a in found} | {a for a, b in pairs if b in found}
            if more <= found:
                return found
            found |= more

    def _closure(self, asns: Ints, source: Ints, target: Ints) -> tuple[Ints, Ints]:
        """All that can be reached from each of `asns` along edges source → target."""
        empty = np.zeros(0, dtype=np.int64)
        count = len(self.nodes)
        if not count or not len(asns):
            return empty, empty
        order = np.argsort(source, kind="stable")
        source_node = np.searchsorted(self.nodes, source[order])
        target_node = np.searchsorted(self.nodes, target[order])
        first = np.searchsorted(source_node, np.arange(count + 1))

        node = np.minimum(np.searchsorted(self.nodes, asns), count - 1)
        index = np.flatnonzero(self.nodes[node] == asns)
        frontier = index * count + node[index]
        seen = frontier = _distinct(frontier)
        while len(frontier):
            index, node = frontier // count, frontier % count
            size = first[node + 1] - first[node]
            edge = np.repeat(first[node] - np.cumsum(size) + size, size) + np.arange(size.sum())
            reached = _distinct(np.repeat(index * count, size) + target_node[edge])
            at = np.minimum(np.searchsorted(seen, reached), len(seen) - 1)
            frontier = reached[seen[at] != reached]
            seen = np.sort(np.concatenate([seen, frontier]), kind="stable")
        index, node = seen // count, seen % count
        reached_asn = self.nodes[node]
        other = reached_asn != asns[index]
        return index[other], reached_asn[other]


def _both_ways(left: Ints, right: Ints) -> Ints:
    return np.unique(np.concatenate([left << _SHIFT | right, right << _SHIFT | left]))


def _among(keys: Ints, left: Ints, right: Ints) -> Flags:
    if not len(keys):
        return np.zeros(len(left), dtype=np.bool_)
    wanted = left << _SHIFT | right
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Flags = keys[at] == wanted
    return found


def _distinct(values: Ints) -> Ints:
    """Sorted and distinct; several times faster on large arrays than hashing them."""
    ordered = np.sort(values)
    once = np.ones(len(ordered), dtype=np.bool_)
    once[1:] = ordered[1:] != ordered[:-1]
    distinct: Ints = ordered[once]
    return distinct
