"""A sample of what was refused, as a capture that every tool reads.

pcapng (draft-ietf-opsawg-pcapng), so that each datagram has the reason beside it as its comment:
Wireshark shows it, and `tshark -T fields -e frame.comment -e ip.src -e frame.time_epoch` lists it.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

PER_REASON = 64
"""Datagrams kept per reason and hour: enough to see a pattern."""
MAX_OCTETS = 8 << 20
"""Of a file; there are two at most."""
NAME, OLD = "quarantine.pcapng", "quarantine-old.pcapng"
_HOUR_S = 3_600
_LINKTYPE_RAW = 101
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT = 1


class Quarantine:
    """`NAME` in the spool folder; when it is full it becomes `OLD`, in place of the one before."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._hour = 0
        self._kept: Counter[str] = Counter()

    def keep(self, reason: str, payload: bytes, source: bytes, port: int, received_us: int) -> None:
        """Add a datagram, if there are few of its reason; `source` is 16 octets, IPv4 mapped."""
        hour = int(time.monotonic()) // _HOUR_S
        if hour != self._hour:
            self._hour = hour
            self._kept.clear()
        if self._kept[reason] >= PER_REASON:
            return
        self._kept[reason] += 1
        with suppress(OSError):  # a sample for people; what counts is counted
            self._append(packet(reason, payload, source, port, received_us))

    def _append(self, octets: bytes) -> None:
        with self.path.open("ab") as file:
            size = file.tell()
        if size and (size + len(octets) > MAX_OCTETS or not whole(self.path)):
            self.path.replace(self.path.with_name(OLD))
            size = 0
        with self.path.open("ab") as file:
            try:
                file.write(octets if size else HEAD + octets)
            except OSError:
                os.ftruncate(file.fileno(), size)  # no half of a block before the next one
                raise


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


HEAD = _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + _block(
    _INTERFACE, struct.pack("<HHI", _LINKTYPE_RAW, 0, 0)
)
"""Of the file: a section of unknown length, one interface whose clock counts microseconds."""


def packet(reason: str, payload: bytes, source: bytes, port: int, received_us: int) -> bytes:
    """The block of one datagram, `reason` as its comment."""
    octets = _ip(payload, source, port)
    comment = f"flowpeer: {reason}".encode()
    body = struct.pack("<IIIII", 0, received_us >> 32, received_us & 0xFFFFFFFF, *[len(octets)] * 2)
    body += octets + bytes(-len(octets) % 4)
    body += struct.pack("<HH", _COMMENT, len(comment)) + comment + bytes(-len(comment) % 4)
    return _block(_PACKET, body + bytes(4))  # the end of the options


def whole(path: Path) -> bool:
    """Does the file end with a whole block? Not if a crash cut it short."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < len(HEAD):
            return False
        file.seek(size - 4)
        (last,) = struct.unpack("<I", file.read(4))
        if not 12 <= last <= size:
            return False
        file.seek(size - last)
        kind, stated = struct.unpack("<II", file.read(8))
    return kind in (_INTERFACE, _PACKET) and stated == last


def _ip(payload: bytes, source: bytes, port: int) -> bytes:
    """The datagram with an IP header again: destination 0, port 0, no checksums."""
    udp = struct.pack(">HHHH", port, 0, min(8 + len(payload), 65_535), 0) + payload
    if source.startswith(bytes(10) + b"\xff\xff"):
        total = min(20 + len(udp), 65_535)
        head = struct.pack(">BBHHHBBH", 0x45, 0, total, 0, 0, 64, 17, 0)
        return head + source[12:] + bytes(4) + udp
    return struct.pack(">IHBB", 6 << 28, min(len(udp), 65_535), 17, 64) + source + bytes(16) + udp
