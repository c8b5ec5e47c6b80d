"""Who can take what: the universe of routes against the networks that could carry them.

Routes of one origin with the same observed networks behave alike, so they are one **atom**;
a table of (party, atom, class of evidence), grouped by party, is all that the ranking needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.asns import is_public
from flowpeer_reports.announced import announced_routes, marks
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.parties import Parties
from flowpeer_reports.paths import observed
from flowpeer_reports.relations import AsGraph, Ints

OBSERVED, INFERRED, DECLARED = range(3)
"""Classes of evidence, the strongest first: what is known by two counts once, as the stronger."""

Kinds = npt.NDArray[np.int8]
ANNOUNCED = {"metro": pl.String, "asn": pl.Int64, "atom": pl.Int32, "withheld": pl.Boolean}


@dataclass(frozen=True, slots=True)
class Cover:
    """Entries of party i are `atom[first[i]:first[i + 1]]`, in rising order of atoms."""

    units: pl.DataFrame
    """prefix, origin_asn, atom: every route of the universe and the atom it belongs to."""
    origins: Ints
    """Origin of each atom; not public: nobody takes it."""
    asns: Ints
    """The parties by the ASN that is asked, rising."""
    first: Ints
    atom: npt.NDArray[np.int32]
    kind: Kinds
    """Class of evidence of each entry."""
    announced: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ANNOUNCED))
    """metro, asn, atom, withheld: what sessions announce against what paths show; see `marks`."""

    def entries(self, party: int) -> slice:
        """The entries of the party with this index."""
        return slice(int(self.first[party]), int(self.first[party + 1]))


def cover(
    inputs: Inputs,
    units: pl.DataFrame,
    graph: AsGraph,
    parties: Parties,
    *,
    paths: pl.DataFrame | None = None,
) -> Cover:
    """The cover of `units` (prefix, origin_asn: distinct): networks that paths show, that cones or
    the graph's relationships imply, and that are declared.

    Routes that differ in what sessions announce to us are atoms of their own. What is declared
    weighs as the policy says: more than what is inferred, where it is the stronger.

    Args:
        paths: as `inputs.paths`, which they stand in for.
    """
    paths = inputs.paths if paths is None else paths
    weights, declared, sessions = inputs.policy.weights, inputs.declared, inputs.session_routes
    needed = paths.join(units.select("prefix").unique(), on="prefix", how="semi")
    seen = observed(needed, graph, {inputs.asn, *inputs.siblings})
    groups = seen.group_by("prefix").agg(pl.col("asn").sort().cast(pl.String).str.join(" "))
    labelled = units.join(groups.rename({"asn": "seen"}), on="prefix", how="left").with_columns(
        pl.col("seen").fill_null("")
    )
    differs = None
    if sessions is not None:
        prefixes = units["prefix"].drop_nulls().unique().to_list()
        announced = announced_routes(sessions, parties, prefixes)
        differs = marks(units, seen, announced, parties)
    kinds = ["origin_asn", "seen"]
    if differs is not None and differs.height:
        text = pl.format("{} {} {}", "metro", "asn", "withheld").sort().str.join("\n")
        announced_by = differs.group_by("prefix", "origin_asn").agg(announced=text)
        labelled = labelled.join(
            announced_by, on=["prefix", "origin_asn"], how="left", nulls_equal=True
        )
        labelled = labelled.with_columns(pl.col("announced").fill_null(""))
        kinds.append("announced")
    labelled = labelled.sort(*kinds, "prefix", nulls_last=True)
    atoms = (
        labelled.select(kinds).unique(maintain_order=True).with_row_index("atom")
    ).with_columns(pl.col("atom").cast(pl.Int32))
    labelled = labelled.join(atoms, on=kinds, nulls_equal=True, maintain_order="left")
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

    def below(pairs: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
        """(ASN, atom) of all atoms of the origins that an ASN holds; pairs: origin index, ASN."""
        index, ancestor = pairs
        size = run_first[index + 1] - run_first[index]
        entry = np.repeat(run_first[index] - np.cumsum(size) + size, size) + np.arange(size.sum())
        return np.repeat(ancestor, size), which[entry]

    inferred = below(
        graph.above(distinct) if inputs.cones is None else _held(inputs.cones, distinct)
    )
    declared_pairs = (
        below(_held(declared, distinct)) if declared is not None else (which[:0], which[:0])
    )
    asn = np.concatenate(
        [sighted["asn"].to_numpy(), origins[which], inferred[0], declared_pairs[0]]
    )
    atom = np.concatenate([sighted["atom"].to_numpy(), which, inferred[1], declared_pairs[1]])
    atom = atom.astype(np.int64)
    sizes = [sighted.height + len(which), len(inferred[0]), len(declared_pairs[0])]
    kind = np.repeat(np.array([OBSERVED, INFERRED, DECLARED], dtype=np.int8), sizes)

    asn = parties.named(asn)
    ok = asn > 0
    asn, atom, kind = asn[ok], atom[ok], kind[ok]
    strength = (
        np.where(kind == DECLARED, 0.5, kind) if weights.declared > weights.inferred else kind
    )
    key = asn * max(len(origins), 1) + atom
    order = np.lexsort((strength, key))
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
        kind=kind[order],
        announced=pl.DataFrame(schema=ANNOUNCED)
        if differs is None
        else differs.join(labelled, on=["prefix", "origin_asn"], nulls_equal=True)
        .select(*ANNOUNCED)
        .unique()
        .sort(*ANNOUNCED),
    )


def _held(pairs: pl.DataFrame, origins: Ints) -> tuple[Ints, Ints]:
    """(index into `origins`, ASN) of `pairs` (asn, member_asn)."""
    held = pairs.filter(pl.col("member_asn").is_in(origins))
    return np.searchsorted(origins, held["member_asn"].to_numpy()), held["asn"].to_numpy()
