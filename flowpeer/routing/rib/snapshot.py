"""RIB snapshots of the lake: loading one, listing them, choosing the one in force.

A snapshot is one file of routes, read once and published atomically. Its name is the time
it was taken and the first octets of its source's digest, so that names sort by time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake, digest_of
from flowpeer.routing.mrt.framing import HEADER, looks_like_mrt, time_of
from flowpeer.routing.source import Progress, RouteTally, opened
from flowpeer.schema import ROUTES
from flowpeer_core.columns import arrow_schema

if TYPE_CHECKING:
    from flowpeer.routing.bgp.peers import Peers

_DATED = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)[-_.]?(?P<month>\d\d)[-_.]?(?P<day>\d\d)"
    r"(?:[-_.T]?(?P<hour>\d\d)[:_]?(?P<minute>\d\d)(?:\d\d)?)?(?!\d)"
)
_IDENTITY = ("source_digest", "vantage", "asked_taken_at")


@dataclass(frozen=True)
class SnapshotInfo:
    """What is known of a published snapshot.

    Attributes:
        name: the file's stem in `routes/`.
        taken_at: when its routes were in force, UTC.
        vantage: exporter or metro it is tied to; empty for network-wide.
        rows: routes, one a prefix and view.
        prefixes4, prefixes6: distinct prefixes by family.
        views: `AS<peer>@<address>` of each MRT peer with routes, else the vantage.
        source, source_digest: name and SHA-256 of the file it was loaded from.
        skipped: records, lines or routes of that file left out, by reason.
        digest: SHA-256 of the published file.
        kind: mrt, table, updates (on top of another snapshot) or bmp.
        peers: the choice of peers it was loaded with; empty for all.
        file_bytes: size of the published file.
        parts: SHA-256 of each file, where it was loaded from several.
    """

    name: str
    taken_at: datetime
    vantage: str
    rows: int
    prefixes4: int
    prefixes6: int
    views: tuple[str, ...]
    source: str
    source_digest: str
    skipped: dict[str, int]
    digest: str
    kind: str = "mrt"
    peers: tuple[str, ...] = ()
    file_bytes: int = 0
    parts: tuple[str, ...] = ()


class RouteReader(Protocol):
    """What gives the routes of a snapshot: batches of `source.COLUMNS`, once.

    `views` and `tally` are complete after the iteration.
    """

    views: list[str]
    tally: RouteTally

    def __iter__(self) -> Iterator[pa.Table]: ...


@dataclass(eq=False)
class JoinedReaders:
    """Several readers as one: the union of their views, file by file."""

    readers: Sequence[RouteReader]
    views: list[str] = field(default_factory=list)
    tally: RouteTally = field(default_factory=RouteTally)

    def __iter__(self) -> Iterator[pa.Table]:
        for reader in self.readers:
            yield from reader
            self.tally.skipped.update(reader.tally.skipped)
        self.views = sorted({view for reader in self.readers for view in reader.views})


def load(
    lake: Lake,
    *paths: Path,
    taken_at: datetime | None = None,
    vantage: str = "",
    peers: Peers | None = None,
    progress: Progress | None = None,
) -> tuple[SnapshotInfo, bool]:
    """Load MRT table dumps or prefix-to-AS tables as one snapshot.

    Args:
        paths: one file, or several of one moment, as when each router dumps its own table: the
            snapshot is the union of their views.
        taken_at: aware time; None: the MRT header's, else a date in the name, else the file's; of
            several files the latest.
        vantage: exporter or metro that the files belong to.
        peers: the views to keep; None keeps all.
        progress: called with the octets of the file read so far.

    Returns:
        The snapshot, and whether it was loaded now: the same content with the same options is
        not loaded again.

    Raises:
        InputError: a file cannot be read or is mostly broken; the lake is as it was.
    """
    digests = {digest_of(path): path for path in paths}
    facts: dict[str, Any] = {
        "vantage": vantage,
        "asked_taken_at": taken_at.astimezone(UTC).isoformat() if taken_at is not None else None,
        "source": ", ".join(path.name for path in digests.values()),
        "source_digest": min(digests),
        "peers": peers.words if peers is not None else [],
    }
    if len(digests) > 1:
        facts["source_digest"] = sha256("\n".join(sorted(digests)).encode()).hexdigest()
        facts["parts"] = sorted(digests)
    known = find(lake, facts)
    if known is not None:
        return known, False
    from flowpeer.routing.mrt.table_dump import MrtReader  # and Polars
    from flowpeer.routing.rib.prefix_tables import TableReader

    times: list[datetime] = []
    kinds: list[str] = []
    readers: list[RouteReader] = []
    for path in digests.values():
        with opened(path) as (stream, _):
            head = stream.read(HEADER.size)
        is_mrt = looks_like_mrt(head)
        kinds.append("mrt" if is_mrt else "table")
        times.append(_taken_at(path, head, is_mrt) if taken_at is None else taken_at)
        if is_mrt:
            readers.append(MrtReader(path, peers=peers, progress=progress))
        elif peers is not None:
            raise InputError(
                str(path), "a table of prefixes has no peers", advice="load it without --peer"
            )
        else:
            readers.append(TableReader(path, vantage=vantage, progress=progress))
    facts["kind"] = max(kinds, key=["mrt", "table"].index)
    reader = readers[0] if len(readers) == 1 else JoinedReaders(readers)
    return publish(lake, reader, max(times).astimezone(UTC), facts), True


def find(lake: Lake, facts: Mapping[str, Any]) -> SnapshotInfo | None:
    """The snapshot made of the same content with the same options, if there is one."""
    for relative, entry in lake.entries("routes").items():
        same = all(entry.get(key) == facts[key] for key in _IDENTITY)
        if same and entry.get("peers", []) == facts["peers"] and lake.path(relative).is_file():
            return _info(relative, entry)
    return None


def pruned_digests(lake: Lake) -> set[str]:
    """Digests of the files whose snapshots were pruned, and not loaded again since."""
    gone: set[str] = set()
    for file in lake.record().manifest("routes").files:
        if file.pruned is not None:
            gone.update(file.facts.get("parts", ()), [file.facts["source_digest"]])
    return gone


def find_all(lake: Lake, facts: Mapping[str, Any]) -> list[SnapshotInfo]:
    """All snapshots made of one capture with the same options."""
    keys = ("source_digest", "asked_vantage", "asked_taken_at", "peers", "kind")
    found = [
        _info(relative, entry)
        for relative, entry in lake.entries("routes").items()
        if all(entry.get(key) == facts[key] for key in keys) and lake.path(relative).is_file()
    ]
    return sorted(found, key=lambda info: info.vantage)


def publish(lake: Lake, reader: RouteReader, when: datetime, facts: dict[str, Any]) -> SnapshotInfo:
    """Put what a reader gives into the lake atomically.

    Args:
        facts: vantage, asked_taken_at, source, source_digest, peers, kind, and others to keep.
    """
    name = f"{when:%Y%m%dT%H%M%SZ}-{facts['source_digest'][:8]}"
    if facts["vantage"]:
        word = re.sub(r"[^A-Za-z0-9._-]+", "_", facts["vantage"])[:64].strip(".")
        name += "-" + (word or "vantage")
    if facts["peers"]:
        name += "-peers" + sha256(" ".join(facts["peers"]).encode()).hexdigest()[:8]
    relative = f"routes/{name}.parquet"
    facts = {**facts, "taken_at": when.isoformat()}
    # The facts are complete when the last table has been written, and only then they are read.
    document = lake.publish(relative, ROUTES, _rows(reader, name, when, facts), facts)
    return _info(relative, document)


def _rows(
    reader: RouteReader, name: str, when: datetime, facts: dict[str, Any]
) -> Iterator[pa.Table]:
    from flowpeer.routing.rib.distinct import DistinctPrefixes  # and Polars

    schema = arrow_schema(ROUTES)
    taken_at = pa.scalar(when, schema.field("taken_at").type)
    distinct = DistinctPrefixes()
    for table in reader:
        distinct.add(table)
        fixed = {
            "snapshot": pa.repeat(pa.scalar(name), table.num_rows),
            "taken_at": pa.repeat(taken_at, table.num_rows),
        }
        arrays = [fixed[f.name] if f.name in fixed else table.column(f.name) for f in schema]
        yield pa.Table.from_arrays(arrays, schema=schema)
    prefixes = distinct.counts()
    facts.update(
        prefixes4=prefixes[4],
        prefixes6=prefixes[6],
        views=reader.views,
        skipped=dict(sorted(reader.tally.skipped.items())),
    )


def _taken_at(path: Path, head: bytes, is_mrt: bool) -> datetime:
    if is_mrt:
        return time_of(head)
    for match in _DATED.finditer(path.name):
        part = {key: int(value) for key, value in match.groupdict(default="0").items()}
        try:
            return datetime(**part, tzinfo=UTC)
        except ValueError:
            continue
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def _info(relative: str, entry: dict[str, Any]) -> SnapshotInfo:
    return SnapshotInfo(
        name=Path(relative).stem,
        taken_at=datetime.fromisoformat(entry["taken_at"]),
        vantage=entry["vantage"],
        rows=entry["rows"],
        prefixes4=entry["prefixes4"],
        prefixes6=entry["prefixes6"],
        views=tuple(entry["views"]),
        source=entry["source"],
        source_digest=entry["source_digest"],
        skipped=dict(entry["skipped"]),
        digest=entry["sha256"],
        kind=entry.get("kind", "mrt"),
        peers=tuple(entry.get("peers", ())),
        file_bytes=entry.get("file_bytes", 0),
        parts=tuple(entry.get("parts", ())),
    )


def snapshots(lake: Lake | Record) -> list[SnapshotInfo]:
    """All published snapshots of a lake, or of its record as read, by time taken, then name."""
    found = [_info(relative, entry) for relative, entry in lake.entries("routes").items()]
    return sorted(found, key=lambda info: (info.taken_at, info.name))


def in_force(
    infos: Sequence[SnapshotInfo],
    when: datetime,
    *,
    exporter: str,
    metro: str,
    family: int | None = None,
) -> SnapshotInfo | None:
    """`InForce(infos).at(…)`, for one question."""
    return InForce(infos).at(when, exporter=exporter, metro=metro, family=family)


Moments = tuple[list[datetime], list[SnapshotInfo]]
"""Times in order, and the snapshot of each."""


class InForce:
    """Which of some snapshots holds for an exporter at a time (METHODS M4)."""

    def __init__(self, infos: Iterable[SnapshotInfo]) -> None:
        self._infos = tuple(infos)
        self._by_vantage: dict[tuple[str, int | None], Moments] = {}
        self._chosen: dict[tuple[str, str, int | None], Moments | None] = {}

    def at(
        self, when: datetime, *, exporter: str, metro: str, family: int | None = None
    ) -> SnapshotInfo | None:
        """Its own view first, then its metro's, then the network-wide one; of these the latest
        taken at or before `when`, else the earliest (whose `taken_at` is then after `when`). Of one
        moment, what was loaded from most files.

        Args:
            family: 4 or 6 to consider only snapshots with such prefixes: tables of prefixes often
                come as one file a family.
        """
        place = exporter, metro, family
        if place not in self._chosen:
            some = (self._of(vantage, family) for vantage in (exporter, metro, ""))
            self._chosen[place] = next((found for found in some if found[0]), None)
        chosen = self._chosen[place]
        return None if chosen is None else chosen[1][max(bisect_right(chosen[0], when) - 1, 0)]

    def _of(self, vantage: str, family: int | None) -> Moments:
        """The best of each moment, in order of time."""
        key = vantage, family
        if key not in self._by_vantage:
            found = [
                info
                for info in self._infos
                if info.vantage == vantage
                and (family is None or (info.prefixes4 if family == 4 else info.prefixes6))
            ]
            found.sort(key=lambda info: (info.taken_at, len(info.parts), info.name))
            best = {info.taken_at: info for info in found}
            self._by_vantage[key] = list(best), list(best.values())
        return self._by_vantage[key]
