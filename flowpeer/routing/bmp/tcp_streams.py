"""TCP streams put together from captured packets (RFC 9293): in order, once, gaps counted.

Only what a passive listener needs: sequence numbers, SYN, FIN and RST. Of octets that come twice
the first count.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from flowpeer.routing.prefix_columns import address_text

MAX_STREAMS = 4_096
MAX_WAITING = 4 << 20
"""Octets of one stream that wait for missing ones before them; then those are given up."""
_LINK = {"ethernet": 14, "ip": 0, "sll": 16, "sll2": 20, "null": 4, "loop": 4}
_KIND = {"ethernet": 12, "sll": 14, "sll2": 0}
_VLANS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
_EXTENSIONS = frozenset({0, 43, 60})
_TCP = 6
_FIN, _SYN, _RST = 1, 2, 4
_HALF, _ALL = 1 << 31, (1 << 32) - 1


class TcpSegment(NamedTuple):
    """One TCP segment."""

    source: str
    flow: bytes
    """Addresses and ports: which direction of which connection."""
    sequence: int
    flags: int
    payload: bytes


def segment_of(link: str, data: bytes) -> TcpSegment | str:
    """The TCP segment in a packet, or why there is none."""
    if link not in _LINK:
        return link
    at = _LINK[link]
    if link in _KIND:
        kind = int.from_bytes(data[_KIND[link] : _KIND[link] + 2], "big")
        while kind in _VLANS:
            kind, at = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        if kind not in (0x0800, 0x86DD):
            return "not IP"
    if len(data) <= at:
        return "packet cut short"
    version = data[at] >> 4
    if version == 4 and len(data) >= at + 20:
        start, total = at + (data[at] & 15) * 4, int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + total if total else len(data)
        if int.from_bytes(data[at + 6 : at + 8], "big") & 0x3FFF:
            return "IP fragment"
        following, addresses, width = data[at + 9], data[at + 12 : at + 20], 4
    elif version == 6 and len(data) >= at + 40:
        start, total = at + 40, int.from_bytes(data[at + 4 : at + 6], "big")
        end = start + total if total else len(data)
        following, addresses, width = data[at + 6], data[at + 8 : at + 40], 16
        while following in _EXTENSIONS and start + 2 <= len(data):
            following, start = data[start], start + 8 + data[start + 1] * 8
    else:
        return "not IP" if version not in (4, 6) else "packet cut short"
    if following != _TCP:
        return "not TCP"
    if start + 20 > len(data) or end > len(data):
        return "packet cut short"
    body = start + (data[start + 12] >> 4) * 4
    if body < start + 20 or body > end:
        return "packet cut short"
    return TcpSegment(
        address_text(addresses[:width]),
        addresses + data[start : start + 4],
        struct.unpack_from(">I", data, start + 4)[0],
        data[start + 13],
        data[body:end],
    )


@dataclass(eq=False)
class TcpStream:
    """One direction of a connection: segments in, octets in order out."""

    source: str
    skipped: Counter[str]
    next: int | None = None
    """Sequence number expected; None before the first segment."""
    waiting: dict[int, bytes] = field(default_factory=dict)
    held: int = 0
    opened_with_data: bool = False

    def add(self, segment: TcpSegment) -> Iterator[bytes | None]:
        """What is in order now; None stands for octets that are missing for good."""
        sequence, payload = segment.sequence, segment.payload
        if segment.flags & _SYN:
            sequence = sequence + 1 & _ALL
            if self.next != sequence:
                yield from self.finish()
                self.next = sequence
            self.opened_with_data = bool(payload)
        elif payload and self.opened_with_data:
            # Packet generators that put data beside a SYN forget that it has a number of its own.
            self.opened_with_data = False
            if self.next is not None and _behind(sequence, self.next) == -1:
                self.next = sequence
        if self.next is None:
            self.next = sequence
        if payload:
            if sequence in self.waiting and len(self.waiting[sequence]) >= len(payload):
                self.skipped["TCP segment that came twice"] += 1
            else:
                self.held += len(payload) - len(self.waiting.get(sequence, b""))
                self.waiting[sequence] = payload
            yield from self._ready()
            if self.held > MAX_WAITING:
                yield from self._skip()

    def _ready(self) -> Iterator[bytes]:
        """Octets that follow on what was given out."""
        assert self.next is not None
        found = True
        while found and self.waiting:
            found = False
            for sequence in sorted(self.waiting, key=lambda s: _behind(s, self.next)):
                behind = _behind(sequence, self.next)
                if behind > 0:
                    break
                payload = self.waiting.pop(sequence)
                self.held -= len(payload)
                if len(payload) <= -behind:
                    self.skipped["TCP segment that came twice"] += 1
                    continue
                self.next = sequence + len(payload) & _ALL
                found = True
                yield payload[-behind:]

    def _skip(self) -> Iterator[bytes | None]:
        """Give up what is missing before the nearest octets that wait."""
        first = min(self.waiting, key=lambda s: _behind(s, self.next))
        missing = _behind(first, self.next)
        self.skipped["gap in a TCP stream"] += 1
        self.skipped["octets missing in TCP streams"] += max(0, missing)
        self.next = first
        yield None
        yield from self._ready()

    def finish(self) -> Iterator[bytes | None]:
        """The end: what waits for missing octets comes after a gap."""
        while self.waiting:
            yield from self._skip()


def _behind(sequence: int, expected: int | None) -> int:
    """How far `sequence` lies after `expected`; negative before it."""
    assert expected is not None
    distance = sequence - expected & _ALL
    return distance - (1 << 32) if distance >= _HALF else distance


@dataclass(eq=False)
class Streams:
    """All streams of a capture."""

    skipped: Counter[str] = field(default_factory=Counter)
    _streams: dict[bytes, TcpStream] = field(default_factory=dict)

    def add(self, segment: TcpSegment) -> Iterator[tuple[bytes, TcpStream, bytes | None]]:
        """(flow, stream, octets in order), None for a gap; b"" when a connection begins."""
        stream = self._streams.get(segment.flow)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                self.skipped["segment of too many TCP streams"] += 1
                return
            stream = self._streams[segment.flow] = TcpStream(segment.source, self.skipped)
        fresh = segment.flags & _SYN and stream.next != (segment.sequence + 1 & _ALL)
        for part in stream.add(segment):
            yield segment.flow, stream, part
        if fresh:
            yield segment.flow, stream, b""
        if segment.flags & (_FIN | _RST):
            for part in stream.finish():
                yield segment.flow, stream, part

    def finish(self) -> Iterator[tuple[bytes, TcpStream, bytes | None]]:
        """The end of the capture."""
        for flow, stream in self._streams.items():
            for part in stream.finish():
                yield flow, stream, part
