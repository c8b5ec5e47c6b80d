"""Addresses read back by the compiled core, against pyarrow."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowpeer_core.native import library
from flowpeer_core.native.addresses import read_addresses
from flowpeer_core.native.encodings import DICTIONARY, PLAIN, Encoding
from flowpeer_core.native.writing import open_writer

CORE = library()
pytestmark = pytest.mark.skipif(CORE is None, reason="built without the compiled core")
SCHEMA = pa.schema([("a", pa.binary(16))])


def written(values: pa.Array, encoding: Encoding, *, reference: bool = False) -> bytes:
    sink = io.BytesIO()
    writer = open_writer(sink, SCHEMA, {"a": encoding}, reference=reference)
    writer.write(pa.table([values], schema=SCHEMA))
    writer.close()
    return sink.getvalue()


def back(octets: bytes) -> list[pa.Array | None]:
    """The column of each row group."""
    assert CORE is not None
    groups = pq.ParquetFile(io.BytesIO(octets)).metadata
    chunks = (groups.row_group(n).column(0) for n in range(groups.num_row_groups))
    return [read_addresses(CORE, io.BytesIO(octets), chunk) for chunk in chunks]


def some(rows: int, distinct: int) -> pa.Array:
    """Runs and noise of so many addresses of both families."""
    dice = random.Random(rows + distinct)
    known = [dice.randbytes(16) if n % 3 else b"\0" * 10 + b"\xff\xff" + dice.randbytes(4)
             for n in range(distinct)]  # fmt: skip
    made: list[bytes] = []
    while len(made) < rows:
        made += [dice.choice(known)] * dice.choice([1, 1, 1, 1, 2, 9, 40])
    return pa.array(made[:rows], pa.binary(16))


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("codec", ["none", "lz4_raw"])
@pytest.mark.parametrize(
    ("rows", "distinct"), [(1, 1), (7, 1), (8, 3), (100, 2), (1_001, 900), (200_001, 70_000)]
)
def test_they_are_what_pyarrow_reads(rows: int, distinct: int, codec: str, reference: bool) -> None:
    octets = written(some(rows, distinct), Encoding(DICTIONARY, codec), reference=reference)
    found = back(octets)
    assert None not in found
    assert pa.chunked_array(found).equals(pq.read_table(io.BytesIO(octets))["a"])


def test_what_is_written_otherwise_is_left_to_pyarrow() -> None:
    nulls = pa.array([b"a" * 16, None], pa.binary(16))
    assert back(written(nulls, Encoding(DICTIONARY))) == [None]
    assert back(written(some(9, 3), Encoding(PLAIN), reference=True)) == [None]
    assert back(written(some(9, 3), Encoding(DICTIONARY, "zstd"))) == [None]
    sink, table = io.BytesIO(), pa.table([some(90_000, 9_000)], schema=SCHEMA)
    pq.write_table(  # which gives the dictionary up
        table, sink, compression="none", data_page_size=9_000, dictionary_pagesize_limit=900
    )
    assert back(sink.getvalue()) == [None]


@pytest.mark.parametrize("codec", ["none", "lz4_raw"])
def test_an_octet_that_changed_is_noticed(codec: str) -> None:
    octets = written(some(300, 40), Encoding(DICTIONARY, codec))
    chunk = pq.ParquetFile(io.BytesIO(octets)).metadata.row_group(0).column(0)
    begin = chunk.dictionary_page_offset
    before, refused = back(octets)[0], 0
    for at in range(begin, begin + chunk.total_compressed_size):
        damaged = bytearray(octets)
        damaged[at] ^= 1 << at % 8
        try:  # a bit of a header that nobody looks at makes no difference
            assert read_addresses(CORE, io.BytesIO(damaged), chunk) in (before, None)  # type: ignore[arg-type]
        except OSError as error:
            refused += "damaged" in str(error)
    assert refused > chunk.total_compressed_size * 0.9


def test_octets_of_any_kind_are_refused_or_give_rows_of_the_dictionary() -> None:
    assert CORE is not None
    dice = random.Random(4)
    entries = np.arange(160, dtype=np.uint8)
    good = bytes([2, 0, 0, 0, 3, 1, 4, 3]) + dice.randbytes(3) + bytes([200, 1, 9])
    outcomes: dict[Any, int] = {}
    for _ in range(3_000):
        page = bytearray(good if dice.random() < 0.5 else dice.randbytes(dice.randrange(20)))
        if page:
            page[dice.randrange(len(page))] = dice.randrange(256)
        octets, out = np.frombuffer(bytes(page), np.uint8), np.full((100, 16), 255, np.uint8)
        rows = CORE.flowpeer_addresses(
            octets.ctypes.data, len(octets), entries.ctypes.data, 10, 100, out.ctypes.data
        )
        outcomes[rows] = outcomes.get(rows, 0) + 1
        if rows >= 0:
            assert (out[:, 0] % 16 == 0).all()
            assert (out[:, 0] < 160).all()
    assert set(outcomes) == {-2, 100}
