"""What peering itself costs: ports, memberships, cross-connects, set-up (METHODS M8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction

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
