"""Percentiles against their definition, in every engine that computes one."""

from __future__ import annotations

from random import Random

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer_core import p95
from flowpeer_core.percentile import p95_of, p95_sparse


def test_rank_is_the_nearest_rank() -> None:
    for n in range(1, 400):
        assert p95.rank(n) == -(-95 * n // 100)
        assert p95.rank(n) == np.quantile(np.arange(1, n + 1), 0.95, method="inverted_cdf")


def test_numpy_polars_and_sql_give_the_same_rank() -> None:
    """2^53 and more: an engine that went through floating point would be wrong there."""
    sizes = [*range(1000), (1 << 53) + 1, 10**17]
    expected = [p95.rank(n) for n in sizes]
    frame = pl.DataFrame({"n": sizes})
    assert p95.rank(frame["n"].to_numpy()).tolist() == expected
    assert frame.select(p95.rank(pl.col("n"))).to_series().to_list() == expected
    rows = duckdb.sql(f"SELECT {p95.RANK_SQL} FROM (SELECT unnest({sizes}) AS n)").fetchall()
    assert [rank for (rank,) in rows] == expected


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
    for got, (values, zeros) in zip(found.tolist(), groups, strict=True):
        dense = sorted([*values, *[0] * zeros]) or [0]
        assert got == p95_of(np.array(values, np.int64), len(values) + zeros)
        assert got == dense[p95.rank(len(dense)) - 1]


def test_more_values_than_slots_count_as_they_are() -> None:
    assert p95_sparse([(np.array([0, 0, 0]), np.array([5, 1, 3]))], np.array([2])).tolist() == [5]


def test_a_value_that_does_not_fit_beside_its_group_is_refused() -> None:
    with pytest.raises(OverflowError, match="beyond 2"):
        p95_sparse([(np.array([0]), np.array([1 << 62]))], np.array([2]))
