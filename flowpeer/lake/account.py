"""METHODS M13 for what came in: datagrams and records of every capture and spool segment.

Each unit of work leaves a record with its integers; here they are added up and held against each
other and against the record of `flows`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from flowpeer.lake.record import Record
from flowpeer.lake.units import UnitRecord


@dataclass(frozen=True, slots=True)
class Equality:
    """What must be equal, by name, and both sides of it."""

    name: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Equal to the last unit: octet, record or datagram."""
        return self.left == self.right


def received(record: Record) -> Iterator[Equality]:
    """Every identity of what came in; none where nothing did."""
    units = {unit.name: unit for unit in record.units()}
    if not units:
        return
    some = units.values()
    counted = sum(e.datagrams for unit in some for e in unit.exporters.values())
    rejected = sum(sum(unit.rejected.values()) for unit in some)
    datagrams = sum(unit.datagrams for unit in some)
    yield Equality("datagrams: received = decoded + rejected", datagrams, counted + rejected)
    rows = sum(unit.rows for unit in some)
    refused = sum(sum(unit.rows_rejected.values()) for unit in some)
    records = sum(unit.records for unit in some)
    yield from _implausible(some, records - rows - refused)
    yield Equality(
        "records: decoded = published + refused + implausible",
        records,
        rows + refused + sum(_set_aside(unit)[0] for unit in some),
    )
    published: dict[str, int] = {}
    for hour in record.hours("flows"):
        for entry in (u for f in record.manifest("flows", hour).files for u in f.units):
            unit = PurePosixPath(entry.path).stem
            published[unit] = published.get(unit, 0) + entry.rows
    kept = [unit for unit in units if unit in published]  # others had no flows
    yield Equality(
        "rows: of captures and segments = of flows",
        sum(units[unit].rows for unit in kept),
        sum(published[unit] for unit in kept),
    )
    taken, spooled = _runs(units)
    if taken:
        yield Equality("datagrams: taken by receivers = in published segments", taken, spooled)


def _implausible(units: Collection[UnitRecord], missing: int) -> Iterator[Equality]:
    """The figures of what was set aside: records that are `missing` in `flows`, and their bytes."""
    yield Equality(
        "implausible records: decoded − published − refused = set aside by exporter",
        missing,
        sum(_set_aside(unit)[0] for unit in units),
    )
    summed = [unit for unit in units if unit.flow_bytes is not None]
    yield Equality(
        "implausible bytes as exported: decoded − published = set aside by exporter",
        sum((unit.flow_bytes or 0) - unit.published_bytes for unit in summed),
        sum(_set_aside(unit)[1] for unit in summed),
    )


def _set_aside(unit: UnitRecord) -> tuple[int, int]:
    """Records and bytes as exported."""
    amounts = [a for e in unit.exporters.values() for a in e.implausible.values()]
    return sum(records for records, _, _ in amounts), sum(octets for _, octets, _ in amounts)


def _runs(units: Mapping[str, UnitRecord]) -> tuple[int, int]:
    """Datagrams that receivers took up to the last published segment of each, and those in them.

    A receiver numbers what it takes; a segment says the number of its first datagram. Of a run that
    began under an older version, the first units do not have the collector's name in theirs.
    """
    segments = [unit for unit in units.values() if unit.is_segment]
    runs = {unit.run for unit in segments}
    ends: dict[str, int] = {}
    spooled = 0
    for unit in segments:
        nameless = "-".join(unit.run.split("-")[:2])
        run = nameless if nameless in runs else unit.run
        ends[run] = max(ends.get(run, 0), unit.first + unit.datagrams)
        spooled += unit.datagrams
    return sum(ends.values()), spooled
