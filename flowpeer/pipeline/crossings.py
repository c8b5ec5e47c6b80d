"""Flow records that can be summed, as files for SQL: made when a statement names `crossings`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from flowpeer.errors import NoDataError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.period import parse_period
from flowpeer.rollup.crossings import SCHEMA
from flowpeer.rollup.planner import RollupPlanner

MOST_RECORDS = 50_000_000
"""In one go: some 5 GB of files, and minutes of work."""


def write_crossings(
    network: Configuration,
    lake: Lake,
    folder: Path,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[Path]:
    """Write the crossings of the hours that overlap [start, end) into a folder, a file an hour.

    Hours whose flow records were pruned have none.

    Raises:
        UsageError: more records than one question can be asked of; no RIB is loaded.
        InputError: a manifest or flow file that cannot be read.
    """
    rollup = RollupPlanner(lake, network, period=(start, end))
    try:
        plan = rollup.plan(start, end)
    except NoDataError:
        return []
    hours = [hour for hour in plan if not hour.blocked and not hour.frozen]
    total = sum(rollup.rows(hour) for hour in hours)
    if total > MOST_RECORDS:
        raise UsageError(
            f"crossings of {total:,} records are asked for, and {MOST_RECORDS:,} can be",
            advice="choose a shorter time with --period START/END",
        )
    files = []
    for hour in hours:
        path = folder / f"crossings-{hour.name}.parquet"
        with pq.ParquetWriter(path, SCHEMA) as writer:
            for table in rollup.crossings(hour):
                writer.write_table(table)
        files.append(path)
    return files


def span_of(parameters: Mapping[str, object]) -> tuple[datetime | None, datetime | None]:
    """The time that parameters of a question speak of: `period`, else `period_start` and
    `period_end`; None is an open end.

    Raises:
        UsageError: no period, or no time.
    """
    if period := parameters.get("period"):
        return parse_period(str(period))
    start, end = (_moment(parameters.get(name)) for name in ("period_start", "period_end"))
    return start, end


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f"{value!r} is no time", advice="write it like 2026-07-01") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
