"""Opening a Parquet file for writing: by the compiled core, or by pyarrow where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from flowpeer_core.native import library
from flowpeer_core.native.encodings import Encoding, pyarrow_options
from flowpeer_core.native.parquet import ROW_GROUP_ROWS, Writer, covers
from flowpeer_core.native.rows import Rows


class TableWriter(Protocol):
    """Takes tables of one schema; the file is complete once `close` has returned."""

    def write(self, table: pa.Table | Rows) -> None: ...

    def close(self) -> None: ...


class _Reference:
    """pyarrow's own writer, which the tests hold the other against."""

    def __init__(
        self, sink: BinaryIO, schema: pa.Schema, encodings: Mapping[str, Encoding]
    ) -> None:
        import pyarrow.parquet as pq

        self._schema = schema
        options: dict[str, Any] = pyarrow_options(encodings)
        self._writer = pq.ParquetWriter(sink, schema, **options)

    def write(self, table: pa.Table | Rows) -> None:
        table = table.table() if isinstance(table, Rows) else table
        if not table.schema.equals(self._schema):
            table = table.cast(self._schema)
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def close(self) -> None:
        self._writer.close()


def open_writer(
    sink: BinaryIO,
    schema: pa.Schema,
    encodings: Mapping[str, Encoding],
    *,
    reference: bool = False,
) -> TableWriter:
    """A writer of tables with the columns of `schema` in its order, texts plain or
    dictionary-encoded. The caller closes `sink`. `reference`: pyarrow's own writer."""
    found = None if reference else library()
    if found is None or not covers(schema):
        return _Reference(sink, schema, encodings)
    return Writer(found, sink, schema, encodings)
