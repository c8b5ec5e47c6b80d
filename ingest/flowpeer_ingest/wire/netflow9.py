"""NetFlow version 9 (RFC 3954)."""

from __future__ import annotations

import struct

from flowpeer_ingest.wire.events import Event, Message, Records, Rejected, SequenceGap
from flowpeer_ingest.wire.sets import V9, SetWalk
from flowpeer_ingest.wire.state import DecoderState, advance9

_HEADER = struct.Struct(">HHIIII")


def decode(
    payload: bytes, exporter: str, port: int, received_us: int, state: DecoderState
) -> list[Event]:
    """Events of one version 9 datagram.

    The header's count is not used: by the RFC it counts records, for some exporters FlowSets.
    """
    if len(payload) < _HEADER.size:
        return [Rejected("NetFlow v9 packet shorter than its header")]
    _, _, uptime, seconds, sequence, domain = _HEADER.unpack_from(payload)
    session = state.session(exporter, port, 9, domain, received_us)
    message = Message(9, exporter, port, domain, sequence, received_us, seconds * 1000, uptime)
    walk = SetWalk(payload, message, session, state, V9)
    events = walk.run(_HEADER.size, len(payload))
    records = sum(e.count for e in events if type(e) is Records and e.message is message)
    lost = advance9(session, sequence, -1 if walk.units < 0 else records)
    if lost:
        events.append(SequenceGap(message, lost))
    return events
