"""Which share of a link's bytes falls where, hour by hour, when links go (METHODS M12).

Compiled once for each set of removed links: weights (bytes of the hour's routes) from each link
to each that takes over. A slot's bytes are then split by the weights of its hour, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from flowpeer_reports.demand import Announced, Demand
from flowpeer_reports.kernels import LinkRoutes, Options, Small, fill, split_columns
from flowpeer_reports.link_ports import LinkPorts
from flowpeer_reports.loads import Loads
from flowpeer_reports.lookups import Lookups
from flowpeer_reports.offers import TRANSIT_RANK, Choice
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.removals import Removal

STAYS, GONE, NO_WAY = -1, -2, -3
"""In the place of a link: bytes that stay where they are, whose demand is gone, without a way."""


@dataclass(slots=True)
class Failover:
    """What becomes of the bytes of each link in one direction, when links go.

    Attributes:
        targets: link → places that its bytes go to, links rising, then STAYS, GONE, NO_WAY.
        weights: link → targets × hours, bytes of the hour's routes.
        may: link → the same for all that each port alone may receive (inbound), at the first of
            its links that may.
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
class FailoverCompiler:
    """Everything that failovers are compiled from."""

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
    def ports(self) -> LinkPorts:
        """Which links are one port."""
        return LinkPorts.of(self.found.links, self.choice.places.capacity)

    @cached_property
    def metro_names(self) -> list[str]:
        """Metro of each link."""
        return [self.choice.places.metros[m] for m in self.choice.places.metro_of_link.tolist()]

    @cached_property
    def lookups(self) -> Lookups:
        """The questions of the outbound routes, with the exits that each has while all links
        are there."""
        return Lookups.of(self.choice, self.demand)

    @cached_property
    def home_of_local(self) -> Ints:
        """Metro that the demand of each own prefix belongs to; −1: not stated."""
        number, home = self.choice.places.number, self.announced.home
        return np.array(
            [number(home[p]) if p is not None and p in home else -1 for p in self.demand.locals],
            dtype=np.int64,
        )

    def compile(self, removal: Removal) -> tuple[Failover, Failover]:
        """What becomes of outbound and of inbound bytes."""
        gone = np.zeros(self.found.links.height, dtype=np.bool_)
        gone[list(removal.links)] = True
        return self._out(removal, gone), self._into(removal, gone)

    def _asked(self, removal: Removal) -> tuple[dict[int, Small], Ints]:
        """What each outbound route asks, of links that something happens to, and the chains of a
        lost site's demand that moves.

        Beyond the questions of `lookups` come: it stays, it is gone, where to is that chain.
        Links that stay but lose some of a lost site's demand are among them with all their routes.
        """
        out, question = self.demand.out, self.lookups.question
        edge = out.edge.tolist()
        if removal.site is None:
            none = np.zeros(0, dtype=np.int64)
            return {n: question[edge[n] : edge[n + 1]] for n in removal.links}, none
        lost = out.home == self.choice.places.number(removal.site)
        if removal.prefixes is not None and out.local is not None:
            numbers = [n for n, p in enumerate(self.demand.locals) if p in removal.prefixes]
            lost &= np.isin(out.local, numbers)
        stays = len(self.lookups.chain)
        moving = np.unique(out.chain[lost]).astype(np.int64)
        asked = {}
        for link in range(self.found.links.height):
            span = slice(edge[link], edge[link + 1])
            mine = lost[span]
            if link not in removal.links and not mine.any():
                continue
            made = question[span].copy()
            if link not in removal.links:
                made[:] = stays
            if removal.to is None:
                made[mine] = stays + 1
            else:
                made[mine] = stays + 2 + np.searchsorted(moving, out.chain[span][mine])
            asked[link] = made
        return asked, moving

    def _out(self, removal: Removal, gone: Flags) -> Failover:
        asked, moving = self._asked(removal)
        looked, to = self.lookups, removal.to
        place = -1 if to is None else self.choice.places.number(to)
        chain = np.concatenate([looked.chain, [0, 0], moving])
        demand = np.concatenate([looked.demand, [0, 0], np.full(len(moving), place)])
        metro = np.concatenate([looked.exit_metro, np.full(2 + len(moving), -1)])
        used = np.zeros(len(chain), dtype=np.bool_)
        for questions in asked.values():
            used[questions] = True
        stays = len(looked.chain)
        used[stays : stays + 2] = False
        ids = np.flatnonzero(used)
        start, size, links, known = looked.ask(chain[ids], demand[ids], metro[ids], gone)
        answer = np.full(len(chain), -1, dtype=np.int32)
        answer[stays : stays + 2] = 0, 1
        answer[ids] = np.arange(2, len(ids) + 2)
        options = self._options(answer, start, size, links)
        merged_failover = Failover()
        tied, assumed = known & (size > 1), ~known & (size > 0)
        row = self.demand.out
        for link, questions in asked.items():
            span = slice(int(row.edge[link]), int(row.edge[link + 1]))
            if span.start == span.stop:
                continue
            rows = LinkRoutes(row.hour[span], questions, row.group[span], row.bytes[span])
            seen = np.zeros(len(options.pool), dtype=np.bool_)
            seen[answer[questions]] = True
            targets = _targets(
                np.unique(options.link[np.repeat(seen, np.diff(options.first))]).tolist(),
                NO_WAY if gone[link] else STAYS,
            )
            table = np.zeros((len(targets), self.demand.hours), dtype=np.int64)
            at = np.zeros(len(gone) + 3, dtype=np.int32)  # links, then NO_WAY, GONE, STAYS
            at[targets] = np.arange(len(targets))
            bytes_ = fill(rows, options, at[options.link], self.demand.held, table)[2:]
            merged_failover.targets[link], merged_failover.weights[link] = targets, table
            merged_failover.tie_bytes += int(bytes_[tied].sum())
            merged_failover.assumed_bytes += int(bytes_[assumed].sum())
        return merged_failover

    def _options(self, answer: Small, start: Ints, size: Ints, links: Ints) -> Options:
        """The exits of answers as the kernel takes them, behind those that stay and are gone.

        Those without any are without a way. Ties are split by capacity; equally where one of a
        tie is unknown.
        """
        count = np.concatenate([[1, 1], np.maximum(size, 1)]).astype(np.int64)
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        option = np.full(int(first[-1]), NO_WAY, dtype=np.int32)
        option[:2] = STAYS, GONE
        owner = np.repeat(np.arange(len(size)), size)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
        option[first[2:][owner] + within] = links[start[owner] + within]
        weight = np.where(option < 0, 1, self.choice.places.capacity[np.maximum(option, 0)])
        of = np.repeat(np.arange(len(count)), count)
        unknown = np.zeros(len(count), dtype=np.bool_)
        unknown[of[weight == 0]] = True
        weight[unknown[of]] = 1
        pool = np.arange(len(count), dtype=np.int32)
        ties: dict[bytes, int] = {}
        edges = first.tolist()
        for number in np.flatnonzero(count > 1).tolist():
            key = option[edges[number] : edges[number + 1]].tobytes()
            pool[number] = ties.setdefault(key, number)
        return Options(answer, first, pool, option, weight)

    @cached_property
    def absences(self) -> list[tuple[Flags, Flags]]:
        """Links that are not there, and the hours of which that is so."""
        absent = self.found.absent
        if not absent.any():
            return [(np.zeros(len(absent), np.bool_), np.ones(self.demand.hours, np.bool_))]
        kinds, of_hour = np.unique(absent, axis=1, return_inverse=True)
        of_hour = of_hour.reshape(-1)
        return [(kinds[:, n], of_hour == n) for n in range(kinds.shape[1])]

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

    def _into(self, removal: Removal, gone: Flags) -> Failover:
        made = Failover()
        every = range(len(gone)) if removal.site is not None else removal.links
        for link in every:
            amounts = self._amounts(removal, link, gone)
            if not amounts or (not gone[link] and set(amounts) == {(STAYS,)}):
                continue
            reached = {target for able in amounts for target in able}
            targets = _targets(list(reached), NO_WAY if gone[link] else STAYS)
            table = np.zeros((len(targets), self.demand.hours), dtype=np.int64)
            may = np.zeros_like(table)
            for able, amount in amounts.items():
                rows = [targets.index(t) for t in able]
                if able[0] < 0:
                    table[rows] += amount
                    continue
                table[rows] += split_columns(amount, self._carried(able))
                _, once = np.unique(self.ports.first[list(able)], return_index=True)
                may[np.array(rows)[once]] += amount
            made.targets[link], made.weights[link], made.may[link] = targets, table, may
        return made

    def _amounts(self, removal: Removal, link: int, gone: Flags) -> dict[tuple[int, ...], Ints]:
        """Links that bytes of a link may come in by, or what becomes of them → bytes by hour."""
        rows, places = self.demand.into, self.choice.places
        site = None if removal.site is None else places.number(removal.site)
        made: dict[tuple[int, ...], Ints] = {}
        first, end = int(rows.edge[link]), int(rows.edge[link + 1])
        local = rows.local[first:end]
        cuts = [*(first + np.flatnonzero(np.diff(local, prepend=-1))).tolist(), end]
        for start, stop in pairwise(cuts):
            number = int(rows.local[start])
            prefix, home = self.demand.locals[number], int(self.home_of_local[number])
            home = int(places.metro_of_link[link]) if home < 0 else home
            mine = removal.prefixes is None or prefix in removal.prefixes
            lost = site is not None and home == site and mine
            to = removal.to if lost else None
            hour, bytes_ = rows.hour[start:stop], rows.bytes[start:stop]
            for absent, hours in self.absences:
                able: tuple[int, ...]
                if not lost and not gone[link]:
                    able = (STAYS,)
                elif lost and removal.to is None:
                    able = (GONE,)
                else:
                    able = tuple(self.receivers(link, prefix, to, gone | absent).tolist())
                    able = able or (NO_WAY,)
                if able not in made:
                    made[able] = np.zeros(self.demand.hours, dtype=np.int64)
                mine_now = hours[hour]
                made[able][hour[mine_now]] += bytes_[mine_now]
        return made

    def _carried(self, able: Sequence[int]) -> Ints:
        """Links × hours: inbound bytes; capacities (equal where one is unknown) in hours without
        any."""
        weight = self.hourly_in[list(able)]
        bare = weight.sum(axis=0) == 0
        if bare.any():
            size = self.choice.places.capacity[list(able)]
            size = np.ones_like(size) if (size == 0).any() else size
            weight[:, bare] = size[:, None]
        return weight


def _targets(reached: Sequence[int], rest: int) -> list[int]:
    """Links rising, then STAYS, GONE, NO_WAY. `rest`: where bytes of hours without routes go."""
    present = {*reached, rest}
    return sorted(t for t in present if t >= 0) + sorted(
        (t for t in present if t < 0), reverse=True
    )


def merged(failovers: Sequence[Failover]) -> Failover:
    """Falls of different demand that happen together: each says what stays but for its own."""
    made = Failover()
    for link in sorted({link for failover in failovers for link in failover.targets}):
        mine = [failover for failover in failovers if link in failover.targets]
        total = mine[0].weights[link].sum(axis=0)
        sums: dict[int, Ints] = {}
        most: dict[int, Ints] = {}
        for failover in mine:
            for place, target in enumerate(failover.targets[link]):
                if target != STAYS:
                    part = failover.weights[link][place]
                    sums[target] = sums[target] + part if target in sums else part
                    if link in failover.may:
                        part = failover.may[link][place]
                        most[target] = most[target] + part if target in most else part
        sums[STAYS] = total - np.add.reduce([np.zeros_like(total), *sums.values()])
        targets = sorted(t for t in sums if t >= 0) + sorted(
            (t for t in sums if t < 0), reverse=True
        )
        made.targets[link] = targets
        made.weights[link] = np.stack([sums[t] for t in targets])
        if any(link in failover.may for failover in mine):
            none = np.zeros_like(total)
            made.may[link] = np.stack([most.get(t, none) for t in targets])
    made.tie_bytes = sum(failover.tie_bytes for failover in failovers)
    made.assumed_bytes = sum(failover.assumed_bytes for failover in failovers)
    return made
