"""Rolling up like make: an hour is redone when what it is made of has changed.

The ledger keeps the digests of an hour's inputs (flowpeer.rollup.inputs), so that `--explain` can
say why it is done again. An hour some of whose flows were pruned is frozen: it is never made of
less than it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from flowpeer import schema
from flowpeer.errors import InputError, NoDataError, UsageError
from flowpeer.lake.store import StagedTable, exact_sum, make_folder, partition_hour
from flowpeer.rollup import reading
from flowpeer.rollup.aggregate import Aggregate, Context, Figures
from flowpeer.rollup.inputs import HOUR, TABLES_KEPT, Inputs, parse_hour

TABLES = ("traffic", "traffic_routes")


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour to consider: what it is made of, and whether it is up to date."""

    start: datetime
    files: tuple[str, ...]
    parts: Mapping[str, str]
    changed: tuple[str, ...]
    """Parts that differ from the last time; empty: up to date. `new` for an hour never done."""
    frozen: bool = False
    """Some of its flows were pruned: it is never done again, which would be from less."""
    late: tuple[str, ...] = ()
    """Files that reach into a frozen hour and came after it was rolled up for the last time."""
    blocked: str = ""
    """Why it can neither be judged nor done: a document of one of its files is damaged."""

    @property
    def relative(self) -> str:
        """Folder and file of the hour below a table's name."""
        return f"date={self.start:%Y-%m-%d}/hour={self.start.hour:02d}/part.parquet"


class Rollup(Inputs):
    """The roll-up of one lake with one configuration; see Inputs for the arguments."""

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
        if not self.ledger.names("flows") and not self.ledger.names("pruned"):
            raise NoDataError(
                f"{self.lake.root}: no flows", advice="load some with `flowpeer ingest PATH…`"
            )
        if not self.snapshots:
            raise UsageError(
                "no RIB is loaded, so no address can be matched to a network",
                advice="set `ribs` under [sources], or load one with `flowpeer rib load FILE`",
            )
        self._vantages_exist()
        hours: list[Hour] = []
        turn, shards = shard
        for begin in sorted(self._files_by_hour):
            if (start and begin + HOUR <= start) or (end and begin >= end):
                continue
            if int(begin.timestamp()) // 3600 % shards != turn - 1:
                continue
            files = tuple(sorted(self._files_by_hour[begin]))
            if blocked := self._blocked(begin):
                hours.append(Hour(begin, files, {}, (), blocked=blocked))
                continue
            if begin in self._frozen:
                hours.append(self._frozen_hour(begin, files))
                continue
            parts = self._parts(begin, files)
            hour = Hour(begin, files, parts, ())
            hours.append(Hour(begin, files, parts, self._changed(hour)))
        return hours

    def _blocked(self, begin: datetime) -> str:
        """A flow file whose document is damaged and that reaches, or may reach, into an hour."""
        if not self._damaged:
            return ""
        relative = f"traffic/{Hour(begin, (), {}, ()).relative}"
        known = {partition_hour(f) for f in (self._entry(relative) or {}).get("files", ())}
        for name in self._damaged:
            hour = partition_hour(name)
            if hour in (begin, begin + HOUR) or hour in known:
                return name
        return ""

    def _entry(self, relative: str) -> dict[str, Any] | None:
        """A ledger document; None also for a damaged one, whose file is then made again."""
        try:
            return self.ledger.entry(relative)
        except InputError:
            return None

    @cached_property
    def _frozen(self) -> set[datetime]:
        return {parse_hour(hour) for unit in self._gone.values() for hour in unit["hours"]}

    def _frozen_hour(self, begin: datetime, files: tuple[str, ...]) -> Hour:
        hour = Hour(begin, files, {}, (), frozen=True)
        entry = self.ledger.entry(f"traffic/{hour.relative}") or {}
        late = tuple(f for f in files if f not in entry.get("files", ()))
        return replace(hour, late=late)

    def _late_entry(self, hour: Hour, name: str) -> str:
        return f"late/{hour.relative.removesuffix('part.parquet')}{name.replace('/', '+')}"

    def late_is_counted(self, hour: Hour) -> bool:
        """Whether the ledger says how much came too late for an hour."""
        return all(self.ledger.entry(self._late_entry(hour, name)) for name in hour.late)

    def count_late(self, hour: Hour) -> Figures:
        """What came too late for a frozen hour: in no table, but in the ledger (`late/`)."""
        total = Figures()
        for name in hour.late:
            relative = self._late_entry(hour, name)
            entry = self.ledger.entry(relative)
            if entry is None:
                file = (name, self.lake.path(self._file_of[name]), int(self._flows[name]["rows"]))
                counted = self._aggregate(hour, [file], None)
                counted.close()
                entry = {"file": name, "figures": asdict(counted.figures)}
                self.lake.write_entry(relative, entry)
                self.ledger.put(relative, entry)
            total.add(Figures(**entry["figures"]))
        return total

    def _changed(self, hour: Hour) -> tuple[str, ...]:
        entries = [self._entry(f"{table}/{hour.relative}") for table in TABLES]
        if any(entry is None for entry in entries) or not all(
            self.lake.path(f"{table}/{hour.relative}").exists() for table in TABLES
        ):
            return ("new",)
        before = [entry.get("inputs", {}) if entry else {} for entry in entries]
        return tuple(
            name
            for name, digest in hour.parts.items()
            if any(b.get(name) != digest for b in before)
        )

    def rows(self, hour: Hour) -> int:
        """Rows of the flow files that are read for an hour."""
        return sum(rows for _, _, rows in self._reads(hour))

    def _reads(self, hour: Hour) -> list[tuple[str, Path, int]]:
        files = sorted({self._file_of[name] for name in hour.files})
        return [(name, self.lake.path(name), int(self.files[name]["rows"])) for name in files]

    def _aggregate(
        self,
        hour: Hour,
        files: Sequence[tuple[str, Path, int]],
        progress: Callable[[int], None] | None,
    ) -> Aggregate:
        while len(self._tables) > TABLES_KEPT:  # oldest first: hours come in order
            self._tables.pop(next(iter(self._tables)))
        context = Context(
            attributor=self._attributor,
            rate=self.rate,
            exporters=[(e.id, e.metro) for e in self.network.exporters],
            routes=self._routes(hour.start),
            own=self._own,
            own_asn=self.network.network.asn,
            neighbours=self._neighbours[1],
            tail=self._tail,
        )
        make_folder(self.lake.staging)
        return Aggregate(
            reading.tasks(files), hour.start, context, self.lake.staging, progress=progress
        )

    def recount(self, hour: Hour) -> Figures:
        """An hour's figures from its flow records, without writing anything."""
        done = self._aggregate(hour, self._reads(hour), None)
        done.close()
        return done.figures

    def roll_up(self, hour: Hour, *, progress: Callable[[int], None] | None = None) -> Figures:
        """Bring one hour up to date; `progress` gets the rows read.

        Raises:
            ArithmeticError: the rows do not add up to what was read (METHODS M13): a defect.
        """
        done = self._aggregate(hour, self._reads(hour), progress)
        figures = done.figures
        facts: dict[str, Any] = {
            "inputs": dict(hour.parts),
            "files": list(hour.files),
            "snapshots": sorted(self.in_force(hour.start)),
            "figures": asdict(figures),
        }
        staged: list[StagedTable] = []
        try:
            for name, columns, tables in (
                ("traffic", schema.TRAFFIC, done.traffic),
                ("traffic_routes", schema.TRAFFIC_ROUTES, done.traffic_routes),
            ):
                one = self.lake.stage(f"{name}/{hour.relative}", columns)
                staged.append(one)
                sums = {True: 0, False: 0}
                for table in tables():
                    one.write(table)
                    for scaled in sums:
                        chosen = pc.equal(table["scaled"], scaled)
                        sums[scaled] += exact_sum(table["bytes"].filter(chosen))
                self._hold_together(name, sums, figures)
        except BaseException:
            for one in staged:
                one.discard()
            raise
        finally:
            done.close()
        if done.folded is not None:
            facts["folded"] = asdict(done.folded)
        for one in staged:
            self.ledger.put(one.relative, one.publish(facts))
        return figures

    @staticmethod
    def _hold_together(name: str, sums: Mapping[bool, int], figures: Figures) -> None:
        expected = {
            True: figures.flow_bytes + figures.through_bytes,
            False: figures.flow_bytes_unscaled + figures.through_bytes_unscaled,
        }
        if sums != expected:
            raise ArithmeticError(f"{name}: {sums} bytes in the rows, {expected} in the flows")
