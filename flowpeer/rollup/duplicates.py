"""The same datagrams by two paths count once (METHODS M13).

Dual export, anycast, a replicator or half a capture ingested again leave a datagram in several
units. Which units may share some is recognised by the record alone: their spans of export time and
sequence numbers overlap, by exporter and domain. Only of those are records compared. A record is
the same where its datagram has the same exporter, domain, sequence number and export time, and it
counts the same of the same flow: the port that it was sent from is not asked, which a replicator
may change, nor what follows from the moment of receipt. So an exporter that begins again is
recognised by the time, two senders behind one address by what they send, and one whose numbers are
not usable by its records alone.

Of equal records each holder has so many; the first in the order of (collector, holder) counts its
own, and each other only those that it has beyond. What is decided for an hour of receipt follows
from what was received in it and in the hours beside it, in whatever order it came into the lake.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from flowpeer.errors import InputError
from flowpeer.lake.manifest import HOUR, File, Header, Holder, holder_of, partition_hour
from flowpeer.lake.record import Record
from flowpeer.rollup.reading import EPOCH, Ints, flow_file
from flowpeer_ingest.parts import ANY_DOMAIN, PATHS_APART_US, Span

if TYPE_CHECKING:
    import polars as pl

SAME = (
    "exporter_ip", "observation_domain", "export_time", "datagram_sequence", "input_if",
    "output_if", "direction", "src_addr", "dst_addr", "src_port", "dst_port", "protocol", "tos",
    "tcp_flags", "bytes", "packets", "sampler_id", "src_mac", "dst_mac",
)  # fmt: skip
"""What is equal in copies of a record."""
ROWS_AT_ONCE = 1 << 22
"""Records that are compared at once, where time can be cut that fine."""
SHORTEST_US = 5_000_000
HOURS_KEPT = 4
"""Hours of receipt whose rows are kept for the hour of the roll-up after it."""
_NONE: Ints = np.empty(0, np.int64)


@dataclass(slots=True)
class _Overlaps:
    """What an hour of receipt shares, or may share, with others or within."""

    holders: dict[tuple[datetime, str], Holder] = field(default_factory=dict)
    exporters: set[str] = field(default_factory=set)
    windows: list[tuple[int, int]] = field(default_factory=list)
    """Of export time, µs, both ends included."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group that may have records of the windows."""

    file: File
    hour: datetime
    number: int
    first_row: int
    rows: int
    first_us: int
    last_us: int


class Duplicates:
    """Of one lake: `rows` that count elsewhere, and the `fingerprint` of what that hangs on."""

    def __init__(self, record: Record, headers: Mapping[datetime, Header]) -> None:
        self._record = record
        self._headers = headers
        self._overlaps: dict[datetime, _Overlaps] = {}
        self._pairs: dict[tuple[datetime, datetime], list[_Pair]] = {}
        self._rows: dict[datetime, dict[str, Ints]] = {}

    def fingerprint(self, hours: Sequence[datetime]) -> str:
        """Digest of what decides over the rows of some hours of receipt; empty: all count."""
        parts = [
            [f"{hour:%Y-%m-%dT%H}", f"{at:%Y-%m-%dT%H}", name, self._collector(holder),
             holder.digest]
            for hour in hours
            for (at, name), holder in sorted(self._of(hour).holders.items(), key=lambda h: h[0])
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32] if parts else ""

    def rows(self, path: str) -> Ints:
        """Numbers of the rows of a flow file that count elsewhere, ascending.

        Raises:
            FileNotFoundError: the file was replaced since the record was read.
            OSError: a file that cannot be read, or whose octets are not those written.
        """
        hour = partition_hour(path)
        if not self._of(hour).windows:
            return _NONE
        if path not in self._rows.get(hour, ()):  # or its files were merged since
            self._rows.pop(hour, None)
            while len(self._rows) >= HOURS_KEPT:
                self._rows.pop(next(iter(self._rows)))
            self._rows[hour] = self._decided(hour)
        if path not in self._rows[hour]:
            raise FileNotFoundError(errno.ENOENT, "it was merged meanwhile", path)
        return self._rows[hour][path]

    def _header(self, hour: datetime) -> Header | None:
        """Also of an hour beside those that are asked for."""
        if hour in self._headers:
            return self._headers[hour]
        try:
            return self._record.header("flows", hour)
        except InputError:
            return None

    def _of(self, hour: datetime) -> _Overlaps:
        if hour in self._overlaps:
            return self._overlaps[hour]
        found = self._overlaps[hour] = _Overlaps()
        before, after = hour - HOUR, hour + HOUR
        for a, b in ((before, hour), (hour, hour), (hour, after)):
            if (a, b) not in self._pairs:
                self._pairs[a, b] = list(_pairs(self._header(a), self._header(b)))
            for ip, one, other, window in self._pairs[a, b]:
                found.exporters.add(ip)
                found.windows.append(window)
                for at, name in ((a, one), (b, other)):
                    if (header := self._header(at)) is not None:
                        found.holders[at, name] = header.holders[name]
        found.windows = _joined(found.windows)
        return found

    def _collector(self, holder: Holder) -> str:
        unit = self._record.unit(holder.path.rpartition("/")[2].removesuffix(".parquet"))
        return unit.collector if unit is not None else ""

    def _decided(self, hour: datetime) -> dict[str, Ints]:
        """By path of each file that there is of an hour."""
        overlaps = self._of(hour)
        order = {(self._collector(held), name) for (_, name), held in overlaps.holders.items()}
        ranks = {name: rank for rank, (_, name) in enumerate(sorted(order))}
        files = [
            (at, file)
            for at in sorted({at for at, _ in overlaps.holders})
            for file in self._record.manifest("flows", at).live
        ]
        groups = [
            group
            for at, file in files
            if any(holder_of(unit.path) in ranks for unit in file.units)
            for group in self._groups(at, file)
        ]
        found: dict[str, list[Ints]] = {file.path: [_NONE] for at, file in files if at == hour}
        for first_us, last_us in overlaps.windows:
            for some, begin, end in _pieces(groups, first_us, last_us + 1):
                for path, rows in self._compared(some, begin, end, overlaps, ranks, hour):
                    found[path].append(rows)
        return {path: np.unique(np.concatenate(rows)) for path, rows in found.items()}

    def _groups(self, hour: datetime, file: File) -> Iterator[_Group]:
        with flow_file(self._record.lake.path(file.path)) as parquet:
            first = 0
            names = parquet.schema_arrow.names
            if any(name not in names for name in SAME):
                return  # of an older format
            for number in range(parquet.metadata.num_row_groups):
                group = parquet.metadata.row_group(number)
                times = [_times(group, names.index(n)) for n in ("export_time", "received_at")]
                yield _Group(
                    file, hour, number, first, group.num_rows,
                    min(a for a, _ in times) - PATHS_APART_US,
                    max(b for _, b in times) + PATHS_APART_US,
                )  # fmt: skip
                first += group.num_rows

    def _compared(
        self, groups: Sequence[_Group], begin: int, end: int, overlaps: _Overlaps,
        ranks: Mapping[str, int], hour: datetime,
    ) -> Iterator[tuple[str, Ints]]:  # fmt: skip
        """Rows of an hour's files that count elsewhere, of the times in [begin, end)."""
        import polars as pl

        paths = sorted({group.file.path for group in groups})
        frames = [
            self._read(group, begin, end, overlaps, ranks, paths.index(group.file.path))
            for group in groups
        ]
        if not frames:
            return
        # In the order of time and rows, so that equal records of a holder have their numbers.
        rows = pl.concat(frames).sort("hour", "file", "row")
        key = ["one", "other"]
        if rows["timeless"].any():  # their sequence may have begun again between two of them
            apart = (pl.col("us").diff() > PATHS_APART_US).fill_null(False).cum_sum()
            rows = (
                rows.sort("us", maintain_order=True)
                .with_columns(apart.over(key).alias("epoch"))
                .sort("hour", "file", "row")
            )
            key.append("epoch")
        same = rows.with_columns(
            pl.int_range(pl.len()).over(*key, "rank").alias("number")
        ).with_columns(pl.col("rank").min().over(*key, "number").alias("first"))
        away = same.filter(
            (pl.col("rank") > pl.col("first"))
            & (pl.col("hour") == _hour_number(hour))
            & (pl.col("us") >= begin) & (pl.col("us") < end)
        )  # fmt: skip
        for (n,), some in away.group_by("file"):
            yield paths[int(str(n))], some["row"].to_numpy().astype(np.int64)

    def _read(
        self, group: _Group, begin: int, end: int, overlaps: _Overlaps,
        ranks: Mapping[str, int], number: int,
    ) -> pl.DataFrame:  # fmt: skip
        """Digests of a row group's records: of these times, exporters and holders."""
        import polars as pl

        path = self._record.lake.path(group.file.path)
        with flow_file(path, page_checksum_verification=True) as parquet:
            table = parquet.read_row_group(
                group.number, columns=[*SAME, "received_at"], use_threads=False
            )
        units = group.file.units
        ends = np.cumsum([unit.rows for unit in units])
        if int(ends[-1]) != group.file.rows:
            raise InputError(
                str(path), f"{group.file.rows} rows, {int(ends[-1])} in its units",
                advice="run `flowpeer verify`",
            )  # fmt: skip
        places = np.arange(group.first_row, group.first_row + group.rows)
        rank = np.array([ranks.get(holder_of(unit.path), -1) for unit in units], np.int32)
        frame: pl.DataFrame = pl.DataFrame(pl.from_arrow(table)).with_columns(
            pl.col("exporter_ip").cast(pl.String),
            pl.Series("row", places),
            pl.Series("rank", rank[np.searchsorted(ends, places, side="right")]),
        )
        us = pl.coalesce("export_time", "received_at").to_physical().cast(pl.Int64)
        slack = pl.when(pl.col("export_time").is_null()).then(PATHS_APART_US).otherwise(0)
        mine = frame.with_columns(us.alias("us"), slack.alias("slack")).filter(
            (pl.col("rank") >= 0)
            & pl.col("datagram_sequence").is_not_null()
            & pl.col("exporter_ip").is_in(list(overlaps.exporters))
            & (pl.col("us") >= begin - pl.col("slack"))
            & (pl.col("us") < end + pl.col("slack"))
        )
        same = mine.select(SAME)  # two digests: 128 bits
        return mine.select(
            "rank", "us", "row", (pl.col("slack") > 0).alias("timeless")
        ).with_columns(
            same.hash_rows(1).alias("one"),
            same.hash_rows(2).alias("other"),
            pl.lit(_hour_number(group.hour), pl.Int64).alias("hour"),
            pl.lit(number, pl.Int64).alias("file"),
        )


_Pair = tuple[str, str, str, tuple[int, int]]
"""An exporter, two holders that may hold the same datagrams of it, and of which export times."""
_Placed = tuple[Span, bool, str]
"""A span, whether it is of the second hour, and its holder."""


def _pairs(first: Header | None, second: Header | None) -> Iterator[_Pair]:
    """Pairs of two holders, one of each hour; of one hour, where it is the same twice."""
    if first is None or second is None or len({*first.holders, *second.holders}) < 2:
        return
    spans: dict[tuple[str, int], list[_Placed]] = {}
    for later, header in ((False, first), (True, second)) if first is not second else (
        (False, first),
    ):  # fmt: skip
        for name, holder in header.holders.items():
            for ip, domains in holder.spans.items():
                for domain, span in domains.items():
                    spans.setdefault((ip, domain), []).append((span, later, name))
    for ip in {ip for ip, domain in spans if domain == ANY_DOMAIN}:
        together = [key for key in spans if key[0] == ip]
        spans[ip, ANY_DOMAIN] = [placed for key in together for placed in spans[key]]
        for key in together:
            if key[1] != ANY_DOMAIN:
                del spans[key]
    for (ip, _), some in spans.items():
        for one, other, window in _shared(some, beside=first is not second):
            yield ip, one, other, window


def _shared(some: list[_Placed], *, beside: bool) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Holders of two spans that meet, and when; `beside`: of two hours, the first one's first."""
    if beside:
        begin = min((span[0] for span, later, _ in some if later), default=0)
        end = max((span[1] for span, later, _ in some if not later), default=-1)
        some = [each for each in some if each[0][0] <= end and each[0][1] >= begin]
    open_: list[_Placed] = []
    for span, later, name in sorted(some):
        open_ = [held for held in open_ if held[0][1] >= span[0]]
        for held, after, other in open_:
            if name != other and (later != after) == beside and _meet(held, span):
                window = max(held[0], span[0]), min(held[1], span[1])
                yield (name, other, window) if after else (other, name, window)
        open_.append((span, later, name))


def _meet(a: Span, b: Span) -> bool:
    return a[0] <= b[1] and b[0] <= a[1] and a[2] <= b[3] and b[2] <= a[3]


def _joined(windows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(windows):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def _pieces(
    groups: Sequence[_Group], begin: int, end: int
) -> Iterator[tuple[list[_Group], int, int]]:
    """Row groups with records of [begin, end), in pieces of time of bounded size."""
    some = [group for group in groups if group.first_us < end and group.last_us >= begin]
    if sum(group.rows for group in some) > ROWS_AT_ONCE and end - begin > SHORTEST_US:
        middle = (begin + end) // 2
        yield from _pieces(some, begin, middle)
        yield from _pieces(some, middle, end)
    elif some:
        yield some, begin, end


def _times(group: Any, column: int) -> tuple[int, int]:
    """First and last time of a row group's column; all of time where its statistics say nothing."""
    statistics = group.column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return 0, 1 << 62
    first, last = (
        (t - EPOCH) // timedelta(microseconds=1) for t in (statistics.min, statistics.max)
    )
    return first, last


def _hour_number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600
