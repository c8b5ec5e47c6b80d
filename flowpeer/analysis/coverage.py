"""Which slots of a metro count: those in which its exporters were heard, without much loss (M5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from flowpeer import catalog
from flowpeer.lake.record import Record
from flowpeer.network import Network
from flowpeer_core.slots import SLOT
from flowpeer_reports.coverage import Coverage, Due, coverage_of

DAY = timedelta(days=1)
MAX_LOSS = 0.05
"""Sequence loss above which a slot does not count as covered (M5)."""


def coverage(
    record: Record, start: datetime | None = None, end: datetime | None = None
) -> pl.DataFrame:
    """slot, exporter_ip, received, lost, seen: one row each, summed over the units."""

    def summed() -> pl.DataFrame:
        return (
            catalog.scan(record.lake.root, "coverage", start=start, end=end)
            .group_by("slot", "exporter_ip")
            .agg(pl.col("received", "lost").sum(), pl.col("seen").any())
            .sort("slot", "exporter_ip")
            .collect()
        )

    return record.read("coverage", summed)


def exporter_coverage(network: Network, record: Record, start: datetime, end: datetime) -> Coverage:
    """Due and covered slots of every configured exporter over [start, end) (METHODS M5).

    A day on either side is read too, for silences that reach over the border.
    """
    ids = pl.DataFrame(
        [(str(a), e.id) for e in network.exporters for a in e.addresses],
        schema={"exporter_ip": pl.String, "exporter": pl.String},
        orient="row",
    )

    def rows() -> pl.DataFrame:
        return (
            catalog.scan(record.lake.root, "coverage", start=start - DAY, end=end + DAY)
            .join(ids.lazy(), on="exporter_ip")
            .group_by("slot", "exporter", "session", "domain")
            .agg(
                pl.col("received", "lost").sum(),
                pl.col("first_sequence").min(),
                pl.col("last_sequence").max(),
                pl.col("seen").any(),
            )
            .collect()
        )

    dues = [Due(e.id, e.metro, e.from_, e.until) for e in network.exporters]
    return coverage_of(record.read("coverage", rows), dues, start, end)


@dataclass(frozen=True)
class Covered:
    """Covered and missing slots by metro (M5), the missing ones themselves, and notes."""

    slots: dict[str, int]
    missing: dict[str, int]
    uncovered: pl.DataFrame
    notes: list[str]


def covered_slots(network: Network, told: pl.DataFrame, start: datetime, end: datetime) -> Covered:
    """Which slots of [start, end) count for each metro (M5), by `coverage` of at least those.

    A slot of a metro is covered if an exporter of it was heard in it, and none that was heard
    before and after in the period was not, or with much loss. Where no exporter of a metro was
    heard (its flows came from another tool, which does not tell), every slot counts as covered.
    """
    every = pl.DataFrame(
        {"slot": pl.datetime_range(start, end, SLOT, closed="left", eager=True, time_zone="UTC")}
    )
    told = told.filter((pl.col("slot") >= start) & (pl.col("slot") < end) & pl.col("seen"))
    # A router counts from when it was first heard to when it was last: one that joins at noon
    # does not unmake the morning of the others.
    well = told.filter(pl.col("lost") <= MAX_LOSS * (pl.col("lost") + pl.col("received")))
    found = Covered({}, {}, pl.DataFrame(schema={"metro": pl.String, "slot": every["slot"].dtype}),
                    [])  # fmt: skip
    gaps = [found.uncovered]
    for metro in network.metros:
        missing, spans = every.clear(), []
        for exporter in (e for e in network.exporters if e.metro == metro.id):
            mine = pl.col("exporter_ip").is_in([str(a) for a in exporter.addresses])
            if told.filter(mine).is_empty():
                if not told.is_empty():
                    found.notes.append(f"{metro.id}: nothing was heard from {exporter.id}")
                continue
            heard = told.filter(mine)["slot"]
            spans.append((heard.min(), heard.max()))
            gaps_ = every.join(well.filter(mine), on="slot", how="anti")
            missing = missing.vstack(gaps_.filter(pl.col("slot").is_between(*spans[-1])))
        if spans:
            inside = [pl.col("slot").is_between(*span) for span in spans]
            missing = missing.vstack(every.filter(~pl.any_horizontal(inside)))
        missing = missing.unique().sort("slot")
        gaps.append(missing.select(pl.lit(metro.id).alias("metro"), "slot"))
        found.missing[metro.id] = missing.height
        found.slots[metro.id] = every.height - missing.height
    return replace(found, uncovered=pl.concat(gaps))
