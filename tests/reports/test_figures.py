"""Error bars, and what noise does to percentiles, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flowpeer_core import p95
from flowpeer_reports.error_bars import interval
from flowpeer_reports.percentiles import CountedSlots, percentile

MIXES = {
    "40": {40: 1.0},
    "1500": {1500: 1.0},
    "half and half": {40: 0.5, 1500: 0.5},
    "IMIX": {40: 7 / 12, 576: 4 / 12, 1500: 1 / 12},
    "one large in ten": {40: 0.9, 1500: 0.1},
    "one large in a hundred": {40: 0.99, 1500: 0.01},
    "jumbo": {9000: 1.0},
    "one jumbo in ten": {64: 0.9, 9000: 0.1},
    "one jumbo in a hundred": {64: 0.99, 9000: 0.01},
}
SAMPLES = (1, 2, 3, 5, 10, 30, 100, 300, 1000)
SHORT = {
    ("1500", 1): 0.91, ("half and half", 1): 0.90, ("half and half", 3): 0.92,
    ("one large in ten", 1): 0.89, ("jumbo", 1): 0.91, ("one jumbo in ten", 1): 0.89,
    ("one jumbo in ten", 5): 0.90, ("one jumbo in a hundred", 10): 0.90,
}  # fmt: skip
"""Where the formula itself falls short: about one large packet is expected, and the number of
packets is too coarse for any interval that is a function of two sums."""


@pytest.mark.parametrize("mix", MIXES)
def test_the_interval_holds_the_truth_in_93_of_100_cases_whatever_is_sampled(mix: str) -> None:
    """Packets of several sizes sampled 1:1000, few and many; jumbo frames with their MTU."""
    draw, sampling = np.random.default_rng(7), 1000
    sizes = np.array(list(MIXES[mix]))
    largest = 9000 if sizes.max() > 1500 else 1500
    for samples in SAMPLES:
        seen = draw.poisson(samples * np.array(list(MIXES[mix].values())), (2000, len(sizes)))
        truth = sampling * samples * float(np.dot(sizes, list(MIXES[mix].values())))
        hits = 0
        for octets, squares in zip(seen @ sizes, seen @ sizes**2, strict=True):
            estimate, variance = sampling * octets, sampling * (sampling - 1.0) * squares
            _, low, high = interval(estimate, variance, sampling, largest)
            hits += low <= truth <= high
        assert hits >= SHORT.get((mix, samples), 0.93) * 2000, samples


def test_the_interval_of_jumbo_frames_needs_their_mtu() -> None:
    _, low, _ = interval(9_000_000, 1000 * 999 * 9000.0**2, 1000, 9000)
    _, narrow, _ = interval(9_000_000, 1000 * 999 * 9000.0**2, 1000, 1500)
    assert low < narrow


def test_without_sampling_there_is_no_error() -> None:
    assert interval(10**9, 0.0, 1) == (0.0, 10**9, 10**9)


def test_many_samples_approach_the_normal_interval() -> None:
    half, low, high = interval(1e15, 1e24, 1000)
    assert math.isclose(half, 1.96 * 1e12, rel_tol=1e-3)
    assert math.isclose((low + high) / 2, 1e15, rel_tol=1e-3)


def test_noise_raises_a_percentile_and_the_correction_takes_it_off_again() -> None:
    """Many noisy copies of one series: the corrected percentiles are right on average."""
    draw, n, sampling = np.random.default_rng(3), 2016, 1000
    true = (2e9 * (1 + 0.3 * np.sin(np.arange(n) / 288 * 2 * np.pi))).astype(np.int64)
    right = np.sort(true)[p95.rank(n) - 1] * 8 / 300
    counted = CountedSlots(np.arange(n), n)
    found = []
    for seed in range(12):
        packets = draw.poisson(true / (sampling * 1000))
        values = packets * sampling * 1000
        variance = packets * sampling * (sampling - 1.0) * 1000.0**2
        found.append(percentile(counted, values, variance, seed=(seed, 1)))
    assert {f.quality for f in found} == {"corrected"}
    measured = np.mean([f.p95_bps for f in found]) / right - 1
    corrected = np.mean([f.corrected_bps for f in found]) / right - 1
    assert measured > 0.004
    assert abs(corrected) < measured / 3


@pytest.mark.parametrize(
    ("noise", "folded", "missing", "quality"),
    [(0.001, False, "exact", "exact"), (0.05, False, "exact", "corrected"),
     (0.05, False, "estimate", "estimate"), (0.05, True, "estimate", "folded"),
     (0.2, True, "estimate", "noisy"), (0.2, True, "refused", None)],
)  # fmt: skip
def test_the_first_that_holds_names_the_quality(
    noise: float, folded: bool, missing: str, quality: str | None
) -> None:
    values = np.full(300, 10**9)
    counted = CountedSlots(np.arange(300), 300)
    counted.quality = missing
    found = percentile(counted, values, (noise * values) ** 2, folded=folded)
    assert found.quality == quality
    assert (found.p95_bps is None) == (quality is None)
    assert (found.corrected_bps is None) == (noise != 0.05)
