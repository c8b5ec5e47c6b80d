"""The sums of an hour → `traffic` and `traffic_routes`.

Keys are packed again, from ranks in the order in which the rows are to stand, so that one sort of
integers orders a table, and texts come in at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer import schema
from flowpeer.rollup import packed_key
from flowpeer.rollup.folding import ASN_BITS, among
from flowpeer.rollup.packed_key import Codes, Context
from flowpeer.rollup.reading import U64
from flowpeer.rollup.slots import Ints
from flowpeer.rollup.sums import HALF_BITS, fold
from flowpeer_core.asns import FOLDED, NO_ADDRESS, OWN, PRIVATE, UNROUTED, is_public
from flowpeer_core.columns import Column, arrow_schema
from flowpeer_core.slots import SLOT_SECONDS

_LOWEST = FOLDED
"""Added to ASNs and codes, so that the least of them is 0."""
_REMOTE_BITS = ASN_BITS + 3
"""Of a key below the side: family, remote ASN, and whether the bytes are scaled."""
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
    """Makes both tables of one hour from its sums, or from some of them."""

    def __init__(self, hour: datetime, context: Context, codes: Codes) -> None:
        self._hour = hour
        self._context = context
        self._codes = codes
        special = np.array([UNROUTED, UNROUTED, NO_ADDRESS])
        self._origins = np.concatenate((special, *codes.origins))
        self._texts = pa.chunked_array(
            [pa.nulls(packed_key.SPECIAL, pa.string()), *codes.texts], pa.string()
        )
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
        own = pa.chunked_array([pa.nulls(1, pa.string()), context.own.prefixes], pa.string())
        self._own = _ranked(pl.DataFrame({"local_prefix": pl.Series(own)}))

    def _unpacked(self, key: U64) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Rank of the side, route code, rank of the local prefix, slot and scaled of each key."""
        scaled = (key & np.uint64(1)).astype(np.int64)
        slot = (key >> np.uint64(1) & np.uint64(15)).astype(np.int64)
        rest = (key >> np.uint64(packed_key.SLOT_BITS)).view(np.int64)
        local = rest & ((1 << self._codes.local_bits) - 1)
        rest = rest >> self._codes.local_bits
        route = rest & ((1 << self._codes.route_bits) - 1)
        side = rest >> self._codes.route_bits
        return self._sides.rank[side], route, self._own.rank[local], slot, scaled

    def side_part(self, key: U64, parts: int) -> Any:
        """Which of `parts` ranges of the sides, as they sort, each key belongs to."""
        side = self._unpacked(key)[0]
        return (side * parts // max(1, self._sides.rows.height)).astype(np.uint8)

    def _origin(self, route: Ints) -> Ints:
        origin = self._origins[route]
        origin[origin == self._context.own_asn] = OWN
        return origin

    def by_network(self, sums: pl.DataFrame) -> pl.DataFrame:
        """Sums by slot, side, family, remote ASN and scaled, in that order; rows in no order."""
        side, route, _, slot, scaled = self._unpacked(sums["key"].to_numpy())
        used = np.zeros(self._codes.routes, dtype=bool)
        used[route] = True
        # Only the routes that occur are looked at: a full table has a million.
        at = np.flatnonzero(used)
        asn = self._origin(at)
        asn[(asn >= 0) & ~is_public(asn)] = PRIVATE
        prefix = self._texts.take(pa.array(at))
        six = pc.fill_null(pc.match_substring(prefix, ":"), False)
        family = np.asarray(six).astype(np.int64)
        family[at == packed_key.NO_ROUTE_6] = 1
        family[at == packed_key.NO_ADDRESS] = 2
        low = np.zeros(self._codes.routes, dtype=np.int64)
        low[at] = (family << ASN_BITS | (asn - _LOWEST)) << 1
        packed = slot << self._sides.bits | side
        packed = packed << _REMOTE_BITS | low[route] | scaled
        return _summed(packed, sums)

    def _network(self, key: Ints) -> Ints:
        """Numbers of the networks that may be folded, as `tail` has them; −1 for other rows."""
        asn = _remote_asn(key)
        metro = self._metro[key >> _REMOTE_BITS & ((1 << self._sides.bits) - 1)]
        return np.where((asn > 0) & (key & 1 == 1), metro << ASN_BITS | asn, -1)

    def totals(self, by_network: pl.DataFrame) -> pl.DataFrame:
        """Bytes of each network that may be folded: network, bytes."""
        network = pl.Series(self._network(by_network["key"].to_numpy().view(np.int64)))
        rows = by_network.select("bytes", network=network).filter(pl.col("network") >= 0)
        return rows.group_by("network").agg(pl.col("bytes").sum())

    def folded(self, by_network: pl.DataFrame, tail: Ints) -> pl.DataFrame:
        """The same sums with those of the networks of the tail under one code."""
        key = by_network["key"].to_numpy().view(np.int64)
        asn = key & (((1 << ASN_BITS) - 1) << 1)
        key = np.where(among(self._network(key), tail), key - asn, key)
        return _summed(key, by_network)

    def traffic(self, by_network: pl.DataFrame) -> pa.Table:
        """Rows by slot and remote ASN, sorted."""
        frame = by_network.sort("key")
        key = frame["key"].to_numpy().view(np.int64)
        side = (key >> _REMOTE_BITS) & ((1 << self._sides.bits) - 1)
        slot = key >> (_REMOTE_BITS + self._sides.bits)
        begin = int(self._hour.timestamp())
        return self._table(
            schema.TRAFFIC,
            frame,
            side,
            {
                "slot": pa.array((begin + slot * SLOT_SECONDS) * 1_000_000),
                "family": _FAMILIES.take(pa.array(key >> (ASN_BITS + 1) & 3)),
                "remote_asn": pa.array(_remote_asn(key)),
                "scaled": pa.array((key & 1).astype(bool)),
            },
        )

    def traffic_routes(self, sums: pl.DataFrame, tail: Ints) -> pa.Table:
        """Rows of the hour by prefix, sorted; `tail` are the networks that were folded."""
        side, route, local, _, scaled = self._unpacked(sums["key"].to_numpy())
        used = np.zeros(self._codes.routes, dtype=bool)
        used[route] = True
        at = np.flatnonzero(used)
        prefixes = _ranked(
            pl.DataFrame(
                {
                    "prefix": pl.Series(self._texts.take(pa.array(at))),
                    "origin_asn": self._origin(at),
                }
            )
        )
        rank = np.zeros(self._codes.routes, dtype=np.int64)
        rank[at] = prefixes.rank
        packed = side << 1 | scaled
        packed = packed << prefixes.bits | rank[route]
        packed = packed << self._own.bits | local
        frame = _summed(packed, sums).sort("key")
        key = frame["key"].to_numpy().view(np.int64)
        local = key & ((1 << self._own.bits) - 1)
        key = key >> self._own.bits
        place = key & ((1 << prefixes.bits) - 1)
        key = key >> prefixes.bits
        origin = prefixes.rows["origin_asn"].to_numpy()[place]
        network = self._metro[key >> 1] << ASN_BITS | np.maximum(origin, 0)
        hour = pa.scalar(int(self._hour.timestamp()) * 1_000_000, pa.int64())
        return self._table(
            schema.TRAFFIC_ROUTES,
            frame,
            key >> 1,
            {
                "hour_start": pa.repeat(hour, frame.height),
                "scaled": pa.array((key & 1).astype(bool)),
                "prefix": prefixes.rows["prefix"].to_arrow().cast(pa.string()).take(place),
                "origin_asn": pa.array(origin),
                "local_prefix": self._own.rows["local_prefix"].to_arrow().cast(pa.string())
                .take(local),
                "folded": pa.array(among(network, tail) & (key & 1 == 1)),
            },
        )  # fmt: skip

    def _table(
        self,
        columns: tuple[Column, ...],
        frame: pl.DataFrame,
        side: Ints,
        given: dict[str, Any],
    ) -> pa.Table:
        target = arrow_schema(columns)
        made: list[Any] = []
        where = pa.array(side)
        for field in target:
            if field.name in given:
                column = given[field.name]
            elif field.name in _SIDE_COLUMNS:
                column = self._sides.rows[field.name].to_arrow().cast(field.type).take(where)
            elif field.name.startswith("variance"):
                column = pa.array(_whole(frame, field.name.removeprefix("variance_")))
            else:
                column = frame[field.name].to_arrow()
            made.append(column.cast(field.type))
        return pa.Table.from_arrays(made, schema=target)


def _summed(packed: Ints, sums: pl.DataFrame) -> pl.DataFrame:
    return fold(sums.with_columns(key=pl.Series(packed).cast(pl.UInt64)))


def _remote_asn(key: Ints) -> Ints:
    return (key >> 1 & ((1 << ASN_BITS) - 1)) + _LOWEST


def _whole(frame: pl.DataFrame, name: str) -> Any:
    """The sum of a variance from the sums of its halves, whichever way it was halved."""
    hi, lo = frame[f"{name}_hi"].to_numpy(), frame[f"{name}_lo"].to_numpy()
    hi = hi + (lo >> HALF_BITS)
    lo = lo & ((1 << HALF_BITS) - 1)
    return hi.astype(np.float64) * float(1 << HALF_BITS) + lo.astype(np.float64)
