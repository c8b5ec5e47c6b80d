"""What the datagrams of one session and domain add up to in a unit: slots, numbers, conflicts.

A slot of `coverage` has the first sequence number in it and the number due next after it, so that
a silence whose numbers run on can be distinguished from a loss (METHODS M5). `SequenceInterval` is
what one unit received, so that a datagram held by several units counts once (M13).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flowpeer_core.slots import SLOT_US
from flowpeer_ingest.wire.state import ExportSession

MAX_INTERVALS = 4_096
"""Of a unit and session: a step for each loss; beyond that the shortest gaps are closed."""
OVERLAP_US = 10_000_000
"""Two sessions whose datagrams alternate for longer are both alive; a restart never overlaps."""
RESTARTS = 3
"""Steps of a sequence in a unit that are neither a loss nor late: one or two are restarts."""
JUMP = 10
"""A sampling rate that changes by this factor is reported; operators change it by less, or once."""
_WRAP = 1 << 32

Ints = NDArray[np.int64]

SessionKey = tuple[str, int, int, int]
"""(exporter, session as columns call it, version, domain)"""


@dataclass(frozen=True, slots=True)
class SequenceInterval:
    """Sequence numbers [first, after) of one exporter, session and domain, received in a unit.

    They count what `coverage.received` counts, and end at 2^32: where they wrap are two.
    """

    exporter_ip: str
    session: int
    domain: int
    first: int
    after: int
    first_us: int
    last_us: int


@dataclass(slots=True)
class SenderConflict:
    """A sign that two senders speak as one, or that one contradicts itself: `count` times in
    [first_us, last_us], in which the records of this exporter, session and domain are in doubt."""

    kind: str
    exporter_ip: str
    session: int
    domain: int
    first_us: int
    last_us: int
    count: int = 1
    detail: str = ""

    def again(self, at_us: int, count: int = 1) -> None:
        """It was seen at this time too."""
        self.first_us, self.last_us = min(self.first_us, at_us), max(self.last_us, at_us)
        self.count += count


TWO_SESSIONS = "two live sessions of one address and domain"
TO_AND_FRO = "template redefined to and fro"
RATE_JUMPS = "sampling rate jumps"
SEQUENCE = "sequence numbers of two senders"


@dataclass(slots=True)
class SessionCounts:
    """One session and domain in a unit. `restarts`: those of its sequence before the unit."""

    session: ExportSession
    restarts: int
    slots: dict[int, list[int]] = field(default_factory=dict)
    """slot → [datagrams, units lost, units received beyond one a datagram], where units are what
    the sequence numbers count."""
    firsts: dict[int, tuple[int, int]] = field(default_factory=dict)
    """slot → (received, sequence number) of its first datagram"""
    lasts: dict[int, tuple[int, int]] = field(default_factory=dict)
    """slot → (received, number due next) of its last datagram, −1 unknown"""
    runs: list[list[int]] = field(default_factory=list)
    """[first, units, first received, last received] of numbers that follow one another, none of
    them beyond 2^32: numbers that wrap are two runs."""
    first_us: int = -1
    last_us: int = -1

    def slot(self, received_us: int) -> list[int]:
        """The counters of a slot, see `slots`."""
        number = received_us // SLOT_US
        found = self.slots.get(number)
        if found is None:
            found = self.slots[number] = [0, 0, 0]
        return found

    def datagram(self, received_us: int, sequence: int, units: int, *, known: bool) -> None:
        """Count one datagram of so many units; `known`: there are no more than those."""
        slot = self.slot(received_us)
        slot[0] += 1
        slot[2] += units - 1
        self._seen(received_us, received_us)
        if sequence >= 0:
            after = (sequence + units) % _WRAP if known else -1
            self._number(received_us // SLOT_US, (received_us, sequence), (received_us, after))
            self._run(sequence, units, received_us, received_us)

    def many(self, received_us: Ints, sequence: Ints, units: Ints) -> None:
        """Count datagrams in the order they came."""
        if not len(received_us):
            return
        self._seen(int(received_us.min()), int(received_us.max()))
        after = (sequence + units) % _WRAP
        early, late = _order(received_us, sequence), _order(received_us, after)
        numbers = received_us[early] // SLOT_US
        begins = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
        ends = np.append(begins[1:], len(numbers))
        more = np.add.reduceat(units[early] - 1, begins)
        for begin, end, extra in zip(begins.tolist(), ends.tolist(), more.tolist(), strict=True):
            place, one, other = int(numbers[begin]), early[begin], late[end - 1]
            slot = self.slot(place * SLOT_US)
            slot[0] += end - begin
            slot[2] += extra
            self._number(
                place, (int(received_us[one]), int(sequence[one])),
                (int(received_us[other]), int(after[other])),
            )  # fmt: skip
        some = units > 0  # templates alone are in no run
        if not some.all():
            received_us, sequence, units, after = (
                column[some] for column in (received_us, sequence, units, after)
            )
            if not len(units):
                return
        # What goes beyond 2^32 stands for itself: the numbers on either side keep their times.
        beyond = sequence + units > _WRAP
        apart = (sequence[1:] != after[:-1]) | (after[:-1] == 0) | beyond[1:] | beyond[:-1]
        begins = np.flatnonzero(np.append(True, apart))
        ends = np.append(begins[1:], len(sequence))
        total = np.cumsum(units)
        earliest = np.minimum.reduceat(received_us, begins).tolist()
        latest = np.maximum.reduceat(received_us, begins).tolist()
        for i, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
            size = int(total[end - 1] - (total[begin - 1] if begin else 0))
            self._run(int(sequence[begin]), size, earliest[i], latest[i])

    def _seen(self, first_us: int, last_us: int) -> None:
        self.first_us = first_us if self.first_us < 0 else min(self.first_us, first_us)
        self.last_us = max(self.last_us, last_us)

    def _number(self, slot: int, first: tuple[int, int], last: tuple[int, int]) -> None:
        self.firsts[slot] = min(first, self.firsts.get(slot, first))
        self.lasts[slot] = max(last, self.lasts.get(slot, last))

    def _run(self, first: int, units: int, first_us: int, last_us: int) -> None:
        runs = self.runs
        if units <= 0:
            return
        if first + units > _WRAP:
            self._run(first, _WRAP - first, first_us, last_us)
            self._run(0, min(units, _WRAP) - (_WRAP - first), first_us, last_us)
            return
        if runs and runs[-1][0] + runs[-1][1] == first:
            runs[-1][1] += units
            runs[-1][2:] = min(runs[-1][2], first_us), max(runs[-1][3], last_us)
            return
        runs.append([first, units, first_us, last_us])
        if len(runs) > 2 * MAX_INTERVALS:
            self.runs = [[a, b - a, *when] for a, b, *when in joined(runs)]


def _order(received_us: Ints, number: Ints) -> Ints:
    """Places in the order of time, then of the number: mostly they are in order."""
    if (received_us[1:] > received_us[:-1]).all():
        return np.arange(len(received_us))
    return np.lexsort((number, received_us))


def joined(runs: Iterable[list[int]]) -> list[list[int]]:
    """[first, after, first received, last received] of the numbers in `runs`, ascending, each
    number once; at most `MAX_INTERVALS` of them, the shortest gaps closed. None goes beyond 2^32:
    one that wraps is two."""
    out: list[list[int]] = []
    for part in sorted([first, first + units, *when] for first, units, *when in runs):
        if out and part[0] <= out[-1][1]:
            _close(out, part)
        else:
            out.append(part)
    if len(out) > MAX_INTERVALS:
        gaps = sorted(b[0] - a[1] for a, b in pairwise(out))
        limit = gaps[len(out) - MAX_INTERVALS - 1]
        kept = [out[0]]
        for each in out[1:]:
            if each[0] - kept[-1][1] <= limit:
                _close(kept, each)
            else:
                kept.append(each)
        out = kept
    return out


def _close(out: list[list[int]], part: Sequence[int]) -> None:
    last = out[-1]
    last[1] = max(last[1], part[1])
    last[2], last[3] = min(last[2], part[2]), max(last[3], part[3])


def intervals(found: dict[SessionKey, SessionCounts]) -> Iterator[SequenceInterval]:
    """The numbers that a unit received, by exporter, session and domain."""
    for (exporter, session, _, domain), counts in sorted(found.items()):
        for first, after, first_us, last_us in joined(counts.runs):
            yield SequenceInterval(exporter, session, domain, first, after, first_us, last_us)


def conflicts(found: dict[SessionKey, SessionCounts]) -> Iterator[SenderConflict]:
    """Sessions of one address and domain that live side by side, and sequences of two senders."""
    together: dict[tuple[str, int, int, int], list[tuple[int, int, int]]] = {}
    for (exporter, session, version, domain), counts in sorted(found.items()):
        restarts = counts.session.restarts - counts.restarts
        if restarts >= RESTARTS:
            yield SenderConflict(
                SEQUENCE, exporter, session, domain, counts.first_us, counts.last_us, restarts
            )
        # An address that speaks for several sFlow agents has a session for each.
        key = exporter, version, domain, session >> 16
        together.setdefault(key, []).append((counts.first_us, counts.last_us, session))
    for (exporter, _, domain, _), spans in together.items():
        spans.sort()
        longest = spans[0]
        for span in spans[1:]:
            begin, end = span[0], min(longest[1], span[1])
            if end - begin > OVERLAP_US:
                yield SenderConflict(
                    TWO_SESSIONS, exporter, span[2], domain, begin, end,
                    detail=f"source ports {longest[2] & 0xFFFF} and {span[2] & 0xFFFF}",
                )  # fmt: skip
            longest = max(longest, span, key=lambda s: s[1])
