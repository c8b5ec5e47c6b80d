"""The lake as tables: DuckDB with every table, view and macro in place, and Polars scans.

A relation stands for every table of `flowpeer.schema.TABLES`, with its columns in the stated
order; partitioned tables have `date` (DATE) and `hour` (INTEGER) of their folder after them. A
table without files is an empty relation of the same types. In DuckDB times are TIMESTAMP in UTC;
in Polars they keep their zone, as in the files.

What may be asked is decided twice: the connection is locked down (no file but the lake's, no
setting changed), and `query` takes only a single reading statement whose table functions are on
a list. The second is needed: DuckDB lets a locked connection write into an allowed directory, and
some table functions write files or read memory from within a SELECT.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import duckdb
import polars as pl
import pyarrow as pa

import flowpeer_sql
from flowpeer.errors import FlowpeerError, InputError, UsageError, is_interrupt
from flowpeer.schema import CONFIGURED, PARTITIONED, REFERENCE, TABLES, Column, arrow_schema

STORAGE_VERSION = "v1.5.0"
"""Of a written catalog: DuckDB 1.5 and later open it."""

MEMORY_SHARE = "60%"
"""Of the machine's memory for one connection: a query shares it with what runs beside it."""

TRIES = 100
"""Of a query whose files go before they are opened: each time, something else was done."""
T = TypeVar("T")

READING_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        duckdb_columns duckdb_functions duckdb_keywords duckdb_settings duckdb_tables duckdb_types
        duckdb_views generate_series glob json_each json_tree parquet_file_metadata
        parquet_metadata parquet_scan parquet_schema pg_timezone_names pragma_table_info
        pragma_version query_table range read_parquet repeat summary unnest
        """,
    )
)
"""Table functions that a query may call, besides the table macros of flowpeer_sql. The others of
DuckDB write files (enable_logging), run text as SQL (query), take raw pointers (pandas_scan) or
are of no use on this lake."""

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


def query(
    con: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Mapping[str, object] | None = None,
    *,
    timeout_seconds: float | None = None,
) -> pa.Table:
    """The rows of one reading statement, with `$name` parameters bound.

    SELECT, FROM, WITH, VALUES, TABLE, DESCRIBE, SHOW and SUMMARIZE are taken, and EXPLAIN of one
    of them without ANALYZE. Sums that DuckDB gives as HUGEINT come back as int64 where they fit.

    Raises:
        UsageError: anything else, an error in the statement (with its line and column), or a
            query that was still running after `timeout_seconds`.
        InputError: a file of the lake that cannot be read.
    """
    values = dict(parameters or {})
    with _told(sql):
        _check(con, sql)
        table = _interruptible(con, lambda: _run(con, sql, values), timeout_seconds)
    return _narrow(table)


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
    files = _files(root, table)
    if partitioned and (start is not None or end is not None):
        files = [file for file in files if _within(file, start, end)]
    if not files:
        return pl.LazyFrame(schema=wanted)
    if not partitioned:
        return pl.scan_parquet(files, schema=stated, glob=False, hive_partitioning=False)
    # A folder above the lake may be called a=b; Polars would have it a partition too.
    above: dict[str, pl.DataType] = {
        part.partition("=")[0]: pl.String() for part in root.parts if "=" in part
    }
    frame = pl.scan_parquet(
        files, schema=stated, glob=False, hive_partitioning=True, hive_schema={**above, **_HIVE}
    )
    return frame.select(*wanted)


def _files(root: Path, table: str) -> list[Path]:
    """The files of a table, sorted."""
    if table in PARTITIONED:
        folders = sorted((root / table).glob("date=*/hour=*"))
        return [folder / name for folder in folders for name in _of_one_moment(folder)]
    if table in REFERENCE:
        return [file for file in [root / "reference" / f"{table}.parquet"] if file.is_file()]
    return sorted((root / table).glob("*.parquet"))


def _of_one_moment(folder: Path) -> list[str]:
    """The files of an hour, sorted: all that were there before `compact` put another folder in
    their place, or all after."""
    names: list[str] = []
    for _ in range(TRIES):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            names = os.listdir(handle)  # noqa: PTH208 (of the open folder, not of its path)
            still = os.path.samestat(os.fstat(handle), folder.stat())
        except FileNotFoundError:
            return []
        finally:
            os.close(handle)
        if still:
            break
    return sorted(name for name in names if name.endswith(".parquet"))


def _within(file: Path, start: datetime | None, end: datetime | None) -> bool:
    day = date.fromisoformat(file.parent.parent.name.removeprefix("date="))
    hour = int(file.parent.name.removeprefix("hour="))
    begins = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    return (start is None or _utc(start) < begins + timedelta(hours=1)) and (
        end is None or begins < _utc(end)
    )


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


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
            with _told("", where=root / name):
                con.execute(f'CREATE VIEW "{name}" AS {_relation(root, name)}')

    def scripts() -> None:
        for script in flowpeer_sql.views():
            con.execute(script.sql)

    with _told("", where=root):
        if listed:
            _with_files(con, root, scripts)
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
    files = _files(root, name)
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
    empty = [f"NULL::{_sql_type(c)} AS {c.name}" for c in TABLES[name]]
    if name in PARTITIONED:
        empty += ["NULL::DATE AS date", "NULL::INTEGER AS hour"]
    return f"SELECT {', '.join(empty)} WHERE false"


def _reading(name: str, files: str) -> str:
    cells = [
        f"timezone('UTC', {c.name}) AS {c.name}" if pa.types.is_timestamp(c.type) else c.name
        for c in TABLES[name]
    ]
    options = "hive_partitioning = false"
    if name in PARTITIONED:
        options = "hive_partitioning = true, hive_types = {'date': DATE, 'hour': INTEGER}"
        cells += ["date", "hour"]
    return f"SELECT {', '.join(cells)} FROM read_parquet({files}, {options})"  # noqa: S608


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


_LEADING = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_EXPLAIN = re.compile(r"explain\b(?:\s*\((?P<options>[^()]*)\))?", re.IGNORECASE)
_ADVICE = "flowpeer sql reads: SELECT, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN"


def _check(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse all but one reading statement."""
    if "\0" in sql:
        raise UsageError("a query with a NUL character in it", advice=_ADVICE)
    statements = con.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError(f"{len(statements)} statements where one is wanted", advice=_ADVICE)
    text, kind = sql, statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        text = text[_LEADING.match(text).end() :]  # type: ignore[union-attr]
        head = _EXPLAIN.match(text)
        if head is None or "analyze" in (head["options"] or "").lower():
            raise UsageError("EXPLAIN ANALYZE runs its statement", advice="use EXPLAIN")
        text = text[head.end() :]
        inner = con.extract_statements(text)
        kind = inner[0].type if len(inner) == 1 else duckdb.StatementType.INVALID
    if kind != duckdb.StatementType.SELECT:
        raise UsageError("only a statement that reads can be run here", advice=_ADVICE)
    answer = con.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0][0]
    tree = json.loads(answer)
    if tree["error"]:
        raise UsageError("a statement of this form cannot be checked", advice=_ADVICE)
    allowed = READING_FUNCTIONS | _table_macros(con)
    for name in _table_functions(tree):
        if name.lower() not in allowed:
            raise UsageError(
                f"the table function {name} cannot be used here",
                advice="name a table or view instead: `flowpeer sql --list`",
            )


def _table_macros(con: duckdb.DuckDBPyConnection) -> set[str]:
    found = con.execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions()"
        " WHERE function_type = 'table_macro' AND NOT internal"
    )
    return {name for (name,) in found.fetchall()}


def _table_functions(tree: Any) -> Iterator[str]:
    """Names of the table functions anywhere in a serialized statement."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            if node.get("type") == "TABLE_FUNCTION":
                yield str(node["function"]["function_name"])
            pending += node.values()


def _run(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, object]) -> pa.Table:
    def once() -> pa.Table:
        try:
            relation = con.sql(sql, params=values) if values else con.sql(sql)
        except (duckdb.BinderException, duckdb.CatalogException):
            con.execute(sql, values)  # fails alike, but says where in the statement
            raise
        return relation.to_arrow_table()

    (root,) = con.execute("SELECT getvariable('lake_root')").fetchall()[0]
    return _with_files(con, Path(root), once)


def _with_files(con: duckdb.DuckDBPyConnection, root: Path, work: Callable[[], T]) -> T:
    """`work()` with the views of partitioned tables over the files that are there now.

    `compact` merges and `prune` deletes meanwhile: where a file went before it was opened, the
    files are listed anew. DuckDB's own patterns will not do: it passes over what goes between
    listing and opening, and an hour would be missing.

    Raises:
        InputError: files went as often as they were listed.
    """
    for _ in range(TRIES):
        listing = {name: _files(root, name) for name in PARTITIONED}
        try:
            for name, files in listing.items():
                text = _listed(name, files)
                mark = hashlib.sha256(text.encode()).hexdigest()
                if con.execute(f"SELECT getvariable('files_of_{name}')").fetchall() != [(mark,)]:
                    con.execute(f'CREATE OR REPLACE VIEW "{name}" AS {text}')
                    con.execute(f"SET VARIABLE files_of_{name} = '{mark}'")
            return work()
        except duckdb.IOException:
            if listing == {name: _files(root, name) for name in PARTITIONED}:
                raise
    raise InputError(
        str(root), "files were merged all the while", advice="ask again when `compact` is done"
    )


def _interruptible(
    con: duckdb.DuckDBPyConnection, work: Callable[[], pa.Table], seconds: float | None
) -> pa.Table:
    """`work()` in a thread of its own, since a running query does not hear Ctrl-C in the main one.

    Raises:
        UsageError: it was stopped after `seconds`.
        KeyboardInterrupt: it was stopped by the person at the keyboard.
    """
    outcome: list[pa.Table | BaseException] = []
    done = threading.Event()  # Thread.join() takes a thread for dead when it is interrupted itself

    begun, given_up = threading.Event(), threading.Event()

    def run() -> None:
        begun.set()
        try:
            if not given_up.is_set():
                outcome.append(work())
        except BaseException as error:
            outcome.append(error)
        finally:
            done.set()

    deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
    try:
        threading.Thread(target=run, name="query", daemon=True).start()
        # In steps: the signal may reach another thread, which does not wake this one.
        while not done.wait(max(0.0, min(0.1, deadline - time.monotonic()))):
            if late := time.monotonic() >= deadline:
                break
        else:
            late = False
    finally:
        given_up.set()
        while begun.is_set() and not done.is_set():  # again and again
            with contextlib.suppress(KeyboardInterrupt):
                con.interrupt()
                done.wait(0.05)
    answer = outcome[0]
    if late and isinstance(answer, duckdb.InterruptException):
        raise UsageError(
            f"the query was stopped after {seconds:g} s",
            advice="narrow it to fewer days or columns, or allow more with --timeout",
        )
    if isinstance(answer, BaseException):
        raise answer
    return answer


@contextlib.contextmanager
def _told(sql: str, *, where: Path | None = None) -> Iterator[None]:
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


def _narrow(table: pa.Table) -> pa.Table:
    """HUGEINT columns (decimal(38, 0) in Arrow) as int64 where all their values fit."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            with contextlib.suppress(pa.ArrowInvalid):
                column = table.column(index).cast(pa.int64())
                table = table.set_column(index, field.name, column)
    return table
