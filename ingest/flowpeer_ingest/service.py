"""What a service wants from its surroundings: a log that cannot be flooded, sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

LOG_LINES = 10
"""Per reason and minute."""


class Log:
    """Lines for people, at most `LOG_LINES` per reason and minute; the next one says how many
    were left out."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen: dict[str, tuple[float, int]] = {}

    def __call__(self, reason: str, text: str) -> None:
        """Say `text`, unless too much was logged about `reason` already."""
        now = time.monotonic()
        began, count = self._seen.get(reason, (now, 0))
        if now - began >= 60:
            if count > LOG_LINES:
                self._say(f"{reason}: {count - LOG_LINES} more lines in the minute before")
            began, count = now, 0
        self._seen[reason] = began, count + 1
        if count < LOG_LINES:
            self._say(text)


def notify(text: str) -> None:
    """Tell the service manager; nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
