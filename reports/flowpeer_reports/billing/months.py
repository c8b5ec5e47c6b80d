"""Calendar months of a contract's time zone, as slots (METHODS M5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from flowpeer_core.slots import SLOT


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month somewhere; a month in which clocks change has 12 slots more or fewer."""

    year: int
    number: int
    timezone: str

    @property
    def name(self) -> str:
        """`2026-07`"""
        return f"{self.year:04d}-{self.number:02d}"

    @property
    def start(self) -> datetime:
        """Its first midnight, in UTC."""
        local = datetime(self.year, self.number, 1, tzinfo=ZoneInfo(self.timezone))
        return local.astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The next month's first midnight, in UTC."""
        return self.next.start

    @property
    def next(self) -> Month:
        """The month after it."""
        year, zero = divmod(self.year * 12 + self.number, 12)
        return Month(year, zero + 1, self.timezone)

    @property
    def slots(self) -> int:
        """Slots of the whole month."""
        return (self.end - self.start) // SLOT

    @property
    def last_day(self) -> date:
        """Its last day."""
        return date(self.next.year, self.next.number, 1) - timedelta(days=1)


def month_named(name: str, timezone: str) -> Month:
    """`2026-07` in a time zone. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", name)
    if not match:
        raise ValueError(f"not a month: {name!r}")
    return Month(int(match[1]), int(match[2]), timezone)


def months_of(start: datetime, end: datetime, timezone: str) -> Iterator[Month]:
    """The months that belong to the UTC period [start, end), by name: those that overlap it as
    UTC months do, each then taken whole in its own time zone."""
    first, last = start.astimezone(UTC), (end - timedelta(microseconds=1)).astimezone(UTC)
    month = Month(first.year, first.month, timezone)
    while (month.year, month.number) <= (last.year, last.month):
        yield month
        month = month.next
