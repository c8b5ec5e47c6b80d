"""Classification: which role an interface has, by its exporter, name and description.

Interfaces that are listed without a role (an inventory from SNMP, gNMI or NetBox as CSV) take the
role of the first of the `[[rules]]` whose patterns all match. Patterns are regular expressions,
found anywhere, without regard to case; a group named `asn` gives the network on the other side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATTERNS = ("exporter", "name", "description")
GIVEN = ("role", "asn", "capacity", "contract")


@dataclass
class Classified:
    """Interfaces after the rules: rows with a role, and what became of each."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    caught: dict[tuple[str, int], int] = field(default_factory=dict)
    """(exporter, index) → number of the rule, from 0."""
    unmatched: list[dict[str, Any]] = field(default_factory=list)


def classify(rows: Iterable[Mapping[str, Any]], rules: Sequence[Any]) -> Classified:
    """Give each row without a role that of the first rule that matches.

    Args:
        rows: raw `[[interfaces]]` items.
        rules: raw `[[rules]]` items; what is no valid rule matches nothing, and is told elsewhere.
    """
    usable = [_usable(rule) for rule in rules]
    made = Classified()
    for row in rows:
        if "role" in row:
            made.rows.append(dict(row))
            continue
        for number, rule in enumerate(usable):
            found = _match(row, rule) if rule is not None else None
            if found is not None:
                made.rows.append({**found, **row})
                if isinstance(row.get("index"), int):
                    made.caught[str(row.get("exporter")), row["index"]] = number
                break
        else:
            made.unmatched.append(dict(row))
    return made


def _usable(rule: Any) -> tuple[dict[str, re.Pattern[str]], dict[str, Any]] | None:
    if not isinstance(rule, dict) or "role" not in rule:
        return None
    try:
        patterns = {key: re.compile(rule[key], re.IGNORECASE) for key in PATTERNS if key in rule}
    except (re.error, TypeError, RecursionError, OverflowError):
        return None
    return patterns, {key: rule[key] for key in GIVEN if key in rule}


def _match(
    row: Mapping[str, Any], rule: tuple[dict[str, re.Pattern[str]], dict[str, Any]]
) -> dict[str, Any] | None:
    patterns, given = rule
    found = dict(given)
    for key, pattern in patterns.items():
        match = pattern.search(str(row.get(key, "")))
        if match is None:
            return None
        asn = match.groupdict().get("asn")
        if asn is not None and asn.isascii() and asn.isdigit():
            found["asn"] = int(asn)
    return found
