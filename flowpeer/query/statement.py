"""A statement's words: what stands before the SELECT that DuckDB is to check.

DuckDB serializes only SELECT. EXPLAIN, CREATE TEMP TABLE|VIEW … AS and PIVOT without IN are read
here, by our own parser, which does not need to be right about SQL: what is run is a prefix that
this module writes, and a text that DuckDB's parser has found to be one SELECT of allowed nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from flowpeer.errors import UsageError

ADVICE = (
    "flowpeer sql reads: SELECT, WITH, VALUES, PIVOT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN of one"
    " of them, and CREATE TEMP TABLE|VIEW name AS one of them"
)

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\d[\w.]*)
  | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, text or sign of a statement, `depth` brackets deep; `word` is in capitals."""

    word: str
    kind: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What is asked: the `select` as it was written, and what is to be done with it.

    `offset` is where it starts in the text, `name` that of the temporary table or view,
    `options` those of EXPLAIN, brackets included.
    """

    kind: Literal["select", "explain", "table", "view"]
    select: str
    offset: int = 0
    name: str = ""
    options: str = ""


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, without blanks and comments."""
    depth = 0
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup if found.lastgroup != "tag" else "text")
        if kind == "space":
            continue
        word = found[0].upper() if kind == "word" else found[0]
        depth -= word in (")", "]", "}") and kind == "sign"
        yield Token(word, kind, found.start(), found.end(), depth)
        depth += word in ("(", "[", "{") and kind == "sign"


def statements(text: str) -> list[Statement]:
    """The statements of a text, one after the other.

    Raises:
        UsageError: none, or one that is neither read nor a temporary table or view.
    """
    if "\0" in text:
        raise UsageError("a query with a NUL character in it", advice=ADVICE)
    found, start = [], 0
    every = list(tokens(text))
    for mark in (*(t for t in every if t.word == ";" and t.kind == "sign"), None):
        end = len(text) if mark is None else mark.start
        inside = [t for t in every if start <= t.start < end]
        if inside:
            found.append(_statement(text, inside))
        start = end + 1
    if not found:
        raise UsageError("no statement where one is wanted", advice=ADVICE)
    return found


def _statement(text: str, inside: list[Token]) -> Statement:
    words = [t.word if t.kind == "word" else "" for t in inside] + [""] * 8
    last = inside[-1].end
    if words[0] == "EXPLAIN":
        at = 1 + (words[1] == "ANALYZE")
        if at < len(inside) and inside[at].word == "(" and _options(inside[at:]):
            at += len(_options(inside[at:]))
        rest = _rest(text, inside, at, last)
        return replace(rest, kind="explain", options=text[inside[0].end : rest.offset])
    if words[0] == "CREATE":
        at = 1
        if words[1:3] == ["OR", "REPLACE"]:
            at = 3
        if words[at] not in ("TEMP", "TEMPORARY") or words[at + 1] not in ("TABLE", "VIEW"):
            raise UsageError("only temporary tables and views can be made", advice=ADVICE)
        kind: Literal["table", "view"] = "table" if words[at + 1] == "TABLE" else "view"
        name = inside[at + 2] if at + 2 < len(inside) else inside[-1]
        if words[at + 3] != "AS" or name.kind not in ("word", "quoted"):
            raise UsageError(
                f"no name and AS after CREATE TEMP {kind.upper()}",
                advice=f"write it like CREATE TEMP {kind.upper()} mine AS SELECT …",
            )
        written = text[name.start : name.end]
        if name.kind == "quoted":
            written = written[1:-1].replace('""', '"')
        return replace(_rest(text, inside, at + 4, last), kind=kind, name=written)
    return _rest(text, inside, 0, last)


def _options(inside: list[Token]) -> list[Token]:
    """`(ANALYZE, FORMAT json)`: the tokens up to the closing bracket, if they are no query."""
    end = next((i for i, t in enumerate(inside) if t.word == ")"), 0)
    plain = all(t.kind == "word" or t.word == "," for t in inside[1:end])
    known = {"ANALYZE", "FORMAT"} & {t.word for t in inside[1:2]}
    return inside[: end + 1] if end and plain and known else []


def _rest(text: str, inside: list[Token], at: int, last: int) -> Statement:
    if at >= len(inside):
        raise UsageError("the statement ends where a SELECT is wanted", advice=ADVICE)
    start = inside[at].start
    return Statement("select", text[start:last], start)
