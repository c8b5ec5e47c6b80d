"""Why a provider carries more than its part, where the data show it (METHODS M11).

Outbound, each route of a provider that carries too much is compared with the best route to the same
prefix at the metro's providers that carry too little: the first step of BGP's decision that parts
them is the cause. What tables do not show is reported as not visible. In both directions one large
network and a link that was down are distinguished from the traffic itself. Inbound routes are
chosen by others: nothing else is claimed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from flowpeer_reports.columns import schema
from flowpeer_reports.columns.causes import CAUSES
from flowpeer_reports.loads import Loads
from flowpeer_reports.offers import TRANSIT_RANK, Choice, Offers
from flowpeer_reports.relations import Flags, Ints

LEAST_EXCESS = 0.02
"""Of a metro's bytes: providers nearer to their target need no cause."""
ELEPHANT = 0.5
"""Part of the excess that one network's bytes are, at least."""
DOWN_SLOTS = 12
"""Silent slots in a row, at least, while its router was seen and the metro had traffic."""
TOP = 5
LOCAL_PREF, SHORTER, PREPENDS, ORIGIN = (
    "LOCAL_PREF override", "shorter path", "prepends at the others", "better ORIGIN",
)  # fmt: skip
MISSING_MED, OTHER_MED = "missing MED", "lower MED"
TIE, ALONE, HOT_POTATO = "tie (IGP decides)", "no path at the others", "hot potato"
AGAINST, UNSEEN = "against BGP's order", "not visible"
ONE_NETWORK, DOWN = "one large network", "a link down part of the time"
_WORDS = {
    LOCAL_PREF: "LOCAL_PREF prefers it though the path at a provider with room is no longer",
    SHORTER: "its AS path is shorter",
    PREPENDS: "its AS path is shorter only because the other one is prepended",
    ORIGIN: "its ORIGIN is better",
    MISSING_MED: "its route has no MED, which counts as 0, and the other one has",
    OTHER_MED: "its MED is lower",
    TIE: "equal up to MED with a provider with room",
    ALONE: "no provider with room offers the prefix in a view that is loaded",
    HOT_POTATO: "equal up to MED only with an exit of another metro, which is further from home",
    AGAINST: "BGP's order as the tables show it would leave by a provider with room",
    UNSEEN: "the tables do not show the route that is used",
}


@dataclass(frozen=True, slots=True)
class Excess:
    """Providers of a metro and direction: provider's ASN → (name, excess share, bytes)."""

    metro: str
    direction: str
    of: Mapping[int | None, tuple[str, float, int]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What causes are read from.

    Attributes:
        routes: epoch, link, prefix, bytes: outbound, scaled.
        prepended: (prefix, link) → ASNs on the path that repeat the one before.
        networks: metro, provider_asn, direction, remote_asn, bytes of transit.
        covered: slots in which a link's router was seen, by link, else by metro.
    """

    found: Loads
    offers: Offers
    choice: Choice
    routes: pl.DataFrame
    prepended: Mapping[tuple[str, int], int]
    networks: pl.DataFrame
    covered: Mapping[int | str, Flags]


def causes(evidence: Evidence, excess: Iterable[Excess], names: Mapping[int, str]) -> pl.DataFrame:
    """A row for each provider and cause, largest first, in the columns of `CAUSES`.

    Args:
        names: ASN → name.
    """
    judge = _Judge(evidence)
    records: list[dict[str, object]] = []
    for one in excess:
        over = {a for a, (_, e, _) in one.of.items() if e >= LEAST_EXCESS}
        under = {a for a, (_, e, _) in one.of.items() if e <= -LEAST_EXCESS}
        if not over:
            continue
        total = sum(size for _, _, size in one.of.values())
        if one.direction == "out":
            records += _routed(one, over, under, judge)
        for asn in sorted(over, key=lambda a: (a is None, a or 0)):
            records += _elephant(one, asn, total, evidence.networks, names)
        for asn in sorted(under, key=lambda a: (a is None, a or 0)):
            records += _down(one, asn, evidence)
    return pl.DataFrame(records, schema=schema(CAUSES))


def _head(one: Excess, asn: int | None) -> dict[str, object]:
    name, part, _ = one.of[asn]
    return {"metro": one.metro, "direction": one.direction, "provider_asn": asn,
            "provider": name, "excess_share": part}  # fmt: skip


def _routed(
    one: Excess, over: set[int | None], under: set[int | None], judge: _Judge
) -> list[dict[str, object]]:
    found, routes = judge.evidence.found, judge.evidence.routes
    links: dict[int, int | None] = {}
    room = set()
    for n, (metro, role, asn) in enumerate(
        found.links.select("metro", "role", "provider_asn").iter_rows()
    ):
        if metro == one.metro and role == "transit":
            if asn in over:
                links[n] = asn
            elif asn in under:
                room.add(n)
    mine = (
        routes.filter(pl.col("link").is_in(list(links)))
        .group_by("epoch", "link", "prefix")
        .agg(pl.col("bytes").sum())
        .sort("epoch", "link", "prefix")
    )
    sums: dict[tuple[int | None, str], dict[str | None, int]] = defaultdict(
        lambda: defaultdict(int)
    )
    for epoch, link, prefix, size in mine.iter_rows():
        sums[links[link], judge.cause(epoch, prefix, link, frozenset(room))][prefix] += size
    rows = []
    for (asn, cause), by_prefix in sums.items():
        size, total = sum(by_prefix.values()), one.of[asn][2]
        largest = sorted((p for p in by_prefix if p), key=lambda p: (-by_prefix[p], p))
        rows.append(
            {
                **_head(one, asn), "cause": cause, "bytes": size,
                "share": size / total if total else None, "prefixes": len(largest),
                "examples": largest[:TOP], "detail": _WORDS[cause],
            }
        )  # fmt: skip
    return sorted(rows, key=lambda r: (-float(str(r["excess_share"])), -int(str(r["bytes"]))))


def _elephant(
    one: Excess, asn: int | None, whole: int, networks: pl.DataFrame, names: Mapping[int, str]
) -> list[dict[str, object]]:
    name, part, total = one.of[asn]
    mine = networks.filter(
        pl.col("metro") == one.metro, pl.col("direction") == one.direction,
        pl.col("provider_asn").eq_missing(pl.lit(asn, pl.Int64)), pl.col("remote_asn") > 0,
    ).sort("bytes", "remote_asn", descending=[True, False])  # fmt: skip
    if mine.is_empty() or not total:
        return []
    number, size = mine.select("remote_asn", "bytes").row(0)
    if size < ELEPHANT * part * whole:
        return []
    called = f"AS{number} {names[number]}" if number in names else f"AS{number}"
    return [
        {
            **_head(one, asn), "cause": ONE_NETWORK, "bytes": size, "share": size / total,
            "prefixes": None, "examples": [called],
            "detail": f"its bytes are {size / (part * whole):.0%} of what {name} carries too much",
        }
    ]  # fmt: skip


def _down(one: Excess, asn: int | None, evidence: Evidence) -> list[dict[str, object]]:
    found, covered = evidence.found, evidence.covered
    here = [
        (n, f"{row['exporter']}:{row['interface']}")
        for n, row in enumerate(found.links.iter_rows(named=True))
        if row["metro"] == one.metro and row["role"] == "transit"
    ]
    both = found.out + found.into
    absent = found.absent[:, found.hour_of_slot]
    busy = both[[n for n, _ in here]].sum(axis=0) > 0
    silent: dict[str, int] = {}
    for n, name in here:
        if found.links["provider_asn"][n] != asn or not both[n].any():
            continue
        seen = covered.get(n, covered.get(one.metro))
        quiet = (both[n] == 0) & busy & ~absent[n]
        quiet = quiet if seen is None else quiet & seen
        if _longest(quiet) >= DOWN_SLOTS:
            silent[name] = int(quiet.sum())
    if not silent:
        return []
    silent_text = ", ".join(
        f"{name} without a byte in {count:,} slots" for name, count in silent.items()
    )
    return [
        {
            **_head(one, asn), "cause": DOWN, "bytes": None, "share": None, "prefixes": None,
            "examples": list(silent), "detail": f"{silent_text} in which its router was seen",
        }
    ]  # fmt: skip


def _longest(flags: Flags) -> int:
    """The longest run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


class _Judge:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._offers, self._choice = evidence.offers, evidence.choice
        self._known: dict[tuple[int, str | None, int, frozenset[int]], str] = {}

    def cause(self, epoch: int, prefix: str | None, link: int, room: frozenset[int]) -> str:
        """Why a route leaves by `link` and by none of `room`."""
        class_ = self._offers.of_prefix[epoch].get(prefix or "", 0)
        key = (class_, prefix, link, room)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(class_, prefix or "", link, room)
        return found

    def _find(self, class_: int, prefix: str, link: int, room: frozenset[int]) -> str:
        first, places = self._choice.first, self._choice.places
        rows = self._choice.offers[first[class_] : first[class_ + 1]]
        own = rows[rows[:, 0] == link]
        if not len(own):
            return UNSEEN
        by_role, alike = bool((rows[:, 2] < 0).any()), bool((rows[:, 4] < 0).any())

        def key(row: Ints) -> tuple[int, int, int, int]:
            lead = int(places.role_rank[row[0]]) if by_role else -int(row[2])
            return lead, int(row[3]), 0 if alike else int(row[4]), max(int(row[5]), 0)

        mine = min(own, key=key)
        rivals = [r for r in rows if int(r[0]) in room and self._offers.loaded[r[0]]]
        if not rivals:
            metro = places.metro_of_link[link]
            there = any(
                places.metro_of_link[r[0]] != metro
                and places.role_rank[r[0]] == TRANSIT_RANK
                and key(r) == key(mine)
                for r in rows
            )
            return HOT_POTATO if there else ALONE
        best = min(rivals, key=key)
        ours, theirs = key(mine), key(best)
        if ours[0] != theirs[0]:
            if ours[0] > theirs[0]:
                return AGAINST
            return LOCAL_PREF if theirs[1] <= ours[1] else SHORTER
        if ours[1] != theirs[1]:
            if ours[1] > theirs[1]:
                return AGAINST
            bare = theirs[1] - self.evidence.prepended.get((prefix, int(best[0])), 0)
            return PREPENDS if bare <= ours[1] else SHORTER
        if ours[2] != theirs[2]:
            return ORIGIN if ours[2] < theirs[2] else AGAINST
        # MED parts only routes of one neighbour, or all where the operator says so.
        rated = [r for r in rivals if key(r)[:3] == ours[:3]
                 and (self._choice.always_compare_med or r[1] == mine[1])]  # fmt: skip
        if not rated or any(key(r)[3] == ours[3] for r in rated):
            return TIE
        if min(key(r)[3] for r in rated) < ours[3]:
            return AGAINST
        return MISSING_MED if mine[5] < 0 else OTHER_MED


__all__ = ["Evidence", "Excess", "causes"]
