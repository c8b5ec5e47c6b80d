"""One hour rolled up, and what is wrong with it reported: alike in whichever process."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flowpeer.errors import LockedError
from flowpeer.lake.record import busy
from flowpeer.reporter import Reporter
from flowpeer.rollup.planner import Hour, RollupPlanner
from flowpeer.rollup.sums import HourFigures


@dataclass(frozen=True, slots=True)
class HourDone:
    """One hour that was rolled up: why, and what was in it."""

    hour: datetime
    reasons: list[str]
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Tried:
    """An hour that was to be done: `done`, or `held` by another process, or left as it was."""

    hour: Hour
    done: HourDone | None = None
    held: bool = False


def try_hour(
    rollup: RollupPlanner, hour: Hour, reporter: Reporter, advance: Callable[[int], None]
) -> Tried:
    """Roll up one hour; why it was left as it was is stated. `advance` is given the rows read.

    Raises:
        OSError: no room.
        ArithmeticError: as `RollupPlanner.roll_up`.
    """
    try:
        figures = twice(rollup, hour, advance)
    except LockedError:
        return Tried(hour, held=True)
    except OSError as error:
        # A damaged file costs its own hour, not the others.
        if error.errno == errno.ENOSPC:
            raise
        reporter.warn(
            f"{hour.start:%Y-%m-%d %H}:00 left as it was: {first_line(error)}; "
            "find the file with `flowpeer verify`"
        )
        return Tried(hour)
    except OverflowError as error:
        # Forged counters must not keep the other hours from being done.
        reporter.warn(
            f"{hour.start:%Y-%m-%d %H}:00 left as it was: {error}; find the exporter "
            "with `flowpeer sql` in `flows`, and fix its sampling rate or refuse it"
        )
        return Tried(hour)
    return _tried(hour, figures, reporter)


def already(rollup: RollupPlanner, hour: Hour, reporter: Reporter) -> Tried | None:
    """What the record has of an hour that was to be done, if somebody has done it since: a process
    that was lost before it could tell."""
    figures = rollup.outcome(hour)
    return None if figures is None else _tried(hour, figures, reporter)


def _tried(hour: Hour, figures: HourFigures, reporter: Reporter) -> Tried:
    reporter.say(
        f"{hour.start:%Y-%m-%d %H}:00 {figures.records:,} records, "
        f"{figures.flow_bytes:,} bytes ({', '.join(hour.changed)})",
        level=1,
    )
    if figures.implausible_records:
        reporter.warn(
            f"{hour.start:%Y-%m-%d %H}:00 {figures.implausible_records:,} records "
            "whose bytes × rate cannot be traffic; kept unscaled"
        )
    done = HourDone(hour.start, list(hour.changed), figures.records, figures.flow_bytes)
    return Tried(hour, done)


def twice(rollup: RollupPlanner, hour: Hour, advance: Callable[[int], None]) -> HourFigures:
    """Roll up an hour, once more where its files were merged while they were read.

    Raises:
        LockedError: another process is at it, or replaces its files all the while.
    """
    try:
        return rollup.roll_up(hour, progress=advance)
    except FileNotFoundError:
        pass
    try:
        return rollup.roll_up(hour, progress=advance)
    except FileNotFoundError:
        if rollup.missing(hour):
            raise
        raise busy(rollup.lake) from None


def first_line(error: Exception) -> str:
    """What a library says, without what it says below."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
