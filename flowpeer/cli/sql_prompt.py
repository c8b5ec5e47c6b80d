"""The prompt of `flowpeer sql`: statements, named questions and dot commands, until it is left."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flowpeer.cli.error_messages import complaint
from flowpeer.cli.sql_complete import CompletionNames
from flowpeer.cli.sql_names import FORMATS, frame_of, parameters_of, render, write
from flowpeer.cli.sql_terminal import StatementReader, show
from flowpeer.cli.state import CommandState, printable, terminal_width
from flowpeer.query.asked import made_names, question_named, resolve
from flowpeer.query.statement import statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowpeer.query import QuerySession

SHOWN_ROWS = 1_000
"""Rows of an answer that are printed; the count of the rest is reported."""

HELP = """\
A statement ends with a semicolon. The name of a question alone on a line asks it; values follow
as name=value. Ctrl-C drops what is typed or stops the query, Ctrl-D leaves. Tab completes names:
tables after FROM, columns after a dot, parameters of a question. Ctrl-R searches the history.
.list             questions          .tables           tables, views and macros
.schema [NAME]    columns of a table, of all without a name
.mode FORMAT      table, csv or json for what follows
.timer on|off     how long an answer took
.pager on|off     $PAGER, or less, for what is longer than the screen
.attach NAME=FILE a CSV, Parquet, JSON or XLSX file as a table
.export FILE      the next answer into a file, its ending says the format
.help             this               .quit             leaves
"""
MODES = ("table", "csv", "json")
ON_OFF = ("on", "off")


COMMANDS: dict[str, Sequence[str]] = {
    ".attach": (), ".export": (), ".exit": (), ".help": (), ".list": (), ".mode": MODES,
    ".pager": ON_OFF, ".quit": (), ".schema": (), ".tables": (), ".timer": ON_OFF,
}  # fmt: skip
ASK_S = 10.0
"""For the columns of a view, while a person waits for the names that Tab offers."""


def prompt(
    session: QuerySession,
    state: CommandState,
    *,
    timeout_seconds: float | None = None,
    mode: str = "table",
    out: Path | None = None,
) -> None:
    """Read and answer until the end of input; the first answer goes to `out`."""
    from flowpeer.errors import UsageError

    if out is None and mode not in MODES:
        raise UsageError(f"the prompt prints no {mode}", advice=f"use {', '.join(MODES)}, or --out")
    state.say(".help for help, .quit to leave")
    Prompt(session, state, timeout_seconds, mode if mode in MODES else "table", out=out).run()


def _tables() -> list[str]:
    from flowpeer.schema import SQL_TABLES

    views = (name for name, (kind, _) in made_names().items() if kind == "view")
    return [*SQL_TABLES, *sorted(views)]


def _words(text: str) -> list[str]:
    """`metro='ams' period="2026-09-16 10:00/2026-09-16 11:00"`, as a shell takes it apart."""
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark that has no other
        return text.split()


def _macros() -> list[str]:
    return sorted(name for name, (kind, _) in made_names().items() if kind == "macro")


@dataclass
class Prompt:
    """A session and what dot commands set."""

    session: QuerySession
    state: CommandState
    timeout_seconds: float | None = None
    mode: str = "table"
    timer: bool = False
    paged: bool = True
    noted: bool = False
    out: Path | None = None
    tables: list[str] = field(default_factory=_tables)
    """Tables and views, those that were made or attached here after the lake's."""
    _columns: dict[str, list[str]] = field(default_factory=dict)

    def run(self) -> None:
        """Read and answer until the end of input."""
        lines = StatementReader(self.names())
        ended = False
        while not ended:
            with contextlib.suppress(KeyboardInterrupt):  # a second one, during the first
                ended = self._ends(lines)

    def _ends(self, lines: StatementReader) -> bool:
        """Whether the input ended. Until then, Ctrl-C stops what is being done and never the
        prompt, wherever between two statements it arrives."""
        while True:
            try:
                text = lines.read()
            except KeyboardInterrupt:
                continue  # what was typed is dropped
            if text is None or text.removesuffix(";").strip() in (".quit", ".exit"):
                return True
            try:
                self._answer(text)
            except KeyboardInterrupt:
                print("stopped", file=sys.stderr)

    def _answer(self, text: str) -> None:
        begun = time.monotonic()
        try:
            if text.startswith("."):
                show(self._command(text.removesuffix(";").strip()), paged=self.paged)
                return
            self._ask(text)
        except Exception as error:  # a file that cannot be written, say, must not end a session
            complaint(error).say(as_json=self.state.json)
            return
        if self.timer:
            print(f"{time.monotonic() - begun:.2f} s")

    def _ask(self, text: str) -> None:
        values: dict[str, str | None] = {}
        word, _, rest = text.removesuffix(";").partition(" ")
        if question_named(word.rstrip(";")) is not None:
            text = word.rstrip(";")
            values = parameters_of(_words(rest))
        statement, values = resolve(text, values)
        answer = self.session.ask(
            statement, values, timeout_seconds=self.timeout_seconds, flat=True
        )
        if self.session.note and not self.noted:
            self.noted = True
            self.state.say(f"note: {self.session.note}")
        self._know([o.name for o in statements(statement) if o.kind in ("table", "view")])
        if answer.table is None:  # it made a temporary table or view
            return
        table = answer.table
        if self.out is not None:
            out, self.out = self.out, None
            chosen = out.suffix.lower().removeprefix(".")
            write(frame_of(table, readable=chosen != "parquet"), chosen, out)
            print(printable(f"wrote {table.num_rows:,} rows to {out}"))
            return
        frame = frame_of(table.slice(0, SHOWN_ROWS))
        text = str(render(frame, self.mode, width=terminal_width()))
        if table.num_rows > SHOWN_ROWS:
            more = table.num_rows - SHOWN_ROWS
            text += f"… {more:,} more rows; add LIMIT, or use .export FILE\n"
        show(text, paged=self.paged)

    def _know(self, names: Sequence[str]) -> None:
        for name in names:
            self._columns.pop(name, None)
            if name not in self.tables:
                self.tables.append(name)

    def _command(self, text: str) -> str:
        from flowpeer.errors import UsageError
        from flowpeer_sql import questions

        word, _, rest = text.partition(" ")
        rest = rest.strip()
        if word == ".list":
            return "".join(f"{q.name:28} {q.title}\n" for q in questions())
        if word == ".tables":
            return "".join(f"{name}\n" for name in [*self.tables, *_macros()])
        if word == ".schema":
            return self._schema(rest)
        if word == ".mode" and rest in MODES:
            self.mode = rest
            return f"mode {rest}\n"
        if word == ".timer" and rest in ON_OFF:
            self.timer = rest == "on"
            return f"timer {rest}\n"
        if word == ".pager" and rest in ON_OFF:
            self.paged = rest == "on"
            return f"pager {rest}\n"
        if word == ".attach" and rest:
            from flowpeer.query.attach import parse_all

            files = parse_all(rest)
            for name, path in files:
                self.session.attach(name, path)
            self._know([name for name, _ in files])
            return "".join(f"{name} is a table now\n" for name, _ in files)
        if word == ".export" and rest:
            out = Path(rest).expanduser()
            if out.suffix.lower().removeprefix(".") not in FORMATS[1:]:
                raise UsageError(
                    f"{rest} names no format", advice=f"use .{', .'.join(FORMATS[1:])}"
                )
            self.out = out
            return f"the next answer goes to {rest}\n"
        if word == ".help":
            return HELP
        if word in COMMANDS:
            expected = " or ".join(COMMANDS[word]) or "a file"
            raise UsageError(f"{word} wants {expected}", advice=".help names the commands")
        raise UsageError(f"no command {word}", advice=".help names them")

    def _schema(self, name: str) -> str:
        from flowpeer.errors import UsageError

        question = question_named(name.lower())
        if question is not None:
            text = (
                f"SELECT '{question.name}' AS table_name, column_name, column_type AS data_type"  # noqa: S608
                f" FROM (DESCRIBE FROM {question.name}())"
            )
            rows = self.session.query(text, timeout_seconds=self.timeout_seconds)
        else:
            rows = self.session.query(
                "SELECT table_name, column_name, data_type FROM duckdb_columns()"
                " WHERE NOT internal AND ($name IS NULL OR lower(table_name) = lower($name))"
                " ORDER BY table_name, column_index",
                {"name": name or None},
                timeout_seconds=self.timeout_seconds,
            )
        if not rows.num_rows:
            raise UsageError(f"no table {name!r}", advice=".tables names them")
        return str(render(frame_of(rows), "table", width=terminal_width()))

    def names(self) -> CompletionNames:
        """What Tab offers; `tables` grows with the session."""
        from flowpeer.query.allowed import FUNCTIONS
        from flowpeer_sql import questions, signature

        functions = sorted(name for name in {*FUNCTIONS, *_macros()} if name.isidentifier())
        return CompletionNames(
            tables=self.tables,
            questions={q.name: list(signature(q)) for q in questions()},
            functions=[f"{name}(" for name in functions],
            columns_of=self._columns_of,
            commands=COMMANDS | {".schema": self.tables},
            values={"direction": ("in", "out", "both")},
        )

    def _columns_of(self, name: str) -> list[str]:
        """Of a table, view or question; those of tables are known without asking."""
        from flowpeer.errors import FlowpeerError
        from flowpeer.schema import PARTITIONED, SQL_TABLES

        if name in SQL_TABLES:
            more = ["date", "hour"] if name in PARTITIONED else []
            return [column.name for column in SQL_TABLES[name]] + more
        question = question_named(name)
        if question is not None and "crossings" in question.sql:
            return []  # to ask it is to have them made
        if name not in self._columns:
            called = f"{name}()" if question else '"' + name.replace('"', '""') + '"'
            try:
                rows = self.session.query(f"DESCRIBE FROM {called}", timeout_seconds=ASK_S)
            except FlowpeerError:
                return []
            self._columns[name] = rows["column_name"].to_pylist()
        return self._columns[name]
