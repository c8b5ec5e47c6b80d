"""What a row saves: the bill before it less the bill after it, on the real slots (METHODS M8).

Rows come in the order of their list, and the observed routes outbound that those above took away
stay away: what a saving is. Beside it stands what the row would save with its own inbound, or with
its inferred routes, moved too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from flowpeer_core.slots import SLOT
from flowpeer_reports.billing.bills import MonthSeries
from flowpeer_reports.billing.costs import Amounts
from flowpeer_reports.billing.octets import BilledLink, Octets, holds
from flowpeer_reports.billing.rate import as_bps, billed_octets, billed_of_links, p95_octets
from flowpeer_reports.billing.terms import MBPS, Converter, Terms

Ints = npt.NDArray[np.int64]
Key = tuple[str, int]
"""(exporter, interface)"""


@dataclass(frozen=True, slots=True)
class RouteTraffic:
    """Traffic of a set of routes on one link in one direction, over the slots of a span."""

    bytes: Ints
    packets: Ints


@dataclass(frozen=True)
class Moved:
    """What a row takes away from the links, by account."""

    start: datetime
    """First slot of every part."""
    observed_out: Mapping[Key, RouteTraffic] = field(default_factory=dict)
    own_in: Mapping[Key, RouteTraffic] = field(default_factory=dict)
    inferred_out: Mapping[Key, RouteTraffic] = field(default_factory=dict)
    observed_bytes: Mapping[str, int] = field(default_factory=dict)
    """Contract → observed bytes of the row, the weights of its break-even price."""


def sections(octets: Octets) -> dict[Key, list[BilledLink]]:
    """The sections of each link, each with the contract that it names."""
    found: dict[Key, list[BilledLink]] = {}
    for link in octets.links:
        found.setdefault(link.key, []).append(link)
    return found


def by_contract(
    links: Mapping[Key, Sequence[BilledLink]], parts: Mapping[Key, RouteTraffic], start: datetime
) -> dict[str, int]:
    """Contract → bytes of parts that begin with the slot `start`, each while its section holds."""
    found: dict[str, int] = {}
    for key, part in parts.items():
        for link in links.get(key, ()):
            octets = part.bytes
            if link.since is not None or link.until is not None:
                octets = octets[holds(link, start, len(octets))]
            found[link.contract] = found.get(link.contract, 0) + int(octets.sum())
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """One row's money per month, in the currency of the report; None: no price, or no rate of
    exchange."""

    bill_saving: Fraction | None
    saving: Fraction | None
    saving_with_inbound: Fraction | None
    saving_upper: Fraction | None
    saving_at_renewal: Fraction | None
    peering_cost: Fraction | None
    billed_bps_avoided: Fraction | None
    break_even_bps: Fraction | None
    payback_months: Fraction | None
    notes: tuple[str, ...]


def usable_months(months: Sequence[MonthSeries]) -> tuple[list[MonthSeries], bool]:
    """The months that money is counted on: complete ones, or all where none is, and whether the
    amounts are projected therefore."""
    complete = [m for m in months if m.complete]
    return [m for m in (complete or months) if m.judged.counted and m.links], not complete


class Account:
    """A contract's months with some traffic taken away."""

    def __init__(self, months: Sequence[MonthSeries]) -> None:
        self.months = months
        self.left = [[[way.copy() for way in link] for link in m.links] for m in months]
        self.sums = [[way.copy() for way in m.both] for m in months]
        self.rates = [m.billed_bps() for m in months]
        self.keys = {link.key for m in months for link in m.octets.links}

    def take(self, month: int, link: int, direction: int, octets: Ints) -> None:
        """Take away what is still there of `octets` in the counting slots."""
        remaining = self.left[month][link][direction]
        gone = np.minimum(octets, remaining)
        remaining -= gone
        self.sums[month][direction] -= gone

    def without(
        self, direction: int, parts: Mapping[Key, RouteTraffic], start: datetime
    ) -> list[Fraction]:
        """The billed rates if these parts were gone too."""
        rates = list(self.rates)
        if self.keys.isdisjoint(parts):
            return rates
        for number, month in enumerate(self.months):
            gone = {
                place: np.minimum(octets, self.left[number][place][direction])
                for place, octets in _gone(month, direction, parts, start)
            }
            if not gone:
                continue
            terms = month.terms
            if terms.aggregate == "sum_of_p95":
                links = [list(link) for link in self.left[number]]
                for place, octets in gone.items():
                    links[place][direction] = links[place][direction] - octets
                pairs = [(bytes_in, bytes_out) for bytes_in, bytes_out in links]
                rates[number] = as_bps(billed_of_links(pairs, terms.billing, terms.aggregate))
            else:
                both = list(self.sums[number])
                both[direction] = both[direction] - np.add.reduce(list(gone.values()))
                rates[number] = as_bps(billed_octets(both[0], both[1], terms.billing))
        return rates

    def trial(self) -> Account:
        """The same to try something on."""
        made = copy.copy(self)
        made.left = [[[way.copy() for way in link] for link in m] for m in self.left]
        made.sums = [[way.copy() for way in m] for m in self.sums]
        made.rates = list(self.rates)
        return made

    def rate(self, month: int) -> Fraction:
        """The billed rate of a month as it is now."""
        terms = self.months[month].terms
        if terms.aggregate == "sum_of_p95":
            links = [(bytes_in, bytes_out) for bytes_in, bytes_out in self.left[month]]
            return as_bps(billed_of_links(links, terms.billing, terms.aggregate))
        bytes_in, bytes_out = self.sums[month]
        return as_bps(billed_octets(bytes_in, bytes_out, terms.billing))

    def other_direction(self, month: int) -> bool:
        """Does the inbound direction set the bill?"""
        if self.months[month].terms.billing != "max_of_p95":
            return False
        bytes_in, bytes_out = self.sums[month]
        return p95_octets(bytes_in) >= p95_octets(bytes_out)


_NONE = Fraction(0)


class Savings:
    """The bills of every contract while the rows of one list take their traffic away, in order.

    `months`: the months that belong to the period, complete ones, or all where none is: then every
    amount is projected.
    """

    def __init__(self, months: Sequence[MonthSeries], convert: Converter) -> None:
        usable, self.projected = usable_months(months)
        self._convert = convert
        self._contracts: dict[str, list[MonthSeries]] = {}
        for one in usable:
            self._contracts.setdefault(one.terms.contract, []).append(one)
        self._accounts = {name: Account(of) for name, of in self._contracts.items()}
        self.reached: dict[str, int] = {}
        """Contract → number of rows after which its months are at or below the commit."""
        self._rows = 0

    def row(
        self,
        moved: Moved,
        cost: Amounts = Amounts(),  # noqa: B008 — frozen
        *,
        stays: bool = False,
    ) -> Money:
        """What the next row of the list saves, after those before it.

        `stays`: it is not expected to say yes, so the rows below are counted as if it were not
        there.
        """
        if stays:
            kept = self._accounts, self.reached, self._rows
            self._accounts = {name: one.trial() for name, one in kept[0].items()}
            self.reached = dict(kept[1])
            money = self.row(moved, cost)
            self._accounts, self.reached, self._rows = kept
            return money
        self._rows += 1
        bill = inbound = upper = renewal = _zero()
        avoided = Fraction(0)
        notes: list[str] = []
        for name, months in self._contracts.items():
            state = self._accounts[name]
            before = list(state.rates)
            touched = take_all(state, 1, moved.observed_out, moved.start)
            after = list(state.rates)
            if touched:
                bill = self._add(bill, months, before, after)
                renewal = self._add_renewal(renewal, months, before, after)
                avoided += mean([b - a for b, a in zip(before, after, strict=True)])
                notes += self._reason(name, months, before, after)
                self._commit_reached(name, months, before, after)
            inbound = self._add(
                inbound, months, before, state.without(0, moved.own_in, moved.start)
            )
            upper = self._add(
                upper, months, before, state.without(1, moved.inferred_out, moved.start)
            )
        priced = any(m.terms.priced for of in self._contracts.values() for m in of)
        own = self._convert(cost.per_month, cost.currency) if cost.currency else cost.per_month
        recurring = (
            self._convert(cost.recurring, cost.currency) if cost.currency else cost.recurring
        )
        setup = self._convert(cost.setup, cost.currency) if cost.currency else cost.setup

        def net(amount: Fraction | None) -> Fraction | None:
            return amount - own if priced and amount is not None and own is not None else None

        bill = bill if priced else None
        gain = bill - recurring if bill is not None and recurring is not None else None
        return Money(
            bill_saving=bill,
            saving=net(bill),
            saving_with_inbound=net(inbound),
            saving_upper=net(upper),
            saving_at_renewal=net(renewal),
            peering_cost=own if priced else None,
            billed_bps_avoided=avoided if self._contracts else None,
            break_even_bps=self._break_even(own, moved) if priced else None,
            payback_months=setup / gain
            if setup is not None and gain is not None and gain > 0
            else None,
            notes=tuple(dict.fromkeys(notes)),
        )

    def reductions(
        self, parts: Mapping[Key, RouteTraffic], start: datetime
    ) -> tuple[Fraction | None, Fraction | None]:
        """What the bills would fall by, now and at renewal, if these outbound parts went next."""
        bill = renewal = _zero()
        for name, months in self._contracts.items():
            state = self._accounts[name]
            after = state.without(1, parts, start)
            bill = self._add(bill, months, state.rates, after)
            renewal = self._add_renewal(renewal, months, state.rates, after)
        return bill, renewal

    def changed(
        self, parts: Mapping[Key, RouteTraffic], start: datetime
    ) -> Iterator[tuple[list[MonthSeries], list[Fraction], list[Fraction]]]:
        """Months of each contract whose billed rates would change if these outbound parts went
        next: they, the rates before, and those after."""
        for name, months in self._contracts.items():
            state = self._accounts[name]
            after = state.without(1, parts, start)
            if after != state.rates:
                yield months, list(state.rates), after

    def take(self, parts: Mapping[Key, RouteTraffic], start: datetime) -> None:
        """These outbound parts go."""
        for state in self._accounts.values():
            take_all(state, 1, parts, start)

    def _add(
        self, total: Fraction | None, months: Sequence[MonthSeries],
        before: Sequence[Fraction], after: Sequence[Fraction],
    ) -> Fraction | None:  # fmt: skip
        terms = months[0].terms
        if total is None or not terms.priced:
            return total
        if before == after:
            return None if self._convert(_NONE, terms.currency) is None else total
        reductions = [
            _reduction(m.terms, b, a) for m, b, a in zip(months, before, after, strict=True)
        ]
        amount = self._convert(mean(reductions), terms.currency)
        return None if amount is None else total + amount

    def _add_renewal(
        self, total: Fraction | None, months: Sequence[MonthSeries],
        before: Sequence[Fraction], after: Sequence[Fraction],
    ) -> Fraction | None:  # fmt: skip
        terms = months[0].terms.at_renewal()
        if total is None or terms is None:
            return total
        if before == after:
            return None if self._convert(_NONE, terms.currency) is None else total
        reductions = [_reduction(terms, b, a) for b, a in zip(before, after, strict=True)]
        amount = self._convert(mean(reductions), terms.currency)
        return None if amount is None else total + amount

    def _reason(
        self, name: str, months: Sequence[MonthSeries],
        before: Sequence[Fraction], after: Sequence[Fraction],
    ) -> list[str]:  # fmt: skip
        """Why a contract's bill does not fall though its traffic does."""
        terms = months[0].terms
        if not terms.priced:
            return [f"{name}: states no price"]
        reductions = [_reduction(terms, b, a) for b, a in zip(before, after, strict=True)]
        if any(reductions):
            return [f"{name}: tier lost"] if min(reductions) < 0 else []
        if terms.billing == "flat":
            return [f"{name}: a flat price"]
        if all(terms.billed(b) <= terms.commit_bps for b in before):
            ends = months[-1].ends
            end = f" until the contract ends {ends}" if ends else ""
            return [f"{name}: below commit{end}"]
        state = self._accounts[name]
        if any(state.other_direction(n) for n in range(len(months))) or terms.billing == "in":
            return [f"{name}: the other direction sets the bill"]
        return [f"{name}: it is not there in the slots that set the bill"]

    def _commit_reached(
        self, name: str, months: Sequence[MonthSeries],
        before: Sequence[Fraction], after: Sequence[Fraction],
    ) -> None:  # fmt: skip
        commit = months[0].terms.commit_bps
        if commit and any(b > commit for b in before) and all(a <= commit for a in after):
            self.reached.setdefault(name, self._rows)

    def _break_even(self, own: Fraction | None, moved: Moved) -> Fraction | None:
        """Monthly cost over the renewal price of its contracts, by the row's observed bytes."""
        weight, price = 0, Fraction(0)
        for name, octets in moved.observed_bytes.items():
            months = self._contracts.get(name)
            terms = months[0].terms if months else None
            if terms is None:
                continue
            each = terms.renewal_price_per_mbps
            if each is None:
                each = terms.price_per_mbps
            if each is None and terms.tiers:
                each = terms.tiers[0].price_per_mbps
            if each is None:
                continue
            converted = self._convert(each, terms.currency)
            if converted is None:
                return None
            weight += octets
            price += octets * converted
        return own * MBPS * weight / price if own is not None and price else None

    def notes(self) -> list[str]:
        """Which contracts reach their commit, and after how many asks."""
        found = []
        for name, count in sorted(self.reached.items()):
            ends = self._contracts[name][-1].ends
            until = f" before {ends}" if ends else ""
            asks = "ask reaches" if count == 1 else f"{count} asks reach"
            found.append(f"{name}: the first {asks} the commit; the rest save nothing on it{until}")
        return found


def _reduction(terms: Terms, before: Fraction, after: Fraction) -> Fraction:
    """What a month's bill falls by when the billed rate goes from `before` to `after`."""
    if before == after:
        return _NONE
    return (terms.total(before) or _NONE) - (terms.total(after) or _NONE)


def _zero() -> Fraction | None:
    return Fraction(0)


def take_all(
    account: Account, direction: int, parts: Mapping[Key, RouteTraffic], start: datetime
) -> bool:
    """Take parts out of every month; whether there was anything of them."""
    touched = False
    if account.keys.isdisjoint(parts):
        return False
    for number, month in enumerate(account.months):
        here = False
        for place, octets in _gone(month, direction, parts, start):
            account.take(number, place, direction, octets)
            here = True
        if here:
            touched = True
            account.rates[number] = account.rate(number)
    return touched


def _gone(
    month: MonthSeries, direction: int, parts: Mapping[Key, RouteTraffic], start: datetime
) -> Iterator[tuple[int, Ints]]:
    """Place of each link that parts are of, and their octets in the slots that count."""
    octets = month.octets
    for place, link in enumerate(octets.links):
        part = parts.get(link.key)
        if part is None:
            continue
        size, packets = (cut(a, start, octets) for a in (part.bytes, part.packets))
        gone = framed(octets, place, direction, size, packets)
        if gone.any():
            yield place, month.judged.apply({octets.source_of(place): gone})


def framed(octets: Octets, link: int, direction: int, size: Ints, packets: Ints) -> Ints:
    """What a set's traffic is in the octets that the link is billed by, [slot].

    From flows: its bytes and the framing of its packets. From counters: the counter's octets by
    the set's share of the interface's flow bytes in the slot.
    """
    if not octets.counted[link]:
        return size + octets.links[link].l2_overhead * packets
    total = octets.flow_bytes[link, direction]
    share = np.divide(size, total, out=np.zeros(len(size)), where=total > 0)
    made: Ints = np.rint(octets.values[link, direction] * np.minimum(share, 1)).astype(np.int64)
    return made


def cut(values: Ints, start: datetime, octets: Octets) -> Ints:
    """The slots of `octets` out of a span that begins at `start`; zero where it does not reach."""
    first = (octets.start - start) // SLOT
    out = np.zeros(octets.slots, np.int64)
    low, high = max(first, 0), min(first + octets.slots, len(values))
    if high > low:
        out[low - first : high - first] = values[low:high]
    return out


def capped(parts: Mapping[Key, RouteTraffic], cap_bps: float | None) -> Mapping[Key, RouteTraffic]:
    """The part of a set that a port in between can carry, in each slot in equal shares.

    `cap_bps`: what is left of the port; None: all moves.
    """
    if cap_bps is None or not parts:
        return parts
    total = np.add.reduce([part.bytes for part in parts.values()])
    room = cap_bps * SLOT.total_seconds() / 8
    keep = np.minimum(1.0, np.divide(room, total, out=np.ones(len(total)), where=total > 0))
    return {
        key: RouteTraffic(*(np.rint(v * keep).astype(np.int64) for v in (part.bytes, part.packets)))
        for key, part in parts.items()
    }


def removed(before: Sequence[Ints], after: Sequence[Ints]) -> list[Ints]:
    """What is no longer there, link by link."""
    return [was - now for was, now in zip(before, after, strict=True)]


def mean(values: Sequence[Fraction]) -> Fraction:
    """Exactly."""
    return sum(values, Fraction(0)) / len(values)
