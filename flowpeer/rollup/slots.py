"""Scaling a record, spreading it over slots, and the variance that sampling gives it.

METHODS M2, M3 and M6 for one record, in plain Python: integers in, integers out, nothing lost. A
record is scaled first and the scaled integer is spread, so that the parts add up to the whole. The
same rules, operation by operation, stand in flowpeer_core/native/src/rollup.c.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from flowpeer_core.sampling_rates import scaled
from flowpeer_core.slots import SLOT_US

MAX_DURATION_US = 1 << 34
"""4.7 hours: above the longest record that ingest lets pass (2 × 7,200 s + 60 s), and small enough
that remainder × overlap stays within 63 bits."""
MAX_SCALED_BYTES = 1 << 50
"""One petabyte in one record is more than a 1 Tbit/s link carries in two hours: such a product of
wire values is no traffic."""
MAX_VARIANCE = 1 << 80
"""Far above a record of a million sampled packets at 1:2^14."""
LONGEST_PACKET = 65_535
"""No IP packet is longer, whatever element 26 says."""
SMALLEST_PACKET, LARGEST_PACKET = 40, 1500
"""Bounds of a packet's size where the exporter gives none (M6) and no other `mtu` is configured."""


class SlotPart(NamedTuple):
    """The share of a record in one slot, which counts from the epoch."""

    slot: int
    bytes: int
    packets: int
    records: int  # 1 in the slot of the start
    fraction: float


def scale(octets: int, packets: int, rate: int, divisor: int = 1) -> tuple[int, int, bool]:
    """Multiply by rate / divisor (rate 0: unknown) where the product is a possible amount of
    traffic, rounded half up once (M2).

    Returns:
        bytes, packets and whether they are scaled; else the counters are as exported (M2).
    """
    n = rate / divisor
    if rate <= 0 or max(float(octets), float(packets)) * n >= MAX_SCALED_BYTES:
        return octets, packets, False
    return scaled(octets, (rate, divisor)), scaled(packets, (rate, divisor)), True


def size_variance(
    octets: int, packets: int, n: float, shortest: int, longest: int,
    largest: int = LARGEST_PACKET,
) -> tuple[int, int]:  # fmt: skip
    """Bounds of the sampling variance of one record's scaled bytes (M6), as integers.

    `shortest` and `longest` are the packet sizes exported (elements 25 and 26), 0 where unknown;
    `largest` is the MTU of the exporter.
    Where the packet count is missing the fewest packets that can carry the octets are assumed,
    which is the wider bound.

    Returns:
        lower and upper bound of N(N − 1)·Σx².
    """
    b, k = float(octets), float(packets)
    if k <= 0:
        k = float(max(1, ceil(b / largest)))
    mean = b / k
    least = min(float(shortest if shortest > 0 else SMALLEST_PACKET), mean)
    # At most the MTU, and no more than is left when all other packets have the smallest size; jumbo
    # frames show themselves by a larger mean.
    remaining = min(b - (k - 1) * least, float(largest))
    most = max(float(min(longest, LONGEST_PACKET)) if longest > 0 else remaining, mean)
    squares = mean * b
    bound = max((most + least) * b - k * least * most, squares)
    factor = n * (n - 1) if n > 1 else 0.0
    return min(round(squares * factor), MAX_VARIANCE), min(round(bound * factor), MAX_VARIANCE)


def spread(start: int, end: int, octets: int, packets: int) -> list[SlotPart]:
    """Give each slot its linear share of a record (M3), exactly.

    Args:
        start, end: microseconds since the epoch, start ≤ end ≤ start + MAX_DURATION_US.
        octets, packets: what is to be spread, after scaling.

    Returns:
        The parts in the order of the slots, which add up to the record (largest remainder, ties
        to the earlier slot). start = end puts all in one slot.

    Raises:
        ValueError: times out of order or too far apart.
    """
    duration = end - start
    if not 0 <= duration <= MAX_DURATION_US:
        raise ValueError("a record's times are out of order or too far apart to be spread")
    first = start // SLOT_US
    slots = range(first, max(end - 1, start) // SLOT_US + 1)
    if len(slots) == 1:
        return [SlotPart(first, octets, packets, 1, 1.0)]
    overlaps = [min(end, (s + 1) * SLOT_US) - max(start, s * SLOT_US) for s in slots]
    shares = (_shares(total, overlaps, duration) for total in (octets, packets))
    return [
        SlotPart(slot, b, k, int(slot == first), overlap / duration)
        for slot, overlap, b, k in zip(slots, overlaps, *shares, strict=True)
    ]


def _shares(total: int, overlaps: list[int], duration: int) -> list[int]:
    """`total` × overlap / duration as integers that add up, by the largest remainder."""
    whole = [total * overlap // duration for overlap in overlaps]
    rest = [total * overlap % duration for overlap in overlaps]
    order = sorted(range(len(rest)), key=lambda n: -rest[n])  # stable: the earlier slot first
    for n in order[: total - sum(whole)]:
        whole[n] += 1
    return whole
