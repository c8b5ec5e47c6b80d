"""One reading statement asked of the catalog, by whoever is trusted with no more than that.

What may be asked is decided twice: the connection is locked down (no file but the lake's, no
setting changed), and `query` takes only a single reading statement whose table functions are on
a list. The second is needed: DuckDB lets a locked connection write into an allowed directory, and
some table functions write files or read memory from within a SELECT.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from flowpeer.catalog import told, with_files
from flowpeer.errors import UsageError

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

_LEADING = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_EXPLAIN = re.compile(r"explain\b(?:\s*\((?P<options>[^()]*)\))?", re.IGNORECASE)
_ADVICE = "flowpeer sql reads: SELECT, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN"


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
    with told(sql):
        _check(con, sql)
        table = _interruptible(con, lambda: _run(con, sql, values), timeout_seconds)
    return _narrow(table)


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
    return with_files(con, Path(root), once)


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


def _narrow(table: pa.Table) -> pa.Table:
    """HUGEINT columns (decimal(38, 0) in Arrow) as int64 where all their values fit."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            with contextlib.suppress(pa.ArrowInvalid):
                column = table.column(index).cast(pa.int64())
                table = table.set_column(index, field.name, column)
    return table
