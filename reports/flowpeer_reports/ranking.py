"""The ranking: what sessions should carry already, then the asks in order, then the tail (M7).

A **cell** is an atom of routes in a metro. A list is a sequence of rows over cells: each metro has
one over its own cells, and the organisation list goes over all of them. Every row has a part of
the cells in each of two accounts: *marginal* (known for it by any evidence, taken by no row above)
and *observed* (seen on its paths, taken by no row above that was seen on them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.asns import is_public
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.exclusions import OWN, SIBLING, transits
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.greedy import Entries, Selection
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.offload import DECLARED, INFERRED, OBSERVED, Cover, Kinds
from flowpeer_reports.parties import Parties
from flowpeer_reports.policy import Weights
from flowpeer_reports.relations import Flags, Ints, Positions, Reals
from flowpeer_reports.universe import Flows, Universe

ALREADY = 0
"""Rank of what a session exists for."""
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class Cells:
    """Transit traffic by metro and atom, one position a cell; a metro's cells are one run."""

    metros: tuple[str, ...]
    first: Ints
    """Cells of metro i are `first[i]:first[i + 1]`, in rising order of atoms."""
    atom: npt.NDArray[np.int32]
    out: Ints
    in_: Ints
    chosen: Ints
    """Bytes in the directions that rank."""
    variance: Reals
    rate_out: Reals
    """Bytes as the average of the period has them: those of a router that was silent for a part of
    it count for more (M5). The same as `out` where nothing is missing."""
    rate_in: Reals
    rate: Reals

    def of(self, metro: int) -> slice:
        """The cells of one metro."""
        return slice(int(self.first[metro]), int(self.first[metro + 1]))

    def metro_of(self) -> Ints:
        """The number of the metro of each cell."""
        return np.repeat(np.arange(len(self.metros)), np.diff(self.first))


@dataclass(slots=True)
class Row:
    """One row of one list. Volumes are bytes in the directions that rank; `*_rate` the same as
    averages count them."""

    rank: int | None
    """0: a session exists; None: the tail, all remaining candidates together."""
    asn: int | None
    """The network to ask, None where the row stands for `parties` of them."""
    cells: Positions
    """Its part of the marginal account."""
    kinds: Kinds
    """Evidence of each of `cells`."""
    seen: Positions
    """Its part of the observed account."""
    own: int = 0
    cone: int = 0
    marginal: int = 0
    observed: int = 0
    expected: float = 0.0
    own_rate: float = 0.0
    cone_rate: float = 0.0
    marginal_rate: float = 0.0
    observed_rate: float = 0.0
    inferred_rate: float = 0.0
    expected_rate: float = 0.0
    value: float | None = None
    """Expected money a month, where that is what the list is ranked by."""
    acceptance: float = 1.0
    refuses: bool = False
    """Policy *no* without an override: it takes nothing in the observed and expected accounts."""
    alone: tuple[float, float] = (0.0, 0.0)
    """Average bytes out and in of its own and observed routes, standing alone."""
    parties: int = 1
    note: str = ""
    behind: tuple[int, ...] = ()
    """Of a row with nothing left: ranks of the rows above that take its routes, most first."""
    tied: list[str] = field(default_factory=list)
    metros: tuple[int, ...] = ()
    """Numbers of the metros that it has cells in, by what it could take there."""


@dataclass(slots=True)
class Listing:
    """A list: its rows, and who has each cell. Cells are counted from `base` in `Cells`."""

    name: str
    """The metro, or "" for the organisations."""
    base: int
    slots: int
    total: int
    """Bytes in the directions that rank, of all cells."""
    owner: Positions
    """By cell: number of the row in the marginal account, −1 none."""
    seen_by: Positions
    """By cell: number of the row in the observed account, −1 none."""
    rows: list[Row] = field(default_factory=list)
    next_row: Row | None = None
    """What one more ask would add, where the list was cut at a number of asks."""
    candidates: int = 0


@dataclass(slots=True)
class Ranking:
    """Everything that the cells of the candidate lists are made from, and money is counted on."""

    cover: Cover
    parties: Parties
    cells: Cells
    flows: Flows
    """The scaled transit traffic of the period."""
    metros: list[Listing]
    organisations: Listing
    never: Mapping[int, str]
    directions: tuple[str, ...]
    eligible: list[Entries]
    """By metro: every candidate against the cells of the metro (counted from its first) that no
    session should carry."""
    acceptance: list[Reals]
    """By metro: how likely each of its `eligible` says yes (M10)."""
    alone: list[Reals]
    """By metro: average bytes out and in of own and observed routes of each of its `eligible`."""
    sessions: list[Sessions]
    """By metro: what sessions should carry, and what they do not announce to us."""

    def routes(self, listing: Listing) -> pl.DataFrame:
        """metro, prefix, origin_asn, row, seen_row, kind: the routes that rows of a list have.

        `row` and `seen_row` are positions in `listing.rows` by the marginal and the observed
        account (null: none); `kind` is the evidence of the marginal one.
        """
        kind = np.full(len(listing.owner), -1, dtype=np.int8)
        for row in listing.rows:
            kind[row.cells] = row.kinds
        held = np.flatnonzero((listing.owner >= 0) | (listing.seen_by >= 0))
        cell = held + listing.base
        names = pl.Series(self.cells.metros, dtype=pl.String)
        return (
            pl.DataFrame(
                {
                    "metro": names.gather(self.cells.metro_of()[cell]),
                    "atom": self.cells.atom[cell].astype(np.int32),
                    "row": listing.owner[held],
                    "seen_row": listing.seen_by[held],
                    "kind": kind[held],
                }
            )
            .with_columns(
                pl.when(pl.col(c) >= 0).then(pl.col(c)).alias(c) for c in ("row", "seen_row")
            )
            .join(self.cover.units, on="atom")
            .select("metro", "prefix", "origin_asn", "row", "seen_row", "kind")
        )


def bps(count: float, slots: int) -> float:
    """Bytes over that many slots as a rate; rounded, so that no sum's order shows."""
    return round(count * 8 / (slots * SLOT_SECONDS), 3)


def bps_of(counts: Reals, slots: int) -> Reals:
    """`bps` of many."""
    found: Reals = np.round(counts * 8 / (slots * SLOT_SECONDS), 3)
    return found


def cells_of(
    inputs: Inputs, flows: Flows, metros: Sequence[str], directions: Sequence[str]
) -> Cells:
    """The cells of `flows`, by metro in the order of `metros`."""
    links = flows.links.join(
        inputs.silence(), on=["metro", "exporter"], how="left", maintain_order="left"
    )
    weight = links["weight"].fill_null(1.0).to_numpy()
    way = links["direction"].to_numpy()
    parts = [_cells_of_metro(flows.of(metro), weight, way) for metro in metros]
    atom = np.concatenate([_NONE.astype(np.int32), *(part[0] for part in parts)])
    out, in_ = (np.concatenate([p[i] for p in parts] or [_NONE]) for i in (1, 2))
    spread_out, spread_in, rate_out, rate_in = (
        np.concatenate([part[i] for part in parts] or [np.zeros(0)]) for i in range(3, 7)
    )
    if len(directions) > 1:
        chosen, variance, rate = out + in_, spread_out + spread_in, rate_out + rate_in
    elif directions[0] == "out":
        chosen, variance, rate = out, spread_out, rate_out
    else:
        chosen, variance, rate = in_, spread_in, rate_in
    first = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]).astype(np.int64)
    return Cells(tuple(metros), first, atom, out, in_, chosen, variance, rate_out, rate_in, rate)


def _cells_of_metro(
    rows: pl.DataFrame, weight: Reals, way: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.int32], Ints, Ints, Reals, Reals, Reals, Reals]:
    """Atoms, bytes out and in, their variance, and bytes as averages count them; `weight` and
    `way` are those of links."""
    atom, at = np.unique(rows["atom"].to_numpy(), return_inverse=True)
    link, octets = rows["link"].to_numpy(), rows["bytes"].to_numpy()
    variance = rows["variance_high"].to_numpy()
    masks = [way[link] == direction for direction in ("out", "in")]

    def summed(values: Reals, mask: Flags) -> Reals:
        return np.bincount(at[mask], values[mask], len(atom)).astype(np.float64)

    whole = np.zeros((2, len(atom)), dtype=np.int64)
    for sums, mask in zip(whole, masks, strict=True):
        np.add.at(sums, at[mask], octets[mask])
    return (
        atom, *whole, *(summed(variance, m) for m in masks),
        *(summed(octets * weight[link], m) for m in masks),
    )  # fmt: skip


@dataclass(slots=True)
class Sessions:
    """What sessions have to do with the cells of a metro (counted from its first)."""

    held: list[tuple[int, Positions, str]]
    """Party, cells that it should carry already (row 0), a note; largest first, no cell twice."""
    withheld: list[tuple[int, Positions]]
    """Party, cells that it is seen on and does not announce to us, which nobody holds."""


@dataclass(slots=True)
class _Ready:
    """A metro made ready, or all of them as one: its candidates, and what is already peered."""

    base: int
    entries: Entries
    """Candidates against cells (counted from the first one there)."""
    acceptance: Reals
    refuses: Flags
    alone: Reals
    """Out and in, by candidate."""
    sessions: Sessions


def rank(
    inputs: Inputs,
    world: Universe,
    directions: Sequence[str],
    feasibility: Feasibility,
    asks: int | None = None,
    order: Mapping[str, Sequence[tuple[int, float]]] | None = None,
) -> Ranking:
    """The lists of all metros and of the organisations over them.

    Each stops after `asks` rows of rank 1 and above, or before the first that is expected to
    bring less than the policy's minimum; the latter leaves the rest in one row. `order`: by list,
    the ASNs that stand first, whatever they bring, and what each is valued at.
    """
    found, parties, metros = world.cover, world.parties, world.metros
    cells = cells_of(inputs, world.flows, metros, directions)
    origin_party = parties.named(np.where(found.origins > 0, found.origins, 0))
    ready = [
        _prepare(inputs, world, cells, i, feasibility, origin_party) for i in range(len(metros))
    ]
    policy, order = inputs.policy, order or {}

    def listing(name: str, span: slice, over: _Ready, share: Reals | None = None) -> Listing:
        build = _Build(
            cells, span, origin_party, policy.weights, inputs.period_slots, policy.min_expected_bps
        )
        return build.listing(name, over, asks, order.get(name, ()), share)

    return Ranking(
        found, parties, cells, world.flows,
        [listing(name, cells.of(i), ready[i]) for i, name in enumerate(metros)],
        listing("", slice(0, len(cells.atom)), *_together(cells, ready)),
        world.never, tuple(directions),
        [metro.entries for metro in ready], [metro.acceptance for metro in ready],
        [metro.alone for metro in ready], [metro.sessions for metro in ready],
    )  # fmt: skip


def _prepare(
    inputs: Inputs, world: Universe, cells: Cells, number: int, feasibility: Feasibility,
    origin_party: Ints,
) -> _Ready:  # fmt: skip
    parties, never = world.parties, world.never
    metro, span = cells.metros[number], cells.of(number)
    entries, peers, sessions = of_sessions(
        inputs, world.cover, parties, cells, number, never, origin_party
    )
    taken = np.zeros(span.stop - span.start, dtype=np.bool_)
    for _, part, _ in sessions.held:
        taken[part] = True

    barred = np.array(sorted(peers | {parties.of(a) for a in never}), dtype=np.int64)
    allowed = ~np.isin(entries.asns, barred)
    allowed &= is_public(entries.asns)
    # Cells count where a candidate takes anything that ranks; elsewhere nobody asks for them.
    allowed &= entries.totals(np.where(taken, 0, cells.chosen[span])) > 0
    entries = entries.keep(entries.spread(allowed).astype(np.bool_) & ~taken[entries.atom])
    seen = entries.kind == OBSERVED
    alone = np.stack(
        [entries.sums(np.where(seen, rate[span][entries.atom], 0.0))
         for rate in (cells.rate_out, cells.rate_in)], axis=1,
    )  # fmt: skip
    both_ways = bool(cells.out[span].any() and cells.in_[span].any())
    rates = bps_of(alone, inputs.period_slots)
    return _Ready(
        span.start, entries, feasibility.scores(entries.asns, metro, rates, both_ways),
        feasibility.refusing(entries.asns), alone, sessions,
    )  # fmt: skip


def of_sessions(
    inputs: Inputs, found: Cover, parties: Parties, cells: Cells, number: int,
    never: Mapping[int, str], origin_party: Ints,
) -> tuple[Entries, set[int], Sessions]:  # fmt: skip
    """Everybody against the cells of a metro, who has a session there, and what that means.

    `origin_party`: the party of each atom's origin.
    """
    span = cells.of(number)
    entries, parts = sessions_parts(inputs, found, parties, cells, number, never, origin_party)
    sessions = _already(parts, cells.chosen[span], (cells.out + cells.in_)[span])
    return entries, {part.asn for part in parts}, sessions


@dataclass(frozen=True, slots=True)
class SessionPart:
    """What a session of a metro is about, whoever else may hold it: cells counted from the
    metro's first."""

    asn: int
    cells: Positions
    lacking: Positions
    """Seen on its paths, and not announced to us."""
    provider: bool
    """It is our transit too: only its own routes are counted."""


def sessions_parts(
    inputs: Inputs, found: Cover, parties: Parties, cells: Cells, number: int,
    never: Mapping[int, str], origin_party: Ints,
) -> tuple[Entries, list[SessionPart]]:  # fmt: skip
    """Everybody against the cells of a metro, and what each session there should carry by the
    paths we see and by our tables (M14).

    What a session's loaded view lacks is not announced to us: others may be asked for it. Of a
    peer that is our transit too only its own routes count: what it announces to its peers is less
    than what it sells.
    """
    metro, span = cells.metros[number], cells.of(number)
    here = np.full(len(found.origins), -1, dtype=np.int32)
    here[cells.atom[span]] = np.arange(span.stop - span.start)
    entries = Entries(found.asns, found.first, found.atom, found.kind)
    entries = entries.keep(here[entries.atom] >= 0)
    entries = Entries(entries.asns, entries.first, here[entries.atom], entries.kind)
    ours = {a for a, why in never.items() if why in (OWN, SIBLING)}
    peers = {parties.of(a) for a in peers_in(inputs, metro) - ours}
    # Party → cells that our tables hold from it though it is seen on no path, and cells that it is
    # seen on and does not announce.
    announced: dict[int, tuple[list[int], list[int]]] = {}
    for asn, atom, withheld in (
        found.announced.filter(pl.col("metro") == metro)
        .select("asn", "atom", "withheld")
        .iter_rows()
    ):
        if here[atom] >= 0:
            announced.setdefault(asn, ([], []))[withheld].append(int(here[atom]))
    own, providers = origin_party[cells.atom[span]], {parties.of(a) for a in transits(inputs)}
    at = {int(a): i for i, a in enumerate(entries.asns)}
    made = []
    for asn in sorted(peers):
        seen = _NONE.astype(np.int32)
        if (i := at.get(asn)) is not None:
            mine = entries.of(i)
            seen = entries.atom[mine][entries.kind[mine] == OBSERVED]
        more, lacking = (np.array(c, dtype=np.int32) for c in announced.get(asn, ([], [])))
        part = np.union1d(np.setdiff1d(seen, lacking), more)
        lacking = np.intersect1d(seen, lacking)
        if asn in providers:
            part, lacking = part[own[part] == asn], lacking[own[lacking] == asn]
        made.append(SessionPart(asn, part, lacking, asn in providers))
    return entries, made


def peers_in(inputs: Inputs, metro: str) -> set[int]:
    """Networks with a session, or a private interconnection, in the metro."""
    sessions = inputs.sessions.filter(pl.col("metro") == metro)["asn"]
    ports = inputs.interfaces.filter(
        pl.col("metro") == metro, pl.col("role") == "peer", pl.col("asn").is_not_null()
    )["asn"]
    return {int(a) for a in (*sessions, *ports)}


def _already(parts: Sequence[SessionPart], chosen: Ints, both: Ints) -> Sessions:
    """What sessions should carry, the largest first, nothing twice (M14)."""
    order = sorted(
        parts, key=lambda p: (-int(chosen[p.cells].sum()), -int(both[p.cells].sum()), p.asn)
    )
    taken = np.zeros(len(chosen), dtype=np.bool_)
    found = Sessions([], [])
    for one in order:
        part = one.cells[~taken[one.cells]]
        taken[part] = True
        if len(part):
            note = "session exists in this metro"
            if one.provider:
                note += "; also our transit: only its own routes are counted"
            found.held.append((one.asn, part, note))
    for one in order:
        part = one.lacking[~taken[one.lacking]]
        taken[part] = True
        if len(part):
            found.withheld.append((one.asn, part))
    return found


def _together(cells: Cells, ready: Sequence[_Ready]) -> tuple[_Ready, Reals]:
    """All metros as one: candidates against all cells, and the acceptance of each entry, which is
    that of its own metro."""
    asns = np.unique(np.concatenate([m.entries.asns for m in ready] or [_NONE]))
    place = [np.searchsorted(asns, m.entries.asns) for m in ready]
    size = np.zeros(len(asns), dtype=np.int64)
    for metro, at in zip(ready, place, strict=True):
        size[at] += np.diff(metro.entries.first)
    first = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    cell = np.empty(first[-1], dtype=np.int32)
    kind, share = np.empty(first[-1], dtype=np.int8), np.empty(first[-1])
    refuses = np.zeros(len(asns), dtype=np.bool_)
    alone = np.zeros((len(asns), 2))
    # Of one ask over several metros: what it could take there, weighted, says how likely.
    taken, weighed = np.zeros(len(asns)), np.zeros(len(asns))
    free = first[:-1].copy()
    """Where the next metro's entries of each go: its cells are in the order of metros."""
    for metro, at in zip(ready, place, strict=True):
        entries, sizes = metro.entries, np.diff(metro.entries.first)
        to = np.repeat(free[at] - entries.first[:-1], sizes) + np.arange(len(entries.atom))
        here = entries.atom + np.int32(metro.base)
        cell[to], kind[to] = here, entries.kind
        share[to] = np.repeat(metro.acceptance, sizes)
        free[at] += sizes
        worth = entries.sums(cells.chosen[here].astype(np.float64) + 1e-9)
        taken[at] += worth
        weighed[at] += metro.acceptance * worth
        refuses[at] = metro.refuses
        alone[at] += metro.alone
    entries = Entries(asns, first, cell, kind)
    peered: dict[int, tuple[list[Positions], str]] = {}
    for metro in ready:
        for a, part, note in metro.sessions.held:
            parts, _ = peered.setdefault(a, ([], note.replace("in this metro", "there")))
            parts.append((part + metro.base).astype(np.int32))
    held = [(a, np.concatenate(parts), note) for a, (parts, note) in peered.items()]
    held.sort(key=lambda h: (-int(cells.chosen[h[1]].sum()), h[0]))
    return _Ready(0, entries, weighed / taken, refuses, alone, Sessions(held, [])), share


@dataclass(slots=True)
class _Build:
    """Makes one list over a run of cells."""

    cells: Cells
    span: slice
    origin_party: Ints
    weights: Weights
    slots: int
    least_bps: float

    def listing(
        self, name: str, ready: _Ready, asks: int | None, ahead: Sequence[tuple[int, float]],
        share: Reals | None,
    ) -> Listing:  # fmt: skip
        """`share`: acceptance by entry, where it is not that of the candidate."""
        cells, span, entries, refuses = self.cells, self.span, ready.entries, ready.refuses
        chosen, rate = cells.chosen[span], cells.rate[span]
        size = len(chosen)
        made = Listing(
            name, span.start, self.slots, int(chosen.sum()),
            np.full(size, -1, dtype=np.int32), np.full(size, -1, dtype=np.int32),
        )  # fmt: skip
        self._peered(made, ready.sessions.held)
        if share is None:
            share = np.repeat(ready.acceptance, np.diff(entries.first))
        for kind, weight in ((INFERRED, self.weights.inferred), (DECLARED, self.weights.declared)):
            np.multiply(share, weight, out=share, where=entries.kind == kind)
        search = Selection(
            entries, share, ~refuses, chosen.astype(np.float64), cells.variance[span]
        )
        cone, cone_rate = entries.totals(chosen), entries.totals(rate)
        made.candidates = int((cone > 0).sum())
        listed = np.zeros(len(entries.asns), dtype=np.bool_)
        money = dict(ahead)
        first = np.searchsorted(entries.asns, [asn for asn, _ in ahead]).tolist()
        for place, pick in enumerate(search.picks(first), start=1):
            party = pick.party
            expected = search.expected(party, rate)
            if pick.tied_with_above and made.rows:
                made.rows[-1].tied.append(f"AS{entries.asns[party]}")
            if bps(expected, self.slots) < self.least_bps and place > len(ahead):
                break
            row = self._row(made, entries, party, place)
            row.cone, row.cone_rate = int(cone[party]), float(cone_rate[party])
            row.expected, row.expected_rate = pick.gain, expected
            row.acceptance, row.refuses = float(ready.acceptance[party]), bool(refuses[party])
            row.alone = tuple(ready.alone[party].tolist())
            row.value = money.get(int(entries.asns[party]))
            if asks is not None and place > asks:
                made.next_row = row
                break
            if pick.tied_with_above:
                row.tied.append(f"AS{made.rows[-1].asn}")
            self._add(made, row)
            listed[party] = True
        if made.next_row is None:
            self._tail(made, entries, search, share, refuses, ~listed & (cone > 0))
        return made

    def _row(self, made: Listing, entries: Entries, party: int, place: int) -> Row:
        span = entries.of(party)
        every, kind, asn = entries.atom[span], entries.kind[span], entries.asns[party]
        free = made.owner[every] < 0
        seen = every[(kind == OBSERVED) & (made.seen_by[every] < 0)]
        row = Row(place, int(asn), every[free], kind[free], seen)
        own = every[self.origin_party[self.cells.atom[self.span][every]] == asn]
        row.own = int(self.cells.chosen[self.span][own].sum())
        row.own_rate = float(self.cells.rate[self.span][own].sum())
        rate = self.cells.rate[self.span][every]
        where = self._metro(every)
        sums = np.bincount(where, weights=rate, minlength=len(self.cells.metros))
        row.metros = tuple(sorted(np.unique(where).tolist(), key=lambda m: (-sums[m], m)))
        if not self.cells.chosen[self.span][row.cells].any():
            row.behind = self._behind(made, every)
        return row

    def _behind(self, made: Listing, every: Positions) -> tuple[int, ...]:
        """Ranks of the rows that hold these cells, by bytes."""
        held = every[made.owner[every] >= 0]
        sums = np.bincount(
            made.owner[held], self.cells.chosen[self.span][held], minlength=len(made.rows)
        )
        order = sorted(np.flatnonzero(sums).tolist(), key=lambda i: (-sums[i], i))
        return tuple(r for i in order if (r := made.rows[i].rank))

    def _add(self, made: Listing, row: Row) -> None:
        number = len(made.rows)
        made.owner[row.cells] = number
        if not row.refuses:
            made.seen_by[row.seen] = number
        self._sums(row)
        made.rows.append(row)

    def _sums(self, row: Row) -> None:
        chosen, rate = self.cells.chosen[self.span], self.cells.rate[self.span]
        row.marginal, row.observed = int(chosen[row.cells].sum()), int(chosen[row.seen].sum())
        row.marginal_rate = float(rate[row.cells].sum())
        row.observed_rate = float(rate[row.seen].sum())
        row.inferred_rate = float(rate[row.cells[row.kinds != OBSERVED]].sum())

    def _peered(self, made: Listing, held: list[tuple[int, Positions, str]]) -> None:
        """Rows of rank 0; those below the minimum are one."""
        rate, chosen = self.cells.rate[self.span], self.cells.chosen[self.span]
        small: list[Positions] = []
        for asn, part, note in held:
            if bps(float(rate[part].sum()), self.slots) < self.least_bps:
                small.append(part)
                continue
            self._add(made, self._already(part, asn, note))
        if len(small) == 1:  # one network is no smaller for going without its name
            made_of = next(h for h in held if h[1] is small[0])
            self._add(made, self._already(made_of[1], made_of[0], made_of[2]))
        elif small:
            row = self._already(np.concatenate(small), None, "sessions exist")
            row.parties = len(small)
            row.own = row.cone = int(chosen[row.cells].sum())
            self._add(made, row)

    def _already(self, part: Positions, asn: int | None, note: str) -> Row:
        cells, span = self.cells, self.span
        own = part if asn is None else part[self.origin_party[cells.atom[span][part]] == asn]
        row = Row(ALREADY, asn, part, np.full(len(part), OBSERVED, dtype=np.int8), part, note=note)
        row.own, row.own_rate = (
            int(cells.chosen[span][own].sum()),
            float(cells.rate[span][own].sum()),
        )
        row.cone = int(cells.chosen[span][part].sum())
        row.cone_rate = float(cells.rate[span][part].sum())
        row.expected, row.expected_rate = float(row.cone), row.cone_rate
        row.alone = (
            float(cells.rate_out[span][part].sum()),
            float(cells.rate_in[span][part].sum()),
        )
        row.metros = tuple(np.unique(self._metro(part)).tolist())
        return row

    def _tail(
        self,
        made: Listing,
        entries: Entries,
        search: Selection,
        share: Reals,
        refuses: Flags,
        rest: Flags,
    ) -> None:
        """The remaining candidates as one row; its figures need no order."""
        if not rest.any():
            return
        chosen, rate = self.cells.chosen[self.span], self.cells.rate[self.span]
        strongest = np.full(len(chosen), DECLARED + 1, dtype=np.int8)
        observed = np.zeros(len(chosen), dtype=np.bool_)
        remaining = np.zeros(len(chosen))
        for parties, batch in entries.batches():
            size = np.diff(entries.first[parties.start : parties.stop + 1])
            mine, willing = (np.repeat(m[parties], size) for m in (rest, rest & ~refuses))
            atom, kind = entries.atom[batch], entries.kind[batch]
            np.minimum.at(strongest, atom[mine], kind[mine])
            observed[atom[willing & (kind == OBSERVED)]] = True
            with np.errstate(divide="ignore"):
                np.add.at(remaining, atom[willing], np.log1p(-share[batch][willing]))
        part = _places((strongest <= DECLARED) & (made.owner < 0))
        row = Row(None, None, part, strongest[part], _places(observed & (made.seen_by < 0)))
        some = search.open * -np.expm1(remaining)
        row.expected, row.expected_rate = float((chosen * some).sum()), float((rate * some).sum())
        union = np.flatnonzero(strongest <= DECLARED)
        row.cone, row.cone_rate = int(chosen[union].sum()), float(rate[union].sum())
        origin = self.origin_party[self.cells.atom[self.span][union]]
        own = union[np.isin(origin, entries.asns[rest])]
        row.own, row.own_rate = int(chosen[own].sum()), float(rate[own].sum())
        row.parties = int(rest.sum())
        row.metros = tuple(np.unique(self._metro(union)).tolist())
        self._add(made, row)

    def _metro(self, cells: Positions) -> Ints:
        """The number of the metro of each of these cells."""
        found: Ints = np.searchsorted(self.cells.first, cells + self.span.start, side="right") - 1
        return found


def _places(mask: Flags) -> Positions:
    return np.flatnonzero(mask).astype(np.int32)
