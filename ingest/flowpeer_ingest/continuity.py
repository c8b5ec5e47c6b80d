"""What one capture leaves to the next: an exporter's templates, rates and sequence numbers go on
where its last capture ended, be that in the same run or in one before.

Captures come in any order, and what an exporter announced later must not explain what it sent
before. So each exporter's memory has a time, that of its last datagram. A capture in which the
exporter begins earlier than that is decoded without the memory, which is there again behind it;
then each learns from the other what it would have learned in order (`join`). After a long pause an
exporter begins again: it may have numbered its templates differently since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.wire.events import Event
from flowpeer_ingest.wire.sets import release_known
from flowpeer_ingest.wire.state import ExporterState, ExportSession

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
        self._aside: list[ExporterState] = []

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

    def join(self) -> Iterator[Event]:
        """Know again what later captures taught, put together with what this one did.

        Templates of this capture hold for later data that came without them, and the next template
        for data of this capture that came before it, unless its number had another layout
        meanwhile: the same captures in another order are read alike. Yields what could be decoded
        by that, to be gathered while the capture is still open.
        """
        state = self._decoder.wire.state
        aside, self._aside = self._aside, []
        for exporter in aside:
            older = state.forget(exporter.address)
            state.take_back(exporter)
            for key, session in older.sessions.items() if older is not None else ():
                yield from self._put_together(session, state.known(*key))

    def _put_together(self, older: ExportSession, later: ExportSession | None) -> Iterator[Event]:
        state = self._decoder.wire.state
        if later is None:
            later = state.session(*older.key, older.first_us)
            state.used(later, older.last_us)
        near = later.first_us - older.last_us <= PAUSE_US
        for number, template in older.templates.items() if near else ():
            if number not in later.templates and number not in later.replaced:
                state.learn(later, template)
        for number, held in older.pending.items():
            for message, octets in held:
                if near and number not in later.replaced:
                    state.hold(later, message, number, octets)
                else:
                    state.drop(later, number)
        for key, sets in older.owner.dropped.items():
            later.owner.dropped[key] = later.owner.dropped.get(key, 0) + sets
        older.owner.dropped = {}
        yield from release_known(later, state)

    def end(self) -> None:
        """Keep what the next capture may need, and count in `Decoder.lost` what never will be."""
        decoder, state = self._decoder, self._decoder.wire.state
        for _ in self.join():
            pass
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
