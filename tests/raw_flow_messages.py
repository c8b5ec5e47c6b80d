"""Messages as Akvorado's inlet writes them to Kafka (common/pb/rawflow.proto)."""

from __future__ import annotations

import struct
from ipaddress import ip_address


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def message(received_s: int, payload: bytes, exporter: str) -> bytes:
    """A datagram of an exporter."""
    source = ip_address(exporter)
    packed = source.packed if source.version == 6 else bytes(10) + b"\xff\xff" + source.packed
    return (
        b"\x08" + _varint(received_s)
        + b"\x12" + _varint(len(payload)) + payload
        + b"\x1a\x10" + packed
    )  # fmt: skip


def framed(octets: bytes) -> bytes:
    """A message as `kcat -f '%R%s'` writes it."""
    return struct.pack(">I", len(octets)) + octets
