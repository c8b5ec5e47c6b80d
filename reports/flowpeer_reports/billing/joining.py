"""What joining an exchange saves and costs, after the exchanges above it (METHODS M8 and M18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowpeer_reports.billing.costs import USABLE, Amounts, opening, port_for
from flowpeer_reports.billing.rate import Ints, as_bps, p95_octets
from flowpeer_reports.billing.rows import BilledPeriod, parts
from flowpeer_reports.billing.savings import Moved, Savings, by_contract, capped, sections
from flowpeer_reports.billing.terms import printed
from flowpeer_reports.series import Series

ABOVE = -1
"""Name of the set that sessions and signed asks of a metro carry."""


@dataclass(frozen=True, slots=True)
class Joining:
    """One exchange at its place of a metro's list."""

    ix: int
    joined: bool
    cells: Ints
    """Observed routes of those who peer openly or by its route servers, taken by nothing above."""
    headroom: float | None
    """What our port there has left, in bit/s; None: not limited, or not joined."""


def want_joining(series: Series, metro: str, above: Ints, exchanges: Sequence[Joining]) -> None:
    """Name the sets that the money of a metro's exchanges is counted on."""
    series.want((metro, "joining", ABOVE), above, "out")
    for number, one in enumerate(exchanges):
        series.want((metro, "joining", number), one.cells, "out")


def joining_money(
    period: BilledPeriod, series: Series, metro: str, number: int, exchanges: Sequence[Joining]
) -> list[dict[str, Any]]:
    """The columns of money of each exchange, in their order; each counts after those above it.

    A port that we have costs nothing more and carries what its headroom allows; an exchange that we
    are not on is joined with ports enough for the 95th percentile of what it takes.
    """
    links = sections(period.octets)
    savings = Savings(period.months, period.convert)
    savings.row(Moved(series.start, parts(series, (metro, "joining", ABOVE), "out", number)))
    rows = []
    for place, one in enumerate(exchanges):
        key = (metro, "joining", place)
        cost, room = Amounts(), one.headroom
        if not one.joined:
            total = series.get(key, "out", number).total()[series.inside]
            p95_bps = float(as_bps(p95_octets(total)))
            prices = period.prices.at(metro, ix=one.ix)
            cost = opening(prices, p95_bps)
            speed, _ = port_for(prices.port_per_month, p95_bps)
            room = float(USABLE * speed) if speed else None
        of_set = parts(series, key, "out", number)
        weights = by_contract(links, of_set, series.start)
        money = savings.row(Moved(series.start, capped(of_set, room), observed_bytes=weights), cost)
        even = money.break_even_bps
        rows.append(
            {
                "bill_saving_per_month": printed(money.bill_saving),
                "saving_per_month": printed(money.saving),
                "saving_at_renewal_per_month": printed(money.saving_at_renewal),
                "peering_cost_per_month": printed(money.peering_cost),
                "break_even_bps": None if even is None else round(float(even), 3),
            }
        )
    return rows
