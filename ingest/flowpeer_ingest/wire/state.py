"""What a decoder remembers between datagrams, and its bounds.

Everything belongs to one exporter (source address). Inside it, templates are kept per transport
session (source port, version, domain: RFC 7011 section 8) and, since exporters change their port
at restart, also per domain; a session's own template wins. Data and options templates share one
numbering. Bounds are per exporter, so that a flood of forged templates never costs another one.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from flowpeer_ingest.wire.events import Message
from flowpeer_ingest.wire.layout import Field, Layout, Template, make_layout

MAX_EXPORTERS = 16_384
"""Routers of the largest networks number thousands; beyond this, source addresses are forged."""
MAX_SESSIONS = 64
"""Exporting processes (line cards, restarts) per exporter; the least recent is forgotten."""
MAX_TEMPLATES = 1_024
"""Per session and domain; IOS XR uses under 40, and template numbers end at 65,535."""
MAX_FIELDS = 512
"""Per template; the longest seen (YAF, nProbe) have about 120."""
MAX_FIELDS_EXPORTER = 131_072
"""About 16 MiB of Python objects per exporter, whatever it announces."""
MAX_PENDING_SETS = 4_096
"""Data sets held per template: an exporter repeats its templates within minutes or 20 packets."""
MAX_PENDING_TEMPLATES = 1_024
"""Template numbers waited for per exporter, and told of; others are counted under number 0."""
MAX_PENDING_OCTETS = 4 << 20
"""Held per exporter; a datagram has at most 64 KiB."""
MAX_PENDING_TOTAL = 32 << 20
"""Held over all exporters."""
MAX_PENDING_S = 3_600
"""A collector lets go of data sets that waited so long: twice the longest interval between
templates that routers have by default (IOS XR: 1,800 s)."""
HELD_OCTETS = 512
"""What a data set that is held costs besides its octets."""
MAX_LAYOUT_FIELDS = 131_072
"""Fields of all different templates together, about 26 MiB. Routers of one kind and setting share
theirs; only forged ones are all different."""
MAX_REORDER = 1_000
"""A step back up to this many units is a late datagram, a larger one a restart."""
MAX_GAP = 1 << 24
"""A step forward beyond this is a restart with another starting number, not a loss."""


@dataclass(slots=True)
class Session:
    """One transport session: its templates, its sequence, and the domain's shared state."""

    domain: Domain
    templates: dict[int, Template] = field(default_factory=dict)
    expected: int = -1  # next sequence number, −1 unknown
    missing: int = 0  # units lost so far that may still come late
    counts: int = 0  # v9: what the sequence counts, see `advance9`
    previous: int = -1  # v9: flow records in the last message, −1 unknown
    suspect: int = 0  # v9: datagrams lost, if it counts datagrams


@dataclass(slots=True)
class Domain:
    """One observation domain of one exporter and version."""

    owner: Exporter
    version: int
    number: int
    templates: dict[int, Template] = field(default_factory=dict)
    boot_ms: int = -1  # systemInitTimeMilliseconds from options data


@dataclass(slots=True)
class Exporter:
    """One source address."""

    address: str
    sessions: dict[tuple[int, int, int], Session] = field(default_factory=dict)
    domains: dict[tuple[int, int], Domain] = field(default_factory=dict)
    fields: int = 0
    pending: dict[tuple[int, int, int], deque[tuple[Message, bytes]]] = field(default_factory=dict)
    pending_octets: int = 0
    dropped: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def unread(self) -> dict[tuple[str, int, int, int], int]:
        """Data sets without a template: (exporter, version, domain, template) → sets."""
        out = {(self.address, *key): len(held) for key, held in self.pending.items() if held}
        for key, sets in self.dropped.items():
            out[self.address, *key] = out.get((self.address, *key), 0) + sets
        return out


class State:
    """All exporters of one run."""

    def __init__(self) -> None:
        self.exporters: dict[str, Exporter] = {}
        self.changes = 0  # grows with every session and template that comes or goes
        self._sessions: dict[tuple[str, int, int, int], Session] = {}
        self._layouts: weakref.WeakValueDictionary[tuple[Field, ...], Layout] = (
            weakref.WeakValueDictionary()
        )
        self._layout_fields = 0
        self._refused = 0
        self._pending_octets = 0

    def session(self, address: str, port: int, version: int, domain: int) -> Session | None:
        """The session, made if new; None once `MAX_EXPORTERS` are known and this is another."""
        session = self._sessions.get((address, port, version, domain))
        if session is not None:
            return session
        exporter = self.exporters.get(address)
        if exporter is None:
            if len(self.exporters) >= MAX_EXPORTERS:
                return None
            exporter = self.exporters[address] = Exporter(address)
        while len(exporter.sessions) >= MAX_SESSIONS:
            self._forget_session(exporter)
        shared = exporter.domains.get((version, domain))
        if shared is None:
            while len(exporter.domains) >= MAX_SESSIONS:
                oldest = next(iter(exporter.domains))
                gone = exporter.domains.pop(oldest)
                exporter.fields -= sum(len(t.layout.fields) for t in gone.templates.values())
            shared = exporter.domains[(version, domain)] = Domain(exporter, version, domain)
        session = Session(shared)
        self.changes += 1
        exporter.sessions[(port, version, domain)] = session
        self._sessions[(address, port, version, domain)] = session
        return session

    def known(self, address: str, port: int, version: int, domain: int) -> Session | None:
        """The session if there is one."""
        return self._sessions.get((address, port, version, domain))

    def adopt(self, address: str, key: tuple[int, int, int], session: Session) -> None:
        """Take back a session that was saved: its key is (port, version, domain)."""
        self._sessions[(address, *key)] = session

    def waits(self, octets: int) -> None:
        """So much is held over all exporters, after they were taken back."""
        self._pending_octets = octets

    def forget(self, address: str) -> Exporter | None:
        """Forget an exporter and all that it said; what was known."""
        exporter = self.exporters.pop(address, None)
        if exporter is not None:
            self._pending_octets -= exporter.pending_octets
            for key in exporter.sessions:
                del self._sessions[(address, *key)]
            self.changes += 1
        return exporter

    def take_back(self, exporter: Exporter) -> None:
        """Know again what `forget` gave, of an exporter that is not known now."""
        self.exporters[exporter.address] = exporter
        for key, session in exporter.sessions.items():
            self.adopt(exporter.address, key, session)
        self._pending_octets += exporter.pending_octets
        self.changes += 1

    def give_up(self, exporter: Exporter, before_us: int) -> dict[tuple[str, int, int, int], int]:
        """Give up data sets received before this, and forget those counted; how many by
        (exporter, version, domain, template)."""
        gone = Exporter(exporter.address, dropped=exporter.dropped)
        exporter.dropped = {}
        for key, held in self._overdue(exporter, before_us):
            gone.pending.setdefault(key, deque()).append(held)
        return gone.unread()

    def _forget_session(self, exporter: Exporter) -> None:
        port, version, domain = next(iter(exporter.sessions))
        gone = exporter.sessions.pop((port, version, domain))
        exporter.fields -= sum(len(t.layout.fields) for t in gone.templates.values())
        del self._sessions[(exporter.address, port, version, domain)]

    def layout(self, fields: tuple[Field, ...]) -> Layout:
        """The one `Layout` object for these fields."""
        layout = self._layouts.get(fields)
        if layout is None:
            layout = self._layouts[fields] = make_layout(fields)
            self._layout_fields += len(fields)
        return layout

    def crowded(self) -> bool:
        """More different fields are kept than `MAX_LAYOUT_FIELDS`."""
        if self._layout_fields > MAX_LAYOUT_FIELDS:  # an upper bound: some are gone by now
            self._refused += 1
            if self._refused % 1_024 == 1:
                self._layout_fields = sum(len(fields) for fields in self._layouts)
        return self._layout_fields > MAX_LAYOUT_FIELDS

    def learn(self, session: Session, template: Template) -> tuple[bool, bool]:
        """Remember a template: (is it new or changed, did another layout have its number)."""
        old = session.templates.get(template.number)
        same = (
            old is not None
            and old.layout is template.layout
            and old.scopes == template.scopes
            and old.options == template.options
        )
        shared = session.domain.templates
        if same and shared.get(template.number) == old:
            return False, False
        self.changes += 1
        owner = session.domain.owner
        for table in (session.templates, shared):
            before = table.pop(template.number, None)
            if before is not None:
                owner.fields -= len(before.layout.fields)
            while table and (
                len(table) >= MAX_TEMPLATES
                or owner.fields + len(template.layout.fields) > MAX_FIELDS_EXPORTER
            ):
                oldest = table.pop(next(iter(table)))
                owner.fields -= len(oldest.layout.fields)
            table[template.number] = template
            owner.fields += len(template.layout.fields)
        return not same, old is not None and not same

    def withdraw(self, session: Session, number: int) -> bool:
        """Forget a template; True if it was known."""
        owner = session.domain.owner
        known = False
        for table in (session.templates, session.domain.templates):
            gone = table.pop(number, None)
            if gone is not None:
                known = True
                self.changes += 1
                owner.fields -= len(gone.layout.fields)
        return known

    def hold(self, session: Session, message: Message, number: int, octets: bytes) -> bool:
        """Keep a data set until its template comes; False if there is no room (counted)."""
        owner = session.domain.owner
        key = (message.version, message.domain, number)
        if key not in owner.pending and len(owner.pending) >= MAX_PENDING_TEMPLATES:
            self._drop(owner, (message.version, 0, 0))
            return False
        held = owner.pending.setdefault(key, deque())
        cost = len(octets) + HELD_OCTETS
        if (
            len(held) >= MAX_PENDING_SETS
            or owner.pending_octets + cost > MAX_PENDING_OCTETS
            or self._pending_octets + cost > MAX_PENDING_TOTAL
        ):
            self._drop(owner, key)
            return False
        held.append((message, octets))
        owner.pending_octets += cost
        self._pending_octets += cost
        return True

    def release(self, session: Session, number: int) -> deque[tuple[Message, bytes]]:
        """The data sets that waited for this template, in the order they came."""
        owner = session.domain.owner
        held = owner.pending.pop((session.domain.version, session.domain.number, number), None)
        if not held:
            return deque()
        size = sum(len(octets) + HELD_OCTETS for _, octets in held)
        owner.pending_octets -= size
        self._pending_octets -= size
        return held

    def drop(self, session: Session, number: int) -> None:
        """Count a data set that was held and is not decoded after all."""
        self._drop(session.domain.owner, (session.domain.version, session.domain.number, number))

    def drop_overdue(self, now_us: int) -> None:
        """Drop, and count, what has waited longer than `MAX_PENDING_S` at that time."""
        for owner in self.exporters.values():
            for key, _ in self._overdue(owner, now_us - MAX_PENDING_S * 1_000_000):
                self._drop(owner, key)

    def _overdue(
        self, owner: Exporter, before_us: int
    ) -> Iterator[tuple[tuple[int, int, int], tuple[Message, bytes]]]:
        """Take out the data sets received before this."""
        for key, held in list(owner.pending.items()):
            while held and held[0][0].received_us < before_us:
                out = held.popleft()
                size = len(out[1]) + HELD_OCTETS
                owner.pending_octets -= size
                self._pending_octets -= size
                yield key, out
            if not held:
                del owner.pending[key]

    @staticmethod
    def _drop(owner: Exporter, key: tuple[int, int, int]) -> None:
        if key not in owner.dropped and len(owner.dropped) >= MAX_PENDING_TEMPLATES:
            key = (key[0], 0, 0)
        owner.dropped[key] = owner.dropped.get(key, 0) + 1

    def pending(self) -> dict[tuple[str, int, int, int], int]:
        """Data sets without a template: (exporter, version, domain, template) → sets."""
        out: dict[tuple[str, int, int, int], int] = {}
        for exporter in self.exporters.values():
            out |= exporter.unread()
        return out


def advance(session: Session, sequence: int, units: int) -> int:
    """Follow a 32-bit sequence number that counts `units` per message; returns units lost.

    Negative: that many units which had been counted as lost came late. `units` < 0: this message
    holds an unknown number, so the next gap cannot be told.
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
    if forward:
        session.expected = -1 if units < 0 else (sequence + units) & 0xFFFFFFFF
    return lost


DATAGRAMS, FLOWS = 1, 2
"""`Session.counts`; 0: not known yet."""


def advance9(session: Session, sequence: int, records: int) -> int:
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
    session.expected, session.previous = (sequence + 1) & 0xFFFFFFFF, records
    return lost
