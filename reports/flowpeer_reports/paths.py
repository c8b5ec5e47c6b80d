"""Which networks are observed downhill on the way to a prefix (METHODS M7, class 1).

A network is observed for a prefix if it is on a path to it and every link after it goes from
provider to customer. Prepends collapse, sibling links are neutral, an unknown relationship, an
AS_SET and we ourselves stop the way up.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from flowpeer_reports.relations import MAX_ASN, AsGraph, Flags, Ints

_SET = r"\{[^}]*\}?"
_CONFEDERATION = r"[(\[][^)\]]*[)\]]?"  # never leaves its confederation (RFC 5065)


def observed(paths: pl.DataFrame, graph: AsGraph, ourselves: Iterable[int]) -> pl.DataFrame:
    """prefix, asn: distinct and sorted. `paths` has prefix and as_path, one row a view."""
    views = paths.select("prefix", "as_path").drop_nulls().unique()
    distinct = views.select("as_path").unique().sort("as_path").with_row_index("path")
    path, asn, run, stop = _runs(distinct, graph, ourselves)
    if not len(asn):
        return pl.DataFrame(schema={"prefix": pl.String, "asn": pl.Int64})
    last = np.searchsorted(path, path, side="right") - 1
    seen = (run[last] == run) & ~stop

    found = pl.DataFrame({"path": path[seen], "asn": asn[seen]}).unique()
    return (
        views.join(distinct.with_columns(pl.col("path").cast(pl.Int64)), on="as_path")
        .join(found, on="path")
        .select("prefix", "asn")
        .unique()
        .sort("prefix", "asn")
    )


def behind(
    as_paths: pl.Series, graph: AsGraph, ourselves: Iterable[int] = (), peers: Iterable[int] = ()
) -> pl.DataFrame:
    """asn, member_asn: provider/peer-observed customer cones; distinct and sorted.

    A member is seen downhill behind a network on a path on which the hop before the network is its
    provider or peer, so that the network tells it what it would tell us (siblings are neutral).
    Before the first hop stand we: a peer of the networks in `peers`. Part of the recursive cone.
    """
    ours = np.array(sorted(ourselves), dtype=np.int64)
    distinct = pl.DataFrame({"as_path": as_paths}).drop_nulls().unique().sort("as_path")
    path, asn, run, stop = _runs(distinct.with_row_index("path"), graph, ours)
    announced = np.isin(asn, np.array(sorted(peers), dtype=np.int64))  # as if we stood before it
    neutral = np.zeros(len(asn), dtype=np.bool_)
    inner = np.flatnonzero(path[1:] == path[:-1]) + 1
    inner = inner[~np.isin(asn[inner - 1], ours)]
    announced[inner] = graph.upward(asn[inner - 1], asn[inner])
    neutral[inner] = graph.tied(asn[inner - 1], asn[inner]) & ~announced[inner]
    if len(asn):
        announced = announced[np.maximum.accumulate(np.where(neutral, 0, np.arange(len(asn))))]
    pairs = [pl.DataFrame(schema={"asn": pl.Int64, "member_asn": pl.Int64})]
    for step in range(1, len(asn)):
        together = (run[step:] == run[:-step]) & ~stop[step:] & ~stop[:-step]
        if not together.any():
            break
        together &= announced[:-step]
        above, below = asn[:-step][together], asn[step:][together]
        pairs.append(pl.DataFrame({"asn": above, "member_asn": below}).unique())
    found = pl.concat(pairs).filter(pl.col("asn") != pl.col("member_asn"))
    return found.unique().sort("asn", "member_asn")


def _runs(
    distinct: pl.DataFrame, graph: AsGraph, ourselves: Iterable[int]
) -> tuple[Ints, Ints, Ints, Flags]:
    """Hops of the paths: path, ASN, run, and whether the hop is none of a public network.

    `distinct` has path (a number, rising) and as_path. Hops of one run are joined by links that
    are known to go downhill; prepends are one hop.
    """
    hops = (
        distinct.lazy()
        .select(
            pl.col("path").cast(pl.Int64),
            pl.col("as_path")
            .str.replace_all(_SET, " 0 ")
            .str.replace_all(_CONFEDERATION, " ")
            .str.extract_all(r"[0-9]+")
            .alias("asn"),
        )
        .explode("asn", empty_as_null=True)
        .drop_nulls()
        .with_columns(pl.col("asn").cast(pl.Int64, strict=False).fill_null(0))
        .collect()
    )
    path, asn = hops["path"].to_numpy(), hops["asn"].to_numpy()
    asn = np.where(asn > MAX_ASN, 0, asn)
    kept = np.ones(len(asn), dtype=np.bool_)
    kept[1:] = (path[1:] != path[:-1]) | (asn[1:] != asn[:-1])
    path, asn = path[kept], asn[kept]
    stop = np.isin(asn, np.array([0, *ourselves], dtype=np.int64))
    run = np.zeros(len(asn), dtype=np.int64)
    downhill = graph.downhill(asn[:-1], asn[1:]) & ~stop[:-1] & ~stop[1:]
    run[1:] = np.cumsum((path[:-1] != path[1:]) | ~downhill)
    return path, asn, run, stop
