"""Statements on a connection: checked, run into a temporary table, and its rows handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from flowpeer.catalog import told, with_files
from flowpeer.errors import UsageError
from flowpeer.query.check import check, tree_of
from flowpeer.query.pivot import with_values
from flowpeer.query.portable import selection
from flowpeer.query.words import ADVICE, Statement, statements

RESULT = "_flowpeer_result"
BATCH_ROWS = 65_536


class Runner:
    """What one connection does for the parent."""

    def __init__(self, con: duckdb.DuckDBPyConnection, root: Path, private: Path) -> None:
        self.con = con
        self.root = root
        self.private = private
        self.made: dict[str, str] = {}
        self.taken = {
            str(name).lower()
            for (name,) in con.execute(
                "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()"
            ).fetchall()
        }
        self.macros, self.table_macros = (self._made(kind) for kind in ("macro", "table_macro"))

    def _made(self, kind: str) -> frozenset[str]:
        found = self.con.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions()"
            " WHERE function_type = ? AND NOT internal",
            [kind],
        )
        return frozenset(name for (name,) in found.fetchall())

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request of the parent."""
        if "attach" in request:
            self.attach(request["attach"], self.private / request["file"])
            return {}
        return self.run(
            request["sql"], request["parameters"], request["number"], flat=request["flat"]
        )

    def attach(self, name: str, file: Path) -> None:
        """A Parquet file in the private folder as a table that nothing replaces.

        Raises:
            UsageError: there is a table of that name.
        """
        if name.lower() in self.taken or name.lower() in self.made:
            raise UsageError(f"there is a table {name} already", advice="choose another name")
        path = str(file).replace("'", "''")
        with told("", where=file):
            self.con.execute(f"""CREATE TEMP VIEW "{name}" AS FROM read_parquet('{path}')""")
        self.taken.add(name.lower())

    def run(
        self, sql: str, parameters: dict[str, Any], number: int, *, flat: bool
    ) -> dict[str, Any]:
        """The answer to one or more statements: the last is asked, those before it make
        temporary tables and views.

        Raises:
            UsageError: what cannot be run, with its line and column where DuckDB says them.
            InputError: a file of the lake that cannot be read.
        """
        every = statements(sql)
        if any(one.kind not in ("table", "view") for one in every[:-1]):
            raise UsageError(f"{len(every)} statements where one is wanted", advice=ADVICE)
        ready = []
        for one in every:
            with told(sql, offset=one.offset):
                ready.append((one, *self._checked(one)))
        if unknown := sorted(set(parameters).difference(*(names for *_, names in ready))):
            raise UsageError(f"the statement has no parameter ${', $'.join(unknown)}")
        for one, select, names in ready:
            given = {name: parameters[name] for name in names if name in parameters}
            with told(sql, offset=one.offset):
                self._run(one, select, given or None)
        made = [f"{one.kind} {one.name}" for one in every if one.kind in ("table", "view")]
        with told(sql):
            return {"made": made, **self._answer(every[-1], number, flat=flat)}

    def _checked(self, one: Statement) -> tuple[str, set[str]]:
        """The SELECT of a statement, every node of it allowed, and its parameters."""
        if one.kind in ("table", "view"):
            if one.name.lower() in self.taken or one.name.lower().startswith("_flowpeer"):
                raise UsageError(f"there is a table {one.name} already", advice="choose a name")
            if self.made.get(one.name.lower(), one.kind) != one.kind:
                raise UsageError(f"{one.name} is no {one.kind}", advice="choose another name")
        select = with_values(one.select, self._values)
        tree = tree_of(self.con, select)
        check(tree, macros=self.macros, table_macros=self.table_macros)
        return select, {str(p["key"]) for p in tree["statements"][0]["named_param_map"]}

    def _values(self, select: str) -> list[str]:
        """One column of a checked SELECT, as literals."""
        check(tree_of(self.con, select), macros=self.macros, table_macros=self.table_macros)
        rows = with_files(self.con, self.root, lambda: self.con.execute(select).fetchall())
        return ["'" + str(row[0]).replace("'", "''") + "'" for row in rows]

    def _run(self, one: Statement, select: str, values: dict[str, Any] | None) -> None:
        con = self.con
        if one.kind == "explain":
            text = f"EXPLAIN {one.options}\n{select}"
            rows = with_files(con, self.root, lambda: con.execute(text, values).fetchall())
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
            with_files(con, self.root, lambda: con.execute(text, values).fetchall())
        except (duckdb.BinderException, duckdb.CatalogException):
            con.execute(select, values)  # fails alike, with the line and column
            raise
        if one.kind != "select":
            self.made[name.lower()] = one.kind

    def _answer(self, one: Statement, number: int, *, flat: bool) -> dict[str, Any]:
        if one.kind in ("table", "view"):
            return {}
        file = self.private / f"{number}.arrow"
        table = f'temp.main."{RESULT}"'
        reader = self.con.sql(selection(self.con, table, flat=flat)).to_arrow_reader(BATCH_ROWS)
        rows = 0
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        self.con.execute(f"DROP TABLE {table}")
        return {"file": file.name, "rows": rows}
