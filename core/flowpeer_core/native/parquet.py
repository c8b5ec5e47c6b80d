"""Arrow tables → a Parquet file, pages by the compiled core (src/parquet.c).

Covers the types of flowpeer's schemas, flat columns only. The schema part of the footer (with
`ARROW:schema` and the column orders) is taken from an empty file that pyarrow writes, and what
is not LZ4 is compressed by pyarrow's codecs; its own writer is the reference of the tests.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowpeer_core.native import table as native
from flowpeer_core.native import thrift
from flowpeer_core.native.encodings import DELTA, DICTIONARY, PLAIN, Encoding
from flowpeer_core.native.rows import Rows

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
_IN_C = {"none": native.STORED, "lz4_raw": native.LZ4}


@dataclass(frozen=True, slots=True)
class _Type:
    kind: int  # of table.py
    physical: int  # Parquet's number
    size: int


@lru_cache(64)
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


_POOL = pa.system_memory_pool()
"""For what is needed for a moment: pyarrow's own gives it back, and the kernel clears it again."""
_NO_TEXTS = pa.array([], pa.string())
_spare: list[mmap] = []
"""Memory of a file that was closed, one at most, for the next of its size: the kernel need not
clear and map it again."""


class _Memory:
    """Room for a row group of all columns, or for the few rows of a small file, which would cost
    more in megabytes that the kernel clears than in all else. What is not used is not there."""

    def __init__(self, columns: Sequence[_Column], rows: int) -> None:
        few = rows <= FEW_ROWS  # the only page of its file: no other one is that small
        self.page_rows = FEW_ROWS if few else MOST_ROWS
        capacity = FEW_ROWS if few else ROW_GROUP_ROWS + MOST_ROWS
        places = 1 << (2 * capacity - 1).bit_length()
        self.body_size = self.page_rows * 17 + 4_096
        self.dictionary_size = capacity * 17 + 4_096
        sizes = [self.page_rows * 4, self.page_rows * 16, self.body_size, self.dictionary_size]
        for column in columns:
            entries = capacity if column.chunk.encoding == native.DICTIONARY else 0
            column.chunk.capacity, column.chunk.place_count = entries, places
            column.chunk.pages_room = (column.type.size + 1) * capacity + 8_192
            sizes += (
                column.chunk.pages_room, entries * column.type.size, 8 * places if entries else 0
            )  # fmt: skip
        starts = [0, *accumulate(-(-size // 64) * 64 for size in sizes)]
        self._few = few
        spare = None if few else _taken_again(starts[-1])
        self._block = spare or mmap(-1, starts[-1], MAP_PRIVATE | MAP_ANONYMOUS)
        self.octets = memoryview(self._block)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._block))
        index, scratch, self.body, self.dictionary = (begin + at for at in starts[:4])
        self._dictionary_at, self.dictionaries_used = starts[3], 0
        for i, column in enumerate(columns):
            chunk, own = column.chunk, starts[4 + 3 * i : 7 + 3 * i]
            column.pages_at = own[0]
            chunk.pages, chunk.entries, chunk.places = (begin + at for at in own)
            chunk.index, chunk.scratch, chunk.page_rows = index, scratch, self.page_rows

    def leave(self) -> None:
        """Nothing here is used any more."""
        if not self._few and not _spare:
            _spare.append(self._block)

    def dictionary_room(self) -> tuple[int, int]:
        """Where room is for the next dictionary page, and how much."""
        used = self.dictionaries_used
        return self.dictionary + used, self.dictionary_size - used

    def in_dictionary(self, size: int) -> memoryview:
        """The page of so many octets that was made there, which is kept."""
        at = self._dictionary_at + self.dictionaries_used
        self.dictionaries_used += size
        return self.octets[at : at + size]


def _taken_again(size: int) -> mmap | None:
    try:
        block = _spare.pop()
    except IndexError:  # another thread has it
        return None
    return block if len(block) == size else None


@lru_cache(1_024)
def _stated(field: pa.Field, encoding: Encoding) -> tuple[int, int, bool, bytes]:
    """How a column is encoded: (by the core, by Parquet's number, has it a dictionary), and what
    every footer says of it, in the fields up to number 4."""
    type_, how = _type_of(field.type), encoding.how
    text = pa.types.is_string(field.type)
    if type_.kind == native.BOOL:
        how = PLAIN  # a bit each
    dictionary = text or how == DICTIONARY
    number = _INDICES if dictionary else _DELTA if how == DELTA else _PLAIN
    if text:
        core = native.INDICES
    elif dictionary:
        core = native.DICTIONARY
    else:
        core = native.DELTA if how == DELTA else native.PLAIN
    encodings = {_RLE, number} | ({_PLAIN} if dictionary else set())
    always = [
        (1, thrift.I32, thrift.integer(type_.physical)),
        (2, thrift.LIST, thrift.array(thrift.I32, map(thrift.integer, sorted(encodings)))),
        (3, thrift.LIST, thrift.array(thrift.BINARY, [thrift.binary(field.name.encode())])),
        (4, thrift.I32, thrift.integer(_CODECS[encoding.codec])),
    ]
    return core, number, dictionary, thrift.struct(always)[:-1]


class _Column:
    """One column of the row group in the making."""

    def __init__(self, chunk: native.CChunk, field: pa.Field, encoding: Encoding) -> None:
        self.name, self.field, self.encoding, self.chunk = field.name, field, encoding, chunk
        self.type = _type_of(field.type)
        self.text = pa.types.is_string(field.type)
        self.codec = pa.Codec(encoding.codec) if encoding.codec not in _IN_C else None
        self.pages_at = self.last_at = 0
        chunk.type, chunk.nullable = self.type.kind, field.nullable
        chunk.measured = encoding.measured and not self.text
        chunk.codec = _IN_C.get(encoding.codec, native.BODIES)
        chunk.fallback = encoding.fallback
        self._encode_as(encoding)
        self._fresh()

    def _encode_as(self, encoding: Encoding) -> None:
        chunk = self.chunk
        chunk.encoding, chunk.number, self.dictionary, self._always = _stated(self.field, encoding)

    def _fresh(self) -> None:
        chunk = self.chunk
        if self.encoding.fallback:
            self._encode_as(self.encoding)
        chunk.rows = chunk.nulls = chunk.distinct = chunk.known = chunk.pages_used = chunk.raw = 0
        self._texts, self._extremes = _NO_TEXTS, [0, 0]

    def lay_out(self, values: pa.Array) -> tuple[pa.Array, native.CInput]:
        """Where values lie, as long as the array that is returned is there."""
        if self.text:
            values = self._indices(values)
        nulls, octets, bitmap = values.null_count, 0, 0
        if nulls < len(values):
            valid, data = values.buffers()
            octets, bitmap = data.address, valid.address if nulls else 0
        return values, native.CInput(octets, bitmap, values.offset)

    def indices_of(self, rows: Rows, number: int) -> tuple[int, pa.Array | None]:
        """Where the indices of texts lie, as long as the array is there, if there is one."""
        texts, at = rows.dictionaries[self.name], int(rows.columns["values"][number])
        if texts is self._texts:
            return at, None
        if texts.slice(0, len(self._texts)).equals(self._texts):  # it may have grown
            self._texts, self.chunk.distinct = texts, len(texts)
            return at, None
        octets = pa.foreign_buffer(at, 4 * rows.num_rows, rows.memory)
        codes = pa.Array.from_buffers(pa.int32(), rows.num_rows, [None, octets])
        indices = self._indices(pa.DictionaryArray.from_arrays(codes, texts, safe=False))
        return indices.buffers()[1].address, indices

    def _indices(self, values: pa.Array) -> pa.Array:
        """Texts as indices into the dictionary of the row group, which grows."""
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        indices, texts = values.indices, values.dictionary
        if not len(self._texts):
            self._texts = texts
        elif not texts.equals(self._texts):
            import pyarrow.compute as pc

            where = pc.index_in(texts, value_set=self._texts)
            new = texts.filter(where.is_null())
            first = len(self._texts)
            self._texts = pa.concat_arrays([self._texts, new])
            numbers = np.arange(first, first + len(new), dtype=np.int32)
            indices = pc.replace_with_mask(where, where.is_null(), pa.array(numbers)).take(indices)
        self.chunk.distinct = len(self._texts)
        return indices.cast(pa.int32())

    def pack(
        self, library: ctypes.CDLL, body: memoryview, values: int, *, dictionary: bool = False
    ) -> list[bytes | memoryview]:
        """A page by a codec of pyarrow's."""
        assert self.codec is not None
        made = self.codec.compress(body, memory_pool=_POOL)
        stored = memoryview(made)[: made.size].cast("B")  # without what is left of its room
        head = ctypes.create_string_buffer(native.HEADER_ROOM)
        crc = library.flowpeer_crc32(0, made.address, made.size)
        size = library.flowpeer_page_header(
            dictionary, _PLAIN if dictionary else self.chunk.number, values, len(body),
            made.size, crc, ctypes.addressof(head), native.HEADER_ROOM,
        )  # fmt: skip
        self.chunk.raw += size + len(body)
        return [head.raw[:size], stored]

    def fall_back(self) -> None:
        """State that the core has given up the dictionary, if it has."""
        if self.encoding.fallback and self.chunk.encoding == native.PLAIN:
            self._encode_as(replace(self.encoding, how=PLAIN))

    def pack_last(self, library: ctypes.CDLL, memory: _Memory, values: int) -> None:
        """Pack the page that was made last where it lies."""
        at, end = (self.pages_at + n for n in (self.last_at, self.chunk.pages_used))
        for part in self.pack(library, memory.octets[at:end], values):
            memory.octets[at : at + len(part)] = part
            at += len(part)
        self.chunk.pages_used = at - self.pages_at

    def _dictionary_page(self, library: ctypes.CDLL, memory: _Memory) -> memoryview:
        chunk = self.chunk
        if self.text:
            body, self._extremes = _plain_texts(library, self._texts)
            at, raw = body.ctypes.data, body.size
        else:
            at, raw = chunk.entries, chunk.distinct * self.type.size
        out, room = memory.dictionary_room()
        if wide := raw + raw // 255 + 128 > room:  # long texts, or many columns
            own = np.empty(raw + raw // 255 + 128, np.uint8)
            out, room = own.ctypes.data, len(own)
        size = library.flowpeer_dictionary_page(ctypes.addressof(chunk), at, raw, out, room)
        if size < 0:
            raise AssertionError(f"the dictionary of column {self.name} has no room ({size})")
        return own[:size].data if wide else memory.in_dictionary(size)

    def finish(
        self, library: ctypes.CDLL, memory: _Memory, at: int
    ) -> tuple[bytes, int, list[bytes | memoryview]]:
        """(its ColumnChunk for the footer, octets before compression, its octets), which begin at
        `at` of the file and are to be used before another row group is begun."""
        chunk = self.chunk
        pages: list[bytes | memoryview] = [
            memory.octets[self.pages_at : self.pages_at + chunk.pages_used]
        ]
        data_at, dictionary_at = at, None
        if self.dictionary:
            page = self._dictionary_page(library, memory)
            first: list[bytes | memoryview] = [page]
            if self.codec:
                first = self.pack(library, page, chunk.distinct, dictionary=True)
            data_at, dictionary_at = at + sum(map(len, first)), at
            pages = first + pages
        stored = sum(map(len, pages))
        fields = [
            (5, thrift.I64, thrift.integer(chunk.rows)),
            (6, thrift.I64, thrift.integer(chunk.raw)),
            (7, thrift.I64, thrift.integer(stored)),
            (9, thrift.I64, thrift.integer(data_at)),
        ]
        if dictionary_at is not None:
            fields.append((11, thrift.I64, thrift.integer(dictionary_at)))
        fields.append((12, thrift.STRUCT, self._statistics()))
        metadata = thrift.struct(
            [
                (2, thrift.I64, thrift.integer(at)),
                (3, thrift.STRUCT, thrift.struct(fields, self._always, 4)),
            ]
        )
        raw = chunk.raw
        self._fresh()
        return metadata, raw, pages

    def _statistics(self) -> bytes:
        chunk = self.chunk
        fields = [(3, thrift.I64, thrift.integer(chunk.nulls))]
        least = greatest = b""
        if self.text and self.encoding.measured and len(self._texts):
            least, greatest = (self._texts[n].as_py().encode() for n in self._extremes)
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
        self._library, self._sink, self._schema = library, sink, schema
        self._chunks = (native.CChunk * len(schema))()
        self._inputs = (native.CInput * len(schema))()
        self._columns = [
            _Column(chunk, field, encodings[field.name])
            for chunk, field in zip(self._chunks, schema, strict=True)
        ]
        self._elsewhere = [c for c in self._columns if c.codec or c.encoding.fallback]
        """Those of whose pages not all is left to the core."""
        self._memory: _Memory | None = None
        self._waiting: list[pa.Table] = []
        self._rows_waiting = self._rows = self._rows_total = 0
        self._groups: list[bytes] = []
        self._at = 0
        self._put(MAGIC)

    def write(self, table: pa.Table | Rows) -> None:
        """Append rows: the columns of the schema, in its order."""
        if isinstance(table, Rows):
            if not self._waiting and PAGE_ROWS <= table.num_rows <= MOST_ROWS:
                self._page_of(table)
                return
            table = table.table()
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
            kept = []
            for i, column in enumerate(self._columns):
                values = columns[i] if step >= rows else columns[i].slice(start, step)
                values, self._inputs[i] = column.lay_out(values)
                kept.append(values)
            self._page(ctypes.addressof(self._inputs), len(kept[0]))

    def _page_of(self, rows: Rows) -> None:
        """Make a page of each column, of rows as they lie."""
        columns, kept = rows.columns.copy(), []
        for i, column in enumerate(self._columns):
            if column.text:
                at, indices = column.indices_of(rows, i)
                columns["values"][i] = at
                kept.append(indices)
        self._page(columns.ctypes.data, rows.num_rows)

    def _page(self, inputs: int, rows: int) -> None:
        """Make a page of each column, which lie as the `CInput`s at an address say."""
        memory = self._memory = self._memory or _Memory(self._columns, rows)
        for column in self._elsewhere:
            column.last_at = column.chunk.pages_used
        done = self._library.flowpeer_pages(
            ctypes.addressof(self._chunks), inputs, len(self._columns), rows,
            memory.body, memory.body_size,
        )  # fmt: skip
        if done < 0:
            raise ValueError(f"rows that cannot be encoded ({done})")
        for column in self._elsewhere:
            column.fall_back()
            if column.codec:
                column.pack_last(self._library, memory, rows)
        self._rows += rows
        if self._rows >= ROW_GROUP_ROWS:
            self._finish_group()

    def _finish_group(self) -> None:
        start, total = self._at, 0
        columns, parts = [], []
        assert self._memory is not None
        self._memory.dictionaries_used = 0
        for column in self._columns:
            metadata, raw, pages = column.finish(self._library, self._memory, self._at)
            total += raw
            columns.append(metadata)
            parts += pages
            self._at += sum(map(len, pages))
        self._sink.writelines(parts)
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

    def _put(self, octets: bytes) -> None:
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
        self._put(footer + struct.pack("<I", len(footer)) + MAGIC)
        if self._memory is not None:
            self._memory.leave()
            self._memory = None


def _one(column: pa.ChunkedArray) -> pa.Array:
    """All values in one array; one of nothing but nulls has no octets to look at."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks()


def _plain_texts(library: ctypes.CDLL, texts: pa.Array) -> tuple[NDArray[np.uint8], list[int]]:
    """Texts as Parquet's plain values, and the numbers of the least and of the greatest one."""
    _, offsets, octets = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1]
    out = np.empty(int(ends[-1] - ends[0]) + 4 * len(texts), np.uint8)
    at, extremes = octets.address if octets else None, np.zeros(2, np.int64)
    done = library.flowpeer_texts(
        at, ends.ctypes.data, len(texts), out.ctypes.data, len(out), extremes.ctypes.data
    )
    if done < 0:
        raise AssertionError(f"texts whose ends are out of order ({done})")
    return out, extremes.tolist()


@lru_cache(64)
def _footer_of(schema: pa.Schema) -> dict[int, tuple[int, bytes]]:
    """The fields of the footer of an empty file: schema, key-values, creator, column orders."""
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    octets = sink.getvalue().to_pybytes()
    (size,) = struct.unpack("<I", octets[-8:-4])
    return thrift.ThriftReader(octets[-8 - size : -8]).fields()
