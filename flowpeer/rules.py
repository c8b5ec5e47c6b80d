"""Classification: which role an interface has, by its exporter, name and description.

Interfaces that are listed without a role (an inventory from SNMP, gNMI or NetBox as CSV, or the
exporter's own table of interfaces in options data) take the role of the first of the `[[rules]]`
whose patterns all match. Patterns are regular expressions, found anywhere, without regard to case;
a group named `asn` gives the network on the other side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATTERNS = ("exporter", "name", "description")
GIVEN = ("role", "asn", "capacity", "contract")


@dataclass
class Exported:
    """What exporters call their interfaces."""

    said: dict[str, dict[int, dict[str, tuple[int, str]]]] = field(default_factory=dict)
    """Exporter address → ifIndex → `name` and `description`, each with the time it was received."""
    damaged: list[str] = field(default_factory=list)
    """Documents of the lake that cannot be read."""


@dataclass
class Classified:
    """What the rules made of the interfaces that are listed without a role."""

    caught: dict[tuple[str, int], int] = field(default_factory=dict)
    """(exporter, index) → number of the rule, from 0."""
    unmatched: list[dict[str, Any]] = field(default_factory=list)
    refused: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    """Caught by what the exporter calls it, and no interface all the same; why."""
    exported: set[tuple[str, int]] = field(default_factory=set)
    """Interfaces whose name or description is the exporter's own."""
    damaged: list[str] = field(default_factory=list)
    """Documents of exported names that could not be read."""


class Rules:
    """Raw `[[rules]]` items; what is no valid rule matches nothing, and is told elsewhere."""

    def __init__(self, raw: Sequence[Any]) -> None:
        self._usable = [_usable(rule) for rule in raw]

    def match(self, row: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The first rule that matches a raw `[[interfaces]]` item: its number, and the item with
        what the rule gives; what the item itself says stands."""
        for number, rule in enumerate(self._usable):
            found = _match(row, rule) if rule is not None else None
            if found is not None:
                return number, {**found, **row}
        return None


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
