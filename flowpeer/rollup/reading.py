"""Flow files → columns: only the columns and row groups that an hour needs.

What a row group's statistics say is not read: a column without values, one with a single value,
and whole row groups whose records lie outside the hour. Small files are read by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowpeer.rollup.rates import NO_SESSION
from flowpeer_core.native import library
from flowpeer_core.native.addresses import read_addresses
from flowpeer_core.native.rows import Rows
from flowpeer_core.slots import HOUR_US

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Ints = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

COLUMNS = (
    "start_time", "end_time", "exporter_ip", "observation_domain", "input_if", "output_if",
    "direction", "src_addr", "dst_addr", "bytes", "packets", "sampling_interval", "sampler_id",
    "min_length", "max_length", "session", "sampling_numerator", "sampling_denominator",
)  # fmt: skip
"""What a roll-up reads of `flows`, and `NEXT_HOPS` where an exchange port is configured."""
NEXT_HOPS = ("next_hop", "bgp_next_hop")
MACS = ("src_mac", "dst_mac")
"""What is read besides where MAC addresses of exchange ports are known."""
SERVICES = ("protocol", "src_port", "dst_port", "tos", "tcp_flags")
"""What `crossings` reads besides."""
ADDRESSES = frozenset({"src_addr", "dst_addr", *NEXT_HOPS})
NO_SAMPLER = -1

NULLS = {"sampler_id": NO_SAMPLER, "session": NO_SESSION} | dict.fromkeys(SERVICES, -1)
"""What stands for null in a column of integers where that is not 0."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH_ROWS = 1 << 17
"""Records worked on at once."""


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """Some records of one flow file, those of the hour among them.

    A column of `COLUMNS`, `NEXT_HOPS` or `moment` is an array, or the one value of all rows, as
    `NULLS` has it for null; a column of addresses that is an integer has none. `moment`: how many
    of the moments at which a rate changes lie before the record's receipt or at it. `duplicate`:
    they are of datagrams that count elsewhere.
    """

    file: str
    rows: int
    columns: Mapping[str, pa.Array | int]
    duplicate: bool = False


Task = tuple[tuple[str, Path, tuple[int, ...] | None], ...]
"""(name, path, row groups or None for all) of what one thread reads together."""


@contextmanager
def flow_file(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """A flow file to be read. Raises OSError where it is damaged."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, **options) as file:
            yield file
    except pa.ArrowException as error:
        raise OSError(f"{path}: {str(error).strip().splitlines()[0]}") from error


def tasks(files: Sequence[tuple[str, Path, int]]) -> Iterator[Task]:
    """Share out files, given as (name, path, rows), in pieces of about a batch."""
    waiting: list[tuple[str, Path, tuple[int, ...] | None]] = []
    rows_waiting = 0
    for name, path, rows in files:
        if rows > 2 * BATCH_ROWS:
            with flow_file(path) as file:
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
    duplicates: Mapping[str, Ints] = MappingProxyType({}),
) -> Iterator[FlowBatch]:
    """The records of a task, in batches of at most `BATCH_ROWS`; row groups that end before the
    hour or begin after it are left out.

    moments: of a flow file, when a rate changes during its hour of receipt, in µs, ascending.
    also: further columns of integers.
    duplicates: by file, numbers of the rows that count elsewhere, ascending; they come in batches
        of their own.

    Raises:
        OSError: a page whose checksum is wrong, or a file that cannot be read.
    """
    begin = int(hour.timestamp()) * 1_000_000
    for name, path, groups in task:
        changes = moments(name)
        elsewhere = duplicates.get(name)
        wanted = _wanted(changes, next_hops=next_hops, also=also)
        with flow_file(
            path, page_checksum_verification=True, read_dictionary=["exporter_ip"]
        ) as file:
            sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
            for group in range(file.num_row_groups) if groups is None else groups:
                at = sum(sizes[:group])
                fixed = _fixed(file.metadata.row_group(group), wanted, begin)
                if fixed is None:
                    continue
                columns = [column for column in wanted if column not in fixed]
                for batch in _batches(file, path, group, columns):
                    if elsewhere is None:
                        yield _batch(name, batch.num_rows, _columns(batch, fixed), changes)
                        continue
                    first, last = np.searchsorted(elsewhere, (at, at + batch.num_rows))
                    away = np.zeros(batch.num_rows, bool)
                    away[elsewhere[first:last] - at] = True
                    at += batch.num_rows
                    for duplicate in (False, True):
                        part = batch.filter(pa.array(away == duplicate))
                        if part.num_rows:
                            made = _batch(name, part.num_rows, _columns(part, fixed), changes)
                            yield replace(made, duplicate=duplicate)


def _wanted(changes: Ints, *, next_hops: bool, also: Sequence[str]) -> tuple[str, ...]:
    return (
        *COLUMNS,
        *(NEXT_HOPS if next_hops else ()),
        *(("received_at",) if changes.size else ()),
        *also,
    )


def batch_of(
    file: str, rows: pa.Table | Rows, changes: Ints, *, next_hops: bool, also: Sequence[str] = ()
) -> FlowBatch:
    """Rows of `flows` that are in memory, as those that `read` would give of `file`.

    changes: when a rate changes during its hour of receipt, in µs, ascending.
    """
    columns: dict[str, pa.Array | int] = {}
    for name in _wanted(changes, next_hops=next_hops, also=also):
        if isinstance(rows, pa.Table):
            array = rows.column(name).combine_chunks()
        else:
            place = rows.schema.get_field_index(name)
            at, type_ = rows.columns[place], rows.schema.field(place).type
            if not at["values"]:
                columns[name] = NULLS.get(name, 0)
                continue
            if at["same"] and not at["valid"] and pa.types.is_integer(type_):
                columns[name] = rows.array(place, 1)[0].as_py()
                continue
            array = rows.array(place)
        text = pa.types.is_string(array.type)
        columns[name] = array.dictionary_encode() if text else array
    return _batch(file, rows.num_rows, columns, changes)


def _batches(
    file: pq.ParquetFile, path: Path, group: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Columns of a row group, some rows at a time; addresses by the compiled core, if it can."""
    core, found = library(), {}
    with path.open("rb") as octets:
        for name in ADDRESSES.intersection(columns):
            place = file.schema_arrow.get_field_index(name)
            chunk = file.metadata.row_group(group).column(place)
            if core is None or file.schema.column(place).max_definition_level != 1:
                continue
            values = read_addresses(core, octets, chunk)
            if values is not None:
                found[name] = values
    at = 0
    for batch in file.iter_batches(
        BATCH_ROWS, row_groups=[group], columns=[c for c in columns if c not in found],
        use_threads=False,
    ):  # fmt: skip
        arrays = [values.slice(at, batch.num_rows) for values in found.values()]
        at += batch.num_rows
        names = [*batch.schema.names, *found]
        yield pa.RecordBatch.from_arrays([*batch.columns, *arrays], names)


def _fixed(group: Any, wanted: Sequence[str], begin: int) -> dict[str, int] | None:
    """Columns that need no reading, with their value; None where the row group can be left out."""
    columns = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    # A file of an older format lacks columns.
    fixed = {n: NULLS.get(n, 0) for n in wanted if n not in columns}
    for name, column in columns.items():
        if name not in wanted or not column.is_stats_set:
            continue
        statistics = column.statistics
        if statistics.has_null_count and statistics.null_count == group.num_rows:
            fixed[name] = NULLS.get(name, 0)
        elif not statistics.has_min_max:
            continue
        elif name == "start_time":
            if _microseconds(statistics.min) >= begin + HOUR_US:
                return None
        elif name == "end_time":
            if _microseconds(statistics.max) < begin:
                return None
        elif (
            name not in ADDRESSES
            and name not in ("exporter_ip", "received_at")
            and statistics.has_null_count
            and not statistics.null_count
            and statistics.min == statistics.max
        ):
            fixed[name] = int(statistics.min)
    return fixed


def _columns(batch: pa.RecordBatch, fixed: dict[str, int]) -> dict[str, pa.Array | int]:
    return {**fixed, **dict(zip(batch.schema.names, batch.columns, strict=True))}


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def _batch(file: str, rows: int, columns: Mapping[str, pa.Array | int], moments: Ints) -> FlowBatch:
    columns = {"moment": 0, **columns}
    received = columns.pop("received_at", None)
    if moments.size and isinstance(received, pa.Array):
        times = received.cast(pa.int64()).to_numpy()
        columns["moment"] = pa.array(np.searchsorted(moments, times, side="right"), pa.int64())
    return FlowBatch(file, rows, columns)
