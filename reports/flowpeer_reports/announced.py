"""Which routes sessions announce to us, against those that paths show them for (METHODS M14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from flowpeer_reports.demand import CoveringPrefixes
from flowpeer_reports.parties import Parties
from flowpeer_reports.session_routes import SessionRoutes


@dataclass(frozen=True, slots=True)
class AnnouncedRoutes:
    """By party: what was announced to us in any table of the period."""

    views: pl.DataFrame
    """metro, asn."""
    routes: pl.DataFrame
    """metro, asn, prefix, over: `over` is the longest announced prefix over it (itself: exact)."""


def announced_routes(
    of: SessionRoutes, parties: Parties, prefixes: Sequence[str]
) -> AnnouncedRoutes:
    """What sessions announce of these prefixes, for parties as one."""
    views = sorted({(metro, parties.of(asn)) for metro, asn in of.views})
    offers = of.offers.select(
        "metro",
        pl.Series("asn", parties.named(of.offers["asn"].to_numpy()), pl.Int64),
        pl.col("prefix").alias("over"),
    ).unique()
    over = CoveringPrefixes(offers["over"].unique().to_list())
    chains = [(p, o, n) for p in prefixes for n, o in enumerate(over.of(p))]
    longest = pl.DataFrame(
        chains, schema={"prefix": pl.String, "over": pl.String, "place": pl.Int64}, orient="row"
    )
    routes = (
        offers.join(longest, on="over")
        .sort("metro", "asn", "prefix", "place")
        .unique(["metro", "asn", "prefix"], keep="first", maintain_order=True)
        .select("metro", "asn", "prefix", "over")
    )
    return AnnouncedRoutes(
        pl.DataFrame(views, schema={"metro": pl.String, "asn": pl.Int64}, orient="row"), routes
    )


def marks(
    units: pl.DataFrame, seen: pl.DataFrame, announced: AnnouncedRoutes, parties: Parties
) -> pl.DataFrame:
    """metro, asn, prefix, origin_asn, withheld: where sessions differ from what paths show.

    `withheld`: the party is observed for the route and its loaded view lacks it. Else the tables
    hold the route from it, though it is observed on no path. `seen`: prefix, asn.
    """
    own = units.filter(pl.col("origin_asn") > 0).select("prefix", asn="origin_asn")
    pairs = (
        pl.concat([seen.select("prefix", "asn"), own])
        .with_columns(asn=pl.Series(parties.named(np.concatenate([seen["asn"].to_numpy(),
                                                                  own["asn"].to_numpy()]))))
        .unique()
        .join(announced.views.select("asn").vstack(announced.routes.select("asn")).unique(),
              on="asn", how="semi")
    )  # fmt: skip
    withheld = pairs.join(announced.views, on="asn").join(
        announced.routes, on=["metro", "asn", "prefix"], how="anti"
    )
    held = announced.routes.filter(pl.col("over") == pl.col("prefix")).join(
        pairs, on=["prefix", "asn"], how="anti"
    )
    names = ["metro", "asn", "prefix"]
    return pl.concat(
        [
            withheld.select(*names, withheld=pl.lit(True)),
            held.select(*names, withheld=pl.lit(False)),
        ]
    ).join(units.select("prefix", "origin_asn").unique(), on="prefix")
