"""The ledger of a lake as one command sees it: each document is read once.

A collector leaves a document a minute and exporter, so a lake soon has more documents than a
command should read twice. A `Ledger` is made by a command, handed down to what needs it, and gone
with it: it does not see what others publish meanwhile.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake, documents

Document = dict[str, Any]
T = TypeVar("T")
TRIES, PAUSE_S = 40, 0.05
"""Of a read whose files are taken away meanwhile: the documents change after the files do."""


class Ledger:
    """Documents by the path of their file, read when asked for and kept."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._known: dict[str, Document | InputError | None] = {}
        self._listed: dict[str, list[str]] = {}

    def names(
        self, table: str, *, first: datetime | None = None, last: datetime | None = None
    ) -> list[str]:
        """Files of a table that have a document, sorted; listed once.

        Args:
            first, last: leave out what is of an earlier or later UTC day, by its path. Only for
                tables in folders by day.
        """
        if table not in self._listed:
            self._listed[table] = self.lake.entry_names(table)
        names = self._listed[table]
        folder = f"{table}/date="
        low = bisect_left(names, f"{folder}{first:%Y-%m-%d}") if first else 0
        high = bisect_right(names, f"{folder}{last:%Y-%m-%d}0") if last else len(names)
        return names[low:high]

    def entry(self, relative: str) -> Document | None:
        """The document of a published file; None where there is none.

        Raises:
            InputError: it is damaged.
        """
        if relative not in self._known:
            try:
                self._known[relative] = self.lake.entry(relative)
            except InputError as error:
                self._known[relative] = error
        found = self._known[relative]
        if isinstance(found, InputError):
            raise found
        return found

    def entries(
        self,
        table: str,
        *,
        first: datetime | None = None,
        last: datetime | None = None,
        damaged: list[str] | None = None,
    ) -> dict[str, Document]:
        """Documents of all files of a table, by relative path, sorted.

        Args:
            first, last: as of `names`.

        Raises:
            InputError: one is damaged, unless `damaged` is there to take its name.
        """
        return documents(self.names(table, first=first, last=last), self.entry, damaged)

    def read(self, table: str, work: Callable[[list[str]], T]) -> T:
        """`work` with the names of a table, again with those there now where it does not find a
        file any more: `compact` merges meanwhile."""
        for _ in range(TRIES - 1):
            try:
                return work(self.names(table))
            except FileNotFoundError:
                time.sleep(PAUSE_S)
                del self._listed[table]
        return work(self.names(table))

    def put(self, relative: str, document: Document) -> None:
        """What this command itself has just published."""
        self._known[relative] = document
        self._listed.pop(relative.partition("/")[0], None)
