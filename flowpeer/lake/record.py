"""The record of a lake as one command sees it: each document is read once.

A `Record` is made by a command, handed down to what needs it, and gone with it. Readers open the
files that it names and never list folders of data. Where a file is gone before it is opened, since
another process merged or replaced it, `read` does the work once more with a fresh record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowpeer.errors import InputError, LockedError
from flowpeer.lake import codec, day_index
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
Ways = dict[str, dict[int, tuple[int, ...]]]
"""Octets of a header."""


class DocumentSource(Protocol):
    """Where documents come from: the manifests, or the ledger of a lake of format 2."""

    def hours(
        self, table: str, start: datetime | None = None, end: datetime | None = None
    ) -> dict[datetime, str]:
        """Hours of a table that have a manifest, in order, and the mark of each (`Listed`): those
        that overlap [start, end), and maybe others."""

    def day(self, table: str, date: str, kind: day_index.Kind) -> day_index.Marked:
        """Headers of a day that were packed."""

    def ahead(self, table: str, hours: Iterable[datetime]) -> None:
        """The manifests of these hours are about to be read."""

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

    def hours(
        self, table: str, start: datetime | None = None, end: datetime | None = None
    ) -> dict[datetime, str]:
        """Hours of a table that have a manifest, and marks."""
        prefix = f"manifests/{table}"
        first = f"{prefix}/date={start.isoformat()[:10]}" if start else ""
        last = f"{prefix}/date={end.isoformat()[:10]}0" if end else ""
        found = {}
        for listed in self._storage.list(prefix, first=first, end=last):
            _, date, hour = listed.key.removesuffix(".json").rsplit("/", 2)
            at = parse_hour(f"{date.removeprefix('date=')}T{hour.removeprefix('hour=')}")
            found[at] = listed.mark
        return dict(sorted(found.items()))

    def day(self, table: str, date: str, kind: day_index.Kind) -> day_index.Marked:
        """Headers of a day."""
        return day_index.read(self._storage, table, date, kind)

    def ahead(self, table: str, hours: Iterable[datetime]) -> None:
        """Manifests that are about to be read."""
        self._storage.ahead(key_of(table, hour) for hour in hours)

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
        self._hours: dict[tuple[str, datetime | None, datetime | None], dict[datetime, str]] = {}
        self._packed = True
        """Whether headers may be taken from the index of a day."""
        self._days: dict[tuple[str, str], day_index.Marked] = {}
        self._read: dict[tuple[str, datetime], tuple[str, Header]] = {}
        """Headers that were read from manifests, and the marks of these before."""
        self._octet_days: dict[tuple[str, str], day_index.Marked] = {}
        self._octets: dict[tuple[str, datetime | None], Ways] = {}
        """Those of headers that were read from manifests."""
        self._headers: dict[tuple[str, datetime | None], Header | InputError | None] = {}
        self._buckets: dict[str, dict[str, UnitRecord]] = {}
        self._stood: dict[tuple[str, datetime | None], int] = {}
        self.until: datetime | None = None
        """Where set: hours from then on are as if they were not there yet."""

    def hours(
        self, table: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> list[datetime]:
        """Hours of a table that overlap [start, end), in order."""
        return list(self.marks(table, start=start, end=end))

    def marks(
        self, table: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> dict[datetime, str]:
        """The same hours, each with a mark that changes with its manifest; an empty one where it is
        not known."""
        known = self._hours.get((table, None, None))
        if known is None:
            known = self._hours.get((table, start, end))
        if known is None:
            known = self._hours[table, start, end] = self._source.hours(table, start, end)
        return {
            hour: mark
            for hour, mark in known.items()
            if (start is None or hour + HOUR > start)
            and (end is None or hour < end)
            and (self.until is None or hour < self.until)
        }

    def header(self, table: str, hour: datetime | None = None) -> Header | None:
        """The header of a manifest, of complete entries and without octets (`octets`); None where
        there is none.

        Raises:
            InputError: it is damaged.
        """
        key = (table, hour)
        if key not in self._headers:
            try:
                found = self._source.header(table, hour)
                mark = ""
                if found is not None and not self._complete(found):
                    found = self._manifest(table, hour).header
                elif hour is not None:
                    mark = self._mark(table, hour)
                if found is not None:
                    self._octets[key] = found.octets
                    found = replace(found, octets={})
                    if mark and hour is not None:
                        self._read[table, hour] = mark, found
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
        marks = self.marks(table, start=start, end=end)
        self._unpack(table, marks)
        self._source.ahead(table, (h for h in marks if (table, h) not in self._headers))
        for hour in marks:
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

    def octets(self, table: str, hour: datetime) -> Ways:
        """The octets of a header (`Header.octets`); empty where there is none.

        Raises:
            InputError: it is damaged.
        """
        if (table, hour) in self._octets:
            return self._octets[table, hour]
        day = table, f"{hour:%Y-%m-%d}"
        if day not in self._octet_days and self._packed:
            self._octet_days[day] = self._source.day(*day, "octets")
        mark, header = self._octet_days.get(day, {}).get(hour, ("", None))
        if header is not None and mark == self._mark(table, hour):
            return header.octets
        self._headers.pop((table, hour), None)
        self.header(table, hour)
        return self._octets.setdefault((table, hour), {})

    def _mark(self, table: str, hour: datetime) -> str:
        """The mark of a manifest as it was listed last, before it is read."""
        for (of, _, _), marks in self._hours.items():
            if of == table and hour in marks:
                return marks[hour]
        return ""

    def _unpack(self, table: str, marks: dict[datetime, str]) -> None:
        """Take the headers of days from their index, of hours that have not changed since."""
        wanted = Counter(f"{hour:%Y-%m-%d}" for hour in marks if (table, hour) not in self._headers)
        for date, hours in wanted.items():
            if not self._packed or hours < 2 or (table, date) in self._days:
                continue
            packed = self._days[table, date] = self._source.day(table, date, "headers")
            for hour, (mark, header) in packed.items():
                if mark and marks.get(hour) == mark and (table, hour) not in self._headers:
                    self._headers[table, hour] = header

    def pack(self) -> None:
        """Pack what was read from manifests, for commands to come. Nothing happens where the lake
        cannot be changed, or has no room."""
        if not self.lake.writable:
            return
        days: dict[tuple[str, str], day_index.Marked] = {}
        for (table, hour), (mark, header) in self._read.items():
            days.setdefault((table, f"{hour:%Y-%m-%d}"), {})[hour] = mark, header
        for (table, date), read in sorted(days.items()):
            before = self._days.get((table, date))
            if before is None:
                before = self._source.day(table, date, "headers")
            day_index.write(self.lake.storage, table, date, {**before, **read})
            octets = {
                hour: (mark, Header(table, header.hour, octets=self._octets[table, hour]))
                for hour, (mark, header) in read.items()
                if self._octets.get((table, hour))
            }
            if octets:
                before = self._source.day(table, date, "octets")
                day_index.write(self.lake.storage, table, date, {**before, **octets}, "octets")
        self._read.clear()
        self._days.clear()
        self._octet_days.clear()

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

    def complete(self, table: str, hour: datetime) -> bool:
        """Whether no entry of an hour waits for its unit."""
        found = self._source.header(table, hour)
        return found is None or self._complete(found)

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
        self._octets.pop((table, hour), None)
        if hour is not None:
            self._read.pop((table, hour), None)
        for key in [key for key in self._hours if key[0] == table]:
            del self._hours[key]

    def refresh(self) -> None:
        """Forget what was read."""
        for held in (
            self._hours,
            self._headers,
            self._buckets,
            self._days,
            self._read,
            self._octet_days,
            self._octets,
        ):
            held.clear()  # fmt: skip

    def read(self, table: str, work: Callable[[], T]) -> T:
        """`work`, done again with a fresh record where a file is gone.

        Raises:
            InputError: it is gone, and nothing has changed since the record was read again.
            LockedError: files go faster than they are read.
        """
        try:
            return work()
        except FileNotFoundError:
            before = self._generations(table)
        try:
            return work()
        except FileNotFoundError as error:
            if before == self._generations(table):
                raise gone(error) from None
            raise busy(self.lake) from None

    def _generations(self, table: str) -> dict[datetime, int]:
        """What generation each manifest of a table is of now, from the manifests themselves."""
        self.refresh()
        self._packed = False
        return {hour: header.generation for hour, header in self.headers(table, damaged=[]).items()}


def gone(error: FileNotFoundError) -> InputError:
    """A file that the record names is not there."""
    return InputError(
        str(error.filename or error), "the file is missing",
        advice="restore it, or see what depends on it with `flowpeer verify`",
    )  # fmt: skip


def busy(lake: Lake) -> LockedError:
    """Files were replaced twice while they were being read."""
    return LockedError(
        f"{lake}: files are merged or replaced faster than they can be read",
        advice="try again when `compact` and `rollup` are done (exit status 75)",
    )
