"""What an exchange would take: its members' routes, by how they can be won (METHODS M18)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from flowpeer_reports.billing.joining import Joining, joining_money, want_joining
from flowpeer_reports.billing.rows import BilledPeriod
from flowpeer_reports.candidates import Candidates, series_of
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.exchanges import EXCHANGES, OPENINGS
from flowpeer_reports.errors import ReportError
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.meeting import JOIN_IX, MeetingPlaces
from flowpeer_reports.offload import OBSERVED
from flowpeer_reports.ports import port_p95
from flowpeer_reports.ranking import ALREADY, Ranking, bps
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.store import MemoryStore, Stores

TIERS = ("rs", "open", "selective", "all")
"""How members are won, each with those before it."""
OPEN_TIER = 1
_POLICY_TIER = {"Open": 1, "Selective": 2, "Restrictive": 3, None: 3}
"""The tier from which a member of that policy counts; *No* never does."""


@dataclass(slots=True)
class Exchanges:
    """The answer; frames have the columns EXCHANGES and OPENINGS."""

    rows: pl.DataFrame
    openings: pl.DataFrame
    notes: list[str]
    members: dict[tuple[str, int], tuple[int, ...]]
    """(metro, exchange) → the parties behind its row."""


@dataclass(slots=True)
class _Exchange:
    ix: int
    joined: bool
    members: tuple[int, ...]
    tiers: list[Flags]
    """By tier: cells of the metro that members take."""
    observed: Flags
    open_observed: Flags
    """What members of the tiers up to open are seen on."""


@dataclass(slots=True)
class _Priced:
    """What the money of a metro's exchanges is counted on."""

    number: int
    above: Ints
    """Cells that sessions and signed asks carry."""
    exchanges: list[Joining]


def exchanges(
    inputs: Inputs,
    found: Candidates,
    billed: BilledPeriod | None = None,
    stores: Stores = MemoryStore,
) -> Exchanges:
    """The exchanges of each metro of `found`, ours and others, in the order of what they add.

    What existing sessions and accepted asks carry is nobody's any more; networks that are never
    asked count for no exchange.

    Args:
        billed: what money is counted on; without it the columns of money are empty.
        stores: make where the slots of what exchanges take are held meanwhile.
    """
    ranking = found.ranking
    places = MeetingPlaces(inputs, ranking.parties)
    feasibility = Feasibility(inputs, places)
    ports = port_p95(inputs)
    rows: list[dict[str, Any]] = []
    openings: list[dict[str, Any]] = []
    members: dict[tuple[str, int], tuple[int, ...]] = {}
    money: list[_Priced] = []
    for number, listing in enumerate(ranking.metros):
        metro = listing.name
        here = places.here.get(metro)
        if here is None:
            continue
        rate = ranking.cells.rate[ranking.cells.of(number)]
        takes = _members(ranking, number, places, feasibility)
        signed = np.zeros(len(rate), dtype=np.bool_)
        for asn in inputs.accepted.get(metro, ()):
            signed |= _cells(found, number, ranking.parties.of(asn), True)
        made = [
            _exchange(found, number, ix, ix in here.exchanges, of, feasibility, places)
            for ix, of in sorted(takes.items())
        ]
        taken = {tier: signed.copy() for tier in ("open", "all")}
        gone = _carried(found, number, inputs.accepted.get(metro, ()))
        priced = _Priced(number, np.flatnonzero(gone) + listing.base, [])
        money.append(priced)
        rank = 0
        while made:
            best = max(
                made,
                key=lambda e: (
                    rate[e.tiers[1] & ~taken["open"]].sum(),
                    rate[e.tiers[3] & ~taken["all"]].sum(),
                    -e.ix,
                ),
            )
            made.remove(best)
            rank += 1
            marginal, marginal_all = (
                bps(float(rate[best.tiers[t] & ~taken[name]].sum()), listing.slots)
                for t, name in ((1, "open"), (3, "all"))
            )
            speed = here.exchanges.get(best.ix, (False, None))[1]
            headroom = None if not speed else 0.8 * speed - ports.get((metro, best.ix), 0.0)
            members[metro, best.ix] = best.members
            priced.exchanges.append(
                Joining(best.ix, best.joined,
                        np.flatnonzero(best.open_observed & ~gone) + listing.base,
                        None if headroom is None else max(0.0, headroom))
            )  # fmt: skip
            gone |= best.open_observed
            rows.append(
                {
                    "rank": rank, "metro": metro, "ix_id": best.ix,
                    "exchange": places.registry.exchange(best.ix), "joined": best.joined,
                    "members": len(best.members),
                    **{f"{name}_bps": bps(float(rate[cells].sum()), listing.slots)
                       for name, cells in zip(TIERS, best.tiers, strict=True)},
                    "observed_bps": bps(float(rate[best.observed].sum()), listing.slots),
                    "marginal_bps": marginal, "marginal_all_bps": marginal_all,
                    "over_port_bps": None if headroom is None
                    else round(max(0.0, marginal - max(0.0, headroom)), 3),
                    "currency": inputs.currency,
                }
            )  # fmt: skip
            taken["open"] |= best.tiers[1]
            taken["all"] |= best.tiers[3]
        openings += _openings(found, metro, places)
    notes = _notes(inputs)
    if billed is not None:
        world, metros = found.universe, ranking.metros
        series = series_of(
            inputs,
            billed,
            world.cover,
            ranking.cells,
            ranking.flows,
            stores(),
            world.since,
        )
        for one in money:
            want_joining(series, metros[one.number].name, one.above, one.exchanges)
        series.load()
        amounts = [
            line
            for one in money
            for line in joining_money(
                billed, series, metros[one.number].name, one.number, one.exchanges
            )
        ]
        for row, line in zip(rows, amounts, strict=True):
            row |= line
        notes.append(
            "money of exchanges: observed outbound routes of members on the route servers or of "
            "open policy, after the exchanges above"
        )
    return Exchanges(
        _frame(EXCHANGES, rows),
        _frame(OPENINGS, openings) if billed is None else found.openings,
        notes,
        members,
    )


def _carried(found: Candidates, number: int, accepted: Iterable[int]) -> Flags:
    """Cells of a metro that sessions should carry, or that signed asks are seen on."""
    listing = found.ranking.metros[number]
    mask = np.zeros(len(listing.owner), dtype=np.bool_)
    for row in listing.rows:
        if row.rank == ALREADY:
            mask[row.seen] = True
    for asn in accepted:
        mask |= _cells(found, number, found.ranking.parties.of(asn), False)
    return mask


def easy_members(
    ranking: Ranking, number: int, places: MeetingPlaces, feasibility: Feasibility
) -> dict[int, list[int]]:
    """Exchange → its members in a metro that its route servers reach, or whose policy is open: the
    parties behind `open_bps`."""
    metro = ranking.metros[number].name
    if metro not in places.here:
        return {}
    every = _members(ranking, number, places, feasibility)
    return {
        ix: [asn for asn in of if _tier(asn, metro, ix, places, feasibility) <= OPEN_TIER]
        for ix, of in every.items()
    }


def _members(
    ranking: Ranking, number: int, places: MeetingPlaces, feasibility: Feasibility
) -> dict[int, list[int]]:
    """Exchange → candidates of the metro with an operational port there, none of policy *no*."""
    metro = ranking.metros[number].name
    at: dict[int, list[int]] = {}
    here = places.here[metro]
    for ix in (*here.exchanges, *here.local_exchanges):
        at.setdefault(ix, [])
    for asn in ranking.eligible[number].asns.tolist():
        if feasibility.policy(asn) != "No":
            for ix in places.ports_in(asn, metro):
                at.setdefault(ix, []).append(asn)
    return at


def _cells(found: Candidates, number: int, asn: int, every: bool) -> Flags:
    """Cells of a metro that a party takes: by any evidence, else observed ones."""
    entries = found.ranking.eligible[number]
    mask = np.zeros(len(found.ranking.metros[number].owner), dtype=np.bool_)
    at = int(np.searchsorted(entries.asns, asn))
    if at < len(entries.asns) and entries.asns[at] == asn:
        span = entries.of(at)
        mask[entries.atom[span][every | (entries.kind[span] == OBSERVED)]] = True
    return mask


def _exchange(
    found: Candidates,
    number: int,
    ix: int,
    joined: bool,
    members: Iterable[int],
    feasibility: Feasibility,
    places: MeetingPlaces,
) -> _Exchange:
    metro = found.ranking.metros[number].name
    tiers = [np.zeros(len(found.ranking.metros[number].owner), dtype=np.bool_) for _ in TIERS]
    observed, open_observed = tiers[0].copy(), tiers[0].copy()
    for asn in members:
        tier = _tier(asn, metro, ix, places, feasibility)
        mine = _cells(found, number, asn, True)
        for mask in tiers[tier:]:
            mask |= mine
        seen = _cells(found, number, asn, False)
        observed |= seen
        if tier <= OPEN_TIER:
            open_observed |= seen
    return _Exchange(ix, joined, tuple(members), tiers, observed, open_observed)


def _tier(asn: int, metro: str, ix: int, places: MeetingPlaces, feasibility: Feasibility) -> int:
    """The first of TIERS that a member counts in."""
    ports = places.ports_in(asn, metro)[ix]
    by_servers = any(p.route_servers and not p.never_route_servers for p in ports)
    return 0 if by_servers else _POLICY_TIER[feasibility.policy(asn)]


def _openings(found: Candidates, metro: str, places: MeetingPlaces) -> list[dict[str, Any]]:
    """Exchanges that we are not on, with the rows of the list that would be met there."""
    at: dict[int, list[int]] = {}
    listed = found.places.filter(
        pl.col("metro") == metro, pl.col("option") == 1, pl.col("meet_rank") == JOIN_IX
    )
    for asn, ix in listed.select("asn", "ix_id").iter_rows():
        at.setdefault(ix, []).append(asn)
    return [
        {"metro": metro, "ix_id": ix, "exchange": places.registry.exchange(ix), "asns": asns}
        for ix, asns in sorted(at.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _notes(inputs: Inputs) -> list[str]:
    if inputs.peeringdb.get("netixlan") is None:
        return ["no PeeringDB: exchanges and their members are unknown"]
    return [
        "members: ports of PeeringDB and of loaded member lists that are operational",
        "volumes of exchanges are unweighted, whatever the evidence",
    ]


def _frame(columns: Any, rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> pl.DataFrame:
    names = [c.name for c in columns]
    return pl.DataFrame(
        [{n: r.get(n) for n in names} for r in rows], schema=schema(columns), orient="row"
    )


def as_if_joined(inputs: Inputs, exchange_ids: Iterable[int]) -> Inputs:
    """The inputs as they would be with a port of ours on these exchanges, in every metro where
    they can be reached.

    Raises:
        ReportError: an exchange that is in none of our metros.
    """
    here = MeetingPlaces(inputs).here
    added = []
    for ix in exchange_ids:
        metros = [m for m, place in here.items() if ix in place.local_exchanges]
        if not metros and not any(ix in place.exchanges for place in here.values()):
            raise ReportError(
                f"exchange {ix} is in none of our metros",
                advice="`flowpeer exchanges` lists those that are, with their ids",
            )
        added += [(metro, ix, False, None) for metro in metros]
    ports = pl.DataFrame(added, schema=inputs.exchange_ports.schema, orient="row")
    return replace(inputs, exchange_ports=pl.concat([inputs.exchange_ports, ports]))


def joined_in_vain(
    inputs: Inputs, there: Candidates, exchange_ids: Iterable[int]
) -> dict[int, str]:
    """Exchange → why the list as if we had joined it (`as_if_joined`) is the list without.

    Args:
        inputs: as they are.
        there: the list as if we had joined.
    """
    ranking = there.ranking
    places = MeetingPlaces(inputs, ranking.parties)
    found = {}
    for ix in exchange_ids:
        on = [m for m, here in places.here.items() if ix in here.exchanges]
        near = [m for m, here in places.here.items() if ix in here.local_exchanges]
        listed = {n: m.name for n, m in enumerate(ranking.metros) if m.name in near}
        could = [(a, m) for n, m in listed.items() for a in ranking.eligible[n].asns.tolist()]
        name = places.registry.exchange(ix)
        if not near:
            found[ix] = f"{name}: we are on it already in {', '.join(on)}"
        elif not listed:
            found[ix] = f"{name} is in {', '.join(near)}, of which there is no list here"
        elif not any(ix in places.ports_in(asn, metro) for asn, metro in could):
            found[ix] = f"{name}: no network that could be asked has a port on it"
    return found
