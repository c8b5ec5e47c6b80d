"""What work tells whoever asked for it: notes, warnings, progress.

The stages know no terminal and no exit status. They are given a `Reporter`; the command line is
one (flowpeer.cli.state), `Collected` is another, for those who call from Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Reporter(Protocol):
    """Whoever wants to know how the work goes."""

    def say(self, text: str, *, level: int = 0) -> None:
        """What was done; `level` 1 is detail."""

    def warn(self, text: str) -> None:
        """Something is wrong with the data: what, where, what to do."""

    def progress(
        self, label: str, total: int | None = None
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Yields a function that is given how many units are done since its last call."""


@dataclass
class Collected:
    """Keeps what is reported, and shows nothing."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def say(self, text: str, *, level: int = 0) -> None:
        """Keep a note; details are left out."""
        if level <= 0:
            self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Nothing to show."""
        yield lambda _: None
