"""Bills in plain Python: a dictionary of slots, sorted lists and decimal fractions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

Slots = dict[datetime, tuple[int, int]]
"""Slot → (octets in, octets out) of one link."""


def month_slots(name: str, zone: str) -> list[datetime]:
    """Every slot of a calendar month of a time zone."""
    year, month = map(int, name.split("-"))
    after = (year + month // 12, month % 12 + 1)
    at, end = (
        datetime(y, m, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC) for y, m in ((year, month), after)
    )
    found = []
    while at < end:
        found.append(at)
        at += timedelta(minutes=5)
    return found


def p95(values: list[int]) -> Fraction:
    """bit/s at rank ceil(0.95 n)."""
    rank = math.ceil(Fraction(95, 100) * len(values))
    return Fraction(sorted(values)[rank - 1] * 8, 300)


def billed(links: list[Slots], slots: list[datetime], billing: str, aggregate: str) -> Fraction:
    """The 95th percentile that is billed."""
    if aggregate == "sum_of_p95":
        return sum((billed([link], slots, billing, "p95_of_sum") for link in links), Fraction(0))
    came = [sum(link.get(t, (0, 0))[0] for link in links) for t in slots]
    went = [sum(link.get(t, (0, 0))[1] for link in links) for t in slots]
    return {
        "in": lambda: p95(came),
        "out": lambda: p95(went),
        "sum": lambda: p95([a + b for a, b in zip(came, went, strict=True)]),
        "p95_of_max": lambda: p95([max(a, b) for a, b in zip(came, went, strict=True)]),
        "max_of_p95": lambda: max(p95(came), p95(went)),
        "flat": lambda: max(p95(came), p95(went)),
    }[billing]()


def amount(terms: dict[str, Any], rate: Fraction) -> Fraction:
    """A month's bill, the terms being the words of the configuration."""
    unit = terms.get("billed_unit", 0)
    if unit:
        rate = Fraction(math.ceil(rate / unit) * unit)
    commit = Fraction(terms.get("commit", 0))
    fixed = Fraction(terms.get("fixed_per_month", 0))
    mbps = Fraction(1, 10**6)
    if terms["billing"] == "flat":
        return fixed + commit * mbps * Fraction(terms.get("price_per_mbps", 0))
    if "tiers" in terms:
        rate = max(rate, commit)
        if terms["tier_mode"] == "all_volume":
            price = [Fraction(p) for f, p in terms["tiers"] if f <= rate][-1]
            return fixed + rate * mbps * price
        total = Fraction(0)
        borders = [f for f, _ in terms["tiers"]] + [None]
        for (low, price), high in zip(terms["tiers"], borders[1:], strict=True):
            top = rate if high is None else min(rate, Fraction(high))
            if top > low:
                total += (top - low) * mbps * Fraction(price)
        return fixed + total
    price = Fraction(terms["price_per_mbps"])
    above = Fraction(terms.get("overage_per_mbps", price))
    return fixed + mbps * (commit * price + max(Fraction(0), rate - commit) * above)


def cents(value: Fraction) -> float:
    """Rounded half up to two decimals."""
    return math.floor(value * 100 + Fraction(1, 2)) / 100
