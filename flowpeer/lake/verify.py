"""Are the files of the lake the ones that were published?

Every file that a manifest names is compared with it: there, same size, same SHA-256, same rows, the
stated columns; and every document with the digest that it carries of itself. What no manifest names
was never finished, or is no file of flowpeer: it is named too, wherever in the lake's tables it
lies. Retired files are waiting for their time, and are no fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError
from flowpeer.lake import codec, interface_names, older_layouts
from flowpeer.lake.manifest import (
    HOUR,
    File,
    key_of,
    parse_hour,
    partition_hour,
    received_between,
)
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.schema import FORMAT, PARTITIONED, TABLES

FOLDERS = (*PARTITIONED, "routes", "reference")
Period = tuple[datetime, datetime]
Result = tuple[str, "Fault | None"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the file, what, and the next step."""

    path: str
    what: str
    advice: str


def verify_files(record: Record, period: Period | None = None) -> Iterator[Result]:
    """Check each published file, then what does not belong; (path, None) for a good one.

    Args:
        period: only files of hours that overlap it, and those that are of no hour; of `flows` also
            those of other hours of receipt with records of these hours.
    """
    for table in FOLDERS:
        yield from _table(record, table, period)
    if record.lake.format == FORMAT:
        yield from _documents(record)


def replaced(record: Record, relative: str) -> bool:
    """Whether the record now says other things of a file than when it was read: another process
    merged, replaced or removed it while `verify` was on its way."""
    table = relative.partition("/")[0]
    if table not in FOLDERS:
        return False
    try:
        hour = partition_hour(relative) if table in PARTITIONED else None
        now = record.lake.record().stands(table, hour).header
        then = record.generation(table, hour)
    except (ValueError, InputError):
        return False
    return then is not None and now.generation != then


def _table(record: Record, table: str, period: Period | None) -> Iterator[Result]:
    lake = record.lake
    hours: list[datetime | None] = [None]
    if table in PARTITIONED:
        first, last = period or (None, None)
        if table == "flows":
            first, last = received_between(first, last)
        hours = [*record.hours(table, start=first, end=last)]
    known: set[str] = set()
    unread: list[datetime | None] = []
    for hour in hours:
        try:
            # As it stands: what is pending waits for its unit, and is no stray file.
            manifest = record.stands(table, hour)
        except InputError as error:
            unread.append(hour)
            key = key_of(table, hour)
            yield key, Fault(key, "this manifest is not what was written", error.advice)
            continue
        known.update(f.key for f in manifest.live)
        known.update(r.path for r in manifest.header.retired)
        for file in manifest.live:
            if _within(hour, period) or any(_within(h, period) for h in _reached(file)):
                yield file.path, _check(lake, file)
    yield from _strays(lake, table, period, known, unread)


def _strays(
    lake: Lake, table: str, period: Period | None, known: set[str], unread: list[datetime | None]
) -> Iterator[Result]:
    """Files in a table's folder that no manifest names."""
    for relative in lake.storage.files(table):
        if relative in known:
            continue
        try:
            hour = partition_hour(relative) if table in PARTITIONED else None
        except ValueError:
            hour = None
        if hour in unread:  # nobody knows
            continue
        if not _within(hour, period):
            continue
        yield (
            relative,
            Fault(
                relative,
                "no manifest names it: it was never finished, or is no file of flowpeer",
                "run the command that makes it again, or delete it",
            ),
        )


def _documents(record: Record) -> Iterator[Result]:
    """Documents beside the manifests of files: units of work, and names of interfaces."""
    storage = record.lake.storage
    for folder in ("units", interface_names.TABLE):
        for key in sorted(listed.key for listed in storage.list(f"manifests/{folder}")):
            held = storage.read(key)
            if held is None:
                continue
            try:
                if folder == "units":
                    codec.decode_units(held.octets, key)
                else:
                    codec.decode_line(interface_names.KnownInterfaceNames, held.octets, key)
            except InputError:
                advice = (
                    interface_names.remedy(key)
                    if folder == interface_names.TABLE
                    else "restore it from a backup, or delete it and run `flowpeer adopt`"
                )
                yield key, Fault(key, f"{key} is not what was written", advice)
            else:
                yield key, None


def _within(hour: datetime | None, period: Period | None) -> bool:
    """Whether an hour overlaps a period, where there are both."""
    return hour is None or period is None or (hour < period[1] and hour + HOUR > period[0])


def _reached(file: File) -> Iterator[datetime]:
    """The hours that a flow file has records of."""
    for unit in file.units:
        yield from map(parse_hour, unit.facts.hours if unit.facts else ())


def _check(lake: Lake, file: File) -> Fault | None:
    lake.storage.fetch([file.key], again=True)
    path = lake.root / file.key
    again = _remedy(file.path)
    if not path.is_file():
        return Fault(file.path, "the file is missing", again)
    if path.stat().st_size != file.file_bytes or sha256_of(path) != file.sha256:
        return Fault(file.path, "the content is not what was published", again)
    try:
        with pq.ParquetFile(path) as parquet:
            rows, stated = parquet.metadata.num_rows, parquet.schema_arrow
    except (pa.ArrowException, OSError) as error:
        return Fault(file.path, f"not readable: {error}", again)
    if rows != file.rows:
        return Fault(file.path, f"{rows} rows, {file.rows} in the manifest", again)
    table = file.path.split("/")[1 if file.path.startswith("reference/") else 0]
    if table.removesuffix(".parquet") not in TABLES:
        return Fault(file.path, "a table that this flowpeer does not know", again)
    if older_layouts.differs(file.path, stated, file.layout):
        return Fault(file.path, "the columns are not the stated ones", again)
    return None


def _remedy(relative: str) -> str:
    table = relative.split("/")[0]
    made_by = {
        "traffic": "`flowpeer rollup`",
        "traffic_routes": "`flowpeer rollup`",
        "routes": "`flowpeer rib load`",
        "reference": "`flowpeer peeringdb load` or `flowpeer rollup`",
    }.get(table)
    if made_by is None:
        return "restore it from a backup; without one, delete it and run `flowpeer adopt`"
    return f"delete it, then run {made_by} again"
