"""What may be merged or deleted of `flows`, and doing it.

Both need every hour that a file reaches into to be rolled up and up to date: merging, so that no
file is part of an hour that has still to learn which files are new; deleting, because what an
hour is made of can never be read again. The manifest keeps the entry of a deleted file, with the
sums of its records, so that `verify` still has both sides of the account. An hour with such a file
is frozen: flowpeer.rollup.planner does not do it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flowpeer.errors import InputError
from flowpeer.lake.commit import Change, commit
from flowpeer.lake.compact import merge
from flowpeer.lake.manifest import HOUR, File, Manifest, PrunedFile, parse_hour, partition_hour
from flowpeer.lake.store import Lake
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import flow_sums

Hours = dict[tuple[str, datetime], int]
"""Table and hour, and the files in it."""


@dataclass
class PrunePlan:
    """Files by what becomes of them."""

    chosen: dict[str, File] = field(default_factory=dict)
    waiting: dict[str, tuple[datetime, ...]] = field(default_factory=dict)
    """Old enough, but these hours are not up to date."""

    @property
    def file_bytes(self) -> int:
        """Octets on disk of the chosen files."""
        return sum(file.file_bytes for file in self.chosen.values())

    @property
    def rows(self) -> int:
        """Rows of the chosen files."""
        return sum(file.rows for file in self.chosen.values())


def stale_hours(rollup: RollupPlanner) -> set[datetime]:
    """Hours that are still to be rolled up, or whose late flows are still to be counted."""
    return {
        h.start for h in rollup.plan() if h.changed or h.blocked or not rollup.late_is_counted(h)
    }


def prunable(rollup: RollupPlanner, before: datetime) -> PrunePlan:
    """Flow files whose hour of receipt ended at or before a time."""
    stale, plan = stale_hours(rollup), PrunePlan()
    for name, file in rollup.files.items():
        if partition_hour(name) + HOUR > before:
            continue
        reached = sorted({h for u in file.units for h in (u.facts.hours if u.facts else ())})
        blocking = tuple(h for h in map(parse_hour, reached) if h in stale)
        if blocking:
            plan.waiting[name] = blocking
        else:
            plan.chosen[name] = file
    return plan


def prune(rollup: RollupPlanner, plan: PrunePlan) -> None:
    """Delete the chosen files that are still what they were when they were chosen.

    First the manifest says that a file is pruned, which freezes its hours, then the file goes.
    """
    lake = rollup.lake
    sums = flow_sums(rollup, list(plan.chosen))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    by_hour: dict[datetime, dict[str, File]] = {}
    for name, file in plan.chosen.items():
        by_hour.setdefault(partition_hour(name), {})[name] = file
    for hour, chosen in sorted(by_hour.items()):

        def edit(manifest: Manifest, chosen: dict[str, File] = chosen) -> Change | None:
            files = [
                replace(
                    f,
                    pruned=PrunedFile(
                        now, sums[f.path].scaled_bytes, sums[f.path].unscaled_bytes,
                        sums[f.path].records,
                    ),
                )
                if f in chosen.values()
                else f
                for f in manifest.files
            ]  # fmt: skip
            gone = tuple(f.path for f in manifest.live if f in chosen.values())
            return Change(tuple(files), gone) if gone else None

        commit(lake, "flows", hour, edit)
        rollup.record.forget("flows", hour)


def mergeable(rollup: RollupPlanner, before: datetime) -> Hours:
    """Closed hours of several files; of `flows`, those all of whose hours are up to date."""
    stale = stale_hours(rollup)
    found: Hours = {}
    for table in ("flows", "coverage", "sampling"):
        damaged: list[datetime] = []
        for hour, header in rollup.record.headers(table, damaged=damaged).items():
            if header.files < 2 or hour + HOUR > before:
                continue
            # Of coverage and sampling the rows count, whatever file they stand in.
            if table == "flows" and any(parse_hour(h) in stale for h in header.reach):
                continue
            found[table, hour] = header.files
    return found


def compact(
    lake: Lake,
    hours: Hours,
    *,
    grace_s: float,
    progress: Callable[[int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Hours:
    """Merge the files of each hour; those that were merged here, not by another process.

    An hour with a file that is not the one that was published is left as it is and reported to
    `warn`.
    """
    done: Hours = {}
    for (table, hour), count in sorted(hours.items()):
        try:
            merged = merge(lake, table, hour, grace_s=grace_s, progress=progress)
        except InputError as error:
            if warn is not None:
                warn(f"{hour:%Y-%m-%d %H}:00 of {table}: {error}; {error.advice}")
            continue
        except FileNotFoundError:  # another process replaced it meanwhile, or it is missing
            continue
        if merged is not None:
            done[table, hour] = count
    return done
