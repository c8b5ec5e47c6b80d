"""BGP4MP updates (RFC 6396 section 4.4, ADD-PATH RFC 8050) on top of a snapshot.

Announcements and withdrawals count for the peer that sent them; a peer whose session leaves
Established loses its routes. What the collector itself sent is no route of anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError, NoDataError
from flowpeer.lake.store import Lake, digest_of
from flowpeer.routing.bgp import messages as bgp
from flowpeer.routing.bgp.adj_rib_in import AdjRibs
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.mrt.framing import ADVICE, BGP4MP, BGP4MP_ET, HEADER, looks_like_mrt, records
from flowpeer.routing.prefix_columns import address_text
from flowpeer.routing.rib.snapshot import SnapshotInfo, find, publish, snapshots
from flowpeer.routing.source import BATCH_ROWS, COLUMNS, Progress, RouteTally, opened

ESTABLISHED = 6
_STATES = {0: 2, 5: 4}
_MESSAGES = {1: (2, False), 4: (4, False), 8: (2, True), 9: (4, True)}
"""Subtype → octets of an AS number, path identifiers."""
_SENT = (6, 7, 10, 11)
_OCTETS = {1: 4, 2: 16}
_BOTH = frozenset({4, 6})


@dataclass(eq=False)
class UpdateReader:
    """Applies the records of one file of updates to `ribs`.

    Args:
        since: records before this time (seconds since the epoch) are counted and left out.
        peers: the peers whose messages count; None for all.

    Attributes:
        last: time of the last update or state change applied; 0 before any.
    """

    path: Path
    ribs: AdjRibs
    since: int = 0
    peers: Peers | None = None
    progress: Progress | None = None
    tally: RouteTally = field(default_factory=RouteTally)
    doubtful: bool = False
    last: int = 0

    def run(self) -> None:
        """Read the file to its end.

        Raises:
            InputError: it is cut short, mostly broken, or holds no updates.
        """
        self.ribs.path = str(self.path)
        with opened(self.path) as (stream, source):
            for buffer, start, end in records(self, stream):
                self._record(buffer, start, end)
                if self.progress is not None and not self.tally.records % 4096:
                    self.progress(source.offset)
        self._check(at_end=True)
        if not self.tally.records:
            raise InputError(
                str(self.path), "no BGP4MP updates in it", advice="give files of updates"
            )

    def break_(self, reason: str) -> None:
        """Count a broken record; raises InputError when they have become too many."""
        self.doubtful = True
        self.tally.break_(reason)
        self._check(at_end=False)

    def _check(self, *, at_end: bool) -> None:
        if self.tally.mostly_broken(at_end=at_end):
            worst = self.tally.skipped.most_common(1)[0][0]
            raise InputError(
                str(self.path),
                f"{self.tally.broken} of {self.tally.records} records are broken (mostly: {worst})",
                advice=ADVICE,
            )

    def _record(self, buffer: bytes, start: int, end: int) -> None:
        when, kind, subtype, _ = HEADER.unpack_from(buffer, start)
        if kind not in (BGP4MP, BGP4MP_ET):
            self.tally.skipped["record without updates"] += 1
            return
        self.tally.records += 1
        if when < self.since:
            self.tally.skipped["update from before the snapshot"] += 1
            return
        at = start + HEADER.size + (4 if kind == BGP4MP_ET else 0)
        try:
            if subtype in _STATES:
                self._state(when, buffer[at:end], _STATES[subtype])
            elif subtype in _MESSAGES:
                self._message(when, buffer[at:end], *_MESSAGES[subtype])
            elif subtype in _SENT:
                self.tally.skipped["message that the collector sent"] += 1
            else:
                self.tally.skipped[f"BGP4MP subtype {subtype}"] += 1
        except bgp.MessageError as fault:
            self.break_(f"broken BGP4MP record: {fault.reason}")

    def _peer(self, body: bytes, width: int) -> tuple[int, str, bytes] | None:
        """ASN and address of the peer, and what follows the addresses; None without addresses."""
        at = 2 * width + 4
        if len(body) < at:
            raise bgp.MessageError("peer")
        afi = int.from_bytes(body[at - 2 : at], "big")
        if afi not in _OCTETS:
            self.tally.skipped["BGP4MP without a peer's address"] += 1
            return None
        size = _OCTETS[afi]
        if len(body) < at + 2 * size:
            raise bgp.MessageError("peer")
        asn = int.from_bytes(body[:width], "big")
        return asn, address_text(body[at : at + size]), body[at + 2 * size :]

    def _wanted(self, asn: int, address: str) -> bool:
        return self.peers is None or self.peers.wanted(asn, address)

    def _state(self, when: int, body: bytes, width: int) -> None:
        peer = self._peer(body, width)
        if peer is None:
            return
        asn, address, rest = peer
        if len(rest) != 4:
            raise bgp.MessageError("state change")
        self.last = max(self.last, when)
        if self._wanted(asn, address) and int.from_bytes(rest[2:], "big") != ESTABLISHED:
            self.ribs.drop(self.ribs.view(f"AS{asn}@{address}", asn))

    def _message(self, when: int, body: bytes, width: int, add_path: bool) -> None:
        peer = self._peer(body, width)
        if peer is None:
            return
        asn, address, rest = peer
        if not self._wanted(asn, address):
            return
        for kind, message in bgp.messages(rest):
            if kind != bgp.UPDATE:
                self.tally.skipped["BGP message other than UPDATE"] += 1
                continue
            change = bgp.update(message, _BOTH if add_path else frozenset())
            self.last = max(self.last, when)
            self.ribs.apply(self.ribs.view(f"AS{asn}@{address}", asn), change, width)


@dataclass(eq=False)
class UpdatedRoutes:
    """The routes of a snapshot with updates applied: a `snapshot.RouteReader`."""

    path: Path
    """File of the snapshot below."""
    ribs: AdjRibs
    tally: RouteTally
    peers: Peers | None = None
    views: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[pa.Table]:
        """What the updates left alone, in its order, then what they announced."""
        touched = self.ribs.touched()
        dropped = [view.text for view in self.ribs.views.values() if view.dropped]
        seen: set[str] = set()
        keys = ["vantage", "prefix", "path_id"]
        for batch in _batches(self.path):
            frame = pl.DataFrame(pl.from_arrow(batch.select(keys)))
            frame = frame.with_columns(pl.col("path_id").fill_null(-1)).with_row_index("row")
            frame = frame.filter(~pl.col("vantage").is_in(dropped))
            frame = frame.join(touched, on=keys, how="anti").sort("row")
            seen.update(frame["vantage"].unique())
            if frame.height:
                yield pa.table(batch).take(frame["row"].to_arrow())
        for table in self.ribs.tables():
            seen.update(table.column("vantage").unique().to_pylist())
            yield table
        self.views = sorted(seen)


def _batches(path: Path) -> Iterator[pa.Table]:
    file = pq.ParquetFile(path)
    there = [name for name in COLUMNS.names if name in file.schema_arrow.names]
    for batch in file.iter_batches(BATCH_ROWS * 4, columns=there):
        table = pa.Table.from_batches([batch])
        for field_ in COLUMNS:  # a snapshot of before the column was kept
            if field_.name not in there:
                table = table.append_column(field_, pa.nulls(table.num_rows, field_.type))
        yield table.select(COLUMNS.names)


def load_updates(
    lake: Lake,
    files: Sequence[Path],
    *,
    onto: str | None = None,
    vantage: str = "",
    peers: Peers | None = None,
    progress: Progress | None = None,
) -> tuple[SnapshotInfo, bool]:
    """Apply files of updates, in the order of their first records, to a snapshot.

    Args:
        onto: name of the snapshot; None: the latest one with peers, of `vantage`, taken at or
            before the first update.
        peers: the peers whose updates count.

    Returns:
        The new snapshot, at the time of the last update applied, and whether it was made now.

    Raises:
        InputError: a file cannot be read or is mostly broken; the lake is as it was.
        NoDataError: no such snapshot, or no update after it.
    """
    begun = sorted((_first_time(path), path) for path in files)
    base = _base(lake, onto, vantage, begun[0][0])
    digests = [base.digest, *(digest_of(path) for _, path in begun)]
    facts = {
        "vantage": vantage or base.vantage,
        "asked_taken_at": None,
        "source": ", ".join(path.name for _, path in begun),
        "source_digest": sha256("\n".join(digests).encode()).hexdigest(),
        "peers": peers.words if peers is not None else [],
        "kind": "updates",
        "onto": base.name,
    }
    known = find(lake, facts)
    if known is not None:
        return known, False
    ribs = AdjRibs(remember_withdrawn=True)
    tally = RouteTally()
    last = 0
    for _, path in begun:
        reader = UpdateReader(path, ribs, int(base.taken_at.timestamp()), peers, progress)
        reader.run()
        tally.skipped.update(reader.tally.skipped)
        last = max(last, reader.last)
    if not last:
        raise NoDataError(
            f"{facts['source']}: no update after {base.name} ({base.taken_at:%Y-%m-%d %H:%M} UTC)",
            advice="give updates of the time after the snapshot, or name one with --onto",
        )
    tally.skipped.update(ribs.skipped)
    reader_of_all = UpdatedRoutes(lake.path(f"routes/{base.name}.parquet"), ribs, tally)
    return publish(lake, reader_of_all, datetime.fromtimestamp(last, UTC), facts), True


def _first_time(path: Path) -> int:
    with opened(path) as (stream, _):
        head = stream.read(HEADER.size)
    if not looks_like_mrt(head):
        raise InputError(str(path), "not an MRT file", advice="give MRT files of updates")
    return int(HEADER.unpack_from(head)[0])


def _base(lake: Lake, onto: str | None, vantage: str, first: int) -> SnapshotInfo:
    infos = snapshots(lake)
    if onto is not None:
        named = [info for info in infos if info.name == onto]
        if not named:
            raise NoDataError(f"no snapshot {onto!r}", advice="`flowpeer rib list` names them")
        return named[0]
    able = [
        info
        for info in infos
        if info.kind != "table" and info.vantage == vantage and info.taken_at.timestamp() <= first
    ]
    if not able:
        raise NoDataError(
            "no snapshot with peers from before the first update "
            f"({datetime.fromtimestamp(first, UTC):%Y-%m-%d %H:%M} UTC)",
            advice="load the table dump that the updates follow, or name a snapshot with --onto",
        )
    return able[-1]
