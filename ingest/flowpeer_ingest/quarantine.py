"""A sample of what was refused, as a capture that every tool reads."""

from __future__ import annotations

import struct
import time
from collections import Counter
from pathlib import Path

PER_REASON = 64
"""Datagrams kept per reason and hour: enough to see a pattern."""
MAX_OCTETS = 8 << 20
_HOUR_S = 3_600
_LINKTYPE_RAW = 101
_SNAP = 65_535


class Quarantine:
    """`quarantine.pcap` in the spool folder; when it is full it becomes `quarantine-old.pcap`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "quarantine.pcap"
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
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            if size > MAX_OCTETS:
                self.path.replace(self.path.with_name("quarantine-old.pcap"))
                size = 0
            packet = _packet(payload, source, port)
            head = b"" if size else struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAP, 101)
            seconds, micros = divmod(received_us, 1_000_000)
            length = min(len(packet), _SNAP)
            line = struct.pack("<IIII", seconds, micros, length, len(packet))
            with self.path.open("ab") as file:
                file.write(head + line + packet[:length])
        except OSError:
            pass  # a sample for people; what counts is counted


def _packet(payload: bytes, source: bytes, port: int) -> bytes:
    """The datagram with an IP header again: destination 0, port 0, no checksums."""
    udp = struct.pack(">HHHH", port, 0, min(8 + len(payload), 65_535), 0) + payload
    if source.startswith(bytes(10) + b"\xff\xff"):
        total = min(20 + len(udp), 65_535)
        head = struct.pack(">BBHHHBBH", 0x45, 0, total, 0, 0, 64, 17, 0)
        return head + source[12:] + bytes(4) + udp
    return struct.pack(">IHBB", 6 << 28, min(len(udp), 65_535), 17, 64) + source + bytes(16) + udp
