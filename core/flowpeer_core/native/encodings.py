"""How each column of a file is encoded, stated once for both writers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

PLAIN, DELTA, DICTIONARY = "plain", "delta", "dictionary"
DICTIONARY_OCTETS = 4 << 20
"""For pyarrow, so that a dictionary is never given up half way; a row group's fit."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a column is written: `how` is plain, delta or dictionary; `codec` none, zstd, lz4_raw.

    `measured`: the least and greatest value stand in the footer, for readers that skip row groups.
    `fallback`: plain in a row group where more than half of the first page's values differ.
    """

    how: str
    codec: str = "none"
    measured: bool = True
    fallback: bool = False


def usual(schema: pa.Schema, *, delta: Collection[str] = ()) -> dict[str, Encoding]:
    """For most tables: dictionaries under zstd, as pyarrow does, of real numbers while they repeat.
    Differences of the columns `delta`."""
    return {
        f.name: Encoding(
            DELTA if f.name in delta else DICTIONARY, "zstd", fallback=pa.types.is_floating(f.type)
        )
        for f in schema
    }


def pyarrow_options(encodings: Mapping[str, Encoding]) -> dict[str, Any]:
    """The same as arguments of `pyarrow.parquet.ParquetWriter`."""
    return {
        "use_dictionary": [n for n, e in encodings.items() if e.how == DICTIONARY],
        "column_encoding": {
            n: "DELTA_BINARY_PACKED" for n, e in encodings.items() if e.how == DELTA
        },
        "compression": {
            n: {"none": "NONE", "zstd": "ZSTD", "lz4_raw": "LZ4"}[e.codec]
            for n, e in encodings.items()
        },
        "write_statistics": [n for n, e in encodings.items() if e.measured],
        "dictionary_pagesize_limit": DICTIONARY_OCTETS,
        "write_page_checksum": True,
    }
