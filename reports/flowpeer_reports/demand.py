"""The hours' routes of a period as numbers: what drills are compiled from (METHODS M12)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from flowpeer_reports.kernels import SharedPrefixes, Small
from flowpeer_reports.loads import Loads
from flowpeer_reports.offers import Choice, Offers
from flowpeer_reports.relations import Ints


@dataclass(frozen=True, slots=True)
class Announced:
    """Where our own prefixes are announced.

    Attributes:
        home: local prefix → metro that its demand belongs to.
        metros: local prefix → metros × 1: where it, or a prefix over it, is announced; a prefix
            that is not in it is announced by the links of the metro that the traffic came in by.
    """

    home: Mapping[str, str] = field(default_factory=dict)
    metros: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outbound:
    """Routes summed as far as drills can tell, by link, then hour; all but bytes are int32.

    Attributes:
        edge: rows of link n are `edge[n] : edge[n + 1]`.
        chain: a place in `Demand.chains`.
        home: number of the metro that the demand belongs to.
        group: of `Demand.held`: the prefix and hour, where several links carry it; else −1.
        local: a place in `Demand.locals`; None where own prefixes are not kept apart.
    """

    edge: Ints
    hour: Small
    chain: Small
    home: Small
    group: Small
    local: Small | None
    bytes: Ints


@dataclass(frozen=True, slots=True)
class Inbound:
    """Routes by link, own prefix (a place in `Demand.locals`), then hour; see `Outbound`."""

    edge: Ints
    local: Small
    hour: Small
    bytes: Ints


@dataclass(frozen=True, slots=True)
class Demand:
    """The hours' routes as numbers.

    Attributes:
        held: which links carry a prefix in an hour, where several do.
        chains: classes of offers of a prefix and of those over it, longest first; chain 0 is
            that of bytes without a prefix.
        locals: own prefixes; None where the local end is not ours.
        hours: of the period.
    """

    out: Outbound
    into: Inbound
    held: SharedPrefixes
    chains: Sequence[tuple[int, ...]]
    locals: Sequence[str | None]
    hours: int


def demand(
    parts: Iterable[pl.DataFrame],
    found: Loads,
    offers: Offers,
    epoch_of_hour: Ints,
    choice: Choice,
    announced: Announced,
    *,
    by_local: bool = False,
) -> Demand:
    """Number the routes of a period.

    Args:
        parts: hour (number), link (number), direction, prefix, local_prefix, bytes; scaled bytes
            of the links' traffic, any number of frames, no hour in two of them.
        epoch_of_hour: which of the offers' tables holds in each hour.
        by_local: keep outbound routes of different own prefixes apart.
    """
    chains: dict[tuple[int, ...], int] = {(): 0}
    prefixes = _Prefixes(offers, chains)
    locals_: dict[str | None, int] = {}
    homes = {p: choice.places.number(m) for p, m in announced.home.items()}
    metro = choice.places.metro_of_link.astype(np.int32)
    out: list[dict[str, Ints]] = []
    into: list[dict[str, Ints]] = []
    held: list[SharedPrefixes] = []
    groups = 0
    for part in parts:
        if part.is_empty():
            continue
        local = part["local_prefix"].unique().to_list()
        for prefix in sorted(local, key=lambda p: p or ""):
            locals_.setdefault(prefix, len(locals_))
        numbered = part.join(
            pl.DataFrame(
                {"local_prefix": local, "local": [locals_[p] for p in local],
                 "home": [homes.get(p or "", -1) for p in local]},
                schema={"local_prefix": pl.String, "local": pl.Int64, "home": pl.Int64},
            ),
            on="local_prefix", nulls_equal=True, how="left",
        )  # fmt: skip
        inbound = numbered.filter(pl.col("direction") == "in")
        into.append(summed({c: inbound[c].to_numpy() for c in ("link", "local", "hour")},
                           inbound["bytes"].to_numpy()))  # fmt: skip
        outbound = numbered.filter(pl.col("direction") == "out")
        hour, link, home = (outbound[c].to_numpy() for c in ("hour", "link", "home"))
        chain, code = prefixes.numbers(outbound["prefix"], epoch_of_hour[hour])
        keys = {"hour": hour, "code": code, "link": link, "chain": chain,
                "home": np.where(home < 0, metro[link], home)}  # fmt: skip
        if by_local:
            keys["local"] = outbound["local"].to_numpy()
        mine = summed(keys, outbound["bytes"].to_numpy())
        shared, mine["group"] = _shared(mine, groups)
        groups += len(shared.edge) - 1
        held.append(shared)
        out.append(summed({c: mine[c] for c in ("link", "hour", "group", "chain", "home",
                                                *(["local"] if by_local else []))},
                          mine["bytes"]))  # fmt: skip
    edge, outbound_ = _by_link(out, found.links.height)
    inbound_ = summed(
        {
            c: np.concatenate([_NONE, *(part[c] for part in into)])
            for c in ("link", "local", "hour")
        },
        np.concatenate([_NONE, *(part["bytes"] for part in into)]),
    )
    return Demand(
        Outbound(
            edge, outbound_["hour"], outbound_["chain"], outbound_["home"], outbound_["group"],
            outbound_["local"] if by_local else None, outbound_["bytes"],
        ),
        Inbound(_edges(inbound_["link"], found.links.height), inbound_["local"].astype(np.int32),
                inbound_["hour"].astype(np.int32), inbound_["bytes"]),
        _joined(held),
        list(chains),
        list(locals_),
        len(epoch_of_hour),
    )  # fmt: skip


_NONE: Ints = np.zeros(0, dtype=np.int64)
_MOST_KEYS = 1 << 62


def summed(keys: Mapping[str, Ints], bytes_: Ints) -> dict[str, Ints]:
    """The bytes of equal keys summed, rows in the order of the keys; with a column `bytes`.

    Args:
        keys: integers, −1 or more.
    """
    whole = np.zeros(len(bytes_), dtype=np.int64)
    wide = 1  # how many different ones `whole` may hold
    for column in keys.values():
        size = int(column.max(initial=-1)) + 2
        if wide * size >= _MOST_KEYS:  # does not fit: number those that there are
            whole = np.unique(whole, return_inverse=True)[1].astype(np.int64)
            wide = len(whole)
        whole = whole * size + (column + 1)
        wide *= size
    order = np.argsort(whole)
    whole = whole[order]
    first = np.flatnonzero(np.diff(whole, prepend=-1))
    made = {name: column[order[first]].astype(np.int64) for name, column in keys.items()}
    made["bytes"] = np.add.reduceat(bytes_[order], first) if len(first) else _NONE
    return made


def _shared(mine: Mapping[str, Ints], groups: int) -> tuple[SharedPrefixes, Ints]:
    """Prefixes that several links carry in an hour, and the group of each row (−1: none).

    Args:
        mine: hour, code, link, bytes, in this order.
        groups: how many there are already.
    """
    hour, code, link = mine["hour"], mine["code"], mine["link"]
    fresh = np.ones(len(hour), dtype=np.bool_)  # begins another hour or prefix
    fresh[1:] = (hour[1:] != hour[:-1]) | (code[1:] != code[:-1])
    other = fresh.copy()  # or another link
    other[1:] |= link[1:] != link[:-1]
    pair = np.cumsum(fresh) - 1
    several = (np.bincount(pair[other]) > 1) & (code[fresh] >= 0)
    number = np.where(several, groups + np.cumsum(several) - 1, -1)
    group = number[pair]
    first = np.flatnonzero(other)
    bytes_ = np.add.reduceat(mine["bytes"], first) if len(first) else first
    keep = group[first] >= 0
    first, bytes_ = first[keep], bytes_[keep]
    edge = np.searchsorted(group[first], np.arange(groups, groups + int(several.sum()) + 1))
    return SharedPrefixes(edge.astype(np.int64), link[first].astype(np.int32), bytes_), group


def _by_link(parts: list[dict[str, Ints]], links: int) -> tuple[Ints, dict[str, Any]]:
    """Rows of parts by link, then part: where each link begins, and the columns (int32, bytes
    int64). Parts are in the order of their links; they are emptied."""
    edges = np.array([_edges(part["link"], links) for part in parts]).reshape(-1, links + 1)
    count = np.diff(edges, axis=1)
    edge = np.concatenate([[0], np.cumsum(count.sum(axis=0))]).astype(np.int64)
    start = edge[:-1] + np.cumsum(count, axis=0) - count
    names = ["hour", "group", "chain", "home", "local", "bytes"]
    made: dict[str, Any] = {
        name: np.empty(edge[-1], dtype=np.int64 if name == "bytes" else np.int32)
        for name in names
        if name != "local" or any("local" in part for part in parts)
    }
    made.setdefault("local", None)
    for number, part in enumerate(parts):
        shift = np.repeat(start[number] - edges[number, :-1], count[number])
        place = np.arange(len(shift)) + shift
        for name in set(part) & set(names):
            made[name][place] = part[name]
        part.clear()
    return edge, made


def _joined(parts: Sequence[SharedPrefixes]) -> SharedPrefixes:
    begin = np.cumsum([0, *(len(part.link) for part in parts)])
    edges = [part.edge[:-1] + at for part, at in zip(parts, begin, strict=False)]
    return SharedPrefixes(
        np.concatenate([*edges, begin[-1:]]).astype(np.int64),
        np.concatenate([np.zeros(0, dtype=np.int32), *(part.link for part in parts)]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(part.bytes for part in parts)]),
    )


def _edges(rising: Ints | Small, count: int) -> Ints:
    """Where each of 0 … count − 1 begins, and the end."""
    found: Ints = np.searchsorted(rising, np.arange(count + 1)).astype(np.int64)
    return found


class _Prefixes:
    """Numbers of prefixes and of their chains of classes, by epoch."""

    def __init__(self, offers: Offers, chains: dict[tuple[int, ...], int]) -> None:
        self._of_prefix = offers.of_prefix
        self._chains = chains
        self._over = CoveringPrefixes({p for classes in offers.of_prefix for p in classes})
        self._codes: dict[str, int] = {}
        self._known: dict[int, pl.DataFrame] = {}
        """Epoch → prefix, chain, code."""

    def numbers(self, prefixes: pl.Series, epochs: Ints) -> tuple[Ints, Ints]:
        """Chain and number of each prefix in its epoch; 0 and −1 of none."""
        chain, code = np.zeros(len(prefixes), dtype=np.int64), np.full(len(prefixes), -1)
        for epoch in np.unique(epochs).tolist():
            mine = epochs == epoch
            some = prefixes.filter(pl.Series(mine)).to_frame("prefix")
            found = some.join(
                self._learn(epoch, some["prefix"]), on="prefix", how="left", maintain_order="left"
            )
            chain[mine] = found["chain"].fill_null(0).to_numpy()
            code[mine] = found["code"].fill_null(-1).to_numpy()
        return chain, code

    def _learn(self, epoch: int, prefixes: pl.Series) -> pl.DataFrame:
        """What is known of an epoch, with those prefixes."""
        if epoch not in self._known:
            self._known[epoch] = self._inherited(epoch)
        known, classes = self._known[epoch], self._of_prefix[epoch]
        new = prefixes.unique().drop_nulls()
        new = new.filter(~new.is_in(known["prefix"].implode()))
        rows = []
        for prefix in new.sort().to_list():
            chain = tuple(classes[p] for p in self._over.of(prefix) if p in classes)
            own = chain if prefix in classes else (0, *chain)
            rows.append((prefix, self._chains.setdefault(own, len(self._chains)),
                         self._codes.setdefault(prefix, len(self._codes))))  # fmt: skip
        if rows:
            known = self._known[epoch] = pl.concat(
                [known, pl.DataFrame(rows, schema=known.schema, orient="row")]
            )
        return known

    def _inherited(self, epoch: int) -> pl.DataFrame:
        """What was known before, but for the prefixes that, or those over which, changed."""
        if not self._known:
            schema = {"prefix": pl.String, "chain": pl.Int64, "code": pl.Int64}
            return pl.DataFrame(schema=schema)
        before, frame = next(reversed(self._known.items()))
        old, classes = self._of_prefix[before], self._of_prefix[epoch]
        changed = {p for p, _ in old.items() ^ classes.items()}
        if not changed:
            return frame
        same = [changed.isdisjoint(self._over.of(prefix)) for prefix in frame["prefix"].to_list()]
        return frame.filter(pl.Series(same, dtype=pl.Boolean))


class CoveringPrefixes:
    """Which of some prefixes lie over another one, itself included, longest first."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._known: dict[tuple[int, int], dict[int, str]] = {}
        for prefix in prefixes:
            family, length, bits = parts_of(prefix)
            if length:  # a default route is no route to anything
                self._known.setdefault((family, length), {})[bits >> family - length] = prefix
        self._lengths = {
            family: sorted((n for f, n in self._known if f == family), reverse=True)
            for family in (32, 128)
        }
        self._found: dict[str, tuple[str, ...]] = {}

    def of(self, prefix: str) -> tuple[str, ...]:
        """Those over `prefix`."""
        found = self._found.get(prefix)
        if found is None:
            family, length, bits = parts_of(prefix)
            hits = (
                self._known[family, n].get(bits >> family - n)
                for n in self._lengths[family]
                if n <= length
            )
            found = self._found[prefix] = tuple(hit for hit in hits if hit is not None)
        return found


def parts_of(prefix: str) -> tuple[int, int, int]:
    """Bits of the family, length, address as a number, of a prefix of our tables."""
    address, _, length = prefix.partition("/")
    if ":" in address:
        return 128, int(length), int(ipaddress.IPv6Address(address))
    a, b, c, d = address.split(".")
    return 32, int(length), int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
