"""A writer of BMP octets, after RFC 7854 and RFC 4271."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network


def nlri(prefix: str, path_id: int | None = None) -> bytes:
    network = ip_network(prefix)
    lead = b"" if path_id is None else struct.pack(">I", path_id)
    octets = (network.prefixlen + 7) // 8
    return lead + bytes([network.prefixlen]) + network.network_address.packed[:octets]


def bgp(kind: int, body: bytes) -> bytes:
    return b"\xff" * 16 + struct.pack(">HB", 19 + len(body), kind) + body


def update(withdrawn: bytes = b"", attributes: bytes = b"", nlri: bytes = b"") -> bytes:
    body = struct.pack(">H", len(withdrawn)) + withdrawn
    return bgp(2, body + struct.pack(">H", len(attributes)) + attributes + nlri)


def open_(asn: int, *, add_path: int = 0) -> bytes:
    capabilities = b"\x41\x04" + struct.pack(">I", asn)
    if add_path:
        capabilities += b"\x45\x04\x00\x01\x01" + bytes([add_path])
    body = struct.pack(">BHH4sB", 4, 23456, 180, b"\1\1\1\1", 2 + len(capabilities))
    return bgp(1, body + bytes([2, len(capabilities)]) + capabilities)


def message(kind: int, body: bytes, version: int = 3) -> bytes:
    return struct.pack(">BIB", version, 6 + len(body), kind) + body


def header(
    asn: int, address: str, *, post: bool = False, kind: int = 0, vrf: int = 0, out: bool = False
) -> bytes:
    packed = ip_address(address).packed
    flags = 0x80 * (len(packed) == 16) | 0x40 * post | 0x10 * out
    if kind == 3:
        return struct.pack(">BBQ16sI4sII", 3, 0, vrf, bytes(16), asn, packed, 7, 0)
    return struct.pack(
        ">BBQ16sI4sII", kind, flags, vrf, packed.rjust(16, b"\0"), asn, b"\1\1\1\1", 7, 0
    )


def up(header: bytes, sent: bytes, received: bytes) -> bytes:
    return message(3, header + bytes(16) + struct.pack(">HH", 179, 50000) + sent + received)
