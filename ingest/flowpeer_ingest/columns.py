"""`Records` events → Arrow tables of the `flows` schema, many records at a time.

Records are gathered by (version, layout) over all exporters until `CHUNK_ROWS` wait, then read
as whole arrays. What the message around a record says travels beside it, once per data set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flowpeer_core.columns import arrow_schema
from flowpeer_core.slots import HOUR_US
from flowpeer_ingest import flows
from flowpeer_ingest.blocks import Block, Group
from flowpeer_ingest.reading import MAX_INT, Arrays, Ints, read
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.schema import FLOWS, TABLES
from flowpeer_ingest.wire.events import FORMATS, SFLOW5, Records
from flowpeer_ingest.wire.layout import Layout

CHUNK_ROWS = 131_072
"""Rows gathered before a table is made: about 40 MiB of columns."""
CHUNK_OCTETS = 64 << 20
PART_ROWS = 16_384
"""Rows decoded at a time: an array of them is 128 KiB, so that all steps stay in the L2 cache."""
LONG_US = 300_000_000
"""A flow beyond one slot smooths the 95th percentile (METHODS M3)."""
FLOWS_SCHEMA = arrow_schema(FLOWS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT32_MAX = (1 << 31) - 1
_SWAPPED = (
    ("src_addr", "dst_addr"),
    ("src_port", "dst_port"),
    ("src_as", "dst_as"),
    ("src_mask", "dst_mask"),
    ("src_mac", "dst_mac"),
    ("input_if", "output_if"),
)
REVERSE_KEYS = tuple(
    f"reverse_{name}_{kind}" for name in ("bytes", "packets") for kind in ("delta", "total")
)
_PLAIN = (
    "input_if", "output_if", "protocol", "tos", "tcp_flags", "min_length", "max_length",
    "src_as", "dst_as", "src_mac", "dst_mac", "sampler_id",
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What became of the records: decoded = rows + rejected (biflows count twice)."""

    records: int = 0
    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    malformed: Counter[str] = field(default_factory=Counter)
    time_corrected: Counter[str] = field(default_factory=Counter)
    long_flows: Counter[str] = field(default_factory=Counter)
    by_exporter: Counter[str] = field(default_factory=Counter)


class Columns:
    """Gathers records and gives tables of exactly the `flows` schema, by hour received."""

    def __init__(self, active_timeout_s: Callable[[str], int]) -> None:
        self._active_timeout_s = active_timeout_s
        self._groups: dict[tuple[int, Layout], Group] = {}
        self._rows = 0
        self._octets = 0
        self.tally = Tally()

    def add(self, event: Records, rates: Rates) -> bool:
        """Gather one data set; True when it is time to `drain`."""
        message = event.message
        key = (message.version, event.template.layout)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(message.version, event.template.layout)
        group.flat.append(event.flat)
        group.counts.append(event.count)
        group.messages.append(message)
        group.rates.append(rates)
        self._rows += event.count
        self._octets += len(event.flat) + 64
        return self._rows >= CHUNK_ROWS or self._octets >= CHUNK_OCTETS

    def add_block(self, version: int, layout: Layout, block: Block) -> bool:
        """Gather many data sets at once; True when it is time to `drain`."""
        group = self._groups.get((version, layout))
        if group is None:
            group = self._groups[version, layout] = Group(version, layout)
        group.close()
        group.blocks.append(block)
        self._rows += int(block.counts.sum())
        self._octets += len(block.flat) + 64 * len(block.counts)
        return self._rows >= CHUNK_ROWS or self._octets >= CHUNK_OCTETS

    def drain(self) -> Iterator[tuple[datetime, pa.Table]]:
        """Tables of all that waits: (hour received, rows), rows in the order they came."""
        groups, self._groups = self._groups, {}
        self._rows = self._octets = 0
        by_hour: dict[int, list[pa.Table]] = {}
        for group in groups.values():
            for hour, table in self._tables(group):
                by_hour.setdefault(hour, []).append(table)
        for hour in sorted(by_hour):
            yield _EPOCH + timedelta(hours=hour), pa.concat_tables(by_hour[hour])

    def clear(self) -> None:
        """Forget all that waits."""
        self._groups = {}
        self._rows = self._octets = 0

    def _tables(self, group: Group) -> Iterator[tuple[int, pa.Table]]:
        for block in group.block().parts(group.layout, PART_ROWS):
            values = decode(group.version, group.layout, block, self._active_timeout_s, self.tally)
            for part in (values, reverse_of(values)):
                if part is None:
                    continue
                table, received = self._table(part)
                if not len(received):
                    continue
                first, last = int(received.min()) // HOUR_US, int(received.max()) // HOUR_US
                if first == last:
                    yield first, table
                    continue
                hours = received // HOUR_US
                for hour in np.unique(hours):
                    yield int(hour), table.filter(pa.array(hours == hour))

    def _table(self, values: Values) -> tuple[pa.Table, Ints]:
        tally = self.tally
        columns = values.columns
        n = len(values.received_us)
        tally.records += n
        keep = np.ones(n, bool)
        for name in ("bytes", "packets"):
            if name in columns:
                beyond = columns[name] > flows.MAX_BYTES
                beyond &= keep
                if beyond.any():
                    tally.rejected[f"{name} beyond 2^40"] += int(np.count_nonzero(beyond))
                    keep &= ~beyond
        exporters = values.exporters
        counts = np.bincount(values.exporter, minlength=len(exporters))
        corrected = np.bincount(
            values.exporter[columns["time_corrected"]], minlength=len(exporters)
        )
        long = columns["end_time"] - columns["start_time"] > LONG_US
        longs = np.bincount(values.exporter[long], minlength=len(exporters))
        for i, address in enumerate(exporters):
            tally.by_exporter[address] += int(counts[i])
            tally.time_corrected[address] += int(corrected[i])
            tally.long_flows[address] += int(longs[i])
        table = arrow(values)
        received = values.received_us
        if not keep.all():
            table = table.filter(pa.array(keep))
            received = received[keep]
        tally.rows += len(received)
        return table, received


@dataclass(slots=True)
class Values:
    """Columns of the records of one group, as arrays: int64 with −1 for null, or octets."""

    version: int
    exporters: list[str]
    exporter: Ints
    received_us: Ints
    columns: Arrays


def decode(
    version: int,
    layout: Layout,
    block: Block,
    active_timeout_s: Callable[[str], int],
    tally: Tally | None = None,
) -> Values:
    """All columns of a block's records, in the order they came."""
    counts = block.counts
    n = int(counts.sum())
    raw = read(layout, block.flat, n)

    def spread(values: Ints) -> Ints:
        return np.repeat(values, counts)

    exporters = block.exporters
    timeouts = np.array([active_timeout_s(e) * 1_000_000 for e in exporters], np.int64)
    context = flows.Context(
        received_us=spread(block.received_us),
        export_ms=spread(block.export_ms),
        uptime_ms=spread(block.uptime_ms),
        active_timeout_us=spread(timeouts[block.exporter]),
        header_sampling=spread(block.sampling),
        rates=block.stretches(),
    )
    columns: Arrays = {k: raw[k] for k in _PLAIN if k in raw}
    columns |= flows.addresses(raw) | flows.ports(raw) | flows.counters(raw)
    if "direction" in raw:
        columns["direction"] = np.where(raw["direction"] <= 1, raw["direction"], -1)
    rate, beyond = flows.sampling(raw, context, n)
    columns["sampling_interval"] = rate
    if beyond and tally is not None:
        tally.malformed["sampling interval beyond 2^24"] += beyond
    if version == SFLOW5:  # a sample is one packet, seen when its datagram was sent
        start = end = context.received_us
    else:
        start, end = flows.times(raw, context)
    columns["exported_start"], columns["exported_end"] = start, end
    columns["start_time"], columns["end_time"], columns["time_corrected"] = flows.placed(
        start, end, context
    )
    if "reverse_bytes" in columns or "reverse_packets" in columns:
        if "reverse_tcp_flags" in raw:
            columns["reverse_tcp_flags"] = raw["reverse_tcp_flags"]
        if "reverse_tos" in raw:
            columns["reverse_tos"] = raw["reverse_tos"]
        back_start, back_end = flows.times(raw, context, "reverse_")
        back_start = np.where(back_start < 0, start, back_start)
        back_end = np.where(back_end < 0, end, back_end)
        columns["reverse_exported_start"], columns["reverse_exported_end"] = back_start, back_end
        (
            columns["reverse_start_time"],
            columns["reverse_end_time"],
            columns["reverse_time_corrected"],
        ) = flows.placed(back_start, back_end, context)
    columns["observation_domain"] = spread(block.domain)
    for key in ("bytes_total", "packets_total", *REVERSE_KEYS):
        if key in raw:
            columns["exported_" + key] = raw[key]
    if "direction" in raw:
        columns["exported_direction"] = raw["direction"]
    return Values(version, exporters, spread(block.exporter), context.received_us, columns)


def reverse_of(values: Values) -> Values | None:
    """RFC 5103: the other half of biflow records that counted something, None if there is none.

    The reverse flow has the ends, ports, interfaces and ASes swapped; its metering direction is
    not said.
    """
    columns = values.columns
    some = np.zeros(len(values.received_us), bool)
    for name in ("reverse_bytes", "reverse_packets"):
        if name in columns:
            some |= columns[name] > 0
    if not some.any():
        return None
    out = {k: v[some] for k, v in columns.items() if not k.startswith("reverse_")}
    for one, other in _SWAPPED:
        a, b = out.pop(one, None), out.pop(other, None)
        if b is not None:
            out[one] = b
        if a is not None:
            out[other] = a
    for key in (
        "bytes", "packets", "tcp_flags", "min_length",
        "max_length", "direction", "next_hop", "bgp_next_hop",
    ):  # fmt: skip
        out.pop(key, None)
    for key, array in columns.items():
        if key.startswith("reverse_"):
            out[key.removeprefix("reverse_")] = array[some]
    return Values(
        values.version, values.exporters, values.exporter[some], values.received_us[some], out
    )


def arrow(values: Values) -> pa.Table:
    """The columns as an Arrow table of exactly `FLOWS_SCHEMA`."""
    n = len(values.received_us)
    arrays: list[Any] = []
    for f in FLOWS_SCHEMA:
        if f.name == "received_at":
            arrays.append(_fixed(values.received_us, f.type))
        elif f.name == "exporter_ip":
            names = pa.array(values.exporters, pa.string())
            arrays.append(names.take(pa.array(values.exporter)))
        elif f.name == "format":
            arrays.append(pa.repeat(pa.scalar(FORMATS[values.version]), n))
        else:
            arrays.append(_array(values.columns.get(f.name), f.type, n))
    return pa.Table.from_arrays(arrays, schema=FLOWS_SCHEMA)


def _array(column: NDArray[Any] | None, type_: pa.DataType, n: int) -> Any:
    if column is None:
        return pa.nulls(n, type_)
    if column.ndim == 2:
        return _fixed(column, type_)
    if pa.types.is_boolean(type_):
        return pa.array(column)
    if pa.types.is_timestamp(type_):
        return _fixed(column, type_)
    narrow = pa.types.is_int32(type_)
    # Below zero is beyond every bound as an unsigned number; most columns say all their values.
    unsigned = column.view(np.uint64)
    most = np.uint64(_INT32_MAX if narrow else MAX_INT)
    numbers = column.astype(np.int32) if narrow else column
    if unsigned.max(initial=0) > most:
        return pa.array(numbers, mask=unsigned > most)
    return _fixed(numbers, type_)


def _fixed(column: NDArray[Any], type_: pa.DataType) -> pa.Array:
    """The array as it lies in memory; `pa.array` looks first whether pandas is installed."""
    octets = np.ascontiguousarray(column)
    return pa.Array.from_buffers(type_, len(column), [None, pa.py_buffer(octets)])


def sampling_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Rows of the `sampling` schema, times in µs."""
    return _rows_table("sampling", rows)


def coverage_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Rows of the `coverage` schema, slots in µs."""
    return _rows_table("coverage", rows)


def _rows_table(name: str, rows: list[Any]) -> pa.Table:
    schema = arrow_schema(TABLES[name])
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = []
    for f, column in zip(schema, columns, strict=True):
        if pa.types.is_timestamp(f.type):
            arrays.append(pc.cast(pa.array(column, pa.int64()), f.type))
        else:
            arrays.append(pa.array(column, f.type))
    return pa.Table.from_arrays(arrays, schema=schema)
