"""`flowpeer sql`: ask the lake, in one shot or at a prompt."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowpeer.cli.sql_names import (
    FORMATS,
    SPAN,
    few_rows,
    frame_of,
    parameters_of,
    typed,
    write,
)
from flowpeer.cli.state import CommandState, terminal_width
from flowpeer.query.asked import made_names, nearest, no_data, question_named, resolve

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from flowpeer.query import QuerySession


MAX_QUERY_BYTES = 1 << 20
FEW_ROWS = 1_000
"""Rows that are printed without a library of frames, which takes longer to start than they do."""


def sql(
    ctx: typer.Context,
    query: Annotated[
        str | None, typer.Argument(help="A statement, or the name of a question (see --list).")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="table, csv, json, parquet or xlsx.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the answer to a file; its ending says the format.")
    ] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(
            help="name=FILE: CSV, Parquet, JSON or XLSX as a table; a folder: each of its Parquet "
            "files, as answers are written with --out FOLDER --format parquet. Repeatable."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Read it from a file; - is stdin."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="name=value, for $name. Repeatable.")
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(help="For period_start and period_end: 2026Q3, 2026-07, START/END."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Stop the query after so many seconds.", min=0.001)
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="The questions, tables, views and macros by name.")
    ] = False,
    show: Annotated[
        str | None, typer.Option(help="Text of a question or view, columns of a table.")
    ] = None,
    write_catalog: Annotated[
        Path | None, typer.Option(help="Write a .duckdb file of views for other programs.")
    ] = None,
) -> None:
    """Ask the lake in SQL (DuckDB). Without a query: a prompt.

    Every table and view is in place, and named questions with parameters. A query runs in a process
    of its own that can only read the lake. Ctrl-C stops it.
    """
    state: CommandState = ctx.obj
    chosen = _format(state, format_, out)
    if list_:
        write(_catalogue(), chosen)
    elif show is not None:
        _show(show, chosen)
    elif write_catalog is not None:
        _write_catalog(state, write_catalog)
    else:
        values = parameters_of(parameter or [], period)
        text = _statement(query, file)
        if text is None:
            from flowpeer.cli.sql_prompt import prompt

            with _session(state, attach or [], values) as session:
                prompt(session, state, timeout_seconds=timeout, mode=chosen, out=out)
            return
        named = question_named(text.strip().removesuffix(";").strip()) is not None
        if named and period is not None:  # which the question reads, and says that it has no data
            values = {k: v for k, v in values.items() if k not in SPAN} | {"period": period}
        text, values = resolve(text, values)
        with _session(state, attach or [], values) as session:
            if period is not None and not named:
                _has_data(session, period, values, timeout)
                if "$period" not in text and re.search(r"\bcrossings\b", text, re.IGNORECASE):
                    # Its rows are those of the period.
                    values = {k: v for k, v in values.items() if k not in SPAN}
            few = FEW_ROWS if chosen == "table" and out is None else -1
            answer = session.ask(text, values, timeout_seconds=timeout, flat=True, few=few)
            if session.note:
                state.say(f"note: {session.note}")
        if answer.table is None and few >= 0:
            sys.stdout.write(few_rows(answer, width=terminal_width()))
        else:
            write(frame_of(answer.arrow(), readable=chosen != "parquet"), chosen, out)


def _has_data(
    session: QuerySession, period: str, values: dict[str, str | None], timeout: float | None
) -> None:
    """Refuse a period without any traffic, as other commands do."""
    span = {name: values.get(name) for name in SPAN}
    rows = session.query(
        "SELECT 1 AS one FROM traffic_between($period_start, $period_end) LIMIT 1",
        span,
        timeout_seconds=timeout,
    )
    if not rows.num_rows:
        raise no_data(period)


def _format(state: CommandState, chosen: str | None, out: Path | None) -> str:
    from flowpeer.errors import UsageError

    if out is not None:
        ending = out.suffix.lower().removeprefix(".")
        if ending not in FORMATS[1:]:
            raise UsageError(
                f"--out {out}: its ending names no format",
                advice=f"use one of .{', .'.join(FORMATS[1:])}",
            )
        if chosen not in (None, ending):
            raise UsageError(f"--out {out} and --format {chosen} exclude each other")
        return ending
    if chosen == "xlsx" and sys.stdout.isatty():
        raise UsageError("xlsx cannot be shown on a terminal", advice="use --out FILE.xlsx")
    if chosen is None:
        return "json" if state.json else "table"
    if chosen not in FORMATS:
        raise UsageError(f"no format {chosen!r}", advice=f"use one of {', '.join(FORMATS)}")
    if state.json and chosen != "json":
        raise UsageError(f"--json and --format {chosen} exclude each other", advice="give one")
    return chosen


def _statement(query: str | None, file: Path | None) -> str | None:
    """The text to run; None where there is none and a person sits at the terminal."""
    from flowpeer.errors import InputError, UsageError

    if query is not None and file is not None:
        raise UsageError("a query and a file of one exclude each other", advice="give one of them")
    if query is not None:
        return typed(query)
    if file is None:
        if sys.stdin.isatty():
            return None
        file = Path("-")
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(MAX_QUERY_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(MAX_QUERY_BYTES + 1)
    except OSError as error:
        raise InputError(str(file), error.strerror or str(error)) from error
    if len(content) > MAX_QUERY_BYTES:
        raise InputError(str(file), "longer than 1 MiB: not a query")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(str(file), "not UTF-8 text", offset=error.start) from error


def _session(
    state: CommandState, attached: list[str], values: Mapping[str, str | None]
) -> QuerySession:
    from flowpeer.query import QuerySession
    from flowpeer.query.attach import parse_all

    files = [file for word in attached for file in parse_all(word)]
    lake = state.lake_root()
    if not lake.is_dir():
        if lake.exists():
            state.lake()  # says what is wrong with it
        state.say(f"note: no lake at {lake} yet, every table is empty")

    def configured() -> Mapping[str, pa.Table]:
        return state.network().tables()

    def crossings(folder: Path) -> list[Path]:
        from flowpeer.pipeline.crossings import span_of, write_crossings

        start, end = span_of(values)
        return write_crossings(state.network(), state.lake(), folder, start=start, end=end)

    session = QuerySession(lake, configured=configured, crossings=crossings)
    try:
        for name, path in files:
            session.attach(name, path)
    except BaseException:
        session.close()
        raise
    return session


def _write_catalog(state: CommandState, path: Path) -> None:
    from flowpeer.catalog import write_catalog
    from flowpeer.errors import UsageError

    if path.suffix != ".duckdb":
        raise UsageError(f"{path} does not end in .duckdb", advice=f"use {path.stem}.duckdb")
    write_catalog(path, state.lake().root, configured=state.network().tables())
    state.say(
        f"wrote {path}: open it read-only. It has the files of now; `rollup` and `compact` write"
        " it again where it is catalog.duckdb in the lake's folder"
    )


def _catalogue() -> pl.DataFrame:
    import polars as pl

    from flowpeer.schema import SQL_TABLES
    from flowpeer_sql import questions

    rows = [("question", q.name, q.title) for q in questions()]
    rows += [(kind, name, title) for name, (kind, title) in sorted(made_names().items())]
    rows += [("table", name, f"{len(columns)} columns") for name, columns in SQL_TABLES.items()]
    return pl.DataFrame(rows, schema=["kind", "name", "title"], orient="row")


def _show(name: str, chosen: str) -> None:
    from flowpeer.errors import UsageError
    from flowpeer.schema import SQL_TABLES
    from flowpeer_sql import views

    if name in SQL_TABLES:
        import polars as pl

        rows = [(c.name, str(c.type), c.unit, c.meaning, c.source) for c in SQL_TABLES[name]]
        head = ["column", "type", "unit", "meaning", "source"]
        write(pl.DataFrame(rows, schema=head, orient="row"), chosen)
        return
    made = re.compile(rf"CREATE OR REPLACE (?:VIEW|MACRO) {re.escape(name)}\b")
    question = question_named(name)
    text = question.sql if question else next((s.sql for s in views() if made.search(s.sql)), None)
    if text is None:
        raise UsageError(f"nothing called {name!r}{nearest(name)}", advice="see --list")
    sys.stdout.write(text)
