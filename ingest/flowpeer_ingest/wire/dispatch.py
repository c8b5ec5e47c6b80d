"""Which protocol a datagram speaks, by its first octets; ports say nothing."""

from __future__ import annotations

from flowpeer_ingest.wire import ipfix, netflow1, netflow5, netflow7, netflow9, sflow5
from flowpeer_ingest.wire.events import Event, Rejected, Unsupported
from flowpeer_ingest.wire.state import DecoderState

_DECODERS = {
    1: netflow1.decode,
    5: netflow5.decode,
    7: netflow7.decode,
    9: netflow9.decode,
    10: ipfix.decode,
}


class Wire:
    """Decodes datagrams in the order they came; all memory of one run is in `state`."""

    def __init__(self, configured: frozenset[str] = frozenset()) -> None:
        self.state = DecoderState(configured)

    def decode(self, payload: bytes, exporter: str, port: int, received_us: int) -> list[Event]:
        """Events of one datagram; the first is its `Message`, `Rejected` or `Unsupported`.

        `exporter`: canonical text of the source address, IPv4-mapped IPv6 as IPv4. Raises nothing.
        """
        if len(payload) < 4:
            return [Rejected("empty" if not payload else "not an export packet")]
        version = payload[0] << 8 | payload[1]
        decoder = _DECODERS.get(version)
        if decoder is not None:
            return decoder(payload, exporter, port, received_us, self.state)
        if version == 8:
            return [Unsupported("NetFlow v8")]
        if payload[:4] == b"\0\0\0\5":
            return sflow5.decode(payload, exporter, port, received_us, self.state)
        if payload[:3] == b"\0\0\0" and payload[3] in (2, 4):
            return [Unsupported(f"sFlow v{payload[3]}")]
        return [Rejected("not an export packet")]
