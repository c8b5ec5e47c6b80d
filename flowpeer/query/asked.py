"""Named questions: their names, and whether what they are given is what there is.

A question is a table macro, which gives no rows for a metro that is mistyped where nothing is read,
nor for a period of which there is no data. So what a statement gives to each question that it calls
is looked at before it runs: an unknown metro, network or direction is bad usage, and a period
without data is the error that other commands end with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import flowpeer_sql
from flowpeer.errors import NoDataError, UsageError
from flowpeer.period import parse_period

CHECKED = {
    "metro": "_metro_known($metro)",
    "exporter": "_exporter_known($exporter)",
    "role": "_role_of($role)",
    "provider": "_asn_of($provider)",
    "asn": "_asn_of($asn)",
    "direction": "_direction_of($direction)",
    "top": "_top_of($top)",
    "bucket": "_bucket_of($bucket)",
    "prefix": "ip_in(ip('::'), $prefix)",
}
"""Parameters with a macro that refuses what is unknown."""

PERIODS = (("period", "period_start", "period_end"), ("before", "before_start", "before_end"))
BEFORE = frozenset(PERIODS[1])

_NOT_CONSTANT = frozenset({"COLUMN_REF", "SUBQUERY", "LAMBDA", "STAR", "WINDOW"})


def resolve(text: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Statement and parameters for `text`: the name of a question, or a statement itself.

    Raises:
        UsageError: a name that is no question, a parameter that the question does not have.
    """
    word = text.strip().removesuffix(";").strip()
    if not re.fullmatch(r"[A-Za-z_]\w*", word):
        return text, dict(values)
    question = question_named(word)
    if question is None:
        from flowpeer.schema import SQL_TABLES

        if word in SQL_TABLES or word in view_names():
            raise UsageError(
                f"{word} is a table, not a question", advice=f'"FROM {word} LIMIT 20" shows rows'
            )
        raise UsageError(f"no question {word!r}{nearest(word)}", advice="see `flowpeer sql --list`")
    known = flowpeer_sql.signature(question)
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(
            f"{word} has no parameter {', '.join(unknown)}", advice=f"it has {', '.join(known)}"
        )
    given = {name: value for name, value in values.items() if value != ""}
    return f"FROM {word}({', '.join(f'{name} := ${name}' for name in given)})", given


def question_named(name: str) -> flowpeer_sql.Question | None:
    """The question of that name."""
    return next((q for q in flowpeer_sql.questions() if q.name == name), None)


def view_names() -> list[str]:
    """Views, macros and `crossings`, by name."""
    return sorted({*made_names(), "crossings"})


def made_names() -> dict[str, tuple[str, str]]:
    """Views and macros: which of the two, and the title of the file that makes them."""
    made = re.compile(r"CREATE OR REPLACE (VIEW|MACRO) ([a-z]\w*)")
    return {
        name: (kind.lower(), script.title)
        for script in flowpeer_sql.views()
        for kind, name in made.findall(script.sql)
    }


def nearest(word: str) -> str:
    """`, nearest is growth`, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(word, [q.name for q in flowpeer_sql.questions()], 1)
    return f", nearest is {close[0]}" if close else ""


@cache
def _signatures() -> dict[str, tuple[bool, list[str]]]:
    """By name: whether a question reads `coverage` and no traffic; its parameters in order."""
    return {
        q.name: ("FROM coverage" in q.sql, list(flowpeer_sql.signature(q)))
        for q in flowpeer_sql.questions()
    }


def calls(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The questions that a serialized statement calls, each with the expressions that it is given;
    None for those that are not the same for all rows."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            called = node.get("function")
            if node.get("type") != "TABLE_FUNCTION" or not isinstance(called, dict):
                continue
            name = str(called.get("function_name", "")).lower()
            if name in _signatures():
                _, names = _signatures()[name]
                yield name, _given(names, called.get("arguments") or [])


def _given(names: list[str], arguments: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for position, argument in enumerate(arguments):
        at = names[position] if position < len(names) else ""
        name = str(argument.get("name") or at).lower()
        if name in names:
            same = not set(_classes(argument)) & _NOT_CONSTANT
            found[name] = argument["expression"] if same else None
    return found


def _classes(tree: Any) -> Iterator[str]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            yield str(node.get("class", ""))


def parameters_of(tree: Any) -> set[str]:
    """Names of the parameters in a serialized expression."""
    found = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            if node.get("class") == "PARAMETER":
                found.add(str(node["identifier"]))
    return found


def as_select(template: Any, given: Mapping[str, Any]) -> str:
    """The tree of a SELECT of one row with those expressions; `template` is that of `SELECT 1`."""
    made = json.loads(json.dumps(template))
    cells = [{**expression, "alias": name} for name, expression in given.items()]
    made["statements"][0]["node"]["select_list"] = cells
    return json.dumps(made)


def checks(values: Mapping[str, Any]) -> str:
    """A SELECT that fails where a value is none that the question takes; empty without any.

    Raises:
        UsageError: a period that is none, as other commands say it.
    """
    for period, *_ in PERIODS:
        if values.get(period) is not None:
            parse_period(str(values[period]))
    cells = [text for name, text in CHECKED.items() if values.get(name) is not None]
    return f"SELECT {', '.join(cells)}" if cells else ""


def spans(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """For each period that question `name` is given, or takes as the one before: a SELECT of one
    row if there is data of it, its parameters, and how the period was given."""
    from_coverage, names = _signatures()[name]
    begins = "coalesce(_moment($first::VARCHAR), _period_start($span))"
    ends = "coalesce(_moment($last::VARCHAR), _period_end($span))"
    for period, *borders in PERIODS:
        span, first, last = (values.get(word) for word in (period, *borders))
        given = {"span": span, "first": first, "last": last}
        if span is None and first is None and last is None:
            continue
        stated = span or " ".join(
            f"{word} {value}" for word, value in (("from", first), ("until", last)) if value
        )
        yield _any_row(begins, ends, from_coverage=from_coverage), given, str(stated)
        if period == "period" and "before" in names and not BEFORE & values.keys():
            before = _any_row(f"_start_before({begins}, {ends})", begins, from_coverage=False)
            yield before, given, f"in the period before {stated}"


def _any_row(begins: str, ends: str, *, from_coverage: bool) -> str:
    """A SELECT of one row if there is data between two moments."""
    source = f"traffic_slots_between({begins}, {ends})"
    if from_coverage:
        source = (
            f"coverage WHERE slot >= coalesce(_utc({begins}), '-infinity'::TIMESTAMPTZ)"
            f" AND slot < coalesce(_utc({ends}), 'infinity'::TIMESTAMPTZ)"
        )
    return f"SELECT 1 FROM {source} LIMIT 1"  # noqa: S608 (text of ours)


def no_data(period: str) -> NoDataError:
    """What a period without data ends with."""
    place = period if period.startswith(("from ", "until ", "in ")) else f"in {period}"
    return NoDataError(f"no traffic {place}", advice="see what is there: `flowpeer status`")
