"""One hour of flows summed to `traffic` and `traffic_routes`.

Batch by batch, in threads: M1 and M2 for each distinct combination of what decides them, then one
pass over the records that scales, spreads, keeps this hour's slots, matches the remote end to its
route and the local end to an own prefix, and sums by network and by route. That pass is compiled
(`compiled`), or plain Python where there is no compiled core (`plain`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import polars as pl

from flowpeer.rollup import kept_sums
from flowpeer.rollup.codes import Codes, HourContext
from flowpeer.rollup.compiled import HELD_OCTETS, CompiledSums
from flowpeer.rollup.folding import Folded, among
from flowpeer.rollup.plain import PlainSums
from flowpeer.rollup.reading import MACS, FlowBatch, Ints, Task, read, tasks
from flowpeer.rollup.sums import EntrySelection, HourFigures, OrderedSums, Sums
from flowpeer.rollup.traffic_rows import Made, Tables, _Ranked, pages
from flowpeer_core.machine import cores, memory
from flowpeer_core.native import library
from flowpeer_core.slots import HOUR_SLOTS, HOUR_US, SLOT_US

__all__ = ["Aggregate", "HourContext", "HourFigures", "Resources", "sums_of"]

MEMORY_PARTS = 4
"""One of so many parts of the memory is for sums; what does not fit waits on disk."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one process uses for an hour: threads, and octets of memory for the sums of each."""

    threads: int
    octets: int

    @classmethod
    def shared(cls, threads: int, processes: int = 1) -> Resources:
        """The resources of each of some processes that have so many threads."""
        return cls(threads, memory() // MEMORY_PARTS // (threads * processes))

    @classmethod
    def all(cls) -> Resources:
        """All cores for this process."""
        return cls.shared(cores())


def sums_of(codes: Codes, hour: datetime, folder: Path, held: int = HELD_OCTETS) -> Sums:
    """Sums of an hour by the compiled core, or in plain Python where there is none; `held`: octets
    of memory at most."""
    core = library()
    if core is None:
        return PlainSums(codes, hour)
    return CompiledSums(core, codes, hour, folder, held)


class Aggregate:
    """The sums of one hour: `figures`, and the rows of both tables, sorted, with their schemas.

    Args:
        files: flow files to read, as (name, path, rows); records outside the hour are ignored.
        hour: its start, UTC.
        folder: for sums that do not fit into memory; `close` leaves nothing in it.
        resources: by default all cores.
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
        folder: Path,
        *,
        resources: Resources | None = None,
        progress: Callable[[int], None] | None = None,
        duplicates: Mapping[str, Ints] = MappingProxyType({}),
        kept: Mapping[str, tuple[Path, str]] = MappingProxyType({}),
    ) -> None:
        self.figures = HourFigures()
        self._hour, self._begin_us = hour, int(hour.timestamp()) * 1_000_000
        self._context = context
        self._duplicates = duplicates
        self._codes = codes = Codes(context)
        resources = resources or Resources.all()
        self.threads = resources.threads
        one_more: Callable[[], Sums] = partial(sums_of, codes, hour, folder, resources.octets)
        # What counts elsewhere is summed too, for the figures; nothing of it is kept.
        self._elsewhere = one_more
        self._sums = [one_more() for _ in range(resources.threads)]
        self._idle: SimpleQueue[Sums] = SimpleQueue()
        for one in self._sums:
            self._idle.put(one)
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
            for rows, counted in self._in_threads(self._task, tasks(left)):
                self.figures.add(counted)
                if progress is not None:
                    progress(rows)
            if self.figures.flow_bytes + self.figures.flow_bytes_unscaled >= 1 << 61:
                raise OverflowError(
                    f"{self.figures.flow_bytes:,} bytes in one hour cannot be traffic"
                )
        except BaseException:
            self.close()
            raise
        self._tables = Tables(codes)
        self._tail: Ints = np.empty(0, dtype=np.int64)
        self.folded: Folded | None = None
        """What was folded, once `fold` was called; None where nothing is to be."""

    def traffic(self) -> Iterator[Made]:
        """`traffic`, slot after slot; rows are to be used before the next ones. Another thread may
        go through `traffic_routes`."""
        slots = self._in_threads(self._by_network, range(HOUR_SLOTS))
        begins = range(self._begin_us, self._begin_us + HOUR_US, SLOT_US)
        for begin, rows in pages(zip(begins, slots, strict=True)):
            yield self._tables.traffic(begin, rows)

    def _by_network(self, n: int) -> OrderedSums:
        sums = [some for one in self._sums for some in one.slot(n)]
        folded = partial(self._tables.folded, tail=self._tail) if self._tail.size else None
        return self._sums[0].ordered(sums, self._tables.networks(), folded)

    def fold(self) -> None:
        """Find the networks that are folded: only the whole hour tells. To be called before both
        tables are made."""
        tail = self._context.tail
        if tail is None:
            return
        totals = pl.DataFrame(schema={"network": pl.Int64, "bytes": pl.Int64})
        for found in self._in_threads(self._totals, range(HOUR_SLOTS)):
            totals = pl.concat([totals, found]).group_by("network").agg(pl.col("bytes").sum())
        self._tail = tail.smallest(totals)
        small = among(totals["network"].to_numpy(), self._tail)
        self.folded = Folded(self._tail.size, int(totals["bytes"].to_numpy()[small].sum()))

    def _totals(self, n: int) -> pl.DataFrame:
        return self._tables.totals(rows for _, rows in pages([(0, self._by_network(n))]))

    def traffic_routes(self) -> Iterator[Made]:
        """`traffic_routes`, some sides after the other; as `traffic`."""
        used = np.zeros(self._tables.routes_known, dtype=bool)
        sums = [some for one in self._sums for some in one.routes(used)]
        prefixes, groups = self._tables.by_route(sums, used)
        sides = self._in_threads(partial(self._by_route, prefixes), groups)
        for begin, rows in pages((self._begin_us, rows) for rows in sides):
            yield self._tables.traffic_routes(begin, rows, prefixes, self._tail)

    def _by_route(self, prefixes: _Ranked, sums: list[EntrySelection]) -> OrderedSums:
        return self._sums[0].ordered(sums, self._tables.routes(prefixes))

    def close(self) -> None:
        """Remove what waits on disk."""
        for one in self._sums:
            one.discard()

    def _take(
        self, kept: Mapping[str, tuple[Path, str]], file: tuple[str, Path, int]
    ) -> HourFigures | None:
        """Take the sums that were kept of a file: its figures; None where none hold."""
        name = file[0]
        found = kept_sums.read(*kept[name]) if name in kept else None
        numbers = found and found[0].numbers(self._codes, name)
        if found is None or numbers is None:
            return None
        sums = self._idle.get()
        try:
            if not isinstance(sums, CompiledSums):
                return None
            sums.add_kept(found[1], numbers)
        finally:
            self._idle.put(sums)
        return HourFigures(**found[0].figures)

    def _task(self, task: Task) -> tuple[int, HourFigures]:
        figures, rows = HourFigures(), 0
        context, sums = self._context, self._idle.get()
        try:
            exchanges = context.neighbours is not None
            for batch in read(
                task, self._hour, context.moments, next_hops=exchanges,
                also=() if context.macs is None else MACS, duplicates=self._duplicates,
            ):  # fmt: skip
                rows += batch.rows
                figures.add(self._duplicate(batch) if batch.duplicate else sums.add(batch))
        finally:
            self._idle.put(sums)
        return rows, figures

    def _duplicate(self, batch: FlowBatch) -> HourFigures:
        """The figures of records that count elsewhere."""
        sums = self._elsewhere()
        try:
            found = sums.add(batch)
        finally:
            sums.discard()
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
