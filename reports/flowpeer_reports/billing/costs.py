"""What peering itself costs: ports, memberships, cross-connects, set-up (METHODS M8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction

from flowpeer_reports.errors import ReportError

DEFAULT_AMORTISE_MONTHS = 24
USABLE = Fraction(8, 10)
"""Share of a port's speed that is planned with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Amounts that one section states; None and empty: it says nothing."""

    port_per_month: Mapping[int, Fraction] = field(default_factory=dict)
    """An exchange's port charge by speed in bit/s."""
    membership_per_month: Fraction | None = None
    cross_connect_per_month: Fraction | None = None
    router_port_per_month: Mapping[int, Fraction] = field(default_factory=dict)
    """A port of our own router by speed in bit/s."""
    setup: Fraction | None = None
    amortise_months: int | None = None
    currency: str | None = None

    def over(self, general: Costs) -> Costs:
        """These amounts, and those of a more general section where these say nothing."""
        merged = {}
        for one in fields(Costs):
            own = getattr(self, one.name)
            merged[one.name] = own if own not in (None, {}) else getattr(general, one.name)
        return Costs(**merged)


@dataclass(frozen=True)
class Prices:
    """What every section of the configuration states, the nearest first."""

    general: Costs = Costs()
    metros: Mapping[str, Costs] = field(default_factory=dict)
    exchanges: Mapping[tuple[str, int], Costs] = field(default_factory=dict)
    """By metro and PeeringDB id."""
    facilities: Mapping[tuple[str, int], Costs] = field(default_factory=dict)

    def at(self, metro: str, *, ix: int | None = None, facility: int | None = None) -> Costs:
        """The amounts that hold at a place."""
        found = self.metros.get(metro, Costs()).over(self.general)
        if facility is not None:
            found = self.facilities.get((metro, facility), Costs()).over(found)
        if ix is not None:
            found = self.exchanges.get((metro, ix), Costs()).over(found)
        return found


@dataclass(frozen=True, slots=True)
class Amounts:
    """What something costs: each month, and once."""

    recurring: Fraction = Fraction(0)
    setup: Fraction = Fraction(0)
    amortise_months: int = DEFAULT_AMORTISE_MONTHS
    currency: str = ""

    @property
    def per_month(self) -> Fraction:
        """Recurring and the part of the set-up that a month bears."""
        return self.recurring + self.setup / self.amortise_months


def together(parts: Iterable[Amounts]) -> Amounts:
    """Several costs as one; set-up is spread over the longest time among them.

    Raises:
        ReportError: they are in different currencies.
    """
    chosen = [p for p in parts if p.recurring or p.setup]
    currencies = {p.currency for p in chosen}
    if len(currencies) > 1:
        raise ReportError(
            f"costs of peering in {' and '.join(sorted(currencies))} cannot be added",
            advice="state them in one currency under [peering_costs]",
        )
    if not chosen:
        return Amounts()
    months = max(p.amortise_months for p in chosen)
    return Amounts(
        sum((p.recurring for p in chosen), Fraction(0)),
        sum((p.setup / p.amortise_months for p in chosen), Fraction(0)) * months,
        months,
        currencies.pop(),
    )


def _amounts(costs: Costs, recurring: Fraction) -> Amounts:
    return Amounts(
        recurring,
        costs.setup or Fraction(0),
        costs.amortise_months or DEFAULT_AMORTISE_MONTHS,
        costs.currency or "",
    )


def port_for(prices: Mapping[int, Fraction], p95_bps: float) -> tuple[int, Fraction]:
    """The smallest number of equal ports, then the cheapest, that carry a rate: bit/s and price.

    A port carries 80 % of its speed. (0, 0) where no price is stated.
    """
    best: tuple[Fraction, int] | None = None
    for speed, price in prices.items():
        count = max(1, -(-Fraction(p95_bps) // (USABLE * speed)))
        offer = (count * price, int(count * speed))
        best = offer if best is None or offer < best else best
    return (0, Fraction(0)) if best is None else (best[1], best[0])


def private(costs: Costs, p95_bps: float) -> Amounts:
    """A private interconnection: a cross-connect, a port of ours large enough, set-up."""
    port = port_for(costs.router_port_per_month, p95_bps)[1]
    return _amounts(costs, (costs.cross_connect_per_month or Fraction(0)) + port)


def more_ports(costs: Costs, short_bps: float) -> Amounts:
    """Further ports at an exchange that we are on, for a rate that the present ones do not carry;
    its membership and first set-up are paid already."""
    if short_bps <= 0:
        return Amounts(currency=costs.currency or "")
    exchange = port_for(costs.port_per_month, short_bps)[1]
    router = port_for(costs.router_port_per_month, short_bps)[1]
    return Amounts(exchange + router, currency=costs.currency or "")


def opening(costs: Costs, p95_bps: float) -> Amounts:
    """An exchange that we are not on: port, membership, a port of ours, set-up."""
    exchange = port_for(costs.port_per_month, p95_bps)[1]
    router = port_for(costs.router_port_per_month, p95_bps)[1]
    return _amounts(costs, exchange + router + (costs.membership_per_month or Fraction(0)))
