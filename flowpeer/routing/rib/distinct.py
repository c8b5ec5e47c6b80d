"""How many prefixes of each family a stream of routes has."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pyarrow as pa


class DistinctPrefixes:
    """Counts distinct prefixes of a stream, exactly; merges when the pending part has grown."""

    def __init__(self) -> None:
        self._seen = {4: pl.Series(dtype=pl.String), 6: pl.Series(dtype=pl.String)}
        self._pending: dict[int, list[pl.Series]] = {4: [], 6: []}

    def add(self, table: pa.Table) -> None:
        """Take in routes: prefix and family."""
        frame = pl.DataFrame(pl.from_arrow(table.select(["prefix", "family"])))
        for family, pending in self._pending.items():
            part = frame.filter(pl.col("family") == family)["prefix"].unique()
            if not len(part):
                continue
            pending.append(part)
            if sum(map(len, pending)) > max(1 << 20, len(self._seen[family])):
                self._merge(family)

    def _merge(self, family: int) -> None:
        if self._pending[family]:
            self._seen[family] = pl.concat([self._seen[family], *self._pending[family]]).unique()
            self._pending[family].clear()

    def counts(self) -> Counter[int]:
        """Distinct prefixes by family."""
        for family in self._seen:
            self._merge(family)
        return Counter({family: len(seen) for family, seen in self._seen.items()})
