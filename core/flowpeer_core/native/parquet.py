"""Arrow tables → a Parquet file, pages by the compiled core (src/parquet.c).

Covers the types of flowpeer's schemas, flat columns only. The schema part of the footer (with
`ARROW:schema` and the column orders) is taken from an empty file that pyarrow writes, and pages
are compressed by pyarrow's codecs; pyarrow's own writer is the reference of the tests.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowpeer_core.native import table as native
from flowpeer_core.native import thrift
from flowpeer_core.native.encodings import DELTA, DICTIONARY, PLAIN, Encoding

MAGIC = b"PAR1"
ROW_GROUP_ROWS = 131_072
PAGE_ROWS = 32_768
"""Rows that wait until a page of each column is made; what comes at once may make a page of up to
twice as many. The columns of a page stay in the cache while they are encoded."""
MOST_ROWS = 2 * PAGE_ROWS
FEW_ROWS = 4_096
"""A file of at most so many rows has small tables for its dictionaries."""
MAX_MEASURED = 256
"""Octets of a text that is kept as a least or greatest value."""
_PLAIN, _RLE, _DELTA, _INDICES = 0, 3, 5, 8
_CODECS = {"none": 0, "zstd": 6, "lz4_raw": 7}
_ROOM = MOST_ROWS * 17 + 4_096


@dataclass(frozen=True, slots=True)
class _Type:
    kind: int  # of table.py
    physical: int  # Parquet's number
    size: int


def _type_of(type_: pa.DataType) -> _Type:
    if pa.types.is_string(type_):
        return _Type(native.INT32, 6, 4)  # as indices into its dictionary
    if pa.types.is_boolean(type_):
        return _Type(native.BOOL, 0, 1)
    if pa.types.is_int32(type_) or pa.types.is_date32(type_):
        return _Type(native.INT32, 1, 4)
    if pa.types.is_int64(type_) or (pa.types.is_timestamp(type_) and type_.unit == "us"):
        return _Type(native.INT64, 2, 8)
    if pa.types.is_float64(type_):
        return _Type(native.DOUBLE, 5, 8)
    if pa.types.is_fixed_size_binary(type_) and type_.byte_width == 16:
        return _Type(native.FIXED16, 7, 16)
    raise TypeError(f"no column of flowpeer has the type {type_}")


def covers(schema: pa.Schema) -> bool:
    """Can files of this schema be written here?"""
    try:
        for field in schema:
            _type_of(field.type)
    except TypeError:
        return False
    return True


class _Buffers:
    """What all columns of a writer use one after the other."""

    def __init__(self) -> None:
        self.out = np.empty(_ROOM, np.uint8)
        self.index = np.empty(MOST_ROWS, np.uint32)
        self.scratch = np.empty(MOST_ROWS * 16, np.uint8)
        self.head = np.empty(64, np.uint8)


class _Column:
    """One column of the row group in the making."""

    def __init__(
        self, library: ctypes.CDLL, field: pa.Field, encoding: Encoding, buffers: _Buffers
    ) -> None:
        self.name, self.encoding = field.name, encoding
        self.type = _type_of(field.type)
        self.text = pa.types.is_string(field.type)
        self._library, self._buffers = library, buffers
        how = encoding.how
        if self.type.kind == native.BOOL:
            how = PLAIN  # a bit each
        self.dictionary = self.text or how == DICTIONARY
        self._number = _INDICES if self.dictionary else _DELTA if how == DELTA else _PLAIN
        self._codec = None if encoding.codec == "none" else pa.Codec(encoding.codec)
        self._chunk = chunk = native.CChunk()
        self._chunk_at = ctypes.addressof(chunk)
        chunk.type, chunk.nullable = self.type.kind, field.nullable
        chunk.measured = encoding.measured and not self.text
        chunk.page_rows = MOST_ROWS
        chunk.index, chunk.scratch = buffers.index.ctypes.data, buffers.scratch.ctypes.data
        self._entries = np.empty(0, np.uint8)
        if self.text:
            chunk.encoding = native.INDICES
        elif self.dictionary:
            chunk.encoding = native.DICTIONARY
        else:
            chunk.encoding = native.DELTA if how == DELTA else native.PLAIN
        self._fresh()

    def _fresh(self) -> None:
        chunk = self._chunk
        chunk.rows = chunk.nulls = chunk.distinct = chunk.known = 0
        self._texts = pa.array([], pa.string())
        self._pages: list[Any] = []
        self.raw = self.stored = 0

    def _room(self, rows: int) -> None:
        """Tables for the dictionary of a page of so many rows, or of a whole row group.

        A file of a few hundred rows would cost more in megabytes that the kernel clears than in
        all else. Only the last page of a file is that small, so nothing moves to larger tables.
        """
        chunk = self._chunk
        chunk.capacity = FEW_ROWS if rows <= FEW_ROWS else ROW_GROUP_ROWS + MOST_ROWS
        chunk.places_mask = (1 << (2 * chunk.capacity - 1).bit_length()) - 1
        self._entries = np.empty(chunk.capacity * self.type.size, np.uint8)
        self._table = (
            np.zeros(chunk.places_mask + 1, np.uint32), np.zeros(chunk.capacity, np.uint32),
        )  # fmt: skip
        chunk.entries = self._entries.ctypes.data
        chunk.places, chunk.owners = (array.ctypes.data for array in self._table)

    def page(self, values: pa.Array) -> None:
        """Encode all rows of `values` as one page."""
        rows, buffers = len(values), self._buffers
        if self.text:
            values = self._indices(values)
        elif self.dictionary and not self._chunk.capacity:
            self._room(rows)
        nulls = values.null_count
        valid = data = valid_from = 0
        if nulls < rows:
            offset = values.offset
            bitmap, octets = values.buffers()
            if nulls:
                valid, valid_from = bitmap.address, offset
            data = octets.address
            if self.type.kind != native.BOOL:
                data += offset * self.type.size
                offset = 0
            values_from = offset
        else:
            values_from = 0
        size = self._library.flowpeer_page(
            self._chunk_at, data, values_from, valid, valid_from, rows,
            buffers.out.ctypes.data, _ROOM,
        )  # fmt: skip
        if size < 0:
            raise ValueError(f"column {self.name}: its page cannot be encoded ({size})")
        self._add(buffers.out.data[:size], rows, self._number, dictionary=False)

    def _indices(self, values: pa.Array) -> pa.Array:
        """Texts as indices into the dictionary of the row group, which grows."""
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        indices, texts = values.indices, values.dictionary
        if not len(self._texts):
            self._texts = texts
        elif not texts.equals(self._texts):
            where = pc.index_in(texts, value_set=self._texts)
            new = texts.filter(where.is_null())
            first = len(self._texts)
            self._texts = pa.concat_arrays([self._texts, new])
            numbers = np.arange(first, first + len(new), dtype=np.int32)
            indices = pc.replace_with_mask(where, where.is_null(), pa.array(numbers)).take(indices)
        self._chunk.distinct = len(self._texts)
        return indices.cast(pa.int32())

    def _add(self, body: Any, values: int, encoding: int, *, dictionary: bool) -> None:
        raw = len(body)
        stored = self._codec.compress(body, asbytes=True) if self._codec else bytes(body)
        size = self._library.flowpeer_page_header(
            dictionary, encoding, values, raw, len(stored), zlib.crc32(stored),
            self._buffers.head.ctypes.data, 64,
        )  # fmt: skip
        head = self._buffers.head[:size].tobytes()
        self.raw += size + raw
        self.stored += size + len(stored)
        self._pages += (head, stored)

    def finish(self, at: int) -> tuple[bytes, list[Any]]:
        """(its ColumnChunk for the footer, its octets), which begin at `at` of the file."""
        chunk = self._chunk
        data_at, dictionary_at = at, None
        if self.dictionary:
            pages, self._pages = self._pages, []
            body = self._entries_page()
            self._add(body, chunk.distinct, _PLAIN, dictionary=True)
            dictionary_at, data_at = at, at + sum(map(len, self._pages))
            pages = self._pages + pages
        else:
            pages = self._pages
        encodings = {_RLE, self._number} | ({_PLAIN} if self.dictionary else set())
        fields = [
            (1, thrift.I32, thrift.integer(self.type.physical)),
            (2, thrift.LIST, thrift.array(thrift.I32, map(thrift.integer, sorted(encodings)))),
            (3, thrift.LIST, thrift.array(thrift.BINARY, [thrift.binary(self.name.encode())])),
            (4, thrift.I32, thrift.integer(_CODECS[self.encoding.codec])),
            (5, thrift.I64, thrift.integer(chunk.rows)),
            (6, thrift.I64, thrift.integer(self.raw)),
            (7, thrift.I64, thrift.integer(self.stored)),
            (9, thrift.I64, thrift.integer(data_at)),
        ]
        if dictionary_at is not None:
            fields.append((11, thrift.I64, thrift.integer(dictionary_at)))
        fields.append((12, thrift.STRUCT, self._statistics()))
        said = thrift.struct(
            [(2, thrift.I64, thrift.integer(at)), (3, thrift.STRUCT, thrift.struct(fields))]
        )
        self._fresh()
        return said, pages

    def _entries_page(self) -> bytes:
        if not self.text:
            return self._entries[: self._chunk.distinct * self.type.size].tobytes()
        return _plain_texts(self._texts)

    def _statistics(self) -> bytes:
        chunk = self._chunk
        fields = [(3, thrift.I64, thrift.integer(chunk.nulls))]
        least = greatest = b""
        if self.text and self.encoding.measured and len(self._texts):
            least, greatest = (t.encode() for t in pc.min_max(self._texts).as_py().values())
            known = max(len(least), len(greatest)) <= MAX_MEASURED
        else:
            known = bool(chunk.known)
            least = bytes(chunk.least)[: self.type.size]
            greatest = bytes(chunk.greatest)[: self.type.size]
        if known:
            fields += [
                (5, thrift.BINARY, thrift.binary(greatest)),
                (6, thrift.BINARY, thrift.binary(least)),
            ]
        return thrift.struct(fields)


class Writer:
    """Writes tables of one schema to a file; the caller opens and closes the sink.

    Text columns may come dictionary-encoded. A file is complete once `close` has returned.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        sink: BinaryIO,
        schema: pa.Schema,
        encodings: Mapping[str, Encoding],
    ) -> None:
        self._sink, self._schema = sink, schema
        buffers = _Buffers()
        self._columns = [_Column(library, f, encodings[f.name], buffers) for f in schema]
        self._waiting: list[pa.Table] = []
        self._rows_waiting = self._rows = self._rows_total = 0
        self._groups: list[bytes] = []
        self._at = 0
        self._put([MAGIC])

    def write(self, table: pa.Table) -> None:
        """Append rows: the columns of the schema, in its order."""
        if table.num_rows:
            self._waiting.append(table)
            self._rows_waiting += table.num_rows
            if self._rows_waiting >= PAGE_ROWS:
                self._encode()

    def _encode(self) -> None:
        """Make pages of all that waits."""
        if not self._rows_waiting:
            return
        table = pa.concat_tables(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        columns = [_one(c) for c in table.columns]
        rows, self._waiting, self._rows_waiting = self._rows_waiting, [], 0
        step = -(-rows // -(-rows // MOST_ROWS))  # equal parts
        for start in range(0, rows, step):
            for column, values in zip(self._columns, columns, strict=True):
                column.page(values if step >= rows else values.slice(start, step))
            self._rows += min(step, rows - start)
            if self._rows >= ROW_GROUP_ROWS:
                self._finish_group()

    def _finish_group(self) -> None:
        start, total = self._at, 0
        columns = []
        for column in self._columns:
            column_raw = column.raw
            said, pages = column.finish(self._at)
            columns.append(said)
            total += column_raw
            self._put(pages)
        self._groups.append(
            thrift.struct(
                [
                    (1, thrift.LIST, thrift.array(thrift.STRUCT, columns)),
                    (2, thrift.I64, thrift.integer(total)),
                    (3, thrift.I64, thrift.integer(self._rows)),
                    (5, thrift.I64, thrift.integer(start)),
                    (6, thrift.I64, thrift.integer(self._at - start)),
                    (7, thrift.I16, thrift.integer(len(self._groups) & 0x7FFF)),
                ]
            )
        )
        self._rows_total += self._rows
        self._rows = 0

    def _put(self, parts: list[Any]) -> None:
        octets = b"".join(parts)
        self._sink.write(octets)
        self._at += len(octets)

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._encode()
        if self._rows:
            self._finish_group()
        fields = {
            **_footer_of(self._schema),
            3: (thrift.I64, thrift.integer(self._rows_total)),
            4: (thrift.LIST, thrift.array(thrift.STRUCT, self._groups)),
        }
        footer = thrift.struct((number, *fields[number]) for number in sorted(fields))
        self._put([footer, struct.pack("<I", len(footer)), MAGIC])


def _one(column: pa.ChunkedArray) -> pa.Array:
    """All values in one array; one of nothing but nulls has no octets to look at."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks()


def _plain_texts(texts: pa.Array) -> bytes:
    """Texts as Parquet's plain values: each behind its length in 4 octets."""
    _, offsets, octets = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
    sizes = np.diff(ends)
    out = np.empty(ends[-1] - ends[0] + 4 * len(texts), np.uint8)
    inside = np.ones(len(out), bool)
    heads = (ends[:-1] - ends[0] + 4 * np.arange(len(texts)))[:, None] + np.arange(4)
    inside[heads] = False
    out[heads] = sizes.astype("<u4").view(np.uint8).reshape(-1, 4)
    if octets is not None:
        out[inside] = np.frombuffer(octets, np.uint8)[ends[0] : ends[-1]]
    return out.tobytes()


@lru_cache(64)
def _footer_of(schema: pa.Schema) -> dict[int, tuple[int, bytes]]:
    """The fields of the footer of an empty file: schema, key-values, creator, column orders."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    octets = sink.getvalue().to_pybytes()
    (size,) = struct.unpack("<I", octets[-8:-4])
    return thrift.ThriftReader(octets[-8 - size : -8]).fields()
