"""IPFIX, NetFlow version 10 (RFC 7011)."""

from __future__ import annotations

import struct

from flowpeer_ingest.wire.events import Event, Message, Rejected, SequenceGap
from flowpeer_ingest.wire.sets import IPFIX, SetWalk
from flowpeer_ingest.wire.state import DecoderState, advance

_HEADER = struct.Struct(">HHIII")
_CLAUSE = "RFC 7011 section 3.1"


def decode(
    payload: bytes, exporter: str, port: int, received_us: int, state: DecoderState
) -> list[Event]:
    """Events of one IPFIX message in a datagram; octets after its length are not read."""
    if len(payload) < _HEADER.size:
        return [Rejected("IPFIX message shorter than its header")]
    _, length, seconds, sequence, domain = _HEADER.unpack_from(payload)
    if length < _HEADER.size:
        return [Rejected("IPFIX length shorter than its header")]
    session = state.session(exporter, port, 10, domain, received_us)
    export_ms = seconds * 1000
    boot_ms = session.boot_ms
    message = Message(
        10, exporter, port, domain, sequence, received_us, export_ms,
        (export_ms - boot_ms) & 0xFFFFFFFF if boot_ms >= 0 else -1,
    )  # fmt: skip
    walk = SetWalk(payload, message, session, state, IPFIX)
    if length > len(payload):
        walk.malformed("message longer than its datagram", 2, _CLAUSE)
    events = walk.run(_HEADER.size, min(length, len(payload)))
    lost = advance(session, sequence, -1 if length > len(payload) else walk.units)
    if lost:
        events.append(SequenceGap(message, lost))
    return events
