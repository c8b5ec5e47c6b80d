"""Is transit traffic spread as we pay for it (METHODS M11)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from flowpeer_core.percentile import p95_of
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import IMBALANCE, schema
from flowpeer_reports.greedy import Reals
from flowpeer_reports.inputs import Inputs, chosen_metros, coverage_notes, transit
from flowpeer_reports.relations import Ints

Direction = Literal["out", "in", "both"]
FULL = 0.8
"""Utilisation above which a link is too full to take over another's traffic."""


@dataclass(slots=True)
class Imbalance:
    """The answer. `rows` has the columns of `flowpeer_reports.columns.IMBALANCE`."""

    rows: pl.DataFrame
    series: pl.DataFrame
    """metro, direction, slot, bytes, d: the slots with traffic."""
    totals: dict[str, dict[str, Any]]
    """By `metro/direction`, and `all`: scaled and unscaled transit bytes, d, worst provider."""
    notes: list[str]
    direction: Direction = "both"


@dataclass(frozen=True, slots=True)
class _Provider:
    asn: int | None
    name: str
    capacity_bps: int | None


def imbalance(
    inputs: Inputs, *, direction: Direction = "both", metros: Sequence[str] | None = None
) -> Imbalance:
    """Shares, percentiles and D of each metro, direction and transit provider.

    Targets are shares of capacity; where a capacity of the metro is missing, equal shares, said
    in the notes. Unscaled bytes are in no figure but their own.

    Raises:
        ReportError: an unknown metro.
    """
    directions = ["out", "in"] if direction == "both" else [direction]
    traffic = (
        transit(inputs.traffic, inputs, "slot")
        .group_by("metro", "direction", "provider_asn", "slot", "scaled")
        .agg(pl.col("bytes").sum())
        .collect()
        .sort("metro", "direction", "slot", "provider_asn", nulls_last=True)
    )
    configured = inputs.interfaces.filter(pl.col("role") == "transit")["metro"].to_list()
    seen = {*traffic["metro"], *configured}
    names = chosen_metros(inputs, sorted(seen), metros)
    notes, refused = coverage_notes(inputs, names)
    known = inputs.names()
    averaged = inputs.averaging_slots()
    records: list[dict[str, Any]] = []
    series = [
        pl.DataFrame(
            schema={"metro": pl.String, "direction": pl.String, "slot": pl.Datetime("us", "UTC"),
                    "bytes": pl.Int64, "d": pl.Float64}
        )
    ]  # fmt: skip
    totals: dict[str, dict[str, Any]] = {}
    for metro in names:
        if metro not in seen:
            continue
        here = traffic.filter(pl.col("metro") == metro)
        providers = _providers(inputs, here, metro, known)
        targets, note = _targets(providers)
        if note:
            notes.append(f"{metro}: {note}")
        for way in directions:
            flow = here.filter(pl.col("direction") == way)
            scaled = flow.filter("scaled")
            result = _measure(
                inputs, metro, way, scaled, providers, targets, metro in refused,
                averaged.get(metro, 0) or inputs.period_slots,
            )  # fmt: skip
            bare = int(flow.filter(~pl.col("scaled"))["bytes"].sum())
            if bare and scaled.is_empty():  # not nothing, but nobody knows how much
                unknown = dict.fromkeys(("avg_bps", "p95_bps", "peak_bps", "utilisation_p95"))
                records += [record | unknown for record in result.records]
            else:
                records += result.records
            series.append(result.series)
            totals[f"{metro}/{way}"] = {**result.total, "unscaled_bytes": bare}
            if bare:
                notes.append(f"{metro} {way}: {bare:,} bytes have no sampling rate, in no figure")
    totals["all"] = {
        key: sum(t[key] for t in totals.values()) for key in ("bytes", "unscaled_bytes")
    }
    return Imbalance(
        rows=pl.DataFrame(records, schema=schema(IMBALANCE)),
        series=pl.concat(series),
        totals=totals,
        notes=[*inputs.notes, *notes],
        direction=direction,
    )


def _providers(
    inputs: Inputs, here: pl.DataFrame, metro: str, names: dict[int, str]
) -> list[_Provider]:
    """Configured transit providers of the metro, silent ones too, then others seen in traffic."""
    links = inputs.interfaces.filter(pl.col("metro") == metro, pl.col("role") == "transit")
    contract = {
        c: p
        for c, p in inputs.contracts.select("contract", "provider").iter_rows()
        if p is not None
    }
    capacity: dict[int | None, list[int | None]] = {}
    called: dict[int | None, str] = {}
    for asn, bps, terms in links.select("asn", "capacity_bps", "contract").iter_rows():
        capacity.setdefault(asn, []).append(bps)
        if terms in contract:
            called.setdefault(asn, contract[terms])
    for asn in here["provider_asn"].unique(maintain_order=True):
        capacity.setdefault(asn, [None])
    return [
        _Provider(
            asn,
            called.get(asn) or ("unknown" if asn is None else names.get(asn) or f"AS{asn}"),
            None if None in sizes or 0 in sizes else sum(s for s in sizes if s is not None),
        )
        for asn, sizes in sorted(capacity.items(), key=lambda i: (i[0] is None, i[0] or 0))
    ]


def _targets(providers: Sequence[_Provider]) -> tuple[Reals, str]:
    """Capacity shares, or equal ones with the reason."""
    unknown = [p.name for p in providers if p.capacity_bps is None]
    if unknown:
        equal = np.full(len(providers), 1 / len(providers))
        return equal, f"targets are equal shares: no capacity known of {', '.join(unknown)}"
    sizes = np.array([p.capacity_bps for p in providers], dtype=np.float64)
    return sizes / sizes.sum(), ""


@dataclass(frozen=True, slots=True)
class _Result:
    records: list[dict[str, Any]]
    series: pl.DataFrame
    total: dict[str, Any]


def _measure(
    inputs: Inputs,
    metro: str,
    way: str,
    scaled: pl.DataFrame,
    providers: Sequence[_Provider],
    targets: Reals,
    refused: bool,
    averaged: int,
) -> _Result:
    slots = scaled["slot"].unique().sort()
    gaps = inputs.uncovered.filter(pl.col("metro") == metro)["slot"]
    counts = ~slots.is_in(gaps.implode()).to_numpy()
    n = max(inputs.slots_of(metro), int(counts.sum()))
    bytes_ = np.zeros((len(providers), len(slots)), dtype=np.int64)
    row_of = {p.asn: i for i, p in enumerate(providers)}
    rows = np.array([row_of[a] for a in scaled["provider_asn"]], dtype=np.int64)
    cols = np.searchsorted(slots.to_numpy(), scaled["slot"].to_numpy())
    np.add.at(bytes_, (rows, cols), scaled["bytes"].to_numpy())

    whole: Ints = bytes_.sum(axis=0)
    moved = np.abs(bytes_ - targets[:, None] * whole).sum(axis=0) / 2
    total = int(whole.sum())
    d_slot = np.divide(moved, whole, out=np.zeros(len(slots)), where=whole > 0)
    d = float(moved.sum() / total) if total else None
    busy = np.argsort(-whole, kind="stable")[: -(-n // 20)]
    busy = busy[whole[busy] > 0]
    rate = bytes_ * 8 / SLOT_SECONDS
    average = bytes_.sum(axis=1) * 8 / (max(averaged, len(slots)) * SLOT_SECONDS)
    jain = _jain(average, providers)
    over = np.zeros(len(slots), dtype=np.bool_)
    records: list[dict[str, Any]] = []
    for i, provider in enumerate(providers):
        p95 = None if refused else p95_of(bytes_[i, counts], n) * 8 / SLOT_SECONDS
        capacity = provider.capacity_bps
        full = rate[i] > FULL * capacity if capacity else np.zeros(len(slots), np.bool_)
        over |= full
        share = int(bytes_[i].sum()) / total if total else None
        records.append(
            {
                "metro": metro,
                "direction": way,
                "provider_asn": provider.asn,
                "provider": provider.name,
                "capacity_bps": capacity,
                "avg_bps": round(float(average[i]), 3),
                "p95_bps": p95,
                "peak_bps": float(rate[i].max(initial=0.0)),
                "utilisation_p95": p95 / capacity if capacity and p95 is not None else None,
                "share": share,
                "target_share": float(targets[i]),
                "excess_share": None if share is None else share - float(targets[i]),
                "d": d,
                "jain": jain,
                "slots_over_80": int(full.sum()) if capacity else None,
            }
        )
    used = [(r["utilisation_p95"], r["provider_asn"]) for r in records if r["utilisation_p95"]]
    worst = max(used, key=lambda u: u[0], default=(None, None))
    return _Result(
        records,
        pl.DataFrame({"slot": slots, "bytes": whole, "d": d_slot}).select(
            pl.lit(metro).alias("metro"), pl.lit(way).alias("direction"), "slot", "bytes", "d"
        ),
        {
            "slots": inputs.slots_of(metro),
            "missing_slots": inputs.missing_slots.get(metro, 0),
            "bytes": total,
            "d": d,
            "d_busiest": float(d_slot[busy].mean()) if len(busy) else None,
            "jain": jain,
            "worst_provider_asn": worst[1],
            "worst_utilisation_p95": worst[0],
            "slots_over_80": int(over.sum()),
        },
    )


def _jain(average: Reals, providers: Sequence[_Provider]) -> float | None:
    """(Σu)² / (k Σu²) of average utilisations; None where a capacity or all traffic is missing."""
    if any(p.capacity_bps is None for p in providers):
        return None
    used = average / np.array([p.capacity_bps for p in providers], dtype=np.float64)
    square = float((used**2).sum())
    return float(used.sum()) ** 2 / (len(used) * square) if square else None
