"""Percentiles and error bars against their definitions."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer_reports.error_bars import half_width
from flowpeer_reports.percentile import p95_rank, p95_sparse


def test_rank_is_the_nearest_rank() -> None:
    for n in range(1, 400):
        assert p95_rank(n) == -(-95 * n // 100)
        assert p95_rank(n) == np.quantile(np.arange(1, n + 1), 0.95, method="inverted_cdf")


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 10**15), max_size=60), st.integers(0, 400)),
        min_size=1, max_size=5,
    ),
    st.randoms(),
)  # fmt: skip
def test_sparse_p95_is_the_p95_of_the_dense_series(
    groups: list[tuple[list[int], int]], random: Random
) -> None:
    n = np.array([max(len(values) + zeros, 1) for values, zeros in groups])
    entries = [(g, v) for g, (values, _) in enumerate(groups) for v in values]
    random.shuffle(entries)
    cut = random.randint(0, len(entries))
    series = [np.array(part, np.int64).reshape(-1, 2).T for part in (entries[:cut], entries[cut:])]
    found = p95_sparse([(group, value) for group, value in series], n)
    for p95, (values, zeros) in zip(found.tolist(), groups, strict=True):
        dense = sorted([*values, *[0] * zeros]) or [0]
        assert p95 == dense[p95_rank(len(dense)) - 1]


def test_more_values_than_slots_count_as_they_are() -> None:
    assert p95_sparse([(np.array([0, 0, 0]), np.array([5, 1, 3]))], np.array([2])).tolist() == [5]


def test_a_value_that_does_not_fit_beside_its_group_is_refused() -> None:
    with pytest.raises(OverflowError, match="beyond 2"):
        p95_sparse([(np.array([0]), np.array([1 << 62]))], np.array([2]))


@pytest.mark.parametrize(("packets", "size"), [(400, 1000), (40, 1500), (3000, 60)])
def test_the_interval_covers_the_truth_as_often_as_it_says(packets: int, size: int) -> None:
    """Packets of one size sampled 1:100: the truth lies inside in about 95 of 100 cases."""
    draw, sampling, truth = np.random.default_rng(7), 100, packets * 100 * size
    hits = 0
    for _ in range(2000):
        k = int(draw.binomial(packets * 100, 1 / sampling))
        estimate = k * size * sampling
        variance = sampling * (sampling - 1) * k * size**2
        c = (variance + 2 * sampling * (sampling - 1) * 1500**2) / (estimate + 2 * sampling * 1500)
        centre = estimate + 1.96**2 * c / 2
        hits += abs(truth - centre) <= half_width(estimate, variance, sampling)
    assert hits >= 0.94 * 2000


def test_without_sampling_there_is_no_error() -> None:
    assert half_width(10**9, 0.0, 1) == 0.0


def test_many_samples_approach_the_normal_interval() -> None:
    variance = 1e24
    assert math.isclose(half_width(1e15, variance, 1000), 1.96 * 1e12, rel_tol=1e-3)
