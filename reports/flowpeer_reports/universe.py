"""The transit traffic that lists are made over, and who could carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from flowpeer_reports.offload import Cover
from flowpeer_reports.parties import Parties
from flowpeer_reports.relations import AsGraph


@dataclass(frozen=True, slots=True)
class Universe:
    """The transit traffic of some metros by route, and who could carry it."""

    metros: list[str]
    routes: pl.DataFrame
    """Bytes by link, prefix, origin and direction; unscaled ones too."""
    early: pl.DataFrame
    """The same, with `asn` and `since`, of what rode transit before a session for it came up: in
    no list (M14)."""
    since: pl.DataFrame
    """Those routes; see `live_since.SINCE`."""
    parties: Parties
    graph: AsGraph
    never: Mapping[int, str]
    """ASN → why it is never a candidate."""
    cover: Cover
    flows: pl.DataFrame
    """See `Ranking.flows`."""

    @property
    def whole(self) -> pl.DataFrame:
        """`routes` with `early`: all the transit traffic there is."""
        return pl.concat([self.routes, self.early.select(self.routes.columns)])


def flows_of(routes: pl.DataFrame, units: pl.DataFrame) -> pl.DataFrame:
    """The scaled traffic by link and atom (`Ranking.flows`); `units`: prefix, origin_asn, atom."""
    key = ["metro", "exporter", "interface", "provider_asn", "atom", "direction"]
    return (
        routes.filter("scaled")
        .join(units, on=["prefix", "origin_asn"], nulls_equal=True)
        .group_by(key)
        .agg(pl.col("bytes").sum(), pl.col("variance_high").sum(), pl.col("folded").sum())
        .sort(key)
    )
