"""Which files of a table there are, by the record."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path

from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.schema import CONFIGURED, FORMAT, PARTITIONED, REFERENCE

Groups = list[tuple[int, list[Path]]]
"""Files by the layout of their columns (flowpeer.lake.older_layouts), those of the oldest first."""


def table_files(
    root: Path, table: str, *, start: datetime | None = None, end: datetime | None = None
) -> list[Path]:
    """The files of a table of the lake at `root`; arguments as of `files_by_layout`."""
    groups = files_by_layout(Lake(root).record(), table, start=start, end=end)
    return sorted(path for _, paths in groups for path in paths)


def files_by_layout(
    record: Record,
    table: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    without: Collection[date] = (),
    fetch: bool = True,
) -> Groups:
    """The files of a table.

    Args:
        start, end: of a partitioned table only the hours that overlap [start, end). Times without
            a zone are UTC.
        without: of a partitioned table, days that are left out.
        fetch: of an object store, bring files that are not here.
    """
    lake = record.lake
    older: dict[int, list[str]] = {}
    present: list[str] = []
    if table in PARTITIONED:
        first, last = start and _utc(start), end and _utc(end)
        found = record.headers(table, start=first, end=last)
        headers = [header for hour, header in found.items() if hour.date() not in without]
        if fetch:
            lake.check_room(table, sum(header.file_bytes for header in headers))
        for header in headers:
            old = header.older
            present += [path for path in header.paths if path not in old]
            for path, layout in old.items():
                older.setdefault(layout, []).append(path)
    else:
        named = table in REFERENCE or table in CONFIGURED
        for file in record.single("reference" if named else table).values():
            if named and file.path != f"reference/{table}.parquet":
                continue
            group = present if file.layout >= FORMAT else older.setdefault(file.layout, [])
            group.append(file.key)
    groups = [*sorted(older.items()), *([(FORMAT, present)] if present else [])]
    if not fetch and table in PARTITIONED:
        return [(layout, [lake.root / key for key in keys]) for layout, keys in groups]
    return [(layout, lake.places(keys)) for layout, keys in groups]


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
