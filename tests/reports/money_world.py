"""The money of a synthetic world, for the reports and once more in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any

from billing_oracle import Slots, amount, billed
from reports_world import START, Flow, World
from test_billing import covered, terms_of

from flowpeer_reports.billing.bills import month_series
from flowpeer_reports.billing.costs import Prices
from flowpeer_reports.billing.months import months_of
from flowpeer_reports.billing.octets import BilledLink, octets_of
from flowpeer_reports.billing.rows import BilledPeriod
from flowpeer_reports.billing.terms import Terms, converter

OVERHEAD = 18
"""Octets of framing a packet; every flow of a world is one packet."""


def billed_of(
    world: World,
    contracts: Mapping[int, Mapping[str, Any]],
    prices: Prices = Prices(),  # noqa: B008
) -> BilledPeriod:
    """The contracts of a world: provider → words of its terms, as `billing_oracle.amount` has
    them; a contract is named `c<provider>` and holds in every metro."""
    inputs = world.inputs()
    links = [
        BilledLink(exporter, interface, f"c{asn}", metro, OVERHEAD)
        for exporter, metro, interface, asn in inputs.interfaces.select(
            "exporter", "metro", "interface", "asn"
        ).iter_rows()
        if asn in contracts
    ]
    start, end = inputs.period_start, inputs.period_end
    octets = octets_of(
        links, inputs.traffic, covered(start, end, [f"edge1.{m}" for m in world.metros])
    )
    series = []
    for provider, words in contracts.items():
        plain = terms_of(dict(words))
        named = {f: getattr(plain, f) for f in plain.__dataclass_fields__}
        named |= {"contract": f"c{provider}"}
        if "outage_hours" in words:
            named["outage_hours"] = words["outage_hours"]
        if "renewal_price_per_mbps" in words:
            named["renewal_price_per_mbps"] = Fraction(words["renewal_price_per_mbps"])
        terms = Terms(**named)
        series += [month_series(terms, m, octets) for m in months_of(start, end, terms.timezone)]
    return BilledPeriod(
        octets, tuple(series), converter("USD", {}), prices, inputs.traffic, inputs.traffic_routes
    )


def slots_of(world: World) -> list[Any]:
    return [START + timedelta(minutes=5 * n) for n in range(12 * world.hours)]


def left_of(world: World, provider: int, gone: Mapping[tuple[str, int], float]) -> list[Slots]:
    """Octets of a provider's links, one a metro, less the parts of (metro, origin) outbound."""
    links: dict[str, Slots] = {m: {} for m in world.metros}
    taken: dict[str, dict[Any, float]] = {m: {} for m in world.metros}
    for flow in world.flows:
        if flow.provider != provider or flow.role != "transit":
            continue
        at = START + timedelta(minutes=5 * flow.slot)
        octets = flow.bytes + OVERHEAD
        came, went = links[flow.metro].get(at, (0, 0))
        if flow.direction == "in":
            links[flow.metro][at] = came + octets, went
            continue
        links[flow.metro][at] = came, went + octets
        part = gone.get((flow.metro, flow.origin), 0.0)
        taken[flow.metro][at] = taken[flow.metro].get(at, 0.0) + part * octets
    return [
        {at: (came, went - round(taken[m].get(at, 0.0))) for at, (came, went) in of.items()}
        for m, of in links.items()
    ]


def bill_of(
    world: World,
    contracts: Mapping[int, Mapping[str, Any]],
    gone: Mapping[tuple[str, int], float] | Iterable[tuple[str, int]],
    *,
    renewal: bool = False,
    back: Mapping[tuple[str, int], float] | None = None,
) -> Fraction:
    """All bills of the world's month with traffic gone, `back` of it returning in the worst hours.

    Args:
        gone, back: (metro, origin) → part of its outbound traffic.
    """
    if not isinstance(gone, Mapping):
        gone = dict.fromkeys(gone, 1.0)
    slots = slots_of(world)
    total = Fraction(0)
    for provider, words in contracts.items():
        terms = at_renewal(words) if renewal else dict(words)
        links = left_of(world, provider, gone)
        rates = [billed(links, slots, words["billing"], words["aggregate"])]
        if back is not None:
            more = left_of(world, provider, {k: gone[k] - back.get(k, 0.0) for k in gone})
            length = words["outage_hours"] * 12
            step = 12 if words["aggregate"] == "sum_of_p95" else 1
            for first in range(0, len(slots), step):
                hours = set(slots[first : first + length])
                mixed = [
                    {at: (b if at in hours else a)[at] for at in a}
                    for a, b in zip(links, more, strict=True)
                ]
                rates.append(billed(mixed, slots, words["billing"], words["aggregate"]))
        total += amount(terms, max(rates))
    return total


def at_renewal(words: Mapping[str, Any]) -> dict[str, Any]:
    """METHODS M8's R(x): no commit, at the renewal's price, else the tiers, else the price."""
    kept = {k: words[k] for k in ("billing", "aggregate", "billed_unit") if k in words}
    if "renewal_price_per_mbps" in words:
        return kept | {"price_per_mbps": words["renewal_price_per_mbps"]}
    if "tiers" in words:
        return kept | {k: words[k] for k in ("tiers", "tier_mode")}
    return kept | {"price_per_mbps": words["price_per_mbps"]}


def close(found: float | None, exact: Fraction, unit: float = 0.011) -> bool:
    """Equal to the cent, but for roundings of a slot's octets."""
    return found is not None and abs(found - float(exact)) <= unit


def flows(dice: Any, asns: Sequence[int], metros: Sequence[str], hours: int) -> list[Flow]:
    """Traffic of every network over both providers, with peaks of its own."""
    made = []
    for asn in asns:
        for metro in metros:
            for provider in (1299, 174):
                size = dice.choice([10**8, 10**9, 10**10])
                low, high = sorted(dice.sample(range(12 * hours), 2))
                for slot in range(12 * hours):
                    if dice.random() < 0.7:
                        octets = dice.randrange(size) * (3 if low <= slot <= high else 1)
                        made.append(Flow(slot, asn, octets + 1, provider=provider, metro=metro))
                    if dice.random() < 0.2:
                        made.append(Flow(slot, asn, dice.randrange(size) + 1, provider=provider,
                                         metro=metro, direction="in"))  # fmt: skip
    return made
