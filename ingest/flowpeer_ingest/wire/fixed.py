"""NetFlow versions of one record layout each (Cisco, "NetFlow Export Datagram Format")."""

from __future__ import annotations

from flowpeer_ingest.wire.events import Event, Malformed, Message, Records, Rejected, SequenceGap
from flowpeer_ingest.wire.layout import Template
from flowpeer_ingest.wire.state import DecoderState, advance


def events(
    payload: bytes,
    message: Message,
    header_octets: int,
    most: int,
    template: Template,
    state: DecoderState,
    *,
    numbered: bool = True,
) -> list[Event]:
    """Events of a datagram whose header is `message`.

    `most`: records in a datagram by the document. A larger count in a datagram that does not end
    with a record is another protocol whose first octets happen to be this version's number.
    `numbered`: the header has a sequence number, which counts flows.
    """
    name = f"NetFlow v{message.version}"
    size = template.layout.minimum
    count = payload[2] << 8 | payload[3]
    fit, rest = divmod(len(payload) - header_octets, size)
    if count > max(fit, most) and rest:
        return [Rejected(f"not a {name} packet")]
    session = state.session(
        message.exporter, message.port, message.version, message.domain, message.received_us
    )
    found: list[Event] = [message]
    if count > fit:
        version = f"v{message.version}"
        found.append(
            Malformed(
                f"{version} count is larger than the datagram", 2,
                f"version {message.version} header, count", payload[:header_octets],
            )
        )  # fmt: skip
    if numbered:
        lost = advance(session, message.sequence, count if count <= fit else -1)
        if lost:
            found.append(SequenceGap(message, lost))
    count = min(count, fit)
    if count:
        octets = payload[header_octets : header_octets + count * size]
        found.append(Records(message, template, octets, octets, count))
    return found
