"""One hour of flows summed to `traffic` and `traffic_routes`.

Batch by batch, in threads: attribute (per distinct combination of exporter, interfaces, direction
and rate), scale, spread, keep this hour's slots, match the remote end to its route and the local
end to an own prefix, and sum by one integer that packs slot, side, route and local prefix. The
compiled match costs less than a grouping, so every record is matched and only few sums are kept.

What is rare is done apart: few records cross the border of a slot, and fewer cross two external
interfaces; the others take one pass of plain array arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from flowpeer.rollup import packed_key, slots
from flowpeer.rollup.folding import Folded, Tail, among
from flowpeer.rollup.packed_key import Attributed, Codes, Context
from flowpeer.rollup.reading import Bools, Records, Task, read
from flowpeer.rollup.slots import Ints, Reals
from flowpeer.rollup.sums import Figures, Sums, exact, summed
from flowpeer.rollup.tables import Tables
from flowpeer_core.slots import HOUR_SLOTS, SLOT_SECONDS, SLOT_US

__all__ = ["Aggregate", "Context", "Figures", "HourParts", "hour_parts"]

THREADS = 2
"""Batches worked on at once; each holds some hundred megabytes."""

SIDE_PARTS = 16
"""Parts of `traffic_routes` that are made one after the other."""
TABLE_ROWS = 1 << 18
PIECE_ROWS = 1 << 16
"""Records that pass through the arithmetic at once: its temporaries stay in the processor's cache,
which takes a third off its time."""
T = TypeVar("T")
R = TypeVar("R")
Partial = tuple[int, list[pl.DataFrame], Figures]
"""Rows read, sums by key, figures."""


class Aggregate:
    """The sums of one hour: `figures`, and the rows of both tables, sorted, with their schemas.

    Args:
        tasks: flow files to read, as `reading.tasks` shares them out; records outside the hour
            are ignored.
        hour: its start, UTC.
        folder: for sums that do not fit into memory; `close` leaves nothing in it.
        progress: is told the records read.

    Raises:
        OSError: a flow file that cannot be read, or whose octets are not those written.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        hour: datetime,
        context: Context,
        folder: Path,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.figures = Figures()
        self._hour = hour
        self._context = context
        self._codes = Codes(context)
        self._sums = Sums(HOUR_SLOTS, folder, "slot")
        self._by_route = Sums(SIDE_PARTS, folder, "side")
        self._by_network = Sums(HOUR_SLOTS, folder, "network")
        try:
            for rows, partials, counted in _in_threads(self._task, tasks):
                self.figures.add(counted)
                for partial in partials:
                    self._sums.add(partial, packed_key.slot_of(partial["key"].to_numpy()))
                if progress is not None:
                    progress(rows)
            if self.figures.flow_bytes + self.figures.flow_bytes_unscaled >= 1 << 61:
                raise OverflowError(
                    f"{self.figures.flow_bytes:,} bytes in one hour cannot be traffic"
                )
        except BaseException:
            self.close()
            raise
        self._tables = Tables(hour, context, self._codes)
        self._tail: Ints = np.empty(0, dtype=np.int64)
        self.folded: Folded | None = None
        """What was folded, once `traffic` is exhausted; None where nothing is to be."""

    def traffic(self) -> Iterator[pa.Table]:
        """`traffic`, in tables of a few slots. To be exhausted before `traffic_routes`."""
        tail = self._context.tail
        slots = self._slots() if tail is None else self._folded_slots(tail)
        yield from _in_size(_in_threads(self._tables.traffic, slots))

    def _slots(self) -> Iterator[pl.DataFrame]:
        """Sums by network, slot after slot."""
        for by_network, by_route in _in_threads(self._slot, range(HOUR_SLOTS)):
            if by_route.height:
                key = by_route["key"].to_numpy()
                self._by_route.add(by_route, self._tables.side_part(key, SIDE_PARTS))
                yield by_network

    def _slot(self, n: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        sums = self._sums.take(n)
        by_route = sums.with_columns(packed_key.without_slot(pl.col("key")))
        return self._tables.by_network(sums), by_route

    def _folded_slots(self, tail: Tail) -> Iterator[pl.DataFrame]:
        """The same with the tail folded: which networks that are, only the whole hour tells."""
        totals = pl.DataFrame(schema={"network": pl.Int64, "bytes": pl.Int64})
        for n, by_network in enumerate(self._slots()):
            self._by_network.add(by_network, np.full(by_network.height, n, dtype=np.uint8))
            totals = pl.concat([totals, self._tables.totals(by_network)])
            totals = totals.group_by("network").agg(pl.col("bytes").sum())
        self._tail = tail.smallest(totals)
        octets = totals["bytes"].to_numpy()
        folded_bytes = exact(octets, among(totals["network"].to_numpy(), self._tail))
        self.folded = Folded(self._tail.size, folded_bytes)
        for n in range(HOUR_SLOTS):
            by_network = self._by_network.take(n)
            if by_network.height:
                yield self._tables.folded(by_network, self._tail)

    def traffic_routes(self) -> Iterator[pa.Table]:
        """`traffic_routes`, in tables of some sides."""
        yield from _in_size(_in_threads(self._sides, range(SIDE_PARTS)))

    def _sides(self, n: int) -> pa.Table:
        return self._tables.traffic_routes(self._by_route.take(n), self._tail)

    def close(self) -> None:
        """Remove what waits on disk."""
        self._sums.discard()
        self._by_route.discard()
        self._by_network.discard()

    def _task(self, task: Task) -> Partial:
        figures, rows, found = Figures(), 0, []
        context = self._context
        exchanges = context.neighbours is not None
        for records in read(task, self._hour, context.moments, next_hops=exchanges):
            rows += records.rows
            found.append(_batch(records, self._hour, self._context, self._codes, figures))
        return rows, found, figures


def _in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in the order of the items; few at a time, so that memory stays bounded."""
    with ThreadPoolExecutor(THREADS) as pool:
        running: list[Future[R]] = []
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > THREADS:
                yield running.pop(0).result()
        yield from (one.result() for one in running)


def _in_size(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of `TABLE_ROWS` or more: each becomes a row group."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= TABLE_ROWS:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


@dataclass(frozen=True, slots=True)
class HourParts:
    """Shares of records in slots of the hour, column by column; `record` indexes the records."""

    record: Any
    slot: Ints
    bytes: Ints
    packets: Ints
    records: Ints
    low: Reals
    high: Reals

    def inside(self) -> HourParts:
        """Those of the hour's twelve slots."""
        if not self.slot.size or (self.slot.min() >= 0 and self.slot.max() < HOUR_SLOTS):
            return self
        kept = np.flatnonzero((self.slot >= 0) & (self.slot < HOUR_SLOTS))
        record = kept if isinstance(self.record, slice) else self.record[kept]
        return HourParts(record, *(getattr(self, name)[kept] for name in self.__slots__[1:]))


def hour_parts(
    records: Records, rate: Ints, divisor: Ints | None, first_slot: int
) -> tuple[list[HourParts], Bools]:
    """The shares of records in this hour's slots, and which records are scaled (M2, M3, M6).

    Most records lie in one slot: the first list element holds the first share of every record, and
    a second one the few others.
    """
    exported, exported_packets = records.integers("bytes"), records.integers("packets")
    octets, packets, scaled = slots.scale(exported, exported_packets, rate, divisor)
    n: Ints | Reals = rate if divisor is None else rate / divisor
    low, high = slots.size_variance(
        exported, exported_packets, n if scaled.all() else np.where(scaled, n, 1),
        records.numbers["min_length"], records.numbers["max_length"],
    )  # fmt: skip
    start, end = records.start, records.end
    slots.check_times(start, end)
    first = start // SLOT_US
    borders = np.flatnonzero(np.maximum(end - 1, start) // SLOT_US != first)
    ones = np.ones(records.rows, dtype=np.int64)
    if not borders.size:
        only = HourParts(slice(None), first - first_slot, octets, packets, ones, low, high)
        return [only.inside()], scaled
    shares = slots.spread(start[borders], end[borders], octets[borders], packets[borders])
    begins = shares.records == 1
    later = shares.only(~begins)
    record = borders[later.record]
    others = HourParts(
        record, later.slot - first_slot, later.bytes, later.packets, later.records,
        np.rint(low[record] * later.fraction), np.rint(high[record] * later.fraction),
    )  # fmt: skip
    octets[borders], packets[borders] = shares.bytes[begins], shares.packets[begins]
    for variance in (low, high):
        variance[borders] = np.rint(variance[borders] * shares.fraction[begins])
    only = HourParts(slice(None), first - first_slot, octets, packets, ones, low, high)
    return [only.inside(), others.inside()], scaled


def _batch(
    records: Records, hour: datetime, context: Context, codes: Codes, figures: Figures
) -> pl.DataFrame:
    """Sums by key of the parts of some records that lie in the hour."""
    combo, distinct = packed_key.combinations(records)
    known = packed_key.attribute(records.file, distinct, context, codes)
    first_slot = int(hour.timestamp()) // SLOT_SECONDS
    frames: list[pl.DataFrame] = []
    for at in range(0, records.rows, PIECE_ROWS):
        piece = slice(at, at + PIECE_ROWS)
        some, which = records.slice(piece), combo[piece]
        maker = packed_key.Keys(some, which, known, context, codes)
        frames += _piece(some, which, known, maker, first_slot, figures)
    return summed(pl.concat(frames))


def _piece(
    records: Records,
    combo: Any,
    known: Attributed,
    maker: packed_key.Keys,
    first_slot: int,
    figures: Figures,
) -> list[pl.DataFrame]:
    """The parts of records with their keys, before they are summed."""
    rate = known.rate[combo]
    divisor = None if known.divisor is None else known.divisor[combo]
    pieces, scaled = hour_parts(records, rate, divisor, first_slot)
    for parts in pieces:
        _count(figures, parts, scaled[parts.record], known, combo[parts.record], rate)
    key = maker.of_crossing(0)
    key |= scaled
    frames = [_frame(key[parts.record], parts) for parts in pieces]
    second = known.side[1] >= 0
    if second.any() and (at := np.flatnonzero(second[combo])).size:
        other = np.zeros(records.rows, dtype=np.uint64)
        other[at] = maker.of_crossing(1, at)
        other |= scaled
        crosses = np.zeros(records.rows, dtype=bool)
        crosses[at] = True
        frames += [
            _frame(other[parts.record], parts).filter(pl.Series(crosses[parts.record]))
            for parts in pieces
        ]
    return frames


def _frame(key: npt.NDArray[np.uint64], parts: HourParts) -> pl.DataFrame:
    packed = key | parts.slot.view(np.uint64) << np.uint64(1)
    columns = {name: getattr(parts, name) for name in ("bytes", "packets", "records")}
    return pl.DataFrame({"key": packed, **columns, "low": parts.low, "high": parts.high})


def _count(
    figures: Figures, parts: HourParts, scaled: Bools, known: Attributed, combo: Any, rate: Ints
) -> None:
    """Add the figures of some parts."""
    octets = parts.bytes
    total, of_scaled = exact(octets), exact(octets, scaled)
    figures.flow_bytes += of_scaled
    figures.flow_bytes_unscaled += total - of_scaled
    figures.records += int(parts.records.sum())
    if (known.side[1] >= 0).any():
        through = (known.side[1] >= 0)[combo]
        figures.through_bytes += exact(octets, scaled & through)
        figures.through_bytes_unscaled += exact(octets, ~scaled & through)
    if known.discarded.any():
        figures.discarded_inbound_bytes += exact(octets, scaled & known.discarded[combo])
    if not scaled.all():
        rated = rate[parts.record] > 0
        figures.implausible_records += int(parts.records[rated & ~scaled].sum())
