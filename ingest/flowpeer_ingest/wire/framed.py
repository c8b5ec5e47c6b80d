"""Records that carry the start of a packet: dataLinkFrameSection, IE 315 (RFC 7133).

Junos inline monitoring puts everything there is to know about a packet into it. Such a record is
written out again under a layout of the elements found in the frame and those beside it, as an
sFlow sample is.
"""

from __future__ import annotations

from flowpeer_ingest.wire import frames
from flowpeer_ingest.wire.elements import FRAME_SECTION, key_of
from flowpeer_ingest.wire.events import Message, Records
from flowpeer_ingest.wire.layout import VARIABLE, Field, Template, split
from flowpeer_ingest.wire.state import Pool

MAX_FRAMES = 1_024
"""Per set; an Ethernet header and an IPv4 header take 34 octets, and 64 KiB hold under 2,000."""
_BYTES, _PACKETS = 1, 2


def unframe(
    message: Message, template: Template, octets: bytes, pool: Pool
) -> tuple[list[Records], int, bool]:
    """One `Records` event per record: (events, octets used, broken).

    What the exporter states beside the frame wins over what the frame shows; a record without
    counters is one packet of the IP length in its header. A frame without an IP packet leaves
    the record as it is.
    """
    layout = template.layout
    records, used, broken = split(layout, octets, MAX_FRAMES)
    events: list[Records] = []
    for record in records:
        stated: dict[tuple[int, int], bytes] = {}
        frame = b""
        for f, value in zip(layout.fields, record, strict=True):
            if f.number == FRAME_SECTION and f.enterprise == 0:
                frame = value
            elif f.length != VARIABLE and value and key_of(f.number, f.enterprise):
                stated[f.number, f.enterprise] = value
        for number, value in (frames.ethernet(frame) or {}).items():
            stated.setdefault((number, 0), value)
        if (_BYTES, 0) in stated:
            stated.setdefault((_PACKETS, 0), b"\1")
        fields = tuple(Field(n, len(value), pen) for (n, pen), value in stated.items())
        flat = b"".join(stated.values())
        shown = Template(template.number, pool.layout(fields))
        events.append(Records(message, shown, flat, flat, 1))
    return events, used, broken
