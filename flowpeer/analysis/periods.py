"""Periods: as users write them, and the time there is data of.

Start inclusive, end exclusive, midnight UTC.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from flowpeer.errors import NoDataError, UsageError
from flowpeer.lake import older_layouts
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.period import moment_of, month_start, parse_period
from flowpeer_core.slots import HOUR, SLOT

EARLY = HOUR
"""Flows that began before the first datagram was seen belong to "all the data"; a record dated a
day back does not stretch the period."""


def parse_as_of(text: str) -> datetime:
    """A moment on an hour, in UTC: what had been rolled up by then is the hours before it.

    Raises:
        UsageError: it is none.
    """
    try:
        time = moment_of(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--as-of {text!r}: no time", advice="write it like 2026-10-05 or 2026-10-05T06:00"
        ) from None
    if time.timestamp() % HOUR.total_seconds():
        raise UsageError(f"--as-of {text}: inside an hour", advice="give a full hour, in UTC")
    return time


def younger(record: Record, time: datetime) -> list[str]:
    """Inputs that are younger than a time, in words: with them an answer of then is another one."""
    found: dict[str, str] = {}
    for entry in record.entries("reference").values():
        stated, source = entry.get("source_time"), entry.get("source")
        if stated is not None and datetime.fromisoformat(stated) > time:
            found[f"{source}"] = f"{datetime.fromisoformat(stated):%Y-%m-%d %H:%M}"
    return [
        f"{source} is of {when} UTC, younger than --as-of: what hangs on it may differ"
        for source, when in sorted(found.items())
    ]


def period_before(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The period before: the quarter or month before a whole one, else as long a time."""
    for months in (3, 1):
        first = month_start(start.year, (start.month - 1) // months * months + 1)
        if (start, end) == (first, month_start(first.year, first.month + months)):
            last = first - timedelta(seconds=1)
            return month_start(last.year, last.month - months + 1), first
    return start - (end - start), start


def quarter_of(time: datetime) -> tuple[datetime, datetime]:
    """The calendar quarter that `time` lies in."""
    first = (time.month - 1) // 3 * 3 + 1
    return month_start(time.year, first), month_start(time.year, first + 3)


def default_period(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """The last whole quarter inside [first, last), else all of it."""
    start, _ = quarter_of(last)
    if start > first:
        before = quarter_of(start - timedelta(seconds=1))
        if before[0] >= first:
            return before
    start, end = quarter_of(last - timedelta(microseconds=1))
    if start >= first and end <= last:
        return start, end
    return first, last


def data_span(network: Configuration, record: Record) -> tuple[datetime, datetime]:
    """[first, end of last) slot that was rolled up, held to what was seen.

    Raises:
        NoDataError: nothing has been rolled up.
    """
    first, last = record.read("traffic", lambda: _rolled_up(record))
    last += SLOT
    begin = record.read("coverage", lambda: _seen_slots(network, record, last=False)).min()
    final = record.read("coverage", lambda: _seen_slots(network, record, last=True)).max()
    # Whole hours where a border is moved: routes are summed by the hour.
    if isinstance(begin, datetime) and first < begin - EARLY:
        first = (begin - EARLY).replace(minute=0)
    if isinstance(final, datetime) and last > final + EARLY:
        last = (final + EARLY).replace(minute=0) + HOUR
    return first, last


def _rolled_up(record: Record) -> tuple[datetime, datetime]:
    """The first and the last slot that was rolled up."""
    lake, hours = record.lake, record.hours("traffic")
    found: list[object] = []
    for way in (hours, hours[::-1]):
        headers = (record.header("traffic", hour) for hour in way)
        held = next((header for header in headers if header is not None and header.rows), None)
        if held is not None:
            paths = lake.paths(held.paths)
            slots = pl.read_parquet(paths, columns=["slot"], hive_partitioning=False)["slot"]
            found += [slots.min(), slots.max()]
    times = sorted(time for time in found if isinstance(time, datetime))
    if not times:
        raise NoDataError(f"{lake}: nothing rolled up yet", advice="run `flowpeer rollup` first")
    return times[0], times[-1]


def _seen_slots(network: Configuration, record: Record, *, last: bool) -> pl.Series:
    """Slots in which an exporter of ours was seen, of the first hour that has any, or the last."""
    ours = pl.col("exporter_ip").is_in(list(network.exporter_by_address))
    hours = record.hours("coverage")
    for hour in reversed(hours) if last else hours:
        files = record.manifest("coverage", hour).live
        for number, some in older_layouts.by_layout(files):
            paths = record.lake.paths(file.path for file in some)
            frame = older_layouts.scan(paths, "coverage", number, hive_partitioning=False)
            slots = frame.filter(pl.col("seen") & ours).select("slot").collect()["slot"]
            if slots.len():
                return slots
    return pl.Series("slot", [], dtype=pl.Datetime)


def period_of(
    network: Configuration, record: Record, asked: str | None
) -> tuple[datetime, datetime]:
    """The period asked for, cut at the last slot rolled up; the default where none is asked.

    Raises:
        NoDataError: no data in it.
    """
    first, last = data_span(network, record)
    if asked is None:
        return default_period(first, last)
    start, end = parse_period(asked)
    if any(time.minute for time in (start, end)):
        raise UsageError(
            f"--period {asked}: begins or ends inside an hour",
            advice="reports sum routes by the hour: give full hours",
        )
    if start >= last or end <= first:
        raise NoDataError(
            f"no data in {asked}: the roll-ups go from {first:%Y-%m-%d %H:%M} to "
            f"{last:%Y-%m-%d %H:%M} UTC",
            advice="ask for a period inside that, or load more with `flowpeer ingest`",
        )
    return start, min(end, last)
