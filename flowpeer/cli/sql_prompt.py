"""The prompt of `flowpeer sql`: lines to statements, with history and completion."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowpeer.cli.sql_names import frame_of, render, resolve, view_names
from flowpeer.cli.state import State, printable, terminal_width

if TYPE_CHECKING:
    from flowpeer.query import Session

HISTORY_LINES = 10_000
SHOWN_ROWS = 1_000
"""Rows of an answer that are printed; the count of the rest is told."""

HELP = """\
A statement ends with a semicolon. The name of a question alone on a line asks it; values follow
as name=value. .list names questions, .tables the tables and views, .help says this, .quit or
Ctrl-D leaves. Ctrl-C drops the line or stops the query. Tab completes."""

_KEYWORDS = re.findall(
    r"\w+",
    """
    SELECT FROM WHERE GROUP BY ORDER LIMIT JOIN LEFT USING WITH AS AND OR NOT NULL DESC HAVING
    QUALIFY OVER PARTITION DISTINCT COUNT SUM DESCRIBE SUMMARIZE EXPLAIN
    """,
)


def prompt(session: Session, state: State, *, timeout_seconds: float | None = None) -> None:
    """Read and answer until the end of input."""
    history = _prepare(session)
    if session.note:
        state.say(f"note: {session.note}")
    state.say(".help for help, .quit to leave")
    ended = False
    try:
        while not ended:
            with contextlib.suppress(KeyboardInterrupt):  # a second one, while the first is told
                ended = _ends(session, timeout_seconds)
    finally:
        _keep(history)


def _ends(session: Session, timeout_seconds: float | None) -> bool:
    """Whether the input ended. Until then, Ctrl-C stops what is being done and never the prompt,
    wherever between two statements it arrives."""
    try:
        while (text := _read()) is not None:
            _answer(session, text, timeout_seconds)
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


def _answer(session: Session, text: str, timeout_seconds: float | None) -> None:
    from flowpeer.errors import FlowpeerError

    if text.startswith("."):
        print(_command(text.removesuffix(";")))
        return
    values: dict[str, str | None] = {}
    if _alone(text):
        text, *words = text.removesuffix(";").split()
        values = {name: value for name, _, value in (word.partition("=") for word in words)}
    try:
        statement, values = resolve(text, values)
        table = session.query(statement, values, timeout_seconds=timeout_seconds, flat=True)
        frame = frame_of(table.slice(0, SHOWN_ROWS))
        sys.stdout.write(str(render(frame, "table", width=terminal_width())))
        if table.num_rows > SHOWN_ROWS:
            print(f"… {table.num_rows - SHOWN_ROWS:,} more rows; add LIMIT, or use --format csv")
    except FlowpeerError as error:
        print(printable(f"error: {error.what}"), file=sys.stderr)
        if error.advice:
            print(printable(f"try: {error.advice}"), file=sys.stderr)


def _command(word: str) -> str:
    from flowpeer_sql import questions

    if word == ".list":
        return "\n".join(f"{q.name:28} {q.title}" for q in questions())
    if word == ".tables":
        from flowpeer.schema import TABLES

        return "\n".join([*TABLES, *view_names()])
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
    words |= set(re.findall(r"\S+", _command(".tables"))) | {".help", ".list", ".tables", ".quit"}
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
