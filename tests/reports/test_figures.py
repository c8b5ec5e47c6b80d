"""Error bars against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flowpeer_reports.error_bars import half_width


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
