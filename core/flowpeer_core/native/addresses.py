"""Columns of addresses read back, as the writer here leaves them (src/addresses.c).

pyarrow makes an object of each address and takes most of the time of a roll-up's reading for it.
"""

from __future__ import annotations

import ctypes
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from flowpeer_core.native.checksum import crc32
from flowpeer_core.native.thrift import ThriftReader

_CODECS = {"UNCOMPRESSED": None, "LZ4": "lz4_raw"}
_DICTIONARY_PAGE, _INDICES = 2, 8


def read_addresses(library: ctypes.CDLL, file: BinaryIO, chunk: Any) -> pa.Array | None:
    """The values of a nullable column chunk of 16 octets (a pyarrow `ColumnChunkMetaData`), or None
    where it is not written as this writer does it, or has nulls.

    Raises:
        OSError: a page whose checksum is wrong, or that does not hold what it says.
    """
    statistics = chunk.statistics
    if (
        chunk.compression not in _CODECS or not chunk.has_dictionary_page
        or not statistics or not statistics.has_null_count or statistics.null_count
    ):  # fmt: skip
        return None
    file.seek(chunk.dictionary_page_offset)
    pages = _Pages(file.read(chunk.total_compressed_size), chunk)
    out = np.empty((chunk.num_values, 16), np.uint8)
    entries = np.empty(0, np.uint8)
    rows = 0
    while rows < len(out):
        kind, encoding, count, body = pages.next()
        if kind == _DICTIONARY_PAGE:
            entries = body
            continue
        if encoding != _INDICES:
            return None
        made = library.flowpeer_addresses(
            body.ctypes.data, len(body), entries.ctypes.data, len(entries) // 16,
            min(count, len(out) - rows), out[rows:].ctypes.data,
        )  # fmt: skip
        if made <= 0:
            raise pages.damaged()
        rows += made
    return pa.Array.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(out)])


class _Pages:
    """The pages of a column chunk, one after the other."""

    def __init__(self, octets: bytes, chunk: Any) -> None:
        self._octets, self._chunk = np.frombuffer(octets, np.uint8), chunk
        self._at = ThriftReader(octets)
        name = _CODECS[chunk.compression]
        self._codec = None if name is None else pa.Codec(name)

    def next(self) -> tuple[int, int, int, Any]:
        """What it is, how its values are encoded, how many there are, and its octets."""
        try:
            fields = self._at.fields()
            kind, raw, stored = (_number(fields[n]) for n in (1, 2, 3))
            about = ThriftReader(fields[7 if kind == _DICTIONARY_PAGE else 5][1]).fields()
            count, encoding = _number(about[1]), _number(about[2])
        except (IndexError, KeyError, ValueError):
            raise self.damaged() from None
        body = self._octets[self._at.at : self._at.at + max(stored, 0)]
        self._at.at += len(body)
        crc = crc32(body)
        stated = _number(fields[4]) & 0xFFFF_FFFF if 4 in fields else crc
        if stated != crc or not 0 <= raw <= self._chunk.total_uncompressed_size:
            raise self.damaged()
        try:
            if self._codec is not None:
                body = np.frombuffer(self._codec.decompress(body, raw), np.uint8)
        except pa.ArrowException:
            raise self.damaged() from None
        return kind, encoding, count, body

    def damaged(self) -> OSError:
        """The error to raise for them."""
        return OSError(f"a page of column {self._chunk.path_in_schema} is damaged (checksum)")


def _number(field: tuple[int, bytes]) -> int:
    value = ThriftReader(field[1]).varint()
    return value >> 1 ^ -(value & 1)
