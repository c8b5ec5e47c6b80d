"""Sums of records by the compiled core (flowpeer_core/native/src/rollup.c): the Python face.

A hash table sums records by slot and route; what does not fit into it waits elsewhere. Such sums
are put into the order of other keys by a radix sort of pairs, a new key and where its sum lies.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from ctypes import addressof
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowpeer.rollup import slots
from flowpeer.rollup.codes import COMBINED, KINDS, KINDS_KEPT, Codes, members_of
from flowpeer.rollup.reading import NULLS, U64, FlowBatch, Ints
from flowpeer.rollup.sums import (
    ENTRIES,
    RECORDS,
    Entries,
    HourFigures,
    KeyedSums,
    KeyField,
    SortedSums,
    SummedRows,
)
from flowpeer.routing.rib.match import RouteTable
from flowpeer_core.native import table as native
from flowpeer_core.slots import HOUR_SLOTS, SLOT_US

U32 = npt.NDArray[np.uint32]
FIRST_BITS = 12
HELD_OCTETS = 1 << 27
"""Memory for the sums of one flow file: of one with more of them, none are kept."""
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
_SEED = int.from_bytes(os.urandom(8))
"""Of hashes, so that nobody can choose keys that fall together."""
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


class _Table:
    """A hash table of sums that grows."""

    def __init__(self, library: ctypes.CDLL, state: native.CSums, octets: int) -> None:
        self._library, self._state = library, state
        self._most = max(octets // ENTRY_OCTETS, native.LEAST_ROOM)
        self._entries = np.empty(0, ENTRIES)
        self._places: U64 = np.zeros(0, np.uint64)
        state.seed = _SEED

    @property
    def used(self) -> Entries:
        """The sums."""
        return self._entries[: self._state.used]

    def grow(self) -> bool:
        """Make the room that is wanted; False: memory is at its end."""
        state = self._state
        if state.wants == native.WANTS_PLACES:
            bits = max(state.bits + 1, FIRST_BITS)
            larger = np.zeros(1 << bits, np.uint64)
            _checked(self._library.flowpeer_grow(addressof(state), larger.ctypes.data, bits))
            self._places = larger
        elif state.room:
            return False
        else:
            self._entries = _aligned(self._most)
            state.entries, state.room = self._entries.ctypes.data, self._most
        return True

    def clear(self) -> None:
        """Forget all of them; the memory is used again."""
        self._places[:] = 0
        self._state.used = 0


class CompiledSums:
    """`Sums` by the compiled core; one for each thread.

    Args:
        held: octets of memory at most.
        waiting: is given the sums where they do not fit any more, and they are forgotten; without
            it they are not `kept` then.
    """

    def __init__(
        self, library: ctypes.CDLL, codes: Codes, hour: datetime, held: int,
        waiting: Callable[[SortedSums], None] | None = None,
    ) -> None:  # fmt: skip
        self._library, self._codes, self._waiting = library, codes, waiting
        self._kept = _Kept()
        members = codes.context.neighbours
        self._members = None if members is None else self._kept.routes(members)
        self._state = self._made(hour)
        self._table = _Table(library, self._state.sums, held)
        self._ordering = CompiledOrdering(library)
        self._sorted = np.empty(0, ENTRIES)
        self._incomplete = False
        self._combinations = _Combinations(codes)
        self._met: set[int] = set()
        self._room: dict[str, npt.NDArray[Any]] = {}

    def _made(self, hour: datetime) -> native.CSumState:
        """The state of all calls, without the columns of a batch."""
        codes, kept = self._codes, self._kept
        views = (native.CView * len(codes.views))(
            *(
                native.CView(kept.routes(view.table), view.offset, kept.at(view.near, np.bool_))
                for view in codes.views
            )
        )
        self._views = views
        return native.CSumState(
            views=addressof(views),
            view_count=len(views),
            known=kept.at(np.zeros(native.KNOWN, native.CKnown), native.CKnown),
            own=kept.routes(codes.own.table),
            route_bits=codes.route_bits,
            local_bits=codes.local_bits,
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
            if state.sums.wants == native.WANTS_NOTHING:
                break
            if not self._table.grow():
                self._put_aside()
        return numbers, kinds

    def _kinds(
        self, batch: FlowBatch, columns: dict[str, pa.Array | int]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
        """For each record the number of what decides M1 and M2, and what they say by number."""
        kept, rows = _Kept(), batch.rows
        inputs = (native.CInput * len(COMBINED))(*(kept.input(n, columns[n]) for n in COMBINED))
        places = self._buffer("places", 1 << (2 * rows - 1).bit_length(), np.uint32)
        numbers = self._buffer("numbers", rows, np.int32)
        firsts = self._buffer("firsts", rows, np.int64)
        values = self._buffer("values", rows * len(COMBINED), np.int64)
        found = _checked(
            self._library.flowpeer_combine(
                addressof(inputs), len(inputs), rows, _SEED, places.ctypes.data, len(places) - 1,
                numbers.ctypes.data, firsts.ctypes.data, values.ctypes.data,
            )
        )  # fmt: skip
        if self._waiting is not None:
            self._combinations.bound()
        met, kinds = self._combinations.kinds(
            batch.file, values[: found * len(COMBINED)].reshape(found, -1), columns["exporter_ip"]
        )
        if self._waiting is None:
            self._met.update(met)
        return numbers, kinds

    def _buffer(self, name: str, count: int, dtype: Any) -> npt.NDArray[Any]:
        """Memory for a batch, which is used again."""
        if name not in self._room or len(self._room[name]) < count:
            self._room[name] = np.empty(count, dtype)
        return self._room[name][:count]

    @property
    def combined(self) -> list[tuple[Any, ...]]:
        """What decided M1 and M2 of the records so far, by `COMBINED`: without `waiting`."""
        return [self._combinations.values[n] for n in self._met]

    @property
    def combinations(self) -> int:
        """How many they are."""
        return len(self._met)

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

    def _put_aside(self) -> None:
        if self._waiting is None:
            self._incomplete = True
        else:
            self._waiting(self._in_order())
        self._table.clear()

    def clear(self) -> None:
        """Forget all records."""
        self._table.clear()
        self._incomplete = False
        self._met.clear()
        self._combinations.bound()

    def kept(self) -> SortedSums | None:
        """See `Sums`."""
        return None if self._incomplete else self._in_order()

    def _in_order(self) -> SortedSums:
        entries, fields = self._table.used, self._codes.route_fields
        order = self._codes.in_order()
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        (begin, bits), above = fields["side"], native.SLOT_BIT
        keys = [KeyField(0, begin, 0), KeyField(begin, bits, begin, rank),
                KeyField(above, 64 - above, above)]  # fmt: skip
        if len(self._sorted) < len(entries):
            self._sorted = np.empty(len(entries) * 5 // 4, ENTRIES)
        found = self._sorted[: len(entries)]
        self._ordering.sort(KeyedSums(entries, keys), found)
        return SortedSums(found, order)


class _Combinations:
    """What decides M1 and M2 of records (`COMBINED`), by number, and what they say of it: kept,
    since few batches have a new one."""

    def __init__(self, codes: Codes) -> None:
        self._codes = codes
        self._forget("")

    def _forget(self, received: str) -> None:
        self._received = received
        self._exporters: dict[str, int] = {}
        self._numbers: dict[bytes, int] = {}
        self._kinds = np.empty(0, KINDS)
        self.values: list[tuple[Any, ...]] = []

    def bound(self) -> None:
        """Forget all where they are many. Their numbers are none then."""
        if len(self.values) > KINDS_KEPT:
            self._forget(self._received)

    def kinds(
        self, file: str, values: Ints, exporters: pa.DictionaryArray
    ) -> tuple[list[int], npt.NDArray[Any]]:
        """The numbers of some, and what M1 and M2 say of each.

        values: one row each, with indices of `exporters` in the first column.
        """
        received = file.rpartition("/")[0]  # M1 goes by its day, and M2 by its hour
        if received != self._received:
            self._forget(received)
        texts = exporters.dictionary.to_pylist()
        known = [self._exporters.setdefault(text, len(self._exporters)) for text in texts]
        values[:, 0] = np.array(known)[values[:, 0]]
        keys = values.view(np.dtype((np.void, values.itemsize * values.shape[1])))[:, 0].tolist()
        new = [n for n, key in enumerate(keys) if key not in self._numbers]
        if new:
            text_of = [*self._exporters]
            rows = [(text_of[first], *rest) for first, *rest in values[new].tolist()]
            self._kinds = np.append(self._kinds, self._codes.kinds(file, rows))
            self._numbers |= {keys[n]: len(self.values) + at for at, n in enumerate(new)}
            self.values += rows
        numbers = [self._numbers[key] for key in keys]
        return numbers, self._kinds[numbers]


class CompiledOrdering:
    """`Ordering` by the compiled core."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library, self._rooms = library, _Rooms()

    def ordered(
        self, parts: Sequence[KeyedSums], change: Callable[[U64], U64] | None = None
    ) -> _Ordered:
        """See `Ordering`."""
        pairs = self._pairs(parts, change)
        return _Ordered(self._library, parts, pairs, partial(self._rooms.give, pairs))

    def sort(self, sums: KeyedSums, into: Entries) -> None:
        """Put sums, under their new keys, into as many entries."""
        pairs = self._pairs([sums], None)
        at = pairs.ctypes.data, len(sums.entries), into.ctypes.data
        _checked(self._library.flowpeer_entries(*at))
        self._rooms.give(pairs)

    def _pairs(self, parts: Sequence[KeyedSums], change: Callable[[U64], U64] | None) -> U64:
        """New keys, and where the sums are, in the order of these keys, in a room that is to be
        given back."""
        count, at, kept = sum(len(part.entries) for part in parts), 0, _Kept()
        pairs, other = self._rooms.take(count), self._rooms.take(count)
        for entries, fields in parts:
            chosen = (native.CField * len(fields))()
            for field, (begin, bits, to, ranks) in zip(chosen, fields, strict=True):
                field.begin, field.bits, field.to = begin, bits, to
                if ranks is not None:
                    field.ranks, field.count = kept.at(ranks, np.int64), len(ranks)
            at += _checked(
                self._library.flowpeer_pairs(
                    entries.ctypes.data, len(entries), addressof(chosen), len(chosen),
                    pairs[at:].ctypes.data,
                )
            )  # fmt: skip
        if change is not None:
            pairs[:at, 0] = change(pairs[:at, 0])
        if _checked(self._library.flowpeer_order(pairs.ctypes.data, other.ctypes.data, at)):
            pairs, other = other, pairs
        self._rooms.give(other)
        return pairs


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
    """See `OrderedSums`. `pairs` are of `parts`; `end` is called when all were taken."""

    def __init__(
        self, library: ctypes.CDLL, parts: Sequence[KeyedSums], pairs: U64,
        end: Callable[[], None],
    ) -> None:  # fmt: skip
        self._library, self._parts, self._pairs, self._end = library, parts, pairs, end
        self._count = sum(len(part.entries) for part in parts)
        self._next = ctypes.c_int64()

    def take(self, room: SummedRows, at: int) -> int:
        """See `OrderedSums`."""
        count = self._count
        if self._next.value == count:
            self._end()
            return 0
        return _checked(
            self._library.flowpeer_summed(
                self._pairs.ctypes.data, count, addressof(self._next), len(room.key) - at,
                *(column[at:].ctypes.data for column in room),
            )
        )  # fmt: skip


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
