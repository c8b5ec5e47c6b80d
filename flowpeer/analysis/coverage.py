"""Which slots of a period count: due and covered ones by exporter, and by metro (M5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from flowpeer import catalog
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer_core.slots import SLOT, SLOT_SECONDS
from flowpeer_reports.coverage import Coverage, Due, coverage_of

DAY = timedelta(days=1)


def exporter_coverage(
    network: Configuration, record: Record, start: datetime, end: datetime
) -> Coverage:
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
    """Slots of each metro that count (M5), those that do not, those themselves, and notes."""

    slots: dict[str, int]
    missing: dict[str, int]
    uncovered: pl.DataFrame
    notes: list[str]


def covered_slots(network: Configuration, coverage: Coverage, traffic: pl.LazyFrame) -> Covered:
    """Which slots of the period count for the transit of each metro, both directions together.

    Args:
        traffic: rows of `traffic` or `traffic_slots`, of at least the period.
    """
    start, n = coverage.start, coverage.slots
    place = (pl.col("slot").dt.epoch("s") - int(start.timestamp())) // SLOT_SECONDS
    sums = (
        traffic.filter(
            pl.col("role") == "transit", pl.col("scaled"), pl.col("direction").is_in(["in", "out"])
        )
        .group_by("metro", "exporter", place=place)
        .agg(pl.col("bytes").sum())
        .filter(pl.col("place").is_between(0, n - 1))
        .collect()
    )
    slots, missing, gaps = {}, {}, []
    for metro in network.metros:
        series = {e: np.zeros(n, np.int64) for e in coverage.of(metro.id)}
        mine = sums.filter(pl.col("metro") == metro.id).select("exporter", "place", "bytes")
        for exporter, at, octets in mine.iter_rows():
            series.setdefault(exporter, np.zeros(n, np.int64))[at] += octets
        if not series:
            continue
        # Where nothing is carried, a slot that nobody vouches for is missing all the same.
        sure = np.flatnonzero(coverage.vouched(series))
        places = np.intersect1d(coverage.judge(series).places, sure)
        slots[metro.id], missing[metro.id] = len(places), n - len(places)
        gaps += [(metro.id, start + int(at) * SLOT) for at in np.setdiff1d(np.arange(n), places)]
    uncovered = pl.DataFrame(
        gaps, schema={"metro": pl.String, "slot": pl.Datetime("us", "UTC")}, orient="row"
    )
    untold = sorted(coverage.untold)
    notes = coverage.silences()
    if untold and len(untold) < len(coverage.exporters):
        notes.append(
            f"nothing is known of the coverage of {', '.join(untold)} (imported, or nothing was "
            "received): taken as covered"
        )
    return Covered(slots, missing, uncovered, notes)
