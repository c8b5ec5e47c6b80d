"""Statements on a connection: checked, run into a temporary table, and its rows handed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flowpeer.engine import duckdb, named_errors
from flowpeer.errors import LockedError, UsageError
from flowpeer.query import asked
from flowpeer.query.check import check, tree_of
from flowpeer.query.days import TEMPLATES, TIMES, same, with_days
from flowpeer.query.objects import NamedObjects, Objects, names_of
from flowpeer.query.pivot import with_values
from flowpeer.query.portable import plain, selection
from flowpeer.query.statement import ADVICE, Statement, statements
from flowpeer_core.quoted import literal

RESULT = "_flowpeer_result"
TRIES = 100
"""Of a query whose files go before they are opened: each time, something else was done."""

T = TypeVar("T")


class Runner:
    """What one connection does for the parent."""

    def __init__(self, con: duckdb.DuckDBPyConnection, objects: Objects, private: Path) -> None:
        self.con = con
        self.objects = objects
        self.private = private
        self.made: dict[str, str] = {}
        self.attached: set[str] = set()

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request of the parent."""
        if "attach" in request:
            name = request["attach"]
            ours = name.lower().startswith("_flowpeer")
            if ours or name.lower() in self.made or self._is_taken(name):
                raise UsageError(f"there is a table {name} already", advice="choose another name")
            self.attach(name, self.private / request["file"])
            return {}
        return self.run(
            request["sql"], request["parameters"], request["number"],
            flat=request["flat"], cells_up_to=request["few"], most=request.get("most", 0),
        )  # fmt: skip

    def attach(self, name: str, file: Path) -> None:
        """A Parquet file in the private folder as a table that nothing replaces."""
        with named_errors("", where=file):
            self.con.execute(
                f'CREATE TEMP VIEW "{name}" AS FROM read_parquet({literal(str(file))})'
            )
        self.attached.add(name.lower())

    def _is_taken(self, name: str) -> bool:
        return name.lower() in self.attached or self.objects.is_table(name)

    def run(
        self,
        sql: str,
        parameters: dict[str, Any],
        number: int,
        *,
        flat: bool,
        cells_up_to: int,
        most: int = 0,
    ) -> dict[str, Any]:
        """The answer to one or more statements: the last is asked, those before it make
        temporary tables and views. Up to `cells_up_to` rows are given as they are, more in a file;
        of more than `most` octets, as text, none (0: any).

        Raises:
            UsageError: what cannot be run, with its line and column where DuckDB says them.
            InputError: a file of the lake that cannot be read.
        """
        every = statements(sql)
        if any(one.kind not in ("table", "view") for one in every[:-1]):
            raise UsageError(f"{len(every)} statements where one is wanted", advice=ADVICE)
        ready = []
        for one in every:
            with named_errors(sql, offset=one.offset):
                ready.append((one, *self._checked(one)))
        if unknown := sorted(set(parameters).difference(*(wanted for *_, wanted, _ in ready))):
            raise UsageError(f"the statement has no parameter ${', $'.join(unknown)}")
        for one, select, names, wanted, tree in ready:
            given = {name: parameters[name] for name in wanted if name in parameters}
            with named_errors(""):
                self._check_values(tree, given)
            with named_errors(sql, offset=one.offset):
                self._run(one, [*self._with_days(tree, names), select], names, given or None)
        made = [f"{one.kind} {one.name}" for one in every if one.kind in ("table", "view")]
        with named_errors(sql):
            answer = self._answer(every[-1], number, flat=flat, cells_up_to=cells_up_to, most=most)
            return {"made": made, **answer}

    def _checked(self, one: Statement) -> tuple[str, NamedObjects | None, set[str], Any]:
        """The SELECT of a statement, every node of it allowed; what it names; its parameters; its
        tree."""
        if one.kind in ("table", "view"):
            if one.name.lower().startswith("_flowpeer") or self._is_taken(one.name):
                raise UsageError(f"there is a table {one.name} already", advice="choose a name")
            if self.made.get(one.name.lower(), one.kind) != one.kind:
                raise UsageError(f"{one.name} is no {one.kind}", advice="choose another name")
        select = with_values(one.select, self._values)
        tree = self._tree(select)
        wanted = {str(p["key"]) for p in tree["statements"][0]["named_param_map"]}
        return select, names_of(tree), wanted, tree

    def _check_values(self, tree: Any, parameters: dict[str, Any]) -> None:
        """Refuse what a called question is given and there is not.

        Raises:
            UsageError: a metro that is not configured, or what is no period, network or direction.
            NoDataError: a period without data.
        """
        for name, called in asked.calls(tree):
            given = {key: expression for key, expression in called.items() if expression}
            used = asked.parameters_of(given)
            if not given or not used <= parameters.keys():
                continue  # DuckDB says what is missing
            template = tree_of(self.con, "SELECT 1")
            (text,) = self._rows(
                "SELECT json_deserialize_sql($tree)", {"tree": asked.as_select(template, given)}
            )[0]
            # As text: Python's value of a time with a zone takes a library that is not there.
            text = f"SELECT COLUMNS(*)::VARCHAR FROM ({text})"  # noqa: S608 (DuckDB wrote it)
            row = self._rows(text, {key: parameters[key] for key in used})[0]
            values = {**dict.fromkeys(called), **dict(zip(given, row, strict=True))}
            if text := asked.checks(values):
                self._rows(text, {k: v for k, v in values.items() if f"${k})" in text})
            for text, span, period in asked.spans(name, values):
                if not self._rows(text, span):
                    raise asked.no_data(period)

    def _rows(self, text: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a SELECT of ours."""
        names = names_of(tree_of(self.con, text))
        work = lambda: self.con.execute(text, parameters or None).fetchall()  # noqa: E731
        return self._with_files(names, work)

    def _tree(self, select: str) -> Any:
        tree = tree_of(self.con, select)
        check(tree, macros=self.objects.macros, table_macros=self.objects.table_macros)
        return tree

    def _values(self, select: str) -> list[str]:
        """One column of a checked SELECT, as literals."""
        names = names_of(self._tree(select))
        rows = self._with_files(names, lambda: self.con.execute(select).fetchall())
        return [literal(str(row[0])) for row in rows]

    def _with_files(self, names: NamedObjects | None, work: Callable[[], T]) -> T:
        """`work()` with everything that the statement names, over the files that are there now.

        `compact` merges and `prune` deletes meanwhile: where a file went before it was opened, the
        files are listed again.

        Raises:
            LockedError: files went as often as they were listed.
        """
        before = None
        for _ in range(TRIES):
            needs = self.objects.needs(names)
            try:
                self.objects.make(needs)
                return work()
            except duckdb.IOException:
                if needs == before:
                    raise
                before = needs
            except (duckdb.BinderException, duckdb.CatalogException):
                if names is None:
                    raise
                names = None  # it names what we have not seen, or DuckDB suggests another name
        raise LockedError(
            "files of the lake were merged or replaced all the while",
            advice="ask again when `compact` and `rollup` are done (exit status 75)",
        )

    def _with_days(self, tree: Any, names: NamedObjects | None) -> list[str]:
        """The statement with the hours that its times imply, if there are any; DuckDB wrote it."""
        if names is None or not TIMES.keys() & {name.lower() for name in names.tables}:
            return []
        made = with_days(tree, {k: tree_of(self.con, text) for k, text in TEMPLATES.items()})
        if made is None:
            return []
        (text,) = self._rows("SELECT json_deserialize_sql($tree)", {"tree": json.dumps(made)})[0]
        return [text] if same(made, tree_of(self.con, text)) else []

    def _run(
        self,
        one: Statement,
        selects: list[str],
        names: NamedObjects | None,
        values: dict[str, Any] | None,
    ) -> None:
        """Run the first of the SELECTs, which all give the same; the last is as it was written, so
        errors are reported of that."""
        for select in selects[:-1]:
            try:
                self._make(one, select, names, values)
            except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException):
                raise
            except duckdb.Error:
                continue
            return
        self._make(one, selects[-1], names, values)

    def _make(
        self, one: Statement, select: str, names: NamedObjects | None, values: dict[str, Any] | None
    ) -> None:
        con = self.con
        if one.kind == "explain":
            text = f"EXPLAIN {one.options}\n{select}"
            rows = self._with_files(names, lambda: con.execute(text, values).fetchall())
            con.execute(
                f'CREATE OR REPLACE TEMP TABLE "{RESULT}" (explain_key VARCHAR,'
                " explain_value VARCHAR)"
            )
            insert = f'INSERT INTO "{RESULT}" VALUES (?, ?)'  # noqa: S608 (a name of ours)
            con.executemany(insert, [list(row) for row in rows])
            return
        name = RESULT if one.kind == "select" else one.name
        kind = "VIEW" if one.kind == "view" else "TABLE"
        quoted = name.replace('"', '""')
        text = f'CREATE OR REPLACE TEMP {kind} "{quoted}" AS {select}'
        try:
            self._with_files(names, lambda: con.execute(text, values).fetchall())
        except (duckdb.BinderException, duckdb.CatalogException):
            con.execute(select, values)  # fails alike, with the line and column
            raise
        if one.kind == "select" and names is None:
            self._hide_own()
        if one.kind != "select":
            self.made[name.lower()] = one.kind
        if one.kind == "view":
            self.objects.remember(name, select)

    def _hide_own(self) -> None:
        """Take the table of the result out of a result that tells of all there is."""
        table = f'temp.main."{RESULT}"'
        for column, *_ in self.con.execute(f"DESCRIBE {table}").fetchall():
            if column in ("name", "table_name", "tablename"):
                self.con.execute(f"DELETE FROM {table} WHERE {column} = '{RESULT}'")  # noqa: S608

    def _answer(
        self, one: Statement, number: int, *, flat: bool, cells_up_to: int, most: int
    ) -> dict[str, Any]:
        if one.kind in ("table", "view"):
            return {}
        table = f'temp.main."{RESULT}"'
        (rows,) = self.con.execute(f"SELECT count(*) FROM {table}").fetchall()[0]  # noqa: S608
        chosen, columns = selection(self.con, table, flat=flat)
        if most:  # a file of few octets may be very many in memory
            text = f"SELECT coalesce(sum(strlen(r::VARCHAR)), 0)::BIGINT FROM ({chosen}) r"  # noqa: S608
            (octets,) = self.con.execute(text).fetchall()[0]
            if octets > most:
                raise UsageError(
                    f"the result is {octets:,} octets of text, {most:,} are the most",
                    advice="ask for fewer rows or columns, or shorter texts",
                )
        answer: dict[str, Any] = {"rows": rows}
        if rows <= cells_up_to and (text := plain(columns, chosen)):
            answer |= {"columns": columns, "cells": self.con.execute(text).fetchall()}
        else:
            file = self.private / f"{number}.parquet"
            self.con.execute(f"COPY ({chosen}) TO {literal(str(file))} (FORMAT parquet)")
            answer["file"] = file.name
        self.con.execute(f"DROP TABLE {table}")
        return answer
