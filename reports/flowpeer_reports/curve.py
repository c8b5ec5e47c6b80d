"""What the first asks bring, and in what interval: offload and saving against the number of asks.

Each ask says yes with the acceptance of M10 and then takes what it is expected to take; answers are
taken as independent and as they fall after those above, so the interval is the wider for it: an ask
below gains where one above says no. Sampling error adds to it. Ends are at ± 1.28 standard
deviations, in which 80 % of a normal distribution lie, and never beyond nothing or all.
"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.grades import CURVE

WIDTH = 1.2816
"""Quantile 0.9 of the normal distribution: 80 % lie within."""
_Z95 = 1.96


def curve(organisations: pl.DataFrame, transit_bps: float) -> pl.DataFrame:
    """One row an ask, in `columns.grades.CURVE`.

    Args:
        organisations: rows of the organisations' list.
        transit_bps: average of the transit traffic of the direction that ranks.
    """
    rows: list[dict[str, Any]] = []
    expected = variance = saving = saving_variance = every = 0.0
    total = max(transit_bps, 0.0)
    top = 0.0
    priced = False
    asks = organisations.filter(pl.col("rank") > 0).sort("rank")
    for row in asks.iter_rows(named=True):
        chance = min(max(row["feasibility"] or 0.0, 0.0), 1.0)
        mine = row["expected_bps"] or 0.0
        expected += mine
        if chance > 0:
            size = mine / chance
            noise = (row["ci95_bps"] or 0.0) / _Z95
            variance += chance * (1 - chance) * size * size + chance * noise * noise
            top += max(size, 0.0)
        amount = row["saving_per_month"]
        if amount is not None:
            priced = True
            every += amount
            saving += chance * amount
            saving_variance += chance * (1 - chance) * amount * amount
        half = WIDTH * math.sqrt(variance)
        spread = WIDTH * math.sqrt(saving_variance)
        rows.append(
            {
                "rank": row["rank"], "asn": row["asn"], "name": row["name"],
                "expected_share": _share(expected, total),
                "low_share": _share(max(expected - half, 0.0), total),
                "high_share": _share(min(expected + half, max(top, expected)), total),
                "if_all_yes_share": row["cumulative_observed_share"],
                "expected_saving": saving if priced else None,
                "low_saving": saving - spread if priced else None,
                "high_saving": saving + spread if priced else None,
                "if_all_yes_saving": every if priced else None,
                "currency": row["currency"],
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=schema(CURVE), orient="row")


def _share(part: float, total: float) -> float:
    return min(part / total, 1.0) if total else 0.0
