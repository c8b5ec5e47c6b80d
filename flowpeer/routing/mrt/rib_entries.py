"""Many RIB records of an MRT file at once (RFC 6396 section 4.3, RFC 8050 section 4).

Records are found one after the other by their lengths, their heads are read together, and their
entries in step: one NumPy operation reads the n-th entry of each. A batch ends before the first
record that has anything out of the ordinary; the reader of single records takes that one.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer.routing.mrt.framing import HEADER, MAX_RECORD, TABLE_DUMP_V2
from flowpeer.routing.prefix_columns import MAPPED, U64, high_mask, unpack6

FEWEST_RECORDS = 64
"""Below this one record after the other is as fast."""
MOST_RECORDS = 1 << 15
_FEW_IN_STEP = 8
"""The entries of so few records are read one after the other."""

Ints = np.ndarray[Any, np.dtype[np.int64]]
Octets = np.ndarray[Any, np.dtype[np.uint8]]

_LENGTH = struct.Struct(">8xI")
_DOTTED = pa.array([f"{octet}." for octet in range(256)])
_LAST = pa.array([f"{octet}/{length}" for octet in range(256) for length in range(33)])
_KINDS = np.array([TABLE_DUMP_V2 << 16 | subtype for subtype in (2, 4, 8, 10)])


class EntryBatch(NamedTuple):
    """Records and their entries; those of a record follow each other.

    Attributes:
        end: where the first record not taken begins.
        records: how many there are, those without entries too.
        hi, lo, lengths, families: the prefixes of those with entries; IPv4 in its mapped form,
            with lengths of its own family, host bits as they came.
        counts: their entries.
        peers: place of each entry's peer in the PEER_INDEX_TABLE.
        path_ids: path identifiers; −1 without one.
        starts, ends: its attributes.
        cuts: octets of the prefix, its length before it, where the attributes end in them; else
            0. None where all is IPv4.
    """

    end: int
    records: int
    hi: U64
    lo: U64
    lengths: Ints
    families: Octets
    counts: Ints
    peers: Ints
    path_ids: Ints
    starts: Ints
    ends: Ints
    cuts: Ints | None


def read_batch(buffer: bytes, at: int, peers: int, most: int) -> EntryBatch | None:
    """The ordinary RIB records from `at` on, all of them complete; None where they are too few.

    Args:
        peers: size of the PEER_INDEX_TABLE.
        most: records to take at most.
    """
    begins = _begins(buffer, at, most)
    if len(begins) <= FEWEST_RECORDS:
        return None
    data = np.frombuffer(buffer, dtype=np.uint8)
    bounds = np.array(begins, dtype=np.int64)
    start, end = bounds[:-1], bounds[1:]
    kind = _number(data, start + 4, 4)
    body = start + HEADER.size
    fits = np.isin(kind, _KINDS) & (body + 7 <= end) & (end - body <= MAX_RECORD)
    start, end, kind, body = _until((start, end, kind, body), fits)
    six, add_path = np.isin(kind & 15, (4, 10)), kind & 8 != 0
    length = data[body + 4].astype(np.int64)
    first = body + 5 + (length + 7 >> 3)
    fits = (first + 2 <= end) & (length <= np.where(six, 128, 32))
    end, body, six, add_path, length, first = _until(
        (end, body, six, add_path, length, first), fits
    )
    count = _number(data, first, 2)
    first = first + 2
    head = np.where(add_path, 12, 8)
    fits = (count * head <= end - first) & ((count > 0) | (first == end))
    end, body, six, add_path, length, first, count, head = _until(
        (end, body, six, add_path, length, first, count, head), fits
    )
    if len(count) < FEWEST_RECORDS:
        return None
    base = np.cumsum(count) - count
    table = np.zeros((4, int(count.sum())), dtype=np.int64)
    good = _entries(data, table, first, end, count, head, base, peers)
    taken = len(good) if good.all() else int(np.argmin(good))
    if taken < FEWEST_RECORDS:
        return None
    used = np.flatnonzero(count[:taken])
    table = table[:, : int(count[:taken].sum())]
    hi, lo = _prefixes(data, body[used] + 5, length[used], six[used])
    cuts = None
    if six.any():
        octets = np.where(six, 1 + (length + 7 >> 3), 0)[used]
        times = count[used]
        cuts = _cuts(data, np.repeat(body[used] + 4, times), np.repeat(octets, times), table)
    return EntryBatch(
        int(end[taken - 1]), taken, hi, lo, length[used],
        np.where(six[used], 6, 4).astype(np.uint8), count[used],
        table[0], np.where(np.repeat(add_path[used], count[used]), table[1], -1),
        table[2], table[3], cuts,
    )  # fmt: skip


def _begins(buffer: bytes, at: int, most: int) -> list[int]:
    """Where complete records begin, and where the last of them ends."""
    begins = [at]
    last, length, size = len(buffer) - HEADER.size, _LENGTH.unpack_from, HEADER.size
    append = begins.append
    for _ in range(most):
        if at > last:
            break
        at += size + length(buffer, at)[0]
        append(at)
    if begins[-1] > len(buffer):
        begins.pop()
    return begins


def _until(columns: tuple[Any, ...], fits: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
    """The columns up to the first row that does not fit."""
    if fits.all():
        return columns
    stop = int(np.argmin(fits))
    return tuple(column[:stop] for column in columns)


def _number(data: Octets, at: Ints, octets: int) -> Ints:
    """Big-endian numbers."""
    value = data[at].astype(np.int64)
    for n in range(1, octets):
        value = value << 8 | data[at + n]
    return value


def _entries(
    data: Octets, table: Ints, at: Ints, end: Ints, count: Ints, head: Ints, base: Ints, peers: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Fill `table` (peer, path identifier, start and end of the attributes) from the entries that
    begin at `at`; which records end where their last entry does."""
    good = np.ones(len(at), dtype=bool)
    live = np.flatnonzero(count)
    at, end, remaining, head, place = at[live], end[live], count[live], head[live], base[live]
    add_path = bool((head > 8).any())
    while len(live) >= _FEW_IN_STEP:
        fits = at + head <= end
        start = np.where(fits, at + head, 12)
        peer, after = _number(data, start - head, 2), start + _number(data, start - 2, 2)
        remaining = remaining - 1
        fits &= (peer < peers) & np.where(remaining == 0, after == end, after <= end)
        if not fits.all():
            good[live[~fits]] = False
        table[0, place], table[2, place], table[3, place] = peer, start, after
        if add_path:
            table[1, place] = _number(data, start - 6, 4)
        more = fits & (remaining > 0)
        at, place = after, place + 1
        if not more.all():
            live, at, end, remaining, head, place = (
                column[more] for column in (live, at, end, remaining, head, place)
            )
    rest = zip(
        *(column.tolist() for column in (live, at, end, remaining, head, place)), strict=True
    )
    for record, first, stop, times, octets, row in rest:
        good[record] = _one_by_one(data, table, first, stop, times, octets, row, peers)
    return good


def _one_by_one(
    data: Octets, table: Ints, at: int, end: int, remaining: int, head: int, row: int, peers: int
) -> bool:
    """The same for one record."""
    for _ in range(remaining):
        start = at + head
        if start > end:
            return False
        part = bytes(data[at:start])
        peer, size = part[0] << 8 | part[1], part[-2] << 8 | part[-1]
        table[:, row] = peer, int.from_bytes(part[6:10], "big"), start, start + size
        at = start + size
        row += 1
        if peer >= peers:
            return False
    return at == end


def _cuts(data: Octets, at: Ints, octets: Ints, table: Ints) -> Ints:
    """`octets` where the octets at `at` stand at the end of the entry's attributes too, else 0."""
    cuts = np.zeros(len(at), dtype=np.int64)
    rows = np.flatnonzero((octets > 0) & (table[3] - table[2] >= octets))
    for n in range(int(octets.max(initial=0))):
        more = octets[rows] > n
        cuts[rows[~more]] = octets[rows[~more]]
        rows = rows[more]
        rows = rows[data[at[rows] + n] == data[table[3, rows] - octets[rows] + n]]
    cuts[rows] = octets[rows]
    return cuts


def _prefixes(
    data: Octets, at: Ints, length: Ints, six: np.ndarray[Any, np.dtype[np.bool_]]
) -> tuple[U64, U64]:
    """Halves of the prefixes that stand at `at`."""
    octets = length + 7 >> 3
    halves = np.zeros((2, len(at)), dtype=np.uint64)
    for n in range(int(octets.max(initial=0))):
        rows = np.flatnonzero(octets > n)
        place = np.where(six[rows], n, n + 12)
        value = data[at[rows] + n].astype(np.uint64) << (56 - 8 * (place & 7)).astype(np.uint64)
        halves[place >> 3, rows] |= value
    halves[1] |= np.where(six, np.uint64(0), MAPPED << np.uint64(32))
    return halves[0], halves[1]


def prefix_texts(batch: EntryBatch) -> pa.Array:
    """Canonical texts of a batch's prefixes, host bits zero."""
    six = batch.families == 6
    low = np.where(six, batch.lengths - 64, batch.lengths + 32)
    hi, lo = batch.hi & high_mask(batch.lengths + np.where(six, 0, 96)), batch.lo & high_mask(low)
    if not six.any():
        return _texts4(lo, batch.lengths)
    texts = _texts6(hi, lo, batch.lengths)
    if six.all():
        return texts
    return pc.if_else(pa.array(six), texts, _texts4(lo, batch.lengths))


def _texts4(lo: U64, lengths: Ints) -> pa.Array:
    octets = [(lo >> np.uint64(bits)).astype(np.int64) & 255 for bits in (24, 16, 8, 0)]
    octet_texts = [_DOTTED.take(pa.array(octet)) for octet in octets[:3]]
    last = _LAST.take(pa.array(octets[3] * 33 + np.minimum(lengths, 32)))
    return pc.binary_join_element_wise(*octet_texts, last, "")


def _texts6(hi: U64, lo: U64, lengths: Ints) -> pa.Array:
    return pc.binary_join_element_wise(
        pa.array(unpack6(hi, lo), pa.string()), pa.array(lengths).cast(pa.string()), "/"
    )
