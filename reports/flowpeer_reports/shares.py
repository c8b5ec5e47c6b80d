"""Splitting integers in proportion, to the byte: largest remainder, ties to the earlier."""

from __future__ import annotations

import numpy as np

from flowpeer_reports.relations import Ints


def scaled(amount: Ints, weight: Ints, total: Ints) -> tuple[Ints, Ints]:
    """⌊amount × weight / whole⌋ and what is left over, exactly; `whole` is positive.

    The product may need more than 64 bits: the quotient is estimated in floating point, which is
    right to within one, and set right by the remainder, which fits although the product wraps.
    Amounts and weights are below 2^53, `whole` is below 2^62 and not below the weight.
    `split_columns_plain` keeps the place of up to 512 parts beside the remainder: 2^53 there.
    """
    guess = np.floor(
        amount.astype(np.float64) * weight.astype(np.float64) / total.astype(np.float64)
    ).astype(np.int64)
    rest = amount * weight - guess * total
    low = rest < 0
    guess -= low
    rest += np.where(low, total, 0)
    high = rest >= total
    guess += high
    rest -= np.where(high, total, 0)
    return guess, rest


def split_columns_plain(amount: Ints, weights: Ints) -> Ints:
    """Each amount over its column of `weights` (parts × amounts), whose sums are positive."""
    if len(weights) == 1:
        return amount[None, :].copy()
    total = weights.sum(axis=0)
    part, rest = scaled(amount[None, :], weights, np.broadcast_to(total, weights.shape))
    remaining = amount - part.sum(axis=0)
    some = np.flatnonzero(remaining)
    if len(some):
        # A key that orders by remainder, then by place, and is unlike any other of its column:
        # the part gets one more if its key is among the `left` lowest.
        bits = len(weights).bit_length()
        key = (total[some] - rest[:, some] << bits) + np.arange(len(weights))[:, None]
        ordered = np.sort(np.ascontiguousarray(key.T), axis=1)
        limit = ordered[np.arange(len(some)), remaining[some] - 1]
        part[:, some] += key <= limit
    return part
