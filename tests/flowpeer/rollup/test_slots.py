"""Spreading, scaling and variance against plain arithmetic with fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer.rollup import slots, spreading
from flowpeer_core.slots import HOUR_US, SLOT_US

EPOCH = 1_790_000_000_000_000 // SLOT_US * SLOT_US


def shares_by_hand(start: int, end: int, total: int) -> dict[int, int]:
    """METHODS M3 in plain Python: linear shares, largest remainder, ties to the earlier slot."""
    if start == end:
        return {start // SLOT_US: total}
    exact: dict[int, Fraction] = {}
    at = start
    while at < end:
        slot = at // SLOT_US
        until = min(end, (slot + 1) * SLOT_US)
        exact[slot] = Fraction(total * (until - at), end - start)
        at = until
    given_out = {slot: int(share) for slot, share in exact.items()}
    left = total - sum(given_out.values())
    for slot in sorted(exact, key=lambda s: (given_out[s] - exact[s], s))[:left]:
        given_out[slot] += 1
    return given_out


@given(
    st.integers(EPOCH, EPOCH + HOUR_US),
    st.one_of(
        st.just(0),
        st.integers(0, 70_000_000),
        st.integers(0, slots.MAX_DURATION_US),
        st.sampled_from([SLOT_US, 2 * SLOT_US, SLOT_US - 1]),
    ),
    st.one_of(st.integers(0, 20), st.integers(0, slots.MAX_SCALED_BYTES)),
    st.integers(0, 2000),
)
def test_spreading_equals_exact_fractions(
    start: int, lasts: int, octets: int, packets: int
) -> None:
    parts = slots.spread(start, start + lasts, octets, packets)
    assert {p.slot: p.bytes for p in parts} == shares_by_hand(start, start + lasts, octets)
    assert {p.slot: p.packets for p in parts} == shares_by_hand(start, start + lasts, packets)
    assert [p.records for p in parts] == [1] + [0] * (len(parts) - 1)
    assert sum(p.fraction for p in parts) == pytest.approx(1)


@given(
    st.lists(
        st.tuples(
            st.integers(EPOCH, EPOCH + HOUR_US),
            st.sampled_from([0, 1, SLOT_US - 1, SLOT_US, 2 * SLOT_US, 7 * SLOT_US + 3]),
            st.integers(0, slots.MAX_SCALED_BYTES),
            st.integers(0, 2000),
        ),
        max_size=20,
    )
)
def test_spreading_series_equals_spreading_one_by_one(
    readings: list[tuple[int, int, int, int]],
) -> None:
    columns = np.array(readings, np.int64).reshape(-1, 4).T
    start, lasts, octets, packets = columns
    parts = spreading.spread(start, start + lasts, octets, packets)
    made = zip(*(getattr(parts, name).tolist() for name in parts.__slots__), strict=True)
    assert list(made) == [
        (n, *part)
        for n, (begin, long, b, k) in enumerate(readings)
        for part in slots.spread(begin, begin + long, b, k)
    ]


def test_spreading_refuses_times_that_cannot_be_spread() -> None:
    with pytest.raises(ValueError, match="out of order"):
        slots.spread(2, 1, 1, 1)
    with pytest.raises(ValueError, match="too far apart"):
        slots.spread(1, 1 + slots.MAX_DURATION_US + 1, 1, 1)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 24))
def test_scaling_never_hides_an_unknown_rate(b: int, k: int, rate: int) -> None:
    fits = b * rate < slots.MAX_SCALED_BYTES and k * rate < slots.MAX_SCALED_BYTES
    expected = (b * rate, k * rate, True) if rate and fits else (b, k, False)
    assert slots.scale(b, k, rate) == expected


@given(st.lists(st.integers(40, 1500), min_size=1, max_size=60), st.integers(1, 20_000))
def test_variance_bounds_hold_the_true_sum_of_squares(sizes: list[int], rate: int) -> None:
    low, high = slots.size_variance(sum(sizes), len(sizes), rate, 0, 0)
    true = rate * (rate - 1) * sum(size * size for size in sizes)
    assert low <= true * (1 + 1e-12) + 1
    assert high >= true * (1 - 1e-12) - 1
    exact_low, exact_high = slots.size_variance(
        sum(sizes), len(sizes), rate, min(sizes), max(sizes)
    )
    assert exact_low == low
    assert true * (1 - 1e-12) - 1 <= exact_high <= high * (1 + 1e-12) + 1


def test_the_bound_of_jumbo_frames_among_small_packets_needs_the_mtu() -> None:
    sizes = [40] * 9 + [9000]
    true = 999_000 * sum(size * size for size in sizes)
    assert slots.size_variance(sum(sizes), 10, 1000, 0, 0)[1] < true
    assert slots.size_variance(sum(sizes), 10, 1000, 0, 0, 9000)[1] >= true


@pytest.mark.parametrize("size", [1500, 40, 9000])
def test_variance_of_single_packets_is_exact(size: int) -> None:
    assert slots.size_variance(size, 1, 1000, 0, 0) == (999_000 * size * size,) * 2
