"""What one capture leaves to the next: an exporter's templates, rates and sequence numbers go on
where its last capture ended, be that in the same run or in one before.

Captures come in any order, and what an exporter said later must not explain what it sent before.
So each exporter's memory has a time, that of its last datagram. A capture in which the exporter
begins earlier than that is decoded without the memory, which is there again behind it. After a
long pause an exporter begins again: it may have numbered its templates differently since.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.wire.state import Exporter

PAUSE_US = 24 * 3_600_000_000
"""RFC 7011 section 8.4 lets templates that are not repeated expire after three of their intervals,
at most some hours; routers keep their numbers over days, and one capture a day shall go on."""
SLACK_US = 60_000_000
"""Captures of several interfaces overlap a little."""
MAX_KEPT = 4_096
"""Exporters whose memory is kept from capture to capture; the one not met for longest goes."""


class Continuity:
    """One capture on its way through a decoder: `meet` before each batch, `end` behind it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._last_us: dict[str, int] = {}
        self._aside: list[Exporter] = []

    def meet(self, exporters: Sequence[str], received_us: Sequence[int]) -> None:
        """The next datagrams are of these exporters: ready the memory of those who begin."""
        new = {*exporters} - self._last_us.keys()
        if new:
            first_us = dict(zip(reversed(exporters), reversed(received_us), strict=True))
            for address in sorted(new):
                self._begin(address, first_us[address])
        for address, last_us in dict(zip(exporters, received_us, strict=True)).items():
            self._last_us[address] = max(last_us, self._last_us.get(address, last_us))

    def _begin(self, address: str, first_us: int) -> None:
        decoder = self._decoder
        known_us = decoder.last_seen_us.get(address)
        if known_us is None or known_us - SLACK_US <= first_us <= known_us + PAUSE_US:
            return
        exporter = decoder.wire.state.forget(address)
        if exporter is None:
            return
        if first_us < known_us:
            self._aside.append(exporter)
        else:
            decoder.lost.update(exporter.unread())

    def end(self) -> None:
        """Keep what the next capture may need, and count in `Decoder.lost` what never will be."""
        decoder, state = self._decoder, self._decoder.wire.state
        for exporter in self._aside:
            older = state.forget(exporter.address)
            if older is not None:
                decoder.lost.update(older.unread())
            state.take_back(exporter)
        for address, last_us in self._last_us.items():
            if address in state.exporters:
                decoder.last_seen_us[address] = max(
                    last_us, decoder.last_seen_us.pop(address, last_us)
                )
        for address in [*decoder.last_seen_us][: max(0, len(decoder.last_seen_us) - MAX_KEPT)]:
            del decoder.last_seen_us[address]
            gone = state.forget(address)
            if gone is not None:
                decoder.lost.update(gone.unread())
        horizon_us = max(self._last_us.values(), default=0) - PAUSE_US
        for exporter in state.exporters.values():
            decoder.lost.update(state.give_up(exporter, horizon_us))
