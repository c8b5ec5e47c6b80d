"""Does traffic leave where BGP says, and where the shortest path would be (METHODS M12)?

Judged by metro: flows show the exit router, not where demand entered. Exits of one metro that are
equal up to MED are a tie, for the IGP is not seen; hot potato is claimed only between metros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from flowpeer_reports.columns import schema
from flowpeer_reports.columns.exits import EXIT_ROUTES, EXITS
from flowpeer_reports.demand import CoveringPrefixes
from flowpeer_reports.offers import FAR, Choice, Offers
from flowpeer_reports.relations import Ints

EXPECTED, TIE = "as expected", "tie (IGP not seen)"
COMPARISONS = ("with LOCAL_PREF", "without LOCAL_PREF")
NOT_JUDGED = ("no prefix", "no view has the prefix", "view of the exit not loaded",
              "path not visible")  # fmt: skip
SHOWN = 50
"""Routes listed of each metro, comparison and cause; the others are in the sums."""
TOP = 5


@dataclass(slots=True)
class ExitAudit:
    """The answer; its frames have the columns of `flowpeer_reports.columns.exits`."""

    rows: pl.DataFrame
    routes: pl.DataFrame
    judged_share: dict[str, float]
    """Comparison → share of outbound bytes that can be judged at all."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Verdict:
    cause: str
    judged: bool
    expected: tuple[int, ...]


def exits(
    links: pl.DataFrame,
    routes: pl.DataFrame,
    offers: Offers,
    choice: Choice,
    home: Mapping[str, str],
) -> ExitAudit:
    """The audit.

    Args:
        links: metro, exporter, interface, provider_asn; the place is the link's number.
        routes: epoch, link, prefix, origin_asn, local_prefix, bytes: outbound, scaled.
        home: local prefix → metro of its demand; else the exit's.
    """
    places = choice.places
    metro_of_link = places.metro_of_link
    over = CoveringPrefixes({p for classes in offers.of_prefix for p in classes})
    alike = _alike(links)
    judges = [_Judge(replace(choice, with_local_pref=w), offers, alike) for w in (True, False)]
    whole = (
        routes.group_by("epoch", "link", "prefix", "origin_asn", "local_prefix")
        .agg(pl.col("bytes").sum())
        .sort("epoch", "link", "prefix", "origin_asn", "local_prefix")
    )
    asked: list[tuple[tuple[int, ...] | None, int, int]] = []
    for epoch, link, prefix, local in whole.select(
        "epoch", "link", "prefix", "local_prefix"
    ).iter_rows():
        chain = None
        if prefix is not None:
            classes = offers.of_prefix[epoch]
            chain = tuple(classes[p] for p in over.of(prefix) if p in classes)
            chain = chain if prefix in classes else (0, *chain)
        metro = home.get(local or "")
        number = int(metro_of_link[link]) if metro is None else places.number(metro)
        asked.append((chain, number, link))
    distinct = list(dict.fromkeys(asked))
    names = [f"{e}:{i}" for e, i in links.select("exporter", "interface").iter_rows()]
    frames = []
    for comparison, judge in zip(COMPARISONS, judges, strict=True):
        verdicts = dict(zip(distinct, judge.all(distinct), strict=True))
        found = [verdicts[key] for key in asked]
        frames.append(
            whole.with_columns(
                comparison=pl.lit(comparison),
                metro=pl.Series(
                    [places.metros[metro_of_link[k]] for _, _, k in asked], dtype=pl.String
                ),
                home=pl.Series([places.metros[h] for _, h, _ in asked], dtype=pl.String),
                cause=pl.Series([v.cause for v in found], dtype=pl.String),
                judged=pl.Series([v.judged for v in found], dtype=pl.Boolean),
                expected=pl.Series(
                    [[names[i] for i in v.expected] for v in found], dtype=pl.List(pl.String)
                ),
            )
        )  # fmt: skip
    every = pl.concat(frames)
    return _answer(links, every, offers)


def _answer(links: pl.DataFrame, every: pl.DataFrame, offers: Offers) -> ExitAudit:
    by_prefix = every.group_by("comparison", "metro", "cause", "judged", "prefix").agg(
        pl.col("bytes").sum()
    )
    rows = (
        by_prefix.sort("bytes", "prefix", descending=[True, False], nulls_last=True)
        .group_by("comparison", "metro", "cause", "judged", maintain_order=True)
        .agg(
            out_bytes=pl.col("bytes").sum(),
            prefixes=pl.col("prefix").drop_nulls().len(),
            top_prefixes=pl.col("prefix").drop_nulls().head(TOP),
        )
        .with_columns(
            share=pl.col("out_bytes") / pl.col("out_bytes").sum().over("comparison", "metro")
        )
        .sort("comparison", "metro", "out_bytes", "cause", descending=[False, False, True, False])
    )
    number = links.select("exporter", "interface", "provider_asn").with_row_index("link")
    detail = (
        every.filter(pl.col("cause") != EXPECTED)
        .group_by("comparison", "metro", "link", "prefix", "origin_asn", "home", "cause")
        .agg(out_bytes=pl.col("bytes").sum(), expected=pl.col("expected").last())
        .sort("out_bytes", "prefix", "link", descending=[True, False, False], nulls_last=True)
        .group_by("comparison", "metro", "cause", maintain_order=True)
        .head(SHOWN)
        .join(number.with_columns(pl.col("link").cast(pl.Int64)), on="link", how="left")
        .sort("comparison", "metro", "out_bytes", "prefix",
              descending=[False, False, True, False], nulls_last=True)
    )  # fmt: skip
    judged: dict[str, float] = {}
    for comparison in COMPARISONS:
        mine = rows.filter(pl.col("comparison") == comparison)
        total = int(mine["out_bytes"].sum())
        able = int(mine.filter("judged")["out_bytes"].sum())
        judged[comparison] = able / total if total else 0.0
    names = (f"{e}:{i}" for e, i in links.select("exporter", "interface").iter_rows())
    # A port of an exchange is a row for each neighbour there.
    unseen = list(dict.fromkeys(n for n, ok in zip(names, offers.loaded, strict=True) if not ok))
    able_words = "the tables show a route at the exit that they use"
    notes = [f"{judged[COMPARISONS[0]]:.1%} of the outbound bytes can be judged: {able_words}"]
    if unseen:
        shown = ", ".join(unseen[:5]) + (f" and {len(unseen) - 5} more" if len(unseen) > 5 else "")
        notes.append(f"no view is loaded of {shown}: alternates there are not seen")
    if any((table[:, 4] < 0).any() for table in [offers.table()[1]]):
        notes.append("ORIGIN is not known of some routes: taken as equal for their prefixes")
    notes.append("shorter AS paths are all that is compared; nothing is stated of latency")
    return ExitAudit(
        rows.select(pl.col(n).cast(k) for n, k in schema(EXITS).items()),
        detail.select(pl.col(n).cast(k) for n, k in schema(EXIT_ROUTES).items()),
        judged,
        notes,
    )


def _alike(links: pl.DataFrame) -> list[Ints]:
    """Of each link those that its bytes may have left by: itself, and where the neighbour on a
    port is not known, all links of that port."""
    ports: dict[tuple[str, int], list[int]] = {}
    rows = links.select("exporter", "interface", "provider_asn").rows()
    for number, (exporter, interface, _) in enumerate(rows):
        ports.setdefault((exporter, interface), []).append(number)
    return [
        np.array(ports[e, i] if asn is None else [n], dtype=np.int64)
        for n, (e, i, asn) in enumerate(rows)
    ]


class _Judge:
    def __init__(self, choice: Choice, offers: Offers, alike: Sequence[Ints]) -> None:
        self.choice = choice
        self.offers = offers
        self.alike = alike

    def all(self, asked: Sequence[tuple[tuple[int, ...] | None, int, int]]) -> list[_Verdict]:
        """One verdict each for (chain of classes, home, link that is used)."""
        class_ = np.array([c[0] if c else 0 for c, _, _ in asked], dtype=np.int64)
        home = np.array([h for _, h, _ in asked], dtype=np.int64)
        link = np.array([k for _, _, k in asked], dtype=np.int64)
        answer = self.choice.exits(
            class_, home, self.choice.places.metro_of_link[link],
            routed=np.zeros(len(asked), dtype=np.bool_),
        )  # fmt: skip
        return [
            self._one(chain, int(h), int(k), answer.link[answer.first[i] : answer.first[i + 1]])
            for i, (chain, h, k) in enumerate(asked)
        ]

    def _rows(self, class_: int) -> Ints:
        first, table = self.choice.first, self.choice.offers
        found: Ints = table[first[class_] : first[class_ + 1]]
        return found

    def _one(self, chain: tuple[int, ...] | None, home: int, link: int, best: Ints) -> _Verdict:
        expected = tuple(best.tolist())
        if chain is None:
            return _Verdict("no prefix", False, ())
        rows = self._rows(chain[0]) if chain else self._rows(0)
        mine = self.alike[link]
        own = rows[np.isin(rows[:, 0], mine)]
        if not len(own):
            if not self.offers.loaded[mine].any():
                return _Verdict("view of the exit not loaded", False, expected)
            if not len(rows) and not any(len(self._rows(c)) for c in chain[1:]):
                return _Verdict("no view has the prefix", False, ())
            if expected and any(np.isin(self._rows(c)[:, 0], mine).any() for c in chain[1:]):
                return _Verdict("more specific elsewhere", True, expected)
            return _Verdict("path not visible", False, expected)
        if np.isin(best, mine).any():
            return _Verdict(EXPECTED if len(expected) == 1 else TIE, True, expected)
        if not expected:  # its scope does not let it be used from anywhere we know of
            return _Verdict("unknown", True, expected)
        there = rows[np.isin(rows[:, 0], best)]
        return _Verdict(self._differs(rows, own, there, home, link), True, expected)

    def _differs(self, rows: Ints, own: Ints, there: Ints, home: int, link: int) -> str:
        """Why the best of `there` goes before the best of `own`."""
        places = self.choice.places
        by_role = bool((rows[:, 2] < 0).any())
        alike = bool((rows[:, 4] < 0).any())

        def preference(row: Ints) -> int:
            return int(places.role_rank[row[0]]) if by_role else -int(row[2])

        def key(row: Ints) -> tuple[int, ...]:
            lead = (preference(row),) if self.choice.with_local_pref else ()
            return (*lead, int(row[3]), 0 if alike else int(row[4]), max(int(row[5]), 0))

        mine, best = min(own, key=key), min(there, key=key)
        if self.choice.with_local_pref:
            if preference(mine) > preference(best):
                return "lower LOCAL_PREF"
        elif preference(mine) < preference(best):
            return "LOCAL_PREF override"
        if mine[3] > best[3]:
            return "longer path"
        if not alike and mine[4] > best[4]:
            return "worse ORIGIN"
        med = max(int(mine[5]), 0)
        rivals = [
            max(int(r[5]), 0) for r in there if self.choice.always_compare_med or r[1] == mine[1]
        ]
        if rivals and min(rivals) < med:
            return "missing or higher MED"
        here, other = int(places.metro_of_link[link]), int(places.metro_of_link[int(best[0])])
        if here != other and places.distance[home, here] > places.distance[home, other]:
            return "hot potato" if places.distance[home, other] < FAR * 2 else "unknown"
        return "unknown"
