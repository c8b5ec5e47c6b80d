"""NetFlow version 7 (Cisco, "NetFlow Export Datagram Format", version 7: Catalyst 5000)."""

from __future__ import annotations

import struct

from flowpeer_ingest.wire import fixed
from flowpeer_ingest.wire.events import Event, Message, Rejected
from flowpeer_ingest.wire.layout import Field, Template, make_layout
from flowpeer_ingest.wire.state import State

_HEADER = struct.Struct(">HHIIIII")
_MAX_COUNT = 27
_PAD = 210  # paddingOctets

LAYOUT = make_layout(
    tuple(
        Field(number, length)
        for number, length in (
            (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4),
            (7, 2), (11, 2), (_PAD, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1),
            (13, 1), (_PAD, 6),
        )
    )
)  # fmt: skip
"""The last six octets are flags and the router that the switch took the flow over from."""
TEMPLATE = Template(0, LAYOUT)


def decode(payload: bytes, exporter: str, port: int, received_us: int, state: State) -> list[Event]:
    """Events of one version 7 datagram."""
    if len(payload) < _HEADER.size:
        return [Rejected("NetFlow v7 packet shorter than its header")]
    _, count, uptime, seconds, nanos, sequence, _ = _HEADER.unpack_from(payload)
    if not count:
        return [Rejected("not a NetFlow v7 packet")]
    message = Message(
        7, exporter, port, 0, sequence, received_us, seconds * 1000 + nanos // 1_000_000, uptime
    )
    return fixed.events(payload, message, _HEADER.size, _MAX_COUNT, TEMPLATE, state)
