"""The last period billed again: the first asks peers from day one, and the move list applied.

Slot by slot, outbound, on the octets that the contracts were billed by. A move takes its share of
what is left on a link to the links of another provider there. Beside it stands the best bill that a
search found where tied routes are split freely among their exits: found, not a bound (METHODS M8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT
from flowpeer_reports.billing.bills import MonthSeries
from flowpeer_reports.billing.octets import Octets, holds
from flowpeer_reports.billing.rate import Ints, as_bps, billed_of_links
from flowpeer_reports.billing.rows import parts
from flowpeer_reports.billing.savings import Key, RouteTraffic, cut, framed
from flowpeer_reports.billing.terms import Converter, Terms, printed
from flowpeer_reports.candidates import Candidates
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.counterfactual import COUNTERFACTUAL
from flowpeer_reports.columns.moves import MOVES_BILLS
from flowpeer_reports.relations import Reals

STAGES = ("as_billed", "with_asks", "with_moves", "best_split")
BEYOND_SHARE = 100
"""A month counts for moves where all but one of so many parts of its octets are in the period."""
ROUNDS = 2
LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0)
"""Caps that are tried for a contract: times the largest of its commit and its present p95."""
ALL = "all"
BARE = "bills of transit alone: what peering costs is in the candidate list; inbound is as it was"
SPLIT = (
    "the best split is found by a search and is no bound: routes that tie on LOCAL_PREF, AS path "
    "and ORIGIN are divided freely in every slot, which no router does"
)


@dataclass(frozen=True, slots=True)
class Shift:
    """A part of what a link carries outbound that uses another one."""

    source: Key
    target: Key
    start: datetime
    share: Reals
    """Of each slot from `start`."""


@dataclass(frozen=True, slots=True)
class TiedRoutes:
    """Routes that tie on several links: any of them could carry their bytes."""

    source: Key
    options: tuple[Key, ...]
    """The link that they use among them."""
    start: datetime
    share: Reals
    """Of what `source` carries, in each slot from `start`."""


@dataclass(frozen=True, slots=True)
class Span:
    """The slots in which it is known what could have moved: those of the period."""

    start: datetime
    slots: int

    def has(self, month: MonthSeries) -> bool:
        """Whether nearly all outbound octets of a month are in these slots."""
        octets = month.octets
        total = int(octets.values[:, 1].sum())
        first = min(max((self.start - octets.start) // SLOT, 0), octets.slots)
        last = min(max((self.start - octets.start) // SLOT + self.slots, 0), octets.slots)
        beyond = total - int(octets.values[:, 1, first:last].sum())
        return BEYOND_SHARE * beyond <= total


def beyond_note(months: Sequence[MonthSeries], span: Span) -> list[str]:
    """What is left out of the moves' money because its month has data outside the period."""
    names = sorted({m.month.name for m in months if not span.has(m)})
    if not names:
        return []
    text = (
        "the period is a part of what the lake has of it, and what could move was looked for in "
        "that part alone: no bill with moves is given; ask for the whole month"
    )
    return [f"{', '.join(names)}: {text}"]


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The answer: a row a contract and month, and one of all, in the columns of
    `COUNTERFACTUAL`."""

    rows: pl.DataFrame
    notes: list[str]


class CounterfactualBills:
    """The months of some contracts, billed from any outbound octets of their links."""

    def __init__(self, octets: Octets, months: Sequence[MonthSeries], convert: Converter) -> None:
        self.octets, self.months, self.convert = octets, months, convert
        self._places = {
            m.terms.contract: [
                n for n, link in enumerate(octets.links) if link.contract == m.terms.contract
            ]
            for m in months
        }

    def rate(self, month: MonthSeries, out: Ints) -> Fraction:
        """The billed rate of a month; `out`: links × slots of `octets`."""
        first = (month.octets.start - self.octets.start) // SLOT
        span = slice(first, first + month.octets.slots)
        links = [
            (bytes_in, month.judged.apply({month.octets.source_of(k): out[place, span]}))
            for k, (place, (bytes_in, _)) in enumerate(
                zip(self._places[month.terms.contract], month.links, strict=True)
            )
        ]
        return as_bps(billed_of_links(links, month.terms.billing, month.terms.aggregate))

    def total(self, out: Ints) -> Fraction:
        """All of them together; what has no price or no rate of exchange is left out."""
        return sum((self.amount(m, self.rate(m, out)) or Fraction(0) for m in self.months),
                   Fraction(0))  # fmt: skip

    def amount(self, month: MonthSeries, rate: Fraction) -> Fraction | None:
        """A month's bill in the currency of the report."""
        bill = month.terms.total(rate)
        return None if bill is None else self.convert(bill, month.terms.currency)


def counterfactual(
    octets: Octets,
    months: Sequence[MonthSeries],
    convert: Converter,
    asks: Iterable[tuple[datetime, Mapping[Key, RouteTraffic]]],
    shifts: Sequence[Shift],
    free: Sequence[TiedRoutes],
    span: Span,
    currency: str,
) -> Counterfactual:
    """The bills of the months as they are and as they would have been.

    Args:
        months: those that money is counted on (`savings.usable_months`).
        asks: what the asks take outbound, each from the first slot of its parts.
        shifts: of what is left after that.
        free: likewise.
        span: where shifts and free routes are known: other months have no bills with them.
    """
    bills = CounterfactualBills(octets, months, convert)
    as_billed = octets.values[:, 1].copy()
    with_asks = as_billed.copy()
    for start, taken in asks:
        for place, link in enumerate(octets.links):
            part = taken.get(link.key)
            if part is not None:
                size, packets = (cut(a, start, octets) for a in (part.bytes, part.packets))
                gone = np.minimum(framed(octets, place, 1, size, packets), with_asks[place])
                with_asks[place] -= np.maximum(gone, 0)
    with_moves = _shifted(octets, with_asks, shifts)
    best = _best(bills, with_asks, _pools(octets, with_asks, free), with_moves)
    stages = dict(zip(STAGES, (as_billed, with_asks, with_moves, best), strict=True))
    rows = _rows(bills, stages, currency, {"with_moves": span, "best_split": span})
    notes = [*_notes(months, free), *beyond_note(months, span)]
    return Counterfactual(pl.DataFrame(rows, schema=schema(COUNTERFACTUAL)), notes)


def moved_bills(
    octets: Octets,
    months: Sequence[MonthSeries],
    convert: Converter,
    shifts: Sequence[Shift],
    span: Span,
    currency: str,
) -> pl.DataFrame:
    """The bills as they are and with a move list alone.

    Args:
        months, span: as of `counterfactual`.

    Returns:
        a row a contract and month, and one of all of them, in the columns of `MOVES_BILLS`.
    """
    bills = CounterfactualBills(octets, months, convert)
    before = octets.values[:, 1]
    stages = {"before": before, "after": _shifted(octets, before, shifts)}
    rows = _rows(bills, stages, currency, {"after": span})
    return pl.DataFrame(rows, schema=schema(MOVES_BILLS))


def _rows(
    bills: CounterfactualBills, stages: Mapping[str, Ints], currency: str,
    spans: Mapping[str, Span],
) -> list[dict[str, Any]]:  # fmt: skip
    """Rate and bill of each stage: a row a contract and month, then one of all in each month."""
    rows = []
    sums: dict[str, dict[str, list[Fraction | None]]] = {}
    for month in bills.months:
        row: dict[str, Any] = {
            "contract": month.terms.contract, "provider": month.terms.provider,
            "month": month.month.name, "currency": month.terms.currency,
            "commit_bps": month.terms.commit_bps,
        }  # fmt: skip
        for name, out in stages.items():
            amounts = sums.setdefault(month.month.name, {}).setdefault(name, [])
            if name in spans and not spans[name].has(month):
                amounts.append(None)
                continue
            rate = bills.rate(month, out)
            row[f"{name}_bps"] = round(float(rate), 3)
            row[f"{name}_total"] = printed(month.terms.total(rate))
            amounts.append(bills.amount(month, rate))
        rows.append(row)
    for name in sorted(sums):
        row = {"contract": ALL, "month": name, "currency": currency}
        for stage, every in sums[name].items():
            known = [a for a in every if a is not None]
            row[f"{stage}_total"] = (
                printed(sum(known, Fraction(0))) if known and len(known) == len(every) else None
            )
        rows.append(row)
    return rows


def taken_by_asks(found: Candidates) -> Iterator[tuple[datetime, Mapping[Key, RouteTraffic]]]:
    """What the asks of a list of organisations take of the links outbound, metro by metro: the
    routes that they are seen on. `found`: with what money is counted on."""
    series = found.series
    for metro in range(len(found.ranking.cells.metros)):
        for number, row in enumerate(found.ranking.organisations.rows):
            name = ("", "seen", number)
            if row.rank and not row.refuses and metro in row.metros and series.wanted(name):
                yield series.start, parts(series, name, "out", metro)


def _notes(months: Sequence[MonthSeries], free: Sequence[TiedRoutes]) -> list[str]:
    notes = [BARE, SPLIT]
    if not free:
        notes.append("no route ties on two billed links with a view of their own: nothing to split")
    if any(not m.terms.priced for m in months):
        names = sorted({m.terms.contract for m in months if not m.terms.priced})
        notes.append(f"no price is stated for {', '.join(names)}: their bills are empty")
    return notes


def _shifted(octets: Octets, before: Ints, shifts: Sequence[Shift]) -> Ints:
    """What each link carries with these shifts, all shares being of what there was before.

    What goes to a link that is not billed is on no bill.
    """
    after = before.copy()
    places: dict[Key, list[int]] = {}
    for place, link in enumerate(octets.links):
        places.setdefault(link.key, []).append(place)
    for shift in shifts:
        share = _cut(shift.share, shift.start, octets)
        moved = np.zeros(octets.slots, dtype=np.int64)
        for place in places.get(shift.source, ()):
            gone = np.minimum(np.rint(before[place] * share).astype(np.int64), after[place])
            after[place] -= gone
            moved += gone
        for place in places.get(shift.target, ()):
            here = holds(octets.links[place], octets.start, octets.slots)
            after[place] += np.where(here, moved, 0)
    return after


def _cut(values: Reals, start: datetime, octets: Octets) -> Reals:
    """The slots of `octets` out of a series; zero where it does not reach."""
    first = (octets.start - start) // SLOT
    out = np.zeros(octets.slots)
    low, high = max(first, 0), min(first + octets.slots, len(values))
    if high > low:
        out[low - first : high - first] = values[low:high]
    return out


@dataclass(slots=True)
class _Pools:
    """Octets that may be placed: by set of places in `octets.links`, by slot."""

    fixed: Ints
    sets: dict[tuple[int, ...], Ints]


def _pools(octets: Octets, before: Ints, free: Sequence[TiedRoutes]) -> _Pools:
    fixed = before.copy()
    sets: dict[tuple[int, ...], Ints] = {}
    places: dict[Key, list[int]] = {}
    for place, link in enumerate(octets.links):
        places.setdefault(link.key, []).append(place)
    for one in free:
        # A link with several sections is left alone: which one holds changes by the slot.
        if any(len(places.get(key, ())) != 1 for key in one.options):
            continue
        source = places[one.source][0]
        options = tuple(sorted(places[key][0] for key in one.options))
        share = _cut(one.share, one.start, octets)
        part = np.minimum(np.rint(before[source] * share).astype(np.int64), fixed[source])
        fixed[source] -= part
        sets[options] = sets[options] + part if options in sets else part
    return _Pools(fixed, sets)


def _best(bills: CounterfactualBills, before: Ints, pools: _Pools, moved: Ints) -> Ints:
    """The cheapest allocation found, starting with none and with the moves.

    Each contract has a cap; sets with the fewest exits are placed first, on each exit up to what is
    left of its contract's cap, cheapest contract first, and what does not fit on the cheapest.
    Caps are changed one contract at a time while that helps.
    """
    best = min((before, moved), key=bills.total)
    least = bills.total(best)
    if not pools.sets:
        return best
    contracts = sorted({link.contract for link in bills.octets.links})
    number = {name: n for n, name in enumerate(contracts)}
    of_place = [number[link.contract] for link in bills.octets.links]
    terms = {m.terms.contract: m.terms for m in bills.months}
    price = [_price(terms.get(name), bills.convert) for name in contracts]
    rates = {name: Fraction(0) for name in contracts}
    for month in bills.months:
        name = month.terms.contract
        rates[name] = max(rates[name], bills.rate(month, before), Fraction(month.terms.commit_bps))
    unit = [float(rates[name]) * SLOT.total_seconds() / 8 for name in contracts]
    order = sorted(pools.sets.items(), key=lambda of: (len(of[0]), -int(of[1].sum()), of[0]))

    def placed(caps: Sequence[float]) -> Ints:
        out = pools.fixed.copy()
        used = np.zeros((len(contracts), bills.octets.slots))
        for place, line in enumerate(out):
            used[of_place[place]] += line
        for options, amount in order:
            remaining = amount.copy()
            cheap = sorted(options, key=lambda p: (price[of_place[p]], p))
            for place in cheap:
                room = np.maximum(caps[of_place[place]] - used[of_place[place]], 0)
                give = np.minimum(remaining, room.astype(np.int64))
                out[place] += give
                used[of_place[place]] += give
                remaining -= give
            out[cheap[0]] += remaining
            used[of_place[cheap[0]]] += remaining
        return out

    caps = list(unit)
    trial = placed(caps)
    known = bills.total(trial)
    if known < least:
        best, least = trial, known
    for _ in range(ROUNDS):
        better = False
        for n in range(len(contracts)):
            for level in LEVELS:
                asked = [*caps[:n], level * unit[n], *caps[n + 1 :]]
                trial = placed(asked)
                cost = bills.total(trial)
                if cost < known:
                    caps, known, better = asked, cost, True
                if cost < least:
                    best, least = trial, cost
        if not better:
            break
    return best


def _price(terms: Terms | None, convert: Converter) -> Fraction:
    """What a further Mbit/s costs under a contract, to put contracts into an order."""
    if terms is None or not terms.priced:
        return Fraction(0)
    price = terms.overage_per_mbps or terms.price_per_mbps
    if price is None:
        price = terms.tiers[-1].price_per_mbps if terms.tiers else Fraction(0)
    return convert(price, terms.currency) or price


__all__ = [
    "ALL",
    "Counterfactual",
    "CounterfactualBills",
    "Shift",
    "TiedRoutes",
    "counterfactual",
    "taken_by_asks",
]
