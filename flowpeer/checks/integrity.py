"""Are the files those that were written, and does everything add up?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from flowpeer.lake import compact
from flowpeer.lake.account import received
from flowpeer.lake.ledger import Ledger
from flowpeer.lake.store import Lake, partition_hour
from flowpeer.lake.verify import Fault, verify_files
from flowpeer.network import Network
from flowpeer.reporter import Reporter
from flowpeer.rollup.conserve import Identity, conservation, hours_conserved
from flowpeer.rollup.hours import Hour, Rollup

Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Verified:
    """How many files were read, what is wrong with some, and which sums were compared."""

    files: int
    faults: list[Fault]
    identities: list[Identity]

    @property
    def broken(self) -> list[Identity]:
        """Sums that do not agree."""
        return [identity for identity in self.identities if not identity.holds]


def verify(network: Network, lake: Lake, reporter: Reporter, period: Period | None) -> Verified:
    """Check the digests of all files, and the sums through every stage; of a period, or of all.

    For a period the flow records of its hours are spread again. A damaged file costs its own
    hours: the sums of the others are compared all the same.
    """
    compact.recover(lake)
    with lake.flow_files(alone=False):
        checked: set[str] = set()
        faults: list[Fault] = []
        ledger = Ledger(lake)
        for relative, fault in verify_files(ledger, period):
            checked.add(relative)
            if fault is not None:
                faults.append(fault)
        rollup = Rollup(lake, network, ledger=ledger, period=period or (None, None))
        damaged = {fault.path for fault in faults}
        identities = list(_identities(reporter, rollup, period, damaged))
    return Verified(len(checked), faults, identities)


def _identities(
    reporter: Reporter, rollup: Rollup, asked: Period | None, damaged: set[str]
) -> Iterator[Identity]:
    ledger_is_whole = not any(path.startswith(("captures/", "flows/")) for path in damaged)
    if asked is None and ledger_is_whole:
        yield from (Identity(i.name, i.left, i.right) for i in received(rollup.ledger))
    there = rollup.files or rollup.pruned
    if not there or not rollup.snapshots:
        return
    hours = rollup.plan(*(asked or ()))
    stale = [h for h in hours if h.changed]
    if stale:
        reporter.warn(f"{len(stale)} hours are not rolled up, so their sums are not compared; "
                      "run `flowpeer rollup`")  # fmt: skip
    if asked is None and not damaged and not stale:
        yield from conservation(rollup, again=True)
        return
    sound = [h for h in hours if not h.changed and not h.blocked and not _hit(h, damaged)]
    if len(sound) < len(hours) - len(stale):
        reporter.say(f"sums of {len(sound)} of {len(hours)} hours are compared")
    yield from hours_conserved(rollup, sound, again=asked is not None)


def _hit(hour: Hour, damaged: Iterable[str]) -> bool:
    """Whether one of an hour's files is damaged."""
    folders = {partition_hour(name) for name in hour.files}
    for path in damaged:
        table, _, rest = path.partition("/")
        if table in ("traffic", "traffic_routes") and rest == hour.relative:
            return True
        if table == "flows" and partition_hour(path) in folders:
            return True
    return False
