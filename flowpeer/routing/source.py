"""What every reader of routes has in common: its columns, its counts, its opened file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.schema import ROUTES
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.decompress import CompressedFile, open_source
from flowpeer_ingest.errors import IngestError

BLOCK = 1 << 22
"""Octets read at a time."""
BATCH_ROWS = 1 << 17
BROKEN_SHARE = 10
"""One broken record in this many, and the file is refused: it is no isolated fault any more."""

Progress = Callable[[int], None]

_FULL = arrow_schema(ROUTES)
COLUMNS = pa.schema([f for f in _FULL if f.name not in ("snapshot", "taken_at")])
"""Columns of a batch of routes: those of `flowpeer.schema.ROUTES` without the snapshot's own."""
BEST_ROUTES = pa.schema(
    [
        ("prefix", pa.string()),
        ("origin_asn", pa.int64()),
        ("as_path", pa.string()),
        ("vantage", pa.string()),
        ("origins", pa.list_(pa.int64())),
    ]
)
"""Columns of the best route of each prefix."""


@dataclass
class RouteTally:
    """What a reader saw: filled while it is iterated, complete when it ends.

    Attributes:
        records: records or lines that could hold routes.
        broken: those among them that could not be read.
        first_broken: line of the first of them, for text.
        skipped: records, lines or routes left out, by reason (the broken ones too).
    """

    records: int = 0
    broken: int = 0
    first_broken: int | None = None
    skipped: Counter[str] = field(default_factory=Counter)

    def break_(self, reason: str) -> None:
        """Count one broken record."""
        self.broken += 1
        self.skipped[reason] += 1

    def mostly_broken(self, *, at_end: bool) -> bool:
        """More than one record in ten is broken (judged early once there are a thousand)."""
        return self.broken * BROKEN_SHARE > self.records and (at_end or self.broken > 1000)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, CompressedFile]]:
    """The unpacked stream of `path`, and the file on disk behind it.

    Raises:
        InputError: it cannot be opened or unpacked, there or anywhere in the block.
    """
    try:
        stream, source = open_source(path)
        with stream:
            yield stream, source
    except IngestError as e:
        raise InputError(e.path or str(path), e.what, offset=e.offset, advice=e.advice) from e
