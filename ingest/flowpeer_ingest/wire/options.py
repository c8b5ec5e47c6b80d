"""What options data says of sampling (RFC 5477, RFC 3954 section 8), interfaces and the clock."""

from __future__ import annotations

from flowpeer_core import sampling_rates
from flowpeer_core.sampling_rates import Rate
from flowpeer_ingest.wire.elements import (
    BOOT_TIME,
    INTERFACE_DESCRIPTION,
    INTERFACE_NAME,
    INTERFACES,
    SCOPE_V9,
)
from flowpeer_ingest.wire.events import (
    MAX_TEXT,
    Event,
    InterfaceLearned,
    Malformed,
    Message,
    OptionsRecords,
    SamplingLearned,
)
from flowpeer_ingest.wire.state import DecoderState, ExportSession

_SAMPLER_IDS = (48, 302)
_INTERFACE = 10
_V9_SCOPE_INTERFACE = 2
_TEXTS = (INTERFACE_NAME, INTERFACE_DESCRIPTION)
_CLOCK_LIMIT_MS = 1 << 42  # the year 2109
TOO_MANY_CHANGES = "too many changes of templates and rates in a minute"


def text(octets: bytes) -> str:
    """Foreign octets as text: up to the first NUL, with U+FFFD for what is no printable UTF-8."""
    name = octets.partition(b"\0")[0][: 4 * MAX_TEXT].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in name.strip()[:MAX_TEXT])


def learn_from_options(
    event: OptionsRecords,
    records: list[list[bytes]],
    session: ExportSession,
    state: DecoderState,
    events: list[Event],
) -> None:
    """Add what these options records teach to `events` and to the session."""
    layout = event.template.layout
    if not (layout.says_sampling or layout.says_boot_time or layout.says_names):
        return
    fields = layout.fields
    for record in records:
        values: dict[int, int] = {}
        interface: int | None = None
        for f, octets in zip(fields, record, strict=True):
            if f.enterprise == 0 and 0 < len(octets) <= 8:
                values[f.number] = int.from_bytes(octets, "big")
            elif f.enterprise == SCOPE_V9 and f.number == _V9_SCOPE_INTERFACE and octets:
                interface = int.from_bytes(octets[-8:], "big")
        boot_ms = values.get(BOOT_TIME, 0)
        if 0 < boot_ms < _CLOCK_LIMIT_MS:
            session.boot_ms = boot_ms
        if layout.says_names:
            named = interface or next((values[i] for i in INTERFACES if values.get(i)), 0)
            if 0 < named < 1 << 32:
                texts = {f.number: text(o) for f, o in zip(fields, record, strict=True)
                         if f.enterprise == 0 and f.number in _TEXTS}  # fmt: skip
                events.append(
                    InterfaceLearned(event.message, named, *(texts.get(n) for n in _TEXTS))
                )
        if not layout.says_sampling:
            continue
        if sampling_rates.beyond(values):
            events.append(
                Malformed("sampling interval beyond 2^24", 0, "METHODS M2", b"".join(record))
            )
            continue
        rate = sampling_rates.stated(values)
        if rate is not None:
            sampler = next((values[i] for i in _SAMPLER_IDS if i in values), None)
            if interface is None:
                interface = values.get(_INTERFACE)
            announce(event.message, sampler, interface or None, rate, session, state, events)


def announce(
    message: Message,
    sampler: int | None,
    interface: int | None,
    rate: Rate,
    session: ExportSession,
    state: DecoderState,
    events: list[Event],
) -> None:
    """Let a rate hold in a session from this message on."""
    now_us = message.received_us
    known = state.rates(session)
    if known.at(sampler, interface, now_us) != rate and not state.may_change(session, 1, now_us):
        events.append(Malformed(TOO_MANY_CHANGES, 0, "own bound"))
        return
    before = known.keys
    replaced = known.announce(sampler, interface, rate, now_us)
    if known.keys > before:
        state.rated(session, known.keys - before)
    events.append(SamplingLearned(message, sampler, interface, rate, replaced))
