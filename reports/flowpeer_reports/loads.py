"""Bytes by link, direction and slot, dense: what imbalance, drills and capacity are made from.

A link is an interface in a role with a neighbour. Slots without records are zeros; whether a slot
was covered is told apart (METHODS M5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.p95 import rank as p95_rank
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.relations import Flags, Ints

EXTERNAL = ("transit", "peer", "ix", "customer")
KEY = ["exporter", "interface", "metro", "role", "provider_asn"]
_MORE = ("name", "capacity_bps", "contract", "exchange", "facility", "full_table", "med")


@dataclass(frozen=True, slots=True)
class Loads:
    """Links in rows, slots of the period in columns.

    Attributes:
        links: metro, exporter, interface, role, provider_asn, name, capacity_bps, contract and
            what else the configuration says of an interface; sorted by exporter and interface. The
            place of a row is the number of the link.
        start: of the first slot, UTC.
        out, into: scaled bytes (links × slots, int64).
        unscaled: metro, direction, bytes: without a known sampling rate, in no other figure.
    """

    links: pl.DataFrame
    start: datetime
    out: Ints
    into: Ints
    unscaled: pl.DataFrame

    def way(self, direction: str) -> Ints:
        """The bytes of `out` or `in`."""
        return self.out if direction == "out" else self.into

    @property
    def slots(self) -> int:
        """Slots of the period."""
        return int(self.out.shape[1])

    @property
    def hour_of_slot(self) -> npt.NDArray[np.int64]:
        """Number of each slot's hour, counted from the hour that the period begins in."""
        into = (self.start.minute * 60 + self.start.second) // SLOT_SECONDS
        return (np.arange(self.slots) + into) // 12


def loads(inputs: Inputs, roles: Sequence[str] = EXTERNAL) -> Loads:
    """The links of `roles`: those configured, silent ones too, and others seen in traffic."""
    start, end = (t.astimezone(UTC) for t in (inputs.period_start, inputs.period_end))
    seen = (
        inputs.traffic.filter(
            pl.col("role").is_in(list(roles)), pl.col("direction").is_in(["in", "out"]),
            pl.col("slot") >= start, pl.col("slot") < end,
        )
        .group_by(*KEY, "direction", "scaled", "slot")
        .agg(pl.col("bytes").sum())
        .collect()
    )  # fmt: skip
    configured = inputs.interfaces.filter(pl.col("role").is_in(list(roles)))
    terms = [c for c in _MORE if c in configured.columns]
    links = (
        pl.concat([
            configured.rename({"asn": "provider_asn"}).select(KEY),
            seen.select(KEY),
        ])
        .unique()
        .sort(*KEY, nulls_last=True)
        .join(
            configured.unique(["exporter", "interface", "role"], keep="last", maintain_order=True)
            .select("exporter", "interface", "role", *terms),
            on=["exporter", "interface", "role"], how="left", nulls_equal=True,
            maintain_order="left",
        )
    )  # fmt: skip
    number = links.select(KEY).with_row_index("link")
    placed = seen.join(number, on=KEY, nulls_equal=True).with_columns(
        place=(pl.col("slot") - start).dt.total_seconds() // SLOT_SECONDS
    )
    found = {}
    for direction in ("out", "in"):
        mine = placed.filter(pl.col("direction") == direction, pl.col("scaled"))
        dense = np.zeros((links.height, inputs.period_slots), dtype=np.int64)
        dense[mine["link"].to_numpy(), mine["place"].to_numpy()] = mine["bytes"].to_numpy()
        found[direction] = dense
    unscaled = (
        seen.filter(~pl.col("scaled")).group_by("metro", "direction").agg(pl.col("bytes").sum())
    )
    return Loads(links, start, found["out"], found["in"], unscaled)


def counted(inputs: Inputs, metro: str) -> Flags:
    """Which slots of the period are covered in a metro (METHODS M5)."""
    start = inputs.period_start.astimezone(UTC)
    gaps = inputs.uncovered.filter(pl.col("metro") == metro)
    places = ((gaps["slot"] - start).dt.total_seconds() // SLOT_SECONDS).to_numpy()
    flags = np.ones(inputs.period_slots, dtype=np.bool_)
    flags[places[(places >= 0) & (places < len(flags))]] = False
    return flags


def percentiles(series: Ints, n: int, *, half: bool = False) -> Ints:
    """Nearest-rank p95 (or p50) of each row of non-negative values, as of `n` of them.

    Where `n` is not the number of columns, zeros are left out or added.
    """
    width = series.shape[1]
    rank = -(-n // 2) if half else p95_rank(n)
    place = width - n + rank - 1
    if not width or n <= 0 or place < 0:
        return np.zeros(len(series), dtype=np.int64)
    found: Ints = np.partition(series, place, axis=1)[:, place]
    return found
