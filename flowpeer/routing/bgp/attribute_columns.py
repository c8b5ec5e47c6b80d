"""Many blocks of path attributes at once: what `attributes.AttributeParser` does, in columns.

The headers of all blocks are walked in step: one NumPy operation reads the n-th attribute of each.
Values become text in Arrow, each distinct one once. A block with anything out of the ordinary (a
set or a confederation in its path, a length that does not fit, very many attributes) is only
named: the parser of single blocks reads it, and is the definition of what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer.routing.bgp.attributes import (
    AS_PATH,
    COMMUNITIES,
    LARGE_COMMUNITIES,
    LOCAL_PREF,
    MED,
    MP_REACH,
    NEXT_HOP,
    ORIGIN,
    ORIGIN_CODES,
    OWN_ORIGIN,
    AttributesError,
)

MOST_ATTRIBUTES = 32
"""Real blocks have four to ten; each step costs as much for one block as for a thousand."""

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Octets = np.ndarray[Any, np.dtype[np.uint8]]
HopOf = Callable[[tuple[int, bytes]], str | None]

_CODES = (ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, COMMUNITIES, MP_REACH, LARGE_COMMUNITIES)
_SLOT = np.full(256, len(_CODES), dtype=np.int64)  # one slot more for what is not wanted
_SLOT[list(_CODES)] = np.arange(len(_CODES))


class Parsed(NamedTuple):
    """What was read of n blocks, in their order.

    Attributes:
        columns: the fields of `attributes.Route`, n long; worth nothing where `plain` is False.
        plain: which blocks were read.
        trimmable: which end in a whole MP_REACH_NLRI that has a next hop and a prefix.
    """

    columns: list[pa.Array]
    plain: Bools
    trimmable: Callable[[Ints], Bools]


class _Walked(NamedTuple):
    start: Ints  # by slot and block: where the value begins
    size: Ints  # its octets, −1 where the block has none
    plain: Bools
    last_code: Ints
    last_start: Ints


def parse_blocks(blocks: Sequence[bytes], hop_of: HopOf) -> Parsed:
    """The routes of blocks whose AS_PATH has ASNs of 4 octets.

    Args:
        hop_of: the next hop of an attribute's code and value; raises AttributesError.
    """
    sizes = np.fromiter(map(len, blocks), np.int64, len(blocks))
    data = np.frombuffer(b"".join(blocks) + bytes(4), dtype=np.uint8)  # room to read past the end
    ends = np.cumsum(sizes)
    walked = _walk(data, ends - sizes, ends)
    values = {code: (walked.start[slot], walked.size[slot]) for slot, code in enumerate(_CODES)}
    plain = walked.plain
    as_path, origin = _paths(data, *values[AS_PATH], plain)
    columns = [
        origin,
        as_path,
        _hops(data, values, plain, hop_of),
        _numbers(data, *values[MED], plain),
        _numbers(data, *values[LOCAL_PREF], plain),
        _all_communities(data, values, plain),
        _origin_codes(data, *values[ORIGIN]),
    ]

    def trimmable(nlri_sizes: Ints) -> Bools:
        # AFI, SAFI, length of the next hop, the next hop, a reserved octet (RFC 4760): where the
        # prefix begins, seen from the end, no other attribute can.
        start = walked.last_start
        room = ends - start - nlri_sizes
        whole = (walked.last_code == MP_REACH) & (room >= 5)
        start = np.where(whole, start, 0)
        hop_size = data[np.minimum(start + 3, len(data) - 1)].astype(np.int64)
        fits: Bools = whole & (data[start] == 0) & (room >= 5 + hop_size)
        return fits

    return Parsed(columns, plain, trimmable)


def _walk(data: Octets, at: Ints, ends: Ints) -> _Walked:
    """Where the first attribute of each wanted code stands in each block."""
    count = len(at)
    start = np.zeros((len(_CODES) + 1, count), dtype=np.int64)
    size = np.full((len(_CODES) + 1, count), -1, dtype=np.int64)
    flat_start, flat_size = start.reshape(-1), size.reshape(-1)
    plain = np.ones(count, dtype=bool)
    last_code, last_start = np.zeros((2, count), dtype=np.int64)
    live = np.flatnonzero(at < ends)
    at, end = at[live], ends[live]
    for _ in range(MOST_ATTRIBUTES):
        if not len(live):
            break
        extended = (data[at] & 0x10) != 0
        first = at + 3 + extended
        length = data[at + 2].astype(np.int64)
        length = np.where(extended, length << 8 | data[at + 3], length)
        after = first + length
        code = data[at + 1]
        fits = after <= end
        if not fits.all():
            plain[live[~fits]] = False
            live, first, length, after, code, end = (
                part[fits] for part in (live, first, length, after, code, end)
            )
        last_code[live], last_start[live] = code, first
        place = _SLOT[code] * count + live
        new = place[flat_size[place] < 0]
        fresh = flat_size[place] < 0
        flat_start[new], flat_size[new] = first[fresh], length[fresh]
        more = after < end
        live, at, end = live[more], after[more], end[more]
    plain[live] = False
    return _Walked(start, size, plain, last_code, last_start)


def _gather(data: Octets, start: Ints, size: Ints) -> pa.Array:
    """Values of different sizes as one binary array."""
    ends = np.cumsum(size)
    offsets = np.zeros(len(size) + 1, dtype=np.int32)
    offsets[1:] = ends
    index = np.arange(offsets[-1]) + np.repeat(start - (ends - size), size)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data[index])]
    return pa.Array.from_buffers(pa.binary(), len(size), buffers)


def _flat(values: pa.Array, dtype: str) -> tuple[Any, pa.Array]:
    """The octets of a binary array as numbers, and how many of them stand before each value."""
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[: len(values) + 1]
    octets = values.buffers()[2]
    numbers = np.frombuffer(octets if octets is not None else b"", dtype=np.uint8)[: offsets[-1]]
    width = np.dtype(dtype).itemsize
    return numbers.view(dtype), pa.array(offsets // width)


def _spread(texts: pa.Array, rows: Ints, encoded: pa.Array, count: int) -> pa.Array:
    """Texts of distinct values to the rows that have them; null elsewhere."""
    index = np.full(count, -1, dtype=np.int64)
    index[rows] = encoded.indices.to_numpy()
    return texts.take(pa.array(index, mask=index < 0))


def _paths(data: Octets, start: Ints, size: Ints, plain: Bools) -> tuple[pa.Array, pa.Array]:
    """Texts and origins of paths that are empty or one AS_SEQUENCE; the others are not plain."""
    empty = size <= 0
    asns = data[np.minimum(start + 1, len(data) - 1)].astype(np.int64)
    sequence = (size > 2) & (data[start] == 2) & (size == 2 + 4 * asns)
    plain &= empty | sequence
    rows = np.flatnonzero(plain & sequence)
    first = start[rows]
    encoded = _gather(data, first + 2, size[rows] - 2).dictionary_encode()
    numbers, offsets = _flat(encoded.dictionary, ">u4")
    numbers_as_text = pa.array(numbers.astype(np.uint32)).cast(pa.string())
    texts = pc.binary_join(pa.ListArray.from_arrays(offsets, numbers_as_text), " ")
    origin = np.full(len(start), OWN_ORIGIN, dtype=np.int64)
    origin[rows] = _quads(data, first + size[rows] - 4)
    spread = _spread(texts, rows, encoded, len(start))
    return pc.fill_null(spread, ""), pa.array(origin)


def _origin_codes(data: Octets, start: Ints, size: Ints) -> pa.Array:
    """Text of ORIGIN; null where it is absent or no known value."""
    code = data[np.minimum(start, len(data) - 1)]
    known = (size == 1) & (code < len(ORIGIN_CODES))
    return pa.array(ORIGIN_CODES).take(pa.array(code, mask=~known))


def _quads(data: Octets, start: Ints) -> Ints:
    """Numbers of 4 octets, big-endian."""
    octets = np.ascontiguousarray(data[start[:, None] + np.arange(4)])
    numbers: Ints = octets.reshape(-1).view(">u4").astype(np.int64)
    return numbers


def _numbers(data: Octets, start: Ints, size: Ints, plain: Bools) -> pa.Array:
    present = size >= 0
    plain &= ~present | (size == 4)
    values = np.zeros(len(start), dtype=np.int64)
    rows = np.flatnonzero(size == 4)
    values[rows] = _quads(data, start[rows])
    return pa.array(values, mask=~present)


def _hops(
    data: Octets,
    values: dict[int, tuple[Ints, Ints]],
    plain: Bools,
    hop_of: HopOf,
) -> pa.Array:
    """Next hops: few distinct ones, each read alone. MP_REACH_NLRI goes before NEXT_HOP."""
    start, size = values[MP_REACH]
    reach = size >= 0
    # A whole one ends in the prefix itself, which would make every value distinct.
    hop_size = data[np.minimum(start + 3, len(data) - 1)].astype(np.int64)
    trim = (size > 3) & (data[start] == 0)
    size = np.where(trim, np.minimum(size, 4 + hop_size), size)
    start, size = np.where(reach, (start, size), values[NEXT_HOP])
    found = pa.nulls(len(start), pa.string())
    for code, of_code in ((MP_REACH, reach), (NEXT_HOP, ~reach)):
        rows = np.flatnonzero(plain & of_code & (size >= 0))
        if not len(rows):
            continue
        encoded = _gather(data, start[rows], size[rows]).dictionary_encode()
        texts: list[str | None] = []
        faulty: list[int] = []
        for number, value in enumerate(encoded.dictionary.to_pylist()):
            try:
                texts.append(hop_of((code, value)))
            except AttributesError:
                texts.append(None)
                faulty.append(number)
        if faulty:
            plain[rows[np.isin(encoded.indices.to_numpy(), faulty)]] = False
        column = _spread(pa.array(texts, pa.string()), rows, encoded, len(start))
        found = pc.coalesce(found, column)
    return found


def _all_communities(data: Octets, values: dict[int, tuple[Ints, Ints]], plain: Bools) -> pa.Array:
    """Communities, then large ones; null where there are neither."""
    small = _communities(data, *values[COMMUNITIES], plain, ">u2", 2)
    large = _communities(data, *values[LARGE_COMMUNITIES], plain, ">u4", 3)
    if large.null_count == len(large):
        return small
    return pc.coalesce(pc.binary_join_element_wise(small, large, " "), small, large)


def _communities(
    data: Octets, start: Ints, size: Ints, plain: Bools, dtype: str, parts: int
) -> pa.Array:
    """Texts of lists whose members are `parts` numbers each; null where empty or absent."""
    octets = parts * np.dtype(dtype).itemsize
    plain &= (size < 0) | (size % octets == 0)
    rows = np.flatnonzero(plain & (size > 0))
    if not len(rows):
        return pa.nulls(len(start), pa.string())
    encoded = _gather(data, start[rows], size[rows]).dictionary_encode()
    numbers, offsets = _flat(encoded.dictionary, dtype)
    table = numbers.reshape(-1, parts).astype(np.uint32)
    parts_as_text = [
        pa.array(np.ascontiguousarray(table[:, n])).cast(pa.string()) for n in range(parts)
    ]
    members = pc.binary_join_element_wise(*parts_as_text, ":")
    lists = pa.ListArray.from_arrays(pc.divide(offsets, pa.scalar(parts, pa.int32())), members)
    return _spread(pc.binary_join(lists, " "), rows, encoded, len(start))
