"""Which snapshots of routes may be deleted, and doing it.

A station of BMP makes one an hour. An hour whose flow records are still there may be rolled up
again, so the snapshots in force for it stay, as does the newest of each vantage and family. What a
roll-up was made with is where reports find AS paths (METHODS M7): those stay too, or, where `daily`
is chosen, the first of each UTC day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.rib.snapshot import SnapshotInfo


def prunable_routes(rollup: RollupPlanner, before: datetime, *, daily: bool) -> list[SnapshotInfo]:
    """Snapshots taken before a time that no hour needs, oldest first.

    Args:
        daily: of those that only hours without flow records were rolled up with, all but the first
            of each UTC day, vantage and family.
    """
    infos = rollup.snapshots
    kept = newest(infos) | rollup.in_force_for_flows()
    used = used_snapshots(rollup.record)
    if daily:
        seen: set[tuple[str, str, int]] = set()
        for info in infos:
            places = {(f"{info.taken_at:%Y-%m-%d}", info.vantage, f) for f in families(info)}
            if info.name in used and not places <= seen:
                seen |= places
                kept.add(info.name)
    else:
        kept |= used
    return [info for info in infos if info.taken_at < before and info.name not in kept]


def families(info: SnapshotInfo) -> set[int]:
    """4 and 6, where it has such prefixes."""
    return {f for f, count in ((4, info.prefixes4), (6, info.prefixes6)) if count}


def newest(infos: Sequence[SnapshotInfo]) -> set[str]:
    """The last taken of each vantage and family, and any other of the same moment."""
    found: set[str] = set()
    for vantage in {info.vantage for info in infos}:
        for family in (4, 6):
            own = [i for i in infos if i.vantage == vantage and family in families(i)]
            last = max((info.taken_at for info in own), default=None)
            found.update(info.name for info in own if info.taken_at == last)
    return found


def used_snapshots(record: Record) -> set[str]:
    """Names of the snapshots that hours were rolled up with."""
    rollups = (header.rollup for header in record.headers("traffic").values())
    return {name for rollup in rollups if rollup is not None for name in rollup.snapshots}


def prune_routes(lake: Lake, infos: Sequence[SnapshotInfo]) -> None:
    """Delete snapshots. The record keeps that they were there: they are not loaded again."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    for info in infos:
        lake.remove(f"routes/{info.name}.parquet", pruned_at=now)
