"""Columns of flow records by the compiled core (flowpeer_core/native/src/records.c).

Data sets wait as descriptions of where their octets lie, in a batch of datagrams or in an arena;
`drain` reads them into buffers as Arrow lays them out. Tables share those buffers, which are used
again once no table does.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowpeer_core.native import table as native
from flowpeer_core.native.rows import INPUT, Rows
from flowpeer_core.sampling_rates import MAX_DENOMINATOR, MAX_RATE
from flowpeer_core.slots import HOUR_US
from flowpeer_ingest import flow_rules, parts, plausible
from flowpeer_ingest.flow_columns import (
    CHUNK_ROWS,
    EPOCH,
    FLOWS_SCHEMA,
    SAMPLING_BEYOND,
    RecordTally,
)
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.wire.events import FORMATS, Records
from flowpeer_ingest.wire.layout import Layout
from flowpeer_ingest.wire.values import plan

SETS = 1 << 16
"""Data sets that wait to be read; a datagram of 64 KiB has at most 16,384."""
ARENA_OCTETS = 8 << 20
ROOM = CHUNK_ROWS + 2 * native.PART
"""Rows that the buffers hold: enough, and a set of biflow records behind them."""
MAX_LAYOUTS, MAX_RATES = 4_096, 4_096
"""Layouts and views of rates that are remembered; beyond, all are forgotten and met again."""

LIMITS = native.CLimits(
    flow_rules.CLOCK_TOLERANCE_US, parts.OLDEST_US, parts.NEWEST_US,
    flow_rules.SLACK_US, flow_rules.FUTURE_MS, flow_rules.LATEST_MS, flow_rules.LONG_US,
    plausible.MAX_COUNTER, plausible.LEAST_OCTETS, plausible.BACKWARDS_US,
    plausible.LONGEST_US, MAX_RATE, MAX_DENOMINATOR,
)  # fmt: skip
FORMAT_NUMBERS = {version: native.FORMATS.index(name) for version, name in FORMATS.items()}
_TEXTS = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([f.with_type(_TEXTS) if pa.types.is_string(f.type) else f for f in FLOWS_SCHEMA])
"""`FLOWS_SCHEMA` with dictionaries for its texts."""
_WIDTHS = [4 if pa.types.is_dictionary(f.type) else max(f.type.bit_width // 8, 1) for f in SCHEMA]


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array, or a larger copy that has `size` entries."""
    if size <= len(array):
        return array
    out = np.zeros(max(size, 2 * len(array)), array.dtype)
    out[: len(array)] = array
    return out


_TALLY, _LAYOUT, _RATES, _COLUMN, _SET = map(
    np.dtype, (native.CTally, native.CLayout, native.CRates, native.CColumn, native.CSet)
)


class CoreNumbers:
    """Layouts, rates and exporters under the numbers that the compiled core knows them by."""

    def __init__(self, active_timeout_s: Callable[[str], int]) -> None:
        self._active_timeout_s = active_timeout_s
        self.names: list[str] = []
        self._exporters: dict[str, int] = {}
        self.timeouts_us = np.zeros(64, np.int64)
        self.tallies = np.zeros(64, _TALLY)
        self.forget()

    def forget(self) -> None:
        """Forget layouts and rates."""
        self._layouts: dict[tuple[Layout, bool], int] = {}
        self.layouts = np.zeros(64, _LAYOUT)
        self._rates: dict[Rates, int] = {}
        self.rates = np.zeros(64, _RATES)
        self._kept: list[NDArray[Any]] = []

    @property
    def full(self) -> bool:
        return len(self._layouts) > MAX_LAYOUTS or len(self._rates) > MAX_RATES

    def exporter(self, name: str) -> int:
        number = self._exporters.get(name)
        if number is None:
            number = self._exporters[name] = len(self.names)
            self.names.append(name)
            self.timeouts_us = grown(self.timeouts_us, number + 1)
            self.tallies = grown(self.tallies, number + 1)
            self.timeouts_us[number] = self._active_timeout_s(name) * 1_000_000
        return number

    def numbers(self, names: Sequence[str]) -> list[int]:
        """`exporter` for each of many."""
        for name in {*names} - self._exporters.keys():
            self.exporter(name)
        return [*map(self._exporters.__getitem__, names)]

    def layout(self, layout: Layout, *, flat: bool = False) -> int:
        """`flat`: of records that were written out at their fixed size."""
        flat = flat and layout.variable
        number = self._layouts.get((layout, flat))
        if number is None:
            number = self._layouts[layout, flat] = len(self._layouts)
            self.layouts = grown(self.layouts, number + 1)
            entry = self.layouts[number]
            runs = np.array(layout.runs, np.int32)
            keeps = np.array([*layout.keeps, False], np.uint8)
            self._kept += (runs, keeps)
            entry["minimum"] = max(layout.flat_size if flat else layout.minimum, 1)
            entry["flat_size"] = layout.flat_size
            entry["variables"] = 0 if flat else len(layout.keeps)
            entry["runs"], entry["keeps"] = runs.ctypes.data, keeps.ctypes.data
            entry["offset"] = -1
            for r in plan(layout):
                key = native.KEYS.index(r.key)
                entry["offset"][key], entry["length"][key] = r.offset, r.length
        return number

    def view(self, rates: Rates) -> int:
        number = self._rates.get(rates)
        if number is None:
            number = self._rates[rates] = len(self._rates)
            self.rates = grown(self.rates, number + 1)
            entry = self.rates[number]
            for name, known in (("sampler", rates.samplers), ("interface", rates.interfaces)):
                pairs = np.array(sorted(known.items()), np.int64).reshape(-1)
                self._kept.append(pairs)
                entry[name + "s"], entry[name + "_count"] = pairs.ctypes.data, len(known)
            entry["wide"], entry["only"] = rates.wide, rates.only
        return number


class Buffers:
    """Room for the rows of a table, in one block: values of each column, then all bitmaps."""

    def __init__(self) -> None:
        ends = [*accumulate(ROOM * width for width in _WIDTHS)]
        bits = [ends[-1] + i * ROOM // 8 for i in range(len(ends) + 1)]
        values = [0, *ends[:-1]]
        values[native.COLUMNS.index("time_corrected")] = bits[-1]  # bits themselves
        self.places = [*zip(values, bits, strict=False)]
        self.block = np.empty(bits[-1] + ROOM // 8, np.uint8)
        self.state = np.zeros(len(SCHEMA), _COLUMN)
        self.state["values"], self.state["valid"] = np.array(self.places).T
        self.state["values"] += self.block.ctypes.data
        self.state["valid"] += self.block.ctypes.data
        self.state["width"] = _WIDTHS
        self.bits = self.block[bits[0] :]
        self.bits[:] = 0
        self.free = sys.getrefcount(self.block)

    @property
    def shared(self) -> bool:
        """Does a table still use them?"""
        return sys.getrefcount(self.block) > self.free


class CompiledColumns:
    """The same as `PlainColumns`, many records at a time."""

    def __init__(self, library: ctypes.CDLL, active_timeout_s: Callable[[str], int]) -> None:
        self._library = library
        self.registry = CoreNumbers(active_timeout_s)
        self.sets = np.zeros(SETS, _SET)
        self.set_count = 0
        self.arena = np.empty(ARENA_OCTETS, np.uint8)
        self.arena_used = 0
        self.octets: bytes | memoryview = b""
        """The batch that sets with base 0 lie in."""
        self._scratch = np.empty(native.SCRATCH, np.uint8)
        self._rows = native.CRows(limits=LIMITS, room=ROOM, enough=CHUNK_ROWS)
        self._rows.scratch = self._scratch.ctypes.data
        at = native.CRows.columns.offset
        size = ctypes.sizeof(native.CColumn) * len(native.COLUMNS)
        self._state = np.frombuffer(memoryview(self._rows), np.uint8)[at : at + size].view(_COLUMN)
        self._pool: list[Buffers] = []
        self._next_buffers()
        self._tally = RecordTally()

    def _next_buffers(self) -> None:
        """Point at buffers that no table uses, new ones if need be."""
        free = [buffers for buffers in self._pool if not buffers.shared]
        if not free:
            free = [Buffers()]
            self._pool = [*self._pool[-1:], *free]
        self._buffers = free[0]
        self._state[:] = self._buffers.state
        self._rows.rows = 0

    @property
    def tally(self) -> RecordTally:
        """Counts so far."""
        out, registry = self._tally, self.registry
        counts = registry.tallies
        for number in np.flatnonzero(counts["records"]).tolist():
            name, one = registry.names[number], counts[number]
            out.records += int(one["records"])
            out.by_exporter[name] += int(one["records"])
            out.time_corrected[name] += int(one["corrected"])
            out.long_flows[name] += int(one["long_flows"])
            out.octets += int(one["octets"])
            for i in np.flatnonzero(one["implausible"]).tolist():
                amounts = (one["implausible" + of][i] for of in ("", "_octets", "_packets"))
                out.set_aside.add(name, plausible.REASONS[i], *map(int, amounts))
            if beyond := int(one["sampling_beyond"]):
                out.malformed[SAMPLING_BEYOND] += beyond
        counts[:] = np.zeros((), counts.dtype)
        for kept in self._rows.sample[: self._rows.sampled]:
            out.set_aside.keep(
                plausible.Implausible(
                    exporter_ip=registry.names[kept.exporter],
                    reason=plausible.REASONS[kept.reason],
                    received_us=kept.received_us,
                    domain=kept.domain,
                    input_if=_stated(kept.input_if),
                    output_if=_stated(kept.output_if),
                    bytes=_stated(kept.octets),
                    packets=_stated(kept.packets),
                    start_us=_stated(kept.start_us),
                    end_us=_stated(kept.end_us),
                    src_addr=plausible.address_text(bytes(kept.src)),
                    dst_addr=plausible.address_text(bytes(kept.dst)),
                )
            )
        self._rows.sampled = 0
        return out

    @tally.setter
    def tally(self, tally: RecordTally) -> None:
        self.registry.tallies[:] = np.zeros((), self.registry.tallies.dtype)
        self._rows.sampled = 0
        self._tally = tally

    def add(self, event: Records, rates: Rates) -> bool:
        message, layout = event.message, event.template.layout
        octets = event.flat or bytes(event.count)  # of a record that says nothing: one each
        at, size = self.arena_used, len(octets)
        if at + size > len(self.arena):  # one event is larger than what is left
            self.arena = np.concatenate([self.arena[:at], np.empty(size + at, np.uint8)])
        self.arena[at : at + size] = np.frombuffer(octets, np.uint8)
        self.arena_used += size
        registry, one = self.registry, max(layout.flat_size, 1)
        exporter = registry.exporter(message.exporter)
        parts = range(0, event.count, native.PART)
        self.sets = grown(self.sets, self.set_count + len(parts))
        for first in parts:
            count = min(native.PART, event.count - first)
            self.sets[self.set_count] = (
                at + first * one, count * one, count, message.received_us, message.export_ms,
                message.uptime_ms, message.domain, message.session, message.sequence,
                message.sampling,
                registry.timeouts_us[exporter], 0, registry.layout(layout, flat=True), exporter,
                FORMAT_NUMBERS[message.version], registry.view(rates), 1,
            )  # fmt: skip
            self.set_count += 1
        return self.set_count >= SETS or self.arena_used >= ARENA_OCTETS // 2

    def drain(self, *, last: bool = False) -> Iterator[tuple[datetime, pa.Table]]:
        for hour, rows in self.rows(last=last):
            yield hour, rows.table() if isinstance(rows, Rows) else rows
            del rows

    def rows(self, *, last: bool = False) -> Iterator[tuple[datetime, Rows | pa.Table]]:
        """The same as `drain`, but as they lie: tables are made where hours have to be parted."""
        rows, registry = self._rows, self.registry
        rows.layouts, rows.layout_count = registry.layouts.ctypes.data, len(registry.layouts)
        rows.rates, rows.rates_count = registry.rates.ctypes.data, len(registry.rates)
        rows.tallies, rows.exporters = registry.tallies.ctypes.data, len(registry.names)
        octets = pa.py_buffer(self.octets)
        rows.base[0], rows.base_size[0] = octets.address, octets.size
        rows.base[1], rows.base_size[1] = self.arena.ctypes.data, self.arena_used
        first, step = self.sets.ctypes.data, self.sets.itemsize
        done = 0
        while done < self.set_count:
            read = self._library.flowpeer_read(
                ctypes.addressof(rows), first + done * step, self.set_count - done
            )
            if read < 0:
                raise AssertionError(f"set {done} of {self.set_count} cannot be read ({read})")
            done += read
            if rows.rows >= CHUNK_ROWS or done < self.set_count:
                yield from self._made()
        self.set_count = self.arena_used = 0
        if last:
            yield from self._made()

    def clear(self) -> None:
        self.set_count = self.arena_used = 0
        self._buffers.bits[:] = 0
        self._state[:] = self._buffers.state
        self._rows.rows = 0

    def _made(self) -> Iterator[tuple[datetime, Rows | pa.Table]]:
        count, made = self._rows.rows, self._rows.made
        if not count:
            return
        self._tally.rows += count
        rows = self._taken(count)
        first, last = made.first_us // HOUR_US, made.last_us // HOUR_US
        if first == last:
            yield EPOCH + timedelta(hours=first), rows
        else:
            table = rows.table()
            hours = table.column(0).chunk(0).view(pa.int64()).to_numpy() // HOUR_US
            for hour in np.unique(hours).tolist():
                yield EPOCH + timedelta(hours=hour), table.filter(pa.array(hours == hour))
            del table, hours
        del rows
        self._next_buffers()
        self._buffers.bits[:] = 0

    def _taken(self, count: int) -> Rows:
        """The rows in the buffers."""
        buffers, made = self._buffers, self._rows.made
        columns = np.empty(len(SCHEMA), INPUT)
        self._library.flowpeer_settle(ctypes.addressof(self._rows), columns.ctypes.data)
        memory: tuple[Any, ...] = (buffers.block,)
        dictionaries = {}
        for name, texts, (first, last) in (
            ("exporter_ip", self.registry.names, made.exporters),
            ("format", native.FORMATS, made.formats),
        ):
            at = native.COLUMNS.index(name)
            codes, numbers = _ZEROS, [first]
            if first != last:
                start = buffers.places[at][0]
                codes, numbers = _coded(buffers.block[start : start + 4 * count].view(np.int32))
            dictionaries[name] = _texts(*(texts[i] for i in numbers))
            columns["values"][at] = codes.ctypes.data
            memory += (codes,)
        sums = {"bytes": made.octets, "packets": made.packets}
        return Rows(SCHEMA, count, columns, dictionaries, sums, made.corrected, memory)


_ZEROS = np.zeros(ROOM, np.int32)


def _stated(value: int) -> int | None:
    return None if value < 0 else value


@lru_cache(64)
def _texts(*texts: str) -> pa.Array:
    """One array as long as they are the same, which nobody need compare."""
    return pa.array(texts, pa.string())


def _coded(numbers: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[int]]:
    """Numbers as codes from 0 of those that occur, and these."""
    there = np.bincount(numbers) > 0
    return (np.cumsum(there) - 1).astype(np.int32)[numbers], np.flatnonzero(there).tolist()
