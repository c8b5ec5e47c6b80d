"""Flow files → arrays: only the columns and row groups that an hour needs.

What a row group's statistics say is not read: a column without values, one with a single value,
and whole row groups whose records lie outside the hour. Small files are read together, so that
the cost of a batch is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.rollup.rates import NO_SESSION
from flowpeer.rollup.slots import Ints
from flowpeer_core.slots import HOUR_US

COLUMNS = (
    "start_time", "end_time", "exporter_ip", "observation_domain", "input_if", "output_if",
    "direction", "src_addr", "dst_addr", "bytes", "packets", "sampling_interval", "sampler_id",
    "min_length", "max_length", "session", "sampling_numerator", "sampling_denominator",
)  # fmt: skip
"""What a roll-up reads of `flows`, and `NEXT_HOPS` where an exchange port is configured."""
NEXT_HOPS = ("next_hop", "bgp_next_hop")
SERVICES = ("protocol", "src_port", "dst_port", "tos", "tcp_flags")
"""What `crossings` reads besides; −1 where null."""
ADDRESSES = frozenset({"src_addr", "dst_addr", *NEXT_HOPS})

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH_ROWS = 1 << 19
"""Records worked on at once: temporaries of a few hundred bytes a record stay small, and the cost
of a call is nothing beside them."""

U64 = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Addresses:
    """A column of 16-octet addresses as native halves; `present` is None where all are there."""

    hi: U64
    lo: U64
    present: Bools | None

    def take(self, at: Any) -> Addresses:
        """Those at some places."""
        return Addresses(
            self.hi[at], self.lo[at], None if self.present is None else self.present[at]
        )


Values = Ints | int
"""A column of integers: an array, or the one value of all rows."""


@dataclass(frozen=True, slots=True)
class Records:
    """Some records of one flow file, those of the hour among them.

    Times in microseconds since the epoch. `exporter` indexes `exporters`. Nulls of `numbers` are
    0, but `NO_SAMPLER` in `sampler_id` and `NO_SESSION` in `session`. `numbers["moment"]`: how many
    of the moments at which a rate changes lie before the record's receipt or at it.
    """

    file: str
    rows: int
    start: Ints
    end: Ints
    exporter: npt.NDArray[np.int32]
    exporters: tuple[str, ...]
    numbers: dict[str, Values]
    addresses: dict[str, Addresses]

    def integers(self, name: str) -> Ints:
        """A numeric column with 0 for null."""
        values = self.numbers[name]
        return values if isinstance(values, np.ndarray) else np.full(self.rows, values, np.int64)

    def slice(self, at: slice) -> Records:
        """Some consecutive records, without a copy."""
        numbers = {
            name: values if isinstance(values, int) else values[at]
            for name, values in self.numbers.items()
        }
        addresses = {name: values.take(at) for name, values in self.addresses.items()}
        start = self.start[at]
        return Records(
            self.file, start.size, start, self.end[at], self.exporter[at], self.exporters, numbers,
            addresses,
        )  # fmt: skip


NO_SAMPLER = -1
Task = tuple[tuple[str, Path, tuple[int, ...] | None], ...]
"""(name, path, row groups or None for all) of what one thread reads together."""


def tasks(files: Sequence[tuple[str, Path, int]]) -> Iterator[Task]:
    """Share out files, given as (name, path, rows), in pieces of about a batch."""
    waiting: list[tuple[str, Path, tuple[int, ...] | None]] = []
    rows_waiting = 0
    for name, path, rows in files:
        if rows > 2 * BATCH_ROWS:
            with pq.ParquetFile(path) as file:
                groups = file.metadata.num_row_groups
            yield from (((name, path, (n,)),) for n in range(groups))
            continue
        if waiting and rows_waiting + rows > BATCH_ROWS:
            yield tuple(waiting)
            waiting, rows_waiting = [], 0
        waiting.append((name, path, None))
        rows_waiting += rows
    if waiting:
        yield tuple(waiting)


def read(
    task: Task,
    hour: datetime,
    moments: Callable[[str], Ints],
    *,
    next_hops: bool,
    also: Sequence[str] = (),
) -> Iterator[Records]:
    """The records of a task that may lie in the hour, in batches of at most `BATCH_ROWS`.

    moments: of a flow file, when a rate changes during its hour of receipt, in µs, ascending.
    also: further columns of integers.

    Raises:
        OSError: a page whose checksum is wrong, or a file that cannot be read.
    """
    begin = int(hour.timestamp()) * 1_000_000
    for name, path, groups in task:
        changes = moments(name)
        wanted = (
            *COLUMNS,
            *(NEXT_HOPS if next_hops else ()),
            *(("received_at",) if changes.size else ()),
            *also,
        )
        with pq.ParquetFile(
            path, page_checksum_verification=True, read_dictionary=["exporter_ip"]
        ) as file:
            for group in range(file.metadata.num_row_groups) if groups is None else groups:
                fixed = _fixed(file.metadata.row_group(group), wanted, begin)
                if fixed is None:
                    continue
                columns = [column for column in wanted if column not in fixed]
                for batch in file.iter_batches(
                    BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
                ):
                    yield from _records(name, batch, fixed, begin, changes, also)


def _fixed(group: Any, wanted: Sequence[str], begin: int) -> dict[str, int] | None:
    """Columns that need no reading, with their value; None where the row group can be left out."""
    columns = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    # A file of an older format lacks columns.
    fixed = {n: _null(n) for n in wanted if n not in columns and n not in ADDRESSES}
    for name, column in columns.items():
        if name not in wanted or not column.is_stats_set:
            continue
        said = column.statistics
        if said.has_null_count and said.null_count == group.num_rows:
            fixed[name] = _null(name)
        elif not said.has_min_max:
            continue
        elif name == "start_time":
            if _microseconds(said.min) >= begin + HOUR_US:
                return None
        elif name == "end_time":
            if _microseconds(said.max) < begin:
                return None
        elif (
            name not in ADDRESSES
            and name not in ("exporter_ip", "received_at")
            and said.has_null_count
            and not said.null_count
            and said.min == said.max
        ):
            fixed[name] = int(said.min)
    return fixed


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def _null(name: str) -> int:
    if name in SERVICES:
        return -1
    return {"sampler_id": NO_SAMPLER, "session": NO_SESSION}.get(name, 0)


def _records(
    file: str,
    batch: pa.RecordBatch,
    fixed: dict[str, int],
    begin: int,
    moments: Ints,
    also: Sequence[str],
) -> Iterator[Records]:
    start, end = (batch[name].cast(pa.int64()).to_numpy() for name in ("start_time", "end_time"))
    inside = (start < begin + HOUR_US) & (end >= begin)
    if not inside.all():
        batch = batch.filter(pa.array(inside))
        start, end = start[inside], end[inside]
    rows = batch.num_rows
    if not rows:
        return
    ips = batch["exporter_ip"]
    numbers: dict[str, Values] = {}
    addresses: dict[str, Addresses] = {}
    absent = None
    for name in (*COLUMNS, *NEXT_HOPS, *also):
        if name in ("start_time", "end_time", "exporter_ip"):
            continue
        if name not in ADDRESSES:
            numbers[name] = fixed[name] if name in fixed else _integers(batch[name], _null(name))
        elif name in batch.schema.names:
            addresses[name] = _halves(batch[name])
        else:
            if absent is None:
                zero = np.zeros(rows, dtype=np.uint64)
                absent = Addresses(zero, zero, np.zeros(rows, dtype=bool))
            addresses[name] = absent
    numbers["moment"] = 0
    if moments.size:
        received = batch["received_at"].cast(pa.int64()).to_numpy()
        numbers["moment"] = np.searchsorted(moments, received, side="right")
    yield Records(
        file, rows, start, end, ips.indices.to_numpy(), tuple(ips.dictionary.to_pylist()), numbers,
        addresses,
    )  # fmt: skip


def _integers(column: pa.Array, null: int) -> Ints:
    if column.null_count:
        column = column.cast(pa.int64()).fill_null(null)
    values: Ints = column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return values


def _halves(array: pa.Array) -> Addresses:
    """A 16-octet address column as two native uint64 arrays; halves of nulls are 0."""
    count = len(array)
    octets = array.buffers()[1]
    pairs = np.frombuffer(octets, dtype=">u8", count=2 * count, offset=16 * array.offset)
    hi, lo = pairs[0::2].astype(np.uint64), pairs[1::2].astype(np.uint64)
    if not array.null_count:
        return Addresses(hi, lo, None)
    present = np.asarray(array.is_valid())
    hi[~present] = 0
    lo[~present] = 0
    return Addresses(hi, lo, present)
