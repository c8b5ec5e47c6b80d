"""NetFlow version 1 (Cisco, "NetFlow Export Datagram Format", version 1 header and record)."""

from __future__ import annotations

import struct

from flowpeer_ingest.wire import fixed
from flowpeer_ingest.wire.events import Event, Message, Rejected
from flowpeer_ingest.wire.layout import Field, Template, make_layout
from flowpeer_ingest.wire.state import DecoderState

_HEADER = struct.Struct(">HHIII")
_MAX_COUNT = 24
_PAD = 210  # paddingOctets

_FIELDS = (
    (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2),
    (_PAD, 2), (4, 1), (5, 1), (6, 1),
)  # fmt: skip
LAYOUT, LONGER = (
    make_layout(tuple(Field(number, length) for number, length in (*_FIELDS, (_PAD, padding))))
    for padding in (7, 11)
)
"""48 octets, and 52 as Extreme's document has them."""
_TEMPLATES = {layout.minimum: Template(0, layout) for layout in (LAYOUT, LONGER)}


def decode(
    payload: bytes, exporter: str, port: int, received_us: int, state: DecoderState
) -> list[Event]:
    """Events of one version 1 datagram; its header has no sequence number.

    Nothing in it but its length tells it from other protocols (STUN begins alike), so that has
    to be that of its records.
    """
    if len(payload) < _HEADER.size:
        return [Rejected("NetFlow v1 packet shorter than its header")]
    _, count, uptime, seconds, nanos = _HEADER.unpack_from(payload)
    size, rest = divmod(len(payload) - _HEADER.size, max(count, 1))
    template = None if rest or not count else _TEMPLATES.get(size)
    if template is None:
        return [Rejected("not a NetFlow v1 packet")]
    message = Message(
        1, exporter, port, 0, 0, received_us, seconds * 1000 + nanos // 1_000_000, uptime
    )
    return fixed.events(payload, message, _HEADER.size, _MAX_COUNT, template, state, numbered=False)
