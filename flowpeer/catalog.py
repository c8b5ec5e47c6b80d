"""The lake as tables: DuckDB with every table, view and macro in place, and Polars scans.

A relation stands for every table of `flowpeer.schema.TABLES`, with its columns in the stated
order; partitioned tables have `date` (DATE) and `hour` (INTEGER) of their folder after them. A
table without files is an empty relation of the same types. Times are TIMESTAMP WITH TIME ZONE in
DuckDB, in Polars and in the files, and the zone is UTC.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pyarrow as pa

import flowpeer_sql
from flowpeer import __version__
from flowpeer.errors import FlowpeerError, InputError, LockedError, UsageError, is_interrupt
from flowpeer.lake import layout
from flowpeer.lake.listing import Groups, files_by_layout
from flowpeer.lake.store import Lake
from flowpeer.schema import CONFIGURED, FORMAT, PARTITIONED, TABLES
from flowpeer_core.columns import Column, arrow_schema

STORAGE_VERSION = "v1.5.0"
"""Of a written catalog: DuckDB 1.5 and later open it."""

if TYPE_CHECKING:
    import polars as pl

MEMORY_SHARE = "'60%'"
"""Of the machine's memory for one connection: a query shares it with what runs beside it."""

TRIES = 100
"""Of a query whose files go before they are opened: each time, something else was done."""
T = TypeVar("T")

_NONE: Mapping[str, pa.Table] = MappingProxyType({})
_NO_SETTINGS: Mapping[str, int | str] = MappingProxyType({})


def connect(
    lake_root: Path, *, configured: Mapping[str, pa.Table] = _NONE
) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory over the lake at `lake_root`, for statements of our own.

    `configured` holds the tables made from flowpeer.toml (metros, exporters, interfaces,
    contracts, sessions); those not given are empty. The connection can neither read outside the
    lake nor change its settings. What others ask goes through `flowpeer.query`.

    Raises:
        InputError: a file of the lake that cannot be read.
        UsageError: a configured table that is none, or lacks a column.
    """
    rows = configured_rows(configured)
    con = duckdb.connect(":memory:")
    try:
        con.execute(f"SET memory_limit = {MEMORY_SHARE}")
        fill(con, lake_root.resolve(), rows)
    except BaseException:
        con.close()
        raise
    return con


def fill(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    configured: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    private: Path | None = None,
    settings: Mapping[str, int | str] = _NO_SETTINGS,
) -> None:
    """Tables, views and macros on an empty connection, which is then locked.

    `private` is a folder for what does not fit into memory; `settings` are DuckDB's.
    """
    _define(con, root, configured, listed=True)
    _lock(con, root, private, settings)


def write_catalog(
    path: Path, lake_root: Path, *, configured: Mapping[str, pa.Table] = _NONE
) -> None:
    """A `.duckdb` file for other programs: views over the lake, macros and questions.

    Paths start with the lake's place as of now, or with the variable `lake` where it is set (SET
    VARIABLE lake = '/mnt/lake'): so it works after the lake was moved, or from another mount. The
    view `about_catalog` says what made it, and the DuckDB that it needs. It replaces `path` in one
    step, so that whoever has the old file open keeps it whole. Tables without files are empty in it
    until it is written again.

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
                _define(con, root, configured_rows(configured), listed=False)
                con.execute(
                    f"CREATE VIEW about_catalog AS SELECT {_literal(__version__)} AS flowpeer,"
                    f" {_literal(STORAGE_VERSION.removeprefix('v'))} AS needs_duckdb,"
                    f" {_literal(str(root))} AS lake"
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
    frames = [layout.scan(files, table, number, **options) for number, files in found]
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _polars_schema(columns: tuple[Column, ...]) -> dict[str, pl.DataType]:
    import polars as pl

    empty = pl.from_arrow(arrow_schema(columns).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return dict(empty.schema)


def _define(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    configured: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    listed: bool,
) -> None:
    """Every table, view and macro; partitioned tables over the files that are there now
    (`listed`), or over patterns, which find those to come too."""
    con.execute("SET python_enable_replacements = false")
    con.execute("SET TimeZone = 'UTC'")
    for name in TABLES:
        if name in configured:
            _configured_table(con, name, configured[name])
        elif not (listed and name in PARTITIONED):
            with told("", where=root / name):
                text = _relation(root, name)
                if not listed:
                    here = _literal(str(root))
                    text = text.replace(
                        _literal(_escape(str(root)) + "/")[:-1],
                        f"coalesce(getvariable('lake'), {here}) || '/",
                    )
                con.execute(f'CREATE VIEW "{name}" AS {text}')

    def scripts() -> None:
        for script in (*flowpeer_sql.views(), *flowpeer_sql.macros()):
            con.execute(script.sql)

    with told("", where=root):
        if listed:
            with_files(con, root, scripts)
        else:
            scripts()


def _configured_table(
    con: duckdb.DuckDBPyConnection, name: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    kinds = {c.name: _sql_type(c) for c in TABLES[name]}
    con.execute(
        f'CREATE TABLE "{name}" AS'  # noqa: S608 (a name of ours)
        " SELECT unnest(r) FROM (SELECT unnest(from_json_strict(?, ?)) AS r)",
        [json.dumps(rows, default=str), json.dumps([kinds])],
    )


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


def _relation(root: Path, name: str) -> str:
    """The SELECT of a table for other programs: of partitioned ones over a pattern, which finds
    the files to come too."""
    groups = files_by_layout(Lake(root).record(), name)
    if name in PARTITIONED and groups and all(number >= FORMAT for number, _ in groups):
        pattern = f"{_escape(str(root))}/{name}/date=*/hour=*/*.parquet"
        return _reading(name, FORMAT, _literal(pattern))
    return _listed(name, groups)


def _listed(name: str, groups: Groups) -> str:
    """The SELECT of a table over some files."""
    if groups:
        parts = (
            _reading(name, number, f"[{', '.join(_literal(_escape(str(f))) for f in files)}]")
            for number, files in groups
        )
        return " UNION ALL ".join(parts)
    empty = [f"NULL::{_sql_type(c)} AS {c.name}" for c in TABLES[name]]
    if name in PARTITIONED:
        empty += ["NULL::DATE AS date", "NULL::INTEGER AS hour"]
    return f"SELECT {', '.join(empty)} WHERE false"


def _reading(name: str, number: int, files: str) -> str:
    old = layout.RENAMED.get(name, {}) if number < FORMAT else {}
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


def _sql_type(column: Column) -> str:
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


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escape(path: str) -> str:
    """`path` as a glob pattern that matches it alone."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _lock(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    private: Path | None,
    settings: Mapping[str, int | str],
) -> None:
    # The escaped form is allowed too: DuckDB checks a pattern as if it were a path.
    places = {
        str(root),
        str(root.resolve()),
        _escape(str(root)),
        *([] if private is None else [str(private)]),
    }
    con.execute(f"SET allowed_directories = [{', '.join(map(_literal, sorted(places)))}]")
    con.execute(f"SET temp_directory = {_literal('' if private is None else str(private))}")
    for name, value in settings.items():
        con.execute(f"SET {name} = '{value}'")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def with_files(con: duckdb.DuckDBPyConnection, root: Path, work: Callable[[], T]) -> T:
    """`work()` with the views of partitioned tables over the files that are there now.

    `compact` merges and `prune` deletes meanwhile: where a file went before it was opened, the
    files are listed again. DuckDB's own patterns will not do: it passes over what goes between
    listing and opening, and an hour would be missing.

    Raises:
        LockedError: files went as often as they were listed.
    """
    lake = Lake(root)

    def listed() -> dict[str, Groups]:
        record = lake.record()
        return {name: files_by_layout(record, name) for name in PARTITIONED}

    for _ in range(TRIES):
        listing = listed()
        try:
            for name, groups in listing.items():
                text = _listed(name, groups)
                mark = hashlib.sha256(text.encode()).hexdigest()
                if con.execute(f"SELECT getvariable('files_of_{name}')").fetchall() != [(mark,)]:
                    con.execute(f'CREATE OR REPLACE VIEW "{name}" AS {text}')
                    con.execute(f"SET VARIABLE files_of_{name} = '{mark}'")
            return work()
        except duckdb.IOException:
            if listing == listed():
                raise
    raise LockedError(
        f"{root}: files were merged or replaced all the while",
        advice="ask again when `compact` and `rollup` are done (exit status 75)",
    )


@contextlib.contextmanager
def told(sql: str, *, offset: int = 0, where: Path | None = None) -> Iterator[None]:
    """DuckDB's errors as ours: one line, with the place in the text `sql`, of which the statement
    starts at `offset`."""
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
    except duckdb.OutOfMemoryException as error:
        raise UsageError(
            "the query needs more memory than it is allowed",
            advice="narrow it to fewer days or columns",
        ) from error
    except duckdb.PermissionException as error:
        raise UsageError(
            f"not allowed here: {_first_line(error)}", advice="only the lake can be read"
        ) from error
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        if where is None and not re.search(r"\.parquet\b|[Pp]arquet file", str(error)):
            raise UsageError(f"SQL{_place(error, sql, offset)}: {_first_line(error)}") from error
        raise InputError(
            str(where or "lake"), _first_line(error), advice="run `flowpeer verify`"
        ) from error
    except duckdb.Error as error:
        raise UsageError(
            f"SQL{_place(error, sql, offset)}: {_first_line(error)}",
            advice="`flowpeer sql --list` names the tables and views",
        ) from error


def _first_line(error: Exception) -> str:
    """The message without its class and without the echo of the statement, on one line."""
    text = str(error).split("\n\nLINE ")[0]
    text = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", text)
    # Macros refuse a value by a cast that fails, with the fault in its text (addresses.sql).
    text = re.sub(r"^Could not convert string '(.* (?:no|not an?) .*)' to INT\d+", r"\1", text)
    return " ".join(text.split())


def _place(error: Exception, sql: str, offset: int) -> str:
    """`, line 2, column 8` from DuckDB's echo of the line with a caret below it."""
    found = re.search(r"^(LINE (\d+): )(.*)\n( *)\^", str(error), re.MULTILINE)
    if found is None:
        return ""
    shift = len(found[4]) - len(found[1])
    echoed, number = found[3], int(found[2])
    lines = sql[offset:].splitlines()
    if echoed.startswith("...") and number <= len(lines):  # a long line is echoed from its middle
        at = lines[number - 1].find(echoed.strip(".")[:40])
        shift = shift - 3 + at if at >= 0 else -1
    if number == 1 and shift >= 0:
        shift += offset - (sql.rfind("\n", 0, offset) + 1)
    number += sql.count("\n", 0, offset)
    return f", line {number}" + (f", column {shift + 1}" if shift >= 0 else "")
