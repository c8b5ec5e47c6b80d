"""Sums of records in plain Python: the reference of the compiled path, and what is used without it.

One record after the other, in dictionaries: slow, and in memory only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowpeer.rollup import slots
from flowpeer.rollup.codes import (
    COMBINED,
    KINDS,
    SPECIAL,
    Codes,
    members_of,
)
from flowpeer.rollup.reading import NULLS, U64, FlowBatch
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

_Sums = dict[int, list[int]]
"""key → bytes, packets, records, variances."""
_MAPPED = b"\0" * 10 + b"\xff\xff"
_NO_HOP = (b"\0" * 16, _MAPPED + b"\0" * 4)
"""Both say that there is none."""


class PlainSums:
    """`Sums` in plain Python."""

    def __init__(self, codes: Codes, hour: datetime) -> None:
        self._codes = codes
        self._first_slot = int(hour.timestamp()) * 1_000_000 // SLOT_US
        self._sums: list[_Sums] = [{} for _ in range(HOUR_SLOTS)]

    def add(self, batch: FlowBatch) -> HourFigures:
        """See `Sums`."""
        figures = HourFigures()
        for _, kind, parts, keys in self._worked(batch):
            scaled = bool(keys[0] & 1)
            for part, low, high in parts:
                sums = (part.bytes, part.packets, part.records, low, high)
                for key in keys:
                    _sum(self._sums[part.slot - self._first_slot], key, sums)
                _count(figures, kind, part, scaled, through=len(keys) > 1)
        return figures

    def each(self, batch: FlowBatch) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """See `Sums`."""
        out, kinds = np.zeros(batch.rows, RECORDS), np.zeros(batch.rows, KINDS)
        for row, kind, parts, keys in self._worked(batch):
            kinds[row] = kind
            if not parts:
                continue
            out[row]["crossings"] = len(keys)
            for name in ("bytes", "packets", "records"):
                out[row][name] = sum(getattr(part, name) for part, _, _ in parts)
            for k, key in enumerate(keys):
                out[row]["route"][k] = key
        return out, kinds

    def _worked(
        self, batch: FlowBatch
    ) -> Iterator[tuple[int, Any, list[tuple[slots.SlotPart, int, int]], list[int]]]:
        """Number, kind, parts in the hour with their variances, and keys by route, of each record
        that may lie in the hour."""
        columns = {name: _values(name, c, batch.rows) for name, c in batch.columns.items()}
        columns["neighbour"] = self._neighbours(columns, batch.rows)
        for name, found in members_of(self._codes.context, batch.columns).items():
            columns[name] = _values(name, found, batch.rows)
        combined = list(zip(*(columns[name] for name in COMBINED), strict=True))
        distinct = {values: n for n, values in enumerate(dict.fromkeys(combined))}
        kinds = self._codes.kinds(batch.file, list(distinct))
        begin, end = (s * SLOT_US for s in (self._first_slot, self._first_slot + HOUR_SLOTS))
        for row in range(batch.rows):
            one = {name: column[row] for name, column in columns.items()}
            if one["start_time"] < end and one["end_time"] >= begin:
                kind = kinds[distinct[combined[row]]]
                yield row, kind, *self._record(one, kind)

    def _record(
        self, row: dict[str, Any], kind: Any
    ) -> tuple[list[tuple[slots.SlotPart, int, int]], list[int]]:
        octets, packets = row["bytes"], row["packets"]
        if octets < 0 or packets < 0:
            raise ValueError("a record's bytes or packets are below zero")
        rate, divisor = int(kind["rate"]), int(kind["divisor"])
        whole_bytes, whole_packets, scaled = slots.scale(octets, packets, rate, divisor)
        low = high = 0
        if scaled:
            low, high = slots.size_variance(
                octets, packets, rate / divisor, row["min_length"], row["max_length"],
                int(kind["largest"]),
            )  # fmt: skip
        spread = slots.spread(row["start_time"], row["end_time"], whole_bytes, whole_packets)
        parts = [
            (part, round(low * part.fraction), round(high * part.fraction))
            for part in spread
            if 0 <= part.slot - self._first_slot < HOUR_SLOTS
        ]
        return parts, [self._key(row, kind, k, scaled) for k in (0, 1) if kind["side"][k] >= 0]

    def _key(self, row: dict[str, Any], kind: Any, k: int, scaled: bool) -> int:
        """Key by route of a crossing."""
        codes = self._codes
        ends = row["src_addr"], row["dst_addr"]
        remote, local = ends if kind["source"][k] else ends[::-1]
        view = codes.views[kind["view"][k]]
        if remote is None:
            code = 2
        elif (own := _match(codes.own.table, remote)) >= 0:
            code = SPECIAL + own
        elif (found := _match(view.table, remote)) >= 0:
            code = view.offset + found
        else:
            code = int(not remote.startswith(_MAPPED))
        near = 1 + _match(codes.own.table, local) if local is not None else 0
        side = int(kind["side"][k])
        return ((side << codes.route_bits | code) << codes.local_bits | near) << 1 | scaled

    def _neighbours(self, columns: dict[str, list[Any]], rows: int) -> list[int]:
        members = self._codes.context.neighbours
        if members is None:
            return [-1] * rows
        hops = (
            other if hop is None or hop in _NO_HOP else hop
            for hop, other in zip(columns["bgp_next_hop"], columns["next_hop"], strict=True)
        )  # fmt: skip
        return [-1 if hop is None else _match(members, hop) for hop in hops]

    def kept(self) -> SortedSums:
        """See `Sums`."""
        order = self._codes.in_order()
        rank = {number: n for n, number in enumerate(order)}
        begin, _ = self._codes.route_fields["side"]
        return SortedSums(
            _entries(
                sorted(
                    (
                        n << native.SLOT_BIT | rank[key >> begin] << begin | key & (1 << begin) - 1,
                        of,
                    )
                    for n, sums in enumerate(self._sums)
                    for key, of in sums.items()
                )
            ),
            order,
        )


class PlainOrdering:
    """`Ordering` in plain Python."""

    def ordered(
        self, parts: Sequence[KeyedSums], change: Callable[[U64], U64] | None = None
    ) -> _Ordered:
        """See `Ordering`."""
        found: _Sums = {}
        for entries, fields in parts:
            keys = _new_keys(entries["key"], fields)
            keys = keys if change is None else change(keys)
            for key, entry in zip(keys.tolist(), entries, strict=True):
                low, high = (int(e[0]) + (int(e[1]) << 64) for e in (entry["low"], entry["high"]))
                more = (*(int(entry[name]) for name in ("bytes", "packets", "records")), low, high)
                _sum(found, key, more)
        return _Ordered([(key, *values) for key, values in sorted(found.items())])


class _Ordered:
    """See `OrderedSums`."""

    def __init__(self, rows: list[tuple[int, ...]]) -> None:
        self._rows, self._next = rows, 0

    def take(self, room: SummedRows, at: int) -> int:
        """See `OrderedSums`."""
        rows = self._rows[self._next :][: len(room.key) - at]
        self._next += len(rows)
        for into, values in zip(room, zip(*rows, strict=True), strict=False):
            into[at : at + len(rows)] = values
        return len(rows)


def _new_keys(keys: U64, fields: Sequence[KeyField]) -> U64:
    made = np.zeros_like(keys)
    for field in fields:
        values = keys >> np.uint64(field.begin) & np.uint64((1 << field.bits) - 1)
        if field.ranks is not None:
            values = field.ranks[values].view(np.uint64)
        made |= values << np.uint64(field.to)
    return made


def _values(name: str, column: pa.Array | int, rows: int) -> list[Any]:
    if name.endswith(("_addr", "_hop")):
        return [None] * rows if isinstance(column, int) else column.to_pylist()
    if isinstance(column, int):
        return [column] * rows
    if name == "exporter_ip":
        texts: list[Any] = column.to_pylist()
        return texts
    null = NULLS.get(name, 0)
    return [null if v is None else v for v in column.cast(pa.int64()).to_pylist()]


def _match(table: RouteTable, address: bytes) -> int:
    halves = (np.array([int.from_bytes(half)], np.uint64) for half in (address[:8], address[8:]))
    return int(table.match(*halves)[0])


def _sum(into: _Sums, key: int, sums: Iterable[int]) -> None:
    into[key] = found = [a + b for a, b in zip(into.get(key, [0] * 5), sums, strict=True)]
    if max(found[:3]) >= 1 << 63:
        raise OverflowError("sums of one hour that cannot be traffic")


def _count(
    figures: HourFigures, kind: Any, part: slots.SlotPart, scaled: bool, *, through: bool
) -> None:
    figures.records += part.records
    if scaled:
        figures.flow_bytes += part.bytes
        figures.through_bytes += through * part.bytes
        figures.discarded_inbound_bytes += bool(kind["discarded"]) * part.bytes
    else:
        figures.flow_bytes_unscaled += part.bytes
        figures.through_bytes_unscaled += through * part.bytes
        figures.implausible_records += int(kind["rate"] > 0) * part.records


def _entries(items: Iterable[tuple[int, list[int]]]) -> Entries:
    half = (1 << 64) - 1
    return np.array(
        [
            (key, octets, packets, records, (low & half, low >> 64), (high & half, high >> 64))
            for key, (octets, packets, records, low, high) in items
        ],
        ENTRIES,
    )
