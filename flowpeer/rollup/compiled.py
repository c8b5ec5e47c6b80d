"""Sums of records by the compiled core (flowpeer_core/native/src/rollup.c): the Python face.

Hash tables by network for each slot, and one by route, of places in one array of entries. What does
not fit into memory waits on disk, so that memory does not depend on the hour's size.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from ctypes import addressof
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowpeer.rollup import slots
from flowpeer.rollup.codes import COMBINED, NETWORK_BITS, SPECIAL_NETWORKS, Codes, members_of
from flowpeer.rollup.reading import NULLS, U64, Bools, FlowBatch, Ints
from flowpeer.rollup.sums import (
    ENTRIES,
    RECORDS,
    Entries,
    EntriesBySide,
    EntrySelection,
    HourFigures,
    KeyField,
    SummedRows,
)
from flowpeer.routing.rib.match import RouteTable
from flowpeer_core.native import table as native
from flowpeer_core.slots import HOUR_SLOTS, SLOT_US

U32 = npt.NDArray[np.uint32]
_SIGNED, _HALVES = ("bytes", "packets", "records"), ("low", "low_upper", "high", "high_upper")
KEPT = pa.schema(
    [
        ("key", pa.uint64()),
        *((n, pa.int64()) for n in _SIGNED),
        *((n, pa.uint64()) for n in _HALVES),
    ]
)
"""Sums by key by route, with the slot from `native.SLOT_BIT` on."""
FIRST_BITS = 10
HELD_OCTETS = 1 << 29
"""Of the sums of one thread, at most."""
ENTRY_OCTETS = ENTRIES.itemsize + 26
"""With its places: of these, 5 in 16 are taken at least."""
_TOTALS = (
    "flow_bytes", "flow_bytes_unscaled", "through_bytes", "through_bytes_unscaled",
    "discarded_inbound_bytes", "records", "implausible_records",
)  # fmt: skip
"""Fields of `HourFigures` in the order of the header's totals."""
_READ = {
    "start": "start_time", "end": "end_time", "bytes": "bytes", "packets": "packets",
    "shortest": "min_length", "longest": "max_length", "src": "src_addr", "dst": "dst_addr",
}  # fmt: skip
assert (HOUR_SLOTS, SLOT_US) == (native.PARTS, native.SLOT_US)


class _Kept:
    """Structures for C, and the arrays that they point into."""

    def __init__(self) -> None:
        self._arrays: list[Any] = []

    def at(self, array: Any, dtype: Any) -> int:
        """Address of an array's octets."""
        found = np.ascontiguousarray(array, dtype)
        self._arrays.append(found)
        return found.ctypes.data

    def input(self, name: str, column: pa.Array | int) -> native.CInput:
        """A column as C reads it."""
        null = NULLS.get(name, 0)
        if isinstance(column, int):
            return native.CInput(None, None, 0, column, 0)
        if isinstance(column, pa.DictionaryArray):
            column = column.indices
        if column.null_count == len(column):
            return native.CInput(None, None, 0, null, 0)
        width = column.type.bit_width // 8
        if width not in (4, 8, 16):
            column, width = column.cast(pa.int64()), 8
        self._arrays.append(column)
        valid, values = column.buffers()
        return native.CInput(
            values.address, valid.address if column.null_count else None, column.offset, null, width
        )

    def routes(self, table: RouteTable) -> native.CRoutes:
        """A compiled table as C reads it."""
        four, six = table.four, table.six
        arrays = (
            (four.start, np.uint32), (four.owner, np.int32), (four.by_block, np.int32),
            (six.hi, np.uint64), (six.last, np.int32), (six.cut, np.bool_), (six.first, np.int64),
            (six.by_block, np.int32), (six.lo, np.uint64), (six.owner, np.int32),
        )  # fmt: skip
        return native.CRoutes(
            *(self.at(array, dtype) for array, dtype in arrays),
            len(four.start), len(six.hi), len(six.lo), len(table.prefixes),
            33 - len(four.by_block).bit_length(), 65 - len(six.by_block).bit_length(),
        )  # fmt: skip


class CompiledSums:
    """`Sums` by the compiled core; one for each thread.

    Args:
        by_route: the sums of slots are kept by route, and there are no others: `kept` gives them,
            and `add_kept` adds them to those of an hour.
    """

    def __init__(
        self, library: ctypes.CDLL, codes: Codes, hour: datetime, folder: Path,
        held: int = HELD_OCTETS, *, by_route: bool = False,
    ) -> None:  # fmt: skip
        self._library, self._codes, self._folder = library, codes, folder
        self._kept = _Kept()
        self._most = max(min(held, HELD_OCTETS) // ENTRY_OCTETS, native.LEAST_ROOM)
        self._entries = np.empty(0, ENTRIES)
        self._tables = (native.CTable * native.TABLES)()
        self._places: list[U64] = [np.zeros(0, np.uint64)] * native.TABLES
        self._spilled: list[list[Path]] = [[] for _ in range(native.TABLES)]
        self._rooms = _Rooms()
        self._seed = int.from_bytes(os.urandom(8))
        members = codes.context.neighbours
        self._members = None if members is None else self._kept.routes(members)
        self._state = self._made(hour)
        self._state.by_route = by_route
        self._incomplete = False
        self.combined: set[tuple[Any, ...]] = set()
        """What decided M1 and M2 of the records so far, by `COMBINED`, where they are kept."""

    def _made(self, hour: datetime) -> native.CSumState:
        """The state of all calls, without the columns of a batch."""
        codes, kept = self._codes, self._kept
        views = (native.CView * len(codes.views))(
            *(
                native.CView(
                    kept.routes(view.table), view.offset, kept.at(view.networks, np.uint64),
                )
                for view in codes.views
            )
        )  # fmt: skip
        self._views = views
        return native.CSumState(
            views=addressof(views),
            view_count=len(views),
            known=kept.at(np.zeros(native.KNOWN, native.CKnown), native.CKnown),
            own=kept.routes(codes.own.table),
            own_networks=kept.at(codes.own.networks, np.uint64),
            special_networks=SPECIAL_NETWORKS,
            network_bits=NETWORK_BITS,
            route_bits=codes.route_bits,
            local_bits=codes.local_bits,
            tables=addressof(self._tables),
            seed=self._seed,
            begin_us=int(hour.timestamp()) * 1_000_000,
            most_us=slots.MAX_DURATION_US,
            most_scaled=slots.MAX_SCALED_BYTES,
            most_variance=slots.MAX_VARIANCE,
            smallest_packet=slots.SMALLEST_PACKET,
            longest_packet=slots.LONGEST_PACKET,
        )

    def add(self, batch: FlowBatch) -> HourFigures:
        """See `Sums`."""
        self._run(batch, None)
        halves = list(self._state.totals)
        return HourFigures(
            **{name: halves[2 * n] + (halves[2 * n + 1] << 64) for n, name in enumerate(_TOTALS)}
        )

    def each(self, batch: FlowBatch) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """See `Sums`."""
        out = np.empty(batch.rows, RECORDS)
        numbers, kinds = self._run(batch, out)
        return out, kinds[numbers]

    def _run(
        self, batch: FlowBatch, each: npt.NDArray[Any] | None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
        """Work on all records of a batch; see `_kinds`."""
        kept, state = _Kept(), self._state
        columns = {
            **batch.columns, **members_of(self._codes.context, batch.columns),
            "neighbour": self._neighbours(batch),
        }  # fmt: skip
        numbers, kinds = self._kinds(batch, columns)
        for member, name in _READ.items():
            setattr(state, member, kept.input(name, columns[name]))
        state.numbers, state.kinds = numbers.ctypes.data, kinds.ctypes.data
        state.each = None if each is None else each.ctypes.data
        state.kind_count, state.rows, state.next = len(kinds), batch.rows, 0
        ctypes.memset(state.totals, 0, ctypes.sizeof(state.totals))
        while True:
            _checked(self._library.flowpeer_sum(addressof(state)))
            if state.full < 0:
                break
            self._make_room(state.full)
        return numbers, kinds

    def _kinds(
        self, batch: FlowBatch, columns: dict[str, pa.Array | int]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
        """For each record the number of what decides M1 and M2, and what they say by number."""
        kept, rows = _Kept(), batch.rows
        inputs = (native.CInput * len(COMBINED))(*(kept.input(n, columns[n]) for n in COMBINED))
        places = np.empty(1 << (2 * rows - 1).bit_length(), np.uint32)
        numbers, firsts = np.empty(rows, np.int32), np.empty(rows, np.int64)
        found = _checked(
            self._library.flowpeer_combine(
                addressof(inputs), len(inputs), rows, self._seed, places.ctypes.data,
                len(places) - 1, numbers.ctypes.data, firsts.ctypes.data,
            )
        )  # fmt: skip
        at = pa.array(firsts[:found])
        values: list[list[Any]] = []
        for name in COMBINED:
            column, null = columns[name], NULLS.get(name, 0)
            some = [column] * found if isinstance(column, int) else column.take(at).to_pylist()
            values.append([null if v is None else v for v in some])
        distinct = list(zip(*values, strict=True))
        if self._state.by_route:
            self.combined.update(distinct)
        return numbers, self._codes.kinds(batch.file, distinct)

    def _neighbours(self, batch: FlowBatch) -> pa.Array | int:
        """Numbers of the exchange ports that are the records' next hops (M1); −1 for none."""
        if self._members is None:
            return -1
        kept = _Kept()
        hops = [kept.input(n, batch.columns[n]) for n in ("bgp_next_hop", "next_hop")]
        if not any(hop.width for hop in hops):
            return -1
        found = np.empty(batch.rows, np.int32)
        _checked(
            self._library.flowpeer_match(
                addressof(self._members), *map(ctypes.addressof, hops), batch.rows,
                found.ctypes.data,
            )
        )  # fmt: skip
        return pa.array(found)

    @property
    def used(self) -> int:
        """Sums that are held in memory."""
        return int(self._state.used)

    def clear(self) -> None:
        """Forget all records whose sums would be `kept`."""
        self._empty()
        self._incomplete = False
        self.combined.clear()

    def kept(self) -> pa.RecordBatch | None:
        """The sums by slot and route, as `KEPT`; None where there are more than fit."""
        entries, incomplete = self._entries[: self.used], self._incomplete
        bits = self._codes.route_bits + self._codes.local_bits + 1
        incomplete |= len(self._codes.sides) << bits > 1 << native.SLOT_BIT
        if incomplete:
            return None
        columns = [entries[name] for name in ("key", "bytes", "packets", "records")]
        columns += [entries[name][:, half] for name in ("low", "high") for half in (0, 1)]
        arrays = [pa.array(np.ascontiguousarray(column)) for column in columns]
        return pa.RecordBatch.from_arrays(arrays, schema=KEPT)

    def add_kept(self, rows: pa.RecordBatch, sides: Ints) -> None:
        """Add what `kept` gave, of the same routes. `sides`: by the numbers of sides in its keys,
        those of this hour.

        Raises:
            ValueError: keys of other routes or sides.
            OverflowError: a sum that cannot be traffic.
        """
        arrays = [column.to_numpy() for column in rows.columns]
        sides = np.ascontiguousarray(sides, np.int64)
        at = [array.ctypes.data for array in arrays]
        halves = ctypes.c_void_p * 2
        state = native.CKeptSums(
            *at[:4], halves(*at[4:6]), halves(*at[6:]), sides.ctypes.data, len(sides),
            rows.num_rows, 0,
        )  # fmt: skip
        while True:
            done = self._library.flowpeer_add_kept(addressof(self._state), addressof(state))
            if done == native.ARGUMENT:
                raise ValueError("sums of other routes")
            _checked(done)
            if self._state.full < 0:
                return
            self._make_room(self._state.full)

    def _make_room(self, n: int) -> None:
        """Let table `n` grow; where memory is at its end, all are emptied instead."""
        if n == native.TABLES and len(self._entries):
            if self._state.by_route:
                self._incomplete = True
                self._empty()
            else:
                self._spill()
            return
        if n == native.TABLES:
            self._entries = _aligned(self._most)
            self._state.entries, self._state.room = self._entries.ctypes.data, self._most
            return
        table = self._tables[n]
        larger = np.zeros(1 << max(table.bits + 1, FIRST_BITS), np.uint64)
        grown = native.CTable(larger.ctypes.data, len(larger).bit_length() - 1, 0)
        _checked(self._library.flowpeer_grow(addressof(table), addressof(grown)))
        self._places[n], self._tables[n] = larger, grown

    def _held(self, n: int) -> U32:
        """Numbers of the entries in a table, in the order in which they lie."""
        table, used = self._tables[n], self._state.used
        numbers, bits = np.empty(table.used, np.uint32), np.zeros(used // 64 + 1, np.uint64)
        _checked(
            self._library.flowpeer_held(
                addressof(table), used, bits.ctypes.data, numbers.ctypes.data
            )
        )
        return numbers

    def _held_routes(self, used: Bools) -> EntriesBySide:
        """What is in the table by route; see `Sums.routes`."""
        held, codes = EntrySelection(self._entries, self._held(HOUR_SLOTS)), self._codes
        numbers, bounds = np.empty(held.size, np.uint32), np.empty(len(codes.sides) + 1, np.int64)
        side, route = (
            native.CField(*codes.route_fields[name], 0, None, count)
            for name, count in (("side", len(codes.sides)), ("route", codes.routes))
        )
        _checked(
            self._library.flowpeer_split(
                *_selected(held), addressof(side), bounds.ctypes.data,
                addressof(route), used.ctypes.data, numbers.ctypes.data,
            )
        )  # fmt: skip
        return EntriesBySide(self._entries, bounds, numbers)

    def _spill(self) -> None:
        for n, paths in enumerate(self._spilled):
            numbers: U32 | None
            if n < HOUR_SLOTS:
                numbers = self._held(n)
            else:
                numbers = self._held_routes(np.empty(self._codes.routes, bool)).numbers
            if numbers is not None and len(numbers):
                path = self._folder / f"{os.getpid()}-{id(self)}-{n}-{len(paths)}"
                paths.append(path)
                self._entries[numbers].tofile(path)
        self._empty()

    def _empty(self) -> None:
        for places, table in zip(self._places, self._tables, strict=True):
            places[:] = table.used = 0
        self._state.used = 0

    def slot(self, n: int) -> list[EntrySelection]:
        """See `Sums`."""
        waiting = (np.fromfile(path, ENTRIES) for path in self._spilled[n])
        return [*map(EntrySelection, waiting), EntrySelection(self._entries, self._held(n))]

    def routes(self, used: Bools) -> list[EntriesBySide]:
        """See `Sums`."""
        waiting = (np.memmap(path, ENTRIES, "r") for path in self._spilled[HOUR_SLOTS])
        return [*(self._codes.by_side(w, used) for w in waiting), self._held_routes(used)]

    def ordered(
        self,
        sums: Sequence[EntrySelection],
        fields: Sequence[KeyField],
        change: Callable[[U64], U64] | None = None,
    ) -> _Ordered:
        """See `Sums`."""
        count, at, kept = sum(some.size for some in sums), 0, _Kept()
        pairs, other = self._rooms.take(count), self._rooms.take(count)
        parts = (native.CField * len(fields))()
        for part, (begin, bits, to, ranks) in zip(parts, fields, strict=True):
            part.begin, part.bits, part.to = begin, bits, to
            if ranks is not None:
                part.ranks, part.count = kept.at(ranks, np.int64), len(ranks)
        for some in sums:
            at += _checked(
                self._library.flowpeer_pairs(
                    *_selected(some), addressof(parts), len(parts),
                    pairs[at:].ctypes.data, count - at,
                )
            )  # fmt: skip
        if change is not None:
            pairs[:at, 0] = change(pairs[:at, 0])
        if _checked(self._library.flowpeer_order(pairs.ctypes.data, other.ctypes.data, at)):
            pairs, other = other, pairs
        self._rooms.give(other)
        return _Ordered(self._library, sums, pairs[:at], partial(self._rooms.give, pairs))

    def discard(self) -> None:
        """See `Sums`."""
        for path in (path for paths in self._spilled for path in paths):
            path.unlink(missing_ok=True)


class _Rooms:
    """Memory for pairs, which is used again: new memory costs as much as all that is done in it."""

    def __init__(self) -> None:
        self._free: dict[int, list[U64]] = {}

    def take(self, pairs: int) -> U64:
        """Room for so many."""
        size = 1 << pairs.bit_length()
        try:
            return self._free.setdefault(size, []).pop()
        except IndexError:
            return np.empty((size, 2), np.uint64)

    def give(self, room: U64) -> None:
        """Take back what nobody uses any more."""
        self._free.setdefault(len(room), []).append(room)


class _Ordered:
    """See `OrderedSums`. `pairs` are of `sums`; `end` is called when all were taken."""

    def __init__(
        self, library: ctypes.CDLL, sums: Sequence[EntrySelection], pairs: U64,
        end: Callable[[], None],
    ) -> None:  # fmt: skip
        self._library, self._sums, self._pairs, self._end = library, sums, pairs, end
        self._next = ctypes.c_int64()

    def take(self, room: SummedRows, at: int) -> int:
        """See `OrderedSums`."""
        count = len(self._pairs)
        if self._next.value == count:
            self._end()
            return 0
        return _checked(
            self._library.flowpeer_summed(
                self._pairs.ctypes.data, count, addressof(self._next), len(room.key) - at,
                *(column[at:].ctypes.data for column in room),
            )
        )  # fmt: skip


def _selected(some: EntrySelection) -> tuple[int, int, int | None, int]:
    """Selected entries as C takes them."""
    entries, numbers = some
    at = None if numbers is None else numbers.ctypes.data
    return entries.ctypes.data, len(entries), at, some.size


def _aligned(count: int) -> Entries:
    """Room for entries that each lie in one line of the cache; what is not used is not there."""
    octets = np.empty(count * ENTRIES.itemsize + 64, np.uint8)
    begin = -octets.ctypes.data % 64
    return octets[begin : begin + count * ENTRIES.itemsize].view(ENTRIES)


def _checked(result: int) -> int:
    """The result of a call. Raises for its codes."""
    if result == native.OVERFLOW:
        raise OverflowError("sums of one hour that cannot be traffic")
    if result == native.VALUE:
        raise ValueError(
            "a record's times are out of order or too far apart to be spread, or its counters are "
            "below zero"
        )
    if result < 0:
        raise RuntimeError(f"the compiled core refuses its arguments ({result}): a defect")
    return result
