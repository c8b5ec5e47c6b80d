"""The lake as tables: what SQL reads them with, a catalog file for other programs, Polars scans.

A relation stands for every table of `flowpeer.schema.TABLES`, with its columns in the stated
order; partitioned tables have `date` (DATE) and `hour` (INTEGER) of their folder after them. A
table without files is an empty relation of the same types. Times are TIMESTAMP WITH TIME ZONE in
DuckDB, in Polars and in the files, and the zone is UTC.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

import flowpeer_sql
from flowpeer import __version__
from flowpeer.engine import begin, escape, literal, told
from flowpeer.errors import InputError, UsageError
from flowpeer.lake import older_layouts
from flowpeer.lake.listing import Groups, files_by_layout
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.schema import CONFIGURED, CROSSINGS, FORMAT, PARTITIONED, TABLES
from flowpeer_core.columns import TableColumn, arrow_schema

STORAGE_VERSION = "v1.5.0"
"""Of a written catalog: DuckDB 1.5 and later open it."""

if TYPE_CHECKING:
    import polars as pl

_NONE: Mapping[str, pa.Table] = MappingProxyType({})


def write_catalog(
    path: Path, lake_root: Path, *, configured: Mapping[str, pa.Table] = _NONE
) -> None:
    """A `.duckdb` file for other programs: views over the lake, macros and questions.

    Paths start with the lake's place as of now, or with the variable `lake` where it is set (SET
    VARIABLE lake = '/mnt/lake'): so it works after the lake was moved, or from another mount. The
    view `about_catalog` says what made it, and the DuckDB that it needs. It replaces `path` in one
    step, so that whoever has the old file open keeps it whole. It has the files of now: after
    `rollup` and `compact` it is to be written again (`pipeline.rollup.renew_catalog`).

    Raises:
        InputError: a file of the lake that cannot be read, or a place that cannot be written.
    """
    root = lake_root.resolve()
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            made = Path(folder) / "catalog.duckdb"
            con = duckdb.connect(
                str(made), config={"storage_compatibility_version": STORAGE_VERSION}
            )
            try:
                _define(con, root, configured_rows(configured))
                con.execute(
                    f"CREATE VIEW about_catalog AS SELECT {literal(__version__)} AS flowpeer,"
                    f" {literal(STORAGE_VERSION.removeprefix('v'))} AS needs_duckdb,"
                    f" {literal(str(root))} AS lake"
                )
            finally:
                con.close()
            with made.open("rb+") as file:
                os.fsync(file.fileno())
            made.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(str(path), f"the catalog cannot be written: {reason}") from error
    folder_fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def scan(
    lake_root: Path,
    table: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.LazyFrame:
    """A Polars scan of `table` with its stated columns, then `date` and `hour` where partitioned.

    `start` (inclusive) and `end` (exclusive) choose the hours whose files are read; rows inside
    an hour are not filtered. Times without a zone are UTC. Without files: an empty frame.

    Raises:
        UsageError: no such table.
    """
    if table not in TABLES:
        raise UsageError(f"no table {table!r} in the lake", advice="see `flowpeer sql --list`")
    import polars as pl

    root = lake_root.resolve()
    stated = _polars_schema(TABLES[table])
    partitioned = table in PARTITIONED
    hive: dict[str, pl.DataType] = {"date": pl.Date(), "hour": pl.Int32()}
    wanted = {**stated, **hive} if partitioned else stated
    found = files_by_layout(Lake(root).record(), table, start=start, end=end)
    if not found:
        return pl.LazyFrame(schema=wanted)
    # A folder above the lake may be called a=b; Polars would have it a partition too.
    above: dict[str, pl.DataType] = {
        part.partition("=")[0]: pl.String() for part in root.parts if "=" in part
    }
    options: dict[str, Any] = {"hive_partitioning": partitioned}
    if partitioned:
        options |= {"hive_schema": {**above, **hive}, "also": tuple(hive)}
    frames = [older_layouts.scan(files, table, number, **options) for number, files in found]
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _polars_schema(columns: tuple[TableColumn, ...]) -> dict[str, pl.DataType]:
    import polars as pl

    empty = pl.from_arrow(arrow_schema(columns).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return dict(empty.schema)


def _define(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    configured: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Every table, view and macro."""
    begin(con)
    record = Lake(root).record()
    for name in TABLES:
        with told("", where=root / name):
            if name in configured:
                con.execute(
                    f'CREATE TABLE "{name}" AS'  # noqa: S608 (a name of ours)
                    " SELECT unnest(r) FROM (SELECT unnest(from_json_strict(?, ?)) AS r)",
                    [json.dumps(configured[name], default=str), json.dumps([kinds(name)])],
                )
                continue
            text = relation(record, name).replace(
                literal(escape(str(root)) + "/")[:-1],
                f"coalesce(getvariable('lake'), {literal(str(root))}) || '/",
            )
            con.execute(f'CREATE VIEW "{name}" AS {text}')
    with told("", where=root):
        con.execute(f"CREATE VIEW crossings AS {crossings([])}")  # for flowpeer to fill
        for script in (*flowpeer_sql.views(), *flowpeer_sql.macros()):
            con.execute(script.sql)


def kinds(name: str) -> dict[str, str]:
    """The columns of a table with their types in SQL."""
    return {c.name: _sql_type(c) for c in TABLES[name]}


def configured_rows(configured: Mapping[str, pa.Table]) -> dict[str, list[dict[str, Any]]]:
    """Tables of the configuration as rows with the stated columns.

    Raises:
        UsageError: a table that is none of them, or lacks a column.
    """
    if unknown := sorted(set(configured) - set(CONFIGURED)):
        raise UsageError(f"no table that a configuration makes: {', '.join(unknown)}")
    found = {}
    for name, table in configured.items():
        schema = arrow_schema(CONFIGURED[name])
        try:
            found[name] = table.select(schema.names).cast(schema).to_pylist()
        except (KeyError, pa.ArrowInvalid) as error:
            raise UsageError(f"table {name} is not as stated: {error}") from error
    return found


def relation(record: Record, name: str) -> str:
    """The SELECT of a table over the files that are there now.

    A pattern will not do: files that were merged or rolled up again lie beside the new ones until
    the grace is over, and would be counted twice; and DuckDB passes over what goes between listing
    and opening, so that an hour would be missing.

    Raises:
        InputError: a manifest that cannot be read.
    """
    return _listed(name, files_by_layout(record, name))


def crossings(files: Sequence[Path]) -> str:
    """The SELECT of `crossings` over files of them."""
    if not files:
        empty = ", ".join(f"NULL::{_sql_type(c)} AS {c.name}" for c in CROSSINGS)
        return f"SELECT {empty} WHERE false"
    names = ", ".join(literal(escape(str(file))) for file in files)
    cells = ", ".join(f"r.{c.name}" for c in CROSSINGS)
    return f"SELECT {cells} FROM read_parquet([{names}], hive_partitioning = false) AS r"  # noqa: S608


def _listed(name: str, groups: Groups) -> str:
    """The SELECT of a table over some files."""
    if groups:
        parts = (
            _reading(name, number, f"[{', '.join(literal(escape(str(f))) for f in files)}]")
            for number, files in groups
        )
        return " UNION ALL ".join(parts)
    empty = [f"NULL::{_sql_type(c)} AS {c.name}" for c in TABLES[name]]
    if name in PARTITIONED:
        empty += ["NULL::DATE AS date", "NULL::INTEGER AS hour"]
    return f"SELECT {', '.join(empty)} WHERE false"


def _reading(name: str, number: int, files: str) -> str:
    old = older_layouts.RENAMED.get(name, {}) if number < FORMAT else {}
    stands = {c.name: old.get(c.name, c.name) for c in TABLES[name]}
    # Qualified: a macro that reads the table may have a parameter of a column's name.
    cells = [f"r.{stands[c.name]} AS {c.name}" for c in TABLES[name]]
    options = "hive_partitioning = false"
    if name in PARTITIONED:
        options = "hive_partitioning = true, hive_types = {'date': DATE, 'hour': INTEGER}"
        cells += ["r.date", "r.hour"]
    source = f"read_parquet({files}, {options})"
    if number < FORMAT:  # columns added since are null
        nulls = (f"NULL::{_sql_type(c)} AS {stands[c.name]}" for c in TABLES[name])
        source = (
            f"(SELECT {', '.join(nulls)} WHERE false UNION ALL BY NAME "  # noqa: S608
            f"SELECT * FROM read_parquet({files}, {options}, union_by_name = true))"
        )
    return f"SELECT {', '.join(cells)} FROM {source} AS r"  # noqa: S608


def _sql_type(column: TableColumn) -> str:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    return {
        pa.string(): "VARCHAR",
        pa.int64(): "BIGINT",
        pa.int32(): "INTEGER",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
        pa.date32(): "DATE",
    }[kind]
