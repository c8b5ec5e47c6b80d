"""Changing the record: the one way in which a manifest gets its next generation.

    write and sync the data files → the hour's lock → read the manifest → apply the change to what
    is there now → write it → release

A change is a function of the manifest as it is at that moment, so that two writers of one hour both
get in. Entries of units that never were completed are dropped on the way once the unit is complete
without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from flowpeer.errors import InputError
from flowpeer.lake import codec
from flowpeer.lake.manifest import (
    File,
    Header,
    Manifest,
    Retired,
    RollupFacts,
    hour_name,
    key_of,
)
from flowpeer.lake.record import Record
from flowpeer.lake.storage import Stored, replace
from flowpeer.lake.units import UnitRecord, bucket_of, unit_key
from flowpeer.schema import PARTITIONED

if TYPE_CHECKING:
    from flowpeer.lake.store import Lake


@dataclass(frozen=True, slots=True)
class Change:
    """The files that an hour has from now on, the paths that go, and the roll-up's facts."""

    files: tuple[File, ...]
    retired: tuple[str, ...] = ()
    rollup: RollupFacts | None = None


Edit = Callable[[Manifest], Change | None]


def commit(
    lake: Lake,
    table: str,
    hour: datetime | None,
    edit: Edit,
    *,
    grace_s: float = 0.0,
    now: datetime | None = None,
    replace_damaged: bool = False,
) -> Header | None:
    """Apply `edit` to the present manifest; the new header, None where it changed nothing.

    Args:
        grace_s: how long the files that go stay for readers that still open them.
        replace_damaged: begin again where the manifest cannot be read.

    Raises:
        InputError: it cannot be read.
    """
    now = now or datetime.now(UTC)
    key = key_of(table, hour)
    grace_s = max(grace_s, lake.storage.grace_s)
    due = f"{now + timedelta(seconds=grace_s):%Y-%m-%dT%H:%M:%S.%fZ}"

    def once(held: Stored | None) -> tuple[bytes, Header] | None:
        manifest = Manifest(Header(table, hour_name(hour) if hour else ""))
        if held is not None:
            try:
                manifest = codec.decode(held.octets, key)
            except InputError:
                if not replace_damaged:
                    raise
        record, before = Record(lake), manifest.header
        kept, dropped = _settled(record, manifest)
        change = edit(Manifest(manifest.header, kept))
        if change is None:
            return None
        paths = {f.key for f in change.files if f.pruned is None}
        gone = {path for path in (*change.retired, *dropped) if path not in paths}
        retired = {r.path: r for r in manifest.header.retired if r.path not in paths}
        retired |= {path: Retired(path, due) for path in sorted(gone)}
        counting = {
            (u.path, u.sha256) for f in kept for u in f.units if u.path not in before.pending
        }  # for good: a unit's record is never taken back
        pending = {
            u.path: u.sha256
            for f in change.files
            for u in f.units
            if u.recorded
            and (u.path, u.sha256) not in counting
            and not record.counts(u.path, u.sha256)
        }
        made = manifest.next(
            change.files, pending=pending, retired=retired.values(), rollup=change.rollup
        )
        return codec.encode_next(manifest, made, key), made.header

    header = replace(lake.storage, key, once)
    if header is not None and not grace_s:
        sweep(lake, table, hour, header, now)
    return header


def _settled(record: Record, manifest: Manifest) -> tuple[tuple[File, ...], list[str]]:
    """Files without entries of units that are complete and do not name them, and their paths."""
    dropped: list[str] = []
    kept: list[File] = []
    for file in manifest.files:
        stray = [
            u
            for u in file.units
            if u.path in manifest.header.pending
            and (unit := record.unit(PurePosixPath(u.path).stem)) is not None
            and unit.parts.get(u.path) != u.sha256
        ]
        if stray:
            dropped.append(file.key)
        else:
            kept.append(file)
    return tuple(kept), dropped


def sweep(
    lake: Lake, table: str, hour: datetime | None, header: Header, now: datetime | None = None
) -> int:
    """Remove the retired files whose time has come; how many. The record forgets them then."""
    text = f"{now or datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    due = {r.path for r in header.retired if r.due <= text}
    if not due:
        return 0
    key = key_of(table, hour)

    def once(held: Stored | None) -> tuple[bytes, Header] | None:
        if held is None:
            return None
        manifest = codec.decode(held.octets, key)
        live = {f.key for f in manifest.live}
        for path in due - live:
            lake.storage.remove(path)
        retired = tuple(r for r in manifest.header.retired if r.path not in due)
        made = manifest.next(manifest.files, pending=manifest.header.pending, retired=retired)
        return codec.encode_next(manifest, made, key), made.header

    replace(lake.storage, key, once)
    return len(due)


def sweep_retired(lake: Lake, record: Record) -> int:
    """Remove the files that nobody names since their grace period; how many."""
    gone = 0
    for table in PARTITIONED:
        damaged: list[datetime] = []
        for hour, header in record.headers(table, damaged=damaged).items():
            if header.retired:
                gone += sweep(lake, table, hour, header)
    for table in ("routes", "reference") if lake.remote is not None else ():
        single = record.header(table)
        if single is not None and single.retired:
            gone += sweep(lake, table, None, single)
    return gone


def complete(lake: Lake, units: Iterable[UnitRecord]) -> None:
    """Write the records of units, which makes their entries count."""
    buckets: dict[str, list[UnitRecord]] = {}
    for unit in units:
        buckets.setdefault(bucket_of(unit.name), []).append(unit)
    for bucket, some in sorted(buckets.items()):
        key = unit_key(bucket)

        def once(
            held: Stored | None, *, key: str = key, bucket: str = bucket,
            some: list[UnitRecord] = some,
        ) -> tuple[bytes, Header]:  # fmt: skip
            header, there = (
                (Header("units", bucket), {})
                if held is None
                else codec.decode_units(held.octets, key)
            )
            there |= {unit.name: unit for unit in some}
            made = Header("units", bucket, header.generation + 1, rows=len(there))
            return codec.encode(made, (there[name] for name in sorted(there))), made

        replace(lake.storage, key, once)
