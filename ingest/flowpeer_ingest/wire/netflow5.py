"""NetFlow version 5 (Cisco, "NetFlow Services Export", version 5 header and record format)."""

from __future__ import annotations

import struct

from flowpeer_ingest.wire import fixed
from flowpeer_ingest.wire.events import Event, Message, Rejected
from flowpeer_ingest.wire.layout import Field, Template, make_layout
from flowpeer_ingest.wire.state import DecoderState

_HEADER = struct.Struct(">HHIIIIBBH")
_MAX_COUNT = 30
INTERVAL_BITS = 0x3FFF
PAD = 210  # paddingOctets

FIELDS = tuple(
    Field(number, length)
    for number, length in (
        (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2),
        (11, 2), (PAD, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1),
    )
)  # fmt: skip
LAYOUT = make_layout((*FIELDS, Field(PAD, 2)))
TEMPLATE = Template(0, LAYOUT)


def decode(
    payload: bytes, exporter: str, port: int, received_us: int, state: DecoderState
) -> list[Event]:
    """Events of one version 5 datagram."""
    if len(payload) < _HEADER.size:
        return [Rejected("NetFlow v5 packet shorter than its header")]
    _, _, uptime, seconds, nanos, sequence, kind, number, sampling = _HEADER.unpack_from(payload)
    message = Message(
        5, exporter, port, kind << 8 | number, sequence, received_us,
        seconds * 1000 + nanos // 1_000_000, uptime, sampling & INTERVAL_BITS,
    )  # fmt: skip
    return fixed.events(payload, message, _HEADER.size, _MAX_COUNT, TEMPLATE, state)
