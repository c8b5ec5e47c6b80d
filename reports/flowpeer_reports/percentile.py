"""The 95th percentile of billing: nearest rank over a dense series (METHODS M5)."""

from __future__ import annotations

import polars as pl


def p95_rank(n: int) -> int:
    """Rank, from 1, of the 95th percentile among `n` sorted values: ceil(0.95 n), in integers."""
    return (19 * n + 19) // 20


def p95_sparse(value: pl.Expr, n: pl.Expr) -> pl.Expr:
    """The p95 of non-negative values to which zeros are added until there are `n`.

    Both are expressions inside an aggregation, `n` the same for all rows of a group. More values
    than `n` count as they are.
    """
    held = value.len().cast(pl.Int64)
    whole = pl.max_horizontal(n.first().cast(pl.Int64), held)
    # Rank among all of them, less the zeros that sort before the values held.
    place = (19 * whole + 19) // 20 - (whole - held) - 1
    return pl.when(place < 0).then(0).otherwise(value.sort().get(place.clip(0)))
