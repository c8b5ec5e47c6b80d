"""Whether a statement may be run: every node of DuckDB's serialized tree, at every depth.

    con.execute("SELECT json_serialize_sql(?)", [text]) → {"statements": [{"node": {"type": …

DuckDB's word for a statement is not enough: it calls one SELECT that has a COPY in a CTE. So each
object of the tree that says what it is (`type`, `class`, `function_name`, `show_type`, `info_type`)
must say something that is listed in `allowed`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Set
from typing import Any

from flowpeer.engine import duckdb
from flowpeer.errors import UsageError
from flowpeer.query import allowed
from flowpeer.query.statement import ADVICE

_FILE = re.compile(r"[/\\.:*?\[]")
"""Signs of a name that is a file's."""

_OWN = frozenset({"system", "pg_catalog", "information_schema"})
_OWN_NAMES = re.compile(r"(?:duckdb|pg|pragma|sqlite)_", re.IGNORECASE)
"""Where DuckDB's own views are, and how those are called that need not say it."""


def tree_of(con: duckdb.DuckDBPyConnection, select: str) -> Any:
    """The serialized tree of one SELECT.

    Raises:
        UsageError: it is none, or more than one statement.
    """
    try:
        kinds = [s.type for s in con.extract_statements(select)]
    except ValueError:  # a kind that the Python package has no name for
        raise UsageError("only a statement that reads can be run here", advice=ADVICE) from None
    if len(kinds) != 1:
        raise UsageError(f"{len(kinds)} statements where one is wanted", advice=ADVICE)
    if kinds[0] != duckdb.StatementType.SELECT:
        raise UsageError("only a statement that reads can be run here", advice=ADVICE)
    answer = con.execute("SELECT json_serialize_sql(?)", [select]).fetchall()[0][0]
    try:
        tree = json.loads(answer)
    except RecursionError:
        raise UsageError("the statement is nested too deeply", advice="take it apart") from None
    if tree.get("error") is not False or len(tree["statements"]) != 1:
        raise UsageError("a statement of this form cannot be checked", advice=ADVICE)
    return tree


def check(tree: Any, *, macros: Set[str], table_macros: Set[str]) -> None:
    """Refuse a tree with anything in it that is not listed; `macros` are those of the catalog.

    Raises:
        UsageError: what it is.
    """
    for node in _objects(tree):
        for key, check_it in _CHECKS.items():
            if key in node:
                check_it(node, macros, table_macros)


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            yield node
            pending += node.values()


def _refuse(what: str) -> None:
    raise UsageError(f"{what} cannot be used here", advice=ADVICE)


def _type(node: dict[str, Any], _: Set[str], table_macros: Set[str]) -> None:
    kind = str(node["type"])
    if kind not in allowed.NODES:
        _refuse(kind.removesuffix("_QUERY_NODE").removesuffix("_NODE"))
    if kind == "TABLE_FUNCTION":
        called = node.get("function") or {}
        name = str(called.get("function_name", ""))
        if name.lower() not in allowed.TABLE_FUNCTIONS | table_macros:
            raise UsageError(
                f"the table function {name} cannot be used here",
                advice="name a table or view instead: `flowpeer sql --list`",
            )
        called["is_table_function"] = True  # its name is checked; what it is given comes yet
    if kind == "BASE_TABLE":
        _table(node)
        if node.get("at_clause") is not None:
            _refuse("AT")


def _table(node: dict[str, Any]) -> None:
    name = str(node.get("table_name", ""))
    where = {str(node.get(key, "")).lower() for key in ("catalog_name", "schema_name")}
    if (where & _OWN or _OWN_NAMES.match(name)) and name.lower() not in allowed.VIEWS:
        _refuse(f"the view {name}")
    if _FILE.search(name) and not name.lower().endswith(".parquet"):
        raise UsageError(
            f"{name} cannot be read here", advice="bring a file with --attach name=FILE"
        )


def _class(node: dict[str, Any], _: Set[str], __: Set[str]) -> None:
    if str(node["class"]) not in allowed.CLASSES:
        _refuse(str(node["class"]))


def _function(node: dict[str, Any], macros: Set[str], _: Set[str]) -> None:
    name = str(node["function_name"])
    if node.get("is_table_function") is True:
        return
    known = name in allowed.OPERATORS or name.lower() in allowed.FUNCTIONS or name.lower() in macros
    if not known:
        raise UsageError(
            f"the function {name} cannot be used here",
            advice="`FROM duckdb_functions()` lists DuckDB's; not all of them are allowed",
        )


def _shown(node: dict[str, Any], _: Set[str], __: Set[str]) -> None:
    if str(node["show_type"]) not in allowed.SHOWN:
        _refuse(str(node["show_type"]))
    _table(node)


def _info(node: dict[str, Any], _: Set[str], __: Set[str]) -> None:
    _refuse(str(node["info_type"]).removesuffix("_INFO"))


_CHECKS: dict[str, Callable[[dict[str, Any], Set[str], Set[str]], None]] = {
    "type": _type,
    "class": _class,
    "function_name": _function,
    "show_type": _shown,
    "info_type": _info,
}
