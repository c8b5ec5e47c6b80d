"""Flow records that can be summed: one row a record, crossing and hour, scaled, with its route.

What `traffic` sums is here row by row, made by the same functions: M1 says which crossing counts,
M2 scales, M3 says how much of the record lies in the hour, M4 finds the route. So sums over these
rows by port, host or DSCP add up to `traffic`, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer import schema
from flowpeer.rollup import packed_key
from flowpeer.rollup.aggregate import hour_parts
from flowpeer.rollup.packed_key import Attributed, Codes, Context, Keys
from flowpeer.rollup.reading import SERVICES, Addresses, Bools, Records, Task, read
from flowpeer.rollup.slots import Ints
from flowpeer_core.asns import NO_ADDRESS, OWN, PRIVATE, UNROUTED, is_public
from flowpeer_core.columns import arrow_schema
from flowpeer_core.slots import SLOT_SECONDS

PIECE_ROWS = 1 << 17
SCHEMA = arrow_schema(schema.CROSSINGS)


def crossings(tasks: Iterable[Task], hour: datetime, context: Context) -> Iterator[pa.Table]:
    """Rows of an hour, with the columns of `schema.CROSSINGS`, in no order.

    Raises:
        OSError: a flow file that cannot be read, or whose octets are not those written.
    """
    codes = Codes(context)
    exchanges = context.neighbours is not None
    for task in tasks:
        for records in read(task, hour, context.moments, next_hops=exchanges, also=SERVICES):
            combo, distinct = packed_key.combinations(records)
            known = packed_key.attribute(records.file, distinct, context, codes)
            for at in range(0, records.rows, PIECE_ROWS):
                piece = slice(at, at + PIECE_ROWS)
                yield from _piece(records.slice(piece), combo[piece], known, hour, context, codes)


def _piece(
    records: Records, combo: Any, known: Attributed, hour: datetime, context: Context, codes: Codes
) -> Iterator[pa.Table]:
    rate = known.rate[combo]
    divisor = None if known.divisor is None else known.divisor[combo]
    pieces, scaled = hour_parts(records, rate, divisor, int(hour.timestamp()) // SLOT_SECONDS)
    octets, packets, counts = (np.zeros(records.rows, dtype=np.int64) for _ in range(3))
    inside = np.zeros(records.rows, dtype=bool)
    every = np.arange(records.rows)
    for parts in pieces:
        at = every[parts.record]
        inside[at] = True
        np.add.at(octets, at, parts.bytes)
        np.add.at(packets, at, parts.packets)
        np.add.at(counts, at, parts.records)
    effective = rate / (1 if divisor is None else divisor)
    maker = Keys(records, combo, known, context, codes)
    for k in (0, 1):
        at = np.flatnonzero(inside & (known.side[k] >= 0)[combo])
        if not at.size:
            continue
        given = {
            "hour_start": pa.repeat(pa.scalar(int(hour.timestamp()) * 1_000_000), at.size),
            "start_time": pa.array(records.start[at]),
            "end_time": pa.array(records.end[at]),
            "exporter_ip": pa.array(records.exporters, pa.string()).take(
                pa.array(records.exporter[at])
            ),
            "rate": pa.array(effective[at], mask=rate[at] <= 0),
            "scaled": pa.array(scaled[at]),
            "bytes": pa.array(octets[at]),
            "packets": pa.array(packets[at]),
            "records": pa.array(counts[at]),
            **_ends(records, known.source[k][combo[at]], at),
            **_about(maker.of_crossing(k, at).view(np.int64), context, codes),
        }
        columns = [given[field.name].cast(field.type) for field in SCHEMA]
        yield pa.Table.from_arrays(columns, schema=SCHEMA)


def _about(key: Ints, context: Context, codes: Codes) -> dict[str, Any]:
    """Side, route and local prefix of some keys (`packed_key`)."""
    key = key >> packed_key.SLOT_BITS
    local = key & ((1 << codes.local_bits) - 1)
    key = key >> codes.local_bits
    route = key & ((1 << codes.route_bits) - 1)
    where = pa.array(key >> codes.route_bits)
    sides = list(codes.sides)
    columns = {
        name: pa.array([getattr(side, name) for side, _ in sides]).take(where)
        for name in ("metro", "exporter", "interface", "role", "direction")
    }
    neighbours = [neighbour or side.provider_asn for side, neighbour in sides]
    columns["provider_asn"] = pa.array(neighbours, pa.int64()).take(where)
    used, at = np.unique(route, return_inverse=True)
    special = np.array([UNROUTED, UNROUTED, NO_ADDRESS])
    origin = np.concatenate((special, *codes.origins))[used]
    origin[origin == context.own_asn] = OWN
    remote = np.where((origin >= 0) & ~is_public(origin), PRIVATE, origin)
    texts = pa.chunked_array([pa.nulls(packed_key.SPECIAL, pa.string()), *codes.texts], pa.string())
    prefix = texts.take(pa.array(used)).combine_chunks()
    six = np.asarray(pc.fill_null(pc.match_substring(prefix, ":"), False))
    family = np.where(six | (used == packed_key.NO_ROUTE_6), 6, 4)
    own = pa.chunked_array([pa.nulls(1, pa.string()), context.own.prefixes], pa.string())
    return {
        **columns,
        "prefix": prefix.take(pa.array(at)),
        "origin_asn": pa.array(origin[at]),
        "remote_asn": pa.array(remote[at]),
        "family": pa.array(family[at], mask=(used == packed_key.NO_ADDRESS)[at]),
        "local_prefix": own.combine_chunks().take(pa.array(local)),
    }


def _ends(records: Records, source: Bools, at: Any) -> dict[str, Any]:
    """Addresses and ports by end, and what else says of what service a record is."""
    src, dst = (records.addresses[name].take(at) for name in ("src_addr", "dst_addr"))
    said = {name: records.integers(name)[at] for name in SERVICES}
    remote_port = np.where(source, said["src_port"], said["dst_port"])
    local_port = np.where(source, said["dst_port"], said["src_port"])
    tos = said["tos"]
    return {
        "remote_addr": _octets(src, dst, source),
        "local_addr": _octets(dst, src, source),
        "remote_port": _known(remote_port),
        "local_port": _known(local_port),
        "dscp": pa.array(tos >> 2, mask=tos < 0),
        **{name: _known(said[name]) for name in ("protocol", "tos", "tcp_flags")},
    }


def _known(values: Ints) -> pa.Array:
    return pa.array(values, mask=values < 0)


def _octets(one: Addresses, other: Addresses, first: Bools) -> pa.Array:
    """16 octets each: of `one` where `first`, else of `other`."""
    halves = np.empty((first.size, 2), dtype=">u8")
    halves[:, 0] = np.where(first, one.hi, other.hi)
    halves[:, 1] = np.where(first, one.lo, other.lo)
    held = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), first.size, [None, pa.py_buffer(halves.tobytes())]
    )
    absent = [np.zeros(first.size, bool) if a.present is None else ~a.present for a in (one, other)]
    missing = np.where(first, absent[0], absent[1])
    return pc.if_else(pa.array(missing), pa.scalar(None, pa.binary(16)), held)
