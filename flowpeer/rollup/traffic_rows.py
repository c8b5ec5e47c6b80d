"""The sums of an hour → `traffic` and `traffic_routes`.

Keys are packed again, from ranks in the order in which the rows are to stand, so that one sort of
integers orders a table, and texts come in at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer import schema
from flowpeer.rollup.codes import (
    LOWEST,
    NETWORK_BITS,
    Codes,
)
from flowpeer.rollup.folding import ASN_BITS, among
from flowpeer.rollup.reading import U64, Bools, Ints
from flowpeer.rollup.sums import (
    KeyField,
    OrderedSums,
    SummedRows,
    exact,
)
from flowpeer_core.columns import TableColumn, arrow_schema
from flowpeer_core.native.parquet import MOST_ROWS, ROW_GROUP_ROWS
from flowpeer_core.native.rows import INPUT, Rows

if TYPE_CHECKING:
    import polars as pl

_FAMILIES = np.array([4, 6, 0, 0], np.int32)
_SIDE_COLUMNS = {
    "metro": pa.string(), "exporter": pa.string(), "interface": pa.int64(), "role": pa.string(),
    "provider_asn": pa.int64(), "direction": pa.string(),
}  # fmt: skip


def _coded(columns: tuple[TableColumn, ...]) -> pa.Schema:
    """The schema of a table with its texts as indices into dictionaries."""
    coded = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        f.with_type(coded) if pa.types.is_string(f.type) else f for f in arrow_schema(columns)
    )


_TRAFFIC, _ROUTES = _coded(schema.TRAFFIC), _coded(schema.TRAFFIC_ROUTES)


class Made(NamedTuple):
    """Rows of a table, and the scaled ones' bytes."""

    rows: Rows
    scaled_bytes: int


@dataclass(frozen=True)
class _Ranked:
    """Rows in the order in which they sort, and the rank of each number."""

    rows: pa.Table
    rank: Ints
    bits: int

    def column(self, name: str) -> pa.Array:
        """A column of the rows, which is made once."""
        if name not in self._columns:
            self._columns[name] = self.rows[name].combine_chunks()
        return self._columns[name]

    _columns: dict[str, pa.Array] = field(default_factory=dict)


def _ranked(table: pa.Table) -> _Ranked:
    keys = [(name, "ascending") for name in table.column_names]
    order = pc.sort_indices(table, keys)  # nulls at the end
    rows = table.take(order)
    # Rows that are alike share a rank: what has no route is so in IPv4 and in IPv6.
    first = np.ones(len(rows), bool)
    first[1:] = False
    for column in rows.columns:
        after, before = column[1:], column[: max(0, len(rows) - 1)]
        valid = np.asarray(column.is_valid())
        first[1:] |= np.asarray(pc.not_equal(after, before).fill_null(False))
        first[1:] |= valid[1:] != valid[:-1]
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order.to_numpy()] = np.cumsum(first) - 1
    rows = rows.filter(pa.array(first))
    return _Ranked(rows, rank, max(1, len(rows).bit_length()))


class Tables:
    """Makes both tables of one hour from its sums, once all records were added."""

    def __init__(self, codes: Codes) -> None:
        self._codes = codes
        self._groups = {_TRAFFIC: _RowGroup(), _ROUTES: _RowGroup()}
        sides = [
            {"metro": s.metro, "exporter": s.exporter, "interface": s.interface, "role": s.role,
             "provider_asn": neighbour or s.provider_asn, "direction": s.direction}
            for s, neighbour in codes.sides
        ]  # fmt: skip
        self._sides = _ranked(pa.Table.from_pylist(sides, pa.schema([*_SIDE_COLUMNS.items()])))
        numbers = [name for name, type_ in _SIDE_COLUMNS.items() if type_ == pa.int64()]
        self._numbers = {
            name: (column.fill_null(0).to_numpy(), np.asarray(column.is_valid()))
            for name, column in ((name, self._sides.column(name)) for name in numbers)
        }
        metros = self._sides.column("metro").to_pylist()
        number = {metro: n for n, metro in enumerate(sorted(set(metros)))}
        self._metro = np.array([number[metro] for metro in metros], np.int64)
        own = pa.concat_arrays([pa.nulls(1, pa.string()), codes.own.table.prefixes])
        self._own = _ranked(pa.table({"local_prefix": own}))

    # ---- traffic

    @property
    def sides(self) -> Ints:
        """By number, the places of sides in the order of the rows."""
        return self._sides.rank

    def networks(self, ranks: Ints) -> list[KeyField]:
        """Keys by network of sums by slot and route, whose sides have these ranks."""
        fields = self._codes.route_fields
        return [
            KeyField(*fields["scaled"], 0),
            KeyField(*fields["route"], 0, self._codes.networks),
            KeyField(*fields["side"], NETWORK_BITS, ranks),
        ]

    def _foldable(self, key: U64) -> Ints:
        """Numbers of the networks that may be folded, as `Tail` has them; −1 for other rows."""
        values = key.view(np.int64)
        asn = _remote_asn(values)
        metro = self._metro[values >> NETWORK_BITS]
        return np.where((asn > 0) & (values & 1 == 1), metro << ASN_BITS | asn, -1)

    def totals(self, rows: SummedRows) -> pl.DataFrame:
        """Bytes of the networks that may be folded: network, bytes."""
        import polars as pl

        frame = pl.DataFrame({"network": self._foldable(rows.key), "bytes": rows.bytes})
        return frame.filter(pl.col("network") >= 0)

    def folded(self, key: U64, tail: Ints) -> U64:
        """Keys of `networks`, those of the tail under one code."""
        asn = key & np.uint64(((1 << ASN_BITS) - 1) << 1)
        return np.where(among(self._foldable(key), tail), key - asn, key)

    def traffic(self, begin: Ints, rows: SummedRows) -> Made:
        """Rows with the begin of each one's slot, as `networks` sorts them."""
        key = rows.key.view(np.int64)
        made = self._made(_TRAFFIC, rows, key >> NETWORK_BITS)
        made.put("slot", begin[:1] if begin[0] == begin[-1] else begin)
        family = _FAMILIES[key >> (ASN_BITS + 1) & 3]
        made.put("family", family, family > 0)
        made.put("remote_asn", _remote_asn(key))
        return made.done(rows, key & 1 == 1)

    # ---- traffic_routes

    def prefixes(self, used: Bools) -> _Ranked:
        """The routes of the codes that are used, ranked; `rank` goes by code."""
        codes = np.flatnonzero(used)
        texts, origins = self._codes.about(codes)
        found = _ranked(pa.table({"prefix": texts, "origin_asn": origins}))
        rank = np.zeros(self._codes.routes, dtype=np.int64)
        rank[codes] = found.rank
        return _Ranked(found.rows, rank, found.bits)

    def routes(self, prefixes: _Ranked, ranks: Ints) -> list[KeyField]:
        """Keys by side, scaled, prefix and local prefix of sums by slot and route, whose sides have
        these ranks."""
        fields, scaled = self._codes.route_fields, self._own.bits + prefixes.bits
        return [
            KeyField(*fields["local"], 0, self._own.rank),
            KeyField(*fields["route"], self._own.bits, prefixes.rank),
            KeyField(*fields["scaled"], scaled),
            KeyField(*fields["side"], scaled + 1, ranks),
        ]

    def traffic_routes(self, begin: Ints, rows: SummedRows, prefixes: _Ranked, tail: Ints) -> Made:
        """Rows by prefix with the begin of the hour, as `routes` sorts them; `tail`: the networks
        that were folded."""
        key = rows.key.view(np.int64)
        local = key & ((1 << self._own.bits) - 1)
        key = key >> self._own.bits
        place = key & ((1 << prefixes.bits) - 1)
        key = key >> prefixes.bits
        scaled = key & 1 == 1
        origin = prefixes.column("origin_asn").to_numpy()[place]
        made = self._made(_ROUTES, rows, key >> 1)
        made.put("hour_start", begin[:1])
        made.put_text("prefix", prefixes, place)
        made.put("origin_asn", origin)
        made.put_text("local_prefix", self._own, local)
        if tail.size:
            network = self._metro[key >> 1] << ASN_BITS | np.maximum(origin, 0)
            made.put("folded", among(network, tail) & scaled)
        else:
            made.put("folded", np.zeros(1, bool))
        return made.done(rows, scaled)

    def _made(self, schema_: pa.Schema, rows: SummedRows, side: Ints) -> _Making:
        if self._groups[schema_].rows >= ROW_GROUP_ROWS:
            self._groups[schema_] = _RowGroup()
        self._groups[schema_].rows += rows.key.size
        made = _Making(schema_, self._groups[schema_])
        first = np.append(0, np.flatnonzero(side[1:] != side[:-1]) + 1)  # rows are sorted by side
        sides, times = side[first], np.diff(first, append=side.size)
        for name, type_ in _SIDE_COLUMNS.items():
            if type_ == pa.string():
                made.put_text(name, self._sides, sides, times)
            else:
                values, valid = self._numbers[name]
                made.put(name, values[sides], valid[sides], times)
        return made


class _Texts:
    """Texts as indices into a dictionary, which grows as they are met."""

    def __init__(self, texts: pa.Array) -> None:
        self._all = texts
        self._there = np.asarray(texts.is_valid())
        self._index = np.full(len(texts), -1, np.int32)
        self._index[~self._there] = 0
        self._dictionary = texts[:0]

    def indices(self, numbers: Ints) -> tuple[npt.NDArray[np.int32], Bools, pa.Array]:
        """Indices of the texts with some numbers, which of them are not null, and the
        dictionary."""
        found = self._index[numbers]
        unknown = numbers[found < 0]
        if unknown.size:
            place = np.arange(len(unknown), dtype=np.int32)
            self._index[unknown[::-1]] = place[::-1]  # of each, the last one counts
            new = unknown[self._index[unknown] == place]
            self._index[new] = np.arange(len(new)) + len(self._dictionary)
            more = self._all.take(pa.array(new))
            self._dictionary = pa.concat_arrays([self._dictionary, more])
            found = self._index[numbers]
        return found, self._there[numbers], self._dictionary


@dataclass
class _RowGroup:
    """A row group in the making: its rows so far, and its dictionaries."""

    rows: int = 0
    texts: dict[str, _Texts] = field(default_factory=dict)


class _Making:
    """Columns of rows, put one after the other."""

    def __init__(self, schema_: pa.Schema, group: _RowGroup) -> None:
        self._schema, self._group = schema_, group
        self._columns = np.zeros(len(schema_), INPUT)
        self._kept: list[Any] = []
        self._dictionaries: dict[str, pa.Array] = {}

    def put(
        self,
        name: str,
        values: npt.NDArray[Any],
        valid: Bools | None = None,
        times: Ints | None = None,
    ) -> None:
        """The values of a column, which of them are not null, and how often each stands there: a
        single one in all rows."""
        column = self._columns[self._schema.get_field_index(name)]
        column["width"], column["same"] = values.itemsize, values.size == 1
        if valid is not None and valid.all():
            valid = None
        elif valid is not None and values.size == 1:
            return  # no values: all are null
        for part, array in (("values", values), ("valid", valid)):
            if array is None:
                continue
            octets = array if times is None or array.size == 1 else np.repeat(array, times)
            if octets.dtype == bool:
                octets = np.packbits(octets, bitorder="little")
            column[part] = octets.ctypes.data
            self._kept.append(octets)

    def put_text(self, name: str, of: _Ranked, numbers: Ints, times: Ints | None = None) -> None:
        """A column of the texts in some rows of another one, each so many times."""
        if name not in self._group.texts:
            self._group.texts[name] = _Texts(of.column(name))
        indices, valid, self._dictionaries[name] = self._group.texts[name].indices(numbers)
        self.put(name, indices, valid, times)

    def done(self, rows: SummedRows, scaled: Bools) -> Made:
        """With their sums, all columns."""
        all_scaled = bool(scaled.all())
        self.put("scaled", scaled[:1] if all_scaled else scaled)
        for name in ("bytes", "packets", "records"):
            self.put(name, getattr(rows, name))
        self.put("variance_low", rows.low)
        self.put("variance_high", rows.high)
        sums = {name: exact(getattr(rows, name)) for name in ("bytes", "packets", "records")}
        made = Rows(
            self._schema, rows.key.size, self._columns, self._dictionaries, sums, 0,
            tuple(self._kept),
        )  # fmt: skip
        return Made(made, sums["bytes"] if all_scaled else exact(rows.bytes[scaled]))


def pages(pieces: Iterable[tuple[int, OrderedSums]]) -> Iterator[tuple[Ints, SummedRows]]:
    """Rows of pieces, each with what stands before its piece, `MOST_ROWS` at a time: each time
    becomes a page of the file, which must not depend on how the work was shared out. They lie in
    the same memory each time."""
    begin, room = np.empty(MOST_ROWS, np.int64), SummedRows.room(MOST_ROWS)
    used = 0
    for since, rows in pieces:
        while made := rows.take(room, used):
            begin[used : used + made] = since
            used += made
            if used == MOST_ROWS:
                yield begin, room
                used = 0
    if used:
        yield begin[:used], SummedRows._make(column[:used] for column in room)


def _remote_asn(key: Ints) -> Ints:
    return (key >> 1 & ((1 << ASN_BITS) - 1)) + LOWEST
