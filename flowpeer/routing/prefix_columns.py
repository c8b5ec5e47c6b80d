"""Prefixes and addresses as NumPy columns: two unsigned halves of the 16-octet address.

IPv4 lives in its mapped form ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), lengths stay those of the
family (0 to 32, 0 to 128). Canonical text is what `inet_ntop` prints, host bits zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import repeat
from socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop, inet_pton
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

U64 = npt.NDArray[np.uint64]
MAPPED = np.uint64(0xFFFF)
"""Upper 32 bits of `lo` of a mapped IPv4 address, whose `hi` is 0."""
_ZEROS = [bytes(16 - n) for n in range(17)]
_PTON4 = partial(inet_pton, AF_INET)
_PTON6 = partial(inet_pton, AF_INET6)


def address_text(raw: bytes) -> str:
    """Text of an address of 4 or 16 octets."""
    return inet_ntoa(raw) if len(raw) == 4 else inet_ntop(AF_INET6, raw)


def nlri_text(raw: bytes, length: int, family: int) -> str:
    """Canonical text of a prefix as BGP writes it: the octets that `length` needs, and no more.

    Bits beyond the length are written by some speakers and mean nothing.
    """
    if length & 7 and raw[-1] & (0xFF >> (length & 7)):
        raw = raw[:-1] + bytes([raw[-1] & (0xFF00 >> (length & 7)) & 0xFF])
    if family == 4:
        return f"{inet_ntoa(raw + _ZEROS[12 + len(raw)])}/{length}"
    return f"{inet_ntop(AF_INET6, raw + _ZEROS[len(raw)])}/{length}"


def pack4(texts: Iterable[str]) -> npt.NDArray[np.uint32]:
    """IPv4 addresses as numbers. Raises OSError at the first that is none."""
    return np.frombuffer(b"".join(map(_PTON4, texts)), dtype=">u4").astype(np.uint32)


def pack6(texts: Iterable[str]) -> tuple[U64, U64]:
    """IPv6 addresses as halves. Raises OSError at the first that is none."""
    halves = np.frombuffer(b"".join(map(_PTON6, texts)), dtype=">u8").reshape(-1, 2)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)


def unpack4(numbers: npt.NDArray[np.unsignedinteger[Any]]) -> list[str]:
    """Texts of IPv4 addresses."""
    raw = numbers.astype(">u4").tobytes()
    return [inet_ntop(AF_INET, raw[at : at + 4]) for at in range(0, len(raw), 4)]


def unpack6(hi: U64, lo: U64) -> list[str]:
    """Texts of IPv6 addresses."""
    raw = np.column_stack([hi, lo]).astype(">u8").tobytes()
    return list(
        map(
            inet_ntop,
            repeat(AF_INET6),
            (raw[at : at + 16] for at in range(0, len(raw), 16)),
        )
    )


def high_mask(lengths: npt.NDArray[np.integer[Any]]) -> U64:
    """Masks of the upper `lengths` (clipped to 0…64) of 64 bits."""
    bits = np.clip(lengths.astype(np.int64), 0, 64)
    shift = np.where(bits == 0, 0, 64 - bits).astype(np.uint64)
    full = np.uint64(0xFFFFFFFFFFFFFFFF)
    return np.where(bits == 0, np.uint64(0), full << shift)


def split_prefixes(
    texts: pa.Array | pa.ChunkedArray,
) -> tuple[pa.Array, npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """Address texts, lengths and "is IPv6" of prefix texts known to be canonical."""
    import pyarrow.compute as pc

    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    halves = pc.split_pattern(array, "/")
    address = pc.list_element(halves, 0)
    lengths = pc.list_element(halves, 1).cast(pa.int16())
    is6 = pc.match_substring(address, ":")
    return address, lengths.to_numpy(zero_copy_only=False), is6.to_numpy(zero_copy_only=False)


def halves_of(addresses: Sequence[str | None]) -> tuple[U64, U64, list[int]]:
    """Halves of address texts of both families, and the positions of those that are none."""
    blocks: list[bytes] = []
    bad: list[int] = []
    for position, text in enumerate(addresses):
        try:
            if text is None:
                raise OSError
            if ":" in text:
                blocks.append(_PTON6(text))
            else:
                blocks.append(b"\0" * 10 + b"\xff\xff" + _PTON4(text))
        except (OSError, ValueError):  # ValueError: an embedded NUL
            bad.append(position)
            blocks.append(bytes(16))
    halves = np.frombuffer(b"".join(blocks), dtype=">u8").reshape(-1, 2)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64), bad
