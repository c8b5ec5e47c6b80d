"""Tables of the lake as Iceberg tables, for engines that read these: a copy, in a folder.

DIR/traffic/metadata/v2.metadata.json, version-hint.text beside it, and DIR/traffic/data/date=…: the
layout of Iceberg's file-system catalog, which engines open by the folder's path; no service is
needed. A table that is there gets a new version with what is exported now, and readers of the
version before keep theirs. Partitioned tables are so by `date`. Addresses stay fixed[16].

pyiceberg's own SQL catalog needs SQLAlchemy and a database beside the files, for one thing that a
rename does as well: to say which version is the present one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import load_file_io
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import assign_fresh_schema_ids
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import TableRequirement, TableUpdate, update_table_metadata
from pyiceberg.transforms import IdentityTransform

from flowpeer import catalog
from flowpeer.errors import InputError, NoDataError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.schema import CONFIGURED, PARTITIONED, TABLES
from flowpeer_core.columns import arrow_schema

HINT = "version-hint.text"
BATCH_ROWS = 4_000_000
"""Rows of one file, about: hours are put together up to that."""


@dataclass(frozen=True)
class ExportedTable:
    """One table that was exported."""

    table: str
    path: Path
    rows: int
    version: int


def export(
    network: Configuration,
    lake: Lake,
    folder: Path,
    tables: Sequence[str],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[ExportedTable]:
    """Write tables into `folder`, one after the other; of partitioned ones the hours that overlap
    [start, end).

    Raises:
        NoDataError: a table has nothing in that time.
        UsageError: no such table; a folder that holds something else, or other columns.
        InputError: the folder cannot be written.
    """
    if unknown := sorted(set(tables) - set(TABLES)):
        raise UsageError(
            f"no table {', '.join(unknown)} in the lake", advice="see `flowpeer sql --list`"
        )
    configured = network.tables()
    for name in tables:
        schema = _schema(name)
        path = (folder / name).absolute()
        limited = name in PARTITIONED and (start is not None or end is not None)
        if limited and not lake.record().headers(name, start=start, end=end):
            raise NoDataError(
                f"no {name} in that period", advice="see what is there: `flowpeer status`"
            )
        try:
            present = _Present(path, schema, partitioned=name in PARTITIONED)
            rows = 0
            with present.table.transaction() as transaction:
                if present.table.metadata.current_snapshot_id is not None:
                    transaction.delete(AlwaysTrue())
                for part in _parts(lake, name, configured, start, end):
                    transaction.append(part.cast(schema))
                    rows += part.num_rows
        except OSError as error:
            raise InputError(str(path), error.strerror or str(error)) from error
        yield ExportedTable(name, path, rows, present.version)


def _schema(name: str) -> pa.Schema:
    schema = arrow_schema(TABLES[name])
    if name in PARTITIONED:
        schema = schema.append(pa.field("date", pa.date32())).append(pa.field("hour", pa.int32()))
    return pa.schema([pa.field(f.name, f.type) for f in schema])


def _parts(
    lake: Lake,
    name: str,
    configured: dict[str, pa.Table],
    start: datetime | None,
    end: datetime | None,
) -> Iterator[pa.Table]:
    if name in CONFIGURED:
        yield configured[name].select([column.name for column in TABLES[name]])
        return
    if name not in PARTITIONED:
        yield _arrow(catalog.scan(lake.root, name).collect(), name)
        return
    waiting: list[pa.Table] = []
    for hour in sorted(lake.record().headers(name, start=start, end=end)):
        frame = catalog.scan(lake.root, name, start=hour, end=hour + timedelta(hours=1)).collect()
        waiting.append(_arrow(frame, name))
        if sum(part.num_rows for part in waiting) >= BATCH_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _arrow(frame: pl.DataFrame, name: str) -> pa.Table:
    """A frame with the stated types; Polars knows no octets of a fixed length."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    columns = []
    for field in _schema(name):
        column = table[field.name]
        if pa.types.is_fixed_size_binary(field.type):
            column = column.cast(pa.binary())
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=_schema(name))


class _Present(NoopCatalog):  # type: ignore[misc]
    """The catalog of one table in a folder: its present version, and how it gets another."""

    def __init__(self, path: Path, schema: pa.Schema, *, partitioned: bool) -> None:
        super().__init__("flowpeer")
        self._metadata = path / "metadata"
        self._io = load_file_io({}, str(path))
        hint = self._metadata / HINT
        if hint.is_file():
            self.version = self._hinted(hint)
            found = self._read(schema)
        elif path.exists() and any(path.iterdir()):
            raise UsageError(f"{path} holds something else", advice="choose another folder")
        else:
            self.version = 1
            self._metadata.mkdir(parents=True, exist_ok=True)
            found = self._new(path, schema, partitioned=partitioned)
            self._write(found)
        self.table = Table(("flowpeer", path.name), found, self._file(), self._io, self)

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """The next version of the table, which is the present one from its rename on."""
        for requirement in requirements:
            requirement.validate(table.metadata)
        made = update_table_metadata(
            base_metadata=table.metadata, updates=updates, metadata_location=self._file()
        )
        self.version += 1
        self._write(made)
        return CommitTableResponse(metadata=made, metadata_location=self._file())

    def _file(self) -> str:
        return str(self._metadata / f"v{self.version}.metadata.json")

    @staticmethod
    def _hinted(hint: Path) -> int:
        text = hint.read_text("ascii", errors="replace").strip()
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise InputError(str(hint), f"{text[:40]!r} is no version")
        return int(text)

    def _read(self, schema: pa.Schema) -> TableMetadata:
        found = FromInputFile.table_metadata(self._io.new_input(self._file()))
        have = [(f.name, str(f.field_type)) for f in found.schema().fields]
        want = [(f.name, str(f.field_type)) for f in _fields(schema).fields]
        if have != want:
            raise UsageError(
                f"{self._metadata.parent} has other columns",
                advice="it is of another version: remove it, or choose another folder",
            )
        return found

    def _new(self, path: Path, schema: pa.Schema, *, partitioned: bool) -> TableMetadata:
        fields, spec = _fields(schema), UNPARTITIONED_PARTITION_SPEC
        if partitioned:
            by = fields.find_field("date").field_id
            spec = PartitionSpec(
                PartitionField(
                    source_id=by, field_id=1000, transform=IdentityTransform(), name="date"
                )
            )
        return new_table_metadata(
            schema=fields, partition_spec=spec, sort_order=UNSORTED_SORT_ORDER, location=str(path),
            properties={"write.parquet.compression-codec": "zstd"},
        )  # fmt: skip

    def _write(self, metadata: TableMetadata) -> None:
        ToOutputFile.table_metadata(metadata, self._io.new_output(self._file()), overwrite=True)
        fresh = self._metadata / f".{HINT}"
        fresh.write_text(f"{self.version}\n")
        fresh.replace(self._metadata / HINT)


def _fields(schema: pa.Schema):  # type: ignore[no-untyped-def]
    return assign_fresh_schema_ids(Catalog._convert_schema_if_needed(schema))
