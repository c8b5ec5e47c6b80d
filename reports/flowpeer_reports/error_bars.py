"""What sampling alone leaves open (METHODS M6)."""

from __future__ import annotations

import math

Z = 1.96
MTU_BYTES = 1500


def half_width(estimate: float, variance: float, sampling: int) -> float:
    """Half width of the 95 % interval of a byte count estimated from 1:`sampling` packets.

    `estimate` in bytes, `variance` (upper bound) in bytes². Holds for few samples too.
    """
    n, m = sampling, MTU_BYTES
    c = (variance + 2 * n * (n - 1) * m * m) / (estimate + 2 * n * m)
    return Z * math.sqrt(c * estimate + Z * Z * c * c / 4)


def tied(difference: float, variance: float) -> bool:
    """Whether two figures whose disjoint parts have this summed variance cannot be told apart."""
    return abs(difference) < Z * math.sqrt(variance)
