"""How fresh is what each stage has made, and how long will the disk do?

Read off the folders of the lake, so that it costs nothing beside the work of a run; on an object
store off the manifests, whose headers are packed.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.routing.rib.snapshot import snapshots

GROWTH_DAYS = 7
"""Whole days that the growth of the lake is judged by: a week has its own rhythm."""
PASSING_TABLES = ("flows", "coverage", "sampling")
"""Tables that `prune` keeps at `keep_flows`."""
_DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Freshness:
    """Times in seconds since the epoch; None where there is none."""

    flows_until: float | None
    rolled_up_until: float | None
    rib_taken: float | None
    peeringdb_fetched: float | None
    disk_free_octets: int | None
    lake_octets_per_day: float
    days_until_full: float | None
    """None where the lake does not grow. Both are None on an object store."""

    def gauges(self) -> dict[str, float]:
        """The figures that there are, by name."""
        named = ((name, getattr(self, name)) for name in FIGURES)
        return {name: float(value) for name, value in named if value is not None}


FIGURES: dict[str, str] = {
    "flows_until": "End of the last hour with flow records, in seconds since the epoch.",
    "rolled_up_until": "End of the last hour that is rolled up, in seconds since the epoch.",
    "rib_taken": "When the newest routes were taken, in seconds since the epoch.",
    "peeringdb_fetched": "As of when PeeringDB's objects are, in seconds since the epoch.",
    "disk_free_octets": "Octets left on the disk of the lake.",
    "lake_octets_per_day": "Octets that the lake grew by a day, before anything is pruned.",
    "days_until_full": "Days until the disk of the lake is full, with `keep_flows` as it is.",
}
"""Every figure, and what it says."""


def freshness(network: Configuration, lake: Lake, now: datetime | None = None) -> Freshness:
    """What is known now."""
    now = now or datetime.now(UTC)
    if lake.remote is not None:
        return _of_store(lake, now)
    root = lake.root
    taken = max((info.taken_at for info in snapshots(lake)), default=None)
    place = next(p for p in (root, *root.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free
    sizes = {table: _days(root / table) for table in (*PASSING_TABLES, "traffic", "traffic_routes")}
    growth = {table: _growth(days, now.date()) for table, days in sizes.items()}
    passing = sum(growth[table] for table in PASSING_TABLES)
    kept_s = network.lake.keep_flows
    held = len(sizes["flows"])
    return Freshness(
        flows_until=_until(root / "flows", sizes["flows"]),
        rolled_up_until=_until(root / "traffic", sizes["traffic"]),
        rib_taken=taken.timestamp() if taken is not None else None,
        peeringdb_fetched=_registry_time(lake),
        disk_free_octets=free,
        lake_octets_per_day=sum(growth.values()),
        days_until_full=days_until_full(
            free, sum(growth.values()), passing, None if kept_s is None else kept_s / 86400 - held
        ),
    )


def _of_store(lake: Lake, now: datetime) -> Freshness:
    record = lake.record()
    taken = max((info.taken_at for info in snapshots(lake)), default=None)
    sizes: dict[str, dict[date, int]] = {}
    for table in (*PASSING_TABLES, "traffic", "traffic_routes"):
        days = sizes[table] = {}
        for hour, header in record.headers(table, damaged=[]).items():
            days[hour.date()] = days.get(hour.date(), 0) + header.file_bytes
    ends = {
        table: (hours[-1] + timedelta(hours=1)).timestamp() if hours else None
        for table in ("flows", "traffic")
        for hours in [
            [h for h, of in record.headers(table, damaged=[]).items() if of.files]
        ]
    }  # fmt: skip
    return Freshness(
        flows_until=ends["flows"],
        rolled_up_until=ends["traffic"],
        rib_taken=taken.timestamp() if taken is not None else None,
        peeringdb_fetched=_registry_time(lake),
        disk_free_octets=None,
        lake_octets_per_day=sum(_growth(days, now.date()) for days in sizes.values()),
        days_until_full=None,
    )


def days_until_full(
    free: float, per_day: float, passing: float, days_left: float | None
) -> float | None:
    """Days until `free` octets are used.

    Args:
        per_day: octets that are written a day.
        passing: those among them that are pruned after a time.
        days_left: days until the first of those is pruned; None: never.
    """
    if per_day <= 0:
        return None
    if days_left is None or free <= per_day * max(days_left, 0):
        return free / per_day
    staying = per_day - passing
    if staying <= 0:
        return None
    remaining = max(days_left, 0)
    return remaining + (free - per_day * remaining) / staying


def _days(folder: Path) -> dict[date, int]:
    """Octets by day of a partitioned table."""
    found: dict[date, int] = {}
    try:
        listed = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return found
    for name in listed:
        match = _DAY.fullmatch(name)
        if match is None:
            continue
        day = date.fromisoformat(match[1])
        for here, _, files in os.walk(folder / name):
            for file in files:
                try:
                    found[day] = found.get(day, 0) + Path(here, file).stat().st_size
                except OSError:
                    continue  # taken away meanwhile
    return found


def _growth(days: dict[date, int], today: date) -> float:
    """Octets a day, by the last whole days that have any."""
    full_days = sorted(day for day in days if day < today)[-GROWTH_DAYS:]
    if not full_days:
        return float(sum(days.values()))
    return sum(days[day] for day in full_days) / len(full_days)


def _until(folder: Path, days: dict[date, int]) -> float | None:
    """End of the last hour that has a file."""
    for day in sorted(days, reverse=True):
        hours = [
            int(path.name[5:])
            for path in (folder / f"date={day}").glob("hour=[0-2][0-9]")
            if any(path.iterdir())
        ]
        if hours:
            start = datetime(day.year, day.month, day.day, max(hours), tzinfo=UTC)
            return (start + timedelta(hours=1)).timestamp()
    return None


def _registry_time(lake: Lake) -> float | None:
    entry = lake.entry("reference/peeringdb_net.parquet")
    source_time = None if entry is None else entry.get("source_time")
    return datetime.fromisoformat(source_time).timestamp() if source_time else None
