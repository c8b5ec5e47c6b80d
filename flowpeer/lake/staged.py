"""Files in the making: Parquet tables in the staging folder, and what the record says of them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from flowpeer.errors import naming
from flowpeer.lake.manifest import File
from flowpeer.schema import TRAFFIC, TRAFFIC_ROUTES
from flowpeer_core.columns import TableColumn, arrow_schema
from flowpeer_core.native.encodings import Encoding, usual
from flowpeer_core.native.rows import Rows
from flowpeer_core.native.writing import open_writer
from flowpeer_ingest.encoding import FLOWS_ENCODING
from flowpeer_ingest.schema import FLOWS

ASNS = {TRAFFIC: ("remote_asn",), TRAFFIC_ROUTES: ("origin_asn",)}
"""Roll-ups name networks in an order, so that differences take half the octets of a dictionary (a
sixth, for prefixes), and are read and written faster. Of their other columns dictionaries are best:
measured on 24 million flows of `bench/scale.py`."""
MOST_PARTS = 1_024
"""That one call writes (IOV_MAX of Linux)."""
SUMMED = ("bytes", "packets", "records", "datagrams", "received", "lost")


def encodings(columns: tuple[TableColumn, ...]) -> Mapping[str, Encoding]:
    """How the columns of a table are written."""
    if columns is FLOWS:
        return FLOWS_ENCODING
    return usual(arrow_schema(columns), delta=ASNS.get(columns, ()))


def exact_sum(column: pa.ChunkedArray) -> int:
    """The sum of an int64 column as a Python integer: pyarrow's own wraps silently."""
    import pyarrow.compute as pc

    extremes = pc.min_max(column)
    least, greatest = extremes["min"].as_py() or 0, extremes["max"].as_py() or 0
    if max(-least, greatest) * len(column) < 1 << 63:
        return pc.sum(column).as_py() or 0
    total = 0
    for chunk in column.chunks:
        values = chunk.fill_null(0).to_numpy(zero_copy_only=False)
        total += (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum(dtype=np.uint64))
    return total


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema, of its types but for texts, which may stay dictionaries."""
    columns = []
    for field in schema:
        column = table.column(field.name)
        coded = pa.types.is_dictionary(column.type) and column.type.value_type == field.type
        fits = coded or column.type == field.type
        columns.append(column if fits else column.cast(field.type))
    fields = [f.with_type(c.type) for f, c in zip(schema, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


class _Digested(io.BufferedWriter):
    """A file that is written from its beginning to its end, and the digest of that."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self.digest = hashlib.sha256()

    def write(self, octets: bytes | memoryview) -> int:  # type: ignore[override]
        self.digest.update(octets)
        return super().write(octets)

    def writelines(self, parts: Iterable[bytes | memoryview]) -> None:  # type: ignore[override]
        """The same of many: in large pieces, for which a file system takes half the time."""
        self.flush()
        left = [memoryview(part) for part in parts if len(part)]
        for part in left:
            self.digest.update(part)
        while left:
            done = os.writev(self.fileno(), left[:MOST_PARTS])
            while left and done >= len(left[0]):
                done -= len(left.pop(0))
            if done:
                left[0] = left[0][done:]


class StagedTable:
    """One Parquet file in the making: `write` tables to it, then `finish` or `discard` it."""

    def __init__(self, path: Path, columns: tuple[TableColumn, ...]) -> None:
        self.path = path
        self._schema = self._fitting = arrow_schema(columns)
        self._summed = [c.name for c in columns if c.name in SUMMED]
        self.rows = 0
        self.sums = dict.fromkeys(self._summed, 0)
        self._file = _Digested(path)
        self._writer = open_writer(self._file, self._schema, encodings(columns))

    def write(self, table: pa.Table | Rows) -> None:
        """Append the rows of `table`, which must have exactly the stated columns and types; texts
        may be dictionary-encoded."""
        seen = table.schema
        if not seen.equals(self._fitting):
            table = table.table() if isinstance(table, Rows) else table
            table = _fitted(table, self._schema)
            if table.schema.equals(seen):
                self._fitting = seen
        self.rows += table.num_rows
        for name in self._summed:
            self.sums[name] += (
                table.sums[name] if isinstance(table, Rows) else exact_sum(table.column(name))
            )
        with naming(self.path):
            self._writer.write(table)

    def close(self) -> None:
        """Complete the file."""
        with naming(self.path):
            self._writer.close()
            self._file.close()

    def finish(self, relative: str) -> File:
        """Complete and sync the file, still in the staging folder, as it will stand at a path.
        `{digest}` in it becomes the first 16 digits of its digest."""
        self.close()
        return described(self.path, relative, self.rows, self.sums, self.sha256)

    @property
    def sha256(self) -> str:
        """The digest of the complete file."""
        return self._file.digest.hexdigest()

    def discard(self) -> None:
        """Drop the unfinished file."""
        with suppress(OSError):  # no room for what it still holds
            self._file.close()
        self.path.unlink(missing_ok=True)


def described(
    path: Path, relative: str, rows: int, sums: Mapping[str, int], digest: str = ""
) -> File:
    """A finished file, synced, as the record will name it. `digest`: its SHA-256 if it is known."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = digest or hashlib.file_digest(file, "sha256").hexdigest()
    return File(
        relative.replace("{digest}", digest[:16]), rows, path.stat().st_size, digest, dict(sums)
    )
