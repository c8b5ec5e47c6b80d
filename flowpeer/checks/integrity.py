"""Are the files those that were written, and does everything add up?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from flowpeer.checks.rollups import reported
from flowpeer.lake.account import Equality, received
from flowpeer.lake.manifest import folder_of
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.lake.verify import Fault, Result, replaced, verify_files
from flowpeer.network import Configuration
from flowpeer.reporter import Reporter
from flowpeer.rollup.planner import Hour, RollupPlanner
from flowpeer.rollup.reconcile import conservation, hours_conserved

Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Verified:
    """How many files were read, what is wrong with some, and which sums were compared."""

    files: int
    faults: list[Fault]
    identities: list[Equality]

    @property
    def broken(self) -> list[Equality]:
        """Sums that do not agree."""
        return [identity for identity in self.identities if not identity.holds]


def verify(
    network: Configuration, lake: Lake, reporter: Reporter, period: Period | None
) -> Verified:
    """Check the digests of all files, and the sums through every stage; of a period, or of all.

    For a period the flow records of its hours are spread again. A damaged file costs its own
    hours: the sums of the others are compared all the same. Sums that a decoder kept are made
    again from the records.
    """
    record = lake.record()
    checked: set[str] = set()
    faults: list[Fault] = []
    for relative, fault in _still(record, verify_files(record, period)):
        checked.add(relative)
        if fault is not None:
            faults.append(fault)
    rollup = RollupPlanner(lake, network, record=record, period=period or (None, None))
    damaged = {fault.path for fault in faults}
    identities = list(_identities(reporter, rollup, period, damaged))
    faults += _kept_sums(rollup, period, damaged)
    return Verified(len(checked), faults, identities)


def _still(record: Record, results: Iterable[Result]) -> Iterator[Result]:
    """Results without the faults of files that other processes replaced or removed meanwhile."""
    for relative, fault in results:
        if fault is None or not replaced(record, relative):
            yield relative, fault


def _identities(
    reporter: Reporter, rollup: RollupPlanner, asked: Period | None, damaged: set[str]
) -> Iterator[Equality]:
    if asked is None and not any(_of_flows(path) for path in damaged):
        yield from received(rollup.record)
    if not rollup.any_flows or not rollup.snapshots:
        return
    hours = rollup.plan(*(asked or ()))
    stale = [h for h in hours if h.changed]
    if stale:
        reporter.warn(f"{len(stale)} hours are not rolled up, so their sums are not compared; "
                      "run `flowpeer rollup`")  # fmt: skip
    if asked is None and not damaged and not stale:
        yield from conservation(rollup, again=True)
        if (placed := reported(rollup.network, rollup.record)) is not None:
            yield placed
        return
    sound = [h for h in hours if not h.changed and not h.blocked and not _hit(h, damaged)]
    if asked is not None:
        sound = [h for h in sound if h.frozen or rollup.readable(h)]
    if len(sound) < len(hours) - len(stale):
        reporter.say(f"sums of {len(sound)} of {len(hours)} hours are compared")
    yield from hours_conserved(rollup, sound, again=asked is not None)


def _kept_sums(rollup: RollupPlanner, asked: Period | None, damaged: set[str]) -> Iterator[Fault]:
    """Sums that a decoder kept of flow files, and that are not those of their records."""
    if not rollup.any_flows or not rollup.snapshots:
        return
    for hour in rollup.plan(*(asked or ())):
        if hour.blocked or _hit(hour, damaged):
            continue
        with suppress(OSError):  # a damaged file of an hour beside it, where copies may lie
            for path, what in rollup.kept_faults(hour):
                yield Fault(
                    str(path.relative_to(rollup.lake.root)), what,
                    "delete it, and the hour's file of `traffic`, then run `flowpeer rollup`",
                )  # fmt: skip


def _of_flows(path: str) -> bool:
    return path.startswith(("flows/", "manifests/flows/", "manifests/units/"))


def _hit(hour: Hour, damaged: Iterable[str]) -> bool:
    """Whether one of an hour's files is damaged."""
    received = {folder_of("flows", when) for when, _ in hour.received}
    made = {folder_of(table, hour.start) for table in ("traffic", "traffic_routes")}
    places = {f"{folder}/" for folder in received | made}
    return any(path.startswith(place) for path in damaged for place in places)
