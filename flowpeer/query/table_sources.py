"""The parent's part of a query's tables: what each is over, given to the child when it asks.

The child reads no manifest and no configuration; it imports nothing that could.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from flowpeer.lake.record import Record
    from flowpeer.lake.store import Lake

Crossings = Callable[[Path], list[Path]]
"""Makes the files of `crossings` (`flowpeer.schema.CROSSINGS`) in a folder."""

NONE: Mapping[str, Any] = MappingProxyType({})


class Relations:
    """Tables of the lake at `root`, and those that a configuration makes."""

    def __init__(
        self,
        root: Path,
        configured: Mapping[str, pa.Table] | Callable[[], Mapping[str, pa.Table]] = NONE,
        crossings: Crossings | None = None,
    ) -> None:
        self._root = root
        self._configured = configured
        self._crossings = crossings
        self._crossing_files: list[Path] | None = None
        self._rows: dict[str, list[dict[str, Any]]] | None = None
        self._store: Lake | None = None
        self.fetched_octets = 0

    def fetch(self, place: str) -> None:
        """Bring a file of an object store to `place`.

        Raises:
            InputError: it is not there.
            StoreError: the store does not answer.
            UsageError: there is no room for as much as a statement needs.
        """
        from flowpeer.errors import InputError
        from flowpeer.lake.store import Lake

        path = Path(place)
        self._store = self._store or Lake(self._root)
        key = path.relative_to(self._root).as_posix()
        self._store.storage.fetch([key])
        if not path.exists():
            raise InputError(f"{self._store}/{key}", "is missing", advice="run `flowpeer verify`")
        self.fetched_octets += path.stat().st_size
        self._store.check_room(path.relative_to(self._root).parts[0], self.fetched_octets)

    def find(self, names_used: Collection[str] | None, folder: Path) -> list[dict[str, Any]]:
        """The tables among `names_used`, all where it is None: `name` and `sql`, a SELECT over the
        files that are there now, or `rows` with the `kinds` of their columns.

        `crossings` are made when they are first named, in `folder`, and stay as they are.

        Raises:
            InputError: a manifest that cannot be read.
            UsageError: a lake of another version, a configured table that lacks a column.
        """
        from flowpeer.lake import day_sums
        from flowpeer.lake.relation import crossings, kinds, sums
        from flowpeer.lake.store import Lake
        from flowpeer.schema import CONFIGURED, SUMS, TABLES

        found = []
        if names_used is None or "crossings" in names_used:
            if (
                names_used is not None
                and self._crossing_files is None
                and self._crossings is not None
            ):
                self._crossing_files = self._crossings(folder)
            found.append({"name": "crossings", "sql": crossings(self._crossing_files or [])})
        names = [name for name in TABLES if names_used is None or name in names_used]
        summed = [name for name in SUMS if names_used is None or name in names_used]
        if not names and not summed:
            return found
        if self._rows is None and not CONFIGURED.keys().isdisjoint(names):
            from flowpeer.catalog import configured_rows

            given = self._configured() if callable(self._configured) else self._configured
            self._rows = configured_rows(given)
        lake = Lake(self._root)
        lake.check_format()
        rows, record = self._rows or {}, lake.record()
        for name in summed:
            kept = day_sums.kept(record, name)
            found.append({"name": name, "sql": sums(record, name, kept)})
        return found + [
            {"name": name, "rows": rows[name], "kinds": kinds(name)}
            if name in rows
            else {"name": name, "sql": _sql(record, name, names_used)}
            for name in names
        ]


def _sql(record: Record, name: str, names_used: Collection[str] | None) -> str:
    """The SELECT of a table. Where only its columns are asked for, files of an object store stay
    where they are."""
    from flowpeer.lake.relation import empty, relation

    return empty(name) if names_used is None and record.lake.remote else relation(record, name)
