"""Spreading, scaling and variance against plain arithmetic with fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer.rollup import slots
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


record = st.tuples(
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


@given(st.lists(record, min_size=0, max_size=20))
def test_spreading_equals_exact_fractions(records: list[tuple[int, int, int, int]]) -> None:
    start = np.array([r[0] for r in records], dtype=np.int64)
    end = start + np.array([r[1] for r in records], dtype=np.int64)
    octets = np.array([r[2] for r in records], dtype=np.int64)
    packets = np.array([r[3] for r in records], dtype=np.int64)
    parts = slots.spread(start, end, octets, packets)
    for n in range(len(records)):
        mine = parts.record == n
        slot = parts.slot[mine].tolist()
        assert dict(zip(slot, parts.bytes[mine].tolist(), strict=True)) == shares_by_hand(
            int(start[n]), int(end[n]), int(octets[n])
        )
        assert dict(zip(slot, parts.packets[mine].tolist(), strict=True)) == shares_by_hand(
            int(start[n]), int(end[n]), int(packets[n])
        )
        assert parts.records[mine].tolist() == [1] + [0] * (len(slot) - 1)
        assert parts.fraction[mine].sum() == pytest.approx(1)


def test_spreading_refuses_times_that_cannot_be_spread() -> None:
    one = np.array([1], dtype=np.int64)
    with pytest.raises(ValueError, match="out of order"):
        slots.spread(one + 1, one, one, one)
    with pytest.raises(ValueError, match="too far apart"):
        slots.spread(one, one + slots.MAX_DURATION_US + 1, one, one)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 24))
def test_scaling_never_wraps_and_never_hides_an_unknown_rate(b: int, k: int, rate: int) -> None:
    octets, packets, scaled = slots.scale(np.array([b]), np.array([k]), np.array([rate]))
    fits = b * rate < slots.MAX_SCALED_BYTES and k * rate < slots.MAX_SCALED_BYTES
    if rate and fits:
        assert (octets[0], packets[0], scaled[0]) == (b * rate, k * rate, True)
    else:
        assert (octets[0], packets[0], scaled[0]) == (b, k, False)


@given(st.lists(st.integers(40, 1500), min_size=1, max_size=60), st.integers(1, 20_000))
def test_variance_bounds_hold_the_true_sum_of_squares(sizes: list[int], rate: int) -> None:
    array = np.array(sizes)
    low, high = slots.size_variance(
        np.array([array.sum()]),
        np.array([array.size]),
        np.array([rate]),
        np.array([0]),
        np.array([0]),
    )
    true = rate * (rate - 1) * int((array**2).sum())
    assert low[0] <= true * (1 + 1e-12) + 1
    assert high[0] >= true * (1 - 1e-12) - 1
    exact_low, exact_high = slots.size_variance(
        np.array([array.sum()]),
        np.array([array.size]),
        np.array([rate]),
        np.array([array.min()]),
        np.array([array.max()]),
    )
    assert exact_low[0] == low[0]
    assert true * (1 - 1e-12) - 1 <= exact_high[0] <= high[0] * (1 + 1e-12) + 1


def test_variance_of_single_packets_is_exact() -> None:
    low, high = slots.size_variance(
        np.array([1500, 40, 9000]),
        np.array([1, 1, 1]),
        np.array([1000] * 3),
        np.zeros(3, int),
        np.zeros(3, int),
    )
    assert low.tolist() == high.tolist() == [999_000 * x * x for x in (1500, 40, 9000)]
