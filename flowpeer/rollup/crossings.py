"""Flow records that can be summed: one row a record, crossing and hour, scaled, with its route.

What `traffic` sums is here row by row, made by the same functions: M1 says which crossing counts,
M2 scales, M3 says how much of the record lies in the hour, M4 finds the route. So sums over these
rows by port, host or DSCP add up to `traffic`, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer import schema
from flowpeer.rollup.aggregate import sums_of
from flowpeer.rollup.codes import Codes, HourContext
from flowpeer.rollup.reading import ADDRESSES, MACS, SERVICES, U64, FlowBatch, Ints, Task, read
from flowpeer_core.asns import PRIVATE, is_public
from flowpeer_core.columns import arrow_schema

SCHEMA = arrow_schema(schema.CROSSINGS)


def crossings(
    tasks: Iterable[Task], hour: datetime, context: HourContext, duplicates: Mapping[str, Ints]
) -> Iterator[pa.Table]:
    """Rows of an hour, with the columns of `schema.CROSSINGS`, in no order.

    duplicates: rows that count elsewhere (`reading.read`), which are left out.

    Raises:
        OSError: a flow file that cannot be read, or whose octets are not those written.
    """
    codes = Codes(context)
    sums = sums_of(codes, hour)
    exchanges = context.neighbours is not None
    also = SERVICES if context.macs is None else (*SERVICES, *MACS)
    for task in tasks:
        for batch in read(
            task, hour, context.moments, next_hops=exchanges, also=also, duplicates=duplicates
        ):
            if batch.duplicate:
                continue
            records, kinds = sums.each(batch)
            for k in (0, 1):
                at = np.flatnonzero(records["crossings"] > k)
                if at.size:
                    yield _rows(batch, at, records[at], kinds[at], k, hour, codes)


def _rows(
    batch: FlowBatch, at: Ints, records: npt.NDArray[Any], kinds: npt.NDArray[Any], k: int,
    hour: datetime, codes: Codes,
) -> pa.Table:  # fmt: skip
    """Crossing `k` of the records at some places of a batch."""

    def of(name: str) -> pa.Array:
        column = batch.columns[name]
        if not isinstance(column, int):
            found = column.take(pa.array(at))
            return found.dictionary_decode() if name == "exporter_ip" else found
        if name in ADDRESSES:
            return pa.nulls(at.size, pa.binary(16))
        return pa.array(np.full(at.size, column), mask=np.full(at.size, column < 0))

    rate = kinds["rate"]
    source = pa.array(kinds["source"][:, k].astype(bool))
    src, dst, src_port, dst_port, tos = map(
        of, ("src_addr", "dst_addr", "src_port", "dst_port", "tos")
    )
    given = {
        "hour_start": pa.repeat(pa.scalar(int(hour.timestamp()) * 1_000_000), at.size),
        **{name: of(name) for name in ("start_time", "end_time", "exporter_ip")},
        "rate": pa.array(rate / kinds["divisor"], mask=rate <= 0),
        **{name: pa.array(records[name]) for name in ("bytes", "packets", "records")},
        "remote_addr": pc.if_else(source, src, dst),
        "local_addr": pc.if_else(source, dst, src),
        "remote_port": pc.if_else(source, src_port, dst_port),
        "local_port": pc.if_else(source, dst_port, src_port),
        "dscp": pc.shift_right(tos, pa.scalar(2, tos.type)),
        "tos": tos,
        **{name: of(name) for name in ("protocol", "tcp_flags")},
        **_about(records["route"][:, k].copy(), codes),
    }
    columns = [given[field.name].cast(field.type) for field in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _about(key: U64, codes: Codes) -> dict[str, Any]:
    """Side, route, local prefix and scaled of keys by route."""
    side, route, local, scaled = (
        codes.route_part(name, key) for name in ("side", "route", "local", "scaled")
    )
    where = pa.array(side)
    sides = list(codes.sides)
    columns = {
        name: pa.array([getattr(side, name) for side, _ in sides]).take(where)
        for name in ("metro", "exporter", "interface", "role", "direction")
    }
    neighbours = [neighbour or side.provider_asn for side, neighbour in sides]
    columns["provider_asn"] = pa.array(neighbours, pa.int64()).take(where)
    used, at = np.unique(route, return_inverse=True)
    prefix, origin = codes.about(used)
    remote = np.where((origin >= 0) & ~is_public(origin), PRIVATE, origin)
    six = np.asarray(pc.fill_null(pc.match_substring(prefix, ":"), False))
    family = np.where(six | (used == 1), 6, 4)  # codes 0 to 2: no route (IPv4, IPv6), no address
    own = pa.chunked_array([pa.nulls(1, pa.string()), codes.own.table.prefixes], pa.string())
    return {
        **columns,
        "scaled": pa.array(scaled.astype(bool)),
        "prefix": prefix.take(pa.array(at)),
        "origin_asn": pa.array(origin[at]),
        "remote_asn": pa.array(remote[at]),
        "family": pa.array(family[at], mask=(used == 2)[at]),
        "local_prefix": own.combine_chunks().take(pa.array(local)),
    }
