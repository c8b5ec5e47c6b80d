"""The prompt of `flowpeer sql`: lines to statements, with history and completion."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowpeer.cli.sql_names import frame_of, render
from flowpeer.cli.state import State, printable, terminal_width
from flowpeer.query.asked import resolve, view_names

if TYPE_CHECKING:
    from flowpeer.query import Session

HISTORY_LINES = 10_000
SHOWN_ROWS = 1_000
"""Rows of an answer that are printed; the count of the rest is told."""

HELP = """\
A statement ends with a semicolon. The name of a question alone on a line asks it; values follow
as name=value. Ctrl-C drops the line or stops the query, Ctrl-D leaves. Tab completes.
.list             questions          .tables           tables, views and macros
.schema [NAME]    columns of a table, of all without a name
.mode FORMAT      table, csv or json for what follows
.timer on|off     how long an answer took
.attach NAME=FILE a CSV, Parquet, JSON or XLSX file as a table
.export FILE      the next answer into a file, its ending says the format
.help             this               .quit             leaves"""

MODES = ("table", "csv", "json")

_KEYWORDS = re.findall(
    r"\w+",
    """
    SELECT FROM WHERE GROUP BY ORDER LIMIT JOIN LEFT USING WITH AS AND OR NOT NULL DESC HAVING
    QUALIFY OVER PARTITION DISTINCT COUNT SUM DESCRIBE SUMMARIZE EXPLAIN
    """,
)


@dataclass
class Settings:
    """What dot commands set."""

    timeout_seconds: float | None
    mode: str = "table"
    timer: bool = False
    out: Path | None = None


def prompt(session: Session, state: State, *, timeout_seconds: float | None = None) -> None:
    """Read and answer until the end of input."""
    history = _prepare(session)
    if session.note:
        state.say(f"note: {session.note}")
    state.say(".help for help, .quit to leave")
    ended = False
    settings = Settings(timeout_seconds)
    try:
        while not ended:
            with contextlib.suppress(KeyboardInterrupt):  # a second one, while the first is told
                ended = _ends(session, settings)
    finally:
        _keep(history)


def _ends(session: Session, settings: Settings) -> bool:
    """Whether the input ended. Until then, Ctrl-C stops what is being done and never the prompt,
    wherever between two statements it arrives."""
    try:
        while (text := _read()) is not None:
            _answer(session, text, settings)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return False
    return True


def _read() -> str | None:
    """One statement, or one dot command or question; None at the end of input."""
    lines: list[str] = []
    while True:
        try:
            line = input("flowpeer> " if not lines else "     ...> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            lines.clear()
            continue
        lines.append(line)
        text = "\n".join(lines).strip()
        if not text:
            lines.clear()
        elif text in (".quit", ".exit"):
            return None
        elif text.endswith(";") or (len(lines) == 1 and _alone(text)):
            return text


def _alone(text: str) -> bool:
    from flowpeer_sql import questions

    return text.startswith(".") or text.split()[0] in {q.name for q in questions()}


def _answer(session: Session, text: str, settings: Settings) -> None:
    from flowpeer.errors import FlowpeerError

    begun = time.monotonic()
    try:
        if text.startswith("."):
            print(_command(session, text.removesuffix(";").strip(), settings))
        else:
            _ask(session, text, settings)
            if settings.timer:
                print(f"{time.monotonic() - begun:.2f} s")
    except FlowpeerError as error:
        print(printable(f"error: {error.what}"), file=sys.stderr)
        if error.advice:
            print(printable(f"try: {error.advice}"), file=sys.stderr)


def _ask(session: Session, text: str, settings: Settings) -> None:
    values: dict[str, str | None] = {}
    if _alone(text):
        text, *words = text.removesuffix(";").split()
        values = {name: value for name, _, value in (word.partition("=") for word in words)}
    statement, values = resolve(text, values)
    table = session.query(statement, values, timeout_seconds=settings.timeout_seconds, flat=True)
    if settings.out is not None:
        from flowpeer.cli.sql import write

        out, settings.out = settings.out, None
        chosen = out.suffix.lower().removeprefix(".")
        write(frame_of(table, readable=chosen != "parquet"), chosen, out)
        print(printable(f"wrote {table.num_rows:,} rows to {out}"))
        return
    frame = frame_of(table.slice(0, SHOWN_ROWS))
    sys.stdout.write(str(render(frame, settings.mode, width=terminal_width())))
    if table.num_rows > SHOWN_ROWS:
        print(f"… {table.num_rows - SHOWN_ROWS:,} more rows; add LIMIT, or use .export FILE")


def _command(session: Session, text: str, settings: Settings) -> str:
    from flowpeer.errors import UsageError
    from flowpeer_sql import questions

    word, _, rest = text.partition(" ")
    rest = rest.strip()
    if word == ".list":
        return "\n".join(f"{q.name:28} {q.title}" for q in questions())
    if word == ".tables":
        from flowpeer.schema import TABLES

        return "\n".join([*TABLES, *view_names()])
    if word == ".schema":
        rows = session.query(
            "SELECT table_name, column_name, data_type FROM duckdb_columns()"
            " WHERE NOT internal AND ($name IS NULL OR lower(table_name) = lower($name))"
            " ORDER BY table_name, column_index",
            {"name": rest or None},
        )
        if not rows.num_rows:
            raise UsageError(f"no table {rest!r}", advice=".tables names them")
        return str(render(frame_of(rows), "table", width=terminal_width())).rstrip("\n")
    if word == ".mode" and rest in MODES:
        settings.mode = rest
        return f"mode {rest}"
    if word == ".timer" and rest in ("on", "off"):
        settings.timer = rest == "on"
        return f"timer {rest}"
    if word == ".attach" and rest:
        from flowpeer.query.attach import parse

        name, path = parse(rest)
        session.attach(name, path)
        return f"{name} is a table now"
    if word == ".export" and rest:
        from flowpeer.cli.sql import FORMATS

        if Path(rest).suffix.lower().removeprefix(".") not in FORMATS[1:]:
            raise UsageError(f"{rest} names no format", advice=f"use .{', .'.join(FORMATS[1:])}")
        settings.out = Path(rest)
        return f"the next answer goes to {rest}"
    return HELP


def _prepare(session: Session) -> Path | None:
    """Completion and history; where the latter is kept."""
    try:
        import readline
    except ImportError:  # a Python built without it: the prompt works, plainly
        return None
    from flowpeer_sql import questions

    found = session.query("SELECT DISTINCT column_name FROM duckdb_columns() WHERE NOT internal")
    words = set(found["column_name"].to_pylist()) | {q.name for q in questions()} | set(_KEYWORDS)
    from flowpeer.schema import TABLES

    words |= {*TABLES, *view_names(), ".help", ".list", ".tables", ".quit", ".schema", ".mode"}
    words |= {
        ".timer",
        ".attach",
        ".export",
        *(f"{p.name}=" for q in questions() for p in q.parameters),
    }
    ordered = sorted(words)

    def complete(start: str, index: int) -> str | None:
        matching = [w for w in ordered if w.lower().startswith(start.lower())]
        return matching[index] if index < len(matching) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n,()=<>;'\"")
    readline.parse_and_bind("tab: complete")
    readline.set_history_length(HISTORY_LINES)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    history = Path(base) / "flowpeer" / "sql_history"
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        if history.exists():
            readline.read_history_file(history)
    except OSError:
        return None
    return history


def _keep(history: Path | None) -> None:
    if history is None:
        return
    import readline

    with contextlib.suppress(OSError):  # a full disk must not spoil a session that went well
        readline.write_history_file(history)
        history.chmod(0o600)
