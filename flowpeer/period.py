"""A period as it is written, wherever one is: `2026Q3`, `2026-07`, `2026-W30`, `START/END`.

Start inclusive, end exclusive, midnight UTC. It imports no engine: the process that runs queries
reads by it what questions are given.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from flowpeer.errors import UsageError
from flowpeer_core.slots import SLOT_SECONDS

_ADVICE = "write it like 2026Q3, 2026-07, 2026-W30, 2026-07-01 or 2026-07-01/2026-07-08"


def month_start(year: int, month: int) -> datetime:
    """The start of a month; month 13 is the next January."""
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)


def moment_of(text: str) -> datetime:
    """A time as ISO 8601 writes it, UTC where it does not say.

    Raises:
        ValueError: it is none.
    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def parse_period(text: str) -> tuple[datetime, datetime]:
    """`2026Q3`, `2026-07`, `2026-W30`, `2026-07-01` or `START/END` → [start, end) in UTC.

    Raises:
        UsageError: it is none of these, or empty, or not on slot borders.
    """
    try:
        if match := re.fullmatch(r"(\d{4})-?[Qq]([1-4])", text, re.ASCII):
            first = 3 * int(match[2]) - 2
            return month_start(int(match[1]), first), month_start(int(match[1]), first + 3)
        if match := re.fullmatch(r"(\d{4})-(\d{2})", text, re.ASCII):
            year, month = int(match[1]), int(match[2])
            if not 1 <= month <= 12:
                raise ValueError(text)
            return month_start(year, month), month_start(year, month + 1)
        if match := re.fullmatch(r"(\d{4})-?[Ww](\d{2})", text, re.ASCII):
            start = datetime.fromisocalendar(int(match[1]), int(match[2]), 1).replace(tzinfo=UTC)
            return start, start + timedelta(days=7)
        if "/" in text:
            start, end = (moment_of(part) for part in text.split("/", 1))
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
