"""Periods as users write them: start inclusive, end exclusive, midnight UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from flowpeer.errors import UsageError
from flowpeer_core.slots import SLOT_SECONDS

_ADVICE = "write it like 2026Q3, 2026-07, 2026-07-01 or 2026-07-01/2026-07-08"


def _month(year: int, month: int) -> datetime:
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)


def _moment(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def parse_period(text: str) -> tuple[datetime, datetime]:
    """`2026Q3`, `2026-07`, `2026-07-01` or `START/END` → [start, end) in UTC.

    Raises:
        UsageError: it is none of these, or empty, or not on slot borders.
    """
    try:
        if match := re.fullmatch(r"(\d{4})-?[Qq]([1-4])", text, re.ASCII):
            first = 3 * int(match[2]) - 2
            return _month(int(match[1]), first), _month(int(match[1]), first + 3)
        if match := re.fullmatch(r"(\d{4})-(\d{2})", text, re.ASCII):
            year, month = int(match[1]), int(match[2])
            if not 1 <= month <= 12:
                raise ValueError(text)
            return _month(year, month), _month(year, month + 1)
        if "/" in text:
            start, end = (_moment(part) for part in text.split("/", 1))
        else:
            start = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
            end = start + timedelta(days=1)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no period", advice=_ADVICE) from None
    if end <= start:
        raise UsageError(f"{text!r} ends before it starts", advice=_ADVICE)
    if any(t.timestamp() % SLOT_SECONDS for t in (start, end)):
        raise UsageError(f"{text!r} does not begin and end on 5-minute slots", advice=_ADVICE)
    return start, end


def quarter_of(time: datetime) -> tuple[datetime, datetime]:
    """The calendar quarter that `time` lies in."""
    first = (time.month - 1) // 3 * 3 + 1
    return _month(time.year, first), _month(time.year, first + 3)


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
