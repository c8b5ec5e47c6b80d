"""Growth of a weekly figure: Theil–Sen on the logarithm, Sen's interval (METHODS M15).

The interval's variance is that of Kendall's statistic times (1 + ρ)/(1 − ρ), ρ the lag-1
autocorrelation of the residuals: weeks resemble the week before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z80 = 1.2815515655446004
"""Of the normal distribution, two-sided 80 %."""


@dataclass(frozen=True, slots=True)
class TrendLine:
    """log(value) ≈ level + slope × (week − last week); slopes a week."""

    level: float
    slope: float
    low: float
    high: float
    correlation: float


def theil_sen(values: Sequence[float], weeks: Sequence[int] | None = None) -> TrendLine:
    """The line through positive values of some weeks (0, 1, 2, … where not given); two or more."""
    y = np.log(np.asarray(values, dtype=np.float64))
    x = np.arange(len(y)) if weeks is None else np.asarray(weeks)
    i, j = np.triu_indices(len(y), 1)
    slopes = np.sort((y[j] - y[i]) / (x[j] - x[i]))
    slope = float(np.median(slopes))
    level = float(np.median(y - slope * (x - x[-1])))
    rest = y - level - slope * (x - x[-1])
    rest = rest - rest.mean()
    square = float((rest**2).sum())
    rho = float((rest[1:] * rest[:-1]).sum() / square) if square > 1e-18 else 0.0
    n = len(y)
    # Residuals of a fitted line look less alike than they are (to first order, by (1 + 4ρ) / n);
    # a negative correlation would make the interval too narrow.
    rho = min(max(rho + (1 + 4 * rho) / n, 0.0), 0.95)
    spread = Z80 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18 * (1 + rho) / (1 - rho))
    low = int(np.floor((len(slopes) - spread) / 2))
    high = int(np.ceil((len(slopes) + spread) / 2))
    return TrendLine(
        level, slope,
        float(slopes[max(low - 1, 0)]), float(slopes[min(high, len(slopes) - 1)]), rho,
    )  # fmt: skip
