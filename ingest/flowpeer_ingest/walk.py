"""Datagrams of a batch → data sets, by the compiled core (flowpeer_core/native/src/walk.c).

The core takes plain datagrams apart: those of known sessions and templates that hold nothing but
flow records. It stops at any other one, which goes through `Wire` at its place in the order; what
that changes (templates, sessions, rates, clocks) holds for those behind it. The truth about
sessions and templates stays in `wire.state`: the core asks for each of them once, and its tables
are emptied whenever something changes.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowpeer_core.native import table as native
from flowpeer_ingest.compiled import SETS, CompiledColumns
from flowpeer_ingest.datagrams import Datagrams
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.wire import netflow5, sflow5
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.events import SFLOW5, session_number
from flowpeer_ingest.wire.sets import FIRST_DATA_SET
from flowpeer_ingest.wire.state import (
    DATAGRAMS,
    FLOWS,
    DecoderState,
    ExportSession,
    Key,
    advance,
    advance9,
)

_FOUND, _SESSION = np.dtype(native.CFound), np.dtype(native.CSession)
_PAIR = struct.Struct(">HH")
SESSIONS = 1 << 14
TEMPLATES = 1 << 16
"""Entries of the core's tables; when they are full, they are filled again."""


@dataclass(slots=True)
class SessionDatagrams:
    """Plain datagrams of one session out of a batch: one entry each, in their order."""

    exporter: str
    session: ExportSession
    received_us: NDArray[np.int64]
    export_ms: NDArray[np.int64]
    sequence: NDArray[np.int64]
    units: NDArray[np.int64]  # received, of what the sequence numbers count
    lost: NDArray[np.int64]  # units lost before it


class CompiledWalk:
    """Takes batches apart; one for all batches of a decoder."""

    def __init__(
        self,
        library: ctypes.CDLL,
        columns: CompiledColumns,
        wire: Wire,
        rates: Callable[[ExportSession], Rates],
    ) -> None:
        self._library, self._columns = library, columns
        self._wire, self._rates = wire, rates
        self._b = native.CBatch()
        self._at = ctypes.addressof(self._b)
        self._known = np.zeros(SESSIONS, _SESSION)
        self._session_places = np.zeros(4 * SESSIONS, np.uint32)
        self._templates = np.zeros(TEMPLATES, np.uint64)
        self._codes = np.zeros(TEMPLATES, np.int32)
        self._template_places = np.zeros(4 * TEMPLATES, np.uint32)
        self._sessions: list[ExportSession] = []
        self._numbers: dict[Key, int] = {}
        self._of: dict[tuple[str, int], list[int]] = {}
        self._again: dict[int, list[NDArray[np.uint8]]] = {}
        self._changes: tuple[DecoderState | None, int] = (None, -1)
        b = self._b
        b.sessions, b.session_places = _address(self._known), _address(self._session_places)
        b.session_mask = len(self._session_places) - 1
        b.templates, b.codes = _address(self._templates), _address(self._codes)
        b.template_places = _address(self._template_places)
        b.template_mask = len(self._template_places) - 1

    def batch(
        self,
        batch: Datagrams,
        *,
        on_other: Callable[[int], bool],
        drain: Callable[[], None],
    ) -> list[SessionDatagrams]:
        """Take a batch apart. Calls `on_other(i)` for a datagram that is to be decoded by `Wire`,
        which tells whether that gave flow records alone, and `drain` where what waits must be read,
        at the end always. Returns the plain ones."""
        columns, b = self._columns, self._b
        registry = columns.registry
        n = len(batch)
        columns.octets = batch.octets
        datagrams = batch.table.copy()
        numbers = np.array(registry.numbers(batch.exporters), np.uint32)
        datagrams["exporter"] = numbers[datagrams["exporter"]]
        octets = pa.py_buffer(batch.octets)
        found = np.zeros(n, _FOUND)
        self._received_us = datagrams["received_us"]
        self._lost = np.zeros(n, np.int64)
        self._whose = np.full(n, -1, np.int64)
        self._met: list[ExportSession] = []
        b.octets, b.size = octets.address, octets.size
        b.datagrams, b.found, b.count, b.next = _address(datagrams), _address(found), n, 0
        b.sets, b.set_room = _address(columns.sets), SETS - 1  # an odd one has room at any time
        start = 0
        if registry.full:
            drain()
            registry.forget()
            self._changes = (None, -1)
        self._renew(found, 0, 0)
        while True:
            b.layouts, b.layout_count = _address(registry.layouts), len(registry.layouts)
            b.timeouts_us, b.set_count = _address(registry.timeouts_us), columns.set_count
            b.arena, b.arena_room = _address(columns.arena), len(columns.arena)
            b.arena_used = columns.arena_used
            if self._library.flowpeer_walk(self._at) < 0:
                raise AssertionError("a batch that does not describe its octets")
            columns.set_count, columns.arena_used = b.set_count, b.arena_used
            at = b.next
            if b.stop == native.STOP_END:
                break
            if b.stop == native.STOP_FULL:
                drain()
            elif b.stop == native.STOP_TEMPLATE:
                if not self._tell_template(b.wanted):
                    start = self._renew(found, start, at, again=True)
            elif b.stop == native.STOP_ODD or not self._tell_session(batch.exporter(at)):
                start = self._renew(found, start, at)
                before = self._wire.state.changes
                quiet = on_other(at) and self._wire.state.changes == before
                found[at]["session"] = -1
                b.next = at + 1
                start = at + 1
                self._renew(found, start, start)
                session = self._wire.state.take_current()
                if session is not None:
                    self._reload(session)
                    if quiet and session.version in (9, 10):
                        self._remember(batch.one(at)[0], session)
        self._renew(found, start, n)
        drain()
        columns.octets = b""
        return self._taken(found, batch, datagrams)

    def samples_left_out(self) -> dict[str, int]:
        """sFlow samples without a flow, by the name of what they are; then they are forgotten."""
        b = self._b
        counts = dict(zip((*map(sflow5.other_sample, (2, 5, 0)),), b.others, strict=False))
        counts[sflow5.NO_PACKET] = b.silent
        b.silent = 0
        b.others[:] = (0, 0, 0, 0)
        return {name: count for name, count in counts.items() if count}

    def _reload(self, session: ExportSession) -> None:
        """Let the core know what a session's last datagram changed, by `Wire`: of the session, and
        of the others of its transport session whose records take its rates."""
        number = self._numbers.get(session.key)
        if number is not None:
            self._load(self._known[number], session)
        if session.number == 0 and session.version in (9, 10):
            for other in self._of.get(session.key[:2], ()):
                self._load(self._known[other], self._sessions[other])

    def _remember(self, payload: bytes, session: ExportSession) -> None:
        """Let the core pass over a datagram's sets of templates when they come again: they changed
        nothing, and will not as long as no template and no session comes or goes."""
        number = self._numbers.get(session.key)
        if number is None:
            return
        entry, kept = self._known[number], self._again.setdefault(number, [])
        pos, end = (
            (20, len(payload)) if session.version == 9 else (16, _PAIR.unpack_from(payload)[1])
        )
        while end - pos >= 4:
            kind, size = _PAIR.unpack_from(payload, pos)
            octets = payload[pos : pos + size]
            if size < 4 or pos + size > end:
                return
            pos += size
            if kind >= FIRST_DATA_SET or any(octets == one.tobytes() for one in kept):
                continue
            if len(kept) == native.AGAIN:  # the first one makes room
                del kept[0]
            kept.append(np.frombuffer(octets, np.uint8))
        none = [0] * (native.AGAIN - len(kept))
        entry["again"] = [*map(_address, kept), *none]
        entry["again_size"] = [*(one.size for one in kept), *none]

    def _renew(self, found: NDArray[Any], start: int, stop: int, *, again: bool = False) -> int:
        """Tell `wire.state` of the sequence numbers in [start, stop); where something changed,
        let the core ask for everything again. Returns `stop`."""
        if stop > start:
            self._follow(found, start, stop)
        state = self._wire.state
        changes = (state, state.changes)
        if again or changes != self._changes:
            self._changes = changes
            self._session_places[:] = 0
            self._template_places[:] = 0
            self._b.session_count = self._b.template_count = 0
            self._sessions, self._of, self._numbers, self._again = [], {}, {}, {}
            self._b.netflow5 = self._columns.registry.layout(netflow5.LAYOUT)
        return stop

    def _follow(self, found: NDArray[Any], start: int, stop: int) -> None:
        some = found[start:stop]
        number = some["session"].astype(np.int64)
        last_us = np.zeros(len(self._sessions) + 1, np.int64)
        np.maximum.at(last_us, number, self._received_us[start:stop])  # −1 is the last place
        last_at = np.full(len(self._sessions) + 1, -1, np.int64)
        last_at[number] = np.arange(len(number))
        numbers = np.flatnonzero(last_at[:-1] >= 0)
        for one in numbers[np.argsort(last_at[numbers])].tolist():
            session, entry = self._sessions[one], self._known[one]
            self._wire.state.used(session, int(last_us[one]))
            session.expected = int(entry["expected"])
            if session.version == 9:
                session.previous = int(entry["previous"])
        units = some["units"].copy()
        nine = np.array([s.version == 9 for s in self._sessions], bool)
        if nine.any():
            some["units"][nine[number] & (number >= 0)] = 1
        odd = np.flatnonzero(some["odd"])
        odd = odd[np.argsort(number[odd], kind="stable")]
        for part in np.split(odd, np.flatnonzero(np.diff(number[odd])) + 1) if len(odd) else ():
            self._lost[start + part] = _lost(self._sessions[number[part[0]]], some, part, units)
        first = len(self._met)
        self._met += [self._sessions[i] for i in numbers.tolist()]
        place = np.full(len(self._sessions), -1, np.int64)
        place[numbers] = np.arange(first, first + len(numbers))
        if len(place):
            self._whose[start:stop] = np.where(number >= 0, place[number], -1)
        for one in numbers.tolist():
            self._load(self._known[one], self._sessions[one])

    def _load(self, entry: Any, session: ExportSession) -> None:
        """What the core must know of a session."""
        entry["boot_ms"] = session.boot_ms
        entry["rates"] = self._columns.registry.view(self._rates(session))
        entry["expected"], entry["previous"] = session.expected, session.previous
        entry["plain"] = session.version != 9 or session.counts == DATAGRAMS
        entry["touched"] = entry["unsure"] = 0

    def _tell_session(self, exporter: str) -> bool:
        """Enter the session that the core asks for; False if there is none yet."""
        key = self._b.key
        port: int = key.port
        if key.version == SFLOW5:
            port = session_number(bytes(key.agent), port)
        session = self._wire.state.known(exporter, port, key.version, key.domain)
        if session is None:
            return False
        key.number = session.port
        put = self._library.flowpeer_put_session
        number = put(self._at, ctypes.addressof(key), SESSIONS)
        if number < 0:  # full: an odd datagram makes room
            self._changes = (None, -1)
            return False
        self._load(self._known[number], session)
        self._sessions.append(session)
        self._numbers[session.key] = number
        self._of.setdefault(session.key[:2], []).append(number)
        return True

    def _tell_template(self, wanted: int) -> bool:
        """Enter the template that the core asks for; False if there is no room."""
        session, number = self._sessions[wanted >> 16], wanted & 0xFFFF
        template = session.templates.get(number)
        code = -1
        if template is not None and not template.options and not template.layout.framed:
            code = self._columns.registry.layout(template.layout)
        put = self._library.flowpeer_put_template
        return bool(put(self._at, wanted, code, TEMPLATES) >= 0)

    def _taken(
        self, found: NDArray[Any], batch: Datagrams, datagrams: NDArray[Any]
    ) -> list[SessionDatagrams]:
        order = np.argsort(self._whose, kind="stable")
        order = order[np.searchsorted(self._whose[order], 0) :]
        if not len(order):
            return []
        whose = self._whose[order]
        cuts = np.flatnonzero(np.diff(whose)) + 1
        return [
            SessionDatagrams(
                batch.exporter(part[0]), self._met[self._whose[part[0]]],
                datagrams["received_us"][part], found["export_ms"][part],
                found["sequence"][part], found["units"][part], self._lost[part],
            )
            for part in np.split(order, cuts)
        ]  # fmt: skip


def _lost(
    session: ExportSession, found: NDArray[Any], at: NDArray[Any], units: NDArray[Any]
) -> NDArray[Any]:
    """What was lost before each of a session's datagrams at `at`, in their order. Many whose
    numbers are the expected ones, once nothing else can be made of them, are one step."""
    nine = session.version == 9
    step, lost = advance9 if nine else advance, np.zeros(len(at), np.int64)
    sequence, count = found["sequence"][at], units[at]
    after = (sequence + (1 if nine else count)) & 0xFFFFFFFF
    if not nine:
        after[count < 0] = -1  # unknown
    breaks = [*(np.flatnonzero(sequence[1:] != after[:-1]) + 1).tolist(), len(at)][::-1]
    i = 0
    while i < len(at):
        if sequence[i] == session.expected and (not nine or session.counts == DATAGRAMS):
            while breaks[-1] <= i:
                breaks.pop()
            i = breaks[-1]
            session.expected = int(after[i - 1])
            if nine:
                session.previous = int(count[i - 1])
            continue
        lost[i] = step(session, int(sequence[i]), int(count[i]))
        if session.counts == FLOWS:
            found["units"][at[i]] = count[i]
        i += 1
    return lost


def _address(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)
