"""Numbers that look random and are the same on every machine and with every numpy.

SplitMix64 over a counter, keyed by a text, in integers only: numpy's own generators may change
their streams between versions, and floating-point logarithms differ between machines.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from flowpeer_sample.world import SEED

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def words(key: str, n: int) -> NDArray[np.uint64]:
    """`n` 64-bit words of the stream named `key`."""
    digest = hashlib.blake2b(f"{SEED}/{key}".encode(), digest_size=8).digest()
    with np.errstate(over="ignore"):
        x = np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN
        x += np.uint64(int.from_bytes(digest, "big"))
        x = (x ^ (x >> np.uint64(30))) * _MIX1
        x = (x ^ (x >> np.uint64(27))) * _MIX2
    return x ^ (x >> np.uint64(31))


def below(key: str, n: int, bound: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """`n` integers from 0 to `bound` − 1, bound at most 2^32 (one bound, or one for each)."""
    top = (words(key, n) >> np.uint64(33)).astype(np.int64)
    return (top * bound) >> 31


def one(key: str, bound: int) -> int:
    """One integer from 0 to `bound` − 1 that depends on `key` alone."""
    digest = hashlib.blake2b(f"{SEED}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * bound >> 64
