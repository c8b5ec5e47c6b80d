"""When transit is full, and what to buy (METHODS M15).

By metro, provider and direction: links inside are shifted by BGP, so they keep their recent share
of the provider. Under 8 weeks of history nothing is forecast, under 26 the slope only; a date
further ahead than the history is long is no date.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.capacity import CAPACITY, CAPACITY_LINKS, CAPACITY_WEEKLY
from flowpeer_reports.growth import TrendLine, theil_sen
from flowpeer_reports.imbalance import providers_of
from flowpeer_reports.inputs import Inputs, chosen_metros
from flowpeer_reports.link_rows import whole_weeks
from flowpeer_reports.loads import Loads, counted, percentiles
from flowpeer_reports.relations import Flags, Ints

FEWEST, FORECAST, SEASONS = 8, 26, 60
"""Weeks of history: for a slope, for a date, to have seen the seasons."""
WEEKS_A_YEAR = 365.25 / 7
RECENT = 4
COVERAGE = (
    "the interval is nominally 80 %; measured on autocorrelated weeks (AR(1), 0.5) it holds the "
    "true slope in 78 % of cases at 8, 26 and 52 weeks"
)
Relief = Mapping[tuple[str, int | None], Ints]
"""(metro, provider) → outbound bytes by slot that the signed list takes."""


@dataclass(slots=True)
class Capacity:
    """The answer; its frames have the columns of `flowpeer_reports.columns.capacity`."""

    rows: pl.DataFrame
    links: pl.DataFrame
    weekly: pl.DataFrame
    """The columns of `CAPACITY_WEEKLY`."""
    notes: list[str] = field(default_factory=list)


def capacity(
    inputs: Inputs,
    found: Loads,
    *,
    metros: Sequence[str] | None = None,
    ways: Sequence[str] = ("out", "in"),
    relief: Relief | None = None,
) -> Capacity:
    """The month in which each provider of each metro reaches 80 % of its capacity."""
    names = inputs.names()
    seen = set(found.links.filter(pl.col("role") == "transit")["metro"])
    weeks = whole_weeks(inputs)
    start = found.start + timedelta(seconds=SLOT_SECONDS * (weeks[0].start if weeks else 0))
    history = _History(weeks, start)
    ended = found.ended
    rows: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    weekly: list[dict[str, Any]] = []
    for metro in chosen_metros(inputs, sorted(seen), metros):
        if metro not in seen:
            continue
        here = found.links.with_row_index("link").filter(
            pl.col("metro") == metro, pl.col("role") == "transit", ~pl.Series(ended)
        )
        for provider in providers_of(inputs, found, metro, names):
            mine = here.filter(pl.col("provider_asn").eq_missing(pl.lit(provider.asn, pl.Int64)))
            numbers = mine["link"].to_numpy()
            sizes = [s for s in mine["capacity_bps"].to_list() if s]
            for way in ways:
                judged = counted(inputs, found, numbers.tolist(), way)
                covered = judged.flags
                lines = judged.lines(found, way, numbers.tolist())
                series = lines.sum(axis=0)
                places, p95s = weekly_p95(series, covered, weeks)
                head = {"metro": metro, "provider_asn": provider.asn,
                        "provider": provider.name, "direction": way}  # fmt: skip
                taken = (relief or {}).get((metro, provider.asn)) if way == "out" else None
                less = (
                    weekly_p95(np.maximum(series - taken, 0), covered, weeks)
                    if taken is not None
                    else None
                )
                after = less[1] if less is not None else [None] * len(p95s)
                weekly += [
                    {**head, "week": (start + timedelta(weeks=at)).date(),
                     "p95_bps": value * 8 / SLOT_SECONDS,
                     "p95_after_asks_bps": None if rest is None else rest * 8 / SLOT_SECONDS}
                    for at, value, rest in zip(places, p95s, after, strict=True)
                ]  # fmt: skip
                port = max(sizes, default=None)
                made, line = _forecast(places, p95s, less, provider.capacity_bps, port, start)
                rows.append({**head, "capacity_bps": provider.capacity_bps, **made})
                if weeks:
                    measured = _Measured(head, mine, lines, covered)
                    ahead = _Ahead(places, line, _below(less, len(p95s)))
                    links += _of_links(measured, history, ahead)
    notes = [COVERAGE]
    if relief is None:
        notes.append("without asks in place: month_80_after_asks is empty")
    return Capacity(
        pl.DataFrame(rows, schema=schema(CAPACITY)),
        pl.DataFrame(links, schema=schema(CAPACITY_LINKS)),
        pl.DataFrame(weekly, schema=schema(CAPACITY_WEEKLY)),
        [*inputs.notes, *notes],
    )


def weekly_p95(series: Ints, covered: Flags, weeks: Sequence[slice]) -> tuple[list[int], list[int]]:
    """Numbers of the weeks that count, and their p95 in bytes a slot.

    A week with more than 5 % of its slots missing has none (METHODS M5).
    """
    places, values = [], []
    for number, week in enumerate(weeks):
        keep = covered[week]
        if 20 * int((~keep).sum()) > len(keep):
            continue
        part = series[week][keep]
        places.append(number)
        values.append(int(percentiles(part[None, :], len(part))[0]))
    return places, values


def _forecast(
    places: Sequence[int],
    values: Sequence[int],
    less: tuple[list[int], list[int]] | None,
    size: int | None,
    port: int | None,
    start: datetime,
) -> tuple[dict[str, Any], TrendLine | None]:
    n = len(values)
    row: dict[str, Any] = {
        "weeks": n,
        "p95_bps": values[-1] * 8 / SLOT_SECONDS if values else None,
    }
    if n < FEWEST:
        return {**row, "status": f"no forecast: {n} weeks, {FEWEST} are needed"}, None
    if 0 in values:
        return {**row, "status": "no forecast: weeks without traffic"}, None
    line = theil_sen(values, places)
    row |= {
        "slope_per_year": _a_year(line.slope),
        "slope_low": _a_year(line.low),
        "slope_high": _a_year(line.high),
    }
    if n < FORECAST:
        return {**row, "status": f"slope only: {n} weeks, {FORECAST} are needed for a date"}, line
    if size is None:
        return {**row, "status": "slope only: no capacity known"}, line
    status = [] if n >= SEASONS else ["seasons not seen"]
    border = math.log(0.8 * size * SLOT_SECONDS / 8)
    last = start + timedelta(weeks=places[-1] + 1)
    span = places[-1] - places[0] + 1
    months = [_month(line.level, slope, border, span, last)
              for slope in (line.slope, line.high, line.low)]  # fmt: skip
    if line.level >= border:
        status.insert(0, "80 % is reached")
    elif months[0] is None:
        until = last + timedelta(weeks=span)
        status.insert(0, f"later than {until:%Y-%m}" if line.slope > 0 else "not growing")
    else:
        status.insert(0, "forecast")
    after = None
    below = _below(less, n)
    if below is not None:
        after = _month(below.level, below.slope, border, span, last)
        if after is None:
            status.append(f"after the asks later than {last + timedelta(weeks=span):%Y-%m}")
    ahead = min(span, WEEKS_A_YEAR)
    need = math.exp(line.level + max(line.slope, 0) * ahead) * 8 / SLOT_SECONDS - 0.8 * size
    ports = max(0, math.ceil(need / (0.8 * port) - 1e-9)) if port else None
    row |= {
        "status": "; ".join(status),
        "month_80": months[0],
        "month_80_early": months[1],
        "month_80_late": months[2],
        "month_80_after_asks": after,
        "ports_to_buy": ports,
        "port_bps": port,
    }
    return row, line


def _below(less: tuple[list[int], list[int]] | None, weeks: int) -> TrendLine | None:
    """The line of what the asks leave; None without asks, or with a week without traffic."""
    if less is None or len(less[1]) != weeks or weeks < FEWEST or 0 in less[1]:
        return None
    return theil_sen(less[1], less[0])


def _a_year(slope: float) -> float:
    return math.expm1(slope * WEEKS_A_YEAR)


def _month(level: float, slope: float, border: float, span: int, last: datetime) -> str | None:
    """The month in which a line reaches a border; None where it is further than `span` weeks."""
    if level >= border:
        return f"{last:%Y-%m}"
    if slope <= 0:
        return None
    ahead = (border - level) / slope
    return f"{last + timedelta(weeks=ahead):%Y-%m}" if ahead <= span else None


@dataclass(frozen=True, slots=True)
class _History:
    """Whole weeks of the period as slices of its slots, and when the first begins."""

    weeks: Sequence[slice]
    start: datetime


@dataclass(frozen=True, slots=True)
class _Measured:
    """A provider of a metro in one direction: its links, their bytes (links × slots), and which
    slots count."""

    head: Mapping[str, Any]
    links: pl.DataFrame
    lines: Ints
    flags: Flags


@dataclass(frozen=True, slots=True)
class _Ahead:
    """The weeks that a trend was found from, the trend, and that of what the asks leave."""

    places: Sequence[int]
    line: TrendLine | None
    below: TrendLine | None


def _of_links(measured: _Measured, history: _History, ahead: _Ahead) -> list[dict[str, Any]]:
    weeks, places = history.weeks, ahead.places
    recent = slice(weeks[max(0, len(weeks) - RECENT)].start, weeks[-1].stop)
    total = int(measured.lines[:, recent].sum())
    made = []
    for own, row in zip(measured.lines, measured.links.iter_rows(named=True), strict=True):
        share = int(own[recent].sum()) / total if total else None
        _, p95s = weekly_p95(own, measured.flags, weeks[-1:])
        size = row["capacity_bps"]
        months: list[str | None] = [None, None]
        if size and share and len(places) >= FORECAST:
            border = math.log(0.8 * size * SLOT_SECONDS / 8)
            span, last = places[-1] - places[0] + 1, history.start + timedelta(weeks=places[-1] + 1)
            months = [
                _month(of.level + math.log(share), of.slope, border, span, last) if of else None
                for of in (ahead.line, ahead.below)
            ]
        made.append(
            {
                **{k: measured.head[k] for k in ("metro", "provider_asn", "direction")},
                "exporter": row["exporter"], "interface": row["interface"],
                "capacity_bps": size, "recent_share": share,
                "p95_bps": p95s[0] * 8 / SLOT_SECONDS if p95s else None,
                "month_80": months[0], "month_80_after_asks": months[1],
            }
        )  # fmt: skip
    return made
