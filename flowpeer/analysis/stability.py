"""What becomes of each link's routes from table to table of a period (METHODS M11)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.moves import TABLES

MOST_CHANGES = 2
"""A route whose path changed more often is not moved."""
_KEY = ["prefix", "link"]


class RouteHistory:
    """Paths of routes, table by table; what is kept grows with the routes, not with the tables."""

    def __init__(self) -> None:
        self._tables = 0
        self._seen = pl.DataFrame(
            schema={"prefix": pl.String, "link": pl.Int32, "path": pl.UInt64, "tables": pl.UInt32,
                    "changes": pl.UInt32, "prepends": pl.Int32}
        )  # fmt: skip

    def add(self, offers: pl.DataFrame) -> None:
        """The next table: prefix, link, path (a hash), prepends; of several paths one counts."""
        self._tables += 1
        now = offers.group_by(_KEY).agg(
            pl.col("path").min().alias("now"), pl.col("prepends").max().alias("more")
        )
        here, known = pl.col("now").is_not_null(), pl.col("path").is_not_null()
        changed = here & known & (pl.col("now") != pl.col("path"))
        self._seen = self._seen.join(now, on=_KEY, how="full", coalesce=True).select(
            *_KEY,
            path=pl.coalesce("now", "path"),
            tables=pl.col("tables").fill_null(0) + here.cast(pl.UInt32),
            changes=pl.col("changes").fill_null(0) + changed.cast(pl.UInt32),
            prepends=pl.when(pl.col("more") > 0).then("more").otherwise("prepends"),
        )

    def unstable(self) -> frozenset[tuple[str, int]]:
        """(prefix, link) of routes that are not moved: their path changed too often, or they are in
        fewer than half of the tables. None with so few tables that nothing is known of it."""
        if self._tables < TABLES:
            return frozenset()
        rare = 2 * pl.col("tables") < self._tables
        found = self._seen.filter((pl.col("changes") > MOST_CHANGES) | rare)
        return frozenset(found.select(_KEY).iter_rows())

    def prepended(self) -> dict[tuple[str, int], int]:
        """(prefix, link) → ASNs on the path that repeat the one before, where there are any, as in
        the last table that has some."""
        some = self._seen.filter(pl.col("prepends") > 0)
        return {(prefix, link): n for prefix, link, n in some.select(*_KEY, "prepends").iter_rows()}
