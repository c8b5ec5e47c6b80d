"""METHODS M13 for what came in: datagrams and records of every capture and spool segment.

Each unit of work leaves a document under `ledger/captures/` with its integers; here they are
added up and held against each other and against the ledger of `flows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from flowpeer.lake.compact import units as units_of
from flowpeer.lake.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the account: what must be equal, and both sides of it."""

    name: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Equal to the last one."""
        return self.left == self.right


def received(ledger: Ledger) -> Iterator[Entry]:
    """Every identity of what came in; none where nothing did."""
    units = {PurePosixPath(p).stem: e for p, e in ledger.entries("captures").items()}
    if not units:
        return
    entries = units.values()
    heard = sum(
        e.get("datagrams", 0) for unit in entries for e in unit.get("exporters", {}).values()
    )
    rejected = sum(sum(unit.get("rejected", {}).values()) for unit in entries)
    datagrams = sum(unit.get("datagrams", 0) for unit in entries)
    yield Entry("datagrams: received = decoded + rejected", datagrams, heard + rejected)
    rows = sum(unit["rows"] for unit in entries)
    refused = sum(sum(unit.get("rows_rejected", {}).values()) for unit in entries)
    records = sum(unit["records"] for unit in entries)
    yield Entry("records: decoded = published + refused", records, rows + refused)
    published: dict[str, int] = {}
    pruned = ledger.entries("pruned/flows")
    gone = units_of({name.removeprefix("pruned/"): e for name, e in pruned.items()})
    there = {n: u for n, u in units_of(ledger.entries("flows")).items() if n not in gone}
    for path, (_, entry) in (*there.items(), *gone.items()):
        unit = PurePosixPath(path).stem
        published[unit] = published.get(unit, 0) + entry["rows"]
    kept = [unit for unit in units if unit in published]  # others had no flows
    yield Entry(
        "rows: of captures and segments = of flows",
        sum(units[unit]["rows"] for unit in kept),
        sum(published[unit] for unit in kept),
    )
    taken, spooled = _runs(units)
    if taken:
        yield Entry("datagrams: taken by receivers = in published segments", taken, spooled)


def _runs(units: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """Datagrams that receivers took up to the last published segment of each, and those in them.

    A receiver numbers what it takes; a segment says the number of its first datagram.
    """
    ends: dict[str, int] = {}
    spooled = 0
    for unit, entry in units.items():
        if not unit.startswith("segment-"):
            continue
        run = unit.split("-", 2)[2]
        ends[run] = max(ends.get(run, 0), entry.get("first", 0) + entry["datagrams"])
        spooled += entry["datagrams"]
    return sum(ends.values()), spooled
