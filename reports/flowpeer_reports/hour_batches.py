"""A traffic table in batches of whole hours, so that no more than these are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from flowpeer_core.slots import HOUR
from flowpeer_reports.inputs import Inputs

ROWS_AT_ONCE = 2_000_000
"""Of a traffic table, on average: some 300 MB while they are grouped."""


def hour_batches(
    table: pl.LazyFrame,
    frame: pl.LazyFrame,
    inputs: Inputs,
    time: str,
    at_once: int,
) -> Iterator[pl.LazyFrame]:
    """The rows of `frame`, a part of `table`, that are in the period, as many hours at a time as
    have so many rows on average."""
    start = inputs.period_start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = -(-(inputs.period_end - start) // HOUR)
    size = hours_at_once(table, hours, at_once)
    if size >= hours:
        yield frame
        return
    for at in range(0, hours, size):
        yield between(frame, time, start + at * HOUR, start + (at + size) * HOUR)


def hours_at_once(table: pl.LazyFrame, hours: int, at_once: int) -> int:
    """Hours that have so many rows on average, where all of the table are `hours`."""
    rows = int(table.select(pl.len()).collect().item())
    return max(1, hours * at_once // max(rows, 1))


def between(frame: pl.LazyFrame, time: str, since: datetime, until: datetime) -> pl.LazyFrame:
    """The rows from `since` on and before `until`, UTC."""
    if "date" in frame.collect_schema():  # of the files' folders: others are not opened
        last = until - timedelta(microseconds=1)
        frame = frame.filter(pl.col("date").is_between(since.date(), last.date()))
    return frame.filter(pl.col(time) >= since, pl.col(time) < until)
