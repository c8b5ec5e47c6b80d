"""The sections of the file about money and about those who are asked."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flowpeer.network.values import (
    ASN,
    Bps,
    Currency,
    Money,
    RateFromZero,
    Section,
    Share,
    SpeedPrices,
    Text,
    Zone,
)

Billing = Literal["max_of_p95", "p95_of_max", "in", "out", "sum", "flat"]
PolicyClass = Literal["open", "selective", "restrictive", "no", "unknown"]


class Tier(Section):
    """One price level of a contract: from this rate on, this price."""

    from_: RateFromZero = Field(alias="from")
    price_per_mbps: Money


class Contract(Section):
    """`[[contracts]]`: what a provider charges for (M8)."""

    id: Text
    provider: Text | None = None
    commit: Bps | None = None
    price_per_mbps: Money | None = None
    overage_per_mbps: Money | None = None
    tiers: tuple[Tier, ...] = ()
    tier_mode: Literal["marginal", "all_volume"] = "marginal"
    billing: Billing = "max_of_p95"
    aggregate: Literal["p95_of_sum", "sum_of_p95"] = "p95_of_sum"
    billed_unit: Bps | None = None
    fixed_per_month: Money | None = None
    currency: Currency | None = None
    timezone: Zone | None = None
    starts: date | None = None
    ends: date | None = None
    renewal_price_per_mbps: Money | None = None
    notice_days: Annotated[int, Field(ge=0, le=3650, strict=True)] | None = None
    auto_renew: bool = False
    outage_hours: Annotated[int, Field(ge=1, le=744, strict=True)] = 24

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.starts and self.ends and self.ends <= self.starts:
            raise ValueError("`ends` must be after `starts`")
        if self.tiers and (self.price_per_mbps is not None or self.overage_per_mbps is not None):
            raise ValueError("give `tiers`, or `price_per_mbps` and `overage_per_mbps`, not both")
        if self.tiers and self.tiers[0].from_ != 0:
            raise ValueError('the first of the `tiers` must begin at from = "0"')
        borders = [tier.from_ for tier in self.tiers]
        if any(b <= a for a, b in pairwise(borders)):
            raise ValueError("the `tiers` must stand in rising order of `from`")
        return self


class PeeringCosts(Section):
    """`[peering_costs]`: what peering itself costs, where no place states its own (M8)."""

    port_per_month: SpeedPrices | None = None
    membership_per_month: Money | None = None
    cross_connect_per_month: Money | None = None
    router_port_per_month: SpeedPrices | None = None
    setup: Money | None = None
    amortise_months: Annotated[int, Field(ge=1, le=240, strict=True)] | None = None
    currency: Currency | None = None


class NetworkNote(Section):
    """`[[networks]]`: what we know of a network better than PeeringDB does (M10)."""

    asn: ASN
    acceptance: Share | None = None
    minimum: Bps | None = None
    pni_from: Bps | None = None
    max_ratio: Annotated[float, Field(ge=1)] | None = None
    note: Text | None = None


class Weights(Section):
    """How much a byte of each class of evidence counts in the ranking (M7)."""

    inferred: Share = 0.3
    declared: Share = 0.3


class Policy(Section):
    """`[policy]`: how candidates are chosen and judged (M7, M9, M10)."""

    base_rates: dict[PolicyClass, Share] = Field(default_factory=dict)
    minimum: dict[PolicyClass, Bps] = Field(default_factory=dict)
    weights: Weights = Weights()
    min_expected: Bps = 1_000_000
    pni_from: Bps = 10_000_000_000
    clique: tuple[ASN, ...] = ()
    siblings: tuple[tuple[ASN, ...], ...] = ()


class Exclusion(Section):
    """`[[exclusions]]`: a network not to be asked, and why."""

    asn: ASN
    reason: Text
    until: date | None = None


class ExchangeRate(Section):
    """`[[fx]]`: what one unit of a currency is in another."""

    from_: Currency = Field(alias="from")
    to: Currency
    rate: Annotated[Money, Field(gt=0)]


class Accepted(Section):
    """`[[accepted]]`: a finding that was seen and is no reason for exit status 1 any more."""

    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$", strict=True)]
    object: Text | None = None
    until: date | None = None
    reason: Text
