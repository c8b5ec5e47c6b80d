"""The sums of an hour → `traffic` and `traffic_routes`.

Keys are packed again, from ranks in the order in which the rows are to stand, so that one sort of
integers orders a table, and texts come in at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer import schema
from flowpeer.rollup.codes import (
    LOWEST,
    NETWORK_BITS,
    Codes,
)
from flowpeer.rollup.folding import ASN_BITS, among
from flowpeer.rollup.reading import U64, Ints
from flowpeer.rollup.sums import Selection, SummedRows
from flowpeer_core.columns import TableColumn, arrow_schema
from flowpeer_core.slots import SLOT_SECONDS

GROUP_ROWS = 1 << 20
"""Sums by route that are made rows at once."""
_FAMILIES = pa.array([4, 6, None], pa.int32())
_SIDE_COLUMNS = {
    "metro": pl.String, "exporter": pl.String, "interface": pl.Int64, "role": pl.String,
    "provider_asn": pl.Int64, "direction": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class _Ranked:
    """Rows in the order in which they sort, and the rank of each number."""

    rows: pl.DataFrame
    rank: Ints
    bits: int


def _ranked(frame: pl.DataFrame) -> _Ranked:
    order = frame.with_row_index("_n").sort(frame.columns, nulls_last=True)
    # Rows that are alike share a rank: what has no route is so in IPv4 and in IPv6.
    columns = map(pl.col, frame.columns)
    changes = pl.any_horizontal(c.ne_missing(c.shift()) for c in columns)
    first = order.select(changes | (pl.int_range(pl.len()) == 0)).to_series()
    rank = np.empty(frame.height, dtype=np.int64)
    rank[order["_n"].to_numpy()] = first.cum_sum().to_numpy().astype(np.int64) - 1
    rows = order.filter(first).drop("_n")
    return _Ranked(rows, rank, max(1, rows.height.bit_length()))


class Tables:
    """Makes both tables of one hour from its sums, once all records were added."""

    def __init__(self, hour: datetime, codes: Codes) -> None:
        self._begin_s = int(hour.timestamp())
        self._codes = codes
        self._sides = _ranked(
            pl.DataFrame(
                [
                    {"metro": s.metro, "exporter": s.exporter, "interface": s.interface,
                     "role": s.role, "provider_asn": neighbour or s.provider_asn,
                     "direction": s.direction}
                    for s, neighbour in codes.sides
                ],
                schema=_SIDE_COLUMNS,
            )
        )  # fmt: skip
        self._metro = self._sides.rows["metro"].rank("dense").to_numpy().astype(np.int64) - 1
        own = pa.chunked_array([pa.nulls(1, pa.string()), codes.own.table.prefixes], pa.string())
        self._own = _ranked(pl.DataFrame({"local_prefix": pl.Series(own)}))

    # ---- traffic

    def networks(self, key: U64) -> U64:
        """Keys by network with ranks of their sides."""
        rest = key & np.uint64((1 << NETWORK_BITS) - 1)
        side = (key >> np.uint64(NETWORK_BITS)).view(np.int64)
        return self._sides.rank[side].view(np.uint64) << np.uint64(NETWORK_BITS) | rest

    def _foldable(self, key: U64) -> Ints:
        """Numbers of the networks that may be folded, as `Tail` has them; −1 for other rows."""
        values = key.view(np.int64)
        asn = _remote_asn(values)
        metro = self._metro[values >> NETWORK_BITS]
        return np.where((asn > 0) & (values & 1 == 1), metro << ASN_BITS | asn, -1)

    def totals(self, rows: SummedRows) -> pl.DataFrame:
        """Bytes of each network that may be folded: network, bytes."""
        frame = pl.DataFrame({"network": self._foldable(rows.key), "bytes": rows.bytes})
        found = frame.filter(pl.col("network") >= 0)
        return found.group_by("network").agg(pl.col("bytes").sum())

    def folded(self, key: U64, tail: Ints) -> U64:
        """Keys of `networks`, those of the tail under one code."""
        asn = key & np.uint64(((1 << ASN_BITS) - 1) << 1)
        return np.where(among(self._foldable(key), tail), key - asn, key)

    def traffic(self, slot: int, rows: SummedRows) -> pa.Table:
        """Rows of one slot, sorted by what `networks` gives."""
        key = rows.key.view(np.int64)
        begin = pa.scalar((self._begin_s + slot * SLOT_SECONDS) * 1_000_000, pa.int64())
        return self._table(
            schema.TRAFFIC,
            rows,
            key >> NETWORK_BITS,
            {
                "slot": pa.repeat(begin, len(key)),
                "family": _FAMILIES.take(pa.array(key >> (ASN_BITS + 1) & 3)),
                "remote_asn": pa.array(_remote_asn(key)),
                "scaled": pa.array((key & 1).astype(bool)),
            },
        )

    # ---- traffic_routes

    def by_route(self, sums: Sequence[Selection]) -> Iterator[tuple[list[Selection], _Ranked]]:
        """Sums by route of some sides at a time, in the order in which sides sort, and the prefixes
        of all. Each of `sums` is sorted by its sides."""
        codes = self._codes
        shift = np.uint64(codes.route_bits + codes.local_bits + 1)
        numbers = np.arange(len(codes.sides) + 1, dtype=np.uint64)
        rows = np.zeros(self._sides.rows.height, np.int64)
        used = np.zeros(codes.routes, dtype=bool)
        bounds = []
        for some in sums:
            key = some.keys()
            used[self._codes.unpacked(key)[1]] = True
            bounds.append(np.searchsorted(key >> shift, numbers))
            np.add.at(rows, self._sides.rank, np.diff(bounds[-1]))
        prefixes = self._prefixes(np.flatnonzero(used))
        order = np.argsort(self._sides.rank, kind="stable")
        group = (np.cumsum(rows) - rows) // GROUP_ROWS
        for n in np.unique(group):
            sides = order[group[self._sides.rank[order]] == n]
            parts = [
                some.part(bound[side], bound[side + 1])
                for some, bound in zip(sums, bounds, strict=True)
                for side in sides
            ]
            yield parts, prefixes

    def _prefixes(self, used: Ints) -> _Ranked:
        """The routes of some codes, ranked; `rank` goes by code."""
        texts, origins = self._codes.about(used)
        found = _ranked(pl.DataFrame({"prefix": pl.Series(texts), "origin_asn": origins}))
        rank = np.zeros(self._codes.routes, dtype=np.int64)
        rank[used] = found.rank
        return _Ranked(found.rows, rank, found.bits)

    def routes(self, key: U64, prefixes: _Ranked) -> U64:
        """Keys by route with ranks: side, scaled, prefix, local prefix."""
        side, route, local, scaled = self._codes.unpacked(key)
        packed = self._sides.rank[side] << 1 | scaled
        packed = packed << prefixes.bits | prefixes.rank[route]
        packed = packed << self._own.bits | self._own.rank[local]
        return packed.view(np.uint64)

    def traffic_routes(self, rows: SummedRows, prefixes: _Ranked, tail: Ints) -> pa.Table:
        """Rows by prefix, sorted by what `routes` gives; `tail` are the networks that were
        folded."""
        key = rows.key.view(np.int64)
        local = key & ((1 << self._own.bits) - 1)
        key = key >> self._own.bits
        place = key & ((1 << prefixes.bits) - 1)
        key = key >> prefixes.bits
        scaled = (key & 1).astype(bool)
        origin = prefixes.rows["origin_asn"].to_numpy()[place]
        network = self._metro[key >> 1] << ASN_BITS | np.maximum(origin, 0)
        hour = pa.scalar(self._begin_s * 1_000_000, pa.int64())
        return self._table(
            schema.TRAFFIC_ROUTES,
            rows,
            key >> 1,
            {
                "hour_start": pa.repeat(hour, len(key)),
                "scaled": pa.array(scaled),
                "prefix": _texts(prefixes.rows["prefix"]).take(pa.array(place)),
                "origin_asn": pa.array(origin),
                "local_prefix": _texts(self._own.rows["local_prefix"]).take(pa.array(local)),
                "folded": pa.array(among(network, tail) & scaled),
            },
        )

    def _table(
        self, columns: tuple[TableColumn, ...], rows: SummedRows, side: Ints, given: dict[str, Any]
    ) -> pa.Table:
        target = arrow_schema(columns)
        made: list[Any] = []
        where = pa.array(side)
        for field in target:
            if field.name in given:
                column = given[field.name]
            elif field.name in _SIDE_COLUMNS:
                column = self._sides.rows[field.name].to_arrow().cast(field.type).take(where)
            else:
                column = pa.array(getattr(rows, field.name.removeprefix("variance_")))
            made.append(column.cast(field.type))
        return pa.Table.from_arrays(made, schema=target)


def _texts(column: pl.Series) -> pa.Array:
    return column.to_arrow().cast(pa.string())


def _remote_asn(key: Ints) -> Ints:
    return (key >> 1 & ((1 << ASN_BITS) - 1)) + LOWEST
