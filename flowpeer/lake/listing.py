"""Which files of a table are there, whatever is merged meanwhile."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flowpeer.lake.store import partition_hour
from flowpeer.schema import PARTITIONED, REFERENCE

TRIES = 100
"""Of listing a folder in whose place another is put each time."""


def table_files(
    root: Path, table: str, *, start: datetime | None = None, end: datetime | None = None
) -> list[Path]:
    """The files of a table of the lake at `root`, sorted.

    Args:
        start, end: of a partitioned table only the hours that overlap [start, end). Times without
            a zone are UTC.
    """
    if table in PARTITIONED:
        hours = sorted(h for h in (root / table).glob("date=*/hour=*") if _within(h, start, end))
        return [hour / name for hour in hours for name in _of_one_moment(hour)]
    if table in REFERENCE:
        return [file for file in [root / "reference" / f"{table}.parquet"] if file.is_file()]
    return sorted((root / table).glob("*.parquet"))


def _of_one_moment(folder: Path) -> list[str]:
    """The files of an hour, sorted: all that were there before `compact` put another folder in
    their place, or all after."""
    names: list[str] = []
    for _ in range(TRIES):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            names = os.listdir(handle)  # noqa: PTH208 (of the open folder, not of its path)
            still = os.path.samestat(os.fstat(handle), folder.stat())
        except FileNotFoundError:
            return []
        finally:
            os.close(handle)
        if still:
            break
    return sorted(name for name in names if name.endswith(".parquet"))


def _within(folder: Path, start: datetime | None, end: datetime | None) -> bool:
    if start is None and end is None:
        return True
    begins = partition_hour(f"{folder}/")
    return (start is None or _utc(start) < begins + timedelta(hours=1)) and (
        end is None or begins < _utc(end)
    )


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
