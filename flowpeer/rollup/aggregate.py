"""One hour of flows summed to `traffic` and `traffic_routes`.

Batch by batch, in threads: M1 and M2 for each distinct combination of what decides them, then one
pass over the records that scales, spreads, keeps this hour's slots, matches the remote end to its
route and the local end to an own prefix, and sums by slot and route. These sums wait in files; of
flow files whose decoder kept them (`kept_sums`) nothing needs be read. At last they are put into
the order of each table's rows, and those of one row summed. All passes are compiled (`compiled`),
or plain Python where there is no compiled core (`plain`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from flowpeer.rollup import kept_sums, sum_files
from flowpeer.rollup.codes import Codes, HourContext
from flowpeer.rollup.compiled import CompiledOrdering, CompiledSums
from flowpeer.rollup.folding import Folded, among
from flowpeer.rollup.hour_sums import HourSums, SomeSums
from flowpeer.rollup.plain import PlainOrdering, PlainSums
from flowpeer.rollup.reading import MACS, FlowBatch, Ints, Task, read, tasks
from flowpeer.rollup.sums import (
    Entries,
    HourFigures,
    KeyedSums,
    OrderedSums,
    Ordering,
    SortedSums,
    SummedRows,
    Sums,
)
from flowpeer.rollup.traffic_rows import Made, Tables, pages
from flowpeer_core.machine import cores
from flowpeer_core.native import library
from flowpeer_core.slots import HOUR_SLOTS, SLOT_US

__all__ = ["Aggregate", "HourContext", "HourFigures", "sums_of"]

SUMMED_OCTETS = 1 << 25
"""Memory for the sums of a thread's records, before they are put aside."""
T = TypeVar("T")
R = TypeVar("R")


def sums_of(
    codes: Codes, hour: datetime, waiting: Callable[[SortedSums], None] = lambda _: None
) -> Sums:
    """Sums of an hour's records by the compiled core, or in plain Python where there is none;
    `waiting` is given them whenever there are many."""
    core = library()
    if core is None:
        return PlainSums(codes, hour)
    return CompiledSums(core, codes, hour, SUMMED_OCTETS, waiting)


class Aggregate:
    """The sums of one hour: `figures`, and the rows of both tables, sorted, with their schemas.

    Args:
        files: flow files to read, as (name, path, rows); records outside the hour are ignored.
        hour: its start, UTC.
        folder: for sums that wait; `close` leaves nothing in it. None: there are to be no rows.
        threads: by default as many as there are cores.
        progress: is given the records read.
        duplicates: rows that count elsewhere, as `reading.read` takes them: in figures only.
        kept: by name of a file, where sums of it may be kept, and its digest: they are taken
            instead of the file where they hold.

    Raises:
        OSError: a flow file that cannot be read, or whose octets are not those written.
    """

    def __init__(
        self,
        files: Sequence[tuple[str, Path, int]],
        hour: datetime,
        context: HourContext,
        folder: Path | None,
        *,
        threads: int | None = None,
        progress: Callable[[int], None] | None = None,
        duplicates: Mapping[str, Ints] = MappingProxyType({}),
        kept: Mapping[str, tuple[Path, str]] = MappingProxyType({}),
    ) -> None:
        self.figures = HourFigures()
        self._hour, self._begin_us = hour, int(hour.timestamp()) * 1_000_000
        self._context = context
        self._duplicates = duplicates
        self._codes = codes = Codes(context)
        self._lock = Lock()
        self.threads = threads or cores()
        # What counts elsewhere is summed too, for the figures; nothing of it is kept.
        self._elsewhere: Callable[[], Sums] = partial(sums_of, codes, hour)
        self._sums = HourSums(codes)
        self._temporary: list[Path] = []
        try:
            left = []
            taken = self._in_threads(partial(self._take, kept), files)
            for file, counted in zip(files, taken, strict=True):
                if counted is None:
                    left.append(file)
                    continue
                self.figures.add(counted)
                if progress is not None:
                    progress(file[2])
            put_aside = partial(self._put_aside, folder) if folder else lambda _: None
            self._read(left, progress, put_aside)
            found = self.figures.flow_bytes + self.figures.flow_bytes_unscaled
            if found >= 1 << 61:
                raise OverflowError(f"{found:,} bytes in one hour cannot be traffic")
        except BaseException:
            self.close()
            raise
        self._tables = Tables(codes)
        core = library()
        self._ordering: Ordering = PlainOrdering() if core is None else CompiledOrdering(core)
        self._tail: Ints = np.empty(0, dtype=np.int64)
        self.folded: Folded | None = None
        """What was folded, once `fold` was called; None where nothing is to be."""

    def _read(
        self,
        files: Sequence[tuple[str, Path, int]],
        progress: Callable[[int], None] | None,
        put_aside: Callable[[SortedSums], None],
    ) -> None:
        """Sum the records of files, and put the sums aside."""
        if not files:
            return
        sums = [sums_of(self._codes, self._hour, put_aside) for _ in range(self.threads)]
        idle: SimpleQueue[Sums] = SimpleQueue()
        for one in sums:
            idle.put(one)
        for rows, counted in self._in_threads(partial(self._task, idle), tasks(files)):
            self.figures.add(counted)
            if progress is not None:
                progress(rows)
        for found in self._in_threads(lambda one: one.kept(), sums):
            assert found is not None  # what did not fit was put aside
            put_aside(found)

    def _put_aside(self, folder: Path, sums: SortedSums) -> None:
        if not len(sums.entries):
            return
        with self._lock:
            path = folder / f"{os.getpid()}-{id(self)}-{len(self._temporary)}.sums"
            self._temporary.append(path)
        sum_files.write(path, sums.entries)
        there = sum_files.read(path)
        if there is None or not self._sums.add(SomeSums(there.entries, np.array(sums.order))):
            raise OSError(f"{path}: not what was written")

    def fold(self) -> None:
        """Find the networks that are folded: only the whole hour tells. To be called before both
        tables are made."""
        tail = self._context.tail
        if tail is None:
            return
        import polars as pl

        totals = pl.DataFrame(schema={"network": pl.Int64, "bytes": pl.Int64})
        for _, rows in self._by_network():
            found = pl.concat([totals, self._tables.totals(rows)])
            totals = found.group_by("network").agg(pl.col("bytes").sum())
        self._tail = tail.smallest(totals)
        small = among(totals["network"].to_numpy(), self._tail)
        self.folded = Folded(self._tail.size, int(totals["bytes"].to_numpy()[small].sum()))

    def traffic(self) -> Iterator[Made]:
        """`traffic`, slot after slot; rows are to be used before the next ones. Another thread may
        go through `traffic_routes`."""
        for begin, rows in self._by_network():
            yield self._tables.traffic(begin, rows)

    def _by_network(self) -> Iterator[tuple[Ints, SummedRows]]:
        tables = self._tables
        folded = partial(tables.folded, tail=self._tail) if self._tail.size else None

        def ordered(item: tuple[int, list[tuple[Entries, Ints]]]) -> tuple[int, OrderedSums]:
            slot, some = item
            parts = [KeyedSums(entries, tables.networks(ranks)) for entries, ranks in some]
            return self._begin_us + slot * SLOT_US, self._ordering.ordered(parts, folded)

        groups = (
            (n, some) for n in range(HOUR_SLOTS) for some in self._sums.groups(tables.sides, n)
        )
        return pages(self._in_threads(ordered, groups))

    def traffic_routes(self) -> Iterator[Made]:
        """`traffic_routes`, some sides after the other; as `traffic`."""
        tables = self._tables
        prefixes = tables.prefixes(self._sums.used)

        def ordered(some: list[tuple[Entries, Ints]]) -> tuple[int, OrderedSums]:
            parts = [KeyedSums(entries, tables.routes(prefixes, ranks)) for entries, ranks in some]
            return self._begin_us, self._ordering.ordered(parts)

        for begin, rows in pages(self._in_threads(ordered, self._sums.groups(tables.sides))):
            yield tables.traffic_routes(begin, rows, prefixes, self._tail)

    def close(self) -> None:
        """Remove what waits on disk."""
        for path in self._temporary:
            path.unlink(missing_ok=True)

    def _take(
        self, kept: Mapping[str, tuple[Path, str]], file: tuple[str, Path, int]
    ) -> HourFigures | None:
        """Take the sums that were kept of a file: its figures; None where none hold."""
        name = file[0]
        found = kept_sums.read(*kept[name]) if name in kept else None
        numbers = None if found is None else found[0].numbers(self._codes, name)
        if found is None or numbers is None:
            return None
        header, entries = found
        if not self._sums.add(SomeSums(entries, numbers[header.order])):
            return None
        return HourFigures(**header.figures)

    def _task(self, idle: SimpleQueue[Sums], task: Task) -> tuple[int, HourFigures]:
        figures, rows = HourFigures(), 0
        context, sums = self._context, idle.get()
        try:
            exchanges = context.neighbours is not None
            for batch in read(
                task, self._hour, context.moments, next_hops=exchanges,
                also=() if context.macs is None else MACS, duplicates=self._duplicates,
            ):  # fmt: skip
                rows += batch.rows
                figures.add(self._duplicate(batch) if batch.duplicate else sums.add(batch))
        finally:
            idle.put(sums)
        return rows, figures

    def _duplicate(self, batch: FlowBatch) -> HourFigures:
        """The figures of records that count elsewhere."""
        found = self._elsewhere().add(batch)
        return HourFigures(
            duplicate_bytes=found.flow_bytes,
            duplicate_bytes_unscaled=found.flow_bytes_unscaled,
            duplicate_records=found.records,
        )

    def _in_threads(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items; few at a time, so that memory stays bounded."""
        with ThreadPoolExecutor(self.threads) as pool:
            running: list[Future[R]] = []
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > self.threads:
                    yield running.pop(0).result()
            yield from (one.result() for one in running)
