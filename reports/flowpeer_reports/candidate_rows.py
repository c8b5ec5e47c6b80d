"""The rows of the candidate list: every figure of the ranking in its column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer_reports.columns import CANDIDATES, Column
from flowpeer_reports.cover import Cover
from flowpeer_reports.error_bars import half_width
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.meeting import EXISTS, Place, Places
from flowpeer_reports.ranking import MetroList, Row, bps
from flowpeer_reports.shape import p95_of_rows

NAMED = 10
"""Networks that a note names; all of them stand beside the answer."""


def candidate_rows(
    inputs: Inputs,
    ranked: Sequence[MetroList],
    found: Cover,
    flows: pl.DataFrame,
    directions: Sequence[str],
    places: Places,
    feasibility: Feasibility,
    refused: set[str],
) -> tuple[pl.DataFrame, dict[str, list[int]], list[str]]:
    """The rows of all metros, in the order of metros and ranks.

    Also, by metro, the ASNs of rows whose p95_bps is an estimate, and notes on these and on rows
    that have none.
    """
    owners = _owned(ranked)
    slots = pl.DataFrame(
        [(i, inputs.slots_of(m.metro)) for i, m in enumerate(m for m in ranked for _ in m.rows)],
        schema={"row": pl.Int64, "n": pl.Int64},
        orient="row",
    )
    routes = found.units.join(owners, on="atom").select("metro", "prefix", "origin_asn", "row")
    percentiles = p95_of_rows(inputs, directions, routes, slots)
    p95, estimate = percentiles["p95_bps"].to_list(), percentiles["estimate"].to_list()
    known_in_part: dict[str, list[int]] = {}
    unknown: dict[str, int] = {}
    carriers = _carriers(flows, owners, directions)
    extend = _peered_elsewhere(inputs)
    names = inputs.names()
    columns: dict[str, list[Any]] = {c.name: [] for c in CANDIDATES}
    number = 0
    for m in ranked:
        total, taken = int(m.chosen.sum()), 0
        for row in m.rows:
            p95_bps = None if m.metro in refused else p95[number]
            if estimate[number] and p95_bps is not None:
                known_in_part.setdefault(m.metro, []).append(row.asn)
            elif estimate[number] and m.metro not in refused:
                unknown[m.metro] = unknown.get(m.metro, 0) + 1
            marginal = int(m.chosen[row.atoms].sum())
            taken += marginal
            figures = _figures(m, row, marginal, inputs.default_sampling)
            if row.rank == 0:
                place, reasons = Place(EXISTS, "session exists"), [f"1.00 {row.note}"]
            else:
                place = places.meet(row.asn, m.metro, p95_bps or 0.0)
                reasons = feasibility.reasons(row.asn, m.metro, *row.around)
                if row.asn in extend:
                    reasons.append(f"extend: peers with us in {', '.join(extend[row.asn])}")
            figures |= {
                "name": names.get(row.asn),
                "transits": carriers.get(number, []),
                "p95_bps": p95_bps,
                "cumulative_share": taken / total if total else None,
                "currency": inputs.currency,
                "meet": place.text,
                "meet_rank": place.rank,
                "policy": feasibility.policy(row.asn),
                "feasibility_reasons": reasons,
            }
            for name, values in columns.items():
                values.append(figures.get(name))
            number += 1
    rows = pl.DataFrame({c.name: _series(c, columns[c.name]) for c in CANDIDATES})
    return rows, known_in_part, _percentile_notes(known_in_part, unknown)


def _percentile_notes(known_in_part: dict[str, list[int]], unknown: dict[str, int]) -> list[str]:
    notes = []
    for metro, asns in known_in_part.items():
        named = ", ".join(f"AS{asn}" for asn in asns[:NAMED])
        more = f" and {len(asns) - NAMED:,} more" if len(asns) > NAMED else ""
        notes.append(
            f"{metro}: p95_bps of {named}{more} (~) is an estimate, the true one is not less: up "
            "to 5 % of their bytes are kept by the hour only"
        )
    return notes + [
        f"{metro}: {count:,} rows have no p95_bps: more than 5 % of their bytes are kept by the "
        "hour only"
        for metro, count in unknown.items()
    ]


def _series(column: Column, values: list[Any]) -> pl.Series:
    # By way of Arrow: Polars makes a Series of every list on its own.
    if isinstance(column.type, pl.List):
        return pl.Series(column.name, pa.array(values, pa.large_list(pa.large_string())))
    return pl.Series(column.name, values, column.type)


def _figures(m: MetroList, row: Row, marginal: int, sampling: int) -> dict[str, Any]:
    """What follows from the ranking alone."""
    seen = int(m.chosen[row.atoms[row.observed]].sum())
    variance = float(m.variance[row.atoms].sum())
    marginal_bps = bps(marginal, m.slots)
    return {
        "rank": row.rank,
        "metro": m.metro,
        "asn": row.asn,
        "own_bps": bps(row.own, m.slots),
        "cone_bps": bps(row.cone, m.slots),
        "marginal_bps": marginal_bps,
        "ci95_bps": bps(half_width(marginal, variance, sampling), m.slots) if marginal else 0.0,
        "out_bytes": int(m.out[row.atoms].sum()),
        "in_bytes": int(m.in_[row.atoms].sum()),
        "evidence": [
            f"{kind} {part / marginal:.2f}"
            for kind, part in (("observed", seen), ("inferred", marginal - seen))
            if part
        ],
        "feasibility": row.score,
        "expected_value": bps(row.expected, m.slots),
        "tied_with": row.tied,
    }


def _owned(ranked: Sequence[MetroList]) -> pl.DataFrame:
    """atom, metro, row: what each row holds; rows are numbered through all metros."""
    frames = [pl.DataFrame(schema={"atom": pl.Int32, "metro": pl.String, "row": pl.Int64})]
    base = 0
    for m in ranked:
        held = np.flatnonzero(m.owner >= 0)
        frames.append(
            pl.DataFrame({"atom": held.astype(np.int32)}).with_columns(
                metro=pl.lit(m.metro), row=pl.Series(m.owner[held] + base, dtype=pl.Int64)
            )
        )
        base += len(m.rows)
    return pl.concat(frames)


def _carriers(
    flows: pl.DataFrame, owners: pl.DataFrame, directions: Sequence[str]
) -> dict[int, list[str]]:
    """Row → the providers that carry it, largest first: `AS1299 0.62`."""
    shares = (
        flows.filter(pl.col("direction").is_in(list(directions)), pl.col("bytes") > 0)
        .join(owners, on=["metro", "atom"])
        .group_by("row", "provider_asn")
        .agg(pl.col("bytes").sum())
        .with_columns(share=pl.col("bytes") / pl.col("bytes").sum().over("row"))
        .sort("row", "bytes", "provider_asn", descending=[False, True, False])
    )
    found: dict[int, list[str]] = {}
    for row, provider, share in shares.select("row", "provider_asn", "share").iter_rows():
        who = "unknown" if provider is None else f"AS{provider}"
        found.setdefault(row, []).append(f"{who} {share:.2f}")
    return found


def _peered_elsewhere(inputs: Inputs) -> dict[int, list[str]]:
    pairs = set(inputs.sessions.select("asn", "metro").iter_rows())
    pairs |= set(
        inputs.interfaces.filter(pl.col("role") == "peer", pl.col("asn").is_not_null())
        .select("asn", "metro")
        .iter_rows()
    )
    found: dict[int, list[str]] = {}
    for asn, metro in sorted(pairs):
        found.setdefault(asn, []).append(metro)
    return found
