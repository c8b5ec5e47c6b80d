"""The record of a lake as one command sees it: each document is read once.

A `Record` is made by a command, handed down to what needs it, and gone with it. Readers open the
files that it names and never list folders of data. Where a file is gone before it is opened, since
another process merged or replaced it, `read` does the work once more with a fresh record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowpeer.errors import InputError, LockedError
from flowpeer.lake import codec
from flowpeer.lake.manifest import (
    HOUR,
    File,
    Header,
    Manifest,
    hour_name,
    key_of,
    parse_hour,
    summarised,
)
from flowpeer.lake.units import UnitRecord, bucket_of, unit_key
from flowpeer.schema import PARTITIONED

if TYPE_CHECKING:
    from flowpeer.lake.storage import Storage
    from flowpeer.lake.store import Lake

T = TypeVar("T")


class Source(Protocol):
    """Where documents come from: the manifests, or the ledger of a lake of format 2."""

    def hours(self, table: str) -> list[datetime]:
        """Hours of a table that have a manifest, in order."""

    def header(self, table: str, hour: datetime | None) -> Header | None:
        """A header. Raises InputError where it is damaged."""

    def manifest(self, table: str, hour: datetime | None) -> Manifest | None:
        """A manifest. Raises InputError where it is damaged."""

    def bucket(self, name: str) -> dict[str, UnitRecord]:
        """Records of units by name, in the bucket of that name."""

    def buckets(self) -> list[str]:
        """Names of all buckets, in order."""


class Manifests:
    """Documents of format 3."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def hours(self, table: str) -> list[datetime]:
        """Hours of a table that have a manifest."""
        found = []
        for listed in self._storage.list(f"manifests/{table}"):
            _, date, hour = listed.key.removesuffix(".json").rsplit("/", 2)
            found.append(parse_hour(f"{date.removeprefix('date=')}T{hour.removeprefix('hour=')}"))
        return sorted(found)

    def header(self, table: str, hour: datetime | None) -> Header | None:
        """A header."""
        key = key_of(table, hour)
        held = self._storage.read(key)
        return None if held is None else codec.decode_header(held.octets, key)

    def manifest(self, table: str, hour: datetime | None) -> Manifest | None:
        """A manifest."""
        key = key_of(table, hour)
        held = self._storage.read(key)
        return None if held is None else codec.decode(held.octets, key)

    def bucket(self, name: str) -> dict[str, UnitRecord]:
        """Records of units by name."""
        key = unit_key(name)
        held = self._storage.read(key)
        return {} if held is None else codec.decode_units(held.octets, key)[1]

    def buckets(self) -> list[str]:
        """Names of all buckets."""
        keys = (listed.key for listed in self._storage.list("manifests/units"))
        return sorted(key.rpartition("/")[2].removesuffix(".json") for key in keys)


class Record:
    """Documents, read when asked for and kept."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._source = lake.source()
        self._hours: dict[str, list[datetime]] = {}
        self._headers: dict[tuple[str, datetime | None], Header | InputError | None] = {}
        self._buckets: dict[str, dict[str, UnitRecord]] = {}
        self._stood: dict[tuple[str, datetime | None], int] = {}

    def hours(
        self, table: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> list[datetime]:
        """Hours of a table that overlap [start, end), in order."""
        if table not in self._hours:
            self._hours[table] = self._source.hours(table)
        return [
            hour
            for hour in self._hours[table]
            if (start is None or hour + HOUR > start) and (end is None or hour < end)
        ]

    def header(self, table: str, hour: datetime | None = None) -> Header | None:
        """The header of a manifest, of complete entries; None where there is none.

        Raises:
            InputError: it is damaged.
        """
        key = (table, hour)
        if key not in self._headers:
            try:
                found = self._source.header(table, hour)
                if found is not None and not self._complete(found):
                    found = self._manifest(table, hour).header
                self._headers[key] = found
            except InputError as error:
                self._headers[key] = error
        held = self._headers[key]
        if isinstance(held, InputError):
            raise held
        return held

    def headers(
        self,
        table: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        damaged: list[datetime] | None = None,
    ) -> dict[datetime, Header]:
        """Headers of the hours that overlap [start, end).

        Raises:
            InputError: one is damaged, unless `damaged` is there to take its hour.
        """
        found: dict[datetime, Header] = {}
        for hour in self.hours(table, start=start, end=end):
            try:
                header = self.header(table, hour)
            except InputError:
                if damaged is None:
                    raise
                damaged.append(hour)
                continue
            if header is not None:
                found[hour] = header
        return found

    def stands(self, table: str, hour: datetime | None = None) -> Manifest:
        """A manifest as it is written, with entries of units that are not complete.

        Raises:
            InputError: it is damaged.
        """
        found = self._source.manifest(table, hour)
        found = found or Manifest(Header(table, hour_name(hour) if hour else ""))
        self._stood[table, hour] = found.header.generation
        return found

    def generation(self, table: str, hour: datetime | None = None) -> int | None:
        """The generation that `stands` last gave of a manifest."""
        return self._stood.get((table, hour))

    def manifest(self, table: str, hour: datetime | None = None) -> Manifest:
        """A manifest, of complete entries; an empty one where there is none.

        Raises:
            InputError: it is damaged.
        """
        return self._manifest(table, hour)

    def _manifest(self, table: str, hour: datetime | None) -> Manifest:
        found = self._source.manifest(table, hour)
        if found is None:
            return Manifest(Header(table, hour_name(hour) if hour else ""))
        if self._complete(found.header):
            return found
        open_ = {
            path for path, digest in found.header.pending.items() if not self.counts(path, digest)
        }
        files = tuple(f for f in found.files if not any(u.path in open_ for u in f.units))
        made = summarised(found.header.table, found.header.hour, files)
        header = replace(
            made, generation=found.header.generation, retired=found.header.retired,
            rollup=found.header.rollup,
        )  # fmt: skip
        return Manifest(header, files)

    def _complete(self, header: Header) -> bool:
        return all(self.counts(path, digest) for path, digest in header.pending.items())

    def counts(self, path: str, digest: str) -> bool:
        """Whether the record of an entry's unit is there, and names this digest."""
        unit = self.unit(path.rpartition("/")[2].removesuffix(".parquet"))
        return unit is not None and unit.parts.get(path) == digest

    def files(
        self, table: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> list[File]:
        """Files of a table in hours, by path, that are there.

        Raises:
            InputError: a manifest is damaged.
        """
        return [
            f for h in self.hours(table, start=start, end=end) for f in self.manifest(table, h).live
        ]

    def single(self, table: str) -> dict[str, File]:
        """Files of a table that is not in hours, by path."""
        return {file.path: file for file in self.manifest(table).live}

    def entries(self, table: str) -> dict[str, dict[str, Any]]:
        """What is known of each file of a table."""
        files = self.files(table) if table in PARTITIONED else self.single(table).values()
        return {file.path: file.document for file in files}

    def unit(self, name: str) -> UnitRecord | None:
        """The record of a unit of work."""
        return self._bucket(bucket_of(name)).get(name)

    def units(self) -> Iterator[UnitRecord]:
        """All units of work, by name within a bucket."""
        for name in self._source.buckets():
            yield from (unit for _, unit in sorted(self._bucket(name).items()))

    def _bucket(self, name: str) -> dict[str, UnitRecord]:
        if name not in self._buckets:
            self._buckets[name] = self._source.bucket(name)
        return self._buckets[name]

    def forget(self, table: str, hour: datetime | None = None) -> None:
        """Read a header again when it is asked for: this command itself has changed it."""
        self._headers.pop((table, hour), None)
        self._hours.pop(table, None)

    def refresh(self) -> None:
        """Forget what was read."""
        self._hours.clear()
        self._headers.clear()
        self._buckets.clear()

    def read(self, table: str, work: Callable[[], T]) -> T:
        """`work`, done again with a fresh record where a file is gone.

        Raises:
            InputError: it is gone, and the record still names it.
            LockedError: files go faster than they are read.
        """
        try:
            return work()
        except FileNotFoundError as error:
            first = error
        before = {h: header.generation for h, header in self.headers(table).items()}
        self.refresh()
        if before == {h: header.generation for h, header in self.headers(table).items()}:
            raise gone(first) from None
        try:
            return work()
        except FileNotFoundError:
            raise busy(self.lake) from None


def gone(error: FileNotFoundError) -> InputError:
    """A file that the record names is not there."""
    return InputError(
        str(error.filename or error), "the file is missing",
        advice="restore it, or see what depends on it with `flowpeer verify`",
    )  # fmt: skip


def busy(lake: Lake) -> LockedError:
    """Files were replaced twice while they were being read."""
    return LockedError(
        f"{lake.root}: files are merged or replaced faster than they can be read",
        advice="try again when `compact` and `rollup` are done (exit status 75)",
    )
