"""Files of the compiled Parquet writer are read back equal by others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer.lake.staged import encodings as encodings_of
from flowpeer.schema import TABLES
from flowpeer_core.columns import arrow_schema
from flowpeer_core.native import library, parquet
from flowpeer_core.native.encodings import DELTA, DICTIONARY, PLAIN, Encoding
from flowpeer_core.native.rows import INPUT, Rows
from flowpeer_core.native.writing import open_writer

NATIVE = library()
pytestmark = pytest.mark.skipif(NATIVE is None, reason="built without the compiled core")

WHOLE = (pa.int32(), pa.int64(), pa.timestamp("us", tz="UTC"))
TYPES = (*WHOLE, pa.float64(), pa.bool_(), pa.binary(16), pa.string())


def written(table: pa.Table, encodings: dict[str, Encoding], *, step: int = 1 << 30) -> bytes:
    sink = io.BytesIO()
    assert NATIVE is not None
    writer = parquet.Writer(NATIVE, sink, table.schema, encodings)
    for at in range(0, table.num_rows, step):
        writer.write(table.slice(at, step))
    writer.close()
    return sink.getvalue()


def same(found: pa.Table, wanted: pa.Table) -> None:
    assert found.column_names == wanted.column_names
    for name in wanted.column_names:
        column = wanted[name].combine_chunks()
        assert found[name].combine_chunks().cast(column.type).equals(column), name


def read_by_all(octets: bytes, table: pa.Table, folder: Path) -> None:
    """pyarrow (with CRCs), DuckDB and Polars see the table."""
    path = folder / "one.parquet"
    path.write_bytes(octets)
    read = pq.read_table(path, page_checksum_verification=True)
    assert read.schema.equals(table.schema, check_metadata=True)
    assert read.equals(table)
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        same(con.sql(f"select * from '{path}'").to_arrow_table(), table)
    same(pl.read_parquet(path).to_arrow(), table)


def values(type_: pa.DataType, rng: np.random.Generator, n: int, spread: int) -> Any:
    """`n` values of a type; `spread`: bits that they differ in."""
    bits = min(spread, 30 if type_ == pa.int32() else 62)
    whole = rng.integers(-(1 << bits), 1 << bits, n)
    if type_ in (pa.int32(), pa.date32()):
        return whole.astype(np.int32)
    if type_ == pa.float64():
        return whole / 8
    if type_ == pa.bool_():
        return whole % 2 == 0
    if type_ == pa.binary(16):
        return [int(v).to_bytes(16, "big", signed=True) for v in whole]
    if type_ == pa.string():
        return [f"ü{v}" for v in whole % 1_000]
    return whole


@pytest.mark.parametrize("how", [PLAIN, DELTA, DICTIONARY])
@pytest.mark.parametrize(
    ("rows", "nulls", "spread", "step"),
    [
        (0, 0.0, 8, 1),
        (1, 0.0, 8, 1),
        (1, 1.0, 8, 1),
        (257, 0.5, 62, 7),
        (40_000, 0.1, 3, 9_999),
        (40_000, 0.0, 40, 16_384),
        (170_000, 0.02, 14, 30_001),
        (20_000, 1.0, 8, 20_000),
        (4_096, 0.0, 62, 1_000),  # all different, in the small tables of a dictionary
        (4_097, 0.0, 62, 4_097),
    ],
)
def test_what_is_written_is_read_back_equal(
    how: str, rows: int, nulls: float, spread: int, step: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(rows + spread)
    table = pa.table(
        {
            f"c{i}": pa.array(values(t, rng, rows, spread), t, mask=rng.random(rows) < nulls)
            for i, t in enumerate(TYPES)
        }
    )
    encodings = {
        f.name: Encoding(PLAIN if how == DELTA and f.type not in WHOLE else how, codec)
        for f, codec in zip(table.schema, ("none", "zstd", "lz4_raw") * 3, strict=False)
    }
    read_by_all(written(table, encodings, step=step), table, tmp_path)


@given(
    st.lists(
        st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-3, 3)),
        max_size=300,
    ),
    st.sampled_from([PLAIN, DELTA, DICTIONARY]),
    st.sampled_from(["none", "lz4_raw", "zstd"]),
    st.integers(0, 20),
)
def test_whole_numbers_of_any_size_and_runs(
    rows: list[int | None], how: str, codec: str, repeat: int
) -> None:
    long = [v for v in rows for _ in range(repeat if v == 3 else 1)]
    narrow = [None if v is None else (v + (1 << 31)) % (1 << 32) - (1 << 31) for v in long]
    table = pa.table({"a": pa.array(long, pa.int64()), "b": pa.array(narrow, pa.int32())})
    octets = written(table, {"a": Encoding(how, codec), "b": Encoding(how, codec)}, step=101)
    assert pq.read_table(io.BytesIO(octets), page_checksum_verification=True).equals(table)
    footer = pq.read_metadata(io.BytesIO(octets))
    if [v for v in long if v is not None] and footer.num_row_groups == 1:
        known = footer.row_group(0).column(0).statistics
        some = [v for v in long if v is not None]
        assert (known.min, known.max) == (min(some), max(some))
        assert known.null_count == long.count(None)


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 400)), max_size=20))
def test_octets_of_any_kind_are_blocks_of_lz4(parts: list[tuple[bytes, int]]) -> None:
    octets = b"".join(part * times for part, times in parts)
    values = [octets[at : at + 16] for at in range(0, len(octets) // 16 * 16, 16)]
    table = pa.table({"a": pa.array(values, pa.binary(16))})
    for how in (PLAIN, DICTIONARY):
        read = pq.read_table(
            io.BytesIO(written(table, {"a": Encoding(how, "lz4_raw")})),
            page_checksum_verification=True,
        )
        assert read.equals(table)


def test_a_block_is_smaller_by_what_repeats() -> None:
    rng = np.random.default_rng(7)
    noise = [rng.bytes(16) for _ in range(3_000)]
    table = pa.table({"a": pa.array(noise * 3, pa.binary(16))})
    ours = len(written(table, {"a": Encoding(PLAIN, "lz4_raw")}))
    theirs = pa.Codec("lz4_raw").compress(b"".join(noise * 3)).size
    assert theirs * 0.98 < ours < theirs * 1.02 + 1_000


@given(
    st.lists(st.tuples(st.integers(0, 7), st.binary(min_size=4, max_size=4)), max_size=60),
    st.booleans(),
)
def test_dictionaries_of_addresses_are_blocks_of_lz4(
    parts: list[tuple[int, bytes]], other: bool
) -> None:
    values, last = [], bytes(4)
    for same, octets in parts:  # addresses that begin like the one before
        last = (last[:same] + octets)[:4]
        values.append(bytes(10) + b"\xff\xff" + last)
    if other:
        values.insert(len(values) // 2, bytes(range(16)))
    table = pa.table({"a": pa.array(values, pa.binary(16))})
    octets = written(table, {"a": Encoding(DICTIONARY, "lz4_raw")})
    assert pq.read_table(io.BytesIO(octets), page_checksum_verification=True).equals(table)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_of_the_lake_is_covered(name: str, tmp_path: Path) -> None:
    schema = arrow_schema(TABLES[name])
    assert parquet.covers(schema)
    rng = np.random.default_rng(1)
    table = pa.Table.from_arrays(
        [
            pa.array(
                values(f.type, rng, 500, 9), f.type,
                mask=(rng.random(500) < 0.3) if f.nullable else None,
            )
            for f in schema
        ],
        schema=schema,
    )  # fmt: skip
    encodings = encodings_of(TABLES[name])
    octets = written(table, encodings)
    read_by_all(octets, table, tmp_path)
    sink = io.BytesIO()
    reference = open_writer(sink, schema, encodings, reference=True)
    reference.write(table)
    reference.close()
    ours, theirs = pq.ParquetFile(io.BytesIO(octets)), pq.ParquetFile(sink)
    assert ours.schema.equals(theirs.schema)
    assert ours.metadata.metadata == theirs.metadata.metadata
    for i in range(len(schema)):
        one, other = (f.metadata.row_group(0).column(i) for f in (ours, theirs))
        assert (one.physical_type, one.compression) == (other.physical_type, other.compression)
        if one.statistics.has_min_max and other.statistics and other.statistics.has_min_max:
            assert one.statistics.min == other.statistics.min
            assert one.statistics.max == other.statistics.max


def test_dictionary_encoded_texts_may_come_with_other_dictionaries(tmp_path: Path) -> None:
    parts = [["a", "b", None], ["c", "b", "b"], [None], ["a"] * 50]
    table = pa.table({"t": pa.array([x for p in parts for x in p], pa.string())})
    sink = io.BytesIO()
    assert NATIVE is not None
    writer = parquet.Writer(NATIVE, sink, table.schema, {"t": Encoding(DICTIONARY)})
    for part in parts:
        writer.write(pa.table({"t": pa.array(part, pa.string()).dictionary_encode()}))
    writer.close()
    read_by_all(sink.getvalue(), table, tmp_path)


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4_raw"])
def test_a_dictionary_of_what_does_not_repeat_is_given_up(codec: str, tmp_path: Path) -> None:
    rng, half = np.random.default_rng(3), parquet.ROW_GROUP_ROWS
    repeats, differs = rng.integers(1_000, size=half) / 7, rng.random(half)
    table = pa.table({
        "first": pa.array(np.append(repeats, differs)),
        "then": pa.array(np.append(differs, repeats), mask=rng.random(2 * half) < 0.1),
    })  # fmt: skip
    how = Encoding(DICTIONARY, codec, fallback=True)
    octets = written(table, dict.fromkeys(table.schema.names, how), step=parquet.PAGE_ROWS)
    read_by_all(octets, table, tmp_path)
    metadata = pq.ParquetFile(io.BytesIO(octets)).metadata
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    coded = [["RLE_DICTIONARY" in g.column(n).encodings for n in (0, 1)] for g in groups]
    assert coded == [[True, False], [False, True]]


@pytest.mark.parametrize("how", [PLAIN, DELTA, DICTIONARY])
def test_of_a_column_of_one_value_the_first_is_enough(how: str, tmp_path: Path) -> None:
    types = (pa.int32(), pa.int64(), *(() if how == DELTA else (pa.binary(16),)))
    schema = pa.schema([pa.field(f"c{i}", t) for i, t in enumerate(types)])
    first = [np.frombuffer(bytes(range(7, 7 + t.byte_width)), np.uint8) for t in types]
    columns = np.zeros(len(types), INPUT)
    columns["values"] = [value.ctypes.data for value in first]
    columns["width"], columns["same"] = [t.byte_width for t in types], 1
    rows = Rows(schema, 40_000, columns, {}, {}, 0, (first,))
    sink = io.BytesIO()
    assert NATIVE is not None
    writer = parquet.Writer(NATIVE, sink, schema, {n: Encoding(how) for n in schema.names})
    writer.write(rows)
    writer.close()
    value = [f.tobytes() for f in first]
    wanted = [int.from_bytes(v, "little") if len(v) < 16 else v for v in value]
    table = pa.Table.from_arrays(
        [pa.array([v] * 40_000, t) for v, t in zip(wanted, types, strict=True)], schema=schema
    )
    read_by_all(sink.getvalue(), table, tmp_path)
    assert rows.table().equals(table)


def test_of_a_column_of_one_bool_the_first_is_enough(tmp_path: Path) -> None:
    schema = pa.schema([pa.field(name, pa.bool_(), nullable=False) for name in "yn"])
    first, columns = np.array([1, 0], np.uint8), np.zeros(2, INPUT)
    columns["values"] = [first.ctypes.data, first[1:].ctypes.data]
    columns["width"], columns["same"] = 1, 1
    rows = Rows(schema, 40_003, columns, {}, {}, 0, (first,))
    sink = io.BytesIO()
    assert NATIVE is not None
    writer = parquet.Writer(NATIVE, sink, schema, {n: Encoding(PLAIN) for n in schema.names})
    writer.write(rows)
    writer.close()
    table = pa.table([[True] * 40_003, [False] * 40_003], schema=schema)
    read_by_all(sink.getvalue(), table, tmp_path)
    assert rows.table().equals(table)


def test_files_that_are_written_at_once_share_no_memory() -> None:
    rng = np.random.default_rng(7)
    tables = [
        pa.table({"a": rng.integers(0, 1 << 40, 70_000), "b": rng.integers(0, 999, 70_000)})
        for _ in range(3)
    ]
    encodings = {"a": Encoding(DICTIONARY), "b": Encoding(DELTA)}
    assert written(tables[0], encodings) == written(tables[0], encodings)  # leaves some
    assert NATIVE is not None
    sinks = [io.BytesIO() for _ in tables]
    writers = [parquet.Writer(NATIVE, s, tables[0].schema, encodings) for s in sinks]
    for part in (slice(0, 35_000), slice(35_000, 70_000)):
        for writer, table in zip(writers, tables, strict=True):
            writer.write(table[part])
    for writer in writers:
        writer.close()
    for sink, table in zip(sinks, tables, strict=True):
        assert sink.getvalue() == written(table, encodings, step=35_000)
        assert pq.read_table(sink, page_checksum_verification=True).equals(table)


def test_a_page_that_no_reader_could_hold_is_refused() -> None:
    assert NATIVE is not None
    chunk = parquet.native.CChunk(type=parquet.native.INT64, page_rows=10)
    import ctypes

    at = ctypes.addressof(chunk)
    out = (ctypes.c_uint8 * 8)()
    rows = (ctypes.c_int64 * 11)()
    where = ctypes.addressof(rows)
    assert NATIVE.flowpeer_page(at, where, 0, 0, 0, 11, out, 8) == parquet.native.ARGUMENT
    assert NATIVE.flowpeer_page(at, 0, 0, 0, 0, 1, out, 8) == parquet.native.ARGUMENT
    assert NATIVE.flowpeer_page(at, where, 0, 0, 0, 2, out, 8) == parquet.native.NO_ROOM
