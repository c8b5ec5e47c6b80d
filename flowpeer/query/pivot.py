"""PIVOT without IN: DuckDB makes a type of the values first, which nobody may here; so the values
are asked for, and written into the statement.

    PIVOT flows ON protocol USING sum(bytes)  →  … ON protocol IN (6, 17) USING sum(bytes)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowpeer.errors import UsageError
from flowpeer.query.statement import Token, tokens

MAX_COLUMNS = 1000
"""Values of one pivot: more columns than that nobody reads."""

_ENDS = frozenset({"USING", "GROUP", "ORDER", "LIMIT", "UNION", "INTERSECT", "EXCEPT", "OFFSET"})


def with_values(text: str, ask: Callable[[str], Sequence[str]]) -> str:
    """`text` with the values of every PIVOT … ON that has none, as `ask` finds them.

    `ask` takes a SELECT of one column and gives its rows as literals of SQL.
    """
    every = list(tokens(text))
    for at, token in reversed(list(enumerate(every))):
        if token.word in ("PIVOT", "PIVOT_WIDER") and token.kind == "word":
            text = _one(text, every, at, ask)
            every = list(tokens(text))
    return text


def _one(text: str, every: list[Token], at: int, ask: Callable[[str], Sequence[str]]) -> str:
    depth = every[at].depth
    inside = []
    for token in every[at + 1 :]:
        if token.depth < depth:
            break
        inside.append(token)
    on = next((i for i, t in enumerate(inside) if _is(t, "ON", depth)), None)
    if on is None:  # FROM t PIVOT (… FOR x IN (…)), or no pivot
        return text
    source = text[every[at].end : inside[on].start]
    ends = (i for i, t in enumerate(inside) if i > on and t.kind == "word" and t.depth == depth)
    end = next((i for i in ends if inside[i].word in _ENDS), len(inside))
    with_ = _ctes(text, every, at)
    for start, stop in reversed(_parts(inside, on + 1, end, depth)):
        part = inside[start:stop]
        if not part or any(_is(t, "IN", depth) for t in part):
            continue
        cell = text[part[0].start : part[-1].end]
        values = ask(  # which checks it
            f"{with_}SELECT ({cell})::VARCHAR FROM {source} WHERE ({cell}) IS NOT NULL"  # noqa: S608
            f" GROUP BY ({cell}) ORDER BY ({cell})"
        )
        if len(values) > MAX_COLUMNS:
            raise UsageError(
                f"PIVOT ON {cell} would make {len(values):,} columns",
                advice="choose values: ON column IN ('a', 'b')",
            )
        if not values:
            raise UsageError(f"PIVOT ON {cell} finds no value", advice="look at its source")
        cell = cell if len(part) == 1 else f"({cell})"
        head, tail = text[: part[0].start], text[part[-1].end :]
        text = f"{head}{cell} IN ({', '.join(values)}){tail}"
    return text


def _is(token: Token, word: str, depth: int) -> bool:
    return token.kind == "word" and token.word == word and token.depth == depth


def _parts(inside: list[Token], start: int, end: int, depth: int) -> list[tuple[int, int]]:
    """The stretches between the commas of [start, end)."""
    commas = [i for i in range(start, end) if inside[i].word == "," and inside[i].depth == depth]
    return list(zip([start, *(i + 1 for i in commas)], [*commas, end], strict=True))


def _ctes(text: str, every: list[Token], at: int) -> str:
    """The WITH clause that the statement starts with, where the pivot may name its tables."""
    if every[0].word != "WITH":
        return ""
    names = [0]
    for index in range(1, at):
        token = every[index]
        if token.depth == 0 and token.word == ")" and every[index + 1].word != ",":
            names.append(index)
            break
    return text[: every[names[-1]].end] + " " if len(names) > 1 else ""
