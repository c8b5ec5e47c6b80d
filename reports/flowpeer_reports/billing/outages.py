"""The billed rate of a month in which traffic returns to transit for some hours (METHODS M8).

The hours are those that raise the rate most. For one series they are found exactly: the 95th
percentile is at least v where so many slots are at or above v as lie above its rank, so the largest
v is searched for that some run of slots reaches with what returns in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flowpeer_core import p95
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.billing.rate import Ints, billed_of_links, p95_octets
from flowpeer_reports.billing.terms import Billing

HOUR = 3600 // SLOT_SECONDS


def worst_p95(values: Ints, back: Ints, length: int) -> int:
    """The largest 95th percentile that `values` can have with `back` (not negative) added in
    `length` slots that follow on each other."""
    if not len(values):
        return 0
    need = len(values) - p95.rank(len(values)) + 1
    raised = values + back
    levels = np.unique(np.concatenate([values, raised]))
    length = min(length, len(values))
    low, high = 0, len(levels) - 1  # the lowest level is always reached
    while low < high:
        middle = (low + high + 1) // 2
        level = levels[middle]
        gained = np.concatenate([[0], np.cumsum((values < level) & (raised >= level))])
        most = int((gained[length:] - gained[: len(gained) - length]).max())
        if int((values >= level).sum()) + most >= need:
            low = middle
        else:
            high = middle - 1
    return int(levels[low])


def worst_octets(
    links: Sequence[tuple[Ints, Ints]], back: Sequence[Ints], billing: Billing, aggregate: str,
    hours: int,
) -> int:  # fmt: skip
    """The billed slot of links (in, out) if `back` returns outbound on them for some hours.

    Links that are billed one by one have their outage in the same hours, tried from every hour on.
    """
    length = hours * HOUR
    if not links:
        return 0
    if aggregate == "sum_of_p95":
        worst = billed_of_links(links, billing, aggregate)
        for begin in range(0, len(back[0]), HOUR):
            raised = []
            for (bytes_in, bytes_out), more in zip(links, back, strict=True):
                out = bytes_out.copy()
                out[begin : begin + length] += more[begin : begin + length]
                raised.append((bytes_in, out))
            worst = max(worst, billed_of_links(raised, billing, aggregate))
        return worst
    bytes_in, bytes_out = (np.add.reduce(one, axis=0) for one in zip(*links, strict=True))
    more = np.add.reduce(list(back), axis=0)
    match billing:
        case "in":
            return p95_octets(bytes_in)
        case "out":
            return worst_p95(bytes_out, more, length)
        case "sum":
            return worst_p95(bytes_in + bytes_out, more, length)
        case "p95_of_max":
            top = np.maximum(bytes_in, bytes_out)
            return worst_p95(top, np.maximum(bytes_in, bytes_out + more) - top, length)
        case "max_of_p95" | "flat":
            return max(p95_octets(bytes_in), worst_p95(bytes_out, more, length))
