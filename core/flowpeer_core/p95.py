"""The rank of the 95th percentile: nearest rank, ceil(0.95 n), in integers (METHODS M5).

Stated here once, as Python and as SQL. numpy, Polars and DuckDB all divide integers with `//` and
round down, so one expression serves them.
"""

from __future__ import annotations

from typing import Any

RANK_SQL = "(19 * n + 19) // 20"
"""`rank` as an expression of DuckDB's SQL over the integer `n`."""


def rank(n: Any) -> Any:
    """Rank, from 1, of the 95th percentile among `n` sorted values.

    `n` is an integer, or a numpy array or Polars expression of integers; so is the answer.
    """
    return (19 * n + 19) // 20
