"""The least D of tied routes, against an exact formula that no solver is needed for."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import chain, combinations

import numpy as np
import pytest

from flowpeer_reports.feasible import BATCH, least_d


def least_by_cuts(
    fixed: list[int], sets: list[tuple[int, ...]], free: list[int], weights: list[Fraction]
) -> Fraction:
    """Max-flow, min-cut: some providers lack what their share asks and nothing can reach them."""
    whole = sum(fixed) + sum(free)
    places = range(len(weights))
    every = chain.from_iterable(combinations(places, n) for n in range(len(weights) + 1))
    return max(
        sum(weights[i] for i in few)
        - Fraction(
            sum(fixed[i] for i in few)
            + sum(b for s, b in zip(sets, free, strict=True) if set(s) & set(few)),
            whole,
        )
        for few in every
    )


@pytest.mark.parametrize("seed", range(20))
def test_least_d_equals_the_cut_formula(seed: int) -> None:
    rng = random.Random(seed)
    k = rng.randint(1, 4)
    parts = [rng.randint(0, 5) for _ in range(k)]
    weights = [Fraction(p, sum(parts)) if sum(parts) else Fraction(1, k) for p in parts]
    every = [c for n in range(2, k + 1) for c in combinations(range(k), n)]
    sets = rng.sample(every, rng.randint(0, len(every))) if every else []
    hours = rng.choice([1, 3, BATCH + 2]) if seed < 3 else 3
    fixed = [[rng.choice([0, 1, rng.randrange(10**13)]) for _ in range(hours)] for _ in range(k)]
    free = [[rng.choice([0, rng.randrange(10**13)]) for _ in range(hours)] for _ in sets]
    d, given = least_d(
        np.array(fixed, dtype=np.int64).reshape(k, hours),
        sets,
        np.array(free, dtype=np.int64).reshape(len(sets), hours),
        np.array([float(w) for w in weights]),
    )
    for h in range(hours):
        f, b = [row[h] for row in fixed], [row[h] for row in free]
        if not sum(f) + sum(b):
            assert d[h] == 0
            continue
        assert d[h] == pytest.approx(float(least_by_cuts(f, sets, b, weights)), abs=1e-7)
        for s, members in enumerate(sets):
            assert given[s, :, h].sum() == pytest.approx(b[s], rel=1e-6, abs=1)
            assert all(given[s, i, h] <= 1e-6 * sum(f + b) for i in range(k) if i not in members)
