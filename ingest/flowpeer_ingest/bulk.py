"""Many datagrams at once: what `Wire` and `UnitDecoder` do for each, for those that are plain.

A datagram is plain if its header is whole, its session is known, and all its sets are data sets
of known templates that hold flow records. These are taken apart with a few array operations for
thousands of datagrams together; all others go through `Wire`, each at its place in the order.
What such a datagram changes (templates, sessions, rates, clocks) holds for those behind it.

Kept in step by hand: `wire/netflow5.py`, `netflow9.py`, `ipfix.py` (headers) and `Walk.run` and
`Walk.data` in `wire/sets.py`. A test holds both ways equal on the same datagrams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowpeer_ingest.blocks import Block
from flowpeer_ingest.reading import Ints
from flowpeer_ingest.sampling import Rates, Sampling
from flowpeer_ingest.unrolled import Unrolled, gathered, unroll
from flowpeer_ingest.wire import netflow5
from flowpeer_ingest.wire.layout import Layout, Template
from flowpeer_ingest.wire.state import DATAGRAMS, FLOWS, Session, State, advance, advance9

MAX_SETS = 64
"""Sets of a datagram that are looked at here; 1,400 octets of sets with records have fewer."""
MAX_STEPS = 1_024
"""Records in a set × variable fields in a record that are taken apart here: each such step costs
some array operations however few sets take it. 1,400 octets make under 300 steps."""
_V5_HEADER, _V9_HEADER, _IPFIX_HEADER = 24, 20, 16
_V5_RECORD = 48
_TAIL = 64
"""Zeros behind the last datagram, so that a header cut short is read as zeros and refused."""

Bools = NDArray[np.bool_]


class Batch:
    """Datagrams in the order they came, their headers and the places of their sets."""

    def __init__(
        self,
        payloads: Sequence[bytes],
        exporters: Sequence[str],
        ports: Sequence[int],
        received_us: Sequence[int],
    ) -> None:
        n = len(payloads)
        self.payloads, self.exporters, self.ports = payloads, exporters, ports
        self.received_us = np.array(received_us, np.int64)
        self.octets = b"".join((*payloads, bytes(_TAIL)))
        self._data = np.frombuffer(self.octets, np.uint8)
        length = np.fromiter(map(len, payloads), np.int64, n)
        self._start = np.cumsum(length) - length
        self._headers(length)
        codes: dict[tuple[str, int], int] = {}
        source = [codes.setdefault(s, len(codes)) for s in zip(exporters, ports, strict=True)]
        sources = list(codes)
        # One number for (source, version, domain); `sessions` names them.
        key = np.array(source, np.int64) << 35 | (self.version >> 1) << 32 | self.domain
        _, first, self.session = np.unique(key, return_index=True, return_inverse=True)
        self.sessions = [
            (*sources[source[i]], int(self.version[i]), int(self.domain[i])) for i in first.tolist()
        ]
        self._walk(length)

    def _u16(self, at: Ints) -> Ints:
        data = self._data
        return data[at].astype(np.int64) << 8 | data[at + 1]

    def _u32(self, at: Ints) -> Ints:
        return self._u16(at) << 16 | self._u16(at + 2)

    def _headers(self, length: Ints) -> None:
        at = self._start
        version = self._u16(at)
        second = self._u16(at + 2)
        five, nine, ten = version == 5, version == 9, version == 10
        fit = (length - _V5_HEADER) // _V5_RECORD
        self.plain: Bools = np.select(
            [five, nine, ten],
            [
                (length >= _V5_HEADER) & (second >= 1) & (second <= fit),
                length >= _V9_HEADER,
                (length >= _IPFIX_HEADER) & (second >= _IPFIX_HEADER) & (second <= length),
            ],
            False,
        )
        self.version = np.where(five | nine | ten, version, 0)
        words = [self._u32(at + i) for i in (4, 8, 12, 16)]
        zero = np.zeros_like(version)
        self.uptime_ms = np.where(ten, -1, words[0])
        seconds = np.where(ten, words[0], words[1])
        nanos = np.where(five, words[2], 0)
        self.export_ms = seconds * 1_000 + nanos // 1_000_000
        self.sequence = np.select([five, nine, ten], [words[3], words[2], words[1]], zero)
        engine = self._u16(at + 20)
        self.domain = np.select([five, nine, ten], [engine, words[3], words[2]], zero)
        self.sampling = np.where(five, self._u16(at + 22) & netflow5.INTERVAL_BITS, 0)
        self._second = second

    def _walk(self, length: Ints) -> None:
        """Find all sets; a datagram with anything but data sets in their bounds is not plain."""
        start = self._start
        version = np.where(self.plain, self.version, 0)
        five = np.flatnonzero(version == 5)
        owners, numbers = [five], [np.zeros(len(five), np.int64)]
        begins = [start[five] + _V5_HEADER]
        sizes = [self._second[five] * _V5_RECORD]
        active = np.flatnonzero((version == 9) | (version == 10))
        ten = version == 10
        pos = start + np.where(ten, _IPFIX_HEADER, _V9_HEADER)
        end = start + np.where(ten, self._second, length)
        for _ in range(MAX_SETS):
            active = active[end[active] - pos[active] >= 4]
            if not len(active):
                break
            at = pos[active]
            number, size = self._u16(at), self._u16(at + 2)
            fine = (number >= 256) & (size >= 4) & (at + size <= end[active])
            self.plain[active[~fine]] = False
            active, at, number, size = active[fine], at[fine], number[fine], size[fine]
            owners.append(active)
            numbers.append(number)
            begins.append(at + 4)
            sizes.append(size - 4)
            pos[active] += size
        self.plain[active] = False
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        order = order[self.plain[owner[order]]]
        self.owner = owner[order]
        self.begin = np.concatenate(begins)[order]
        self.size = np.concatenate(sizes)[order]
        number = np.concatenate(numbers)[order]
        kinds, self.kind = np.unique(self.session[self.owner] << 16 | number, return_inverse=True)
        self.kinds = [(k >> 16, k & 0xFFFF) for k in kinds.tolist()]
        """(index into `sessions`, template number) of each kind of set."""


@dataclass(slots=True)
class Variable:
    """The sets (their places in the batch) of a layout of variable length, taken apart."""

    sets: Ints
    records: Unrolled


@dataclass(slots=True)
class Known:
    """What the decoder knows at one moment, and what a batch holds by it."""

    sessions: list[Session | None]
    rates: list[Rates]
    boot_ms: Ints  # by session, −1 unknown
    templates: list[Template | None]  # by kind
    counts: Ints  # records by set
    units: Ints  # records by datagram
    plain: Bools  # by datagram
    variable: dict[Layout, Variable]
    changes: tuple[int, int]

    def outdated(self, session: int, state: State, sampling: Sampling) -> bool:
        """Did a datagram of this session change what others mean?"""
        now = self.sessions[session]
        return (state.changes, sampling.changes) != self.changes or (
            now is not None and now.domain.boot_ms != self.boot_ms[session]
        )


def look(batch: Batch, state: State, sampling: Sampling) -> Known:
    """What is known now about the sessions and kinds of sets of a batch."""
    sessions = [
        state.known(*key) if key[2] else None  # version 0: another protocol
        for key in batch.sessions
    ]
    rates = [sampling.rates(exporter, domain) for exporter, _, _, domain in batch.sessions]
    boot_ms = np.array([-1 if s is None else s.domain.boot_ms for s in sessions], np.int64)
    templates: list[Template | None] = []
    for at, number in batch.kinds:
        session = sessions[at]
        template = None
        if session is not None and batch.sessions[at][2] == 5:
            template = netflow5.TEMPLATE
        elif session is not None:
            template = session.templates.get(number) or session.domain.templates.get(number)
        if template is not None and (template.options or template.layout.framed):
            template = None
        templates.append(template)
    minimum = np.array([0 if t is None else t.layout.minimum for t in templates], np.int64)
    least = minimum[batch.kind]
    counts = batch.size // np.maximum(least, 1)
    strange = (least == 0) | ((counts == 0) & (batch.size > 3))
    variable: dict[Layout, Variable] = {}
    steps = np.array([0 if t is None else len(t.layout.keeps) for t in templates], np.int64)
    strange |= steps[batch.kind] * counts > MAX_STEPS
    for layout in {t.layout for t in templates if t is not None and t.layout.variable}:
        member = np.array([t is not None and t.layout is layout for t in templates], bool)
        sets = np.flatnonzero(member[batch.kind] & ~strange)
        records = unroll(layout, batch.octets, batch.begin[sets], batch.size[sets])
        counts[sets] = records.counts
        strange[sets[records.broken]] = True
        variable[layout] = Variable(sets, records)
    plain = batch.plain & np.array([s is not None for s in sessions], bool)[batch.session]
    plain[batch.owner[strange]] = False
    units = np.bincount(batch.owner, counts, len(batch.payloads)).astype(np.int64)
    changes = state.changes, sampling.changes
    return Known(sessions, rates, boot_ms, templates, counts, units, plain, variable, changes)


@dataclass(slots=True)
class Taken:
    """Records of one layout out of a stretch of datagrams."""

    version: int
    layout: Layout
    block: Block


def take(batch: Batch, known: Known, chosen: Bools) -> list[Taken]:
    """The records of the plain datagrams `chosen`, by layout, each in their order."""
    wanted = chosen[batch.owner] & (known.counts > 0)
    groups: dict[tuple[int, Layout], list[int]] = {}
    for kind in np.unique(batch.kind[wanted]).tolist():
        template = known.templates[kind]
        assert template is not None
        version = batch.sessions[batch.kinds[kind][0]][2]
        groups.setdefault((version, template.layout), []).append(kind)
    out = []
    for (version, layout), kinds in groups.items():
        member = np.zeros(len(batch.kinds), bool)
        member[kinds] = True
        mine = wanted & member[batch.kind]
        sets = np.flatnonzero(mine)
        if layout.variable:
            found = known.variable[layout]
            flat = gathered(layout, batch.octets, found.records, mine[found.sets])
        else:
            flat = joined(batch.octets, batch.begin[sets], known.counts[sets] * layout.minimum)
        out.append(Taken(version, layout, _block(batch, known, sets, flat)))
    return out


def joined(octets: bytes, begin: Ints, size: Ints) -> bytes:
    """The stretches of `octets` one after the other."""
    stop = begin + size
    return b"".join([octets[a:b] for a, b in zip(begin.tolist(), stop.tolist(), strict=True)])


def _block(batch: Batch, known: Known, sets: Ints, flat: bytes) -> Block:
    at = batch.owner[sets]
    session = batch.session[at]
    names: dict[str, int] = {}
    rates: dict[int, int] = {}
    exporter = [names.setdefault(key[0], len(names)) for key in batch.sessions]
    listed: list[Rates] = []
    for one in known.rates:
        if rates.setdefault(id(one), len(listed)) == len(listed):
            listed.append(one)
    boot_ms = known.boot_ms[session]
    export_ms = batch.export_ms[at]
    uptime_ms = np.where(
        (batch.version[at] == 10) & (boot_ms >= 0),
        (export_ms - boot_ms) & 0xFFFFFFFF,
        batch.uptime_ms[at],
    )
    return Block(
        flat=flat,
        counts=known.counts[sets],
        received_us=batch.received_us[at],
        export_ms=export_ms,
        uptime_ms=uptime_ms,
        domain=batch.domain[at],
        sampling=batch.sampling[at],
        exporters=list(names),
        exporter=np.array(exporter, np.int64)[session],
        rates=listed,
        rate=np.array([rates[id(r)] for r in known.rates], np.int64)[session],
    )


class Sequences:
    """Follows the sequence numbers of a batch's plain datagrams, session by session."""

    def __init__(self, batch: Batch, known: Known, start: int) -> None:
        self._batch, self._known = batch, known
        self.received = known.units.copy()
        """Units of each datagram that was followed, as its session's sequence counts them."""
        chosen = np.flatnonzero(known.plain[start:]) + start
        order = np.argsort(batch.session[chosen], kind="stable")
        self._order = chosen[order]
        session = batch.session[self._order]
        places = np.arange(len(batch.sessions) + 1)
        self._at = np.searchsorted(session, places).tolist()
        self._end = self._at[1:]

    def until(self, stop: int, session: int) -> list[tuple[int, int]]:
        """(datagram, units lost before it) in a session, up to the datagram `stop`."""
        first, end = self._at[session], self._end[session]
        if first == end:
            return []
        mine = self._order[first:end]
        mine = mine[: int(np.searchsorted(mine, stop))]
        self._at[session] = first + len(mine)
        known = self._known.sessions[session]
        if not len(mine) or known is None:
            return []
        found, self.received[mine] = follow(
            known, self._batch.sequence[mine], self._known.units[mine]
        )
        return [(int(mine[i]), lost) for i, lost in found]

    def rest(self, stop: int) -> list[tuple[int, int]]:
        """The same for all sessions."""
        found = []
        for session in range(len(self._end)):
            found += self.until(stop, session)
        return found


def follow(session: Session, sequence: Ints, units: Ints) -> tuple[list[tuple[int, int]], Ints]:
    """The sequence numbers of messages of one session with `units` records each, in order.

    Returns (place, units lost before it) where any were: what `advance` and `advance9` say; and
    the units of each message: its records, or 1 where datagrams are counted.
    """
    nine = session.domain.version == 9
    due = np.empty_like(sequence)
    due[0] = session.expected if session.expected >= 0 else sequence[0]
    due[1:] = (sequence[:-1] + (1 if nine else units[:-1])) & 0xFFFFFFFF
    # What a v9 sequence counts must be known before nothing but single steps can be seen at once.
    if (due == sequence).all() and (not nine or session.counts == DATAGRAMS):
        session.expected = int(sequence[-1] + (1 if nine else units[-1])) & 0xFFFFFFFF
        session.previous = int(units[-1]) if nine else session.previous
        return [], np.ones_like(units) if nine else units
    step = advance9 if nine else advance
    lost, received = [], units.copy()
    for i, (number, count) in enumerate(zip(sequence.tolist(), units.tolist(), strict=True)):
        gap = step(session, number, count)
        if gap:
            lost.append((i, gap))
        if nine and session.counts != FLOWS:
            received[i] = 1
    return lost, received
