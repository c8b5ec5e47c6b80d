"""What `flowpeer sql` and its prompt share: names to statements, and tables to documents."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from flowpeer_core.addresses import text_of

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from flowpeer.query import Answer
    from flowpeer_sql import Question


def resolve(text: str, values: dict[str, str | None]) -> tuple[str, dict[str, str | None]]:
    """Statement and parameters for `text`: the name of a question, or a statement itself.

    Raises:
        UsageError: a name that is no question, a parameter that the question does not have.
    """
    word = text.strip().removesuffix(";").strip()
    if not re.fullmatch(r"[A-Za-z_]\w*", word):
        return text, values
    from flowpeer.errors import UsageError
    from flowpeer_sql import signature

    question = question_named(word)
    if question is None:
        from flowpeer.schema import TABLES

        if word in TABLES or word in view_names():
            raise UsageError(
                f"{word} is a table, not a question", advice=f'"FROM {word} LIMIT 20" shows rows'
            )
        raise UsageError(f"no question {word!r}{nearest(word)}", advice="see `flowpeer sql --list`")
    known = signature(question)
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(
            f"{word} has no parameter {', '.join(unknown)}", advice=f"it has {', '.join(known)}"
        )
    given = {name: value for name, value in values.items() if value != ""}
    return f"FROM {word}({', '.join(f'{name} := ${name}' for name in given)})", given


def question_named(name: str) -> Question | None:
    from flowpeer_sql import questions

    return next((q for q in questions() if q.name == name), None)


def view_names() -> list[str]:
    """Views, macros and `crossings`, by name."""
    return sorted({*made_names(), "crossings"})


def made_names() -> dict[str, tuple[str, str]]:
    """Views and macros: which of the two, and the title of the file that makes them."""
    from flowpeer_sql import views

    made = re.compile(r"CREATE OR REPLACE (VIEW|MACRO) ([a-z]\w*)")
    return {
        name: (kind.lower(), script.title)
        for script in views()
        for kind, name in made.findall(script.sql)
    }


def nearest(word: str) -> str:
    from difflib import get_close_matches

    from flowpeer_sql import questions

    close = get_close_matches(word, [q.name for q in questions()], 1)
    return f", nearest is {close[0]}" if close else ""


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


def few_rows(answer: Answer, *, width: int) -> str:
    """An answer of cells as the terminal's table; Polars is not imported for it."""
    from flowpeer_reports.render.terminal import Heading, plain_terminal

    kinds = [kind for _, kind in answer.columns or ()]
    headings = [Heading(name, _alignment(kind)) for name, kind in answer.columns or ()]
    rows = [
        [_value(cell, kind) for cell, kind in zip(row, kinds, strict=True)]
        for row in answer.cells or ()
    ]
    return plain_terminal(headings, rows, width=width)


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

    if chosen == "table":
        return render_table(frame, None, format="terminal", width=width)
    return render_table(frame, None, format=chosen)  # type: ignore[arg-type]
