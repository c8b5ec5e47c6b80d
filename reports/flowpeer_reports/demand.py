"""The hours' routes of a period as numbers: what drills are compiled from (METHODS M12)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from flowpeer_reports.kernels import Held, Small
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
    held: Held
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
    keys = ["link", "hour", "chain", "home", "group", *(["local"] if by_local else [])]
    chains: dict[tuple[int, ...], int] = {(): 0}
    over = Over({p for classes in offers.of_prefix for p in classes})
    maps: dict[int, pl.DataFrame] = {}
    codes: dict[str, int] = {}
    locals_: dict[str | None, int] = {}
    homes = {p: choice.places.number(m) for p, m in announced.home.items()}
    metro = choice.places.metro_of_link.astype(np.int32)
    out: list[pl.DataFrame] = []
    into: list[pl.DataFrame] = []
    held: list[Held] = []
    groups = 0
    for part in parts:
        if part.is_empty():
            continue
        local = part["local_prefix"].unique().to_list()
        for prefix in sorted(local, key=lambda p: p or ""):
            locals_.setdefault(prefix, len(locals_))
        numbered = part.with_columns(pl.col("hour", "link").cast(pl.Int32)).join(
            pl.DataFrame(
                {"local_prefix": local, "local": [locals_[p] for p in local],
                 "home": [homes.get(p or "", -1) for p in local]},
                schema={"local_prefix": pl.String, "local": pl.Int32, "home": pl.Int32},
            ),
            on="local_prefix", nulls_equal=True, how="left",
        )  # fmt: skip
        into.append(
            numbered.filter(pl.col("direction") == "in")
            .group_by("link", "local", "hour").agg(pl.col("bytes").sum())
        )  # fmt: skip
        went = numbered.filter(pl.col("direction") == "out")
        epochs = epoch_of_hour[went["hour"].to_numpy()]
        went = went.with_columns(
            epoch=pl.Series(epochs, dtype=pl.Int64),
            home=pl.when(pl.col("home") < 0)
            .then(pl.Series(metro[went["link"].to_numpy()], dtype=pl.Int32))
            .otherwise("home"),
        )
        for epoch in np.unique(epochs).tolist():
            mine = went.filter(pl.col("epoch") == epoch)
            maps[epoch] = _learn(mine["prefix"], offers.of_prefix[epoch], maps.get(epoch),
                                 chains, codes, over)  # fmt: skip
            mine = mine.join(maps[epoch], on="prefix", how="left").with_columns(
                pl.col("chain").fill_null(0), pl.col("code").fill_null(-1)
            )
            mine = (
                mine.group_by("hour", "code", *(k for k in keys if k not in ("hour", "group")))
                .agg(pl.col("bytes").sum()).sort("hour", "code", "link")
            )  # fmt: skip
            shared, group = _shared(mine, groups)
            groups += len(shared.edge) - 1
            held.append(shared)
            mine = mine.with_columns(group=pl.Series(group))
            alone = mine.filter(pl.col("group") < 0).group_by(keys).agg(pl.col("bytes").sum())
            out += [mine.filter(pl.col("group") >= 0).select(*keys, "bytes"),
                    alone.select(*keys, "bytes")]  # fmt: skip
    links = found.links.height
    went_ = _arrays(out, [*keys, "bytes"], ["link", "hour"])
    came = _arrays(into, ["link", "local", "hour", "bytes"], ["link", "local", "hour"])
    return Demand(
        Outbound(
            _edges(went_["link"], links), went_["hour"], went_["chain"], went_["home"],
            went_["group"], went_.get("local"), went_["bytes"].astype(np.int64),
        ),
        Inbound(_edges(came["link"], links), came["local"], came["hour"],
                came["bytes"].astype(np.int64)),
        _joined(held),
        list(chains),
        list(locals_),
        len(epoch_of_hour),
    )  # fmt: skip


def _shared(mine: pl.DataFrame, groups: int) -> tuple[Held, Small]:
    """Prefixes that several links carry in an hour, and the group of each row (−1: none).

    Args:
        mine: hour, code, link, bytes, in this order.
        groups: how many there are already.
    """
    hour, code, link = (mine[c].to_numpy() for c in ("hour", "code", "link"))
    fresh = np.ones(len(mine), dtype=np.bool_)  # begins another hour or prefix
    fresh[1:] = (hour[1:] != hour[:-1]) | (code[1:] != code[:-1])
    other = fresh.copy()  # or another link
    other[1:] |= link[1:] != link[:-1]
    pair = np.cumsum(fresh) - 1
    several = (np.bincount(pair[other]) > 1) & (code[fresh] >= 0)
    number = np.where(several, groups + np.cumsum(several) - 1, -1).astype(np.int32)
    group = number[pair]
    first = np.flatnonzero(other)
    bytes_ = np.add.reduceat(mine["bytes"].to_numpy(), first) if len(first) else first
    keep = group[first] >= 0
    first, bytes_ = first[keep], bytes_[keep]
    edge = np.searchsorted(group[first], np.arange(groups, groups + int(several.sum()) + 1))
    return Held(edge.astype(np.int64), link[first], bytes_), group


def _arrays(
    frames: Sequence[pl.DataFrame], columns: Sequence[str], order: Sequence[str]
) -> dict[str, Small]:  # fmt: skip
    """Columns as arrays: int32, bytes int64."""
    if not frames:
        return {c: np.zeros(0, dtype=np.int32) for c in columns}
    whole = pl.concat(
        f.select(pl.col(c).cast(pl.Int64 if c == "bytes" else pl.Int32) for c in columns)
        for f in frames
    )
    whole = whole.sort(order)
    return {c: whole[c].to_numpy() for c in columns}


def _joined(parts: Sequence[Held]) -> Held:
    begin = np.cumsum([0, *(len(part.link) for part in parts)])
    edges = [part.edge[:-1] + at for part, at in zip(parts, begin, strict=False)]
    return Held(
        np.concatenate([*edges, begin[-1:]]).astype(np.int64),
        np.concatenate([np.zeros(0, dtype=np.int32), *(part.link for part in parts)]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(part.bytes for part in parts)]),
    )


def _edges(rising: Small, count: int) -> Ints:
    """Where each of 0 … count − 1 begins, and the end."""
    found: Ints = np.searchsorted(rising, np.arange(count + 1)).astype(np.int64)
    return found


def _learn(
    prefixes: pl.Series,
    classes: Mapping[str, int],
    known: pl.DataFrame | None,
    chains: dict[tuple[int, ...], int],
    codes: dict[str, int],
    over: Over,
) -> pl.DataFrame:
    """prefix, chain, code of an epoch: what was known, and the prefixes that are new."""
    new = prefixes.unique().drop_nulls()
    if known is not None:
        new = new.filter(~new.is_in(known["prefix"].implode()))
    rows = []
    for prefix in new.sort().to_list():
        chain = tuple(classes[p] for p in over.of(prefix) if p in classes)
        own = chain if prefix in classes else (0, *chain)
        rows.append((prefix, chains.setdefault(own, len(chains)),
                     codes.setdefault(prefix, len(codes))))  # fmt: skip
    made = pl.DataFrame(
        rows, schema={"prefix": pl.String, "chain": pl.Int32, "code": pl.Int32}, orient="row"
    )
    return made if known is None else pl.concat([known, made])


class Over:
    """Which of some prefixes lie over another one, itself included, longest first."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._known: dict[tuple[int, int], dict[int, str]] = {}
        for prefix in prefixes:
            family, length, bits = _parts(prefix)
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
            family, length, bits = _parts(prefix)
            hits = (
                self._known[family, n].get(bits >> family - n)
                for n in self._lengths[family]
                if n <= length
            )
            found = self._found[prefix] = tuple(hit for hit in hits if hit is not None)
        return found


def _parts(prefix: str) -> tuple[int, int, int]:
    """Bits of the family, length, address as a number."""
    network = ipaddress.ip_network(prefix)
    return network.max_prefixlen, network.prefixlen, int(network.network_address)
