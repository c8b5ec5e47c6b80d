"""What options data says of sampling (RFC 5477, RFC 3954 section 8), interfaces and the clock."""

from __future__ import annotations

from flowpeer_ingest.wire.elements import (
    BOOT_TIME,
    INTERFACE_DESCRIPTION,
    INTERFACE_NAME,
    INTERFACES,
    SCOPE_V9,
)
from flowpeer_ingest.wire.events import (
    MAX_SAMPLING,
    MAX_TEXT,
    Event,
    InterfaceLearned,
    Malformed,
    OptionsRecords,
    SamplingLearned,
)
from flowpeer_ingest.wire.state import Session

_SAMPLER_IDS = (48, 302)
_INTERFACE = 10
_V9_SCOPE_INTERFACE = 2
_TEXTS = (INTERFACE_NAME, INTERFACE_DESCRIPTION)
_CLOCK_LIMIT_MS = 1 << 42  # the year 2109


def interval(values: dict[int, int]) -> int:
    """The N of 1:N from element values, 0 if they do not say; METHODS M2.

    309/310 come before 305/306: IOS XR sends 305 = 1 beside 1 out of 256. 305 without 306 is
    the N itself, as exporters use it.
    """
    size, population = values.get(309, 0), values.get(310, 0)
    if size > 0 and population > 0:
        return (2 * population + size) // (2 * size)
    taken = values.get(305, 0)
    if taken > 0:
        if 306 in values:
            return (2 * (taken + values[306]) + taken) // (2 * taken)
        return taken
    return values.get(50, 0) or values.get(34, 0)


def text(octets: bytes) -> str:
    """Foreign octets as text: up to the first NUL, with U+FFFD for what is no printable UTF-8."""
    said = octets.partition(b"\0")[0][: 4 * MAX_TEXT].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in said.strip()[:MAX_TEXT])


def learn_from_options(
    event: OptionsRecords, records: list[list[bytes]], session: Session, events: list[Event]
) -> None:
    """Add what these options records teach to `events` and to the session's domain."""
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
            session.domain.boot_ms = boot_ms
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
        rate = interval(values)
        if rate > MAX_SAMPLING:
            events.append(
                Malformed("sampling interval beyond 2^24", 0, "METHODS M2", b"".join(record))
            )
        elif rate > 0:
            sampler = next((values[i] for i in _SAMPLER_IDS if i in values), None)
            if interface is None:
                interface = values.get(_INTERFACE)
            events.append(SamplingLearned(event.message, sampler, interface or None, rate))
