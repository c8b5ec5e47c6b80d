"""Files of an object store as DuckDB opens them: each is brought when it is first opened.

DuckDB leaves out files by conditions on the columns of their folders before it opens any, so only
those of the hours that a statement needs are fetched, whatever it is written like. A file that is
not on this machine is listed as `fetch://PATH`; the parent brings it to PATH.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from flowpeer.errors import StoreError
from flowpeer.mirror import ON_DEMAND

try:
    from fsspec import AbstractFileSystem
except ImportError:
    raise StoreError(
        "a lake on an object store needs fsspec", advice="pip install 'flowpeer[s3]'", exit_code=2
    ) from None


class OnDemand(AbstractFileSystem):  # type: ignore[misc]  # it has no types
    """What DuckDB asks of a file system to read; `fetch` brings a file and returns then."""

    protocol = ON_DEMAND.removesuffix("://")
    cachable = False

    def __init__(self, fetch: Callable[[str], None]) -> None:
        super().__init__()
        self._fetch = fetch

    def glob(self, path: str, **_: Any) -> list[str]:
        """The file itself: none is a pattern."""
        return [path]

    def open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        """A file, once it is there."""
        place = path.removeprefix(ON_DEMAND)
        if not Path(place).exists():
            self._fetch(place)
        return Path(place).open("rb")

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Of a file that was opened."""
        place = path.removeprefix(ON_DEMAND)
        return {"name": path, "size": Path(place).stat().st_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Never: files are written once."""
        return datetime(1970, 1, 1, tzinfo=UTC)
