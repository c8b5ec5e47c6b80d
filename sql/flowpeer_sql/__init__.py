"""Views, macros and questions over the lake, each in an `.sql` file of its own.

This package is text: it knows neither an engine nor where the tables are. A file starts with a
comment that is its documentation. Its first line is the title; after it stands prose; then, where
they apply, lines of these forms:

    -- Needs: other_view, another_view            (views only: what must exist before)
    -- Parameter metro VARCHAR = NULL: one metro; all of them where NULL

A parameter is bound by name (`$metro`), never pasted into the text. NULL is the absent value.
`{p95_rank}` stands for the one definition of the percentile's rank, `flowpeer_core.p95`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from flowpeer_core.p95 import RANK_SQL

__all__ = ["Parameter", "Question", "Script", "macros", "questions", "signature", "views"]

_PARAMETER = re.compile(r"Parameter (?P<name>\w+) (?P<type>\w+) = (?P<default>[^:]*): (?P<why>.+)")


@dataclass(frozen=True, slots=True)
class Script:
    """One view or one set of macros: DDL to run after those it `needs`."""

    name: str
    title: str
    description: str
    needs: tuple[str, ...]
    sql: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One bound value of a question; `default` is text that its `type` accepts, or None."""

    name: str
    type: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Question:
    """One SELECT with its documentation; every parameter has a default."""

    name: str
    title: str
    description: str
    parameters: tuple[Parameter, ...]
    sql: str

    def defaults(self) -> dict[str, str | None]:
        """The parameters as the question is asked when nobody says otherwise."""
        return {p.name: p.default for p in self.parameters}


def _read(folder: str) -> Iterator[tuple[str, list[str], str]]:
    """Name, header lines without their `--`, and whole text of every file, by name."""
    for path in sorted((Path(__file__).parent / folder).glob("*.sql")):
        text = path.read_text(encoding="utf-8").replace("{p95_rank}", f"({RANK_SQL})")
        header = []
        for line in text.splitlines():
            if not line.startswith("--"):
                break
            header.append(line[2:].strip())
        yield path.stem, header, text


def _prose(header: list[str]) -> str:
    about = (line for line in header[1:] if not line.startswith(("Needs:", "Parameter ")))
    return "\n".join(about).strip()


@cache
def views() -> tuple[Script, ...]:
    """Every view and macro set, in an order in which they can be created."""
    found = {}
    for name, header, text in _read("views"):
        needs = next((line[6:] for line in header if line.startswith("Needs:")), "")
        wanted = tuple(word.strip() for word in needs.split(",") if word.strip())
        found[name] = Script(name, header[0], _prose(header), wanted, text)
    order = TopologicalSorter({name: script.needs for name, script in found.items()})
    return tuple(found[name] for name in order.static_order())


@cache
def questions() -> tuple[Question, ...]:
    """Every question, by name."""
    found = []
    for name, header, text in _read("questions"):
        parameters = tuple(
            Parameter(
                m["name"], m["type"], None if m["default"] == "NULL" else m["default"], m["why"]
            )
            for line in header
            if (m := _PARAMETER.fullmatch(line))
        )
        found.append(Question(name, header[0], _prose(header), parameters, text))
    return tuple(found)


_START = "coalesce(_moment(period_start::VARCHAR), _period_start(period))"
_END = "coalesce(_moment(period_end::VARCHAR), _period_end(period))"
_BEFORE = (
    "coalesce(_moment(before_start::VARCHAR), _period_start(before)),"
    " coalesce(_moment(before_end::VARCHAR), _period_end(before))"
)

_SAID_AS = {
    "asn": "_asn_of(asn)",
    "provider": "_asn_of(provider)",
    "direction": "_direction_of(direction)",
    "period_start": _START,
    "period_end": _END,
    "before_start": f"_before_start({_START}, {_END}, {_BEFORE})",
    "before_end": f"_before_end({_START}, {_BEFORE})",
    "top": "_top_of(top)",
    "bucket": "_bucket_of(bucket)",
}
"""How a parameter is read that may be written in more than one way."""


@cache
def macros() -> tuple[Script, ...]:
    """Every question as a table macro: `FROM growth(metro := 'ams', period := '2026Q3')`.

    A parameter may be called like a column of the question, so the text stands in a macro with
    other names (`_growth`), which the one that people call hands its values to.
    """
    return tuple(_macro(question) for question in questions())


def _macro(question: Question) -> Script:
    name, parameters = question.name, question.parameters
    body = re.sub(
        r"\$(\w+)", r"_given_\1", re.sub(r"^--.*\n", "", question.sql, flags=re.M)
    ).strip()
    inner = ", ".join(f"_given_{p.name}" for p in parameters)
    outer = ", ".join(f"{p} := {default}" for p, default in signature(question).items())
    values = ", ".join(_SAID_AS.get(p.name, p.name) for p in parameters)
    # Asked once, beside the rows: what hangs on a table would be looked up for each of them.
    known = " WHERE _metro_known(metro)" if any(p.name == "metro" for p in parameters) else ""
    text = (
        f"CREATE OR REPLACE MACRO _{name}({inner}) AS TABLE\n{body.removesuffix(';')};\n"
        f"CREATE OR REPLACE MACRO {name}({outer}) AS TABLE FROM _{name}({values}){known};\n"
    )
    return Script(name, question.title, question.description, (), text)


def signature(question: Question) -> dict[str, str]:
    """Parameters of a question's macro, in order, each with its default as SQL."""
    found = {}
    for p in question.parameters:
        for start, period in (("period_start", "period"), ("before_start", "before")):
            if p.name == start:
                found[period] = "NULL"
        default = "NULL" if p.default is None else "'" + p.default.replace("'", "''") + "'"
        found[p.name] = default
    return found
