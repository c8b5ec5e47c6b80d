"""Hours that a filter of times implies, so that a statement opens the files of these hours alone.

DuckDB leaves out files by conditions on the columns of their folders, `date` and `hour`, before it
opens any; by one on `slot` it looks into every file. A slot lies in the hour of its file, so

    WHERE t.slot >= '2026-07-02 05:10'
    → … AND (t.date > '2026-07-02' OR t.date = '2026-07-02' AND t.hour >= 5)

This adds nothing that the statement does not say: conditions that stand beside each other under
AND in a WHERE, of a column of times against what is the same for all rows.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

TIMES = {
    "traffic": "slot", "transit": "slot", "unscaled": "slot", "asn_traffic": "slot",
    "traffic_slots": "slot", "provider_slots": "slot", "interface_slots": "slot",
    "traffic_routes": "hour_start", "flows": "received_at", "flows_readable": "received_at",
    "coverage": "slot",
}  # fmt: skip
"""Tables and views with the time that their files are parted by, in UTC."""

BY_DAY = frozenset({"traffic_slots"})
"""Those of them that have no `hour`."""

_MOMENT = "timezone('UTC', CAST($moment AS TIMESTAMPTZ))"
TEMPLATES = {
    bound + by: f"SELECT 1 WHERE t.date {sign}{text}".format(m=moment, s=sign)
    for bound, sign, moment in (
        ("from ", ">", _MOMENT), ("to ", "<", _MOMENT),
        ("before ", "<", f"({_MOMENT} - to_microseconds(1))"),
    )
    for by, text in (
        ("day", "= {m}::DATE"),
        ("hour", " {m}::DATE OR t.date = {m}::DATE AND t.hour {s}= date_part('hour', {m})"),
    )
}  # fmt: skip
"""Conditions as they are added, of a day or an hour; `with_days` takes their trees."""

_LOW = frozenset({"COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO", "COMPARE_EQUAL"})
_HIGH = frozenset({"COMPARE_LESSTHANOREQUALTO", "COMPARE_EQUAL"})
_BEFORE = frozenset({"COMPARE_LESSTHAN"})
_TURNED = {
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN", "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO", "COMPARE_EQUAL": "COMPARE_EQUAL",
}  # fmt: skip
_PLACES = frozenset({"query_location", "query_location_length", "is_table_function"})
"""Where it stands; and a mark of `check`."""
_GIVEN = frozenset({"CONSTANT", "PARAMETER", "CAST", "FUNCTION", "TYPE", "OPERATOR"})
_SAME = frozenset(
    re.findall(
        r"\S+",
        """
        + - * now today current_date get_current_timestamp current_timestamp trunc date_trunc
        timezone to_years to_months to_weeks to_days to_hours to_minutes to_seconds epoch_ms
        make_timestamp make_timestamptz make_date to_timestamp
        """,
    )
)
"""Functions that give the same in both places of one statement."""


def with_days(tree: Any, templates: Mapping[str, Any]) -> Any | None:
    """The serialized statement with the days and hours that it implies; None where there are
    none."""
    made = copy.deepcopy(tree)
    conditions = {
        name: each["statements"][0]["node"]["where_clause"] for name, each in templates.items()
    }
    shadowed = set(_ctes(made))
    changed = False
    for node in _selects(made):
        added = list(_implied(node, conditions, shadowed))
        if added:
            node["where_clause"] = {
                "class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "",
                "query_location": 0, "query_location_length": 0,
                "children": [node["where_clause"], *added],
            }  # fmt: skip
            changed = True
    return made if changed else None


def same(one: Any, other: Any) -> bool:
    """Whether two serialized statements say the same, wherever it stands in their texts."""
    return bool(_bare(one) == _bare(other))


def _bare(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_bare(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    bare = {k: _bare(v) for k, v in tree.items() if k not in _PLACES}
    if bare.get("type") == "CONJUNCTION_AND":  # a AND (b AND c)
        flat: list[Any] = []
        for child in bare["children"]:
            nested = isinstance(child, dict) and child.get("type") == "CONJUNCTION_AND"
            flat += child["children"] if nested else [child]
        bare["children"] = flat
    return bare


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            yield node
            pending += node.values()


def _selects(tree: Any) -> Iterator[dict[str, Any]]:
    return (node for node in _objects(tree) if node.get("type") == "SELECT_NODE")


def _ctes(tree: Any) -> Iterator[str]:
    """Names that a WITH of the statement gives, which may be those of tables."""
    for node in _objects(tree):
        if "cte_map" in node:
            yield from (str(entry["key"]).lower() for entry in node["cte_map"].get("map", []))
        if node.get("type") in ("CTE_NODE", "RECURSIVE_CTE_NODE"):
            yield str(node.get("cte_name", "")).lower()


def _implied(
    node: dict[str, Any], conditions: Mapping[str, Any], shadowed: set[str]
) -> Iterator[dict[str, Any]]:
    where, source = node.get("where_clause"), node.get("from_table")
    if not where or not source:
        return
    joins = [found for found in _sources(source) if found["type"] == "JOIN"]
    tables = [
        (str(found["alias"] or found["table_name"]).lower(), TIMES[found["table_name"].lower()])
        for found in _sources(source)
        if found["type"] == "BASE_TABLE"
        and found["table_name"].lower() in TIMES.keys() - shadowed
        and not (found["schema_name"] or found["catalog_name"] or found["column_name_alias"])
    ]
    by_day = {
        str(found["alias"] or found["table_name"]).lower()
        for found in _sources(source)
        if found["type"] == "BASE_TABLE" and found["table_name"].lower() in BY_DAY
    }
    merged = {str(name).lower() for join in joins for name in join["using_columns"]}
    natural = any(join["ref_type"] not in ("REGULAR", "CROSS") for join in joins)
    named = {str(cell.get("alias", "")).lower() for cell in node["select_list"]}

    def table_of(column: dict[str, Any]) -> str | None:
        if column.get("class") != "COLUMN_REF":
            return None
        *qualifier, name = (str(part).lower() for part in column["column_names"])
        fitting = [alias for alias, time in tables if time == name]
        if len(qualifier) == 1:
            return qualifier[0] if qualifier[0] in fitting else None
        unclear = qualifier or natural or name in merged or name in named
        return None if unclear or len(fitting) != 1 else fitting[0]

    for kind, column, moment in _comparisons(where):
        alias = table_of(column)
        if alias is None or not _is_given(moment):
            continue
        by = "day" if alias in by_day else "hour"
        for kinds, bound in ((_LOW, "from "), (_HIGH, "to "), (_BEFORE, "before ")):
            if kind in kinds:
                yield _filled(conditions[bound + by], alias, moment)


def _sources(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield source
    if source["type"] == "JOIN":
        yield from _sources(source["left"])
        yield from _sources(source["right"])


def _comparisons(where: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Kind, column and moment of the comparisons that must all hold, the column on the left."""
    if where["type"] == "CONJUNCTION_AND":
        for child in where["children"]:
            yield from _comparisons(child)
    elif where["type"] == "COMPARE_BETWEEN":
        yield "COMPARE_GREATERTHANOREQUALTO", where["input"], where["lower"]
        yield "COMPARE_LESSTHANOREQUALTO", where["input"], where["upper"]
    elif where["type"] in _TURNED:
        yield where["type"], where["left"], where["right"]
        yield _TURNED[where["type"]], where["right"], where["left"]


def _is_given(moment: dict[str, Any]) -> bool:
    """Whether it is the same for all rows, and wherever it is written."""
    return all(
        node["class"] in _GIVEN and node.get("function_name", "+").lower() in _SAME
        for node in _objects(moment)
        if "class" in node
    )


def _filled(condition: dict[str, Any], alias: str, moment: dict[str, Any]) -> dict[str, Any]:
    """The condition with its `t` and `$moment` replaced."""

    def fill(part: Any) -> Any:
        if isinstance(part, list):
            return [fill(each) for each in part]
        if not isinstance(part, dict):
            return part
        if part.get("class") == "PARAMETER":
            return copy.deepcopy(moment)
        if part.get("class") == "COLUMN_REF":
            return {**part, "column_names": [alias, part["column_names"][-1]]}
        return {key: fill(value) for key, value in part.items()}

    filled: dict[str, Any] = fill(condition)
    return filled
