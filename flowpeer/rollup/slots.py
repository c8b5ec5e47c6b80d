"""Scaling a record, spreading it over slots, and the variance that sampling gives it.

METHODS M2, M3 and M6 as array functions: integers in, integers out, nothing lost. A record is
scaled first and the scaled integer is spread, so that the parts add up to the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowpeer_core.slots import SLOT_US

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

MAX_DURATION_US = 1 << 34
"""4.7 hours: above the longest record that ingest lets pass (2 × 7,200 s + 60 s), and small enough
that remainder × overlap stays within 63 bits."""
MAX_SCALED_BYTES = 1 << 50
"""One petabyte in one record is more than a 1 Tbit/s link carries in two hours: such a product of
wire values is no traffic, and letting it through could wrap the sums."""
MAX_VARIANCE = float(1 << 80)
"""Far above a record of a million sampled packets at 1:2^14; a larger one could wrap the sums."""
LONGEST_PACKET = 65_535
"""No IP packet is longer, whatever element 26 says."""
SMALLEST_PACKET, LARGEST_PACKET = 40, 1500
"""Bounds of a packet's size where the exporter gives none (M6)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Shares of records in slots: `record` indexes the records given, `slot` counts from epoch."""

    record: Ints
    slot: Ints
    bytes: Ints
    packets: Ints
    records: Ints
    fraction: Reals

    def only(self, keep: npt.NDArray[np.bool_]) -> Parts:
        """The parts that `keep` marks."""
        return Parts(*(getattr(self, name)[keep] for name in self.__slots__))


def scale(
    octets: Ints, packets: Ints, rate: Ints, divisor: Ints | None = None
) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Multiply by rate / divisor (0: unknown) where the product is a possible amount of traffic,
    rounded half up once (M2). divisor: at least 1 and below 2^18; None: 1 everywhere.

    Returns:
        bytes, packets and `scaled`: false where the rate is unknown or the product absurd; the
        counters are then as exported (M2).
    """
    largest = max(int(octets.max(initial=0)), int(packets.max(initial=0)))
    scaled = rate > 0
    n = rate if divisor is None else rate / divisor
    if largest * float(n.max(initial=0)) >= MAX_SCALED_BYTES:
        scaled &= octets.astype(np.float64) * n < MAX_SCALED_BYTES
        scaled &= packets.astype(np.float64) * n < MAX_SCALED_BYTES
    factor = rate if scaled.all() else np.where(scaled, rate, 1)
    if divisor is None:
        return octets * factor, packets * factor, scaled
    by = np.where(scaled, divisor, 1)
    return _rounded(octets, factor, by), _rounded(packets, factor, by), scaled


def _rounded(counter: Ints, factor: Ints, by: Ints) -> Ints:
    """counter × factor / by, half up, without leaving 63 bits (`sampling_rates.scaled`)."""
    whole, rest = np.divmod(counter, by)
    return whole * factor + (2 * rest * factor + by) // (2 * by)


def size_variance(
    octets: Ints,
    packets: Ints,
    rate: Ints | Reals,
    shortest: Ints | int,
    longest: Ints | int,
) -> tuple[Reals, Reals]:
    """Bounds of the sampling variance of one record's scaled bytes (M6).

    `shortest` and `longest` are the packet sizes exported (elements 25 and 26), 0 where unknown.
    Where the packet count is missing the fewest packets that can carry the octets are assumed,
    which is the wider bound.

    Returns:
        lower and upper bound of N(N − 1)·Σx², rounded to integers.
    """
    b, k = octets.astype(np.float64), packets.astype(np.float64)
    if k.size and k.min() <= 0:
        k = np.where(k > 0, k, np.maximum(1, np.ceil(b / LARGEST_PACKET)))
    mean = b / k
    longest = np.minimum(longest, LONGEST_PACKET)
    low = np.minimum(np.where(shortest > 0, shortest, float(SMALLEST_PACKET)), mean)
    # At most 1500, and no more than is left when all other packets have the smallest size; jumbo
    # frames show themselves by a larger mean.
    left = k - 1
    left *= low
    np.subtract(b, left, out=left)
    np.minimum(left, LARGEST_PACKET, out=left)
    high = np.maximum(np.where(longest > 0, longest, left), mean)
    n = rate.astype(np.float64)
    n *= n - 1
    k *= low
    k *= high
    high += low
    high *= b
    high -= k
    mean *= b
    np.maximum(high, mean, out=high)
    mean *= n
    high *= n
    for bound in (mean, high):
        np.minimum(np.rint(bound, out=bound), MAX_VARIANCE, out=bound)
    return mean, high


def check_times(start: Ints, end: Ints) -> None:
    """Raises ValueError where a record ends before it starts, or is too long to be spread."""
    duration = end - start
    if duration.size and (duration.min() < 0 or duration.max() > MAX_DURATION_US):
        raise ValueError("a record's times are out of order or too far apart to be spread")


def spread(start: Ints, end: Ints, octets: Ints, packets: Ints) -> Parts:
    """Give each slot its linear share of a record (M3), exactly.

    Args:
        start, end: microseconds since the epoch, start ≤ end ≤ start + MAX_DURATION_US.
        octets, packets: what is to be spread, after scaling.

    Returns:
        The parts in the order of the records, then of the slots. Σ bytes and Σ packets over the
        parts of a record are its own (largest remainder, ties to the earlier slot); `records` is
        1 in the slot of the start. start = end puts all in one slot.

    Raises:
        ValueError: times out of order or too far apart.
    """
    check_times(start, end)
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
