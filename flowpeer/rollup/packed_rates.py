"""The announcements of table `sampling`, packed, so that a plan opens one document for all of them.

    cache/announced.parquet

Routers repeat their rates every few minutes, and each unit of work keeps what it saw: of an hour,
only the first and the last time that a value stood are needed (`runs`), for which hours of receipt
do not overlap. The document holds these for each hour of the table with the mark that its manifest
had (`flowpeer.lake.storage.Listed`); hours whose manifests have changed since, or have none yet,
are read from their files. It may be deleted at any time.
"""

from __future__ import annotations

import io
from datetime import datetime

import polars as pl

from flowpeer.lake import older_layouts
from flowpeer.lake.record import Record

KEY = "cache/announced.parquet"
TIME = pl.Datetime("us", "UTC")
SCHEMA = pl.Schema([
    ("hour", TIME), ("mark", pl.String()), ("exporter_ip", pl.String()), ("session", pl.Int64()),
    ("observation_domain", pl.Int64()), ("sampler_id", pl.Int64()), ("interface", pl.Int64()),
    ("numerator", pl.Int64()), ("denominator", pl.Int64()), ("seen", TIME),
])  # fmt: skip
"""A row with a mark for each hour, and those of its announcements without one."""
_OF = ["exporter_ip", "session", "observation_domain", "sampler_id", "interface"]
_VALUE = ["numerator", "denominator"]


def points(rows: pl.LazyFrame) -> pl.LazyFrame:
    """When which value stood: both ends of each row of `sampling`, for another unit may have seen a
    change in between."""
    rows = rows.select(
        *_OF,
        pl.coalesce("numerator", "interval").alias("numerator"),
        pl.coalesce("denominator", 1).cast(pl.Int64).alias("denominator"),
        pl.concat_list("first_seen", "last_seen").alias("seen"),
    )
    return rows.explode("seen", empty_as_null=True)


def _begins(back: int) -> pl.Expr:
    """Rows whose value is not that of the row before (1) or after them (-1)."""
    return pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(name).shift(back).over(_OF)) for name in _VALUE
    )


def runs(points: pl.LazyFrame) -> pl.LazyFrame:
    """Of each run of the same value its first and its last point."""
    ordered = points.unique().sort(*_OF, "seen", *_VALUE)
    return ordered.filter(_begins(1) | _begins(-1))


def changes(points: pl.LazyFrame) -> pl.DataFrame:
    """The points in which something changed, in order of time: routers repeat themselves every few
    minutes, and each unit begins with what held before it."""
    columns = [*_OF, *_VALUE, "seen"]
    return points.select(columns).unique().sort(*_OF, "seen", *_VALUE).filter(_begins(1)).collect()


class PackedRates:
    """All announcements of a lake, each hour read once."""

    def __init__(self, record: Record) -> None:
        """Read them.

        Raises:
            InputError: a manifest of `sampling` is damaged, or a file is gone.
        """
        self._record = record
        self._new = False
        """Whether there is more than the packed document has."""
        self.rows = record.read("sampling", self._rows)

    def _rows(self) -> pl.DataFrame:
        marks = self._record.marks("sampling")
        packed = _unpack(self._record)
        known = dict(packed.filter(pl.col("mark").is_not_null()).select("hour", "mark").iter_rows())
        good = [hour for hour, mark in marks.items() if mark and known.get(hour) == mark]
        kept = packed.filter(pl.col("hour").is_in(good))
        read = [self._read(hour, mark) for hour, mark in marks.items() if hour not in set(good)]
        self._new = bool(read) or len(known) != len(good)
        return pl.concat([kept, *read])

    def _read(self, hour: datetime, mark: str) -> pl.DataFrame:
        """An hour from its files. One with entries that wait for their unit is not to be kept."""
        manifest = self._record.manifest("sampling", hour)
        path = self._record.lake.path
        frames = [
            older_layouts.scan([path(f.path) for f in some], "sampling", number)
            for number, some in older_layouts.by_layout(manifest.live)
        ]
        rows = [runs(points(pl.concat(frames))).collect()] if frames else []
        if mark and self._record.complete("sampling", hour):
            rows.append(pl.DataFrame({"mark": [mark]}))
        empty = pl.DataFrame(schema=SCHEMA)
        return pl.concat([empty, *rows], how="diagonal").with_columns(hour=pl.lit(hour))

    def changes(self) -> pl.DataFrame:
        """Those in which something changed (`changes`)."""
        return changes(self.rows.lazy().filter(pl.col("seen").is_not_null()))

    def pack(self) -> None:
        """Keep what was read for commands to come."""
        if not self._new or not self._record.lake.writable:
            return
        marked = pl.col("mark").is_not_null().any().over("hour")
        octets = io.BytesIO()
        self.rows.filter(marked).write_parquet(octets)
        self._record.lake.storage.cache(KEY, octets.getvalue())
        self._new = False


def _unpack(record: Record) -> pl.DataFrame:
    try:
        held = record.lake.storage.read(KEY)
        if held is not None:
            rows = pl.read_parquet(io.BytesIO(held.octets))
            if rows.schema == SCHEMA:
                return rows
    except (pl.exceptions.PolarsError, OSError):
        pass
    return pl.DataFrame(schema=SCHEMA)
