"""Which prefixes of routing tables bear on traffic: those that carry some, and those over them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_reports.demand import parts_of

_DEFAULTS = ("0.0.0.0/0", "::/0")
_Octets = npt.NDArray[np.bytes_]


class CarriedPrefixes:
    """Prefixes that carry traffic, against table after table.

    What one table has and the one before had too is not looked at again.
    """

    def __init__(self, used: pl.Series) -> None:
        """`used`: prefixes of traffic."""
        starts: dict[int, dict[bytes, int]] = {32: {}, 128: {}}
        for prefix in used:
            family, length, bits = parts_of(prefix)
            at = starts[family]
            key = bits.to_bytes(family // 8)
            at[key] = max(at.get(key, 0), length)
        self._starts = {f: _octets(sorted(at), f) for f, at in starts.items()}
        self._longest = {
            f: np.array([at[key] for key in sorted(at)], dtype=np.int64)
            for f, at in starts.items()
        }  # fmt: skip
        self._seen = pl.Series("prefix", dtype=pl.String)
        self._over = pl.Series("prefix", dtype=pl.String)

    def over(self, prefixes: pl.Series) -> pl.DataFrame:
        """prefix: of these and those of earlier calls, those that are, or lie over, one that
        carries traffic; a default route does not."""
        new = prefixes.filter(~prefixes.is_in(self._seen.implode())).unique()
        if new.len():
            self._seen = pl.concat([self._seen, new.rename("prefix")])
            known = np.zeros(new.len(), dtype=np.bool_)
            parts = [parts_of(prefix) for prefix in new]
            for family in (32, 128):
                mine = np.array([f == family for f, _, _ in parts], dtype=np.bool_)
                known[mine] = self._bear([p for p in parts if p[0] == family], family)
            found = new.filter(pl.Series(known)).rename("prefix")
            self._over = pl.concat([self._over, found.filter(~found.is_in(_DEFAULTS))])
        return self._over.to_frame()

    def _bear(self, parts: list[tuple[int, int, int]], family: int) -> npt.NDArray[np.bool_]:
        """A network that begins behind another's start and within it lies in it; one that begins
        with it does if it is no shorter."""
        starts, width = self._starts[family], family // 8
        first = _octets([bits.to_bytes(width) for _, _, bits in parts], family)
        last = _octets(
            [(bits | (1 << family - n) - 1).to_bytes(width) for _, n, bits in parts], family
        )
        length = np.array([n for _, n, _ in parts], dtype=np.int64)
        low, high = np.searchsorted(starts, first), np.searchsorted(starts, last, "right")
        padded = np.append(self._longest[family], -1)
        there = np.append(starts, b"")[low] == first  # behind the last: no length fits
        made: npt.NDArray[np.bool_] = (there & (padded[low] >= length)) | (high - there > low)
        return made


def _octets(values: list[bytes], family: int) -> _Octets:
    return np.array(values, dtype=f"S{family // 8}")


__all__ = ["CarriedPrefixes"]
