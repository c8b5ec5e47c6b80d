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
from importlib.resources import files

from flowpeer_core.p95 import RANK_SQL

__all__ = ["Parameter", "Question", "Script", "questions", "views"]

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
    for path in sorted(files(__name__).joinpath(folder).iterdir(), key=lambda path: path.name):
        if not path.name.endswith(".sql"):
            continue
        text = path.read_text(encoding="utf-8").replace("{p95_rank}", f"({RANK_SQL})")
        header = []
        for line in text.splitlines():
            if not line.startswith("--"):
                break
            header.append(line[2:].strip())
        yield path.name.removesuffix(".sql"), header, text


def _prose(header: list[str]) -> str:
    told = (line for line in header[1:] if not line.startswith(("Needs:", "Parameter ")))
    return "\n".join(told).strip()


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
