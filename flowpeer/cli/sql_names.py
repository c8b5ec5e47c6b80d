"""What `flowpeer sql` and its prompt share: tables to documents, words to parameters."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowpeer.cli.state import printable, terminal_width
from flowpeer.errors import UsageError
from flowpeer_core.addresses import text_of

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from flowpeer.query import QueryResult

SPAN = ("period_start", "period_end")
PLAN = ["explain_key", "explain_value"]
"""The columns of EXPLAIN, whose values are drawings of many lines."""
FORMATS = ("table", "csv", "json", "parquet", "xlsx")


def frame_of(table: pa.Table, *, readable: bool = True) -> pl.DataFrame:
    """The result as a frame; with `readable` octets as text (addresses, else hexadecimal).

    A name that appears more than once gets a number, since a frame has each name once.
    """
    import polars as pl
    import pyarrow as pa

    names: list[str] = []
    for name in table.column_names:
        unique, count = name, 1
        while unique in names:
            unique, count = f"{name}_{count}", count + 1
        names.append(unique)
    table = table.rename_columns(names)
    for index, field in enumerate(table.schema):
        if readable and (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)):
            column = table.column(index).combine_chunks().dictionary_encode()
            text = pa.array([_octets(v.as_py()) for v in column.dictionary], pa.string())
            table = table.set_column(index, field.name, text.take(column.indices))
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _octets(value: bytes) -> str:
    return text_of(value) if len(value) == 16 else value.hex()


def few_rows(answer: QueryResult, *, width: int) -> str:
    """An answer of cells as the terminal's table; Polars is not imported for it."""
    from flowpeer_reports.render.terminal import Heading, plain_terminal

    if [name for name, _ in answer.columns or ()] == PLAN:
        return _plans(text for _, text in answer.cells or ())
    kinds = [kind for _, kind in answer.columns or ()]
    headings = [Heading(name, _alignment(kind)) for name, kind in answer.columns or ()]
    rows = [
        [_value(cell, kind) for cell, kind in zip(row, kinds, strict=True)]
        for row in answer.cells or ()
    ]
    return plain_terminal(headings, rows, width=width)


def _plans(texts: Iterable[str | None]) -> str:
    return "".join(f"{printable(text or '').rstrip()}\n" for text in texts)


def _alignment(kind: str) -> Literal["number", "text", "other"]:
    if kind in ("VARCHAR", "BLOB"):
        return "text"
    return "other" if kind in ("BOOLEAN", "DATE") or kind.startswith("TIME") else "number"


def _value(cell: Any, kind: str) -> Any:
    if cell is None:
        return None
    if kind == "BLOB":
        return _octets(bytes.fromhex(cell))
    if kind.startswith("TIMESTAMP"):
        try:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=cell)
        except OverflowError:  # a year that Python does not know
            return f"{cell} us"
    return cell


def render(frame: pl.DataFrame, chosen: str, *, width: int) -> str | bytes:
    """`frame` in one of FORMATS."""
    from flowpeer_reports.render import render_table

    if chosen == "table" and frame.columns == PLAN:
        return _plans(frame["explain_value"])
    if chosen == "table":
        return render_table(frame, None, format="terminal", width=width)
    return render_table(frame, None, format=chosen)  # type: ignore[arg-type]


def write(frame: pl.DataFrame, chosen: str, out: Path | None = None) -> None:
    """A table in one of FORMATS, on stdout or as a file that appears atomically."""
    document = render(frame, chosen, width=terminal_width())
    content = document if isinstance(document, bytes) else document.encode("utf-8")
    if out is not None:
        from flowpeer.analysis.answers import write_documents

        write_documents(out.parent, {out.name: content})
    elif isinstance(document, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(document)
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(document)


def parameters_of(arguments: list[str], period: str | None = None) -> dict[str, str | None]:
    """`name=value` each, and the times of a period.

    Raises:
        UsageError: a word that is none, or a name that is given twice.
    """
    values: dict[str, str | None] = {}
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(f"{argument!r} is not name=value", advice="write it like metro=ams")
        if name in values:
            raise UsageError(f"parameter {name} is given twice", advice="give it once")
        values[name] = typed(value)
    if period is not None:
        from flowpeer.period import parse_period

        start, end = parse_period(period)
        for name in (*SPAN, "period"):
            if name in values:
                raise UsageError(f"--period and -p {name}=… exclude each other")
        for name, time in zip(SPAN, (start, end), strict=True):
            values[name] = time.strftime("%Y-%m-%d %H:%M:%S")
    return values


def typed(argument: str) -> str:
    """A word of the command line, whose octets come in disguise where the locale is not theirs."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeDecodeError:
        return argument.encode("utf-8", errors="replace").decode("utf-8")
