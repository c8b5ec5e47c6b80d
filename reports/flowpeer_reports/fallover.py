"""Which share of a link's bytes falls where, hour by hour, when links go (METHODS M12).

Compiled once for each set of removed links: weights (bytes of the hour's routes) from each link
to each that takes over. A slot's bytes are then split by the weights of its hour, to the byte.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_reports.loads import Loads
from flowpeer_reports.offers import TRANSIT_RANK, Choice, Offers
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.removals import Removal
from flowpeer_reports.shares import split_columns, split_ragged

STAYS, GONE, NO_WAY = -1, -2, -3
"""In the place of a link: bytes that stay where they are, whose demand is gone, without a way."""


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
class Demand:
    """The hours' routes as numbers, outbound and inbound, summed as far as drills can tell.

    Attributes:
        out: hour, link, chain, home, code, bytes, and `local` where asked for; `chain` is a place
            in `chains`, `home` the number of a metro, `code` tells prefixes apart that use several
            links in the hour (−1: those of one link alone).
        into: hour, link, local, bytes; `local` is a place in `locals`.
        chains: classes of offers of a prefix and of those over it, longest first; chain 0 is
            that of bytes without a prefix.
        locals: own prefixes; None where the local end is not ours.
        hours: of the period.
    """

    out: Mapping[str, Ints]
    into: Mapping[str, Ints]
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
    keys = ["hour", "link", "chain", "home", "code", *(["local"] if by_local else [])]
    chains: dict[tuple[int, ...], int] = {(): 0}
    over = Over({p for classes in offers.of_prefix for p in classes})
    maps: dict[int, pl.DataFrame] = {}
    codes: dict[str, int] = {}
    locals_: dict[str | None, int] = {}
    homes = {p: choice.places.number(m) for p, m in announced.home.items()}
    metro = choice.places.metro_of_link
    out: list[pl.DataFrame] = []
    into: list[pl.DataFrame] = []
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
        into.append(
            numbered.filter(pl.col("direction") == "in")
            .group_by("hour", "link", "local").agg(pl.col("bytes").sum())
        )  # fmt: skip
        went = numbered.filter(pl.col("direction") == "out")
        epochs = epoch_of_hour[went["hour"].to_numpy()]
        went = went.with_columns(
            epoch=pl.Series(epochs, dtype=pl.Int64),
            home=pl.when(pl.col("home") < 0)
            .then(pl.Series(metro[went["link"].to_numpy()], dtype=pl.Int64))
            .otherwise("home"),
        )
        for epoch in np.unique(epochs).tolist():
            mine = went.filter(pl.col("epoch") == epoch)
            maps[epoch] = _learn(mine["prefix"], offers.of_prefix[epoch], maps.get(epoch),
                                 chains, codes, over)  # fmt: skip
            mine = mine.join(maps[epoch], on="prefix", how="left").with_columns(
                pl.col("chain").fill_null(0), pl.col("code").fill_null(-1)
            )
            several = pl.col("link").n_unique().over("hour", "code") > 1
            out.append(
                mine.with_columns(code=pl.when(several).then("code").otherwise(-1))
                .group_by(keys).agg(pl.col("bytes").sum())
            )  # fmt: skip
    return Demand(
        _arrays(out, [*keys, "bytes"]),
        _arrays(into, ["hour", "link", "local", "bytes"]),
        list(chains),
        list(locals_),
        len(epoch_of_hour),
    )


def _arrays(frames: Sequence[pl.DataFrame], columns: Sequence[str]) -> dict[str, Ints]:
    if not frames:
        return {c: np.zeros(0, dtype=np.int64) for c in columns}
    whole = pl.concat([f.select(pl.col(c).cast(pl.Int64) for c in columns) for f in frames])
    whole = whole.sort(columns)
    return {c: whole[c].to_numpy() for c in columns}


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
        rows, schema={"prefix": pl.String, "chain": pl.Int64, "code": pl.Int64}, orient="row"
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


@dataclass(slots=True)
class Fall:
    """What becomes of the bytes of each link in one direction, when links go.

    Attributes:
        targets: link → places that its bytes go to, links rising, then STAYS, GONE, NO_WAY.
        weights: link → targets × hours, bytes of the hour's routes.
        may: link → the same for all that each target alone may receive (inbound).
        tie_bytes, assumed_bytes: placed by a tie, by an assumption.
    """

    targets: dict[int, list[int]] = field(default_factory=dict)
    weights: dict[int, Ints] = field(default_factory=dict)
    may: dict[int, Ints] = field(default_factory=dict)
    tie_bytes: int = 0
    assumed_bytes: int = 0

    def split(self, link: int, bytes_: Ints, hour_of_slot: Ints) -> Ints:
        """targets × slots: a link's bytes of each slot, by the weights of its hour, exactly.

        Bytes of an hour without routes stay where the link does, else they are without a way.
        """
        weights = self.weights[link][:, hour_of_slot]
        bare = weights.sum(axis=0) == 0
        if bare.any():
            rest = STAYS if STAYS in self.targets[link] else NO_WAY
            weights = weights.copy()
            weights[self.targets[link].index(rest), bare] = 1
        return split_columns(bytes_, weights)


@dataclass(frozen=True)
class Compiler:
    """Everything that falls are compiled from."""

    found: Loads
    choice: Choice
    demand: Demand
    announced: Announced
    hourly_in: Ints
    """Links × hours: inbound bytes, by which inbound traffic is shared."""

    @cached_property
    def asns(self) -> Ints:
        """Neighbour of each link; −1 where there is none to name."""
        found: Ints = self.found.links["provider_asn"].fill_null(-1).to_numpy()
        return found

    @cached_property
    def metro_names(self) -> list[str]:
        """Metro of each link."""
        return [self.choice.places.metros[m] for m in self.choice.places.metro_of_link.tolist()]

    @cached_property
    def _several(self) -> tuple[Ints, Ints]:
        """Keys of (hour, code, link) of prefixes with several links, rising, and their bytes."""
        rows = self.demand.out
        several = rows["code"] >= 0
        key = self._key(rows["hour"][several], rows["code"][several], rows["link"][several])
        keys, place = np.unique(key, return_inverse=True)
        sums = np.zeros(len(keys), dtype=np.int64)
        np.add.at(sums, place, rows["bytes"][several])
        return keys, sums

    def _key(self, hour: Ints, code: Ints, link: Ints) -> Ints:
        high = int(self.demand.out["code"].max(initial=0)) + 1
        return (hour * high + code) * self.found.links.height + link

    def compile(self, batch: Sequence[Removal]) -> list[tuple[Fall, Fall]]:
        """(outbound, inbound) of each removal; no link is in two of them."""
        return list(zip(self._out(batch), self._into(batch), strict=True))

    def _sets(self, batch: Sequence[Removal]) -> tuple[npt.NDArray[np.bool_], Ints]:
        gone = np.zeros((len(batch), self.found.links.height), dtype=np.bool_)
        of_link = np.full(self.found.links.height, -1, dtype=np.int64)
        for number, removal in enumerate(batch):
            gone[number, list(removal.links)] = True
            of_link[list(removal.links)] = number
        return gone, of_link

    def _affected(
        self, batch: Sequence[Removal], rows: Mapping[str, Ints], home: Ints, of_link: Ints
    ) -> tuple[Ints, Ints, Flags]:
        """Rows that something happens to, their removal, and whose demand belongs to a lost site.

        Links that stay but lose some of a lost site's demand are among them with all their rows.
        """
        link, site, prefixes = rows["link"], batch[0].site, batch[0].prefixes
        if site is None:
            row = np.flatnonzero(of_link[link] >= 0)
            return row, of_link[link[row]], np.zeros(len(row), dtype=np.bool_)
        lost = home == self.choice.places.number(site)
        if prefixes is not None:
            numbers = [n for n, p in enumerate(self.demand.locals) if p in prefixes]
            lost &= np.isin(rows["local"], numbers)
        touched = np.isin(link, link[lost]) | (of_link[link] >= 0)
        row = np.flatnonzero(touched)
        return row, np.zeros(len(row), dtype=np.int64), lost[row]

    def _out(self, batch: Sequence[Removal]) -> list[Fall]:
        rows, places = self.demand.out, self.choice.places
        gone, of_link = self._sets(batch)
        row, set_, lost = self._affected(batch, rows, rows["home"], of_link)
        hour, link, chain, home, code, bytes_ = (
            rows[c][row] for c in ("hour", "link", "chain", "home", "code", "bytes")
        )
        exit_metro = places.metro_of_link[link]
        to = batch[0].to
        demand = np.where(lost, places.number(to), home) if to is not None else home
        exit_metro = np.where(lost, -1, exit_metro)
        # Questions that are alike are asked once.
        wide = len(places.metros) + 1
        key = ((chain * wide + demand) * wide + exit_metro + 1) * len(batch) + set_
        asked, place, back = np.unique(key, return_index=True, return_inverse=True)
        del asked
        start, size, target, known = self._ask(
            chain[place], demand[place], exit_metro[place], gone, set_[place]
        )
        count = size[back]
        stays = (of_link[link] < 0) & ~lost
        leaves = lost & (to is None)
        entries: list[tuple[Ints, Ints, Ints, Ints, Ints]] = []  # set, link, target, hour, bytes

        def put(which: Flags, code_: int) -> None:
            at = np.flatnonzero(which)
            entries.append((set_[at], link[at], np.full(len(at), code_), hour[at], bytes_[at]))

        put(stays, STAYS)
        put(leaves, GONE)
        moving = ~stays & ~leaves
        put(moving & (count == 0), NO_WAY)
        at = np.flatnonzero(moving & (count == 1))
        entries.append((set_[at], link[at], target[start[back[at]]], hour[at], bytes_[at]))
        tied = np.flatnonzero(moving & (count > 1))
        entries += self._tied(tied, start[back], count, target, set_, link, hour, code, bytes_)
        falls = _falls(entries, gone, self.demand.hours)
        for number, fall in enumerate(falls):
            mine = moving & (set_ == number) & (count > 0)
            fall.tie_bytes = int(bytes_[mine & (count > 1) & known[back]].sum())
            fall.assumed_bytes = int(bytes_[mine & ~known[back]].sum())
        return falls

    @cached_property
    def _chains(self) -> Ints:
        """Chains × steps: classes, −1 beyond the end of a chain."""
        longest = max((len(c) for c in self.demand.chains), default=0)
        table = np.full((len(self.demand.chains), longest + 1), -1, dtype=np.int64)
        for number, chain in enumerate(self.demand.chains):
            table[number, : len(chain)] = chain
        return table

    def _ask(
        self, chain: Ints, demand: Ints, exit_metro: Ints, gone: npt.NDArray[np.bool_], set_: Ints
    ) -> tuple[Ints, Ints, Ints, Flags]:
        """Exits of each question: of the prefix, else of the longest over it that has one.

        Taking away links that are no contenders changes nothing, so each class is asked once with
        every link there, and again only where a contender, or an exit, is gone.

        Returns:
            start, size: the exits of question i are `links[start[i] : start[i] + size[i]]`.
            links.
            known: by offers that the tables show.
        """
        start, size = np.zeros((2, len(chain)), dtype=np.int64)
        known = np.zeros(len(chain), dtype=np.bool_)
        pool: list[Ints] = []
        used = 0
        open_ = np.flatnonzero(chain > 0)
        wide = len(self.choice.places.metros) + 1
        step = 0
        while len(open_):
            class_ = self._chains[chain[open_], step]
            open_, class_ = open_[class_ >= 0], class_[class_ >= 0]
            if not len(open_):
                break
            key = (class_ * wide + demand[open_]) * wide + exit_metro[open_] + 1
            _, place, back = np.unique(key, return_index=True, return_inverse=True)
            head = open_[place]
            whole = self.choice.exits(
                class_[place], demand[head], exit_metro[head],
                routed=np.full(len(head), step == 0),
            )  # fmt: skip
            counts = whole.count[back]
            start[open_], size[open_] = used + whole.first[back], counts
            known[open_] = whole.known[back]
            hit = np.zeros(len(open_), dtype=np.bool_)
            query, link = whole.contenders
            edges = np.searchsorted(query, np.arange(len(head) + 1))
            for first, links in ((whole.first, whole.link), (edges, link)):
                owner, rival = _options(first[back], np.diff(first)[back], links)
                hit[owner[gone[set_[open_][owner], rival]]] = True
            pool.append(whole.link)
            used += len(whole.link)
            again = np.flatnonzero(hit)
            query = open_[again]
            answer = self.choice.exits(
                class_[again], demand[query], exit_metro[query],
                routed=np.full(len(query), step == 0), gone=gone, gone_row=set_[query],
            )  # fmt: skip
            start[query], size[query] = used + answer.first[:-1], answer.count
            known[query] = answer.known
            pool.append(answer.link)
            used += len(answer.link)
            open_ = open_[size[open_] == 0]
            step += 1
        return start, size, np.concatenate([np.zeros(0, dtype=np.int64), *pool]), known

    def _tied(
        self, at: Ints, start: Ints, count: Ints, target: Ints, set_: Ints, link: Ints, hour: Ints,
        code: Ints, bytes_: Ints,
    ) -> list[tuple[Ints, Ints, Ints, Ints, Ints]]:  # fmt: skip
        """Ties: by the present bytes of the prefix on the tied exits, else by their capacity.

        What has no present bytes there is split together: all of an hour and link that fall to the
        same tie.
        """
        if not len(at):
            return []
        owner, option = _options(start[at], count[at], target)
        present = self._present(hour[at][owner], code[at][owner], option)
        held = np.zeros(len(at), dtype=np.int64)
        np.add.at(held, owner, present)
        own = held > 0
        made = []
        if own.any():
            keep = own[owner]
            part = split_ragged(bytes_[at][own], _edges(count[at][own]), present[keep])
            rows = at[owner[keep]]
            made.append((set_[rows], link[rows], option[keep], hour[rows], part))
        rest = at[~own]
        if len(rest):
            # Ties of the same links, wherever they stand.
            ties: dict[tuple[int, ...], int] = {}
            places, back = np.unique(start[rest], return_inverse=True)
            first = np.zeros(len(places), dtype=np.int64)
            first[back] = count[rest]
            tie = np.array(
                [
                    ties.setdefault(tuple(target[a : a + n].tolist()), len(ties))
                    for a, n in zip(places.tolist(), first.tolist(), strict=True)
                ],
                dtype=np.int64,
            )[back]
            key = (hour[rest] * self.found.links.height + link[rest]) * len(ties) + tie
            pools, place, back = np.unique(key, return_index=True, return_inverse=True)
            amount = np.zeros(len(pools), dtype=np.int64)
            np.add.at(amount, back, bytes_[rest])
            head = rest[place]
            owner, option = _options(start[head], count[head], target)
            weight = self._capacity(option, owner, len(head))
            part = split_ragged(amount, _edges(count[head]), weight)
            rows = head[owner]
            made.append((set_[rows], link[rows], option, hour[rows], part))
        return made

    def _present(self, hour: Ints, code: Ints, link: Ints) -> Ints:
        """Bytes of a prefix on a link in an hour; 0 for prefixes of one link alone."""
        keys, sums = self._several
        if not len(keys):
            return np.zeros(len(hour), dtype=np.int64)
        asked = self._key(hour, code, link)
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        found: Ints = np.where((keys[at] == asked) & (code >= 0), sums[at], 0)
        return found

    def _capacity(self, option: Ints, owner: Ints, count: int) -> Ints:
        """Capacities as weights; equal ones where one of a tie is unknown."""
        size = self.choice.places.capacity[option]
        unknown = np.zeros(count, dtype=np.bool_)
        unknown[owner[size == 0]] = True
        found: Ints = np.where(unknown[owner], 1, size)
        return found

    def receivers(self, link: int, local: str | None, to: str | None, gone: Flags) -> Ints:
        """Links that inbound bytes of a link may come in by when it goes.

        Surviving transit links, and links of the same neighbour, in the metros that announce the
        local prefix or one over it.
        """
        places = self.choice.places
        here = int(places.metro_of_link[link])
        base = here if to is None else places.number(to)
        stated = self.announced.metros.get(local or "")
        if to is not None:
            allowed = np.zeros(len(places.metros), dtype=np.bool_)
            allowed[base] = True
        elif stated is None:
            allowed = places.allowed[self.choice.default_scope, base]
        else:
            allowed = np.array([m in stated for m in places.metros], dtype=np.bool_)
        same = (self.asns == self.asns[link]) & (self.asns[link] >= 0)
        transit = places.role_rank == TRANSIT_RANK
        able = (transit | same) & ~gone & allowed[places.metro_of_link]
        return np.flatnonzero(able)

    def _into(self, batch: Sequence[Removal]) -> list[Fall]:
        rows, places = self.demand.into, self.choice.places
        gone, of_link = self._sets(batch)
        homes = np.array(
            [
                places.number(self.announced.home[p or ""])
                if (p or "") in self.announced.home
                else -1
                for p in self.demand.locals
            ],
            dtype=np.int64,
        )
        home = homes[rows["local"]] if len(homes) else np.zeros(0, dtype=np.int64)
        home = np.where(home < 0, places.metro_of_link[rows["link"]], home)
        row, set_, lost = self._affected(batch, rows, home, of_link)
        hour, link, local, bytes_ = (rows[c][row] for c in ("hour", "link", "local", "bytes"))
        to = batch[0].to
        stays = (of_link[link] < 0) & ~lost
        leaves = lost & (to is None)
        entries: list[tuple[Ints, Ints, Ints, Ints, Ints]] = []

        def put(which: Flags, code: int) -> None:
            at = np.flatnonzero(which)
            entries.append((set_[at], link[at], np.full(len(at), code), hour[at], bytes_[at]))

        put(stays, STAYS)
        put(leaves, GONE)
        moving = np.flatnonzero(~stays & ~leaves)
        key = (link[moving] * (len(self.demand.locals) + 1) + local[moving]) * 2 + lost[moving]
        kinds, place, back = np.unique(key, return_index=True, return_inverse=True)
        order = np.argsort(back, kind="stable")
        edges = np.searchsorted(back[order], np.arange(len(kinds) + 1))
        pools: dict[tuple[int, tuple[int, ...]], list[Ints]] = {}
        for number in range(len(kinds)):
            head = moving[place[number]]
            able = self.receivers(
                int(link[head]), self.demand.locals[int(local[head])],
                to if lost[head] else None, gone[set_[head]],
            )  # fmt: skip
            members = moving[order[edges[number] : edges[number + 1]]]
            pools.setdefault((int(link[head]), tuple(able.tolist())), []).append(members)
        tables: list[tuple[int, int, tuple[int, ...], Ints, Ints]] = []
        for (from_, able_), parts in pools.items():
            at = np.concatenate(parts)
            if not able_:
                entries.append((set_[at], link[at], np.full(len(at), NO_WAY), hour[at], bytes_[at]))
                continue
            amount = _summed(hour[at], bytes_[at], self.demand.hours)
            able = np.array(able_, dtype=np.int64)
            weight = self.hourly_in[able]
            bare = weight.sum(axis=0) == 0
            if bare.any():
                size = places.capacity[able]
                size = np.ones_like(size) if (size == 0).any() else size
                weight = np.where(bare, size[:, None], weight)
            part = split_columns(amount, weight)
            tables.append((int(set_[at[0]]), from_, able_, part, amount))
            zero = np.zeros(1, dtype=np.int64)
            entries += [
                (zero + int(set_[at[0]]), zero + from_, zero + target, zero, zero)
                for target in able_
            ]  # so that each has a row
        falls = _falls(entries, gone, self.demand.hours)
        for fall in falls:
            fall.may = {k: np.zeros_like(v) for k, v in fall.weights.items()}
        for number, from_, able_, part, amount in tables:
            fall = falls[number]
            rows_ = [fall.targets[from_].index(t) for t in able_]
            fall.weights[from_][rows_] += part
            fall.may[from_][rows_] += amount
        return falls


def merged(falls: Sequence[Fall]) -> Fall:
    """Falls of different demand that happen together: each says what stays but for its own."""
    whole = Fall()
    for link in sorted({link for fall in falls for link in fall.targets}):
        mine = [fall for fall in falls if link in fall.targets]
        total = mine[0].weights[link].sum(axis=0)
        sums: dict[int, Ints] = {}
        most: dict[int, Ints] = {}
        for fall in mine:
            for place, target in enumerate(fall.targets[link]):
                if target != STAYS:
                    part = fall.weights[link][place]
                    sums[target] = sums[target] + part if target in sums else part
                    if link in fall.may:
                        part = fall.may[link][place]
                        most[target] = most[target] + part if target in most else part
        sums[STAYS] = total - np.add.reduce([np.zeros_like(total), *sums.values()])
        targets = sorted(t for t in sums if t >= 0) + sorted(
            (t for t in sums if t < 0), reverse=True
        )
        whole.targets[link] = targets
        whole.weights[link] = np.stack([sums[t] for t in targets])
        if any(link in fall.may for fall in mine):
            none = np.zeros_like(total)
            whole.may[link] = np.stack([most.get(t, none) for t in targets])
    whole.tie_bytes = sum(fall.tie_bytes for fall in falls)
    whole.assumed_bytes = sum(fall.assumed_bytes for fall in falls)
    return whole


def _options(start: Ints, count: Ints, target: Ints) -> tuple[Ints, Ints]:
    """Which question each option is of, and the options `target[start : start + count]`."""
    owner = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    return owner, target[np.repeat(start, count) + within]


def _edges(count: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(count)]).astype(np.int64)


def _summed(hour: Ints, bytes_: Ints, hours: int) -> Ints:
    found = np.zeros(hours, dtype=np.int64)
    np.add.at(found, hour, bytes_)
    return found


def _falls(
    entries: Sequence[tuple[Ints, Ints, Ints, Ints, Ints]],
    gone: npt.NDArray[np.bool_],
    hours: int,
) -> list[Fall]:
    """Entries (set, link, target, hour, bytes) as tables of each set and link."""
    falls = [Fall() for _ in gone]
    columns = [np.concatenate([np.zeros(0, np.int64), *(e[i] for e in entries)]) for i in range(5)]
    set_, link, target, hour, bytes_ = (c.astype(np.int64) for c in columns)
    if not len(set_):
        return falls
    pair = set_ * (int(link.max()) + 1) + link
    order = np.argsort(pair, kind="stable")
    edges = np.flatnonzero(np.diff(pair[order])) + 1
    for part in np.split(order, edges):
        # Bytes of hours without routes need a place: they stay, or are without a way.
        rest = NO_WAY if gone[set_[part[0]], link[part[0]]] else STAYS
        present = {*np.unique(target[part]).tolist(), rest}
        targets = sorted(t for t in present if t >= 0) + sorted(
            (t for t in present if t < 0), reverse=True
        )
        row_of = {t: i for i, t in enumerate(targets)}
        rows = np.array([row_of[t] for t in target[part].tolist()], dtype=np.int64)
        table = np.zeros((len(targets), hours), dtype=np.int64)
        np.add.at(table, (rows, hour[part]), bytes_[part])
        fall = falls[int(set_[part[0]])]
        fall.targets[int(link[part[0]])] = targets
        fall.weights[int(link[part[0]])] = table
    return falls
