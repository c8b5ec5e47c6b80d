"""AS names: CSV with a header `asn,name[,organisation][,country]` into reference/asns.

ASNs with or without "AS" before them. Other columns (bgp.tools' `class`) are ignored.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake, digest_of
from flowpeer.registry.source_files import read_all, time_of
from flowpeer.schema import ASNS
from flowpeer_core.asns import SPECIAL_ASNS
from flowpeer_core.columns import arrow_schema

TABLE = "reference/asns.parquet"
_COLUMNS = {
    "asn": ("asn", "as", "as_number"),
    "name": ("name", "as_name", "network_name", "description"),
    "organisation": ("organisation", "organization", "org", "org_name"),
    "country": ("country", "cc", "country_code"),
}
_ADVICE = "expected is CSV with a header: asn,name[,organisation][,country]"


def load_names(lake: Lake, path: Path) -> tuple[dict[str, Any], bool]:
    """Load AS names, replacing what was loaded before; special negative ASNs get their names.

    Returns:
        Facts (rows, source, source_digest, skipped), and whether it was loaded now.

    Raises:
        InputError: the file cannot be read or has no such header; the lake is as it was.
    """
    digest = digest_of(path)
    entry = lake.entry(TABLE)
    if entry is not None and entry.get("source_digest") == digest:
        return entry, False
    rows, skipped = _parse(path, read_all(path).decode("utf-8-sig", "replace"))
    rows |= {asn: (name, None, None) for asn, name in SPECIAL_ASNS.items()}
    ordered = sorted(rows.items())
    columns = [
        [asn for asn, _ in ordered],
        *([row[i] for _, row in ordered] for i in range(3)),
    ]
    schema = arrow_schema(ASNS)
    table = pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )
    facts = {
        "source": path.name,
        "source_digest": digest,
        "source_time": time_of(path),
        "skipped": dict(skipped),
    }
    return lake.publish(TABLE, ASNS, table, facts), True


_Row = tuple[str, str | None, str | None]


def _parse(path: Path, text: str) -> tuple[dict[int, _Row], Counter[str]]:
    reader = csv.reader(io.StringIO(text.replace("\0", "�"), newline=""))
    skipped: Counter[str] = Counter()
    rows: dict[int, _Row] = {}
    try:
        places = _places(path, next(reader, []))
        for cells in reader:
            if not cells:
                continue
            asn = _asn(_cell(cells, places["asn"]))
            name = _cell(cells, places["name"])
            if asn is None:
                skipped["not an AS number"] += 1
            elif not name:
                skipped["no name"] += 1
            elif asn in rows:
                skipped["AS number given twice"] += 1
            else:
                rows[asn] = (
                    name,
                    _cell(cells, places["organisation"]) or None,
                    _cell(cells, places["country"]) or None,
                )
    except csv.Error as error:
        raise InputError(
            str(path), f"not CSV: {error}", line=reader.line_num, advice=_ADVICE
        ) from None
    if not rows or skipped["not an AS number"] > len(rows):
        raise InputError(str(path), f"{len(rows)} AS names in it", advice=_ADVICE)
    return rows, skipped


def _places(path: Path, header: list[str]) -> dict[str, int | None]:
    names = [cell.strip().lower() for cell in header]
    places = {
        column: next((names.index(alias) for alias in aliases if alias in names), None)
        for column, aliases in _COLUMNS.items()
    }
    if places["asn"] is None or places["name"] is None:
        raise InputError(
            str(path), "the header names no columns asn and name", line=1, advice=_ADVICE
        )
    return places


def _cell(cells: list[str], place: int | None) -> str:
    return cells[place].strip() if place is not None and place < len(cells) else ""


def _asn(text: str) -> int | None:
    digits = text.upper().removeprefix("AS")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        return None
    return int(digits) if int(digits) <= 0xFFFFFFFF else None
