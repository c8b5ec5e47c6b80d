"""METHODS M2 against plain reasoning: which announced rate holds, and how a counter is scaled."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer.rollup import slots
from flowpeer_core.sampling_rates import (
    MAX_DENOMINATOR,
    MAX_RATE,
    AnnouncedRates,
    beyond,
    rate_of,
    ratio,
    rounded,
    scaled,
    stated,
)

RATES = st.sampled_from([(10, 1), (100, 1), (5, 2), (1000, 1)])
SAID = st.tuples(
    st.sampled_from([None, 1, 2]), st.sampled_from([None, 7, 8]), RATES, st.integers(0, 6)
)


@given(st.lists(SAID, max_size=8, unique_by=lambda s: (s[0], s[1], s[3])), st.data())
def test_the_order_of_announcements_changes_no_answer(
    said: list[tuple[int | None, int | None, tuple[int, int], int]], data: st.DataObject
) -> None:
    tables = [AnnouncedRates(), AnnouncedRates()]
    for table, order in zip(tables, (said, data.draw(st.permutations(said))), strict=True):
        for sampler, interface, rate, at in order:
            table.announce(sampler, interface, rate, at)
    for sampler in (None, 1, 2, 3):
        for interface in (None, 7, 9):
            for at in range(-1, 8):
                one, other = (rate_of([t], sampler, interface, at) for t in tables)
                assert one == other
                rows = [s for s in said if s[:2] == (sampler, interface) and sampler is None]
                if rows:  # the last at or before it, before the first one the first
                    rows.sort(key=lambda s: s[3])
                    before = [s for s in rows if s[3] <= at]
                    assert one == (before[-1] if before else rows[0])[2]


def test_sampler_comes_before_interface_and_own_domain_before_domain_0() -> None:
    own, zero = AnnouncedRates(), AnnouncedRates()
    zero.announce(1, None, (9, 1), 0)
    zero.announce(None, None, (3, 1), 0)
    own.announce(None, 7, (2, 1), 0)
    assert rate_of([own, zero], 1, 7, 5) == (9, 1)
    assert rate_of([own, zero], 2, 7, 5) == (2, 1)
    assert rate_of([own, zero], 2, 8, 5) == (3, 1)
    own.announce(None, None, (4, 1), 0)
    assert rate_of([own, zero], 2, 8, 5) == (4, 1)
    assert rate_of([AnnouncedRates()], 1, 7, 5) is None


def test_of_two_rates_at_one_moment_the_greater_stands_whatever_came_first() -> None:
    for order in permutations([(10, 1), (100, 1), (5, 2)]):
        table = AnnouncedRates()
        for rate in order:
            table.announce(None, None, rate, 5)
        assert max(r[0] / r[1] for r in order) >= rounded(rate_of([table], None, None, 5) or (0, 1))


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({34: 100}, (100, 1)),
        ({50: 200}, (200, 1)),
        ({305: 1, 306: 999}, (1000, 1)),
        ({305: 2, 306: 3}, (5, 2)),
        ({305: 256}, (256, 1)),
        ({305: 1, 309: 1, 310: 256}, (256, 1)),
        ({309: 4, 310: 10}, (5, 2)),
        ({34: 0}, None),
        ({34: MAX_RATE + 1}, None),
        ({309: 3, 310: 2}, None),
    ],
)
def test_what_elements_state(values: dict[int, int], rate: tuple[int, int] | None) -> None:
    assert stated(values) == rate
    assert beyond(values) == (values.get(34, 0) > MAX_RATE)


@given(st.integers(1, 1 << 63), st.integers(1, 1 << 63))
def test_a_ratio_is_reduced_bounded_and_near(top: int, bottom: int) -> None:
    found = ratio(top, bottom)
    if not bottom <= top <= MAX_RATE * bottom:
        assert found is None
        return
    assert found is not None
    exact, made = Fraction(top, bottom), Fraction(*found)
    assert found == (made.numerator, made.denominator)
    assert found[1] <= MAX_DENOMINATOR
    assert abs(made - exact) <= exact / (1 << 16)


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 26), st.integers(1, 1 << 12), st.integers(1, 4_000)),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_scaling_multiplies_and_rounds_half_up_once(rows: list[tuple[int, int, int]]) -> None:
    for counter, top, bottom in rows:
        rate = ratio(max(top, bottom), bottom) or (1, 1)
        wanted = floor(Fraction(counter) * Fraction(*rate) + Fraction(1, 2))
        assert slots.scale(counter, counter, *rate) == (wanted, wanted, True)
        assert scaled(counter, rate) == wanted
