"""Classification: which role an interface has, by its exporter, name and description.

Interfaces that are listed without a role (an inventory from SNMP, gNMI or NetBox as CSV, or the
exporter's own table of interfaces in options data) take the role of the first of the `[[rules]]`
whose patterns all match. Patterns are regular expressions, found anywhere, without regard to case;
a group named `asn` gives the network on the other side.

The texts come from the wire, so the engine is one whose time is linear in them (the one of Polars).
It has no look-around and no backreferences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

PATTERNS = ("exporter", "name", "description")
GIVEN = ("role", "asn", "capacity", "contract")


@dataclass
class ExportedNames:
    """What exporters call their interfaces."""

    texts: dict[str, dict[int, dict[str, tuple[int, str]]]] = field(default_factory=dict)
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
    """Raw `[[rules]]` items; what is no valid rule matches nothing, and is reported elsewhere.

    `rows`: items that will be asked about, whose texts are then matched at once.
    """

    def __init__(self, raw: Sequence[Any], rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._usable = [_usable(rule) for rule in raw]
        self._found: dict[tuple[str, str], str | Literal[False] | None] = {}
        texts: dict[str, set[str]] = {key: set() for key in PATTERNS}
        for row in rows:
            for key in PATTERNS:
                texts[key].add(str(row.get(key, "")))
        for patterns, _ in filter(None, self._usable):
            for key, pattern in patterns.items():
                self._search(pattern, sorted(texts[key]))

    def match(self, row: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The first rule that matches a raw `[[interfaces]]` item: its number, and the item with
        what the rule gives; what the item itself says stands."""
        for number, rule in enumerate(self._usable):
            found = self._match(row, rule) if rule is not None else None
            if found is not None:
                return number, {**found, **row}
        return None

    def _match(
        self, row: Mapping[str, Any], rule: tuple[dict[str, str], dict[str, Any]]
    ) -> dict[str, Any] | None:
        patterns, given = rule
        found = dict(given)
        for key, pattern in patterns.items():
            text = str(row.get(key, ""))
            if (pattern, text) not in self._found:
                self._search(pattern, [text])
            asn = self._found[pattern, text]
            if asn is False:
                return None
            if asn is not None and asn.isascii() and asn.isdigit():
                found["asn"] = int(asn)
        return found

    def _search(self, pattern: str, texts: list[str]) -> None:
        """What the group `asn` has in each text; False where the pattern is not found."""
        import polars as pl

        column = pl.Series(texts, dtype=pl.String)
        groups = column.str.extract_groups(_AS_MATCHED.format(pattern))
        asns = groups.struct.field("asn") if "asn" in groups.struct.fields else None
        for n, hit in enumerate(column.str.contains(_AS_MATCHED.format(pattern))):
            self._found[pattern, texts[n]] = (
                (asns[n] if asns is not None else None) if hit else False
            )


_AS_MATCHED = "(?i){}"


def fault(pattern: str) -> str:
    """Why a text is no pattern of a rule; "" if it is one."""
    import polars as pl

    try:
        pl.Series([""]).str.contains(_AS_MATCHED.format(pattern))
    except pl.exceptions.PolarsError as error:
        errors = [line for line in str(error).splitlines() if line.startswith("error: ")]
        return (errors or [str(error).removeprefix("regex error: ").splitlines()[0]])[
            0
        ].removeprefix("error: ")
    return ""


def _usable(rule: Any) -> tuple[dict[str, str], dict[str, Any]] | None:
    if not isinstance(rule, dict) or "role" not in rule:
        return None
    patterns = {key: rule[key] for key in PATTERNS if key in rule}
    if not all(isinstance(p, str) and not fault(p) for p in patterns.values()):
        return None
    return patterns, {key: rule[key] for key in GIVEN if key in rule}
