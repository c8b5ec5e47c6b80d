"""Whom to ask for peering: the ranked lists of metros and of organisations (METHODS M6 to M10).

Every byte of transit traffic ends up in exactly one place: a row of rank 0 (a session exists),
a row of the list, the row of all remaining candidates, or a reason in `not_listed`. `candidates`
checks that before it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import polars as pl

from flowpeer_reports.asks import next_asks, sentences
from flowpeer_reports.billing.order import NOTE as ORDER_NOTE
from flowpeer_reports.billing.order import POOL, Order, RankBy, money_order, want_order
from flowpeer_reports.billing.rows import BilledPeriod, row_money, want_money
from flowpeer_reports.billing.savings import usable_months
from flowpeer_reports.billing.scenarios import Signing, SigningPlan, plans, signing, want_plans
from flowpeer_reports.candidate_rows import candidate_rows, figures, folded_rows, wants
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.openings import OPENINGS
from flowpeer_reports.errors import ReportError
from flowpeer_reports.exclusions import never_candidates
from flowpeer_reports.feasibility import CALIBRATED_FROM, Feasibility
from flowpeer_reports.inputs import Inputs, chosen_metros, coverage_notes
from flowpeer_reports.live_since import before_since, routes_since
from flowpeer_reports.meeting import MeetingPlaces
from flowpeer_reports.offload import Cover, cover
from flowpeer_reports.parties import Parties, parties
from flowpeer_reports.ports import port_p95
from flowpeer_reports.ranking import Cells, Ranking, rank
from flowpeer_reports.reconcile import account, bare_notes, disagreements, unlisted
from flowpeer_reports.relations import AsGraph
from flowpeer_reports.series import Series
from flowpeer_reports.store import MemoryStore, Store, Stores
from flowpeer_reports.universe import (
    Flows,
    Routes,
    Universe,
    flows_of,
    gathered,
    hourly,
    summed,
)

Direction = Literal["out", "in", "both"]


@dataclass(slots=True)
class Candidates:
    """The answer; frames have the columns of `flowpeer_reports.columns`."""

    rows: pl.DataFrame
    organisations: pl.DataFrame
    not_listed: pl.DataFrame
    not_listed_organisations: pl.DataFrame
    """The same of the list of organisations: a number of asks cuts it at another place."""
    places: pl.DataFrame
    totals: dict[str, dict[str, Any]]
    """By metro, and `all`: transit bytes by direction and where they went."""
    notes: list[str]
    sentences: dict[str, str]
    """What the first asks take, by metro ("" the organisations); those that `notes` begin with."""
    next_ask: dict[str, dict[str, Any] | None]
    """By metro ("" the organisations): what one more ask would add; None where nothing is left or
    no limit was set."""
    openings: pl.DataFrame
    """Exchanges that would have to be joined, with the rows that would use them."""
    ranking: Ranking
    universe: Universe
    series: Series
    """The slots of every row's routes; see `candidate_rows.wants` for their names."""
    direction: Direction = "out"
    asks: int | None = None
    p95_estimates: dict[str, list[int]] = field(default_factory=dict)
    """By metro: ASNs of the rows whose p95_bps is no exact figure (M5, M6)."""
    signing: Signing | None = None
    """The scenarios for signing and what smaller commits risk; None without contracts, or where
    they were not asked for."""

    def is_estimate(self, metro: str, asn: int | None) -> bool:
        """Whether the p95_bps of a row is an estimate."""
        return asn in self.p95_estimates.get(metro, ())


@dataclass(frozen=True, slots=True)
class Valuation:
    """What money is counted on, and what it is wanted for.

    Without `billed` the columns of money are empty, and `rank_by` must be "bytes"; `signing`:
    whether the scenarios for signing are wanted too.
    """

    billed: BilledPeriod | None = None
    rank_by: RankBy = "bytes"
    signing: bool = True


NO_VALUATION = Valuation()


def candidates(
    inputs: Inputs,
    *,
    direction: Direction = "out",
    metros: Sequence[str] | None = None,
    asks: int | None = None,
    acceptance: Callable[[int, str], float] | None = None,
    stores: Stores = MemoryStore,
    money: Valuation = NO_VALUATION,
    named: Parties | None = None,
) -> Candidates:
    """The ranked candidates of each metro, and of the organisations over these metros.

    Args:
        direction: which transit traffic ranks; in_bytes and out_bytes are shown all the same.
        metros: only these; default all.
        asks: rows of rank 1 and above a list, default all that are expected to bring enough.
        acceptance: probability of (ASN, metro) instead of the score of M10; 1 for all gives the
            ranking if everybody says yes.
        stores: make where routes, and the slots of the rows, are held meanwhile.
        money: what it is counted on, and what for.
        named: parties that go by the ASNs of another list, to compare this one with it.

    Raises:
        ReportError: an unknown metro; an order by money without a price.
    """
    billed, rank_by = money.billed, money.rank_by
    directions = ("out", "in") if direction == "both" else (direction,)
    world = universe(inputs, metros, named, stores)
    places = MeetingPlaces(inputs, world.parties)
    feasibility = Feasibility(inputs, places, acceptance)
    order: Order | None = None
    if rank_by != "bytes":
        order = _by_money(
            inputs, billed, world,
            rank(inputs, world, directions, feasibility, POOL),
            places, rank_by, stores(),
        )  # fmt: skip
    ranking = rank(inputs, world, directions, feasibility, asks, order)
    _count_early(ranking, world.early)
    series = series_of(
        inputs, billed, world.cover, ranking.cells, world.flows, stores(), world.since
    )
    wants(ranking, series, inputs, places)
    ways: list[SigningPlan] = []
    if billed is not None:
        want_money(ranking, series)
    if billed is not None and money.signing:
        called = dict(inputs.asns.select("asn", "name").drop_nulls().iter_rows())
        ways = plans(ranking, places, inputs.policy.weights, called)
        want_plans(series, ways)
    series.load()
    notes, _ = coverage_notes(inputs, world.metros)
    shown = figures(inputs, ranking, series, folded_rows(inputs, ranking))
    busy = port_p95(inputs)
    made = candidate_rows(inputs, ranking, shown, places, feasibility, busy)
    paid = signed = None
    if billed is not None:
        paid = row_money(billed, ranking, series, places, shown, made.rooms, busy)
    if billed is not None and money.signing:
        signed = signing(
            usable_months(billed.months)[0], billed.convert, ranking, series, ways, inputs.currency
        )
    ask_sentences = sentences(ranking, inputs)
    cut = asks is not None
    not_listed = of_organisations = unlisted(inputs, ranking, world.routes, world.early, cut)
    if cut:
        of_organisations = unlisted(
            inputs, ranking, world.routes, world.early, cut, organisations=True
        )
    totals = account(
        inputs, ranking, world, made.rows, made.organisations, not_listed, of_organisations
    )
    return Candidates(
        rows=made.rows if paid is None else _with(made.rows, paid.rows),
        organisations=(
            made.organisations if paid is None else _with(made.organisations, paid.organisations)
        ),
        not_listed=not_listed,
        not_listed_organisations=of_organisations,
        places=made.places,
        totals=totals,
        openings=pl.DataFrame(schema=schema(OPENINGS)) if paid is None else paid.openings,
        notes=[
            *(text for name, text in ask_sentences.items() if name or len(ranking.metros) > 1),
            *inputs.notes,
            *notes,
            *made.notes,
            *(paid.notes if paid is not None else ()),
            *(signed.notes if signed is not None else ()),
            *bare_notes(totals),
            *disagreements(inputs, world, series.carried()),
            *([] if order is None else [ORDER_NOTE]),
            *_method_notes(inputs, direction, feasibility),
        ],
        sentences=ask_sentences,
        next_ask=next_asks(ranking, inputs),
        ranking=ranking,
        universe=world,
        series=series,
        direction=direction,
        asks=asks,
        p95_estimates=made.estimates,
        signing=signed,
    )


def placed_bytes(
    inputs: Inputs, direction: Literal["out", "in"], stores: Stores = MemoryStore
) -> int:
    """The transit bytes of one direction that the lists of metros hold: those of their rows, and
    those not listed. What `candidates` says of the rows besides is not made."""
    world = universe(inputs, None, None, stores)
    feasibility = Feasibility(inputs, MeetingPlaces(inputs, world.parties))
    ranking = rank(inputs, world, (direction,), feasibility)
    not_listed = unlisted(inputs, ranking, world.routes, world.early, limited=False)
    octets = ranking.cells.out if direction == "out" else ranking.cells.in_
    rows = sum(int(octets[row.cells + m.base].sum()) for m in ranking.metros for row in m.rows)
    return rows + int(not_listed[f"{direction}_bytes"].sum())


def universe(
    inputs: Inputs,
    metros: Sequence[str] | None,
    named: Parties | None = None,
    stores: Stores = MemoryStore,
) -> Universe:
    """The universe that lists are made over.

    Raises:
        ReportError: an unknown metro.
    """
    routes = gathered(inputs, stores)
    names = chosen_metros(inputs, routes.metros, metros)
    siblings = named or _parties(inputs, routes)
    graph = AsGraph(inputs.relationships)
    units = routes.scaled_units(names)
    found = cover(inputs, units, graph, siblings)
    octets = (
        routes.links.with_columns(bytes=pl.Series(routes.octets("link")))
        .filter(pl.col("metro").is_in(names))
        .group_by("metro", "direction", "scaled")
        .agg(pl.col("bytes").sum())
    )
    flows = flows_of(routes, names, found.units, stores)
    never = never_candidates(inputs, graph, siblings, inputs.period_end.date())
    since = routes_since(inputs, found, flows, names, siblings, never)
    early = _early(inputs, since)
    if since.height:
        routes = routes.less(early, stores)
        flows = flows_of(routes, names, found.units, stores)
    return Universe(names, routes, early, since, siblings, graph, never, found, flows, octets)


def _count_early(ranking: Ranking, early: pl.DataFrame) -> None:
    """Shares are of all transit, what came too early for a session too."""
    ways = early.filter(pl.col("direction").is_in(list(ranking.directions)))
    octets = dict(ways.group_by("metro").agg(pl.col("bytes").sum()).iter_rows())
    for listing in ranking.metros:
        listing.total += octets.get(listing.name, 0)
    ranking.organisations.total += sum(octets.values())


def _early(inputs: Inputs, since: pl.DataFrame) -> pl.DataFrame:
    rows = hourly(inputs).filter("scaled")
    if since.is_empty():
        rows = rows.clear()
    return summed(before_since(rows, since), "asn", "since").collect()


def _with(frame: pl.DataFrame, money: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(money.select(c for c in money.columns if c in frame.columns))


def series_of(
    inputs: Inputs, billed: BilledPeriod | None, found: Cover, cells: Cells,
    flows: Flows, store: Store, since: pl.DataFrame,
) -> Series:  # fmt: skip
    """The reader of slots: of the period, and of the contracts' months where money is counted."""
    if billed is None:
        return Series(inputs, found, cells, flows.links, store, since=since)
    start, end = billed.span
    return Series(
        replace(inputs, traffic=billed.traffic, traffic_slots=None,
                traffic_routes=billed.traffic_routes),
        found, cells, flows.links, store, since=since, packets=True,
        span=(min(start, inputs.period_start), max(end, inputs.period_end)),
    )  # fmt: skip


def _by_money(
    inputs: Inputs, billed: BilledPeriod | None, world: Universe, ranking: Ranking,
    places: MeetingPlaces, by: RankBy, store: Store,
) -> Order:  # fmt: skip
    if billed is None:
        raise ReportError(
            f"a list by {by} needs contracts", advice="state them with prices in [[contracts]]"
        )
    series = series_of(inputs, billed, world.cover, ranking.cells, world.flows, store, world.since)
    want_order(ranking, series)
    series.load()
    return money_order(billed, ranking, series, places, inputs.policy.weights, by)


def _parties(inputs: Inputs, routes: Routes) -> Parties:
    own = routes.units.with_columns(bytes=pl.Series(routes.octets("unit")))
    own = own.filter(pl.col("bytes") > 0).group_by("origin_asn").agg(pl.col("bytes").sum())
    return parties(
        inputs.relationships,
        inputs.peeringdb,
        dict(own.drop_nulls().iter_rows()),
        inputs.policy.sibling_groups,
        apart=inputs.policy.siblings == "apart",
    )


def _cone_words(inputs: Inputs) -> str:
    if inputs.cones is None:
        return "an upper bound, several times too large for big carriers (recursive customer cones)"
    return f"from {inputs.cones_source or 'given customer cones'}"


def _method_notes(inputs: Inputs, direction: Direction, feasibility: Feasibility) -> list[str]:
    weights = inputs.policy.weights
    notes = [
        f"ranks weigh observed routes 1, inferred ones {weights.inferred:g}",
        f"volumes are unweighted; the inferred part is {_cone_words(inputs)}",
    ]
    if feasibility.answered < CALIBRATED_FROM:
        notes.append(
            f"feasibility is a score: {feasibility.answered} of our asks are answered, "
            f"{CALIBRATED_FROM} are needed to call it a probability"
        )
    if direction != "out":
        notes.append(
            "inbound moves only if the sender's best path changes: likely for a network's own "
            "traffic, possible for its cone"
        )
    if inputs.relationships.is_empty():
        notes.append("no AS relationships: only a network's own routes count as its own")
        if inputs.peeringdb.get("net") is None:
            notes.append(
                "siblings are unknown: neither AS relationships nor PeeringDB; networks of one "
                "organisation, and of our transits', stand apart"
            )
    if not inputs.peeringdb:
        notes.append("no PeeringDB: policies and places are unknown")
    return notes
