"""Sibling networks as one party: who is asked together, and in whose name (METHODS M7).

A party is the transitive closure of sibling links and of one PeeringDB organisation. It goes by
the ASN that is asked: of its members with a PeeringDB entry (else all) the one with most bytes of
its own, then the lowest number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from flowpeer_reports.inputs import pdb
from flowpeer_reports.relations import MAX_ASN, Ints


class Parties:
    """ASN → the ASN that its party goes by. A network without siblings is a party of its own."""

    def __init__(self, groups: Iterable[tuple[int, tuple[int, ...]]] = ()) -> None:
        """`groups`: (ASN to ask, members in rising order), of parties with two members or more."""
        self._members = dict(groups)
        pairs = sorted((m, asn) for asn, members in self._members.items() for m in members)
        self._member = np.array([m for m, _ in pairs], dtype=np.int64)
        self._asked = np.array([a for _, a in pairs], dtype=np.int64)
        self._of = dict(pairs)

    def of(self, asn: int) -> int:
        """The ASN that the party of `asn` goes by."""
        return self._of.get(asn, asn)

    def members(self, asn: int) -> tuple[int, ...]:
        """All networks of the party that goes by `asn`, rising."""
        return self._members.get(asn, (asn,))

    def named(self, asns: Ints) -> Ints:
        """`of`, for an array."""
        if not len(self._member):
            return asns
        at = np.minimum(np.searchsorted(self._member, asns), len(self._member) - 1)
        found: Ints = np.where(self._member[at] == asns, self._asked[at], asns)
        return found


NOBODY_TOGETHER = Parties()
"""Every network is a party of its own."""


def parties(
    relationships: pl.DataFrame,
    peeringdb: Mapping[str, pl.DataFrame],
    own_bytes: Mapping[int, int],
    groups: Iterable[Sequence[int]] = (),
    apart: bool = False,
) -> Parties:
    """The parties of everybody; `own_bytes` by ASN decides in whose name each is asked.

    Args:
        groups: networks that the operator says are siblings.
        apart: every network is a party of its own.
    """
    if apart:
        return NOBODY_TOGETHER
    net = pdb(peeringdb, "net", {"asn": pl.Int64, "org_id": pl.Int64}).drop_nulls("asn")
    links = relationships.filter(pl.col("relationship") == 1).select(
        pl.col("asn").cast(pl.Int64), pl.col("other_asn").cast(pl.Int64)
    )
    parent: dict[int, int] = {}

    def root(asn: int) -> int:
        while (above := parent.setdefault(asn, asn)) != asn:
            parent[asn] = parent[above]
            asn = above
        return asn

    first_of: dict[int, int] = {}
    owned = net.drop_nulls("org_id").sort("org_id", "asn")
    pairs = [(first_of.setdefault(org, asn), asn) for asn, org in owned.iter_rows()]
    pairs += [(group[0], asn) for group in groups if group for asn in group[1:]]
    for left, right in (*links.drop_nulls().iter_rows(), *pairs):
        if 0 < left <= MAX_ASN and 0 < right <= MAX_ASN:
            one, other = sorted((root(left), root(right)))
            parent[other] = one
    families: dict[int, list[int]] = {}
    for asn in sorted(parent):
        families.setdefault(root(asn), []).append(asn)
    listed = set(net["asn"].to_list())
    made = []
    for members in families.values():
        if len(members) > 1:
            asked = [m for m in members if m in listed] or members
            made.append((min(asked, key=lambda m: (-own_bytes.get(m, 0), m)), tuple(members)))
    return Parties(made)
