"""Builders of export packets and captures, written from the documents and not from the decoder."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest

START = 1_751_328_000  # 2025-07-01T00:00:00Z


class Build:
    """Octets of messages, sets, records and files."""

    START = START
    V4 = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (10, 4), (14, 4))

    @staticmethod
    def template(number: int, fields: Iterable[Sequence[int]], *, version: int = 9) -> bytes:
        """A template set; a field is (number, length) or (number, length, enterprise)."""
        fields = list(fields)
        body = struct.pack(">HH", number, len(fields))
        for f in fields:
            if len(f) == 3:
                body += struct.pack(">HHI", f[0] | 0x8000, f[1], f[2])
            else:
                body += struct.pack(">HH", f[0], f[1])
        return Build.set_(0 if version == 9 else 2, body)

    @staticmethod
    def options_template(
        number: int,
        scopes: Iterable[Sequence[int]],
        fields: Iterable[Sequence[int]],
        version: int = 9,
    ) -> bytes:
        scopes, fields = list(scopes), list(fields)
        if version == 9:
            head = struct.pack(">HHH", number, 4 * len(scopes), 4 * len(fields))
        else:
            head = struct.pack(">HHH", number, len(scopes) + len(fields), len(scopes))
        body = head + b"".join(struct.pack(">HH", *f) for f in [*scopes, *fields])
        return Build.set_(1 if version == 9 else 3, body)

    @staticmethod
    def set_(number: int, body: bytes) -> bytes:
        return struct.pack(">HH", number, 4 + len(body)) + body

    @staticmethod
    def record(fields: Iterable[Sequence[int]], values: dict[int, int | str | bytes]) -> bytes:
        """Field values by element number; what is not given is zero."""
        out = b""
        for f in fields:
            value = values.get(f[0], 0)
            if isinstance(value, str):
                value = ip_address(value).packed
            if f[1] == 65535:
                octets = value if isinstance(value, bytes) else int(value).to_bytes(8, "big")
                head = (
                    bytes([len(octets)])
                    if len(octets) < 255
                    else b"\xff" + struct.pack(">H", len(octets))
                )
                out += head + octets
            else:
                out += value if isinstance(value, bytes) else int(value).to_bytes(f[1], "big")
        return out

    @staticmethod
    def v9(
        *sets: bytes, sequence: int = 0, domain: int = 0, seconds: int = START, uptime: int = 10_000
    ) -> bytes:
        return struct.pack(">HHIIII", 9, len(sets), uptime, seconds, sequence, domain) + b"".join(
            sets
        )

    @staticmethod
    def ipfix(*sets: bytes, sequence: int = 0, domain: int = 0, seconds: int = START) -> bytes:
        body = b"".join(sets)
        return struct.pack(">HHIII", 10, 16 + len(body), seconds, sequence, domain) + body

    @staticmethod
    def message(version: int, *sets: bytes, **header: int) -> bytes:
        return Build.v9(*sets, **header) if version == 9 else Build.ipfix(*sets, **header)

    @staticmethod
    def v5(
        records: Sequence[dict[str, Any]],
        *,
        sequence: int = 0,
        sampling: int = 0,
        seconds: int = START,
        uptime: int = 10_000,
        count: int | None = None,
        engine: tuple[int, int] = (0, 0),
    ) -> bytes:
        out = struct.pack(
            ">HHIIIIBBH", 5, len(records) if count is None else count, uptime, seconds, 0,
            sequence, *engine, sampling,
        )  # fmt: skip
        for r in records:
            out += struct.pack(
                ">4s4s4sHHIIIIHHBBBBHHBBH",
                IPv4Address(r.get("src", "192.0.2.1")).packed,
                IPv4Address(r.get("dst", "198.51.100.1")).packed,
                IPv4Address(r.get("hop", "0.0.0.0")).packed,
                r.get("input", 1), r.get("output", 2), r.get("packets", 1), r.get("bytes", 100),
                r.get("first", 9_000), r.get("last", 9_500), r.get("sport", 1024),
                r.get("dport", 443), 0, r.get("flags", 16), r.get("protocol", 6), r.get("tos", 0),
                r.get("src_as", 0), r.get("dst_as", 0), r.get("smask", 24), r.get("dmask", 24), 0,
            )  # fmt: skip
        return out

    @staticmethod
    def udp(payload: bytes, source: str = "192.0.2.10", port: int = 40_000) -> bytes:
        """An IP packet that carries the payload from `source`."""
        body = struct.pack(">HHHH", port, 2055, 8 + len(payload), 0) + payload
        address = ip_address(source)
        if address.version == 4:
            return struct.pack(
                ">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0, address.packed,
                bytes([198, 51, 100, 9]),
            ) + body  # fmt: skip
        head = struct.pack(">IHBB", 6 << 28, len(body), 17, 64)
        return head + address.packed + ip_address("2001:db8::9").packed + body

    @staticmethod
    def ethernet(packet: bytes, *vlans: int) -> bytes:
        kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
        tags = b"".join(struct.pack(">HH", 0x8100, v) for v in vlans)
        return b"\x02" * 12 + tags + kind + packet

    @staticmethod
    def pcap(
        packets: Iterable[tuple[float, bytes]],
        *,
        link: int = 1,
        order: str = "<",
        nano: bool = False,
    ) -> bytes:
        magic = 0xA1B23C4D if nano else 0xA1B2C3D4
        out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262_144, link)
        for when, data in packets:
            fraction = round(when % 1 * (10**9 if nano else 10**6))
            out += struct.pack(order + "IIII", int(when), fraction, len(data), len(data)) + data
        return out

    @staticmethod
    def pcapng(
        packets: Iterable[tuple[float, bytes]], *, link: int = 1, order: str = "<", power: int = 6
    ) -> bytes:
        def block(kind: int, body: bytes) -> bytes:
            body += bytes(-len(body) % 4)
            size = 12 + len(body)
            return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)

        out = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        option = struct.pack(order + "HHB3xHH", 9, 1, power, 0, 0)
        out += block(1, struct.pack(order + "HHI", link, 0, 0) + option)
        for when, data in packets:
            ticks = round(when * 10**6) * 10 ** (power - 6)
            head = struct.pack(
                order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)
            )
            out += block(6, head + data + bytes(-len(data) % 4))
        return out

    @staticmethod
    def capture(
        path: Path, *payloads: bytes, source: str = "192.0.2.10", step: float = 0.0
    ) -> Path:
        """A pcap of these payloads, the first received at START."""
        packets = (
            (START + i * step, Build.ethernet(Build.udp(p, source))) for i, p in enumerate(payloads)
        )
        path.write_bytes(Build.pcap(packets))
        return path


@pytest.fixture(scope="session")
def build() -> type[Build]:
    return Build
