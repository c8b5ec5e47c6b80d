"""`Records` events → Arrow tables of the `flows` schema, by hour received.

Two ways with one result: the compiled core (`compiled`), and here the plain one, which takes a
record after the other and is what the tests hold the other against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from flowpeer_core.columns import arrow_schema
from flowpeer_core.native.table import PART
from flowpeer_core.slots import HOUR_US
from flowpeer_ingest import flow_rules, plausible
from flowpeer_ingest.plausible import SetAside
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.schema import FLOWS, TABLES
from flowpeer_ingest.wire.events import FORMATS, Message, Records
from flowpeer_ingest.wire.values import read_all

CHUNK_ROWS = 32_768
"""Rows gathered before tables are made."""
FLOWS_SCHEMA = arrow_schema(FLOWS)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAMPLING_BEYOND = "sampling interval beyond 2^24"
_INT32_MAX = (1 << 31) - 1
_NARROW = {f.name for f in FLOWS_SCHEMA if f.type == pa.int32()}


@dataclass(slots=True)
class RecordTally:
    """What became of the records: decoded = rows + rejected + set aside (biflows count twice).

    octets: bytes as exported of all of them, of each up to `plausible.MAX_COUNTER`.
    """

    records: int = 0
    rows: int = 0
    octets: int = 0
    set_aside: SetAside = field(default_factory=SetAside)
    rejected: Counter[str] = field(default_factory=Counter)
    malformed: Counter[str] = field(default_factory=Counter)
    time_corrected: Counter[str] = field(default_factory=Counter)
    long_flows: Counter[str] = field(default_factory=Counter)
    by_exporter: Counter[str] = field(default_factory=Counter)


class Columns(Protocol):
    """Gathers records and gives tables with the columns of `flows`."""

    tally: RecordTally

    def add(self, event: Records, rates: Rates) -> bool:
        """Gather one data set; True when it is time to `drain`."""

    def drain(self, *, last: bool = False) -> Iterator[tuple[datetime, pa.Table]]:
        """Tables of what waits, in the order it came: (hour received, rows). What is too little
        for a table waits on, unless it is the `last`."""

    def clear(self) -> None:
        """Forget all that waits."""


class PlainColumns:
    """One record after the other; the reverse flows of biflow records (RFC 5103) follow the
    forward ones, `PART` records at a time."""

    def __init__(self, active_timeout_s: Callable[[str], int]) -> None:
        self._active_timeout_s = active_timeout_s
        self._rows: list[dict[str, Any]] = []
        self.tally = RecordTally()

    def add(self, event: Records, rates: Rates) -> bool:
        message, layout = event.message, event.template.layout
        timeout_us = self._active_timeout_s(message.exporter) * 1_000_000
        context = flow_rules.RecordContext(message, rates, timeout_us)
        records = read_all(layout, event.flat, event.count)
        self.tally.malformed[SAMPLING_BEYOND] += sum(
            flow_rules.sampling(raw, context).beyond for raw in records
        )
        for at in range(0, event.count, PART):
            part = records[at : at + PART]
            rows = [flow_rules.forward(raw, context) for raw in part]
            back = [flow_rules.reverse(*pair, context) for pair in zip(part, rows, strict=True)]
            for raw, row in zip(part, rows, strict=True):
                self._take(row, flow_rules.times(raw, message), message)
            for raw, reverse in zip(part, back, strict=True):
                if reverse is not None:
                    self._take(reverse, flow_rules.reverse_times(raw, message), message)
        return len(self._rows) >= CHUNK_ROWS

    def _take(self, row: dict[str, Any], times: tuple[int, int], message: Message) -> None:
        tally, exporter = self.tally, message.exporter
        tally.records += 1
        tally.by_exporter[exporter] += 1
        octets, packets = row.get("bytes"), row.get("packets")
        bounded = [min(value or 0, plausible.MAX_COUNTER) for value in (octets, packets)]
        tally.octets += bounded[0]
        reason = plausible.reason_of(octets, packets, *times)
        if reason is not None:
            tally.set_aside.add(exporter, reason, 1, *bounded)
            start_us, end_us = (None if at < 0 else at for at in times)
            tally.set_aside.keep(
                plausible.Implausible(
                    exporter, reason, message.received_us, message.domain,
                    row.get("input_if"), row.get("output_if"), octets, packets, start_us, end_us,
                    *(plausible.address_text(row.get(name)) for name in ("src_addr", "dst_addr")),
                )
            )  # fmt: skip
            return
        tally.time_corrected[exporter] += row["time_corrected"]
        tally.long_flows[exporter] += row["end_time"] - row["start_time"] > flow_rules.LONG_US
        tally.rows += 1
        self._rows.append({**row, "exporter_ip": exporter, "format": FORMATS[message.version]})

    def drain(self, *, last: bool = False) -> Iterator[tuple[datetime, pa.Table]]:
        rows, self._rows = self._rows, []
        by_hour: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            by_hour.setdefault(row["received_at"] // HOUR_US, []).append(row)
        for hour in sorted(by_hour):
            arrays = [_array(f, [row.get(f.name) for row in by_hour[hour]]) for f in FLOWS_SCHEMA]
            table = pa.Table.from_arrays(arrays, schema=FLOWS_SCHEMA)
            yield EPOCH + timedelta(hours=hour), table

    def clear(self) -> None:
        self._rows = []


def _array(f: pa.Field, values: list[Any]) -> pa.Array:
    if f.name in _NARROW:
        values = [None if v is not None and v > _INT32_MAX else v for v in values]
    if pa.types.is_timestamp(f.type):
        return pa.array(values, pa.int64()).cast(f.type)
    return pa.array(values, f.type)


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
