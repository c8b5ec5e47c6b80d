"""The tail of an hour: networks too small to be kept by 5-minute slot.

A sampled network of the tail shows in a few slots of an hour only, so that a row for each of its
hours would save little. Its hours are there already: `traffic_routes` has every network by the
hour. So folding replaces, in `traffic`, the rows of all networks of a metro's tail by one row with
the code `FOLDED` for each slot, interface, direction and family, and marks their rows of
`traffic_routes` as `folded`. Nothing is in a table twice: sums by slot, interface and role are what
they were, to the byte; a network's own sum is its rows of `traffic` and its folded rows of
`traffic_routes`; and what cannot be known any more, its slots, is in neither (METHODS M5).

A network is folded in all of a metro's rows of an hour, or in none of them. Bytes without a
sampling rate cannot be compared with others and are not folded, nor are the codes of no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flowpeer.rollup.reading import Ints

if TYPE_CHECKING:
    import polars as pl

ASN_BITS = 33
"""Of a remote network in an integer: every ASN, and the codes below zero as an offset."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Which networks of a metro's hour are folded.

    The smallest ones that together carry at most `share` of the metro's bytes to and from public
    networks, as far as each of them stays below a mean of `below_bps` (both directions together).
    """

    share: float
    below_bps: int

    def smallest(self, totals: pl.DataFrame) -> Ints:
        """Networks of the tail, sorted.

        Args:
            totals: network (metro number << ASN_BITS | ASN) and bytes of the hour, one row each.
        """
        import polars as pl

        metro = pl.col("network") // (1 << ASN_BITS)
        ranked = totals.sort("bytes", "network").with_columns(
            so_far=pl.col("bytes").cum_sum().over(metro), whole=pl.col("bytes").sum().over(metro)
        )
        small = ranked.filter(
            pl.col("so_far") <= pl.col("whole") * self.share,
            pl.col("bytes") * 8 < self.below_bps * 3600,
        )
        networks: Ints = small["network"].sort().to_numpy()
        return networks


@dataclass(frozen=True, slots=True)
class Folded:
    """What was folded of an hour, for its manifest."""

    networks: int
    """Pairs of metro and network."""
    bytes: int


def among(values: Ints, chosen: Ints) -> npt.NDArray[np.bool_]:
    """Which values are in `chosen`, which is sorted."""
    if not chosen.size:
        return np.zeros(values.size, dtype=bool)
    place = np.minimum(np.searchsorted(chosen, values), chosen.size - 1)
    found: npt.NDArray[np.bool_] = chosen[place] == values
    return found
