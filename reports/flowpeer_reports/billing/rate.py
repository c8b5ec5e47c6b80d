"""The billed rate of a contract's month: a percentile of real slots (METHODS M5)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from flowpeer_core import p95
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.billing.terms import Billing

Ints = npt.NDArray[np.int64]


def as_bps(octets: int) -> Fraction:
    """Octets of one slot as a rate."""
    return Fraction(8 * octets, SLOT_SECONDS)


def p95_octets(values: Ints) -> int:
    """The 95th percentile of a dense series; 0 of an empty one."""
    if not len(values):
        return 0
    place = p95.rank(len(values)) - 1
    return int(np.partition(values, place)[place])


def billed_octets(inbound: Ints, outbound: Ints, billing: Billing) -> int:
    """The slot whose rate is billed, in octets. `flat` bills no slot; it is shown like the larger
    direction."""
    match billing:
        case "in":
            return p95_octets(inbound)
        case "out":
            return p95_octets(outbound)
        case "p95_of_max":
            return p95_octets(np.maximum(inbound, outbound))
        case "sum":
            return p95_octets(inbound + outbound)
        case "max_of_p95" | "flat":
            return max(p95_octets(inbound), p95_octets(outbound))


def billed_of_links(links: Sequence[tuple[Ints, Ints]], billing: Billing, aggregate: str) -> int:
    """Likewise for several links (in, out), summed before the percentile or after it."""
    if aggregate == "sum_of_p95":
        return sum(billed_octets(bytes_in, bytes_out, billing) for bytes_in, bytes_out in links)
    if not links:
        return 0
    bytes_in, bytes_out = (np.add.reduce(one, axis=0) for one in zip(*links, strict=True))
    return billed_octets(bytes_in, bytes_out, billing)
