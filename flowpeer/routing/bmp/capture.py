"""BMP sessions in a packet capture → snapshots of what the routers' peers announced.

A router whose address is an exporter's has a snapshot of its own, tied to that exporter; all
others together make the network-wide one. The routes are those that stood at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake, digest_of
from flowpeer.routing.bgp.adj_rib_in import AdjRibs, PeerRoutes
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.bmp.session import BmpSession, LostError, looks_like_bmp
from flowpeer.routing.bmp.tcp_streams import Streams, segment_of
from flowpeer.routing.rib.snapshot import SnapshotInfo, find_all, publish
from flowpeer.routing.source import Progress, RouteTally, opened
from flowpeer_ingest.captures import Capture

_NONE: Mapping[str, str] = MappingProxyType({})
_ADVICE = "give a capture of the BMP sessions from their beginning (Peer Up and all routes)"


@dataclass(eq=False)
class ViewRoutes:
    """The routes of some views, as they stand: a `snapshot.RouteReader`."""

    ribs: AdjRibs
    chosen: Sequence[PeerRoutes]
    tally: RouteTally
    views: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[pa.Table]:
        """View by view; two routers' views of one peer stand side by side."""
        yield from self.ribs.tables(self.chosen)
        self.views = sorted({view.text for view in self.chosen if view.routes})


@dataclass(eq=False)
class BmpCapture:
    """Reads a capture to its end.

    Attributes:
        sessions: one for each BMP stream, after `run`.
        last_us: time of the last packet with BMP in it.
    """

    path: Path
    peers: Peers | None = None
    progress: Progress | None = None
    ribs: AdjRibs = field(default_factory=AdjRibs)
    sessions: dict[bytes, BmpSession] = field(default_factory=dict)
    tally: RouteTally = field(default_factory=RouteTally)
    last_us: int = 0

    def run(self) -> None:
        """Raises InputError: no capture, or mostly broken messages in it."""
        self.ribs.path = str(self.path)
        streams = Streams()
        lost: set[bytes] = set()
        with opened(self.path) as (stream, source):
            capture = Capture(stream, str(self.path))
            for number, (time_us, link, data, _) in enumerate(capture.frames()):
                segment = segment_of(link, data)
                if isinstance(segment, str):
                    self.tally.skipped[f"packet: {segment}"] += 1
                    continue
                for flow, connection, octets in streams.add(segment):
                    if self._take(flow, connection.source, octets, lost):
                        self.last_us = max(self.last_us, time_us)
                if self.progress is not None and not number % 4096:
                    self.progress(source.offset)
            for flow, connection, octets in streams.finish():
                self._take(flow, connection.source, octets, lost)
        for warning in capture.warnings:
            self.tally.skipped[warning.removeprefix(f"{self.path}: ")] += 1
        self.tally.skipped.update(streams.skipped)
        self.tally.skipped.update(self.ribs.skipped)
        for session in self.sessions.values():
            self.tally.skipped.update(session.skipped)
            self.tally.records += session.messages
            self.tally.broken += session.broken
        if self.tally.mostly_broken(at_end=True):
            raise InputError(
                str(self.path),
                f"{self.tally.broken} of {self.tally.records} BMP messages are broken",
                advice=_ADVICE,
            )

    def _take(self, flow: bytes, router: str, octets: bytes | None, lost: set[bytes]) -> bool:
        """Feed a session; whether the octets were BMP."""
        session = self.sessions.get(flow)
        if octets is None or not octets:  # a gap, or a new connection
            if session is not None and octets is None:
                session.lose()
                lost.add(flow)
            elif session is not None:
                session.clear()
                lost.discard(flow)
            return False
        if session is None:
            if not looks_like_bmp(octets):
                self.tally.skipped["octets of other TCP streams"] += len(octets)
                return False
            session = self.sessions[flow] = BmpSession(router, self.ribs, self.peers)
        try:
            if flow in lost:
                lost.discard(flow)
                session.resume(octets)
            else:
                session.feed(octets)
        except LostError:
            self.tally.skipped["lost in a BMP stream"] += 1
            session.lose()
            lost.add(flow)
        return True


def load_capture(
    lake: Lake,
    path: Path,
    *,
    taken_at: datetime | None = None,
    vantage: str = "",
    peers: Peers | None = None,
    exporters: Mapping[str, str] = _NONE,
    progress: Progress | None = None,
) -> tuple[list[SnapshotInfo], bool]:
    """Load the BMP sessions of a capture as snapshots.

    Args:
        taken_at: None: the time of the last packet with BMP.
        vantage: ties all routers to this one exporter or metro.
        exporters: address of a router → exporter.

    Returns:
        The snapshots, one for each exporter and one for all other routers, and whether they were
        loaded now.

    Raises:
        InputError: no capture, or no unicast routes in it; the lake is as it was.
    """
    facts: dict[str, Any] = {
        "asked_taken_at": taken_at.astimezone(UTC).isoformat() if taken_at is not None else None,
        "asked_vantage": vantage,
        "source": path.name,
        "source_digest": digest_of(path),
        "peers": peers.words if peers is not None else [],
        "kind": "bmp",
    }
    known = find_all(lake, facts)
    if known:
        return known, False
    capture = BmpCapture(path, peers, progress)
    capture.run()
    groups: dict[str, list[BmpSession]] = {}
    for session in capture.sessions.values():
        groups.setdefault(vantage or exporters.get(session.router, ""), []).append(session)
    when = taken_at or datetime.fromtimestamp(capture.last_us // 1_000_000, UTC)
    infos: list[SnapshotInfo] = []
    for group, sessions in sorted(groups.items()):
        chosen = [view for session in sessions for view in session.chosen() if view.routes]
        if chosen:
            routers = sorted({session.name or session.router for session in sessions})
            of_group = {**facts, "vantage": group, "routers": routers}
            reader = ViewRoutes(capture.ribs, chosen, capture.tally)
            infos.append(publish(lake, reader, when.astimezone(UTC), of_group))
    if not infos:
        seen = ", ".join(f"{n} × {what}" for what, n in capture.tally.skipped.most_common(3))
        raise InputError(
            str(path),
            "no unicast routes of BMP in it" + (f" ({seen})" if seen else ""),
            advice=_ADVICE,
        )
    return infos, True
