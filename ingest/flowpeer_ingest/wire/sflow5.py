"""sFlow version 5 (sflow.org, "sFlow Version 5", July 2004).

A flow sample becomes one flow record of one packet with its own sampling rate: the elements that
it carries are written out under a layout of just these elements, and from there on it goes the
way of all records. `bytes` is the IP length in the copied header, not the frame's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import lru_cache

from flowpeer_ingest.wire import frames
from flowpeer_ingest.wire.events import (
    SFLOW5,
    Event,
    Malformed,
    Message,
    Records,
    Rejected,
    SequenceGap,
    Unsupported,
    session_number,
)
from flowpeer_ingest.wire.frames import LENGTHS, Values
from flowpeer_ingest.wire.layout import Field, Template, make_layout
from flowpeer_ingest.wire.state import DecoderState, advance

_WORD = struct.Struct(">I")
_WORDS = tuple(struct.Struct(f">{count}I") for count in range(12))
_PAIR = _WORDS[2]
_CLAUSE = "sFlow v5 section 5"
LOCAL = 0x3FFFFFFF
"""The router itself, as an interface of a sample that is not expanded."""
MAX_SAMPLES = 1_024
"""A sample has 32 octets at least, so 64 KiB hold some 2,000; agents send up to about ten."""

EXPANDED = 3
FLOW_SAMPLES = frozenset({1, EXPANDED})
NO_PACKET = "sFlow sample without an IP packet"
_OTHER_SAMPLES = {
    2: "sFlow counter sample",
    4: "sFlow counter sample",
    5: "sFlow discarded packet sample",
}


class _ShortError(Exception):
    """A length that does not fit; never leaves this module."""


class _Reader:
    """Words of XDR (RFC 4506) within a slice of the datagram."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def words(self, count: int) -> tuple[int, ...]:
        stop = self.at + 4 * count
        if stop > self.end:
            raise _ShortError
        out: tuple[int, ...] = _WORDS[count].unpack_from(self.data, self.at)
        self.at = stop
        return out

    def octets(self, count: int) -> bytes:
        stop = self.at + (count + 3) // 4 * 4
        if self.at + count > self.end:
            raise _ShortError
        out = self.data[self.at : self.at + count]
        self.at = min(stop, self.end)
        return out

    def address(self) -> bytes:
        """4 or 16 octets, none for an unknown address."""
        (kind,) = self.words(1)
        if kind not in (0, 1, 2):
            raise _ShortError
        return self.octets((0, 4, 16)[kind])


@lru_cache(maxsize=1_024)
def template(numbers: tuple[int, ...]) -> Template:
    """The template of a record of these elements, which stand in ascending order."""
    return Template(0, make_layout(tuple(Field(n, LENGTHS[n]) for n in numbers)))


@dataclass(frozen=True, slots=True)
class Head:
    """A datagram's header: its message, its agent and port in one number, where samples begin."""

    message: Message
    session: int
    samples: int
    at: int


def head(payload: bytes, exporter: str, port: int, received_us: int) -> Head | None:
    """The header of a datagram, None where it is cut short."""
    reader = _Reader(payload, 4, len(payload))
    try:
        agent = reader.address()
        sub_agent, sequence, uptime, count = reader.words(4)
    except _ShortError:
        return None
    message = Message(
        SFLOW5, exporter, port, sub_agent, sequence, received_us, -1, uptime,
        agent=_text(agent),
    )  # fmt: skip
    # One address may speak for several agents, each with a sequence of its own.
    return Head(message, session_number(agent, port), count, reader.at)


def decode(
    payload: bytes, exporter: str, port: int, received_us: int, state: DecoderState
) -> list[Event]:
    """Events of one sFlow datagram."""
    found = head(payload, exporter, port, received_us)
    if found is None:
        return [Rejected("sFlow datagram shorter than its header")]
    message = found.message
    session = state.session(exporter, found.session, SFLOW5, message.domain, received_us)
    events: list[Event] = [message]
    lost = advance(session, message.sequence, 1)
    if lost:
        events.append(SequenceGap(message, lost))
    at = found.at
    for number in range(found.samples):
        if number >= MAX_SAMPLES:
            events.append(Malformed("too many samples in a datagram", at, "own bound"))
            break
        at = sample(payload, at, message, events)
        if at < 0:
            break
    return events


def sample(payload: bytes, start: int, message: Message, events: list[Event]) -> int:
    """Add the events of the sample at `start`; where the next one begins, −1 if nobody knows."""
    reader = _Reader(payload, start, len(payload))
    try:
        kind, length = reader.words(2)
        if reader.at + length > reader.end:
            raise _ShortError
        body = _Reader(payload, reader.at, reader.at + length)
        reader.octets(length)
        if kind in FLOW_SAMPLES:
            _flow_sample(body, message, events, expanded=kind == EXPANDED)
        else:
            events.append(Unsupported(other_sample(kind)))
    except _ShortError:
        events.append(
            Malformed("sFlow sample does not fit", start, _CLAUSE, payload[start : start + 64])
        )
        if reader.at <= start + 8:
            return -1
    return reader.at


def other_sample(kind: int) -> str:
    """What a sample is called that is no flow sample."""
    return _OTHER_SAMPLES.get(kind, "sFlow sample of other kind")


@lru_cache(maxsize=1_024)
def _text(agent: bytes) -> str:
    """Canonical text of the agent's address (RFC 5952), "" if it is unknown."""
    if len(agent) == 4:
        return ".".join(map(str, agent))
    if not agent:
        return ""
    groups = [f"{agent[i] << 8 | agent[i + 1]:x}" for i in range(0, 16, 2)]
    best = (0, 0)
    run = 0
    for i, group in enumerate([*groups, ""]):
        if group == "0":
            run += 1
            continue
        if run > 1 and run > best[0]:
            best = run, i - run
        run = 0
    if not best[0]:
        return ":".join(groups)
    return ":".join(groups[: best[1]]) + "::" + ":".join(groups[sum(best) :])


def _flow_sample(body: _Reader, message: Message, events: list[Event], *, expanded: bool) -> None:
    if expanded:
        number, _, _, rate, _, _, in_kind, in_value, out_kind, out_value, count = body.words(11)
    else:
        number, _, rate, _, _, in_word, out_word, count = body.words(8)
        in_kind, in_value = in_word >> 30, in_word & LOCAL
        out_kind, out_value = out_word >> 30, out_word & LOCAL
        in_value = 0 if in_value == LOCAL else in_value
        out_value = 0 if out_value == LOCAL else out_value
    values: Values = {2: (1).to_bytes(8, "big"), 34: _WORD.pack(rate)}
    if in_kind == 0:
        values[10] = _WORD.pack(0 if in_value == 0xFFFFFFFF else in_value)
    if out_kind in (0, 1):  # 1: discarded, the value is the reason
        values[14] = _WORD.pack(0 if out_kind or out_value == 0xFFFFFFFF else out_value)
    found = False
    data, at, end = body.data, body.at, body.end
    for _ in range(min(count, MAX_SAMPLES)):
        if at + 8 > end:
            raise _ShortError
        kind, length = _PAIR.unpack_from(data, at)
        at += 8
        if at + length > end:
            raise _ShortError
        read = _RECORDS.get(kind)
        if read is not None:
            found |= read(_Reader(data, at, at + length), values)
        at = min(at + (length + 3) // 4 * 4, end)
    if not found:
        events.append(Unsupported(NO_PACKET))
        return
    numbers = tuple(sorted(values))
    octets = b"".join(values[n] for n in numbers)
    message = replace(message, sample=number)
    events.append(Records(message, template(numbers), octets, octets, 1))


def _raw_header(record: _Reader, values: Values) -> bool:
    protocol, _, _, size = record.words(4)
    data = record.octets(size)
    found = None
    if protocol == 1:
        found = frames.ethernet(data)
    elif protocol in (11, 12):
        found = frames.ip(data)
    elif protocol == 13:
        found = frames.mpls(data)
    values.update(found or {})
    return found is not None


def _ethernet(record: _Reader, values: Values) -> bool:
    record.words(1)
    values.setdefault(56, record.octets(6))
    values.setdefault(80, record.octets(6))
    return False


def _ip4(record: _Reader, values: Values) -> bool:
    return _ip(record, values, 4, (8, 12))


def _ip6(record: _Reader, values: Values) -> bool:
    return _ip(record, values, 16, (27, 28))


def _ip(record: _Reader, values: Values, size: int, numbers: tuple[int, int]) -> bool:
    """Sampled IPv4 or IPv6: used where no raw header came before."""
    length, protocol = record.words(2)
    source, destination = record.octets(size), record.octets(size)
    source_port, destination_port, flags, tos = record.words(4)
    if 1 in values:
        return True
    values |= {
        1: length.to_bytes(8, "big"),
        4: bytes([protocol & 255]),
        5: bytes([tos & 255]),
        6: bytes([flags & 255]),
        7: (source_port & 0xFFFF).to_bytes(2, "big"),
        11: (destination_port & 0xFFFF).to_bytes(2, "big"),
        numbers[0]: source,
        numbers[1]: destination,
    }
    return True


def _router(record: _Reader, values: Values) -> bool:
    hop = record.address()
    source, destination = record.words(2)
    if hop:
        values[15 if len(hop) == 4 else 62] = hop
    four = 8 in values or (27 not in values and len(hop) == 4)
    values[9 if four else 29] = bytes([min(source, 255)])
    values[13 if four else 30] = bytes([min(destination, 255)])
    return False


def _gateway(record: _Reader, values: Values) -> bool:
    hop = record.address()
    _, source, _, segments = record.words(4)
    if hop:
        values[18 if len(hop) == 4 else 63] = hop
    values[16] = _WORD.pack(source)
    last = b""
    for _ in range(min(segments, MAX_SAMPLES)):
        kind, count = record.words(2)
        if count * 4 > record.end - record.at:
            raise _ShortError
        path = record.octets(count * 4)
        last = path[-4:] if kind == 2 and path else b""  # the origin of a set is not known
    if last:
        values[17] = last
    return False


_RECORDS = {
    1: _raw_header,
    2: _ethernet,
    3: _ip4,
    4: _ip6,
    1002: _router,
    1003: _gateway,
}
