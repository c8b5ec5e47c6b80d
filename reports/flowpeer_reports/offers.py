"""Candidate exits: which of our links have a route to a prefix, and how BGP would order them.

An **offer** is a route that a neighbour announces on a link. Prefixes whose offers are alike in
all that the decision looks at are one **class**; the questions "where does this class leave, asked
from that metro, without those links" are answered for many classes at once (METHODS M12).

The order: LOCAL_PREF (where every offer of the prefix has one; else the role of the neighbour is
assumed to say it: customer, then peer and exchange, then transit), AS_PATH length, ORIGIN, MED
(among offers of one neighbour AS, or among all where the operator says so; missing is 0), then the
nearest metro (the same, the same region, by great circle). What is left is a tie: the IGP is not
seen. A link that offers every routed prefix without its view being loaded is *assumed*, and comes
last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_reports.relations import Flags, Ints

SCOPES = ("metro", "region", "continent", "global")
TRANSIT_RANK = 2
_ROLE_RANK = {"customer": 0, "peer": 1, "ix": 1, "transit": TRANSIT_RANK}
ORIGIN_RANK = {"IGP": 0, "EGP": 1, "INCOMPLETE": 2}
_ATTRIBUTES = ["link", "neighbour", "local_pref", "path_length", "origin", "med", "scope"]
OFFERS = {
    "prefix": pl.String,
    "link": pl.Int32,
    "neighbour": pl.Int64,
    "local_pref": pl.Int64,
    "path_length": pl.Int32,
    "origin": pl.Int8,
    "med": pl.Int64,
    "scope": pl.Int8,
}
"""One row an offer: the number of its link, neighbour AS, LOCAL_PREF (null: unknown), AS_PATH
length, rank of ORIGIN (null: unknown, assumed equal), MED (null: none), place in `SCOPES`."""
Rows = npt.NDArray[np.int64]
_LINK, _NEIGHBOUR, _LOCAL_PREF, _LENGTH, _ORIGIN, _MED, _SCOPE = range(7)
FAR = 1 << 40
"""Stands for a distance that is not known: no metro is nearer than another."""


@dataclass(frozen=True, slots=True)
class LinkPlaces:
    """Where links and demand are.

    Attributes:
        metros: names; the place is the metro's number.
        metro_of_link: number of each link's metro.
        role_rank: of each link: 0 customer, 1 peer or exchange, 2 transit.
        capacity: bit/s of each link, 0 where unknown.
        allowed: scope × demand metro × exit metro: whether a route of that scope may be used.
        distance: demand metro × exit metro: 0 the same, then the same region, then by metres.
    """

    metros: tuple[str, ...]
    metro_of_link: Ints
    role_rank: Ints
    capacity: Ints
    allowed: npt.NDArray[np.bool_]
    distance: Ints

    def number(self, metro: str) -> int:
        """The number of a metro."""
        return self.metros.index(metro)


def places(links: pl.DataFrame, metros: pl.DataFrame) -> LinkPlaces:
    """From links (metro, role, capacity_bps) and metros (metro, region, continent, latitude,
    longitude); links of a metro that is not configured have one of their own."""
    known = metros["metro"].to_list()
    names = (*known, *(m for m in links["metro"].unique().sort() if m not in set(known)))
    facts = {row["metro"]: row for row in metros.iter_rows(named=True)}

    def same(what: str) -> npt.NDArray[np.bool_]:
        of = [facts[m].get(what) if m in facts else None for m in names]
        return np.array([[a == b and a is not None for b in of] for a in of], dtype=np.bool_)

    one = np.eye(len(names), dtype=np.bool_)
    region = one | same("region")
    continent = region | same("continent")
    allowed = np.stack([one, region, continent, np.ones_like(one)])
    where = [
        (facts[m].get("latitude"), facts[m].get("longitude")) if m in facts else (None, None)
        for m in names
    ]
    metres = np.array([[_metres(a, b) for b in where] for a in where], dtype=np.int64)
    metres = metres.reshape(len(names), len(names))
    distance = np.where(one, 0, np.where(region, 1 + metres, FAR + metres))
    return LinkPlaces(
        names,
        np.array([names.index(m) for m in links["metro"]], dtype=np.int64),
        np.array([_ROLE_RANK.get(r, 2) for r in links["role"]], dtype=np.int64),
        links["capacity_bps"].fill_null(0).to_numpy().astype(np.int64)
        if "capacity_bps" in links.columns
        else np.zeros(links.height, dtype=np.int64),
        allowed,
        distance,
    )


def _metres(a: tuple[float | None, float | None], b: tuple[float | None, float | None]) -> int:
    if None in a or None in b:
        return FAR // 4
    lat1, lon1, lat2, lon2 = np.radians([*a, *b])  # type: ignore[arg-type]
    h = np.sin((lat2 - lat1) / 2) ** 2
    h += np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return int(2 * 6_371_000 * np.arcsin(np.sqrt(min(float(h), 1.0))))


@dataclass(slots=True)
class Offers:
    """Classes of offers, learned table by table.

    Class 0 has no offer. Offers of class c are `first[c] : first[c + 1]` of the attribute arrays.
    """

    assumed: Ints
    """Links that offer every routed prefix and have no view of their own, rising."""
    loaded: Flags
    """Of each link: its own view is loaded."""
    _known: dict[bytes, int] = field(default_factory=lambda: {b"": 0})
    _parts: list[npt.NDArray[np.int64]] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=lambda: [0])
    of_prefix: list[dict[str, int]] = field(default_factory=list)
    """For each table (epoch): prefix → class, of the prefixes that have offers."""
    _last: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"prefix": pl.String, "one": pl.UInt64, "two": pl.UInt64,
                    "offers": pl.get_index_type(), "class_": pl.Int64}
        )
    )  # fmt: skip
    """Of the table before: hashes, number of offers and class of each prefix."""
    _names: dict[str, str] = field(default_factory=dict)
    """Prefixes by themselves: tables share their text."""

    def learn(self, offers: pl.DataFrame) -> int:
        """Take in the offers (`OFFERS`) of one epoch; returns its number.

        Prefixes whose offers are those of the table before keep their class: recognised by two
        64-bit hashes of them, so that only what changed is sorted.
        """
        rows = offers.select(
            "prefix",
            pl.col("link").cast(pl.Int64), "neighbour",
            pl.col("local_pref").fill_null(-1),
            pl.col("path_length").cast(pl.Int64),
            pl.col("origin").cast(pl.Int64).fill_null(-1),
            pl.col("med").fill_null(-1),
            pl.col("scope").cast(pl.Int64),
        )  # fmt: skip
        marks = (
            pl.DataFrame({"prefix": rows["prefix"], "one": rows.hash_rows(1),
                          "two": rows.hash_rows(2)})
            .group_by("prefix", maintain_order=True)
            .agg(pl.col("one", "two").sum(), pl.len().alias("offers"))
        )  # fmt: skip
        known = marks.join(self._last, on=marks.columns, how="left", maintain_order="left")
        new = known.filter(pl.col("class_").is_null()).select("prefix")
        found = self._learn(rows.join(new, on="prefix", how="semi"))
        known = known.with_columns(
            pl.col("class_").fill_null(
                pl.col("prefix").replace_strict(found, default=None, return_dtype=pl.Int64)
            )
        )
        self._last = known
        if self.of_prefix and not new.height and known.height == len(self.of_prefix[-1]):
            self.of_prefix.append(self.of_prefix[-1])  # nothing came and nothing went
        else:
            names = self._names
            self.of_prefix.append(
                {
                    names.setdefault(prefix, prefix): class_
                    for prefix, class_ in known.select("prefix", "class_").iter_rows()
                }
            )
        return len(self.of_prefix) - 1

    def _learn(self, rows: pl.DataFrame) -> dict[str, int]:
        """Prefix → class of offers."""
        rows = rows.unique().sort("prefix", *_ATTRIBUTES)
        values = np.ascontiguousarray(rows.select(_ATTRIBUTES).to_numpy().astype(np.int64))
        runs = rows["prefix"].rle().struct.unnest()
        ends = np.cumsum(runs["len"].to_numpy())
        starts = ends - runs["len"].to_numpy()
        found: dict[str, int] = {}
        for prefix, start, end in zip(
            runs["value"].to_list(), starts.tolist(), ends.tolist(), strict=True
        ):
            found[prefix] = self._take(values[start:end].copy())
        return found

    def preferring(
        self, more: Mapping[str, Sequence[tuple[int, int]]], scope: int, links: int
    ) -> Offers:
        """The same in every table with further offers that go before all others of their prefix.

        Args:
            more: prefix → (link, neighbour AS), rising.
            scope: place in `SCOPES` of the further offers.
            links: how many there are then; those that are new have a view of their own.
        """
        loaded = np.ones(links, dtype=np.bool_)
        loaded[: len(self.loaded)] = self.loaded
        made = Offers(self.assumed, loaded, dict(self._known), list(self._parts), list(self._sizes))
        first, table = self.table()
        known: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        for classes in self.of_prefix:
            grown = dict(classes)
            for prefix, of in more.items():
                class_ = classes.get(prefix, 0)
                key = (class_, tuple(of))
                if key not in known:
                    rows = table[first[class_] : first[class_ + 1]]
                    known[key] = made._take(_before_all(rows, of, scope))
                grown[prefix] = known[key]
            made.of_prefix.append(grown)
        return made

    def _take(self, rows: npt.NDArray[np.int64]) -> int:
        """The class of some offers."""
        key = rows.tobytes()
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._sizes)
            self._parts.append(rows)
            self._sizes.append(len(rows))
        return number

    def table(self) -> tuple[Ints, npt.NDArray[np.int64]]:
        """`first`, and offers × attributes in the order of `_ATTRIBUTES`."""
        first = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)
        empty = np.zeros((0, len(_ATTRIBUTES)), dtype=np.int64)
        return first, np.concatenate([empty, *self._parts])


def _before_all(rows: Rows, more: Sequence[tuple[int, int]], scope: int) -> Rows:
    """The offers with further ones in front: a higher LOCAL_PREF where every offer has one (else
    the role decides), the shortest path, the best ORIGIN where all are known."""
    preferred = all_known = False
    if len(rows):
        preferred = bool((rows[:, _LOCAL_PREF] >= 0).all())
        all_known = bool((rows[:, _ORIGIN] >= 0).all())
    local_pref = int(rows[:, _LOCAL_PREF].max()) + 1 if preferred else -1
    added = [[link, asn, local_pref, 1, 0 if all_known else -1, -1, scope] for link, asn in more]
    return np.concatenate([np.array(added, dtype=np.int64).reshape(-1, len(_ATTRIBUTES)), rows])


@dataclass(frozen=True, slots=True)
class ChosenExits:
    """Exits of queries: those of query i are `link[first[i] : first[i + 1]]`, rising.

    Attributes:
        known: of each query: by offers that our tables show; else assumed, or none.
        contenders: query and link of each offer that was left when the nearest was asked for.
            Whatever else goes changes nothing, but one of these may have kept out another offer
            of its neighbour by its MED.
    """

    first: Ints
    link: Ints
    known: Flags
    contenders: tuple[Ints, Ints]

    @property
    def count(self) -> Ints:
        """Exits of each query; several are a tie."""
        return np.diff(self.first)


@dataclass(frozen=True)
class Choice:
    """The decision process over classes of offers."""

    places: LinkPlaces
    first: Ints
    offers: npt.NDArray[np.int64]
    assumed: Ints
    always_compare_med: bool = False
    default_scope: int = 0
    with_local_pref: bool = True

    @cached_property
    def _unlike(self) -> tuple[Flags, Flags]:
        """Classes in which an offer has no LOCAL_PREF, no ORIGIN: nothing is compared by it, even
        where that offer is removed."""
        class_ = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        found = np.zeros((2, len(self.first) - 1), dtype=np.bool_)
        for row, column in zip(found, (_LOCAL_PREF, _ORIGIN), strict=True):
            row[class_[self.offers[:, column] < 0]] = True
        return found[0], found[1]

    def exits(
        self,
        class_: Ints,
        demand: Ints,
        exit_metro: Ints,
        *,
        routed: Flags | None = None,
        gone: npt.NDArray[np.bool_] | None = None,
        gone_row: Ints | None = None,
    ) -> ChosenExits:
        """Where each query leaves.

        Args:
            class_: its class of offers.
            demand: number of the metro that the demand belongs to.
            exit_metro: of the metro that it leaves from now: a scope that covers this one counts
                too, as does the demand's own (a negative number: none).
            routed: whether assumed exits are there for it; None: for all.
            gone: sets × links: what is removed; `gone_row` is each query's set.
        """
        count = len(class_)
        size = self.first[class_ + 1] - self.first[class_]
        query = np.repeat(np.arange(count), size)
        within = np.arange(len(query)) - np.repeat(np.cumsum(size) - size, size)
        place = np.repeat(self.first[class_], size) + within
        link = self.offers[place, _LINK]
        keep = self._usable(link, self.offers[place, _SCOPE], demand[query], exit_metro[query])
        if gone is not None and gone_row is not None:
            keep &= ~gone[gone_row[query], link]
        query, offer = query[keep], self.offers[place[keep]]
        unlike = [flags[class_] for flags in self._unlike]
        steps = [self._preference, _path_length, _origin_rank, self._med, self._distance]
        contenders = (query, offer[:, _LINK])
        for step in steps if self.with_local_pref else steps[1:]:
            contenders = (query, offer[:, _LINK])
            group, key = step(query, offer, unlike, demand)
            keep = key == _least(group, key)
            query, offer = query[keep], offer[keep]
        pair = np.unique(query * len(self.places.metro_of_link) + offer[:, _LINK])
        query, link = np.divmod(pair, max(len(self.places.metro_of_link), 1))
        known = np.zeros(count, dtype=np.bool_)
        known[query] = True
        more_query, more_link = self._assume(
            np.flatnonzero(~known if routed is None else ~known & routed),
            demand, exit_metro, gone, gone_row,
        )  # fmt: skip
        query, link = np.concatenate([query, more_query]), np.concatenate([link, more_link])
        order = np.argsort(query, kind="stable")
        first = np.searchsorted(query[order], np.arange(count + 1))
        return ChosenExits(first.astype(np.int64), link[order], known, contenders)

    def _usable(self, link: Ints, scope: Ints, demand: Ints, exit_metro: Ints) -> Flags:
        place = self.places.metro_of_link[link]
        found: Flags = self.places.allowed[scope, demand, place]
        has = exit_metro >= 0
        found |= has & self.places.allowed[scope, np.where(has, exit_metro, 0), place]
        return found

    def _assume(
        self, query: Ints, demand: Ints, exit_metro: Ints,
        gone: npt.NDArray[np.bool_] | None, gone_row: Ints | None,
    ) -> tuple[Ints, Ints]:  # fmt: skip
        """The nearest assumed exits of queries that no known offer answers."""
        query = np.repeat(query, len(self.assumed))
        link = np.tile(self.assumed, len(query) // max(len(self.assumed), 1))
        scope = np.full(len(query), self.default_scope)
        keep = self._usable(link, scope, demand[query], exit_metro[query])
        if gone is not None and gone_row is not None:
            keep &= ~gone[gone_row[query], link]
        query, link = query[keep], link[keep]
        key = self.places.distance[demand[query], self.places.metro_of_link[link]]
        keep = key == _least(query, key)
        return query[keep], link[keep]

    def _preference(
        self, query: Ints, offer: Rows, unlike: Sequence[Flags], demand: Ints
    ) -> tuple[Ints, Ints]:
        role = self.places.role_rank[offer[:, _LINK]]
        return query, np.where(unlike[0][query], role, -offer[:, _LOCAL_PREF])

    def _med(
        self, query: Ints, offer: Rows, unlike: Sequence[Flags], demand: Ints
    ) -> tuple[Ints, Ints]:
        med = np.maximum(offer[:, _MED], 0)  # a missing one is 0 (RFC 4271 section 9.1.2.2)
        if self.always_compare_med:
            return query, med
        pair = query << 33 | offer[:, _NEIGHBOUR]
        return np.unique(pair, return_inverse=True)[1], med

    def _distance(
        self, query: Ints, offer: Rows, unlike: Sequence[Flags], demand: Ints
    ) -> tuple[Ints, Ints]:
        place = self.places.metro_of_link[offer[:, _LINK]]
        return query, self.places.distance[demand[query], place]


def _path_length(
    query: Ints, offer: Rows, unlike: Sequence[Flags], demand: Ints
) -> tuple[Ints, Ints]:
    return query, offer[:, _LENGTH]


def _origin_rank(
    query: Ints, offer: Rows, unlike: Sequence[Flags], demand: Ints
) -> tuple[Ints, Ints]:
    return query, np.where(unlike[1][query], 0, offer[:, _ORIGIN])


def _least(group: Ints, key: Ints) -> Ints:
    """The lowest key of each row's group."""
    if not len(group):
        return key
    if (group[1:] >= group[:-1]).all():
        edges = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
        return np.repeat(np.minimum.reduceat(key, edges), np.diff(edges, append=len(group)))
    least = np.full(int(group.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, group, key)
    found: Ints = least[group]
    return found
