"""NetFlow version 5 (Cisco, "NetFlow Services Export", version 5 header and record format)."""

from __future__ import annotations

import struct

from flowpeer_ingest.wire.events import Event, Malformed, Message, Records, Rejected, SequenceGap
from flowpeer_ingest.wire.layout import Field, Template, make_layout
from flowpeer_ingest.wire.state import State, advance

_HEADER = struct.Struct(">HHIIIIBBH")
_RECORD_OCTETS = 48
MAX_COUNT = 30
"""Records in a datagram by the document. A larger count in a datagram that does not end with a
record is another protocol whose first octets happen to be 0 and 5."""
INTERVAL_BITS = 0x3FFF
_PAD = 210  # paddingOctets

LAYOUT = make_layout(
    tuple(
        Field(number, length)
        for number, length in (
            (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4),
            (7, 2), (11, 2), (_PAD, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1),
            (13, 1), (_PAD, 2),
        )
    )
)  # fmt: skip
TEMPLATE = Template(0, LAYOUT)


def decode(payload: bytes, exporter: str, port: int, received_us: int, state: State) -> list[Event]:
    """Events of one version 5 datagram."""
    if len(payload) < _HEADER.size:
        return [Rejected("NetFlow v5 packet shorter than its header")]
    _, count, uptime, seconds, nanos, sequence, kind, number, sampling = _HEADER.unpack_from(
        payload
    )
    fit, rest = divmod(len(payload) - _HEADER.size, _RECORD_OCTETS)
    if count > max(fit, MAX_COUNT) and rest:
        return [Rejected("not a NetFlow v5 packet")]
    domain = kind << 8 | number
    session = state.session(exporter, port, 5, domain)
    if session is None:
        return [Rejected("too many exporters")]
    message = Message(
        5, exporter, port, domain, sequence, received_us,
        seconds * 1000 + nanos // 1_000_000, uptime, sampling & INTERVAL_BITS,
    )  # fmt: skip
    events: list[Event] = [message]
    if count > fit:
        events.append(
            Malformed(
                "v5 count is larger than the datagram", 2, "version 5 header, count", payload[:24]
            )
        )
    lost = advance(session, sequence, count if count <= fit else -1)
    if lost:
        events.append(SequenceGap(message, lost))
    count = min(count, fit)
    if count:
        octets = payload[_HEADER.size : _HEADER.size + count * _RECORD_OCTETS]
        events.append(Records(message, TEMPLATE, octets, octets, count))
    return events
