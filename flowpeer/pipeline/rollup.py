"""Bringing `traffic` and `traffic_routes` up to date, only where something changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowpeer.errors import FlowpeerError, InputError, LockedError
from flowpeer.lake.commit import sweep_retired
from flowpeer.lake.interface_names import remedy
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.pipeline import day_sums
from flowpeer.pipeline.hour import HourDone, Tried, try_hour
from flowpeer.pipeline.jobs import processes, try_hours
from flowpeer.reporter import Reporter
from flowpeer.rollup.fingerprint import HOUR
from flowpeer.rollup.planner import TABLES, Hour, RollupPlanner
from flowpeer.sources import load_sources
from flowpeer_core.machine import cores

Shard = tuple[int, int]
"""i and n: every n-th hour, from the i-th (counted from 1)."""
WHOLE: Shard = (1, 1)


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What `roll_up` did: how many hours it looked at, and those done."""

    hours: int
    done: list[HourDone]
    reasons: dict[str, int]
    """How often each reason was one, of all hours that were to be done."""

    @property
    def rolled_up(self) -> int:
        """How many hours were done."""
        return len(self.done)

    def summary(self) -> dict[str, Any]:
        """hours, rolled_up and reasons, for JSON."""
        return {"hours": self.hours, "rolled_up": self.rolled_up, "reasons": self.reasons}


def roll_up(
    network: Configuration,
    lake: Lake,
    reporter: Reporter,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    shard: Shard = WHOLE,
    jobs: int | None = None,
    on: str | None = None,
    record: Record | None = None,
) -> RolledUp:
    """Load changed sources, then roll up every hour of [start, end) whose inputs changed.

    Args:
        jobs: cores to use: hours are done in parallel, in so many processes, and where there are
            fewer hours, each by several threads. None: all cores, and no more processes than
            there is work for. The lake is the same in any case.
        on: address of an engine that does the hours instead, as `spark://HOST:PORT`
            (flowpeer.pipeline.engines).

    Raises:
        UsageError: `on` is no address of an engine, or its extra is not installed.
        InputError: names that exporters announced, or a source, cannot be read; the engine cannot
            be reached, or is gone.
        NoDataError: a source is configured and missing.
        LockedError: another process rolls up.
    """
    if on is not None:
        from flowpeer.pipeline.engines import check_address

        lake.require_folder("`--on`")
        check_address(on)
    _require_names(network, lake)
    if lake.writable:
        lake.staging.sweep()  # of those that were killed: hours' own locks do not
    load_sources(lake, network, reporter.say, warn=reporter.warn)
    rollup = RollupPlanner(lake, network, record=record, period=(start, end), threads=jobs)
    hours = rollup.plan(start, end, shard=shard)
    stale = [hour for hour in hours if hour.changed]
    reasons = Counter(reason for hour in stale for reason in hour.changed)
    rows = [rollup.rows(hour) for hour in stale]
    done: list[HourDone] = []
    held: list[Hour] = []
    with (
        reporter.progress("rolling up rows", sum(rows)) as advance,
        closing(_tried(rollup, stale, reporter, advance, jobs, on, rows)) as tried,
    ):
        for one in tried:
            if one.held:
                held.append(one.hour)
            if one.done is not None:
                done.append(one.done)
    done.sort(key=lambda one: one.hour)
    held.sort(key=lambda hour: hour.start)
    for hour in hours:
        _count_late(reporter, rollup, hour)
        if hour.blocked:
            reporter.warn(
                f"{hour.start:%Y-%m-%d %H}:00 left as it was: {hour.blocked} is damaged; see "
                "`flowpeer verify`"
            )
    sweep_retired(lake, rollup.record)
    _pack(rollup, done)
    day_sums.renew(rollup.record)
    renew_catalog(network, lake, reporter.warn)
    if held:
        raise LockedError(
            f"{lake}: another process works on {len(held)} of the hours, first "
            f"{held[0].start:%Y-%m-%d %H}:00; {len(done)} others were rolled up",
            advice="wait for it to end, then try again (exit status 75)",
        )
    return RolledUp(len(hours), done, dict(reasons))


def renew_catalog(network: Configuration, lake: Lake, warn: Callable[[str], None]) -> None:
    """Write `catalog.duckdb` in the lake again, where there is one: its views and tables of the
    configuration are then of now. Where that fails, say so and go on."""
    path = lake.catalog
    if not path.is_file():
        return
    from flowpeer.catalog import write_catalog  # and DuckDB

    try:
        write_catalog(path, lake.root, configured=network.tables())
    except FlowpeerError as error:
        warn(f"{path} is the old one: {error.what}")


def _tried(
    rollup: RollupPlanner, hours: list[Hour], reporter: Reporter, advance: Callable[[int], None],
    jobs: int | None, on: str | None, rows: list[int],
) -> Generator[Tried, None, None]:  # fmt: skip
    """Roll up hours: here, in processes of their own, or on an engine."""
    count = processes(jobs or cores(), len(hours), rows if jobs is None else None)
    if on is not None:
        from flowpeer.pipeline.engines import connect, try_hours_on

        found = try_hours_on(connect(on), rollup, hours, reporter, advance) if hours else iter(())
    elif count == 1:
        for hour in hours:
            yield try_hour(rollup, hour, reporter, advance)
        return
    else:
        found = try_hours(
            rollup.network, rollup.lake, hours, reporter, advance, jobs=jobs or cores(), count=count
        )
    for one in found:
        for table in TABLES:
            rollup.record.forget(table, one.hour.start)
        yield one


def _pack(rollup: RollupPlanner, done: list[HourDone]) -> None:
    """Keep the headers of the hours that were done, and what else was read, for the next plan."""
    hours = [one.hour for one in done]
    for table in TABLES if hours else ():
        rollup.record.headers(table, start=min(hours), end=max(hours) + HOUR, damaged=[])
    rollup.pack()


def plan(
    network: Configuration,
    lake: Lake,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    shard: Shard = WHOLE,
) -> list[Hour]:
    """The hours of [start, end), and why each would be rolled up. What was read of the record is
    packed for the next plan.

    Raises:
        InputError: names that exporters announced cannot be read.
    """
    _require_names(network, lake)
    rollup = RollupPlanner(lake, network, period=(start, end))
    hours = rollup.plan(start, end, shard=shard)
    rollup.pack()
    return hours


def _require_names(network: Configuration, lake: Lake) -> None:
    """All that the rules are to read is there: without some names, hours would be done again with
    interfaces unknown.

    Raises:
        InputError: names that exporters announced cannot be read.
    """
    for relative in network.classified.damaged:
        raise InputError(
            f"{lake}/{relative}",
            "interface names that cannot be read",
            advice=remedy(relative),
        )


def _count_late(reporter: Reporter, rollup: RollupPlanner, hour: Hour) -> None:
    """Say once what came too late for an hour whose flows were pruned."""
    if rollup.late_is_counted(hour):
        return
    late = rollup.count_late(hour)
    reporter.warn(
        f"{hour.start:%Y-%m-%d %H}:00 {late.records:,} records with "
        f"{late.flow_bytes + late.flow_bytes_unscaled:,} bytes came after its flow records were "
        "pruned: they are in `flows`, and in no roll-up"
    )
