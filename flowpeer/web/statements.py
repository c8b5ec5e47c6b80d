"""Statements of readers: a question by name with its parameters, or SQL of their own."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowpeer.errors import UsageError
from flowpeer.web.answers import whole_of
from flowpeer.web.named import spell, with_values
from flowpeer.web.reader import Cancel, SharedReader, ShownTable
from flowpeer.web.view import Filters
from flowpeer_reports.render.cells import inferred
from flowpeer_sql import Question, questions, signature

_BOUNDED = ("select", "from", "with", "values", "table")
"""First words of statements that can stand within another one."""
_OF_NOW = re.compile(
    r"\b(?:now|today|age|(?:get_)?current_\w+|localtime\w*|transaction_timestamp|\w*uuid\w*"
    r"|random)\b", re.IGNORECASE,
)  # fmt: skip
"""Names in a statement whose rows are others each time it runs."""
OF_NOW_S = 10
"""How long the rows of such a statement are kept: for those who ask at the same time."""


def question_of(text: str) -> Question | None:
    """The question that a text names."""
    return next((q for q in questions() if q.name == text), None)


def resolved(view: Filters) -> tuple[str, dict[str, Any]]:
    """The statement of a view and its parameters.

    Raises:
        UsageError: a parameter that the question has not, or no statement.
    """
    text = view.own.get("q", "").strip()
    if not text:
        raise UsageError("no statement", advice="give one as q=…, or the name of a question")
    question = question_of(text)
    given = dict(view.parameters)
    if question is None:
        return text, given
    known = signature(question)
    if unknown := sorted(set(given) - set(known)):
        raise UsageError(
            f"{question.name} has no parameter {', '.join(unknown)}",
            advice=f"it has {', '.join(known)}",
        )
    # As the macro of the same name, which refuses what there is not.
    return f"FROM {question.name}({', '.join(f'{n} := ${n}' for n in given)})", given


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the form of a question."""

    name: str
    meaning: str
    default: str


def fields(question: Question) -> list[FormField]:
    """The form of a question: its parameters, and the periods that stand for two of them."""
    stated = {p.name: p for p in question.parameters}
    return [
        FormField(name, stated[name].meaning, stated[name].default or "")
        if name in stated else FormField(name, "instead of start and end: 2026Q3, 2026-07", "")
        for name in signature(question)
    ]  # fmt: skip


def bounded(text: str, rows: int) -> str:
    """The statement, held to one row more than may be shown, where it can be held."""
    plain = re.sub(r"\A(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+", "", text, flags=re.S)
    word = re.match(r"[A-Za-z]+", plain)
    if word is None or word[0].lower() not in _BOUNDED:
        return text
    return f"FROM (\n{text.rstrip().removesuffix(';')}\n) LIMIT {rows + 1}"


def _make(
    reader: SharedReader, view: Filters, attached: Mapping[str, ShownTable], cancel: Cancel
) -> ShownTable:
    text, values = resolved(view)
    most = reader.settings.query_rows
    held = bounded(text, most)
    try:
        rows = reader.ask(held, values, cancel, attached=attached)
    except UsageError:
        if held == text or cancel.requested:
            raise
        # As the reader wrote it: it fails with its own lines, or could not stand within another.
        rows = reader.ask(text, values, cancel, attached=attached)
    notes: tuple[str, ...] = ()
    if rows.height > most:
        rows = rows.head(most)
        notes = (f"the first {most:,} rows: narrow it, or use `flowpeer sql`",)
    columns = tuple(inferred(n, t) for n, t in rows.schema.items())
    try:
        statement = with_values(text, values)
    except KeyError:
        statement = text
    return ShownTable(rows, columns, notes, statement=statement)


async def run(reader: SharedReader, view: Filters) -> ShownTable:
    """The rows of the statement of a view; over the tables of an answer too, where it names one
    (`answer=NAME`, with the filters that the answer is asked with).

    Raises:
        UsageError: what is wrong with the statement, or no such answer.
    """
    text, values = resolved(view)
    attached: dict[str, ShownTable] = {}
    lasts_s = OF_NOW_S if _OF_NOW.search(text) else 0
    key: tuple[Hashable, ...] = ("statement", text, tuple(sorted(values.items())), spell(lasts_s))
    if name := view.own.get("answer"):
        whole = whole_of(name)
        answer = await whole.fetch(reader, view)
        attached = {name: answer, **answer.beside}
        key += (whole.key(view),)
    return await reader.table(key, partial(_make, reader, view, attached), query=True)
