"""Who can take what: the universe of routes against the networks that could carry them.

Routes of one origin with the same observed networks behave alike, so they are one **atom**;
a table of (network, atom, class of evidence), grouped by network, is all that the ranking needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.asns import is_public
from flowpeer_reports.paths import observed
from flowpeer_reports.relations import AsGraph, Flags, Ints


@dataclass(frozen=True, slots=True)
class Cover:
    """Entries of network i are `atom[first[i]:first[i + 1]]`, in rising order of atoms."""

    units: pl.DataFrame
    """prefix, origin_asn, atom: every route of the universe and the atom it belongs to."""
    origins: Ints
    """Origin of each atom; not public: nobody takes it."""
    asns: Ints
    """The networks, rising."""
    first: Ints
    atom: npt.NDArray[np.int32]
    observed: Flags
    """Class of each entry: observed, else inferred."""

    def entries(self, network: int) -> slice:
        """The entries of the network with this index."""
        return slice(int(self.first[network]), int(self.first[network + 1]))


def cover(
    units: pl.DataFrame,
    paths: pl.DataFrame,
    graph: AsGraph,
    ourselves: Iterable[int],
    cones: pl.DataFrame | None = None,
) -> Cover:
    """The cover of `units` (prefix, origin_asn: distinct), from path views and relationships.

    `cones` (asn, member_asn) stands in the place of the graph's recursive customer cones.
    """
    needed = paths.join(units.select("prefix").unique(), on="prefix", how="semi")
    seen = observed(needed, graph, ourselves)
    groups = seen.group_by("prefix").agg(pl.col("asn").sort().cast(pl.String).str.join(" "))
    labelled = (
        units.join(groups.rename({"asn": "seen"}), on="prefix", how="left")
        .with_columns(pl.col("seen").fill_null(""))
        .sort("origin_asn", "seen", "prefix", nulls_last=True)
    )
    atoms = (
        labelled.select("origin_asn", "seen").unique(maintain_order=True).with_row_index("atom")
    ).with_columns(pl.col("atom").cast(pl.Int32))
    labelled = labelled.join(
        atoms, on=["origin_asn", "seen"], nulls_equal=True, maintain_order="left"
    )
    origins = atoms["origin_asn"].fill_null(-1).to_numpy()
    public = is_public(origins)

    sighted = (
        atoms.filter(pl.Series(public))
        .select("atom", pl.col("seen").str.extract_all(r"[0-9]+").alias("asn"))
        .explode("asn", empty_as_null=True)
        .drop_nulls()
        .with_columns(pl.col("asn").cast(pl.Int64))
    )
    which = np.flatnonzero(public)
    distinct, position = np.unique(origins[which], return_inverse=True)
    # Atoms are sorted by origin, so each origin's public atoms are one run.
    run_first = np.searchsorted(position, np.arange(len(distinct) + 1))
    if cones is None:
        index, ancestor = graph.above(distinct)
    else:
        held = cones.filter(pl.col("member_asn").is_in(distinct))
        ancestor = held["asn"].to_numpy()
        index = np.searchsorted(distinct, held["member_asn"].to_numpy())
    size = run_first[index + 1] - run_first[index]
    entry = np.repeat(run_first[index] - np.cumsum(size) + size, size) + np.arange(size.sum())
    asn = np.concatenate([sighted["asn"].to_numpy(), origins[which], np.repeat(ancestor, size)])
    atom = np.concatenate([sighted["atom"].to_numpy(), which, which[entry]]).astype(np.int64)
    by_path = np.arange(len(asn)) < sighted.height + len(which)

    ok = (asn > 0) & (asn != np.array(0))
    asn, atom, by_path = asn[ok], atom[ok], by_path[ok]
    key = asn * max(len(origins), 1) + atom
    order = np.lexsort((~by_path, key))  # observed before inferred: it wins
    key = key[order]
    once = np.ones(len(key), dtype=np.bool_)
    once[1:] = key[1:] != key[:-1]
    order = order[once]
    asns, counts = np.unique(asn[order], return_counts=True)
    return Cover(
        units=labelled.select("prefix", "origin_asn", "atom"),
        origins=origins,
        asns=asns,
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        atom=atom[order].astype(np.int32),
        observed=by_path[order],
    )
