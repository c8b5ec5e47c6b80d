"""The order of a list by money: which ask saves most next (METHODS M8).

Savings at a percentile are not submodular, so nothing is known in advance: at each step every
remaining candidate of the pool (the first POOL rows of the list by bytes) is evaluated again, on
the bills less the expected series of the rows above. An ask is expected to move acceptance × weight
of the evidence of its routes, less what the rows above are expected to have taken; that part has
the shape of all its routes of that evidence. An exchange that we are not on is evaluated as a
bundle: its costs, and every ask that only waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

from flowpeer_reports.billing.costs import opening
from flowpeer_reports.billing.rate import Ints, as_bps, p95_octets
from flowpeer_reports.billing.rows import CLOSED_RUNG, BilledPeriod, cost_at, parts
from flowpeer_reports.billing.savings import Key, RouteTraffic, Savings
from flowpeer_reports.errors import ReportError
from flowpeer_reports.meeting import MeetingPlaces
from flowpeer_reports.policy import Weights
from flowpeer_reports.ranking import Listing, Ranking, Row
from flowpeer_reports.relations import Reals
from flowpeer_reports.series import Series

POOL = 30
"""Rows of the list by bytes that compete for each place of the list by money."""
RankBy = Literal["bytes", "saving", "renewal"]
Order = Mapping[str, Sequence[tuple[int, float]]]
"""List ("" the organisations) → ASN and expected money a month, in order."""
NOTE = (
    f"ranked by expected money: an approximation over the {POOL} largest rows by bytes, since "
    "savings at a percentile are not additive; the rest follow by bytes"
)


@dataclass(slots=True)
class _Routes:
    """Routes of one ask in one metro of one class of evidence."""

    cells: Ints
    share: float
    """Acceptance × weight."""
    alone: int
    """Bytes out of all of them."""
    parts: dict[Key, RouteTraffic]


@dataclass(slots=True)
class _Ask:
    asn: int
    place: int
    """Its place in the list by bytes: decides between equals."""
    routes: list[_Routes] = field(default_factory=list)
    cost: Fraction = Fraction(0)
    """Acceptance × what the peering itself costs a month."""
    needs: frozenset[tuple[str, int]] = frozenset()
    """(metro, exchange) that would have to be joined for it."""

    def expected(self, octets: Ints, remaining: Reals) -> list[tuple[float, _Routes]]:
        """What part of the series of each of its routes is expected to go next."""
        return [
            (r.share * float((octets[r.cells] * remaining[r.cells]).sum()) / r.alone, r)
            for r in self.routes
            if r.alone
        ]


def want_order(ranking: Ranking, series: Series) -> None:
    """Name the sets: every ask of a pool by class of evidence, over all metros."""
    asked = {row.asn for listing in _lists(ranking) for row in _pool(listing)}
    for asn in sorted(a for a in asked if a is not None):
        for kind in range(3):
            held = [_cells(ranking, asn, metro, kind) for metro in range(len(ranking.metros))]
            series.want(("order", asn, kind), np.concatenate(held), "out")


def money_order(
    period: BilledPeriod,
    ranking: Ranking,
    series: Series,
    places: MeetingPlaces,
    weights: Weights,
    by: RankBy,
) -> Order:
    """The order of each list's pool by what is expected to be saved: as the contracts stand
    (`saving`) or at renewal, less what peering costs.

    Raises:
        ReportError: no contract states a price.
    """
    if not any(m.terms.priced or m.terms.at_renewal() for m in period.months):
        raise ReportError(
            f"a list by {by} needs a price",
            advice="state price_per_mbps or tiers in [[contracts]]",
        )
    return {
        listing.name: _ordered(period, ranking, series, places, weights, listing, by)
        for listing in _lists(ranking)
    }


def _lists(ranking: Ranking) -> list[Listing]:
    return [*ranking.metros, ranking.organisations]


def _pool(listing: Listing) -> list[Row]:
    return [r for r in listing.rows if r.rank and r.asn is not None and not r.refuses][:POOL]


def _cells(ranking: Ranking, asn: int, metro: int, kind: int) -> Ints:
    """Places in `Cells` of what the ask has in a metro by one class of evidence."""
    entries = ranking.eligible[metro]
    party = int(np.searchsorted(entries.asns, asn))
    if party == len(entries.asns) or entries.asns[party] != asn:
        return np.zeros(0, np.int64)
    span = entries.of(party)
    mine = entries.atom[span][entries.kind[span] == kind]
    cells: Ints = mine.astype(np.int64) + int(ranking.cells.first[metro])
    return cells


def _asks(
    period: BilledPeriod, ranking: Ranking, series: Series, places: MeetingPlaces, weights: Weights,
    listing: Listing,
) -> list[_Ask]:  # fmt: skip
    worth = (1.0, weights.inferred, weights.declared)
    rows = _pool(listing)
    made = [_Ask(row.asn or 0, n) for n, row in enumerate(rows)]
    metros = [
        n for n, one in enumerate(ranking.metros) if listing.name in ("", one.name)
    ]  # series are asked for metro by metro
    for metro in metros:
        name = ranking.metros[metro].name
        entries = ranking.eligible[metro]
        for ask in made:
            party = int(np.searchsorted(entries.asns, ask.asn))
            if party == len(entries.asns) or entries.asns[party] != ask.asn:
                continue
            likely = float(ranking.acceptance[metro][party])
            total = np.zeros(series.slots, np.int64)
            for kind, weight in enumerate(worth):
                cells = _cells(ranking, ask.asn, metro, kind)
                octets = int(ranking.cells.out[cells].sum())
                if not octets or not weight:
                    continue
                of = parts(series, ("order", ask.asn, kind), "out", metro)
                ask.routes.append(_Routes(cells, likely * weight, octets, of))
                total += sum((p.bytes for p in of.values()), np.zeros(series.slots, np.int64))
            p95_bps = float(as_bps(p95_octets(total[series.inside])))
            place = places.meet(ask.asn, name, p95_bps)
            cost = cost_at(period.prices, name, place, p95_bps, None)
            amount = period.convert(cost.per_month, cost.currency) if cost.currency else None
            ask.cost += Fraction(likely) * (amount or Fraction(0))
            if place.rank == CLOSED_RUNG and place.ix is not None:
                ask.needs |= {(name, place.ix)}
    return made


def _ordered(
    period: BilledPeriod, ranking: Ranking, series: Series, places: MeetingPlaces, weights: Weights,
    listing: Listing, by: RankBy,
) -> list[tuple[int, float]]:  # fmt: skip
    octets = ranking.cells.out
    remaining = np.ones(len(octets))
    savings = Savings(period.months, period.convert)
    waiting = _asks(period, ranking, series, places, weights, listing)
    opened: set[tuple[str, int]] = set()
    found: list[tuple[int, float]] = []

    def reduction(asks: Sequence[_Ask]) -> Fraction:
        return savings.reductions(_moved(asks, octets, remaining), series.start)[
            by == "renewal"
        ] or Fraction(0)

    def take(ask: _Ask, value: Fraction) -> None:
        savings.take(_moved([ask], octets, remaining), series.start)
        for routes in ask.routes:
            remaining[routes.cells] *= 1 - routes.share
        waiting.remove(ask)
        found.append((ask.asn, round(float(value), 2)))

    def best_of(asks: Sequence[_Ask]) -> tuple[Fraction, int, _Ask] | None:
        return max(((reduction([a]) - a.cost, -a.place, a) for a in asks), key=lambda v: v[:2],
                   default=None)  # fmt: skip

    while waiting:
        best = best_of([a for a in waiting if a.needs <= opened])
        bundle: tuple[Fraction, frozenset[tuple[str, int]], list[_Ask]] | None = None
        for needs in sorted({a.needs - opened for a in waiting if a.needs - opened}, key=sorted):
            asks = [a for a in waiting if a.needs - opened and a.needs <= opened | needs]
            net = reduction(asks) - sum((a.cost for a in asks), Fraction(0))
            net -= sum((_join(period, at, asks, octets, remaining, series) for at in sorted(needs)),
                       Fraction(0))  # fmt: skip
            if bundle is None or net / len(asks) > bundle[0]:
                bundle = net / len(asks), needs, asks
        if bundle is not None and (best is None or bundle[0] > best[0]):
            opened |= bundle[1]
            asks = list(bundle[2])
            while asks:
                chosen = best_of(asks)
                assert chosen is not None
                asks.remove(chosen[2])
                take(chosen[2], chosen[0])
        elif best is not None:
            take(best[2], best[0])
    return found


def _moved(asks: Sequence[_Ask], octets: Ints, remaining: Reals) -> dict[Key, RouteTraffic]:
    """The expected series of some asks that say nothing of each other, summed."""
    sums: dict[Key, tuple[Reals, Reals]] = {}
    remaining = remaining.copy() if len(asks) > 1 else remaining
    for ask in asks:
        for part, routes in ask.expected(octets, remaining):
            for key, of in routes.parts.items():
                size, packets = sums.get(key, (np.zeros(len(of.bytes)), np.zeros(len(of.bytes))))
                sums[key] = size + part * of.bytes, packets + part * of.packets
        if len(asks) > 1:
            for routes in ask.routes:
                remaining[routes.cells] *= 1 - routes.share
    return {
        key: RouteTraffic(*(np.rint(v).astype(np.int64) for v in both))
        for key, both in sums.items()
    }


def _join(
    period: BilledPeriod, at: tuple[str, int], asks: Sequence[_Ask], octets: Ints, remaining: Reals,
    series: Series,
) -> Fraction:  # fmt: skip
    """What joining an exchange for these asks costs a month."""
    metro, ix = at
    total = np.zeros(series.slots, np.int64)
    for ask in asks:
        if at in ask.needs:
            for part in _moved([ask], octets, remaining).values():
                total += part.bytes
    cost = opening(period.prices.at(metro, ix=ix), float(as_bps(p95_octets(total[series.inside]))))
    amount = period.convert(cost.per_month, cost.currency) if cost.currency else None
    return amount or Fraction(0)
