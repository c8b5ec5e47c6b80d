"""Words of the command line that several commands take: times, ages, shards, addresses."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flowpeer.errors import UsageError
from flowpeer.network import seconds


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; without an offset it is UTC.

    Raises:
        UsageError: it is none.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time", advice="write it like 2026-09-15T22:00 (UTC)"
        ) from None


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` → i and n. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return int(match[1]), int(match[2])
    raise UsageError(f"--shard {text}: not i/n with 1 ≤ i ≤ n", advice="write it like 1/4")


def parse_age(text: str) -> int:
    """`14d` → seconds. Raises UsageError."""
    try:
        return seconds(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from None


def parse_asn(text: str) -> int:
    """An AS number, 64510 or AS64510. Raises UsageError."""
    digits = text.upper().removeprefix("AS")
    if digits.isascii() and digits.isdecimal() and 1 <= int(digits) < 2**32:
        return int(digits)
    raise UsageError(f"{text!r} is no AS number", advice="write it like 64510 or AS64510")
