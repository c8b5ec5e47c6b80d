"""Which sampling rate holds for a record: METHODS M2, once for the decoder and the roll-up.

A rate is (numerator, denominator), reduced: 5/2 for 2 packets taken out of 5. Scaled is
counter × numerator / denominator, rounded once (`scaled`). Rates from options data are announced
for a sampler, an interface or everything, at a moment; `AnnouncedRates` keeps each change, so that
the answer for a record depends on when its datagram was received, not on what was read first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import gcd

MAX_RATE = 1 << 24
"""Real rates end at about 1 : 65536; a wrong template gives numbers of any size."""
MAX_DENOMINATOR = 1 << 18
"""So that counter × numerator stays within 63 bits in `scaled`; real ones are below 1,000."""

Rate = tuple[int, int]
"""(numerator, denominator), reduced, 1 ≤ rate ≤ MAX_RATE."""


def ratio(numerator: int, denominator: int) -> Rate | None:
    """The rate numerator / denominator; None where it is none: below 1 or beyond `MAX_RATE`."""
    if denominator <= 0 or not denominator <= numerator <= MAX_RATE * denominator:
        return None
    divisor = gcd(numerator, denominator)
    numerator, denominator = numerator // divisor, denominator // divisor
    while denominator > MAX_DENOMINATOR:
        numerator, denominator = (numerator + 1) >> 1, (denominator + 1) >> 1
    divisor = gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


def stated(values: Mapping[int, int]) -> Rate | None:
    """The rate that information elements state (0: not stated); None if none is there.

    309/310 (size, population) come before 305/306 (interval, space): IOS XR sends 305 = 1 beside
    1 out of 256. 305 without 306 is the N itself, as exporters use it; 50 and 34 are N. What is
    beyond `MAX_RATE` is recognised by `beyond`.
    """
    found = _elements(values)
    return None if found is None else ratio(*found)


def beyond(values: Mapping[int, int]) -> bool:
    """Do the elements state a rate above `MAX_RATE`?"""
    found = _elements(values)
    return found is not None and found[0] > MAX_RATE * found[1]


def _elements(values: Mapping[int, int]) -> Rate | None:
    size, population = values.get(309, 0), values.get(310, 0)
    if size > 0 and population > 0:
        return population, size
    taken = values.get(305, 0)
    if taken > 0:
        return (taken + values[306], taken) if 306 in values else (taken, 1)
    plain = values.get(50, 0) or values.get(34, 0)
    return (plain, 1) if plain > 0 else None


def rounded(rate: Rate) -> int:
    """N of 1:N, half up: what tables show."""
    numerator, denominator = rate
    return (2 * numerator + denominator) // (2 * denominator)


def scaled(counter: int, rate: Rate) -> int:
    """counter × rate, rounded half up once."""
    numerator, denominator = rate
    return (2 * counter * numerator + denominator) // (2 * denominator)


_Key = tuple[int | None, int | None]  # sampler, interface
_WIDE: _Key = (None, None)


class AnnouncedRates:
    """Rates that options data announced in one session and observation domain, with each change.

    `kept`: changes remembered per sampler or interface, 0 for all. `changes` grows with each.
    """

    __slots__ = ("_changes", "_kept", "_with_sampler", "changes")

    def __init__(self, *, kept: int = 0) -> None:
        self._changes: dict[_Key, tuple[list[int], list[Rate]]] = {}
        self._with_sampler: set[Rate] = set()
        self._kept = kept
        self.changes = 0

    @property
    def keys(self) -> int:
        """Samplers and interfaces with a rate."""
        return len(self._changes)

    def announce(
        self, sampler: int | None, interface: int | None, rate: Rate, at_us: int
    ) -> Rate | None:
        """Take in one announcement, in any order of time; the rate that it replaced, if another.

        One that says what held before says nothing new. Of two at one moment the greater stands.
        """
        replaced = self._put((sampler, interface), rate, at_us)
        if sampler is not None:
            if len(self._with_sampler) < 2:  # two are as good as more: they do not agree
                self._with_sampler.add(rate)
            if interface is not None:
                self._put((sampler, None), rate, at_us)
        return replaced

    def _put(self, key: _Key, rate: Rate, at_us: int) -> Rate | None:
        found = self._changes.get(key)
        if found is None:
            self._changes[key] = [at_us], [rate]
            self.changes += 1
            return None
        times, rates = found
        place = bisect_right(times, at_us)
        before = rates[place - 1] if place else None
        if before == rate and self._kept:  # with all changes kept, one may still come in between
            return None
        self.changes += 1
        if place and times[place - 1] == at_us:
            rates[place - 1] = max(rates[place - 1], rate)
            return None if before == rate else before
        times.insert(place, at_us)
        rates.insert(place, rate)
        if self._kept and len(times) > self._kept:
            del times[0], rates[0]
        return None if before == rate else before

    def forget_oldest(self) -> None:
        """Forget the sampler or interface that was named first."""
        self._changes.pop(next(iter(self._changes)), None)
        self.changes += 1

    def at(self, sampler: int | None, interface: int | None, at_us: int) -> Rate | None:
        """The last rate at or before that time, before the first one the first."""
        found = self._changes.get((sampler, interface))
        if found is None:
            return None
        times, rates = found
        return rates[max(bisect_right(times, at_us) - 1, 0)]

    def only(self) -> Rate | None:
        """The one rate that was ever named with a sampler, None if there are several."""
        return next(iter(self._with_sampler)) if len(self._with_sampler) == 1 else None

    def moments(self) -> set[int]:
        """Times at which an answer of `at` may change: all announcements but the first of each."""
        return {time for times, _ in self._changes.values() for time in times[1:]}

    def rows(self) -> list[tuple[int | None, int | None, int, Rate]]:
        """(sampler, interface, time, rate) of all changes."""
        return [
            (sampler, interface, time, rate)
            for (sampler, interface), (times, rates) in self._changes.items()
            for time, rate in zip(times, rates, strict=True)
        ]

    def latest(self) -> Iterable[tuple[int | None, int | None, Rate]]:
        """(sampler, interface, rate) that hold now, the first named first."""
        for (sampler, interface), (_, rates) in self._changes.items():
            yield sampler, interface, rates[-1]


def rate_of(
    tables: Sequence[AnnouncedRates],
    sampler: int | None,
    interface: int | None,
    at_us: int,
) -> Rate | None:
    """The announced rate that holds for a record; None where nothing that was stated applies.

    tables: of the record's own observation domain, then of domain 0 of the same session.
    interface: the metered one (input, output for egress records), None unknown.
    The record's sampler comes first, then the interface, then what is stated of everything; a
    record that names no sampler takes the rate of the samplers where they all have the same.
    """
    if sampler is not None:
        for key in ((sampler, interface), (sampler, None)):
            for table in tables:
                found = table.at(*key, at_us)
                if found is not None:
                    return found
    if interface is not None:
        for table in tables:
            found = table.at(None, interface, at_us)
            if found is not None:
                return found
    for table in tables:
        found = table.at(*_WIDE, at_us)
        if found is not None:
            return found
    if sampler is None:
        for table in tables:
            found = table.only()
            if found is not None:
                return found
    return None
