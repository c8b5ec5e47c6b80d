"""pcap and pcapng files → the UDP datagrams in them, IP fragments put together; and messages of
Akvorado's inlet (`raw_flows`).

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; link types by tcpdump.org/linktypes.
Own reader: a capture is the hot path's first step, and a bad length must be an error or a
counted warning with its offset, not an exception of somebody's struct.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from flowpeer_core.addresses import text_of
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.fragments import Fragments
from flowpeer_ingest.raw_flows import EMPTY, MAX_MESSAGE, parse

MAX_PACKET = 1 << 18
"""libpcap's own bound on a captured packet (MAXIMUM_SNAPLEN)."""
MAX_BLOCK = 16 << 20
"""libpcap's bound on a pcapng block."""
MAX_INTERFACES = 4_096

_PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", 1),
    b"\xa1\xb2\xc3\xd4": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1000),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_ADVICE = "give a pcap or pcapng file, as tcpdump -w or dumpcap write it"

_LINKS = {
    0: "null", 1: "ethernet", 12: "ip", 14: "ip", 101: "ip", 108: "loop", 113: "sll",
    228: "ip", 229: "ip", 276: "sll2",
}  # fmt: skip
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
_UDP = 17
_EXTENSIONS = frozenset({0, 43, 60, 135})
_FRAGMENT = 44


def looks_like_capture(head: bytes) -> bool:
    """Whether a file begins as pcap or pcapng do."""
    return head[:4] in _PCAP or head[:4] == _PCAPNG


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP payload: when it came (µs since the epoch), from where, and its octets."""

    received_us: int
    exporter: str
    port: int
    payload: bytes


@dataclass(slots=True)
class Capture:
    """One capture being read; counters are complete once `datagrams()` has ended."""

    stream: BinaryIO
    path: str
    packets: int = 0
    datagrams_seen: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    offset: int = 0
    _addresses: dict[bytes, str] = field(default_factory=dict)
    _fragments: Fragments = field(default_factory=Fragments)

    def frames(self) -> Iterator[tuple[int, str, bytes, bool]]:
        """Time (µs), link layer, octets and "not cut short" of each packet, in file order.

        Raises `IngestError` for a file that is no capture.
        """
        return self._frames(self._read(4))

    def _frames(self, magic: bytes) -> Iterator[tuple[int, str, bytes, bool]]:
        if magic in _PCAP:
            return self._pcap(*_PCAP[magic])
        if magic == _PCAPNG:
            return self._pcapng()
        what = "empty file" if not magic else "not a packet capture"
        raise IngestError(what, path=self.path, offset=0, advice=_ADVICE)

    def datagrams(self) -> Iterator[Datagram]:
        """UDP datagrams in file order. Raises `IngestError` for a file that is no capture."""
        magic = self._read(4)
        if len(magic) == 4 and 0 < int.from_bytes(magic, "big") <= MAX_MESSAGE:
            yield from self._raw_flows(magic)
            return
        for received_us, link, data, whole in self._frames(magic):
            self.packets += 1
            found = self._udp(received_us, link, data, whole)
            if found is not None:
                self.datagrams_seen += 1
                yield found
        waiting = self._fragments.finish()
        if waiting:
            self.skipped["fragment of an incomplete datagram"] += waiting

    def _read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.offset += len(data)
        return data

    def _cut(self, what: str) -> None:
        self.warnings.append(f"{self.path}: cut short at offset {self.offset}: {what}")

    def _raw_flows(self, head: bytes) -> Iterator[Datagram]:
        """Of messages behind their lengths. Raises `IngestError` where the first is none."""
        while head:
            size = int.from_bytes(head, "big")
            if len(head) < 4 or MAX_MESSAGE < size != EMPTY:
                self._cut("length of a message")
                return
            message = b"" if size == EMPTY else self._read(size)
            if size != EMPTY and len(message) < size:
                self._cut(f"message has {len(message)} of {size} octets")
                return
            flow = parse(message)
            self.packets += 1
            if flow is not None:
                self.datagrams_seen += 1
                yield Datagram(
                    flow.received_s * 1_000_000, self._name(flow.source), 0, flow.payload
                )
            elif self.datagrams_seen:
                self._skip("message without a datagram")
            else:
                raise IngestError("not a packet capture", path=self.path, offset=0, advice=_ADVICE)
            head = self._read(4)

    def _pcap(self, order: str, per_us: int) -> Iterator[tuple[int, str, bytes, bool]]:
        header = self._read(20)
        if len(header) < 20:
            raise IngestError(
                "pcap header cut short", path=self.path, offset=self.offset, advice=_ADVICE
            )
        number = struct.unpack_from(order + "I", header, 16)[0] & 0x0FFFFFFF
        link = self._link(number)
        record = struct.Struct(order + "IIII")
        read = self.stream.read
        while True:
            head = read(16)
            if len(head) < 16:
                self.offset += len(head)
                if head:
                    self._cut("packet header")
                return
            seconds, fraction, size, length = record.unpack(head)
            if size > MAX_PACKET:
                self.warnings.append(
                    f"{self.path}: damaged at offset {self.offset}: packet of {size} octets; "
                    "what follows was not read"
                )
                return
            data = read(size)
            self.offset += 16 + len(data)
            if len(data) < size:
                self._cut(f"packet has {len(data)} of {size} octets")
                return
            yield seconds * 1_000_000 + fraction // per_us, link, data, size >= length

    def _link(self, number: int) -> str:
        link = _LINKS.get(number)
        if link is None:
            raise IngestError(
                f"link type {number} is not read",
                path=self.path,
                advice="capture on an Ethernet, Linux cooked, loopback or raw IP interface",
            )
        return link

    def _pcapng(self) -> Iterator[tuple[int, str, bytes, bool]]:
        order = "<"
        interfaces: list[tuple[str, int, int]] = []  # link, ticks a second, offset in seconds
        kind_octets = _PCAPNG
        while True:
            head = self._read(4)
            if len(head) < 4:
                if head or kind_octets == _PCAPNG:
                    self._cut("block header")
                return
            body = b""
            if kind_octets == _PCAPNG:
                body = self._read(4)
                order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(body, "")
                if not order:
                    raise IngestError(
                        "pcapng section without a byte-order mark",
                        path=self.path,
                        offset=self.offset,
                        advice=_ADVICE,
                    )
                interfaces = []
            size = struct.unpack(order + "I", head)[0]
            if size < 12 + len(body) or size % 4 or size > MAX_BLOCK:
                self.warnings.append(
                    f"{self.path}: damaged at offset {self.offset}: block of {size} octets; "
                    "what follows was not read"
                )
                return
            rest = size - 8 - len(body)
            data = self._read(rest)
            if len(data) < rest:
                self._cut("block")
                return
            kind = struct.unpack(order + "I", kind_octets)[0]
            if kind == 1 and len(data) >= 12 and len(interfaces) < MAX_INTERFACES:
                interfaces.append(self._interface(order, data))
            elif kind in (2, 3, 6):
                packet = self._block(order, kind, data, interfaces)
                if packet is not None:
                    yield packet
            kind_octets = self._read(4)
            if len(kind_octets) < 4:
                if kind_octets:
                    self._cut("block type")
                return

    def _interface(self, order: str, data: bytes) -> tuple[str, int, int]:
        number = struct.unpack_from(order + "H", data)[0]
        ticks, offset = 1_000_000, 0
        at = 8
        end = len(data) - 4
        while end - at >= 4:
            code, length = struct.unpack_from(order + "HH", data, at)
            value = data[at + 4 : at + 4 + length]
            if code == 0:
                break
            if code == 9 and len(value) == 1:
                ticks = 1 << (value[0] & 127) if value[0] & 128 else 10 ** min(value[0], 18)
            elif code == 14 and len(value) == 8:
                offset = struct.unpack(order + "q", value)[0]
            at += 4 + (length + 3) // 4 * 4
        return _LINKS.get(number, f"link type {number}"), ticks, offset

    def _block(
        self, order: str, kind: int, data: bytes, interfaces: list[tuple[str, int, int]]
    ) -> tuple[int, str, bytes, bool] | None:
        if kind == 3:
            self.packets += 1
            self.skipped["simple packet block without a time"] += 1
            return None
        if len(data) < 24:
            self.packets += 1
            self.skipped["packet block cut short"] += 1
            return None
        number, high, low, size, length = struct.unpack_from(order + "IIIII", data)
        if kind == 2:  # the obsolete packet block has a drops count beside the interface
            number = struct.unpack_from(order + "H", data)[0]
        if number >= len(interfaces) or size > len(data) - 24:
            self.packets += 1
            self.skipped["damaged packet block"] += 1
            return None
        link, ticks, offset = interfaces[number]
        time_us = (high << 32 | low) * 1_000_000 // ticks + offset * 1_000_000
        if not 0 <= time_us < 1 << 52:
            self.packets += 1
            self.skipped["packet without a usable time"] += 1
            return None
        return time_us, link, data[20 : 20 + size], size >= length

    def _skip(self, reason: str) -> None:
        self.skipped[reason] += 1

    def _udp(self, received_us: int, link: str, data: bytes, whole: bool) -> Datagram | None:
        """The UDP datagram in a packet, None (counted) if there is none."""
        at = 0
        if link == "ethernet":
            at = 14
            kind = int.from_bytes(data[12:14], "big")
        elif link == "ip":
            kind = 0
        elif link == "sll":
            at = 16
            kind = int.from_bytes(data[14:16], "big")
        elif link == "sll2":
            at = 20
            kind = int.from_bytes(data[0:2], "big")
        elif link in ("null", "loop"):
            at = 4
            kind = 0
        else:
            self._skip(link)
            return None
        while kind in _VLANS:
            kind = int.from_bytes(data[at + 2 : at + 4], "big")
            at += 4
        if len(data) <= at:
            self._skip("packet cut short")
            return None
        version = data[at] >> 4
        if kind not in (0, _IPV4, _IPV6) or version not in (4, 6):
            self._skip("not IP")
            return None
        if version == 4:
            return self._ip4(received_us, data, at, whole)
        return self._ip6(received_us, data, at, whole)

    def _ip4(self, received_us: int, data: bytes, at: int, whole: bool) -> Datagram | None:
        size = (data[at] & 15) * 4
        if size < 20 or len(data) < at + size:
            self._skip("packet cut short")
            return None
        if data[at + 9] != _UDP:
            self._skip("not UDP")
            return None
        total = data[at + 2] << 8 | data[at + 3]
        end = at + total if total >= size else len(data)  # 0: segmentation offload
        flags = (data[at + 6] << 8 | data[at + 7]) & 0x3FFF
        source = data[at + 12 : at + 16]
        body = data[at + size : end]
        if flags:
            key = data[at + 12 : at + 20] + data[at + 4 : at + 6]
            return self._fragment(
                received_us, source, key, (flags & 0x1FFF) * 8, bool(flags & 0x2000), body,
                whole and end <= len(data),
            )  # fmt: skip
        return self._datagram(received_us, source, body)

    def _ip6(self, received_us: int, data: bytes, at: int, whole: bool) -> Datagram | None:
        if len(data) < at + 40:
            self._skip("packet cut short")
            return None
        length = data[at + 4] << 8 | data[at + 5]
        following = data[at + 6]
        source = data[at + 8 : at + 24]
        end = at + 40 + length if length else len(data)
        pos = at + 40
        while following in _EXTENSIONS and pos + 2 <= len(data):
            following, size = data[pos], data[pos + 1]
            pos += 8 + size * 8
        if following == _FRAGMENT and pos + 8 <= len(data):
            word = data[pos + 2] << 8 | data[pos + 3]
            key = data[at + 8 : at + 40] + data[pos + 4 : pos + 8]
            if data[pos] != _UDP:
                self._skip("not UDP")
                return None
            return self._fragment(
                received_us, source, key, word & 0xFFF8, bool(word & 1), data[pos + 8 : end],
                whole and end <= len(data),
            )  # fmt: skip
        if following != _UDP:
            self._skip("not UDP")
            return None
        return self._datagram(received_us, source, data[pos:end])

    def _fragment(
        self, received_us: int, source: bytes, key: bytes, offset: int, more: bool, body: bytes,
        whole: bool,
    ) -> Datagram | None:  # fmt: skip
        if not whole:
            self._skip("fragment cut short")
            return None
        dropped = self._fragments.dropped
        together = self._fragments.add(received_us, key, offset, more, body)
        if self._fragments.dropped > dropped:
            self.skipped["fragment of an incomplete datagram"] += self._fragments.dropped - dropped
        if together is None:
            return None
        octets, parts = together
        if parts > 1:
            self.skipped["fragment put together"] += parts - 1
        return self._datagram(received_us, source, octets)

    def _datagram(self, received_us: int, source: bytes, body: bytes) -> Datagram | None:
        if len(body) < 8:
            self._skip("packet cut short")
            return None
        length = body[4] << 8 | body[5]
        payload = body[8:length] if length >= 8 else body[8:]
        return Datagram(received_us, self._name(source), body[0] << 8 | body[1], payload)

    def _name(self, source: bytes) -> str:
        name = self._addresses.get(source)
        if name is None:
            if len(self._addresses) > 1 << 16:
                self._addresses.clear()
            name = self._addresses[source] = text_of(source)
        return name
