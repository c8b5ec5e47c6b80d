"""What may be merged or deleted of `flows`, and doing it.

Both need every hour that a file reaches into to be rolled up and up to date: merging, so that no
file is part of an hour that is still to be told which files are new; deleting, because what an
hour is made of can never be read again. The document of a deleted file moves to `ledger/pruned/`,
with the sums of its records, so that `verify` still has both sides of the account. An hour with
such a file is frozen: flowpeer.rollup.hours does not do it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from flowpeer.lake.compact import HOUR, closed_hours, merge
from flowpeer.lake.store import Lake, partition_hour
from flowpeer.rollup.conserve import flow_sums
from flowpeer.rollup.hours import Rollup
from flowpeer.rollup.inputs import parse_hour


@dataclass
class Plan:
    """Files by what becomes of them: name → rows and octets in the ledger."""

    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: dict[str, tuple[datetime, ...]] = field(default_factory=dict)
    """Old enough, but these hours are not up to date."""

    @property
    def file_bytes(self) -> int:
        """Octets on disk of the chosen files."""
        return sum(int(entry["file_bytes"]) for entry in self.chosen.values())

    @property
    def rows(self) -> int:
        """Rows of the chosen files."""
        return sum(int(entry["rows"]) for entry in self.chosen.values())


def stale_hours(rollup: Rollup) -> set[datetime]:
    """Hours that are still to be rolled up, or whose late flows are still to be counted."""
    return {
        h.start for h in rollup.plan() if h.changed or h.blocked or not rollup.late_is_counted(h)
    }


def prunable(rollup: Rollup, before: datetime) -> Plan:
    """Flow files whose hour of receipt ended at or before a time."""
    stale, plan = stale_hours(rollup), Plan()
    for name, entry in rollup.files.items():
        if partition_hour(name) + HOUR > before:
            continue
        blocking = tuple(h for h in map(parse_hour, entry["hours"]) if h in stale)
        if blocking:
            plan.waiting[name] = blocking
        else:
            plan.chosen[name] = entry
    return plan


def prune(rollup: Rollup, plan: Plan) -> None:
    """Delete the chosen files. The caller holds `lake.flow_files(alone=True)`.

    Killed anywhere and run again it goes on: first the document stands among the pruned ones,
    which freezes its hours, then the file goes.
    """
    lake = rollup.lake
    finish_pruning(lake)
    sums = flow_sums(rollup, list(plan.chosen))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    for name, entry in plan.chosen.items():
        document = {**entry, "pruned_at": now, "conserved": asdict(sums[name])}
        lake.write_entry(f"pruned/{name}", document)
    finish_pruning(lake)


def finish_pruning(lake: Lake) -> None:
    """Remove files whose documents are among the pruned ones, and folders that are empty then."""
    for name in lake.entry_names("pruned"):
        relative = name.removeprefix("pruned/")
        if lake.entry(relative) is not None or lake.path(relative).exists():
            lake.remove(relative)
            for place in (lake.path(relative).parent, lake.entry_path(relative).parent):
                for folder in (place, place.parent):
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()


def mergeable(rollup: Rollup, before: datetime) -> dict[str, list[str]]:
    """Folders of closed hours of several files; of `flows`, those all of whose hours are up to
    date."""
    stale = stale_hours(rollup)
    found = {
        folder: files
        for folder, files in closed_hours(rollup.lake, "flows", before).items()
        if all(f in rollup.files for f in files)
        and not any(parse_hour(h) in stale for f in files for h in rollup.files[f]["hours"])
    }
    damaged: list[str] = []
    for table in ("coverage", "sampling"):  # of these the rows count, whatever file they stand in
        rollup.ledger.entries(table, damaged=damaged)
        found |= closed_hours(rollup.lake, table, before)
    return {folder: files for folder, files in found.items() if not {*files} & {*damaged}}


def compact(
    lake: Lake, hours: dict[str, list[str]], *, progress: Callable[[int], None] | None = None
) -> None:
    """Merge the files of each hour. The caller holds `lake.flow_files(alone=True)`."""
    for _, files in sorted(hours.items()):
        merge(lake, files, progress=progress)
