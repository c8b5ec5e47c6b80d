"""What live asks brought, against what was predicted (METHODS M16).

Of each ask: what its sessions carry over the first 28 whole days after the day it went live, and
the fall of transit on the routes that it was asked for. What was before is scaled by the growth of
the metros' total; the fall is judged against the weeks before, not against a sampling interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl

from flowpeer_reports.ask_log import Ask
from flowpeer_reports.candidates import universe
from flowpeer_reports.columns.asks import OUTCOMES
from flowpeer_reports.columns.column import schema
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.loads import EXTERNAL
from flowpeer_reports.offload import OBSERVED, cover

DAYS, WEEK = 28, timedelta(days=7)
DAY_SECONDS = 86400
SPAN = timedelta(days=DAYS + 1)
"""On either side of the day an ask went live: what its outcome is made from."""


def outcomes(inputs: Inputs, asks: Sequence[Ask]) -> pl.DataFrame:
    """One row a live ask and one of their sums, in the columns OUTCOMES.

    `inputs` reach, as far as there are data, from `SPAN` before the first live day to `SPAN` after
    the last. Averages are over whole days of data.
    """
    live = [ask for ask in asks if ask.live_since is not None]
    world = universe(inputs, None)
    daily = _daily(inputs)
    units = daily.select("prefix", "origin_asn").unique()
    none = pl.DataFrame(schema={"asn": pl.Int64, "member_asn": pl.Int64})
    by_paths = replace(inputs, cones=none, declared=None, session_routes=None)
    found = cover(by_paths, units, world.graph, world.parties)
    daily = daily.join(found.units, on=["prefix", "origin_asn"], nulls_equal=True)
    rows = []
    for ask in live:
        party = world.parties.of(ask.asn)
        at = int(np.searchsorted(found.asns, party))
        atoms = found.atom[:0]
        if at < len(found.asns) and found.asns[at] == party:
            span = found.entries(at)
            atoms = found.atom[span][found.kind[span] == OBSERVED]
        metros = ask.live_in(inputs.metros["metro"].to_list())
        here = daily.filter(pl.col("metro").is_in(list(metros)))
        ours = pl.col("atom").is_in(atoms.tolist())
        members = list(world.parties.members(party))
        rows.append(_row(inputs, ask, here, ours, members))
    frame = pl.DataFrame(rows, schema=schema(OUTCOMES), orient="row")
    return pl.concat([frame, _sum(frame)]) if rows else frame


def _daily(inputs: Inputs) -> pl.DataFrame:
    """day, metro, role, provider_asn, prefix, origin_asn, bytes: outbound, scaled."""
    return (
        inputs.traffic_routes.filter(
            pl.col("role").is_in(EXTERNAL), pl.col("direction") == "out", "scaled",
            pl.col("hour_start") >= inputs.period_start, pl.col("hour_start") < inputs.period_end,
        )
        .group_by(
            pl.col("hour_start").dt.date().alias("day"), "metro", "role", "provider_asn", "prefix",
            "origin_asn",
        )
        .agg(pl.col("bytes").sum())
        .collect()
    )  # fmt: skip


def _row(
    inputs: Inputs, ask: Ask, here: pl.DataFrame, ours: pl.Expr, members: list[int]
) -> dict[str, Any]:
    assert ask.live_since is not None
    first, last = ask.live_since + timedelta(days=1), ask.live_since
    measured = [d for n in range(DAYS) if _whole(inputs, d := first + timedelta(days=n))]
    days = len(measured)
    after = pl.col("day").is_in(measured)
    weeks: list[int] = []
    while len(weeks) < DAYS // 7 and _whole(inputs, last - WEEK * (len(weeks) + 1)):
        begin = last - WEEK * (len(weeks) + 1)
        weeks.append(_bytes(here, _between(begin, begin + WEEK), ours & _transit()))
    before = _between(last - WEEK * len(weeks), last)
    made: dict[str, Any] = {
        **predicted(ask), "live_since": ask.live_since, "days": days,
        **dict.fromkeys(("weekly_min_bps", "weekly_max_bps", "carried_bps", "transit_fall_bps",
                         "growth", "within_range")),
    }  # fmt: skip
    rates = [_bps(octets, 7) for octets in weeks]
    if rates:
        made |= {"weekly_min_bps": min(rates), "weekly_max_bps": max(rates)}
    if days:
        direct = pl.col("role").eq("peer") & pl.col("provider_asn").is_in(members)
        carried = direct | (pl.col("role").eq("ix") & ours)
        made["carried_bps"] = _bps(_bytes(here, after, carried), days)
    if days and rates:
        whole = pl.lit(True)
        total_before = _bytes(here, before, whole) / (7 * len(weeks))
        growth = _bytes(here, after, whole) / days / total_before if total_before else None
        if growth is not None:
            was = sum(weeks) / (7 * len(weeks))
            now = _bytes(here, after, ours & _transit()) / days
            fall = round((was * growth - now) * 8 / DAY_SECONDS, 3)
            made |= {
                "growth": growth, "transit_fall_bps": fall,
                "within_range": min(rates) <= fall <= max(rates),
            }  # fmt: skip
    return made


def _sum(rows: pl.DataFrame) -> pl.DataFrame:
    """All asks together: those without a figure are not in its sum."""
    summed = ("predicted_bps", "predicted_saving", "weekly_min_bps", "weekly_max_bps",
              "carried_bps", "transit_fall_bps")  # fmt: skip
    total: dict[str, Any] = {c.name: None for c in OUTCOMES}
    total |= {name: rows[name].drop_nulls().sum() for name in summed if rows[name].count()}
    total |= {"organisation": f"all {rows.height} asks", "metros": []}
    low, high, fall = (total[n] for n in ("weekly_min_bps", "weekly_max_bps", "transit_fall_bps"))
    if None not in (low, high, fall):
        total["within_range"] = low <= fall <= high
    return pl.DataFrame([total], schema=rows.schema, orient="row")


def predicted(ask: Ask) -> dict[str, Any]:
    """The columns that `asks list` has of an ask."""
    opened = ask.opened
    return {
        "date": opened.date,
        "organisation": opened.organisation or None,
        "asn": ask.asn,
        "metros": list(ask.metros),
        "status": ask.status,
        "until": ask.until,
        "owner": ask.owner or None,
        "note": ask.note or None,
        "predicted_bps": opened.predicted_bps,
        "predicted_ci95_bps": opened.predicted_ci95_bps,
        "predicted_saving": (
            None if opened.predicted_saving is None else float(opened.predicted_saving)
        ),
    }


def _whole(inputs: Inputs, day: date) -> bool:
    """Whether the day lies in the data."""
    begin = datetime.combine(day, time(), UTC)
    return inputs.period_start <= begin and begin + timedelta(days=1) <= inputs.period_end


def _transit() -> pl.Expr:
    return pl.col("role").eq("transit")


def _between(first: date, end: date) -> pl.Expr:
    return (pl.col("day") >= first) & (pl.col("day") < end)


def _bytes(frame: pl.DataFrame, days: pl.Expr, which: pl.Expr) -> int:
    return int(frame.filter(days, which)["bytes"].sum())


def _bps(octets: int, days: int) -> float:
    return round(octets * 8 / (days * DAY_SECONDS), 3)
