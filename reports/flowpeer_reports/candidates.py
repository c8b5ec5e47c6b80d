"""Whom to ask for peering: the ranked list of each metro (METHODS M6, M7, M9, M10).

Every byte of transit traffic ends up in exactly one place: a row of rank 0 (a session exists),
a row of the list, or a reason in `not_listed`. `candidates` checks that before it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from flowpeer_reports.accounts import account, bare_notes, disagreements, unlisted
from flowpeer_reports.candidate_rows import candidate_rows
from flowpeer_reports.cover import cover
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.inputs import Inputs, chosen_metros, coverage_notes, transit
from flowpeer_reports.meeting import Places
from flowpeer_reports.never import never_candidates
from flowpeer_reports.ranking import rank_metro
from flowpeer_reports.relations import AsGraph

Direction = Literal["out", "in", "both"]


@dataclass(frozen=True, slots=True)
class Weights:
    """What evidence is worth in the ranking; observed counts 1. Printed volumes are unweighted."""

    inferred: float = 0.3
    declared: float = 0.3


@dataclass(slots=True)
class Candidates:
    """The answer. `rows` and `not_listed` have the columns of `flowpeer_reports.columns`."""

    rows: pl.DataFrame
    not_listed: pl.DataFrame
    totals: dict[str, dict[str, Any]]
    """By metro, and `all`: transit bytes by direction and where they went."""
    notes: list[str]
    next_ask: dict[str, dict[str, Any] | None]
    """By metro: what one more ask would add; None where nothing is left or no limit was set."""
    direction: Direction = "out"
    asks: int | None = None
    p95_estimates: dict[str, list[int]] = field(default_factory=dict)
    """By metro: ASNs of the rows whose p95_bps is an estimate (M5)."""

    def is_estimate(self, metro: str, asn: int) -> bool:
        """Whether the p95_bps of a row is an estimate."""
        return asn in self.p95_estimates.get(metro, ())


def candidates(
    inputs: Inputs,
    *,
    direction: Direction = "out",
    metros: Sequence[str] | None = None,
    asks: int | None = None,
    weights: Weights = Weights(),
    acceptance: Callable[[int, str], float] | None = None,
) -> Candidates:
    """The ranked candidates of each metro.

    Args:
        direction: which transit traffic ranks; in_bytes and out_bytes are shown all the same.
        metros: only these; default all.
        asks: rows of rank 1 and above a metro, default all that add anything.
        acceptance: probability of (ASN, metro) instead of the score of M10; 1 for all gives the
            ranking if everybody says yes.

    Raises:
        ReportError: an unknown metro.
    """
    directions = ["out", "in"] if direction == "both" else [direction]
    universe = _universe(inputs)
    names = chosen_metros(inputs, universe["metro"].unique().to_list(), metros)
    universe = universe.filter(pl.col("metro").is_in(names))
    scaled = universe.filter("scaled")
    graph = AsGraph(inputs.relationships)
    found = cover(
        scaled.select("prefix", "origin_asn").unique(),
        inputs.paths,
        graph,
        {inputs.asn, *inputs.siblings},
        inputs.cones,
    )
    flows = (
        scaled.join(found.units, on=["prefix", "origin_asn"], nulls_equal=True)
        .group_by("metro", "provider_asn", "atom", "direction")
        .agg(pl.col("bytes").sum(), pl.col("variance_high").sum())
        .sort("metro", "provider_asn", "atom", "direction")
    )
    never = never_candidates(inputs, graph)
    places = Places(inputs)
    feasibility = Feasibility(inputs, places, acceptance)
    averaged = inputs.averaging_slots()
    ranked = [
        rank_metro(
            inputs, found, flows, metro, directions, never, feasibility, asks, weights.inferred,
            averaged.get(metro, 0) or inputs.period_slots,
        )
        for metro in names
    ]  # fmt: skip
    notes, refused = coverage_notes(inputs, names)
    rows, estimates, row_notes = candidate_rows(
        inputs, ranked, found, flows, directions, places, feasibility, refused
    )
    not_listed = unlisted(ranked, found, never, universe, asks is not None)
    totals = account(ranked, universe, rows, not_listed, directions)
    return Candidates(
        rows=rows,
        not_listed=not_listed,
        totals=totals,
        notes=[
            *inputs.notes,
            *notes,
            *row_notes,
            *bare_notes(totals),
            *disagreements(inputs, universe, names),
            *_method_notes(inputs, direction, weights),
            *_fallback_note(rows),
        ],
        next_ask={m.metro: _named(m.next_ask, inputs) for m in ranked},
        direction=direction,
        asks=asks,
        p95_estimates=estimates,
    )


def _fallback_note(rows: pl.DataFrame) -> list[str]:
    if rows.filter((pl.col("rank") > 0) & (pl.col("marginal_bps") == 0)).is_empty():
        return []
    return ["a row with marginal_bps 0 is a fallback: worth asking if a row above it says no"]


def _named(ask: dict[str, Any] | None, inputs: Inputs) -> dict[str, Any] | None:
    return None if ask is None else {**ask, "name": inputs.names().get(ask["asn"])}


def _universe(inputs: Inputs) -> pl.DataFrame:
    return (
        transit(inputs.traffic_routes, inputs, "hour_start")
        .group_by("metro", "provider_asn", "prefix", "origin_asn", "direction", "scaled")
        .agg(pl.col("bytes").sum(), pl.col("variance_high").sum())
        .collect()
    )


def _cone_words(inputs: Inputs) -> str:
    if inputs.cones is None:
        return "an upper bound (recursive customer cones)"
    return f"from {inputs.cones_source or 'given customer cones'}"


def _method_notes(inputs: Inputs, direction: Direction, weights: Weights) -> list[str]:
    notes = [
        f"ranks weigh observed routes 1, inferred ones {weights.inferred:g}",
        f"volumes are unweighted; the inferred part is {_cone_words(inputs)}",
        "feasibility is a score, not calibrated on outcomes",
        "saving_per_month is empty: prices do not count yet",
    ]
    if direction != "out":
        notes.append(
            "inbound moves only if the sender's best path changes: likely for a network's own "
            "traffic, possible for its cone"
        )
    if inputs.relationships.is_empty():
        notes.append("no AS relationships: only a network's own routes count as its own")
    if not inputs.peeringdb:
        notes.append("no PeeringDB: policies and places are unknown")
    return notes
