"""Sets of NetFlow v9 (RFC 3954 section 5) and IPFIX (RFC 7011 section 3.3): one walk for both."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from flowpeer_ingest.wire.elements import SCOPE_V9
from flowpeer_ingest.wire.events import (
    Event,
    Malformed,
    Message,
    MissingTemplate,
    OptionsRecords,
    Records,
    SessionInherited,
    TemplateLearned,
    TemplateWithdrawn,
)
from flowpeer_ingest.wire.framed import MAX_FRAMES, unframe
from flowpeer_ingest.wire.layout import Field, Template, flatten, split
from flowpeer_ingest.wire.options import TOO_MANY_CHANGES, announce, learn_from_options
from flowpeer_ingest.wire.state import MAX_FIELDS, DecoderState, ExportSession

_PAIR = struct.Struct(">HH")
_TRIPLE = struct.Struct(">HHH")
_PEN = struct.Struct(">I")
FIRST_DATA_SET = 256
MAX_OPTIONS_RECORDS = 4_096
"""Per set; the largest interface tables send some dozens in a datagram."""
MAX_RELEASED = 32_768
"""Records of held sets that one template brings: real ones hold some thousands, sets of one-octet
records would keep a single datagram busy for seconds."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the two versions."""

    templates: int  # set id
    options: int
    enterprise_bit: bool
    zero_fill_ends: bool
    set_clause: str
    template_clause: str
    options_clause: str


V9 = Dialect(
    0, 1, False, True, "RFC 3954 section 5", "RFC 3954 section 5.2", "RFC 3954 section 6.1"
)
IPFIX = Dialect(
    2, 3, True, False, "RFC 7011 section 3.3", "RFC 7011 section 3.4.1", "RFC 7011 section 3.4.2"
)


def release_known(session: ExportSession, state: DecoderState) -> Iterator[Event]:
    """Decode what waits in a session for templates that are known by now."""
    for number, held in list(session.pending.items()):
        template = session.templates.get(number)
        if template is not None:
            message = held[0][0]
            walk = SetWalk(b"", message, session, state, IPFIX if message.version == 10 else V9)
            walk.released(template, 0)
            yield from walk.events[1:]


class SetWalk:
    """One message's sets, in order; `units` counts data records, −1 once one set hides them."""

    def __init__(
        self,
        payload: bytes,
        message: Message,
        session: ExportSession,
        state: DecoderState,
        dialect: Dialect,
    ) -> None:
        self.payload = payload
        self.message = message
        self.session = session
        self.state = state
        self.pool = state.pool(message.exporter)
        self.dialect = dialect
        self.events: list[Event] = [message]
        self.units = 0

    def run(self, pos: int, end: int) -> list[Event]:
        """Events of the sets in payload[pos:end]."""
        payload = self.payload
        dialect = self.dialect
        templates = self.session.templates
        while end - pos >= 4:
            number, length = _PAIR.unpack_from(payload, pos)
            if length < 4:
                if not any(payload[pos:end]):
                    break  # zero fill after the last set (Palo Alto, ACI)
                self.malformed("set shorter than its header", pos, dialect.set_clause)
                self.units = -1
                break
            stop = pos + length
            if stop > end:
                self.malformed("set runs past the message", pos, dialect.set_clause)
                stop = end
            if number >= FIRST_DATA_SET:
                template = templates.get(number)
                if template is None and self.inherit():
                    template = templates.get(number)
                if template is None:
                    self.missing(number, payload[pos + 4 : stop])
                else:
                    self.data(self.message, template, payload[pos + 4 : stop], pos + 4)
                if length > stop - pos:
                    self.units = -1
            elif number == dialect.templates:
                self.templates(pos + 4, stop)
            elif number == dialect.options:
                self.options(pos + 4, stop)
            else:
                self.malformed("unknown set id", pos, dialect.set_clause)
            pos = stop
        return self.events

    def malformed(self, reason: str, offset: int, clause: str) -> None:
        self.events.append(Malformed(reason, offset, clause, self.payload[offset : offset + 64]))

    def missing(self, number: int, octets: bytes) -> None:
        held = self.state.hold(self.session, self.message, number, octets)
        self.events.append(MissingTemplate(self.message, number, held))
        self.units = -1

    def data(self, message: Message, template: Template, octets: bytes, offset: int) -> None:
        """A data set: flow records or options data, by its template."""
        layout = template.layout
        size = len(octets)
        broken = False
        if template.options:
            records, used, broken = split(layout, octets, MAX_OPTIONS_RECORDS)
            count = len(records)
            if count:
                event = OptionsRecords(message, template, octets[:used], count)
                self.events.append(event)
                learn_from_options(event, records, self.session, self.state, self.events)
                self.message = self.clocked(self.message)
            if count == MAX_OPTIONS_RECORDS and size - used >= layout.minimum:
                self.malformed("too many options records in a set", offset, "own bound")
        elif layout.framed:
            events, used, broken = unframe(message, template, octets, self.pool)
            self.events.extend(events)
            count = len(events)
            if count == MAX_FRAMES and size - used >= layout.minimum:
                self.malformed("too many frames in a set", offset, "own bound")
        elif layout.variable:
            flat, count, used, broken = flatten(layout, octets)
            if count:
                self.events.append(Records(message, template, octets[:used], flat, count))
        else:
            count = size // layout.minimum
            used = count * layout.minimum
            if used != size:
                octets = octets[:used]
            if count:
                self.events.append(Records(message, template, octets, octets, count))
        if self.units >= 0:
            self.units += count
        if (broken and any(octets[used:])) or (count == 0 and size > 3):
            self.malformed("record does not fit its set", offset, self.dialect.set_clause)

    def clocked(self, message: Message) -> Message:
        """An IPFIX message's header with the sysUptime that options data lets us derive."""
        boot_ms = self.session.boot_ms
        if message.version != 10 or boot_ms < 0:
            return message
        uptime_ms = (message.export_ms - boot_ms) & 0xFFFFFFFF
        return message if message.uptime_ms == uptime_ms else replace(message, uptime_ms=uptime_ms)

    def learn(self, template: Template, offset: int) -> None:
        """Take a template in, and decode what waited for it."""
        layout = template.layout
        if layout.minimum == 0:
            self.malformed("template of zero-length records", offset, self.dialect.template_clause)
            self.state.withdraw(self.session, template.number)
            return
        old = self.session.templates.get(template.number)
        if old is None and self.pool.crowded():
            self.malformed("too many different templates", offset, "own bound")
            return
        known = old is not None and old.layout is layout
        steps = 0 if known else 1 + len(layout.fields) // 2
        if steps and not self.state.may_change(self.session, steps, self.message.received_us):
            # Not to be read by the template before it: without one its data waits.
            self.malformed(TOO_MANY_CHANGES, offset, "own bound")
            self.state.withdraw(self.session, template.number)
            return
        news, replaced, back = self.state.learn(self.session, template)
        if news:
            self.events.append(TemplateLearned(self.message, template, replaced, back))
        self.released(template, offset)

    def inherit(self) -> bool:
        """Take over from a session that fell silent, if this is one of v9 that just began."""
        now_us = self.message.received_us
        found = self.state.inherit(self.session, now_us)
        if found is None:
            return False
        self.events.append(SessionInherited(self.message, found.port))
        if self.session.rates is None:
            named: set[tuple[int | None, int | None]] = set()
            for rates in self.state.rate_tables(found):
                for sampler, interface, rate in list(rates.latest()):
                    if (sampler, interface) not in named:
                        named.add((sampler, interface))
                        announce(
                            self.message, sampler, interface, rate, self.session, self.state,
                            self.events,
                        )  # fmt: skip
        for number in list(self.session.pending):
            template = self.session.templates.get(number)
            if template is not None:
                self.released(template, 0)
        return True

    def released(self, template: Template, offset: int) -> None:
        """Decode what waited for a template."""
        units = self.units
        released = 0
        for message, octets in self.state.release(self.session, template.number):
            if released >= MAX_RELEASED:
                self.state.drop(self.session, template.number)
                continue
            start = len(self.events)
            self.data(self.clocked(message), template, octets, offset)
            released += sum(e.count for e in self.events[start:] if isinstance(e, Records))
        self.units = units

    def fields(self, pos: int, end: int, count: int) -> tuple[tuple[Field, ...] | None, int]:
        """`count` field specifiers at `pos`: (fields, octets after them), None if cut short."""
        fields: list[Field] = []
        payload = self.payload
        for _ in range(count):
            if end - pos < 4:
                return None, end
            number, length = _PAIR.unpack_from(payload, pos)
            pos += 4
            enterprise = 0
            if number & 0x8000 and self.dialect.enterprise_bit:
                if end - pos < 4:
                    return None, end
                (enterprise,) = _PEN.unpack_from(payload, pos)
                pos += 4
                number &= 0x7FFF
            fields.append(Field(number, length, enterprise))
        return tuple(fields), pos

    def templates(self, pos: int, end: int) -> None:
        """A template set (RFC 3954 section 5.2, RFC 7011 section 3.4.1)."""
        dialect = self.dialect
        clause = dialect.template_clause
        while end - pos >= 4:
            start = pos
            number, count = _PAIR.unpack_from(self.payload, pos)
            pos += 4
            if number < FIRST_DATA_SET:
                if dialect.enterprise_bit and number == dialect.templates and count == 0:
                    self.withdraw_all(options=False)
                elif any(self.payload[start:end]):
                    self.malformed("template id below 256", start, clause)
                    return
                else:
                    return  # padding
                continue
            if count == 0:
                self.withdraw(number, start)
                continue
            fields, pos = self.fields(pos, end, count)
            if fields is None:
                self.malformed("template cut short", start, clause)
                return
            if count > MAX_FIELDS:
                self.malformed("template with too many fields", start, "own bound")
                continue
            self.learn(Template(number, self.pool.layout(fields)), start)

    def options(self, pos: int, end: int) -> None:
        """An options template set (RFC 3954 section 6.1, RFC 7011 section 3.4.2.2)."""
        clause = self.dialect.options_clause
        ipfix = self.dialect.enterprise_bit
        while end - pos >= 4:
            start = pos
            number, count = _PAIR.unpack_from(self.payload, pos)
            if number < FIRST_DATA_SET:
                if ipfix and number == self.dialect.options and count == 0:
                    self.withdraw_all(options=True)
                    pos += 4
                    continue
                if any(self.payload[start:end]):
                    self.malformed("template id below 256", start, clause)
                return
            if ipfix and count == 0:
                self.withdraw(number, start)
                pos += 4
                continue
            if end - pos < 6:
                if any(self.payload[start:end]):
                    self.malformed("template cut short", start, clause)
                return
            _, first, second = _TRIPLE.unpack_from(self.payload, pos)
            pos += 6
            if ipfix:
                count, scopes = first, second
                if not 0 < scopes <= count:
                    self.malformed("options template with a wrong scope count", start, clause)
                    return
            else:
                if first % 4 or second % 4:
                    self.malformed("options template not a multiple of 4", start, clause)
                    return
                count, scopes = (first + second) // 4, first // 4
            if count == 0:
                self.malformed("template with zero fields", start, clause)
                continue
            fields, pos = self.fields(pos, end, count)
            if fields is None:
                self.malformed("template cut short", start, clause)
                return
            if count > MAX_FIELDS:
                self.malformed("template with too many fields", start, "own bound")
                continue
            if not ipfix:
                fields = (
                    *(Field(f.number, f.length, SCOPE_V9) for f in fields[:scopes]),
                    *fields[scopes:],
                )
            self.learn(Template(number, self.pool.layout(fields), scopes, options=True), start)

    def withdraw(self, number: int, offset: int) -> None:
        if not self.dialect.enterprise_bit:
            self.malformed("template with zero fields", offset, self.dialect.template_clause)
        elif self.state.withdraw(self.session, number):
            self.events.append(TemplateWithdrawn(self.message, number))

    def withdraw_all(self, *, options: bool) -> None:
        """RFC 7011 section 8.1: all templates of a kind at once."""
        for number, template in list(self.session.templates.items()):
            if template.options == options and self.state.withdraw(self.session, number):
                self.events.append(TemplateWithdrawn(self.message, number))
