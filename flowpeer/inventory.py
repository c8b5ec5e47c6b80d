"""Interfaces that have no section of their own: those of the CSV, and those exporters tell of.

An `[[interfaces]]` section wins over both. What a row of the CSV leaves empty of name and
description is filled with what the exporter says in options data; an interface that only the
exporter tells of is one if a rule gives it a role. What comes from the wire never makes the
configuration wrong: where it makes no interface, it is left out and reported by `check`.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flowpeer.network import Interface, canonical_address
from flowpeer.rules import Classified, ExportedNames, Rules
from flowpeer_ingest.interface_names import Texts, join

NEEDS_ASN = ("transit", "peer", "customer")
"""Roles with one network on the other side."""
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """A raw `[[interfaces]]` item, and where it stands."""

    origin: str
    item: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Exporter and index as written."""
        return str(self.item.get("exporter")), str(self.item.get("index"))


def exporter_addresses(raw: Mapping[str, Any]) -> dict[str, str]:
    """Exporter id by canonical address, of a raw configuration; what is no address is left out."""
    found: dict[str, str] = {}
    listed = raw.get("exporters")
    for item in listed if isinstance(listed, list) else ():
        addresses = item.get("addresses") if isinstance(item, dict) else None
        for address in addresses if isinstance(addresses, list) else ():
            try:
                found.setdefault(str(canonical_address(address)), str(item.get("id")))
            except ValueError:
                continue
    return found


def classify(
    rows: list[InventoryRow],
    rules: list[Any],
    exported: ExportedNames,
    ids: Mapping[str, str],
    sections: Collection[tuple[str, str]],
) -> tuple[list[InventoryRow], Classified]:
    """Rows that have a role or that a rule gives one, and what became of each.

    Args:
        rows: of the CSV.
        ids: exporter ids by address.
        sections: keys of the `[[interfaces]]` sections.
    """
    texts = _texts(exported, ids)
    made = Classified(damaged=exported.damaged)
    filled: list[tuple[InventoryRow, InventoryRow | None]] = []
    for row in rows:
        stated = texts.get((row.key[0], row.item.get("index", 0)), {})
        more = {name: text for name, text in stated.items() if name not in row.item}
        filled.append((row, InventoryRow(row.origin, {**more, **row.item}) if more else None))
    known = {*sections, *(row.key for row in rows)}
    exported_rows = [
        InventoryRow(
            f"options data of {exporter}", {"exporter": exporter, "index": index, **stated}
        )
        for (exporter, index), stated in sorted(texts.items())
    ]
    exported_rows = [row for row in exported_rows if row.key not in known]
    asked = [*rows, *(full for _, full in filled if full is not None), *exported_rows]
    usable = Rules(rules, (row.item for row in asked if "role" not in row.item))
    kept: list[InventoryRow] = []
    for row, full in filled:
        if full is None or _take(full, usable, made, kept, foreign=True):
            _take(row, usable, made, kept)
    for row in exported_rows:
        why = _take(row, usable, made, kept, foreign=True)
        if why:
            made.refused.append((row.item, why))
    return kept, made


def _texts(exported: ExportedNames, ids: Mapping[str, str]) -> dict[Key, dict[str, str]]:
    """Name and description by exporter id and index, where there are any."""
    latest: dict[Key, Texts] = {}
    for address, interfaces in exported.texts.items():
        for index, texts in interfaces.items():
            join(latest.setdefault((ids[address], index), {}), texts)
    plain = {
        key: {name: text for name, (_, text) in sorted(texts.items()) if text}
        for key, texts in latest.items()
    }
    return {key: texts for key, texts in plain.items() if texts}


def _take(
    row: InventoryRow,
    rules: Rules,
    made: Classified,
    kept: list[InventoryRow],
    *,
    foreign: bool = False,
) -> str:
    """Put a row where it belongs; why not, for one with `foreign` text that makes no interface."""
    if "role" in row.item:
        kept.append(row)
        return ""
    caught = rules.match(row.item)
    index = row.item.get("index")
    key = (row.key[0], index) if isinstance(index, int) else None
    if caught is None:
        made.unmatched.append(dict(row.item))
    else:
        number, item = caught
        why = _wrong(item) if foreign else ""
        if why:
            return f"rule {number + 1}: {why}"
        kept.append(InventoryRow(row.origin, item))
        if key is not None:
            made.caught[key] = number
    if foreign and key is not None:
        made.exported.add(key)
    return ""


def _wrong(item: Mapping[str, Any]) -> str:
    try:
        Interface.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{first['loc'][0]} = {first.get('input')!r}: {first['msg']}"
    if item["role"] in NEEDS_ASN and "asn" not in item:
        return f"{item['role']} needs an ASN, and neither the rule nor the text says one"
    return ""


def read_csv(path: Path) -> tuple[list[InventoryRow], list[str]]:
    """Rows of `[sources] interfaces`, and what is wrong with the file."""
    advice = (
        "a CSV with the header exporter,index,name,role,asn,capacity,contract,description is "
        "expected"
    )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = set(reader.fieldnames or ())
            unknown = sorted(header - set(Interface.model_fields))
            if unknown or not {"exporter", "index"} <= header:
                return [], [f"{path}, line 1: {advice}"]
            rows: list[InventoryRow] = []
            for row in reader:
                item: dict[str, Any] = {k: v for k, v in row.items() if k and v}
                for number in ("index", "asn", "l2_overhead"):
                    if str(item.get(number, "")).isascii() and str(item.get(number)).isdigit():
                        item[number] = int(item[number])
                rows.append(InventoryRow(f"{path}, line {reader.line_num}", item))
            return rows, []
    except FileNotFoundError:
        return [], [f"sources.interfaces: {path} does not exist"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [f"sources.interfaces: {path}: {error}; {advice}"]
