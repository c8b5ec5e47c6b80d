"""Rolling up like make: an hour is redone when what it is made of has changed.

The record keeps the digests of an hour's inputs (flowpeer.rollup.fingerprint), so that `--explain`
can say why it is done again. An hour some of whose flows were pruned is frozen: it is never made
of less than it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from flowpeer import schema
from flowpeer.errors import InputError, NoDataError, UsageError
from flowpeer.lake.commit import Change, commit
from flowpeer.lake.manifest import (
    File,
    Header,
    Manifest,
    Reach,
    RollupFacts,
    UnitEntry,
    folder_of,
    hour_name,
    key_of,
    parse_hour,
    partition_hour,
)
from flowpeer.lake.staged import StagedTable
from flowpeer.rollup import kept_sums, reading
from flowpeer.rollup.codes import Codes, HourContext
from flowpeer.rollup.compiled import HELD_OCTETS, CompiledSums
from flowpeer.rollup.fingerprint import HOUR, TABLES_KEPT, RollupInputs
from flowpeer.rollup.sums import HourFigures, SortedSums
from flowpeer_core.native import library

if TYPE_CHECKING:
    from flowpeer.rollup.traffic_rows import Made

TABLES = ("traffic", "traffic_routes")
KeptPlace = tuple[Path, str]
"""The file that sums of a flow file may be in, and the flow file's digest."""


def _write(to: StagedTable, pages: Iterator[Made]) -> int:
    """Write all pages of a table; the bytes of scaled rows."""
    scaled = 0
    for made in pages:
        to.write(made.rows)
        scaled += made.scaled_bytes
    return scaled


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour to consider: what it is made of, and whether it is up to date."""

    start: datetime
    received: tuple[tuple[datetime, Reach], ...]
    """Hours of receipt whose records reach into it."""
    parts: Mapping[str, str]
    changed: tuple[str, ...]
    """Parts that differ from the last time; empty: up to date. `new` for an hour never done."""
    frozen: bool = False
    """Some of its flows were pruned: it is never done again, which would be from less."""
    late: tuple[str, ...] = ()
    """Units that reach into a frozen hour and came after it was rolled up for the last time."""
    blocked: str = ""
    """Why it can neither be judged nor done: a manifest of its flows is damaged."""

    @property
    def units(self) -> int:
        """Units of work that it is made of."""
        return sum(reach.units for _, reach in self.received)

    @property
    def name(self) -> str:
        """`2026-09-16T07`."""
        return hour_name(self.start)


class RollupPlanner(RollupInputs):
    """The roll-up of one lake with one configuration; see RollupInputs for the arguments."""

    def plan(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        shard: tuple[int, int] = (1, 1),
    ) -> list[Hour]:
        """Every hour with flows that overlaps [start, end), oldest first.

        Args:
            shard: (i, n): only every n-th hour, beginning with the i-th.

        Raises:
            NoDataError: no flows at all.
            UsageError: no RIB is loaded (exit 2, DESIGN: configuration).
        """
        if not self.any_flows:
            raise NoDataError(
                f"{self.lake}: no flows", advice="load some with `flowpeer ingest PATH…`"
            )
        if not self.snapshots:
            raise UsageError(
                "no RIB is loaded, so no address can be matched to a network",
                advice="set `ribs` under [sources], or load one with `flowpeer rib load FILE`",
            )
        self._vantages_exist()
        hours: list[Hour] = []
        turn, shards = shard
        for table in TABLES:  # by the day, where there are many
            self.record.headers(table, start=start, end=end, damaged=[])
        for begin in sorted(self._reaching):
            if (start and begin + HOUR <= start) or (end and begin >= end):
                continue
            if int(begin.timestamp()) // 3600 % shards != turn - 1:
                continue
            received = tuple(self._reaching[begin])
            if blocked := self._blocked(begin):
                hours.append(Hour(begin, received, {}, (), blocked=blocked))
            elif begin in self._frozen:
                hours.append(self._frozen_hour(begin, received))
            else:
                parts = self._parts(begin, received)
                hours.append(Hour(begin, received, parts, self._changed(begin, parts)))
        return hours

    def _blocked(self, begin: datetime) -> str:
        """A damaged manifest of flows that reach, or may reach, into an hour."""
        if not self._damaged:
            return ""
        known = {partition_hour(path) for path in self._made_of(begin)}
        for hour in self._damaged:
            if hour in (begin, begin + HOUR) or hour in known:
                return key_of("flows", hour)
        return ""

    def _header(self, table: str, begin: datetime) -> Header | None:
        """A header; None also for a damaged one, whose hour is then done again."""
        try:
            return self.record.header(table, begin)
        except InputError:
            return None

    def _made_of(self, begin: datetime) -> set[str]:
        """Units that an hour was rolled up from, by path."""
        try:
            files = self.record.manifest("traffic", begin).live
        except InputError:
            return set()
        return {path for file in files for path in file.made_of}

    @cached_property
    def _frozen(self) -> set[datetime]:
        return {parse_hour(hour) for h in self._headers.values() for hour in h.frozen}

    def _frozen_hour(self, begin: datetime, received: tuple[tuple[datetime, Reach], ...]) -> Hour:
        made_of = self._made_of(begin)
        hour = Hour(begin, received, {}, (), frozen=True)
        late = sorted(u.path for _, u in self._entries(hour) if u.path not in made_of)
        return replace(hour, late=tuple(late))

    def _entries(self, hour: Hour) -> list[tuple[File, UnitEntry]]:
        """The entries that reach into an hour, and the files that hold their rows."""
        return [
            (file, unit)
            for when, _ in hour.received
            for file in self.record.manifest("flows", when).live
            for unit in file.units
            if unit.facts is not None and hour.name in unit.facts.hours
        ]

    def late_is_counted(self, hour: Hour) -> bool:
        """Whether the record says how much came too late for an hour."""
        if not hour.late:
            return True
        header = self.record.header("traffic", hour.start)
        late_figures = header.rollup.late if header and header.rollup else {}
        return all(path in late_figures for path in hour.late)

    def count_late(self, hour: Hour) -> HourFigures:
        """What came too late for a frozen hour: in no table, but in the record."""
        header = self.record.header("traffic", hour.start)
        rollup = (header.rollup if header else None) or RollupFacts()
        late_figures = dict(rollup.late)
        for file, unit in self._entries(hour):
            if unit.path in hour.late and unit.path not in late_figures:
                reads = [(unit.path, self.lake.path(file.path), file.rows)]
                late_figures[unit.path] = asdict(self._figures(hour, reads, {}))
        total = HourFigures()
        for path in hour.late:
            total.add(HourFigures(**late_figures[path]))

        def edit(manifest: Manifest) -> Change:
            return Change(manifest.files, rollup=replace(rollup, late=late_figures))

        commit(self.lake, "traffic", hour.start, edit)
        self.record.forget("traffic", hour.start)
        return total

    def _changed(self, begin: datetime, parts: Mapping[str, str]) -> tuple[str, ...]:
        headers = [self._header(table, begin) for table in TABLES]
        before = []
        for header in headers:
            if header is None or header.rollup is None or not header.paths:
                return ("new",)
            if not all(map(self.lake.storage.has, header.paths)):
                return ("new",)
            before.append(header.rollup.inputs)
        return tuple(
            name for name, digest in parts.items() if any(b.get(name) != digest for b in before)
        )

    def outcome(self, hour: Hour) -> HourFigures | None:
        """The figures of an hour as the record has them now, if it was done from what the plan says
        that it is made of."""
        for table in TABLES:
            self.record.forget(table, hour.start)
        header = self._header("traffic", hour.start)
        if header is None or header.rollup is None or self._changed(hour.start, hour.parts):
            return None
        return HourFigures(**header.rollup.figures)

    def rows(self, hour: Hour) -> int:
        """Rows of the units that an hour is made of."""
        return sum(reach.rows for _, reach in hour.received)

    def _reads(self, hour: Hour) -> list[tuple[str, Path, int]]:
        files = {file.path: file for file, _ in self._entries(hour)}
        self.lake.check_room("flows", sum(file.file_bytes for file in files.values()))
        names = sorted(files)
        places = self.lake.paths(names)
        return [(name, path, files[name].rows) for name, path in zip(names, places, strict=True)]

    def _figures(
        self,
        hour: Hour,
        files: Sequence[tuple[str, Path, int]],
        duplicates: Mapping[str, reading.Ints],
    ) -> HourFigures:
        from flowpeer.rollup.aggregate import Aggregate  # and Polars

        return Aggregate(
            files, hour.start, self.context(hour.start), None, threads=self._threads,
            duplicates=duplicates,
        ).figures  # fmt: skip

    def _kept(self, hour: Hour, duplicates: Mapping[str, reading.Ints]) -> dict[str, KeptPlace]:
        """Where sums may be kept of an hour's own files whose rows all count, and their digests."""
        if library() is None:
            return {}
        return {
            file.path: (kept_sums.place(self.lake.cache, hour.start, file.sha256), file.sha256)
            for file, _ in self._entries(hour)
            if partition_hour(file.path) == hour.start and file.path not in duplicates
        }

    def kept_faults(self, hour: Hour) -> Iterator[tuple[Path, str]]:
        """Sums kept of an hour's files (flowpeer.rollup.kept_sums) that are not those of the
        records, and what is wrong with them. Those that do not hold any more are left out."""
        if not any(place.exists() for place, _ in self._kept(hour, {}).values()):
            return
        reads = self._reads(hour)
        paths = {name: path for name, path, _ in reads}
        context = self.context(hour.start)
        for name, (place, digest) in self._kept(hour, self._elsewhere(reads)).items():
            kept = kept_sums.read(place, digest)
            if kept is None:
                if place.exists():  # else there are none, or a collector removed them
                    yield place, "not what was written: the records are read instead"
                continue
            codes = Codes(context)
            again = self._again(codes, hour.start, name, paths[name])
            numbers = kept[0].numbers(codes, name)
            if numbers is not None and not kept_sums.agree(kept, numbers, codes, again):
                yield place, "not the sums of the records"

    def _again(
        self, codes: Codes, hour: datetime, name: str, path: Path
    ) -> tuple[HourFigures, SortedSums | None]:
        """The figures and the sums of a flow file."""
        context, figures = codes.context, HourFigures()
        core = library()
        assert core is not None
        sums = CompiledSums(core, codes, hour, HELD_OCTETS)
        for batch in reading.read(
            ((name, path, None),), hour, context.moments,
            next_hops=context.neighbours is not None,
            also=() if context.macs is None else reading.MACS,
        ):  # fmt: skip
            figures.add(sums.add(batch))
        return figures, sums.kept()

    def context(self, hour: datetime) -> HourContext:
        """What an hour is rolled up with."""
        while len(self._tables) > TABLES_KEPT:  # oldest first: hours come in order
            self._tables.pop(next(iter(self._tables)))
        return HourContext(
            attributor=partial(self._attributor, hour),
            rate=self.rate,
            moments=self.moments,
            exporters=[(e.id, e.metro) for e in self.network.exporters],
            routes=self._routes(hour),
            basis=self._basis(hour),
            own=self._own,
            own_asn=self.network.network.asn,
            neighbours=self._neighbours[1],
            macs=self._macs,
            tail=self._tail,
            mtu={ip: e.mtu for ip, e in self.network.exporter_by_address.items()},
        )

    def crossings(self, hour: Hour) -> Iterator[pa.Table]:
        """An hour's records one by one, as `traffic` counts them; see `rollup.crossings`."""
        from flowpeer.rollup.crossings import crossings

        reads = self._reads(hour)
        tasks = reading.tasks(reads)
        return crossings(tasks, hour.start, self.context(hour.start), self._elsewhere(reads))

    def _elsewhere(self, reads: Sequence[tuple[str, Path, int]]) -> dict[str, reading.Ints]:
        """Rows of some files that count elsewhere, by file."""
        found = {path: self.duplicates.rows(path) for path, _, _ in reads}
        return {path: rows for path, rows in found.items() if rows.size}

    def missing(self, hour: Hour) -> bool:
        """Whether the record names files for an hour that are not there."""
        return not all(path.exists() for _, path, _ in self._reads(hour))

    def readable(self, hour: Hour) -> bool:
        """Whether it can be known which records of an hour count elsewhere: files of the hours
        beside it may be damaged, in which their copies lie."""
        try:
            self._elsewhere(self._reads(hour))
        except OSError:
            return False
        return True

    def recount(self, hour: Hour) -> HourFigures:
        """An hour's figures from its flow records, without writing anything into the lake."""
        reads = self._reads(hour)
        return self._figures(hour, reads, self._elsewhere(reads))

    def roll_up(self, hour: Hour, *, progress: Callable[[int], None] | None = None) -> HourFigures:
        """Bring one hour up to date; `progress` gets the rows read.

        Raises:
            LockedError: another process is at it.
            ArithmeticError: the rows do not add up to what was read (METHODS M13): a defect.
        """
        with self.lake.lock(f"rollup+{hour.name}", once=True):
            return self._roll_up(hour, progress)

    def _roll_up(self, hour: Hour, progress: Callable[[int], None] | None) -> HourFigures:
        from flowpeer.rollup.aggregate import Aggregate  # and Polars

        entries = self._entries(hour)
        reads = self._reads(hour)
        elsewhere = self._elsewhere(reads)
        done = Aggregate(
            reads, hour.start, self.context(hour.start), self.lake.staging.folder,
            threads=self._threads, progress=progress, duplicates=elsewhere,
            kept=self._kept(hour, elsewhere),
        )  # fmt: skip
        figures = done.figures
        staged: list[StagedTable] = []
        try:
            done.fold()
            staged += map(self.lake.stage, TABLES, (schema.TRAFFIC, schema.TRAFFIC_ROUTES))
            with ThreadPoolExecutor(min(done.threads, 2)) as pool:
                both = list(pool.map(_write, staged, (done.traffic(), done.traffic_routes())))
            for name, one, scaled in zip(TABLES, staged, both, strict=True):
                sums = {True: scaled, False: one.sums["bytes"] - scaled}
                self._hold_together(name, sums, figures)
            files = [
                one.finish(f"{folder_of(name, hour.start)}/part-{{digest}}.parquet")
                for name, one in zip(TABLES, staged, strict=True)
            ]
        except BaseException:
            for one in staged:
                one.discard()
            raise
        finally:
            done.close()
        facts = RollupFacts(
            inputs=dict(hour.parts),
            snapshots=tuple(sorted(self.in_force(hour.start))),
            figures=asdict(figures),
            folded=None if done.folded is None else asdict(done.folded),
        )
        made_of = tuple(sorted({unit.path for _, unit in entries}))
        files[0] = replace(files[0], made_of=made_of)
        # `traffic` last: an hour is done once both say the same.
        for name, one, file in reversed(list(zip(TABLES, staged, files, strict=True))):
            self._switch(name, hour, self.lake.put(one.path, file), facts)
        return figures

    def _switch(self, name: str, hour: Hour, file: File, facts: RollupFacts) -> None:
        spare = False

        def edit(manifest: Manifest) -> Change | None:
            nonlocal spare
            spare = False
            if len(manifest.files) == 1 and manifest.header.rollup == facts:
                # Done by a process that was killed before it came to the other table, or on
                # another machine, where no lock keeps both from doing the same hour.
                (there,) = manifest.files
                if replace(there, path=file.path) == file and self.lake.storage.has(there.path):
                    spare = there.path != file.path
                    return None
            return Change((file,), tuple(f.path for f in manifest.live), facts)

        # What a catalog names is read until it is written again, and by who has it open.
        grace_s = self.network.lake.grace if self.lake.catalog.is_file() else 0.0
        commit(self.lake, name, hour.start, edit, grace_s=grace_s, replace_damaged=True)
        if spare:
            self.lake.storage.remove(file.path)
        self.record.forget(name, hour.start)

    @staticmethod
    def _hold_together(name: str, sums: Mapping[bool, int], figures: HourFigures) -> None:
        expected = {
            True: figures.flow_bytes + figures.through_bytes,
            False: figures.flow_bytes_unscaled + figures.through_bytes_unscaled,
        }
        if sums != expected:
            raise ArithmeticError(f"{name}: {sums} bytes in the rows, {expected} in the flows")
