"""What is signed: the bills of some ways that the asks may end, and what an outage does to them.

One table for the decision (METHODS M8): everything as it is, the sessions that there are put right,
every listed ask answered with yes on the routes that it is seen on, what is expected, and the same
without the largest ask. In each the worst single exchange or private interconnection of these asks
is lost for the contract's `outage_hours`, and what met there returns to the links that it left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from flowpeer_reports.billing.bills import MonthSeries, notice_by
from flowpeer_reports.billing.outages import worst_octets
from flowpeer_reports.billing.rate import Ints, as_bps, billed_of_links
from flowpeer_reports.billing.savings import Account, Key, RouteTraffic, mean, removed, take_all
from flowpeer_reports.billing.terms import Converter, Terms, printed
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.scenarios import COMMITS, SCENARIOS
from flowpeer_reports.meeting import MeetingPlace, MeetingPlaces
from flowpeer_reports.offload import OBSERVED, Kinds
from flowpeer_reports.policy import Weights
from flowpeer_reports.ranking import ALREADY, Ranking, Row, bps
from flowpeer_reports.relations import Reals
from flowpeer_reports.series import Series

ON_EXCHANGE = (1, 2, 6)
STEPS = 20
"""Routes of one place that are expected to go to about the same part share a set of slots: 1/20."""
NOWHERE = ""
"""Place of what sessions carry that there are."""
NOTE = (
    "scenarios: outages are of places where the asks would meet; what present sessions carry is "
    "not returned to transit"
)


@dataclass(slots=True)
class SigningPlan:
    """One way that the asks may end: what goes, by the place where it then is exchanged."""

    name: str
    asks: int
    left_out: str | None = None
    cells: dict[str, tuple[Ints, Reals]] = field(default_factory=dict)
    """Place → places in `Cells`, and the part of each that goes."""

    def moved(self, rates: Reals) -> float:
        """Σ of `rates` (by cell) that goes."""
        return float(sum((rates[cells] * part).sum() for cells, part in self.cells.values()))


Share = Callable[[Kinds, float], Reals]
"""Evidence of routes, acceptance → the part of each that the ask takes of what is left."""


def plans(
    ranking: Ranking,
    places: MeetingPlaces,
    weights: Weights,
    names: Mapping[int, str],
) -> list[SigningPlan]:
    """The plans of the organisations' list. `names`: ASN → name."""
    rows = ranking.organisations.rows
    asked = [r for r in rows if r.rank and r.asn is not None and not r.refuses]
    worth = np.array([1.0, weights.inferred, weights.declared])

    def place(asn: int, metro: str) -> str:
        return _name(places, places.meet(asn, metro), asn, metro)

    def seen(kinds: Kinds, _: float) -> Reals:
        certain: Reals = (kinds == OBSERVED).astype(np.float64)
        return certain

    def likely(kinds: Kinds, acceptance: float) -> Reals:
        weighed: Reals = acceptance * worth[kinds]
        return weighed

    already = [r.seen for r in rows if r.rank == ALREADY]
    right = np.unique(np.concatenate(already)) if already else np.zeros(0, np.int64)
    made = [
        SigningPlan("as it is", 0),
        SigningPlan("sessions put right", 0),
        SigningPlan("observed only", len(asked), cells=_taken(ranking, asked, seen, place)),
        SigningPlan("expected", len(asked), cells=_taken(ranking, asked, likely, place)),
    ]
    if asked:
        largest = max(asked, key=lambda r: (r.observed, -(r.rank or 0)))
        rest = [r for r in asked if r is not largest]
        name = names.get(largest.asn or 0)
        made.append(
            SigningPlan("without the largest ask", len(rest),
                 f"AS{largest.asn} {name}" if name else f"AS{largest.asn}",
                 _taken(ranking, rest, seen, place))
        )  # fmt: skip
    for plan in made[1:]:
        plan.cells[NOWHERE] = right, np.ones(len(right))
    return made


def _name(places: MeetingPlaces, place: MeetingPlace, asn: int, metro: str) -> str:
    if place.rank in ON_EXCHANGE and place.ix is not None:
        return f"exchange {place.ix} {places.registry.exchange(place.ix)}"
    return f"AS{asn} in {metro}"


def _taken(
    ranking: Ranking, rows: Sequence[Row], share: Share, place: Callable[[int, str], str]
) -> dict[str, tuple[Ints, Reals]]:
    """What each place has in the end, every row taking its share of what those above it left."""
    remaining = np.ones(len(ranking.cells.atom))
    parts: dict[str, list[tuple[Ints, Reals]]] = {}
    for row in rows:
        assert row.asn is not None
        for metro in row.metros:
            entries = ranking.eligible[metro]
            party = int(np.searchsorted(entries.asns, row.asn))
            if party == len(entries.asns) or entries.asns[party] != row.asn:
                continue
            span = entries.of(party)
            cells = entries.atom[span].astype(np.int64) + int(ranking.cells.first[metro])
            part = share(entries.kind[span], float(ranking.acceptance[metro][party]))
            parts.setdefault(place(row.asn, ranking.cells.metros[metro]), []).append(
                (cells, part * remaining[cells])
            )
            remaining[cells] *= 1 - part
    found = {}
    for name, several in parts.items():
        cells, where = np.unique(np.concatenate([c for c, _ in several]), return_inverse=True)
        sums = np.bincount(where, np.concatenate([p for _, p in several]), len(cells))
        found[name] = cells[sums > 0], np.minimum(sums[sums > 0], 1.0)
    return found


def _steps(cells: Ints, part: Reals) -> list[tuple[Ints, Reals]]:
    """The cells in groups that go to about the same part."""
    step = np.ceil(part * STEPS).astype(np.int64)
    return [(cells[step == n], part[step == n]) for n in np.unique(step).tolist()]


def want_plans(series: Series, made: Sequence[SigningPlan]) -> None:
    """Name the sets whose slots the plans need."""
    for number, plan in enumerate(made):
        for name, (cells, part) in plan.cells.items():
            for step, (group, _) in enumerate(_steps(cells, part)):
                series.want(("plan", number, name, step), group, "out")


def plan_parts(
    ranking: Ranking, series: Series, made: Sequence[SigningPlan]
) -> list[dict[str, dict[Key, RouteTraffic]]]:
    """By plan: place → what goes from each link, [slot]."""
    cells = ranking.cells
    sums: list[dict[str, dict[Key, list[Reals]]]] = [{} for _ in made]
    groups = [
        (number, name, step, group, weight)
        for number, plan in enumerate(made)
        for name, taken in plan.cells.items()
        for step, (group, weight) in enumerate(_steps(*taken))
    ]
    for metro in range(len(cells.metros)):
        span = cells.of(metro)
        for number, name, step, group, weight in groups:
            into = sums[number].setdefault(name, {})
            here = slice(*np.searchsorted(group, [span.start, span.stop]).tolist())
            octets = cells.out[group[here]]
            if not octets.any():
                continue
            # The mean of the group: what goes over the period is exact.
            share = float((octets * weight[here]).sum() / octets.sum())
            got = series.get(("plan", number, name, step), "out", metro)
            for n, link in enumerate(got.links):
                if link.direction != "out" or not got.octets[n].any():
                    continue
                held = into.setdefault(
                    (link.exporter, link.interface),
                    [np.zeros(series.slots), np.zeros(series.slots)],
                )
                held[0] += share * got.octets[n]
                held[1] += share * got.packets[n]
    return [
        {
            name: {key: RouteTraffic(*(np.rint(v).astype(np.int64) for v in held))
                   for key, held in links.items()}
            for name, links in plan.items()
        }
        for plan in sums
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signing:
    """The two tables, in the columns of `columns.scenarios`."""

    scenarios: pl.DataFrame
    commits: pl.DataFrame
    notes: list[str]


_Bills = tuple[Fraction | None, Fraction | None]
"""Now and at renewal."""


@dataclass(slots=True)
class _Contract:
    """The months of one contract under one plan."""

    months: list[MonthSeries]
    account: Account
    convert: Converter
    prices: tuple[Terms | None, Terms | None]
    """The terms now and at renewal, where they state a price."""
    returning: dict[str, list[list[Ints]]]
    """Place → by month and link: octets in the counting slots that would return."""
    _rates: dict[tuple[str | None, bool], list[Fraction]] = field(default_factory=dict)
    _bills: dict[tuple[str | None, bool, int], Fraction | None] = field(default_factory=dict)

    def rates(self, lost: str | None = None, most: bool = False) -> list[Fraction]:
        """The billed rate of each month, a place lost in it; `most`: for the whole month, which
        no outage of some hours exceeds."""
        if lost is None or lost not in self.returning:
            return self.account.rates
        if (lost, most) not in self._rates:
            self._rates[lost, most] = self._raised(lost, most)
        return self._rates[lost, most]

    def bill(self, which: int, lost: str | None = None, most: bool = False) -> Fraction | None:
        """A month's bill, now (0) or at renewal (1); 0 without a price, None without a rate of
        exchange."""
        terms = self.prices[which]
        if terms is None:
            return Fraction(0)
        if lost not in self.returning:
            lost, most = None, False
        if (lost, most, which) not in self._bills:
            amounts = [terms.total(r) or Fraction(0) for r in self.rates(lost, most)]
            self._bills[lost, most, which] = self.convert(mean(amounts), terms.currency)
        return self._bills[lost, most, which]

    def _raised(self, lost: str, most: bool) -> list[Fraction]:
        found = []
        for month, remaining, back in zip(
            self.months, self.account.left, self.returning[lost], strict=True
        ):
            terms = month.terms
            links = [(bytes_in, bytes_out) for bytes_in, bytes_out in remaining]
            if most:
                links = [
                    (bytes_in, bytes_out + more)
                    for (bytes_in, bytes_out), more in zip(links, back, strict=True)
                ]
                octets = billed_of_links(links, terms.billing, terms.aggregate)
            else:
                octets = worst_octets(
                    links, back, terms.billing, terms.aggregate, terms.outage_hours
                )
            found.append(as_bps(octets))
        return found


def signing(
    months: Sequence[MonthSeries],
    convert: Converter,
    ranking: Ranking,
    series: Series,
    made: Sequence[SigningPlan],
    currency: str,
) -> Signing:
    """The tables of the plans, on the months that count for the period."""
    by_contract: dict[str, list[MonthSeries]] = {}
    for month in months:
        by_contract.setdefault(month.terms.contract, []).append(month)
    cells = ranking.cells
    total = float(cells.rate_out.sum())
    slots = ranking.organisations.slots
    rows, ready = [], []
    for plan, parts in zip(made, plan_parts(ranking, series, made), strict=True):
        contracts = {name: _under(of, parts, series, convert) for name, of in by_contract.items()}
        ready.append(contracts)
        now, renewal = _bills(contracts.values())
        worst = _worst(contracts.values(), parts, 1 if renewal is not None else 0)
        outage = (None, None) if worst is None else _bills(contracts.values(), worst)
        moved = plan.moved(cells.rate_out)
        rows.append(
            {
                "scenario": plan.name, "asks": plan.asks, "left_out": plan.left_out,
                "transit_bps": bps(total - moved, slots), "moved_bps": bps(moved, slots),
                "bill_per_month": printed(now), "bill_at_renewal_per_month": printed(renewal),
                "worst_outage": worst, "outage_bill_per_month": printed(outage[0]),
                "outage_bill_at_renewal_per_month": printed(outage[1]), "currency": currency,
            }
        )  # fmt: skip
    commits = [
        _commit(ready[0][name], ready[2][name], convert, currency) for name in sorted(by_contract)
    ]
    return Signing(
        pl.DataFrame(rows, schema=schema(SCENARIOS), orient="row"),
        pl.DataFrame(commits, schema=schema(COMMITS), orient="row"),
        [NOTE],
    )


def _under(
    months: list[MonthSeries], parts: Mapping[str, Mapping[Key, RouteTraffic]], series: Series,
    convert: Converter,
) -> _Contract:  # fmt: skip
    account = Account(months)
    billed = {link.key for month in months for link in month.octets.links}
    returning = {}
    for name, of in parts.items():
        if billed.isdisjoint(of):
            continue
        before = [[link[1].copy() for link in month] for month in account.left]
        if take_all(account, 1, of, series.start) and name != NOWHERE:
            returning[name] = [
                removed(was, [link[1] for link in month])
                for was, month in zip(before, account.left, strict=True)
            ]
    terms = months[0].terms
    prices = (terms if terms.priced else None), terms.at_renewal()
    return _Contract(months, account, convert, prices, returning)


def _bills(contracts: Iterable[_Contract], lost: str | None = None, most: bool = False) -> _Bills:
    """All bills of a month, now and at renewal; None where no contract states a price, or an
    amount has no rate of exchange."""
    contracts = list(contracts)
    sums: list[Fraction | None] = []
    for place in (0, 1):
        amounts = [one.bill(place, lost, most) for one in contracts if one.prices[place]]
        known = [amount for amount in amounts if amount is not None]
        sums.append(sum(known, Fraction(0)) if known and len(known) == len(amounts) else None)
    return sums[0], sums[1]


def _worst(contracts: Iterable[_Contract], places: Iterable[str], which: int) -> str | None:
    """The place whose outage makes the bills highest, now (0) or at renewal (1)."""
    contracts = list(contracts)
    if _bills(contracts)[which] is None:
        return None
    # A tier for all volume can cost less above its border: no rate bounds such a bill.
    rises = all(one.months[0].terms.tier_mode == "marginal" for one in contracts)
    touched: dict[str, list[_Contract]] = {}
    for one in contracts:
        for name in one.returning if one.prices[which] else ():
            touched.setdefault(name, []).append(one)

    def rise(name: str, most: bool) -> Fraction:
        """What the bills of those that the place's traffic returns to go up by."""
        up = Fraction(0)
        for one in touched.get(name, ()):
            up += (one.bill(which, name, most) or 0) - (one.bill(which) or 0)
        return up

    return _highest(
        [name for name in places if name != NOWHERE],
        lambda name: rise(name, rises),
        lambda name: rise(name, most=False),
    )


def _highest(
    names: Iterable[str],
    bound: Callable[[str], Fraction | None],
    value: Callable[[str], Fraction | None],
) -> str | None:
    """The name of the highest value, of equals the first; no value is above its bound."""
    bounds = {name: b for name in names if (b := bound(name)) is not None}
    best: tuple[Fraction, str] | None = None
    for name in sorted(bounds, key=lambda name: (-bounds[name], name)):
        if best is not None and bounds[name] < -best[0]:
            break
        found = value(name)
        if found is not None and (best is None or (-found, name) < best):
            best = -found, name
    return None if best is None else best[1]


def _commit(now: _Contract, after: _Contract, convert: Converter, currency: str) -> dict[str, Any]:
    terms = now.months[0].terms
    renewed = terms.at_renewal()
    before, left = now.rates(), after.rates()
    worst = _highest(
        after.returning, lambda name: mean(after.rates(name, most=True)),
        lambda name: mean(after.rates(name)),
    )  # fmt: skip
    if worst is not None and mean(after.rates(worst)) <= mean(left):
        worst = None
    outage = after.rates(worst)

    def cost(rates: Sequence[Fraction]) -> Fraction | None:
        if renewed is None:
            return None
        amounts = [renewed.total(r) or Fraction(0) for r in rates]
        return convert(mean(amounts), renewed.currency)

    bills = [cost(rates) for rates in (before, left, outage)]
    saving = added = None
    if bills[0] is not None and bills[1] is not None and bills[2] is not None:
        saving, added = bills[0] - bills[1], bills[2] - bills[1]
    return {
        "contract": terms.contract, "ends": terms.ends, "notice_by": notice_by(now.months[-1]),
        "commit_bps": terms.commit_bps, "billed_bps": _rate(before),
        "billed_after_bps": _rate(left), "worst_outage": worst,
        "outage_hours": terms.outage_hours, "billed_in_outage_bps": _rate(outage),
        "saving_at_renewal_per_month": printed(saving), "outage_cost_per_month": printed(added),
        "net_saving_at_renewal_per_month": printed(
            None if saving is None or added is None else saving - added
        ),
        "currency": currency,
    }  # fmt: skip


def _rate(rates: Sequence[Fraction]) -> float:
    return round(float(mean(rates)), 3)
