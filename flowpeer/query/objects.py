"""What a statement names, made before it runs: tables over the files that are there now, views and
macros. What it does not name is not made: there are more of them than most questions use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import flowpeer_sql
from flowpeer.engine import duckdb
from flowpeer.query.allowed import VIEWS
from flowpeer.query.statement import tokens
from flowpeer_core.quoted import literal

_MAKES = re.compile(r"CREATE OR REPLACE (VIEW|MACRO) (\w+)(?:\([^)]*\) AS (TABLE)?)?")
_LISTS = re.compile(r"(?:duckdb|pragma|pg)_", re.IGNORECASE)
"""Functions that tell of all there is."""


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """What a statement names."""

    tables: frozenset[str]
    functions: frozenset[str]


@dataclass(frozen=True, slots=True)
class ObjectSources:
    """Scripts by key, and tables as the parent gave them."""

    scripts: frozenset[str]
    tables: list[dict[str, Any]]


Ask = Callable[[Collection[str] | None], list[dict[str, Any]]]
"""Tables among some words, all for None, as `relations` finds them."""


class Objects:
    """Tables, views and macros of one connection, each made when a statement first names it."""

    def __init__(self, con: duckdb.DuckDBPyConnection, ask: Ask) -> None:
        self.con = con
        self._ask = ask
        self._scripts = {
            f"{kind}:{script.name}": script
            for kind, scripts in (
                ("view", flowpeer_sql.views()),
                ("macro", flowpeer_sql.macros()),
            )
            for script in scripts
        }
        self._texts = {key: script.sql for key, script in self._scripts.items()}
        """Scripts, and temporary views by their name: what follows from a name."""
        self._made_by: dict[str, str] = {}
        self.views: set[str] = set()
        macros: set[str] = set()
        table_macros: set[str] = set()
        for key, text in self._texts.items():
            for kind, name, table in _MAKES.findall(text):
                self._made_by[name] = key
                chosen = self.views if kind == "VIEW" else table_macros if table else macros
                chosen.add(name)
        self.macros, self.table_macros = frozenset(macros), frozenset(table_macros)
        self._words: dict[str, frozenset[str]] = {}
        self._done: set[str] = set()
        self._tables: dict[str, str] = {}
        self._configured: set[str] = set()

    def is_table(self, name: str) -> bool:
        """Whether the lake has a table or view of that name."""
        name = name.lower()
        known = self.views | self._tables.keys() | self._configured | {"crossings"}
        return name in known or bool(self._ask([name]))

    def remember(self, name: str, select: str) -> None:
        """A temporary view, which later statements may name."""
        key = f"temp:{name.lower()}"
        self._texts[key] = select
        self._words.pop(key, None)
        self._made_by[name.lower()] = key

    def needs(self, names: NamedObjects | None) -> ObjectSources:
        """What a statement needs, everything for None, with the files that are there now."""
        keys, used = self._needed(names)
        wanted = None if used is None else used - self._configured
        tables = self._ask(wanted) if wanted is None or wanted else []
        return ObjectSources(frozenset(keys), tables)

    def make(self, needs: ObjectSources) -> None:
        """Make what is not there yet.

        Raises:
            duckdb.IOException: a file is gone before it was opened.
        """
        self._make_tables(needs.tables)
        for key, script in self._scripts.items():
            if key in needs.scripts and key not in self._done:
                self.con.execute(script.sql)
                self._done.add(key)

    def _needed(self, names: NamedObjects | None) -> tuple[set[str], set[str] | None]:
        """Scripts, and words that may be tables."""
        if names is None:
            return set(self._scripts), None
        used = {name.lower() for name in names.tables}
        keys: set[str] = set()
        pending = [*used, *(name.lower() for name in names.functions)]
        while pending:
            key = self._made_by.get(pending.pop())
            if key is None or key in keys:
                continue
            keys.add(key)
            if key not in self._words:
                self._words[key] = frozenset(_names(self._texts[key]))
            pending += self._words[key] - used
            used |= self._words[key]
        return keys, used

    def _make_tables(self, found: list[dict[str, Any]]) -> None:
        for table in found:
            name = table["name"]
            if "rows" in table:
                rows, kinds = json.dumps(table["rows"]), json.dumps([table["kinds"]])
                self.con.execute(
                    f'CREATE OR REPLACE TABLE "{name}" AS SELECT unnest(r) FROM (SELECT unnest('  # noqa: S608
                    f"from_json_strict({literal(rows)}, {literal(kinds)})) AS r)"
                )
                self._configured.add(name)
            elif self._tables.get(name) != table["sql"]:
                self.con.execute(f'CREATE OR REPLACE VIEW "{name}" AS {table["sql"]}')
                self._tables[name] = table["sql"]


def _names(text: str) -> Iterable[str]:
    return (t.word.strip('"').lower() for t in tokens(text) if t.kind in ("word", "quoted"))


def names_of(tree: Any) -> NamedObjects | None:
    """Tables and functions that a serialized statement names; None where it asks what there is."""
    tables: set[str] = set()
    functions: set[str] = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            if "function_name" in node:
                functions.add(str(node["function_name"]))
            elif node.get("type") == "BASE_TABLE":
                tables.add(str(node["table_name"]))
            elif "show_type" in node and node.get("query") is None:
                if node["show_type"] != "SHOW":
                    return None
                tables.add(str(node["table_name"]))
    if any(_LISTS.match(name) for name in functions) or not VIEWS.isdisjoint(
        name.lower() for name in tables
    ):
        return None
    return NamedObjects(frozenset(tables), frozenset(functions))
