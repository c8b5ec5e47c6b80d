"""What Tab offers at the prompt of `flowpeer sql`: names that fit where the cursor stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flowpeer.query.statement import Token, tokens

KEYWORDS = re.findall(
    r"\w+",
    """
    ALL AND AS ASC BETWEEN BY CASE CAST CREATE CROSS DESC DESCRIBE DISTINCT ELSE END EXCLUDE EXPLAIN
    FILTER FROM FULL GROUP HAVING IN INNER INTERVAL INTO IS JOIN LEFT LIKE LIMIT NOT NULL ON OR
    ORDER OVER PARTITION PIVOT QUALIFY RIGHT SELECT SUMMARIZE TABLE TEMP THEN UNION USING VALUES
    VIEW WHEN WHERE WINDOW WITH
    """,
)
BEFORE_TABLES = frozenset({"FROM", "JOIN", "TABLE", "DESCRIBE", "SUMMARIZE", "PIVOT"})

_HERE = re.compile(r"(?:(?P<of>\w+|\"[^\"]*\")\.)?(?P<start>\w*)\Z")


@dataclass
class CompletionNames:
    """What there is to name; `columns_of` gives those of a table, view or question."""

    tables: Sequence[str]
    questions: Mapping[str, Sequence[str]]
    functions: Sequence[str]
    columns_of: Callable[[str], Sequence[str]]
    commands: Mapping[str, Sequence[str]]
    """Dot commands, each with the words that may follow it."""
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of parameters of questions."""


def offers(text: str, cursor: int, names: CompletionNames) -> tuple[list[str], int]:
    """Words that may stand at the cursor, in order, and how much of one is typed before it."""
    before = text[:cursor]
    if before.lstrip().startswith("."):
        return _of_command(before.lstrip(), names)
    here = _HERE.search(before)
    assert here is not None  # it may be empty
    start, of = here["start"], here["of"]
    every = list(tokens(before))
    if of is not None:
        table = _tables(list(tokens(text)), names).get(of.strip('"').lower(), of.strip('"'))
        return _starting(start, names.columns_of(table)), len(start)
    if any(t.kind == "sign" and t.word in "'\"" for t in every):
        return [], 0  # inside a text
    done = every[:-1] if start and every else every
    texts = [t.word for t in done]
    if texts and texts[0].lower() in names.questions and "(" not in texts:
        return _of_question(before, texts[0].lower(), names)
    if texts and texts[-1] in BEFORE_TABLES:
        return _starting(start, [*names.tables, *names.questions]), len(start)
    found: list[str] = []
    if call := _call(done, names):
        found += [f"{name} := " for name in names.questions[call]]
    for table in dict.fromkeys(_tables(list(tokens(text)), names).values()):
        found += names.columns_of(table)
    if not texts:
        found += names.questions
    found += [*names.functions, *KEYWORDS, *names.tables]
    return _starting(start, found), len(start)


def _starting(start: str, names: Iterable[str]) -> list[str]:
    low = start.lower()
    return [name for name in dict.fromkeys(names) if name.lower().startswith(low)]


def _of_command(before: str, names: CompletionNames) -> tuple[list[str], int]:
    word, space, rest = before.partition(" ")
    if not space:
        return _starting(word, names.commands), len(word)
    return _starting(rest, names.commands.get(word, ())), len(rest)


def _of_question(before: str, question: str, names: CompletionNames) -> tuple[list[str], int]:
    """`growth metro=ams dir`: parameters, and the values of some."""
    typed = re.split(r"\s", before)[-1]
    name, equals, value = typed.partition("=")
    if equals:
        return _starting(value, names.values.get(name, ())), len(value)
    given = {word.partition("=")[0] for word in before.split()}
    missing = [f"{p}=" for p in names.questions[question] if p not in given]
    return _starting(name, missing), len(name)


def _call(done: list[Token], names: CompletionNames) -> str | None:
    """The question in whose brackets the cursor stands, where an argument starts."""
    if not done or done[-1].word not in ("(", ","):
        return None
    open_ = [i for i, t in enumerate(done) if t.word == "(" and t.kind == "sign"]
    for at in reversed(open_):
        closed = any(t.word == ")" and t.depth == done[at].depth for t in done[at:])
        if not closed:
            name = done[at - 1].word.lower() if at else ""
            return name if name in names.questions else None
    return None


def _tables(every: list[Token], names: CompletionNames) -> dict[str, str]:
    """Tables that a statement reads, by alias and by name, in small letters."""
    known = {name.lower(): name for name in (*names.tables, *names.questions)}
    found = {}
    for at, token in enumerate(every[:-1]):
        if token.word not in ("FROM", "JOIN", ","):
            continue
        name = every[at + 1]
        low = name.word.strip('"').lower()
        if name.kind not in ("word", "quoted") or low not in known:
            continue
        after = at + 2
        if after < len(every) and every[after].word == "(":  # what a question is given
            depth = every[after].depth
            ends = (i for i in range(after, len(every)) if every[i].word == ")")
            after = next((i + 1 for i in ends if every[i].depth == depth), len(every))
        if after < len(every) and every[after].word == "AS":
            after += 1
        found[low] = known[low]
        if after < len(every) and every[after].kind in ("word", "quoted"):
            alias = every[after].word
            if alias not in KEYWORDS:
                found[alias.strip('"').lower()] = known[low]
    return found
