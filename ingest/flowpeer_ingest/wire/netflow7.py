"""NetFlow version 7 (Cisco, "NetFlow Export Datagram Format", version 7: Catalyst 5000)."""

from __future__ import annotations

import struct

from flowpeer_ingest.wire import fixed, netflow5
from flowpeer_ingest.wire.events import Event, Message, Rejected
from flowpeer_ingest.wire.layout import Field, Template, make_layout
from flowpeer_ingest.wire.state import DecoderState

_HEADER = struct.Struct(">HHIIIII")
_MAX_COUNT = 27

LAYOUT = make_layout((*netflow5.FIELDS, Field(netflow5.PAD, 6)))
"""As version 5, but for six octets at the end: flags, and the router the switch works for."""
TEMPLATE = Template(0, LAYOUT)


def decode(
    payload: bytes, exporter: str, port: int, received_us: int, state: DecoderState
) -> list[Event]:
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
