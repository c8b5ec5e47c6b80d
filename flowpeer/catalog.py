"""The lake as tables: DuckDB with every table, view and macro in place, and Polars scans.

A relation stands for every table of `flowpeer.schema.TABLES`, with its columns in the stated
order; partitioned tables have `date` (DATE) and `hour` (INTEGER) of their folder after them. A
table without files is an empty relation of the same types. In DuckDB times are TIMESTAMP in UTC;
in Polars they keep their zone, as in the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import duckdb
import polars as pl
import pyarrow as pa

import flowpeer_sql
from flowpeer.errors import FlowpeerError, InputError, UsageError, is_interrupt
from flowpeer.lake.listing import table_files
from flowpeer.schema import CONFIGURED, PARTITIONED, REFERENCE, TABLES
from flowpeer_core.columns import Column, arrow_schema

STORAGE_VERSION = "v1.5.0"
"""Of a written catalog: DuckDB 1.5 and later open it."""

MEMORY_SHARE = "60%"
"""Of the machine's memory for one connection: a query shares it with what runs beside it."""

TRIES = 100
"""Of a query whose files go before they are opened: each time, something else was done."""
T = TypeVar("T")

_NONE: Mapping[str, pa.Table] = MappingProxyType({})
_HIVE = {"date": pl.Date(), "hour": pl.Int32()}


def connect(
    lake_root: Path, *, configured: Mapping[str, pa.Table] = _NONE, locked: bool = True
) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory over the lake at `lake_root`.

    `configured` holds the tables made from flowpeer.toml (metros, exporters, interfaces,
    contracts, sessions); those not given are empty. With `locked` the connection can neither read
    outside the lake nor change its settings; writing into the lake is kept out by `query`.

    Raises:
        InputError: a file of the lake that cannot be read.
        UsageError: a configured table that is none, or lacks a column.
    """
    root = lake_root.resolve()
    con = duckdb.connect(":memory:")
    try:
        con.execute(f"SET VARIABLE lake_root = {_literal(str(root))}")
        _define(con, root, configured, listed=True)
        con.execute(f"SET memory_limit = '{MEMORY_SHARE}'")
        if locked:
            _lock(con, root)
    except BaseException:
        con.close()
        raise
    return con


def write_catalog(
    path: Path, lake_root: Path, *, configured: Mapping[str, pa.Table] = _NONE
) -> None:
    """A `.duckdb` file for other programs: views over the lake by absolute paths, and macros.

    It replaces `path` in one step, so that whoever has the old file open keeps it whole. Tables
    without files are empty in it until it is written again.

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
                _define(con, root, configured, listed=False)
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
        UsageError: a table that has no files (unknown, or made from the configuration).
    """
    if table not in TABLES or table in CONFIGURED:
        raise UsageError(f"no table {table!r} in the lake", advice="see `flowpeer sql --list`")
    root = lake_root.resolve()
    stated = _polars_schema(TABLES[table])
    partitioned = table in PARTITIONED
    wanted = {**stated, **_HIVE} if partitioned else stated
    found = table_files(root, table, start=start, end=end)
    if not found:
        return pl.LazyFrame(schema=wanted)
    if not partitioned:
        return pl.scan_parquet(
            found, schema=stated, glob=False, hive_partitioning=False, missing_columns="insert"
        )  # a snapshot of before a column was kept has nulls
    # A folder above the lake may be called a=b; Polars would have it a partition too.
    above: dict[str, pl.DataType] = {
        part.partition("=")[0]: pl.String() for part in root.parts if "=" in part
    }
    frame = pl.scan_parquet(
        found, schema=stated, glob=False, hive_partitioning=True, hive_schema={**above, **_HIVE}
    )
    return frame.select(*wanted)


def _polars_schema(columns: tuple[Column, ...]) -> dict[str, pl.DataType]:
    empty = pl.from_arrow(arrow_schema(columns).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return dict(empty.schema)


def _define(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    configured: Mapping[str, pa.Table],
    *,
    listed: bool,
) -> None:
    """Every table, view and macro; partitioned tables over the files that are there now
    (`listed`), or over patterns, which find those to come too."""
    con.execute("SET python_enable_replacements = false")
    con.execute("SET TimeZone = 'UTC'")
    if unknown := sorted(set(configured) - set(CONFIGURED)):
        raise UsageError(f"no table that a configuration makes: {', '.join(unknown)}")
    for name, columns in TABLES.items():
        if name in CONFIGURED:
            _configured_table(con, name, columns, configured.get(name))
        elif not (listed and name in PARTITIONED):
            with told("", where=root / name):
                con.execute(f'CREATE VIEW "{name}" AS {_relation(root, name)}')

    def scripts() -> None:
        for script in flowpeer_sql.views():
            con.execute(script.sql)

    with told("", where=root):
        if listed:
            with_files(con, root, scripts)
        else:
            scripts()


def _configured_table(
    con: duckdb.DuckDBPyConnection,
    name: str,
    columns: tuple[Column, ...],
    table: pa.Table | None,
) -> None:
    schema = arrow_schema(columns)
    if table is None:
        table = schema.empty_table()
    try:
        table = table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowInvalid) as error:
        raise UsageError(f"table {name} is not as stated: {error}") from error
    con.register("_arrow", table)
    con.table("_arrow").create(name)
    con.unregister("_arrow")


def _relation(root: Path, name: str) -> str:
    """The SELECT of a table over a pattern."""
    files = table_files(root, name)
    if not files:
        return _listed(name, files)
    folder = _escape(str(root))
    if name in PARTITIONED:
        return _reading(name, _literal(f"{folder}/{name}/date=*/hour=*/*.parquet"))
    if name in REFERENCE:
        return _reading(name, _literal(f"{folder}/reference/{name}.parquet"))
    return _reading(name, _literal(f"{folder}/{name}/*.parquet"))


def _listed(name: str, files: list[Path]) -> str:
    """The SELECT of a table over some files."""
    if files:
        paths = ", ".join(_literal(_escape(str(file))) for file in files)
        return _reading(name, f"[{paths}]")
    empty = _nulls(name)
    if name in PARTITIONED:
        empty += ["NULL::DATE AS date", "NULL::INTEGER AS hour"]
    return f"SELECT {', '.join(empty)} WHERE false"


def _nulls(name: str) -> list[str]:
    return [f"NULL::{_sql_type(c)} AS {c.name}" for c in TABLES[name]]


def _reading(name: str, files: str) -> str:
    cells = [
        f"timezone('UTC', {c.name}) AS {c.name}" if pa.types.is_timestamp(c.type) else c.name
        for c in TABLES[name]
    ]
    options = "hive_partitioning = false"
    if name in PARTITIONED:
        options = "hive_partitioning = true, hive_types = {'date': DATE, 'hour': INTEGER}"
        cells += ["date", "hour"]
    source = f"read_parquet({files}, {options})"
    if name == "routes":  # a snapshot of before a column was kept has nulls
        source = (
            f"(SELECT {', '.join(_raw_nulls(name))} WHERE false UNION ALL BY NAME "  # noqa: S608
            f"SELECT * FROM read_parquet({files}, {options}, union_by_name = true))"
        )
    return f"SELECT {', '.join(cells)} FROM {source}"  # noqa: S608


def _raw_nulls(name: str) -> list[str]:
    """As `_nulls`, with times as the files have them."""
    return [cell.replace("::TIMESTAMP ", "::TIMESTAMPTZ ") for cell in _nulls(name)]


def _sql_type(column: Column) -> str:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    return {
        pa.string(): "VARCHAR",
        pa.int64(): "BIGINT",
        pa.int32(): "INTEGER",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
    }[kind]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escape(path: str) -> str:
    """`path` as a glob pattern that matches it alone."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _lock(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    # The escaped form is allowed too: DuckDB checks a pattern as if it were a path.
    places = sorted({str(root), _escape(str(root))})
    con.execute(f"SET allowed_directories = [{', '.join(map(_literal, places))}]")
    con.execute("SET temp_directory = ''")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def with_files(con: duckdb.DuckDBPyConnection, root: Path, work: Callable[[], T]) -> T:
    """`work()` with the views of partitioned tables over the files that are there now.

    `compact` merges and `prune` deletes meanwhile: where a file went before it was opened, the
    files are listed anew. DuckDB's own patterns will not do: it passes over what goes between
    listing and opening, and an hour would be missing.

    Raises:
        InputError: files went as often as they were listed.
    """
    for _ in range(TRIES):
        listing = {name: table_files(root, name) for name in PARTITIONED}
        try:
            for name, files in listing.items():
                text = _listed(name, files)
                mark = hashlib.sha256(text.encode()).hexdigest()
                if con.execute(f"SELECT getvariable('files_of_{name}')").fetchall() != [(mark,)]:
                    con.execute(f'CREATE OR REPLACE VIEW "{name}" AS {text}')
                    con.execute(f"SET VARIABLE files_of_{name} = '{mark}'")
            return work()
        except duckdb.IOException:
            if listing == {name: table_files(root, name) for name in PARTITIONED}:
                raise
    raise InputError(
        str(root), "files were merged all the while", advice="ask again when `compact` is done"
    )


@contextlib.contextmanager
def told(sql: str, *, where: Path | None = None) -> Iterator[None]:
    """DuckDB's errors as ours: one line, with the place in the statement."""
    try:
        yield
    except FlowpeerError:
        raise
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from None
        raise
    except duckdb.PermissionException as error:
        raise UsageError(
            f"not allowed here: {_first_line(error)}", advice="only the lake can be read"
        ) from error
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        if where is None and not re.search(r"\.parquet\b|[Pp]arquet file", str(error)):
            raise UsageError(f"SQL{_place(error, sql)}: {_first_line(error)}") from error
        raise InputError(
            str(where or "lake"), _first_line(error), advice="run `flowpeer verify`"
        ) from error
    except duckdb.Error as error:
        raise UsageError(
            f"SQL{_place(error, sql)}: {_first_line(error)}",
            advice="`flowpeer sql --list` names the tables and views",
        ) from error


def _first_line(error: Exception) -> str:
    """The message without its class and without the echo of the statement, on one line."""
    text = str(error).split("\n\nLINE ")[0]
    text = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", text)
    return " ".join(text.split())


def _place(error: Exception, sql: str) -> str:
    """`, line 2, column 8` from DuckDB's echo of the line with a caret below it."""
    found = re.search(r"^(LINE (\d+): )(.*)\n( *)\^", str(error), re.MULTILINE)
    if found is None:
        return ""
    shift = len(found[4]) - len(found[1])
    echoed, number = found[3], int(found[2])
    lines = sql.splitlines()
    if echoed.startswith("...") and number <= len(lines):  # a long line is echoed from its middle
        at = lines[number - 1].find(echoed.strip(".")[:40])
        shift = shift - 3 + at if at >= 0 else -1
    return f", line {number}" + (f", column {shift + 1}" if shift >= 0 else "")
