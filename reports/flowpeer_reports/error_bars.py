"""What sampling alone leaves open (METHODS M6)."""

from __future__ import annotations

import math

Z = 1.96
MTU_BYTES = 1500


def interval(
    estimate: float, variance: float, sampling: float, largest: float = MTU_BYTES
) -> tuple[float, float, float]:
    """Half width and ends of the 95 % interval of a byte count estimated from 1:`sampling` packets.

    Right for few packets too, and not centred on the estimate. `estimate` in bytes, `variance`
    (upper bound) in bytes², `largest`: of a packet, in bytes.
    """
    n, m = sampling, largest
    c = (variance + 2 * n * (n - 1) * m * m) / (estimate + 2 * n * m)
    centre = estimate + Z * Z * c / 2
    half = Z * math.sqrt(c * estimate + Z * Z * c * c / 4)
    return half, max(0.0, centre - half), centre + half


def tied(difference: float, variance: float) -> bool:
    """Whether two figures are one to sampling: their disjoint parts have this summed variance."""
    return abs(difference) < Z * math.sqrt(variance)
