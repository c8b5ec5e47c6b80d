"""Sheets for transit providers: what comes in by them, by own prefix and source (METHODS M11).

How inbound traffic divides is the senders' choice, so no share is predicted: the sheet says what
comes, and the knobs that exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.moves import INBOUND, INBOUND_KNOBS, KNOBS
from flowpeer_reports.imbalance import FULL, over_share
from flowpeer_reports.inputs import Inputs, transit
from flowpeer_reports.link_rows import Names
from flowpeer_reports.loads import Loads

SOURCES = 20
"""Networks named of each provider and own prefix; the others are one row."""


def inbound(
    inputs: Inputs, found: Loads, providers: Names, names: Mapping[int, str]
) -> pl.DataFrame:
    """The sheets of all providers and metros: rows add up to the provider's inbound bytes."""
    rows = (
        transit(inputs.traffic_routes, inputs, "hour_start")
        .filter(pl.col("scaled"), pl.col("direction") == "in")
        .group_by("metro", "provider_asn", "local_prefix", "origin_asn")
        .agg(pl.col("bytes").sum())
        .collect()
        .sort("metro", "provider_asn", "local_prefix", "bytes", "origin_asn",
              descending=[False, False, False, True, False], nulls_last=True)
    )  # fmt: skip
    seconds = inputs.period_slots * SLOT_SECONDS
    records: list[dict[str, Any]] = []
    for metro, called in providers.items():
        for asn, name in called.items():
            mine = rows.filter(
                pl.col("metro") == metro,
                pl.col("provider_asn").eq_missing(pl.lit(asn, pl.Int64)),
            )
            total = int(mine["bytes"].sum())
            if not total:
                continue
            full = _slots_over(found, metro, asn)
            for (local,), part in mine.group_by("local_prefix", maintain_order=True):
                named = part.head(SOURCES)
                lines: list[tuple[int | None, str | None, int]] = [
                    (origin, names.get(origin), size)
                    for origin, size in named.select("origin_asn", "bytes").iter_rows()
                ]
                rest = int(part["bytes"].sum()) - int(named["bytes"].sum())
                if part.height > SOURCES:
                    lines.append((None, f"{part.height - SOURCES:,} others", rest))
                records += [
                    {
                        "metro": metro, "provider_asn": asn, "provider": name,
                        "local_prefix": local, "source_asn": source, "source": text,
                        "in_bytes": size, "avg_bps": size * 8 / seconds, "share": size / total,
                        "slots_over_80": full,
                    }
                    for source, text, size in lines
                ]  # fmt: skip
    return pl.DataFrame(records, schema=schema(INBOUND))


def knobs() -> pl.DataFrame:
    """What can be set, and what else it does."""
    return pl.DataFrame(list(KNOBS), schema=schema(INBOUND_KNOBS), orient="row")


def _slots_over(found: Loads, metro: str, asn: int | None) -> int | None:
    mine = found.links.with_row_index("link").filter(
        pl.col("metro") == metro,
        pl.col("role") == "transit",
        pl.col("provider_asn").eq_missing(pl.lit(asn, pl.Int64)),
    )
    sizes: Sequence[int | None] = (
        mine["capacity_bps"].to_list() if "capacity_bps" in mine.columns else [None]
    )
    if not sizes or not all(sizes):
        return None
    series = found.into[mine["link"].to_numpy()].sum(axis=0)
    return int(over_share(series, sum(s or 0 for s in sizes), round(FULL * 100)).sum())
