"""Which prefixes of routing tables bear on traffic: those that carry some, and those over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_reports.demand import parts_of

_DEFAULTS = ("0.0.0.0/0", "::/0")
_V4 = r"^(\d+)\.(\d+)\.(\d+)\.(\d+)/(\d+)$"
_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Networks:
    """Networks of one family: first and last addresses, in their order, and lengths."""

    first: _Array
    last: _Array
    length: npt.NDArray[np.int64]


class CarriedPrefixes:
    """Prefixes that carry traffic, against table after table.

    What one table has and the one before had too is not looked at again.
    """

    def __init__(self, used: pl.Series) -> None:
        """`used`: prefixes of traffic."""
        self._known = [_starts(networks) for networks in _networks(used)]
        self._seen = pl.Series("prefix", dtype=pl.String)
        self._over = pl.Series("prefix", dtype=pl.String)

    def over(self, prefixes: pl.Series) -> pl.DataFrame:
        """prefix: of these and those of earlier calls, those that are, or lie over, one that
        carries traffic; a default route does not."""
        new = prefixes.filter(~prefixes.is_in(self._seen.implode())).unique().rename("prefix")
        if new.len():
            self._seen = pl.concat([self._seen, new])
            new = new.filter(~new.is_in(_DEFAULTS))
            six = new.str.contains(":", literal=True)
            parts = zip((new.filter(~six), new.filter(six)), _networks(new), strict=True)
            found = [
                mine.filter(pl.Series(_bear(networks, *known), dtype=pl.Boolean))
                for (mine, networks), known in zip(parts, self._known, strict=True)
            ]
            self._over = pl.concat([self._over, *found])
        return self._over.to_frame()


def _networks(prefixes: pl.Series) -> tuple[_Networks, _Networks]:
    """IPv4 as integers, IPv6 as octets, each in the order of `prefixes`."""
    six = prefixes.str.contains(":", literal=True)
    four = (
        prefixes.filter(~six).str.extract_groups(_V4).struct.unnest().cast(pl.Int64).to_numpy()
    ).reshape(-1, 5)  # fmt: skip
    first, length = four[:, :4] @ np.array([1 << 24, 1 << 16, 1 << 8, 1]), four[:, 4]
    parts = [parts_of(prefix) for prefix in prefixes.filter(six)]
    ends = [(bits, bits | (1 << family - n) - 1) for family, n, bits in parts]
    return (
        _Networks(first, first + (1 << 32 - length) - 1, length),
        _Networks(
            np.array([low.to_bytes(16) for low, _ in ends], dtype="S16"),
            np.array([high.to_bytes(16) for _, high in ends], dtype="S16"),
            np.array([n for _, n, _ in parts], dtype=np.int64),
        ),
    )


def _starts(networks: _Networks) -> tuple[_Array, npt.NDArray[np.int64]]:
    """First addresses, rising, and the longest network that begins with each."""
    starts, place = np.unique(networks.first, return_inverse=True)
    longest = np.full(len(starts) + 1, -1, dtype=np.int64)  # behind the last: none fits
    np.maximum.at(longest, place, networks.length)
    return starts, longest


def _bear(
    networks: _Networks, starts: _Array, longest: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """A network that begins behind another's start and within it lies in it; one that begins with
    it does if it is no shorter."""
    low = np.searchsorted(starts, networks.first)
    behind = np.searchsorted(starts, networks.first, "right")
    high = np.searchsorted(starts, networks.last, "right")
    same = (behind > low) & (longest[low] >= networks.length)
    made: npt.NDArray[np.bool_] = same | (high > behind)
    return made


__all__ = ["CarriedPrefixes"]
