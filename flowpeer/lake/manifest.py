"""What the record of a lake says: typed, frozen, one document per table and hour.

    manifests/<table>/date=YYYY-MM-DD/hour=HH.json    tables in hours
    manifests/routes.json, reference.json             tables of single files
    manifests/units/<bucket>.json                     what captures and segments came to

A document has a line for its header, one for each file (or unit), and a last one with the digest of
all before it. The header says all that planning needs, so that a plan reads no file's line. What no
manifest names does not exist.

A unit of work that touches several hours or tables is complete once its own record in `units` is
there, which is written last. Until then its entries are `pending`, and readers pass over them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any

from flowpeer.schema import FORMAT
from flowpeer_ingest.parts import NEWEST_US, OLDEST_US, FlowFacts, Span, joined_span

HOUR = timedelta(hours=1)
_PARTITION = re.compile(r"/date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})/", re.ASCII)


@dataclass(frozen=True, slots=True)
class UnitEntry:
    """What one unit of work brought to an hour of a table.

    path: of the file it was published as, which names it also when its rows are in a merged file.
    recorded: it counts only while the unit's own record names this digest.
    """

    path: str
    sha256: str
    rows: int
    recorded: bool = False
    facts: FlowFacts | None = None


@dataclass(frozen=True, slots=True)
class PrunedFile:
    """A file whose rows were deleted: when, and what they added up to."""

    at: str
    scaled_bytes: int = 0
    unscaled_bytes: int = 0
    records: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """One Parquet file: where, what is in it, and what it was made of.

    layout: the format of its table that it was written in; columns added since are missing in it.
    facts: of a file of `routes` or `reference`, where it came from. object: of such a file on an
    object store, the name that its present content has there.
    """

    path: str
    rows: int
    file_bytes: int
    sha256: str
    sums: dict[str, int] = field(default_factory=dict)
    layout: int = FORMAT
    units: tuple[UnitEntry, ...] = ()
    made_of: tuple[str, ...] = ()
    pruned: PrunedFile | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    object: str = ""

    @property
    def key(self) -> str:
        """Where its octets are, below the lake."""
        return self.object or self.path

    @property
    def document(self) -> dict[str, Any]:
        """Facts, rows, sums, size and digest of a file of `routes` or `reference`."""
        return {
            **self.facts,
            "rows": self.rows,
            "sums": dict(self.sums),
            "file_bytes": self.file_bytes,
            "sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True)
class Retired:
    """A file that no reader opens any more, and when it may be removed (ISO 8601, UTC)."""

    path: str
    due: str


@dataclass(frozen=True, slots=True)
class Reach:
    """Flow records received in one hour that have a part in another (or the same).

    digest: of the names and digests of the units. seen: interfaces by exporter address.
    unrated: exporters of which some record states no rate itself.
    """

    units: int
    rows: int
    digest: str
    seen: dict[str, tuple[int, ...]]
    unrated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds datagrams of an hour once: a capture, or all segments of one run of a receiver.

    digest: of its units, those of pruned files too. spans: of its datagrams (FlowFacts). path: of
    one of its units.
    """

    digest: str
    spans: dict[str, dict[int, Span]]
    path: str = ""


@dataclass(frozen=True, slots=True)
class RollupFacts:
    """What an hour of `traffic` and `traffic_routes` was made of.

    inputs: digests of the parts of its fingerprint. figures: METHODS M13. late: figures of units
    that came after the hour's flow records were pruned, by path.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    snapshots: tuple[str, ...] = ()
    figures: dict[str, int] = field(default_factory=dict)
    folded: dict[str, int] | None = None
    late: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Header:
    """What a manifest says at a glance; `hour` is empty for tables of single files.

    pending: digests of the entries whose unit's record was not there when this was written, by
    path. reach: by hour reached into (flows). metering: bits of what was seen by exporter address
    and interface, that of pruned files too; octets likewise (FlowFacts). holders: of the datagrams,
    by name (`holder_of`), likewise. frozen: hours that pruned files reach into. paths: of the
    files. older: layouts of those that are not of the present one.
    """

    table: str
    hour: str = ""
    generation: int = 0
    files: int = 0
    rows: int = 0
    file_bytes: int = 0
    pending: dict[str, str] = field(default_factory=dict)
    retired: tuple[Retired, ...] = ()
    reach: dict[str, Reach] = field(default_factory=dict)
    metering: dict[str, dict[int, int]] = field(default_factory=dict)
    octets: dict[str, dict[int, tuple[int, ...]]] = field(default_factory=dict)
    holders: dict[str, Holder] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    older: dict[str, int] = field(default_factory=dict)
    rollup: RollupFacts | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A header and the lines of its files, pruned ones among them.

    lines: by the `id` of each file, of a manifest that this process wrote (`codec.encode_next`).
    Only of such a one it is sure that the header says what the files say.
    """

    header: Header
    files: tuple[File, ...] = ()
    lines: Mapping[int, bytes] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def empty(cls, table: str, hour: str = "") -> Manifest:
        """One of no file, before its first generation."""
        return cls(Header(table, hour))

    @property
    def live(self) -> tuple[File, ...]:
        """Files that are there."""
        return tuple(f for f in self.files if f.pruned is None)

    def next(
        self,
        files: Iterable[File],
        *,
        pending: dict[str, str],
        retired: Iterable[Retired],
        rollup: RollupFacts | None = None,
    ) -> Manifest:
        """The next generation of it, with a header that fits the files."""
        kept = tuple(sorted(files, key=lambda f: f.path))
        before = set(map(id, self.files))
        more = [f for f in kept if id(f) not in before]
        if self.lines is not None and len(kept) == len(before) + len(more):
            made = extended(self.header, kept, more)
        else:
            made = summarised(self.header.table, self.header.hour, kept)
        header = replace(
            made,
            generation=self.header.generation + 1,
            pending={u.path: u.sha256 for f in kept for u in f.units if u.path in pending},
            retired=tuple(sorted(set(retired), key=lambda r: (r.due, r.path))),
            rollup=self.header.rollup if rollup is None else rollup,
        )
        return Manifest(header, kept)


def summarised(table: str, hour: str, files: Iterable[File]) -> Header:
    """The header that follows from the files alone."""
    files = tuple(files)
    return extended(Header(table, hour), files, files)


def extended(before: Header, files: Sequence[File], more: Sequence[File]) -> Header:
    """The header that follows from `files`, where `before` followed from those that are not
    `more`: what every commit of an hour of many files needs, without a look at all facts."""
    live = [f for f in more if f.pruned is None]
    reaching: dict[str, list[UnitEntry]] = {}
    for unit in (u for f in files if f.pruned is None for u in f.units):
        for reached in unit.facts.hours if unit.facts else ():
            reaching.setdefault(reached, []).append(unit)
    facts = [u.facts for f in more for u in f.units if u.facts is not None]
    gone = {
        h for f in more if f.pruned for u in f.units for h in (u.facts.hours if u.facts else ())
    }
    new = {id(u) for f in more for u in f.units}
    return Header(
        before.table,
        before.hour,
        files=before.files + len(live),
        rows=before.rows + sum(f.rows for f in live),
        file_bytes=before.file_bytes + sum(f.file_bytes for f in live),
        reach={
            hour: _reach(before.reach.get(hour, _NO_REACH), reaching[hour], new)
            for hour in sorted(reaching)
        },
        metering=_merged([before.metering, *(f.seen for f in facts)], int.__or__),
        octets=_merged([before.octets, *(f.octets for f in facts)], _plus),
        holders=_holders(before.holders, [u for f in files for u in f.units], new),
        frozen=tuple(sorted({*before.frozen, *gone})),
        paths=tuple(f.path for f in files if f.pruned is None),
        older=before.older | {f.path: f.layout for f in live if f.layout < FORMAT},
    )


_NO_REACH = Reach(0, 0, "", {}, ())


def _digest(units: Iterable[UnitEntry]) -> str:
    lines = "".join([f"{u.path} {u.sha256}\n" for u in units])
    return hashlib.sha256(lines.encode()).hexdigest()[:32]


def _reach(before: Reach, units: list[UnitEntry], new: set[int]) -> Reach:
    seen = {ip: set(interfaces) for ip, interfaces in before.seen.items()}
    unrated = set(before.unrated)
    for unit in (u for u in units if id(u) in new):
        assert unit.facts is not None
        unrated.update(unit.facts.unrated, unit.facts.announced)
        for ip, interfaces in unit.facts.seen.items():
            seen.setdefault(ip, set()).update(interfaces)
    return Reach(
        len(units),
        sum([u.rows for u in units]),
        _digest(sorted(units, key=attrgetter("path"))),
        {ip: tuple(sorted(seen[ip])) for ip in sorted(seen)},
        tuple(sorted(unrated)),
    )


def holder_of(path: str) -> str:
    """What a unit is a part of (`Holder`): of a segment its receiver's run, else itself."""
    name = path.rpartition("/")[2].removesuffix(".parquet")
    kind, _, rest = name.partition("-")
    return f"run-{rest.partition('-')[2]}" if kind == "segment" else name


def _holders(
    before: Mapping[str, Holder], units: list[UnitEntry], new: set[int]
) -> dict[str, Holder]:
    by_holder: dict[str, list[UnitEntry]] = {}
    for unit in units:
        if unit.facts is not None and unit.facts.spans:
            by_holder.setdefault(holder_of(unit.path), []).append(unit)
    found = {}
    for name, some in sorted(by_holder.items()):
        more = [u.facts.spans for u in some if u.facts is not None and id(u) in new]
        if not more:
            found[name] = before[name]
            continue
        some.sort(key=attrgetter("path"))
        held = [before[name].spans] if name in before else []
        spans = _merged([*held, *more], joined_span)
        found[name] = Holder(_digest(some), spans, some[0].path)
    return found


def _merged(some: list[Any], join: Any) -> dict[str, dict[int, Any]]:
    """Values by exporter and interface, those of the same key joined."""
    found: dict[str, dict[int, Any]] = {}
    for one in some:
        for ip, interfaces in one.items():
            of = found.setdefault(ip, {})
            for index, value in interfaces.items():
                of[index] = join(of[index], value) if index in of else value
    return {ip: dict(sorted(found[ip].items())) for ip in sorted(found)}


def _plus(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int.__add__, one, other))


def hour_folder(table: str, date: str, hour: int) -> str:
    """The partition folder of a table: `table/date=YYYY-MM-DD/hour=HH`."""
    return f"{table}/date={date}/hour={hour:02d}"


def folder_of(table: str, hour: datetime) -> str:
    """The same for an hour in UTC."""
    return hour_folder(table, f"{hour:%Y-%m-%d}", hour.hour)


def key_of(table: str, hour: datetime | None = None) -> str:
    """Where a manifest is, below the lake."""
    return f"manifests/{table if hour is None else folder_of(table, hour)}.json"


def partition_hour(relative: str) -> datetime:
    """The UTC hour of a partitioned file, from its path."""
    match = _PARTITION.search(relative)
    if match is None:
        raise ValueError(f"not a file of a partitioned table: {relative!r}")
    return datetime.fromisoformat(f"{match[1]}T{match[2]}:00+00:00")


def received_between(
    start: datetime | None, end: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """First and last moment of receipt of records that may have a part in [start, end): M3 lets a
    record begin a day before it was received, and end some minutes after. None: no bound."""
    return (
        start - timedelta(microseconds=NEWEST_US) if start else None,
        end + timedelta(microseconds=OLDEST_US) if end else None,
    )


def hour_name(hour: datetime) -> str:
    """`2026-09-16T07`: an hour as the record names it."""
    return f"{hour:%Y-%m-%dT%H}"


@cache
def parse_hour(hour: str) -> datetime:
    """`2026-09-16T07` as a time."""
    return datetime.fromisoformat(f"{hour}:00:00+00:00")
