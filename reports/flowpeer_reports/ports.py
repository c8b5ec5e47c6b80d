"""What our own ports on exchanges carry (METHODS M9)."""

from __future__ import annotations

from datetime import UTC

import numpy as np
import polars as pl

from flowpeer_core import p95
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.inputs import Inputs


def port_p95(inputs: Inputs) -> dict[tuple[str, int], float]:
    """(metro, exchange) → 95th percentile in bit/s of our interfaces there, the larger direction
    of each slot. `[[interfaces]] exchange` says which interface is on which exchange."""
    if "exchange" not in inputs.interfaces.columns:
        return {}
    ports = inputs.interfaces.filter(pl.col("exchange").is_not_null()).select(
        "metro", "exporter", "interface", pl.col("exchange").cast(pl.Int64)
    )
    if ports.is_empty():
        return {}
    slots = (
        inputs.traffic.filter(
            pl.col("scaled"),
            pl.col("direction").is_in(["in", "out"]),
            pl.col("slot") >= inputs.period_start.astimezone(UTC),
            pl.col("slot") < inputs.period_end.astimezone(UTC),
        )
        .join(ports.lazy(), on=["metro", "exporter", "interface"])
        .group_by("metro", "exchange", "slot", "direction")
        .agg(pl.col("bytes").sum())
        .group_by("metro", "exchange", "slot")
        .agg(pl.col("bytes").max())
        .collect()
    )
    found: dict[tuple[str, int], float] = {}
    n = inputs.period_slots
    for (metro, ix), part in slots.group_by("metro", "exchange"):
        dense = np.zeros(n, dtype=np.int64)
        dense[: part.height] = part["bytes"].to_numpy()
        dense.sort()
        found[str(metro), int(str(ix))] = int(dense[p95.rank(n) - 1]) * 8 / SLOT_SECONDS
    return found
