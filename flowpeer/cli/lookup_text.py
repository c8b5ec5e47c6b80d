"""The terminal's form of what `lookup` knows of an address, a prefix or a network."""

from __future__ import annotations

from typing import Any

from flowpeer.cli.state import CommandState, printable, table_or_json

SHOWN = 20
"""Rows of each part; --json has them all."""
_ROUTE = ["prefix", "origin_asn", "origin_name", "as_path", "vantage", "snapshot"]
_VIEW = [
    "vantage", "interfaces", "prefix", "origin_asn", "as_path", "next_hop", "med", "local_pref",
    "communities",
]  # fmt: skip


def show(state: CommandState, row: dict[str, Any]) -> None:
    """Print one answer: a line that says what it is, then a table for each part."""
    if "asn" in row:
        parts = [f"AS{row['asn']}", row["name"] or "", row["organisation"] or ""]
        print(printable(
            f"{' '.join(filter(None, parts))}: originates {row['prefixes4']:,} IPv4 and "
            f"{row['prefixes6']:,} IPv6 prefixes"
        ))  # fmt: skip
        _part(state, "Views", row["views"],
              ["vantage", "interfaces", "prefixes4", "prefixes6", "snapshot"])  # fmt: skip
        _part(state, "Networks before it", row["neighbours"], ["asn", "name", "routes"])
        _part(state, "Routes", row["routes"], _ROUTE, row["prefixes4"] + row["prefixes6"])
        return
    asked = row.get("asked") or row["address"]
    over = row["covering"]
    if not over:
        what = "no route over it"
    elif row.get("exact"):
        what = "a route"
    else:
        what = f"inside {over[0]['prefix']}"
    print(printable(f"{asked}: {what}"))
    _part(state, "Views", row["views"], _VIEW)
    _part(state, "Routes over it", over, _ROUTE)
    if row.get("more_specific_count"):
        _part(state, "More specific routes", row["more_specific"], _ROUTE,
              row["more_specific_count"])  # fmt: skip


def _part(
    state: CommandState,
    title: str,
    rows: list[dict[str, Any]],
    columns: list[str],
    total: int | None = None,
) -> None:
    if not rows:
        return
    flat = [
        {key: ";".join(map(str, cell)) if isinstance(cell, list) else cell
         for key, cell in row.items()}
        for row in rows[:SHOWN]
    ]  # fmt: skip
    print()
    table_or_json(state, flat, columns=columns, title=title)
    more = max(total or 0, len(rows)) - len(flat)
    if more > 0:
        print(f"and {more:,} more")
