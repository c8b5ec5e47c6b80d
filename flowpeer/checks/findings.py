"""What a check has to say."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of `check`."""

    level: str
    """ok, note or warning; a warning makes the exit status 1."""
    subject: str
    text: str
    next_step: str = ""
