"""Transit by provider over time: steps for a chart, calendar months for its table (METHODS M5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.p95 import rank as p95_rank
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.grades import TIMELINES
from flowpeer_reports.imbalance import Imbalance, factors_of, providers_of
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.loads import LinkCoverage, Loads, counted
from flowpeer_reports.relations import Ints

STEPS = (12, 36, 72, 288, 2016)
"""Slots of a step of a chart: one, three, six hours, a day, a week."""
MOST_STEPS = 100
WAYS = ("out", "in")
_MOST_MISSING = 20
"""Above one in so many slots missing no percentile is given (M5)."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The traffic of a provider in a metro, or of all of them (`asn` and `provider` None)."""

    metro: str
    asn: int | None
    provider: str | None
    capacity_bps: int | None
    steps: dict[str, list[float | None]]
    """By direction: 95th percentile of each step in bit/s; None where nothing counts."""


@dataclass(frozen=True, slots=True)
class Timelines:
    """All of a report's."""

    metros: list[Timeline]
    providers: list[Timeline]
    rows: pl.DataFrame
    """`columns.grades.TIMELINES`: by month."""
    step: timedelta
    start: datetime
    end: datetime


def timelines(inputs: Inputs, found: Imbalance) -> Timelines | None:
    """Of the metros of an imbalance; None where it has no loads."""
    held = found.loads
    if held is None:
        return None
    step = next((s for s in STEPS if held.slots <= s * MOST_STEPS), STEPS[-1])
    names, factors = inputs.names(), factors_of(inputs, held)
    months = _months(held)
    links = held.links.with_row_index("link").filter(pl.col("role") == "transit")
    metros, single = [], []
    records: list[dict[str, Any]] = []
    for metro in found.targets:
        here = links.filter(pl.col("metro") == metro)
        providers = providers_of(inputs, held, metro, names)
        sizes = [p.capacity_bps for p in providers]
        total = None if None in sizes else sum(s for s in sizes if s is not None)
        every = here["link"].to_list()
        metros.append(
            Timeline(metro, None, None, total, {
                way: _steps(*_line(inputs, held, every, way), step) for way in WAYS
            })
        )  # fmt: skip
        for provider in providers:
            mine = here.filter(pl.col("provider_asn").eq_missing(provider.asn))["link"].to_list()
            drawn: dict[str, list[float | None]] = {}
            for way in WAYS:
                judged, line = _line(inputs, held, mine, way)
                drawn[way] = _steps(judged, line, step)
                weighted = (held.way(way)[mine] * factors[mine][:, None]).sum(axis=0)
                for month, at in months:
                    facts = _month(judged, line, weighted, at)
                    used = facts["p95_bps"]
                    size = provider.capacity_bps
                    records.append(
                        {
                            "metro": metro, "provider_asn": provider.asn,
                            "provider": provider.name, "direction": way, "month": month,
                            "capacity_bps": size, **facts,
                            "utilisation_p95": used / size if size and used is not None else None,
                        }
                    )  # fmt: skip
            single.append(
                Timeline(metro, provider.asn, provider.name, provider.capacity_bps, drawn)
            )
    rows = pl.DataFrame(records, schema=schema(TIMELINES), orient="row")
    return Timelines(
        metros, single, rows, timedelta(seconds=step * SLOT_SECONDS), held.start,
        held.start + timedelta(seconds=held.slots * SLOT_SECONDS),
    )  # fmt: skip


def _line(inputs: Inputs, held: Loads, links: Sequence[int], way: str) -> tuple[LinkCoverage, Ints]:
    judged = counted(inputs, held, links, way)
    line: Ints = judged.lines(held, way, links).sum(axis=0)
    return judged, line


def _steps(judged: LinkCoverage, line: Ints, step: int) -> list[float | None]:
    return [
        _p95(line[at : at + step][judged.flags[at : at + step]])
        for at in range(0, len(line), step)
    ]  # fmt: skip


def _p95(values: Ints) -> float | None:
    if not len(values):
        return None
    place = p95_rank(len(values)) - 1
    return float(np.partition(values, place)[place]) * 8 / SLOT_SECONDS


def _month(
    judged: LinkCoverage, line: Ints, weighted: npt.NDArray[np.float64], at: slice
) -> dict[str, Any]:
    flags = judged.flags[at]
    values = line[at][flags]
    missing = len(flags) - len(values)
    return {
        "avg_bps": float(weighted[at].sum()) * 8 / (SLOT_SECONDS * max(len(flags), 1)),
        "p95_bps": None if missing * _MOST_MISSING > len(flags) else _p95(values),
        "peak_bps": float(values.max()) * 8 / SLOT_SECONDS if len(values) else None,
        "slots_counted": len(values),
        "slots_missing": missing,
    }


def _months(held: Loads) -> list[tuple[str, slice]]:
    """Calendar months in UTC, with the slots of the period that lie in each."""
    found = []
    at, first = held.start.astimezone(UTC), 0
    while first < held.slots:
        after = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
        last = min(held.slots, first + int((after - at).total_seconds()) // SLOT_SECONDS)
        found.append((f"{at:%Y-%m}", slice(first, last)))
        at, first = after, last
    return found
