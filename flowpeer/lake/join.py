"""Joining lakes: what other collectors took in, taken into one lake.

Units of work go from lake to lake whole, with their entries and their record, so that the hours
rolled up afterwards are those that one lake would have had. A unit that is there already is passed
over; what both hold of the same datagrams counts once (flowpeer.rollup.duplicates). Like ingest,
files come first, then the manifests of their hours, then the units' records: interrupted, it is
done again. Roll-ups are made again, not taken.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError, UsageError
from flowpeer.lake import interface_names
from flowpeer.lake.commit import Change, commit, complete
from flowpeer.lake.manifest import File, Manifest, UnitEntry, folder_of
from flowpeer.lake.older_layouts import uniform
from flowpeer.lake.publish import MERGED
from flowpeer.lake.record import Record
from flowpeer.lake.staged import described
from flowpeer.lake.store import Lake
from flowpeer.lake.units import UnitRecord
from flowpeer.schema import FORMAT
from flowpeer_ingest.schema import TABLES

ORDER = ("coverage", "sampling", "flows")
"""Rates and coverage first: a roll-up that meets the flows must meet them too."""
ROWS_AT_ONCE = 1 << 17
Progress = Callable[[int], None]


@dataclass(slots=True)
class Joined:
    """What was taken from another lake. `known`: units that were there already."""

    units: int = 0
    known: int = 0
    files: int = 0
    rows: int = 0
    snapshots: int = 0


def join(lake: Lake, other: Lake, progress: Progress = lambda files: None) -> Joined:
    """Take everything of `other` that `lake` has not; `progress` is given the files looked at.

    Raises:
        InputError: a file that is not what was published, units of one name that differ, or units
            whose flow records were pruned. What was taken before that counts nowhere yet.
        LockedError: another process changes the lake.
        UsageError: it is no lake of the present format, or the same one.
    """
    check(lake, other)
    done = Joined()
    with lake.lock("ingest"), lake.lock("ribs"), lake.lock("reference"):
        record, there = other.record(), lake.record()
        units = {unit.name: unit for unit in record.units()}
        new = {name: unit for name, unit in units.items() if _is_new(other, unit, there)}
        done.units, done.known = len(new), len(units) - len(new)
        for table in ORDER:
            for hour in record.hours(table):
                _hour(lake, other, (table, hour), (record, there), new, done, progress)
        for table in ("routes", "reference"):
            known = there.single(table)
            for path, file in record.single(table).items():
                progress(1)
                if path not in known:
                    _name(lake, table, None, _copied(lake, other, file))
                    done.snapshots += table == "routes"
        interface_names.take(lake, other)
        complete(lake, new.values())
    return done


def files_of(other: Lake) -> int:
    """How many files of a lake `join` looks at."""
    record = other.record()
    headers = (header for table in ORDER for header in record.headers(table).values())
    single = sum(len(record.single(table)) for table in ("routes", "reference"))
    return sum(header.files for header in headers) + single


def check(lake: Lake, other: Lake) -> None:
    """Raise UsageError where there is nothing to join."""
    if other.storage.read("format.json") is None or other.format != FORMAT:
        raise UsageError(
            f"{other}: no lake of format {FORMAT}",
            advice="name the folder of a lake; an older one is brought to the present format by "
            "`flowpeer migrate`",
        )
    other.check_format()
    if other.root.resolve() == lake.root.resolve():
        raise UsageError(
            f"{other.root}: is this lake itself", advice="name the folder of another lake"
        )


def _is_new(other: Lake, unit: UnitRecord, there: Record) -> bool:
    known = there.unit(unit.name)
    if known is not None and unit.is_segment and known.parts != unit.parts:
        raise InputError(
            str(other.root), f"{unit.name} is in both lakes and is not the same",
            advice="two collectors have one name: give each its own `name` under [collector], and "
            "keep the two lakes apart",
        )  # fmt: skip
    return known is None


def _hour(
    lake: Lake, other: Lake, place: tuple[str, datetime], records: tuple[Record, Record],
    new: dict[str, UnitRecord], done: Joined, progress: Progress,
) -> None:  # fmt: skip
    table, hour = place
    record, there = records
    known = {u.path: u.sha256 for f in there.manifest(table, hour).files for u in f.units}
    for file in record.manifest(table, hour).files:
        units = [unit for unit in file.units if _wanted(other, unit, known, new)]
        if not units:
            continue
        if file.pruned is not None:
            raise InputError(
                str(other.path(file.path)), "its flow records were pruned: nothing to join",
                advice="join lakes before their flows are pruned (`keep_flows` under [lake])",
            )  # fmt: skip
        progress(1)
        complete = len(units) == len(file.units)
        made = _copied(lake, other, file) if complete else _parted(lake, other, place, file, units)
        _name(lake, table, hour, made)
        done.files, done.rows = done.files + 1, done.rows + made.rows


def _wanted(
    other: Lake, unit: UnitEntry, known: dict[str, str], new: dict[str, UnitRecord]
) -> bool:
    if unit.recorded:
        return PurePosixPath(unit.path).stem in new
    if known.get(unit.path, unit.sha256) != unit.sha256:
        raise InputError(
            str(other.path(unit.path)), "is in both lakes and is not the same",
            advice="keep the two lakes apart",
        )  # fmt: skip
    return unit.path not in known


@contextmanager
def _staged(lake: Lake, relative: str) -> Iterator[Path]:
    """A place for a file that is put into the lake; nothing is left of it after an error."""
    path = lake.staging.path(relative)
    try:
        yield path
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _copied(lake: Lake, other: Lake, file: File) -> File:
    """The same file in this lake."""
    with _staged(lake, file.path) as staged:
        try:
            shutil.copyfile(other.places([file.key])[0], staged)
        except FileNotFoundError:
            raise InputError(
                str(other.path(file.path)), "the file is missing",
                advice="stop what changes that lake meanwhile, or see `flowpeer verify` there",
            ) from None  # fmt: skip
        if described(staged, file.path, file.rows, file.sums).sha256 != file.sha256:
            raise InputError(
                str(other.path(file.path)), "the content is not what was published",
                advice="run `flowpeer verify` there",
            )  # fmt: skip
        return lake.put(staged, file)


def _parted(
    lake: Lake, other: Lake, place: tuple[str, datetime], file: File, units: list[UnitEntry]
) -> File:
    """A file of some of the units of a merged file, whose rows are in the order of its units."""
    table, hour = place
    wanted = {unit.path for unit in units}
    digests = "".join(unit.sha256 for unit in units)
    name = f"{MERGED}{hashlib.sha256(digests.encode()).hexdigest()[:16]}"
    relative = f"{folder_of(table, hour)}/{name}.parquet"
    staged = lake.stage(relative, TABLES[table])
    ends: list[tuple[int, bool]] = []
    for unit in file.units:
        ends.append(((ends[-1][0] if ends else 0) + unit.rows, unit.path in wanted))
    try:
        with pq.ParquetFile(other.path(file.path), page_checksum_verification=True) as parquet:
            at = 0
            for batch in parquet.iter_batches(ROWS_AT_ONCE):
                begin = at
                for end, mine in ends:
                    first, last = max(begin, at), min(end, at + batch.num_rows)
                    if mine and first < last:
                        some = pa.Table.from_batches([batch.slice(first - at, last - first)])
                        staged.write(uniform(some, table, file.layout))
                    begin = max(begin, end)
                at += batch.num_rows
        made = replace(staged.finish(relative), units=tuple(units))
    except BaseException:
        staged.discard()
        raise
    return lake.put(staged.path, made)


def _name(lake: Lake, table: str, hour: datetime | None, file: File) -> None:
    """Name a file in its manifest, in place of what an attempt before it left."""
    mine = {file.path, *(unit.path for unit in file.units)}

    def edit(manifest: Manifest) -> Change:
        replaced = [
            f for f in manifest.files if f.path in mine or any(u.path in mine for u in f.units)
        ]
        kept = (f for f in manifest.files if f not in replaced)
        return Change((*kept, file), tuple(f.key for f in replaced))

    commit(lake, table, hour, edit)
