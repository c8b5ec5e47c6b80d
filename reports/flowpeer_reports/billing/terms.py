"""What a contract says, and what a rate costs under it (METHODS M5 and M8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Literal

Billing = Literal["max_of_p95", "p95_of_max", "in", "out", "sum", "flat"]
MBPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Tier:
    """From this rate on, this price per Mbit/s and month."""

    from_bps: int
    price_per_mbps: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One contract. Prices are per Mbit/s and month, in `currency`; None is: not stated."""

    contract: str
    provider: str = ""
    commit_bps: int = 0
    price_per_mbps: Fraction | None = None
    overage_per_mbps: Fraction | None = None
    tiers: tuple[Tier, ...] = ()
    tier_mode: Literal["marginal", "all_volume"] = "marginal"
    billing: Billing = "max_of_p95"
    aggregate: Literal["p95_of_sum", "sum_of_p95"] = "p95_of_sum"
    billed_unit_bps: int = 0
    fixed_per_month: Fraction = Fraction(0)
    currency: str = "USD"
    timezone: str = "UTC"
    starts: date | None = None
    ends: date | None = None
    renewal_price_per_mbps: Fraction | None = None
    notice_days: int | None = None
    auto_renew: bool = False
    outage_hours: int = 24

    @property
    def priced(self) -> bool:
        """Does it say what traffic costs?"""
        return self.billing == "flat" or self.price_per_mbps is not None or bool(self.tiers)

    def billed(self, p95_bps: Fraction) -> Fraction:
        """The rate that is billed: rounded up to whole units where the contract has one."""
        unit = self.billed_unit_bps
        return Fraction(-(-p95_bps // unit) * unit) if unit else p95_bps

    def overage_bps(self, p95_bps: Fraction) -> Fraction:
        """What is above the commit."""
        if self.billing == "flat":
            return Fraction(0)
        return max(Fraction(0), self.billed(p95_bps) - self.commit_bps)

    def usage(self, p95_bps: Fraction) -> Fraction | None:
        """What a month at this 95th percentile costs, without fixed charges; None: no price."""
        if not self.priced:
            return None
        rate = self.billed(p95_bps)
        if self.billing == "flat":
            return Fraction(self.commit_bps, MBPS) * (self.price_per_mbps or 0)
        if self.tiers:
            return self._by_tier(max(rate, Fraction(self.commit_bps)))
        price = self.price_per_mbps or Fraction(0)
        above = price if self.overage_per_mbps is None else self.overage_per_mbps
        return (self.commit_bps * price + self.overage_bps(p95_bps) * above) / MBPS

    def total(self, p95_bps: Fraction) -> Fraction | None:
        """A month's bill: usage and fixed charges; None where the contract states no price."""
        usage = self.usage(p95_bps)
        return None if usage is None else usage + self.fixed_per_month

    def _by_tier(self, rate: Fraction) -> Fraction:
        if self.tier_mode == "all_volume":
            reached = [t for t in self.tiers if t.from_bps <= rate]
            return rate * reached[-1].price_per_mbps / MBPS
        ends: list[Fraction] = [Fraction(t.from_bps) for t in self.tiers[1:]]
        amount = Fraction(0)
        for tier, end in zip(self.tiers, [*ends, None], strict=True):
            top = rate if end is None else min(rate, end)
            amount += max(Fraction(0), top - tier.from_bps) * tier.price_per_mbps
        return amount / MBPS

    def at_renewal(self) -> Terms | None:
        """R(x) of METHODS M8: no commit, at the price of the renewal, else as it is now.

        None where nothing says what traffic would cost.
        """
        if self.billing == "flat" or not (self.priced or self.renewal_price_per_mbps is not None):
            return None
        price = self.renewal_price_per_mbps
        tiers = () if price is not None else self.tiers
        if price is None and not tiers:
            price = self.price_per_mbps
        return Terms(
            contract=self.contract,
            provider=self.provider,
            price_per_mbps=price,
            tiers=tiers,
            tier_mode=self.tier_mode,
            billing=self.billing,
            aggregate=self.aggregate,
            billed_unit_bps=self.billed_unit_bps,
            currency=self.currency,
            timezone=self.timezone,
        )


def printed(amount: Fraction | None) -> float | None:
    """An amount as it is printed: two decimals, rounded half up."""
    if amount is None:
        return None
    exact = Decimal(abs(amount).numerator) / Decimal(amount.denominator)
    cents = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return float(-cents if amount < 0 else cents)


Converter = Callable[[Fraction, str], Fraction | None]
"""An amount in a currency → in the one of the report; None: no rate is known."""


def converter(target: str, rates: dict[tuple[str, str], Fraction]) -> Converter:
    """Conversion into `target` by stated rates (from, to), used both ways; no chains."""

    def convert(amount: Fraction, currency: str) -> Fraction | None:
        if currency == target or not amount:
            return amount
        if (currency, target) in rates:
            return amount * rates[currency, target]
        if (target, currency) in rates:
            return amount / rates[target, currency]
        return None

    return convert
