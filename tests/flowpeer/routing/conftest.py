"""A writer of MRT octets, after RFC 6396 and RFC 4271, and a reader's results as rows."""

from __future__ import annotations

import bz2
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from flowpeer.routing.mrt.table_dump import MrtReader

sys.path.insert(0, str(Path(__file__).parent))  # bmp_octets, the writer of BMP beside the tests
sys.path.insert(0, str(Path(__file__).parents[1] / "rollup"))  # its worlds

WHEN = 1_767_225_600  # 2026-01-01T00:00:00Z
PathLike = Sequence[int | tuple[int, ...]]


class Mrt:
    """Octets of MRT records."""

    when = WHEN

    @staticmethod
    def record(kind: int, subtype: int, body: bytes, when: int = WHEN) -> bytes:
        return struct.pack(">IHHI", when, kind, subtype, len(body)) + body

    @classmethod
    def peers(cls, peers: Iterable[tuple[int, str]], name: bytes = b"view") -> bytes:
        peers = list(peers)
        body = bytes([10, 0, 0, 1]) + struct.pack(">H", len(name)) + name
        body += struct.pack(">H", len(peers))
        for asn, address in peers:
            packed = ip_address(address).packed
            body += bytes([2 | (len(packed) == 16)]) + bytes(4) + packed + struct.pack(">I", asn)
        return cls.record(13, 1, body)

    @staticmethod
    def attribute(code: int, value: bytes, flags: int = 0x40) -> bytes:
        if len(value) > 255:
            return struct.pack(">BBH", flags | 0x10, code, len(value)) + value
        return bytes([flags, code, len(value)]) + value

    @classmethod
    def as_path(cls, path: PathLike, width: int = 4, code: int = 2) -> bytes:
        """ASNs and tuples of them, which are sets."""
        form = "I" if width == 4 else "H"
        value, run = b"", []

        def flush() -> bytes:
            out = bytes([2, len(run)]) + struct.pack(f">{len(run)}{form}", *run) if run else b""
            run.clear()
            return out

        for step in path:
            if isinstance(step, tuple):
                value += flush()
                value += bytes([1, len(step)]) + struct.pack(f">{len(step)}{form}", *step)
            else:
                run.append(step)
        return cls.attribute(code, value + flush())

    @classmethod
    def attributes(
        cls,
        path: PathLike,
        *,
        next_hop: str | None = "192.0.2.1",
        med: int | None = None,
        local_pref: int | None = None,
        communities: Sequence[tuple[int, int]] = (),
        large: Sequence[tuple[int, int, int]] = (),
        whole_reach: bool = False,
        origin: bytes | None = b"\0",
    ) -> bytes:
        out = cls.attribute(1, origin) if origin is not None else b""
        out += cls.as_path(path)
        if next_hop is not None and ":" not in next_hop:
            out += cls.attribute(3, ip_address(next_hop).packed)
        elif next_hop is not None:
            hop = b"\x10" + ip_address(next_hop).packed
            whole = struct.pack(">HB", 2, 1) + hop + b"\0"
            out += cls.attribute(14, whole if whole_reach else hop, 0x80)
        for code, number in ((4, med), (5, local_pref)):
            if number is not None:
                out += cls.attribute(code, struct.pack(">I", number))
        if communities:
            out += cls.attribute(8, b"".join(struct.pack(">HH", *c) for c in communities), 0xC0)
        if large:
            out += cls.attribute(32, b"".join(struct.pack(">III", *c) for c in large), 0xC0)
        return out

    @classmethod
    def rib(
        cls,
        prefix: str,
        entries: Iterable[tuple[int, bytes]],
        *,
        path_ids: Sequence[int] | None = None,
    ) -> bytes:
        """RIB_IPV*_UNICAST; with `path_ids` its ADD-PATH form."""
        network = ip_network(prefix)
        octets = (network.prefixlen + 7) // 8
        entries = list(entries)
        body = struct.pack(">IB", 0, network.prefixlen)
        body += network.network_address.packed[:octets] + struct.pack(">H", len(entries))
        for i, (peer, attributes) in enumerate(entries):
            body += struct.pack(">HI", peer, WHEN)
            body += b"" if path_ids is None else struct.pack(">I", path_ids[i])
            body += struct.pack(">H", len(attributes)) + attributes
        subtype = 2 if network.version == 4 else 4
        return cls.record(13, subtype if path_ids is None else subtype + 6, body)

    @classmethod
    def old(cls, prefix: str, asn: int, address: str, attributes: bytes) -> bytes:
        """TABLE_DUMP."""
        network = ip_network(prefix)
        body = struct.pack(">HH", 0, 0) + network.network_address.packed
        body += bytes([network.prefixlen, 1]) + struct.pack(">I", WHEN)
        body += ip_address(address).packed + struct.pack(">HH", asn, len(attributes)) + attributes
        return cls.record(12, 1 if network.version == 4 else 2, body)


@pytest.fixture(scope="session")
def mrt() -> type[Mrt]:
    return Mrt


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(octets, name)`: a file with them."""

    def file(octets: bytes, name: str = "rib.mrt") -> Path:
        path = tmp_path / name
        path.write_bytes(bz2.compress(octets) if name.endswith(".bz2") else octets)
        return path

    return file


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., list[dict[str, Any]]]:
    """All rows of an MRT file, as the reader gives them."""

    def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
        return [row for table in MrtReader(path, **options) for row in table.to_pylist()]

    return rows
