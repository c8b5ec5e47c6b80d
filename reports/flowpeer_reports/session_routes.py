"""What the tables in force show of our sessions: who announces which routes to us (METHODS M14)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

OFFERS = {
    "epoch": pl.Int64, "metro": pl.String, "asn": pl.Int64, "exporter": pl.String,
    "interface": pl.Int64, "prefix": pl.String, "local_pref": pl.Int64, "path_length": pl.Int64,
}  # fmt: skip
TRANSIT = {
    "epoch": pl.Int64, "exporter": pl.String, "interface": pl.Int64, "prefix": pl.String,
    "local_pref": pl.Int64, "path_length": pl.Int64,
}  # fmt: skip


def _empty(schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.DataFrame(schema=schema)


@dataclass(frozen=True, slots=True)
class SessionRoutes:
    """Routes of our sessions, and those of our transits to compare them with."""

    views: frozenset[tuple[str, int]] = frozenset()
    """(metro, ASN) of the sessions whose own view is loaded: what it lacks is not announced."""
    offers: pl.DataFrame = field(default_factory=lambda: _empty(OFFERS))
    """epoch, metro, asn, exporter, interface, prefix, local_pref, path_length: what our tables
    hold from the neighbours of peering interfaces; null: unknown."""
    transit: pl.DataFrame = field(default_factory=lambda: _empty(TRANSIT))
    """epoch, exporter, interface, prefix, local_pref, path_length: the same of transit."""
    epoch_of_hour: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )
    """Of each hour of the period: which tables hold."""
    sessions: frozenset[tuple[str, int]] = frozenset()
    """(metro, ASN) with a view in our own routers' tables: sessions, configured or not."""
