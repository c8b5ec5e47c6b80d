"""Spreading counter readings over slots: METHODS M3 for whole series at once, as array functions.

The same rule for one record stands in `slots`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowpeer.rollup.reading import Ints
from flowpeer_core.slots import SLOT_US

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parts:
    """Shares of records in slots: `record` indexes the records given, `slot` counts from epoch."""

    record: Ints
    slot: Ints
    bytes: Ints
    packets: Ints
    records: Ints
    fraction: Reals


def spread(start: Ints, end: Ints, octets: Ints, packets: Ints) -> Parts:
    """Give each slot its linear share of a record (M3), exactly.

    Args:
        start, end: microseconds since the epoch, start ≤ end, at most 2^34 apart.
        octets, packets: what is to be spread, after scaling.

    Returns:
        The parts in the order of the records, then of the slots. Σ bytes and Σ packets over the
        parts of a record are its own (largest remainder, ties to the earlier slot); `records` is
        1 in the slot of the start. start = end puts all in one slot.
    """
    duration = end - start
    first = start // SLOT_US
    last = np.where(duration > 0, (end - 1) // SLOT_US, first)
    count = last - first + 1
    if (count == 1).all():
        everything = np.arange(start.size, dtype=np.int64)
        return Parts(
            everything, first, octets, packets, np.ones(start.size, np.int64), np.ones(start.size)
        )
    record = np.repeat(np.arange(start.size, dtype=np.int64), count)
    before = np.concatenate(([0], np.cumsum(count)[:-1]))
    slot = first[record] + (np.arange(record.size, dtype=np.int64) - before[record])
    begins = np.zeros(record.size, dtype=np.int64)
    begins[before] = 1
    part_bytes, part_packets = octets[record], packets[record]
    fraction = np.ones(record.size)
    many = np.flatnonzero(count[record] > 1)
    owner = record[many]
    overlap = np.minimum(end[owner], (slot[many] + 1) * SLOT_US) - np.maximum(
        start[owner], slot[many] * SLOT_US
    )
    fraction[many] = overlap / duration[owner]
    part_bytes[many] = _shares(owner, overlap, octets, duration)
    part_packets[many] = _shares(owner, overlap, packets, duration)
    return Parts(record, slot, part_bytes, part_packets, begins, fraction)


def _shares(owner: Ints, overlap: Ints, total: Ints, duration: Ints) -> Ints:
    """`total` × overlap / duration as integers that add up, by the largest remainder.

    `owner` is sorted; the parts of one owner are consecutive and in the order of the slots.
    """
    lasts = duration[owner]
    whole, rest = np.divmod(total[owner], lasts)
    share, remainder = np.divmod(rest * overlap, lasts)
    share += whole * overlap
    starts = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
    if owner.size == 2 * starts.size:  # two slots each: what is missing goes to the larger rest
        missing = (remainder[0::2] + remainder[1::2]) // lasts[0::2]
        first = remainder[0::2] >= remainder[1::2]
        share[0::2] += missing * first
        share[1::2] += missing * ~first
        return share
    missing = total[owner[starts]] - np.add.reduceat(share, starts)
    order = np.lexsort((-remainder, owner))  # stable: ties stay in the order of the slots
    rank = np.empty(owner.size, dtype=np.int64)
    length = np.diff(np.append(starts, owner.size))
    rank[order] = np.arange(owner.size) - np.repeat(starts, length)
    share += rank < np.repeat(missing, length)
    return share
