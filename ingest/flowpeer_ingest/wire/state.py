"""What a decoder remembers between datagrams, and its bounds.

Everything belongs to one transport session and observation domain: exporter's address, source port,
version, domain (RFC 7011 section 8). Templates, rates, the sequence number, the boot time and data
that waits for its template are never shared between two senders that differ in one of these. One
exception: exporters of NetFlow v9 change their port at restart and repeat templates only after
minutes, so a session of v9 takes over (`inherit`) from one that fell silent before it began. Data
and options templates share one numbering.

What is kept is bounded by memory: for each exporter, and for all exporters that the configuration
does not name together; the least recently used session is forgotten first. Configured exporters
have memory of their own that no stranger can take.
"""

from __future__ import annotations

import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from flowpeer_core.sampling_rates import AnnouncedRates
from flowpeer_ingest.wire.events import Message
from flowpeer_ingest.wire.layout import Field, Layout, Template, make_layout

SESSION_OCTETS = 1_536
"""What a session costs, its places in the tables of its exporter included."""
TEMPLATE_OCTETS = 256
"""What a template costs in a session besides its layout, which all sessions share."""
RATE_OCTETS = 512
"""What a sampling rate costs, its latest changes included."""
MAX_EXPORTER_OCTETS = 32 << 20
"""Some 20,000 bare sessions, or 3,500 with 30 templates each: a chassis with a domain per line
card, a virtual switch or a relay has hundreds."""
MAX_STRANGERS_OCTETS = 128 << 20
"""All exporters together that the configuration does not name: 80,000 bare sessions."""
MAX_CONFIGURED_OCTETS = 1 << 30
"""All exporters of the configuration together."""
MAX_TEMPLATES = 1_024
"""Per session; IOS XR uses under 40, and template numbers end at 65,535."""
MAX_FIELDS = 512
"""Per template; the longest seen (YAF, nProbe) have about 120."""
MAX_RATES = 16_384
"""Sampling rates per session; one per interface of the largest chassis is some thousands."""
KEPT_CHANGES = 64
"""Changes of one rate that are remembered for records on their way; all stand in `sampling`."""
MAX_PENDING_TEMPLATES = 1_024
"""Template numbers waited for per exporter, and reported; others are counted under number 0."""
MAX_PENDING_OCTETS = 4 << 20
"""Held per exporter; a datagram has at most 64 KiB."""
MAX_PENDING_STRANGERS = 32 << 20
"""Held over all exporters that the configuration does not name."""
MAX_PENDING_CONFIGURED = 256 << 20
"""Held over all exporters of the configuration."""
MAX_PENDING_S = 3_600
"""A collector lets go of data sets that waited so long: twice the longest interval between
templates that routers have by default (IOS XR: 1,800 s)."""
HELD_OCTETS = 512
"""What a data set that is held costs besides its octets."""
MAX_LAYOUT_FIELDS = 131_072
"""Fields of all different templates together, about 26 MiB; once for the configured exporters and
once for all others. Routers of one kind and setting share theirs; only forged ones all differ."""
MAX_REORDER = 1_000
"""A step back up to this many units is a late datagram, a larger one a restart."""
MAX_GAP = 1 << 24
"""A step forward beyond this is a restart with another starting number, not a loss."""
SILENT_US = 60_000_000
"""A session that sent nothing for so long has fallen silent: routers send templates or counters at
least once a minute while they live."""
MAX_PREDECESSORS = 16
"""Sessions looked at for one that fell silent, the most recent first."""
BUDGET_US = 60_000_000
MAX_WORK = 100_000
"""Changes of templates and rates that an exporter may cause in `BUDGET_US`, in steps of about
10 µs: a second of CPU. A chassis that starts with 1,000 line cards causes about 30,000."""

Key = tuple[str, int, int, int]
"""(exporter's address, source port, version, domain); of sFlow the port has its agent above it."""


@dataclass(slots=True, eq=False)
class ExportSession:
    """One transport session and observation domain."""

    owner: ExporterState
    port: int
    version: int
    number: int  # of the observation domain
    first_us: int = 0
    last_us: int = 0
    templates: dict[int, Template] = field(default_factory=dict)
    replaced: dict[int, Layout] = field(default_factory=dict)
    """The layout that a template number had before, of those that were redefined."""
    rates: AnnouncedRates | None = None
    pending: dict[int, deque[tuple[Message, bytes]]] = field(default_factory=dict)
    inherited: bool = False
    boot_ms: int = -1  # systemInitTimeMilliseconds from options data
    expected: int = -1  # next sequence number, −1 unknown
    missing: int = 0  # units lost so far that may still come late
    counts: int = 0  # v9: what the sequence counts, see `advance9`
    previous: int = -1  # v9: flow records in the last message, −1 unknown
    suspect: int = 0  # v9: datagrams lost, if it counts datagrams
    restarts: int = 0  # steps of the sequence that are neither a loss nor a late datagram

    @property
    def key(self) -> Key:
        """Under which `DecoderState` knows it."""
        return self.owner.address, self.port, self.version, self.number


@dataclass(slots=True, eq=False)
class ExporterState:
    """One source address. `octets`: what its sessions cost; sessions: the least recent first."""

    address: str
    sessions: OrderedDict[Key, ExportSession] = field(default_factory=OrderedDict)
    domains: dict[int, dict[int, ExportSession]] = field(default_factory=dict)
    """Sessions of v9 by domain and port, in the order in which they began."""
    octets: int = 0
    pending_octets: int = 0
    pending_numbers: int = 0
    dropped: dict[tuple[int, int, int], int] = field(default_factory=dict)
    work: int = 0  # in the budget's present interval
    work_from_us: int = 0

    def unread(self) -> dict[tuple[str, int, int, int], int]:
        """Data sets without a template: (exporter, version, domain, template) → sets."""
        out: Counter[tuple[str, int, int, int]] = Counter()
        for session in self.sessions.values():
            for number, held in session.pending.items():
                out[self.address, session.version, session.number, number] += len(held)
        for key, sets in self.dropped.items():
            out[self.address, *key] += sets
        return dict(out)


class Pool:
    """The memory that some exporters share: the configured ones, or all others."""

    def __init__(self, octets: int, pending_octets: int) -> None:
        self.max_octets, self.max_pending = octets, pending_octets
        self.octets = 0
        self.pending_octets = 0
        self.sessions: OrderedDict[Key, ExportSession] = (
            OrderedDict()
        )  # the least recently used first
        self._layouts: weakref.WeakValueDictionary[tuple[Field, ...], Layout] = (
            weakref.WeakValueDictionary()
        )
        self._fields = 0
        self._refused = 0

    def layout(self, fields: tuple[Field, ...]) -> Layout:
        """The one `Layout` object for these fields."""
        layout = self._layouts.get(fields)
        if layout is None:
            layout = self._layouts[fields] = make_layout(fields)
            self._fields += len(fields)
        return layout

    def crowded(self) -> bool:
        """More different fields are kept than `MAX_LAYOUT_FIELDS`."""
        if self._fields > MAX_LAYOUT_FIELDS:  # an upper bound: some are gone by now
            self._refused += 1
            if self._refused % 1_024 == 1:
                self._fields = sum(len(fields) for fields in self._layouts)
        return self._fields > MAX_LAYOUT_FIELDS


class DecoderState:
    """All exporters of one run. configured: addresses that have memory of their own."""

    def __init__(self, configured: frozenset[str] = frozenset()) -> None:
        self.configured = configured
        self.exporters: dict[str, ExporterState] = {}
        self.changes = 0  # grows with every template that comes or goes, every session that goes
        self.current: ExportSession | None = None
        """The session of the last datagram."""
        self.forgotten: Counter[str] = Counter()
        """Sessions that were forgotten for lack of room since the caller last looked, by
        exporter."""
        self.dropped = 0
        """Data sets that were given up since the start."""
        self._sessions: dict[Key, ExportSession] = {}
        self._ours = Pool(MAX_CONFIGURED_OCTETS, MAX_PENDING_CONFIGURED)
        self._others = Pool(MAX_STRANGERS_OCTETS, MAX_PENDING_STRANGERS)

    def pool(self, address: str) -> Pool:
        """The memory that an exporter's things are kept in."""
        return self._ours if address in self.configured else self._others

    def session(
        self, address: str, port: int, version: int, domain: int, now_us: int = 0
    ) -> ExportSession:
        """The session, made if new; used at this time of receipt."""
        key = (address, port, version, domain)
        session = self._sessions.get(key)
        if session is not None:
            self.current = session
            self.used(session, now_us)
            return session
        exporter = self.exporters.get(address)
        if exporter is None:
            exporter = self.exporters[address] = ExporterState(address)
        self.current = session = ExportSession(exporter, port, version, domain, now_us, now_us)
        self._keep(key, session)
        self._spend(session, SESSION_OCTETS)
        return session

    def take_current(self) -> ExportSession | None:
        """The session of the last datagram since this was asked last."""
        current, self.current = self.current, None
        return current

    def used(self, session: ExportSession, now_us: int) -> None:
        """The session had a datagram at this time; one that was forgotten since stays so."""
        session.last_us = max(session.last_us, now_us)
        key = session.key
        if self._sessions.get(key) is not session:
            return
        session.owner.sessions.move_to_end(key)
        self.pool(key[0]).sessions.move_to_end(key)

    def _keep(self, key: Key, session: ExportSession) -> None:
        self._sessions[key] = session
        session.owner.sessions[key] = session
        self.pool(key[0]).sessions[key] = session
        if session.version == 9:
            session.owner.domains.setdefault(session.number, {})[session.port] = session

    def _spend(self, session: ExportSession, octets: int) -> None:
        """Account for what a session needs, and make room, but never by forgetting itself."""
        owner = session.owner
        pool = self.pool(owner.address)
        owner.octets += octets
        pool.octets += octets
        if octets <= 0:
            return
        while owner.octets > MAX_EXPORTER_OCTETS and len(owner.sessions) > 1:
            self._forget_oldest(owner.sessions, session)
        while pool.octets > pool.max_octets and len(pool.sessions) > 1:
            self._forget_oldest(pool.sessions, session)

    def _forget_oldest(self, sessions: OrderedDict[Key, ExportSession], but: ExportSession) -> None:
        key, gone = next(iter(sessions.items()))
        if gone is but:
            sessions.move_to_end(key)
            gone = next(iter(sessions.values()))
        self.forgotten[gone.owner.address] += 1
        for number, held in gone.pending.items():
            for _ in held:
                self.drop(gone, number)
        self._remove(gone)
        if not gone.owner.sessions:
            del self.exporters[gone.owner.address]

    def _remove(self, session: ExportSession) -> None:
        """Take a session out of all tables, and what it costs off the accounts."""
        key = session.key
        owner, pool = session.owner, self.pool(key[0])
        del self._sessions[key], owner.sessions[key], pool.sessions[key]
        octets = session_octets(session)
        owner.octets -= octets
        pool.octets -= octets
        waiting = held_octets(session)
        owner.pending_octets -= waiting
        pool.pending_octets -= waiting
        owner.pending_numbers -= len(session.pending)
        if session.version == 9:
            of_domain = owner.domains[session.number]
            del of_domain[session.port]
            if not of_domain:
                del owner.domains[session.number]
        self.changes += 1

    def in_order(self) -> Iterator[Key]:
        """Keys of all sessions, the least recently used of each kind of memory first."""
        yield from self._ours.sessions
        yield from self._others.sessions

    def order(self, keys: Iterable[Key]) -> None:
        """Make the order in which sessions are forgotten that of these keys."""
        for key in keys:
            self.pool(key[0]).sessions.move_to_end(key)

    def known(self, address: str, port: int, version: int, domain: int) -> ExportSession | None:
        """The session if there is one."""
        return self._sessions.get((address, port, version, domain))

    def forget(self, address: str) -> ExporterState | None:
        """Forget an exporter and all that it announced; what was known."""
        exporter = self.exporters.pop(address, None)
        if exporter is None:
            return None
        sessions = list(exporter.sessions.values())
        for session in sessions:
            self._remove(session)
        exporter.sessions.update((session.key, session) for session in sessions)
        return exporter

    def take_back(self, exporter: ExporterState) -> None:
        """Know again what `forget` gave or a saved state holds, of an exporter that is not known
        now."""
        self.exporters[exporter.address] = exporter
        pool = self.pool(exporter.address)
        exporter.domains.clear()
        exporter.octets = exporter.pending_octets = exporter.pending_numbers = 0
        for key, session in list(exporter.sessions.items()):
            self._keep(key, session)
            octets, waiting = session_octets(session), held_octets(session)
            exporter.octets += octets
            pool.octets += octets
            exporter.pending_octets += waiting
            pool.pending_octets += waiting
            exporter.pending_numbers += len(session.pending)
        self.changes += 1

    def give_up(
        self, exporter: ExporterState, before_us: int
    ) -> dict[tuple[str, int, int, int], int]:
        """Give up data sets received before this, and forget those counted; how many by
        (exporter, version, domain, template)."""
        gone: Counter[tuple[str, int, int, int]] = Counter()
        for key, sets in exporter.dropped.items():
            gone[exporter.address, *key] += sets
        exporter.dropped = {}
        for session, number in self._overdue(exporter, before_us):
            gone[exporter.address, session.version, session.number, number] += 1
        return dict(gone)

    def may_change(self, session: ExportSession, steps: int, now_us: int) -> bool:
        """May the exporter cause so many steps of work more? False beyond its budget of CPU."""
        owner = session.owner
        if not 0 <= now_us - owner.work_from_us < BUDGET_US:
            owner.work_from_us, owner.work = now_us, 0
        owner.work += steps
        return owner.work <= MAX_WORK

    def learn(self, session: ExportSession, template: Template) -> tuple[bool, bool, bool]:
        """Remember a template: (is it new or changed, did another layout have its number, was this
        the layout before that one)."""
        number, templates = template.number, session.templates
        old = templates.get(number)
        if (
            old is not None
            and old.layout is template.layout
            and old.scopes == template.scopes
            and old.options == template.options
        ):
            return False, False, False
        self.changes += 1
        back = False
        if old is None:
            while len(templates) >= MAX_TEMPLATES:
                oldest = next(iter(templates))
                del templates[oldest]
                session.replaced.pop(oldest, None)
                self._spend(session, -TEMPLATE_OCTETS)
            self._spend(session, TEMPLATE_OCTETS)
        else:
            back = session.replaced.get(number) is template.layout
            session.replaced[number] = old.layout
            del templates[number]  # the last one named stands last
        templates[number] = template
        return True, old is not None, back

    def withdraw(self, session: ExportSession, number: int) -> bool:
        """Forget a template; True if it was known."""
        if session.templates.pop(number, None) is None:
            return False
        session.replaced.pop(number, None)
        self._spend(session, -TEMPLATE_OCTETS)
        self.changes += 1
        return True

    def rates(self, session: ExportSession) -> AnnouncedRates:
        """The rates announced in a session, made if there are none yet."""
        if session.rates is None:
            session.rates = AnnouncedRates(kept=KEPT_CHANGES)
        return session.rates

    def rate_tables(self, session: ExportSession) -> list[AnnouncedRates]:
        """Where the rate of a session's records is looked up: its own domain, then domain 0."""
        zero = self._sessions.get((*session.key[:3], 0)) if session.number else None
        both = (session.rates, None if zero is None else zero.rates)
        return [table for table in both if table is not None]

    def rated(self, session: ExportSession, keys: int) -> None:
        """A session has that many rates more."""
        rates = self.rates(session)
        while rates.keys > MAX_RATES:
            rates.forget_oldest()
            keys -= 1
        if keys:
            self._spend(session, keys * RATE_OCTETS)

    def inherit(self, session: ExportSession, now_us: int) -> ExportSession | None:
        """What a session of v9 takes over where its own templates did not come yet: the session of
        the same exporter and domain that fell silent last before it began; None if there is none.

        Its templates that this session did not announce itself are then this session's.
        """
        if session.version != 9 or session.inherited:
            return None
        found = None
        of_domain = session.owner.domains[session.number]
        for other in islice(reversed(of_domain.values()), MAX_PREDECESSORS):
            silent = other.last_us < session.first_us and other.last_us + SILENT_US <= now_us
            if silent and other.templates and (found is None or found.last_us < other.last_us):
                found = other
        if found is None:
            return None
        session.inherited = True
        for number, template in found.templates.items():
            if number not in session.templates:
                self.learn(session, template)
        session.counts = session.counts or found.counts
        return found

    def hold(self, session: ExportSession, message: Message, number: int, octets: bytes) -> bool:
        """Keep a data set until its template comes; False if there is no room (counted)."""
        owner = session.owner
        pool = self.pool(owner.address)
        held = session.pending.get(number)
        if held is None and owner.pending_numbers >= MAX_PENDING_TEMPLATES:
            self._drop(owner, (message.version, 0, 0))
            return False
        cost = len(octets) + HELD_OCTETS
        if (
            owner.pending_octets + cost > MAX_PENDING_OCTETS
            or pool.pending_octets + cost > pool.max_pending
        ):
            self.drop(session, number)
            return False
        if held is None:
            held = session.pending[number] = deque()
            owner.pending_numbers += 1
        held.append((message, octets))
        owner.pending_octets += cost
        pool.pending_octets += cost
        return True

    def release(self, session: ExportSession, number: int) -> deque[tuple[Message, bytes]]:
        """The data sets that waited for this template, in the order they came."""
        held = session.pending.pop(number, None)
        if held is None:
            return deque()
        owner = session.owner
        size = sum(len(octets) + HELD_OCTETS for _, octets in held)
        owner.pending_octets -= size
        owner.pending_numbers -= 1
        self.pool(owner.address).pending_octets -= size
        return held

    def drop(self, session: ExportSession, number: int) -> None:
        """Count a data set that was held and is not decoded after all."""
        self._drop(session.owner, (session.version, session.number, number))

    def drop_overdue(self, now_us: int) -> None:
        """Drop, and count, what has waited longer than `MAX_PENDING_S` at that time."""
        for owner in self.exporters.values():
            if owner.pending_numbers:
                for session, number in self._overdue(owner, now_us - MAX_PENDING_S * 1_000_000):
                    self.drop(session, number)

    def _overdue(self, owner: ExporterState, before_us: int) -> Iterator[tuple[ExportSession, int]]:
        """Take out the data sets received before this."""
        pool = self.pool(owner.address)
        for session in owner.sessions.values():
            for number, held in list(session.pending.items()):
                while held and held[0][0].received_us < before_us:
                    size = len(held.popleft()[1]) + HELD_OCTETS
                    owner.pending_octets -= size
                    pool.pending_octets -= size
                    yield session, number
                if not held:
                    del session.pending[number]
                    owner.pending_numbers -= 1

    def _drop(self, owner: ExporterState, key: tuple[int, int, int]) -> None:
        if key not in owner.dropped and len(owner.dropped) >= MAX_PENDING_TEMPLATES:
            key = (key[0], 0, 0)
        owner.dropped[key] = owner.dropped.get(key, 0) + 1
        self.dropped += 1

    def pending(self) -> dict[tuple[str, int, int, int], int]:
        """Data sets without a template: (exporter, version, domain, template) → sets."""
        out: dict[tuple[str, int, int, int], int] = {}
        for exporter in self.exporters.values():
            if exporter.pending_numbers or exporter.dropped:
                out |= exporter.unread()
        return out


def session_octets(session: ExportSession) -> int:
    """What a session costs."""
    rates = session.rates.keys if session.rates is not None else 0
    return SESSION_OCTETS + TEMPLATE_OCTETS * len(session.templates) + RATE_OCTETS * rates


def held_octets(session: ExportSession) -> int:
    """What the data sets cost that wait in a session."""
    return sum(len(o) + HELD_OCTETS for held in session.pending.values() for _, o in held)


def advance(session: ExportSession, sequence: int, units: int) -> int:
    """Follow a 32-bit sequence number that counts `units` per message; returns units lost.

    Negative: that many units which had been counted as lost came late. `units` < 0: this message
    holds an unknown number, so the next gap cannot be known.
    """
    expected = session.expected
    lost = 0
    forward = True
    if expected >= 0:
        gap = (sequence - expected) & 0xFFFFFFFF
        back = -gap & 0xFFFFFFFF
        if 0 < gap <= MAX_GAP:
            lost = gap
            session.missing = min(session.missing + gap, MAX_REORDER)
        elif 0 < back <= MAX_REORDER:
            if session.missing:
                lost = -min(max(units, 0), session.missing)
                session.missing += lost
                forward = False
        elif gap:
            session.missing = 0
            session.restarts += 1
    if forward:
        session.expected = -1 if units < 0 else (sequence + units) & 0xFFFFFFFF
    return lost


DATAGRAMS, FLOWS = 1, 2
"""`ExportSession.counts`; 0: not known yet."""


def advance9(session: ExportSession, sequence: int, records: int) -> int:
    """`advance` for NetFlow v9, whose sequence counts datagrams by RFC 3954 section 5.1.

    softflowd up to 0.9 counts flows instead, each exported as one or two records. So a step is
    held against the flow `records` (< 0: unknown) of the message before it. A step of 1 after
    three or more records is proof of datagrams. Until there is one, a step that fits flows is no
    loss, another counts the least that is missing either way, and one after an unknown number
    of records waits for the proof. A loss is rather missed than invented.
    """
    if session.expected < 0:
        session.expected, session.previous = (sequence + 1) & 0xFFFFFFFF, records
        return 0
    step = (sequence - session.expected + 1) & 0xFFFFFFFF
    back = (session.expected - sequence) & 0xFFFFFFFF
    lost = 0
    if 0 < step <= MAX_GAP:
        before = session.previous
        if step == 1:
            if before >= 3 and session.counts != DATAGRAMS:
                session.counts = DATAGRAMS
                lost, session.suspect = session.suspect, 0
        elif session.counts == DATAGRAMS:
            lost = step - 1
        elif before < 0:
            if session.counts != FLOWS:
                session.suspect = min(session.suspect + step - 1, MAX_GAP)
        elif before >= 2 and (before + 1) // 2 <= step <= before:
            session.counts, session.suspect = FLOWS, 0
        else:
            lost = max(step - max(before, 1), 0)
        session.missing = min(session.missing + lost, MAX_REORDER)
    elif 0 < back <= MAX_REORDER:
        if session.missing:
            late = max(records, 0) if session.counts == FLOWS else 1
            lost = -min(late, session.missing)
            session.missing += lost
            return lost
    else:
        session.missing = 0
        session.restarts += 1
    session.expected, session.previous = (sequence + 1) & 0xFFFFFFFF, records
    return lost
