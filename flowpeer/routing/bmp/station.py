"""A live BMP station: routers connect, and each hour their routes become snapshots.

Only routers of the configuration may connect: who tells us routes decides where traffic is stated
to come from. A session that has just begun is not yet whole, and is left out of a snapshot until it
has had the time to tell all its routes. A session that ends takes its routes with it (RFC 7854
section 3.3); the snapshots already written stay in force.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from threading import Event
from typing import Any

from flowpeer.errors import FlowpeerError, InputError, LockedError
from flowpeer.lake.store import Lake
from flowpeer.network import Prefix
from flowpeer.routing.bgp.adj_rib_in import AdjRibs
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.bmp.capture import ViewRoutes
from flowpeer.routing.bmp.session import BmpSession, LostError
from flowpeer.routing.rib.snapshot import SnapshotInfo, publish
from flowpeer.routing.source import RouteTally
from flowpeer_core.addresses import parse
from flowpeer_ingest.sockets import another_place

HOUR_S = 3600
SETTLE_S = 120
"""A router tells a full table in seconds to a minute."""
RETRY_S = 30
MAX_SESSIONS = 256
_READ = 1 << 18
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3))


@dataclass(eq=False)
class _Connection:
    session: BmpSession
    vantage: str
    begun: float


@dataclass(eq=False)
class BmpStation:
    """Listens when made, works in `run`, ends with `stop`.

    Args:
        lake: one of its own where another thread works on the lake too.
        listen: address and port; port 0 takes any.
        exporters: address of a router → exporter; nobody else may connect.
        allowed: prefixes from which these may connect; None for anywhere.
        peers: the peers whose routes are wanted; None for all.
        every_s: a snapshot is due at each multiple of this, and at the end.
        settle_s: a session is left out until it is this old.
        say: given sessions, snapshots and faults, one line each.

    Attributes:
        counts: sessions, messages, broken, snapshots, refused, lost, failed.

    Raises:
        InputError: the address cannot be bound.
    """

    lake: Lake
    listen: tuple[str, int]
    exporters: Mapping[str, str]
    allowed: Collection[Prefix] | None = None
    peers: Peers | None = None
    every_s: int = HOUR_S
    settle_s: float = SETTLE_S
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.time
    counts: Counter[str] = field(default_factory=Counter)
    published: list[SnapshotInfo] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)
    _connections: dict[socket.socket, _Connection] = field(default_factory=dict)
    _named: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        address, port = self.listen
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._server = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._server.bind((address, port))
            self._server.listen(64)
        except OSError as error:
            self._server.close()
            raise InputError(
                f"{address}:{port}",
                f"cannot listen for BMP: {error.strerror}",
                advice=another_place(error, "--bmp HOST:PORT", "ss -tlpn"),
            ) from None
        self._server.setblocking(False)
        self._wake, self._woken = socket.socketpair()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.getsockname()[:2]
        return str(host), int(port)

    def stop(self) -> None:
        """Ask `run` to write a last snapshot and return; from any thread or signal handler."""
        self._stop.set()
        self._wake.send(b"x")

    def run(self) -> None:
        """Serve until `stop`."""
        due = self._next(self.clock())
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            try:
                while not self._stop.is_set():
                    wait = max(0.0, min(due - self.clock(), RETRY_S))
                    for key, _ in selector.select(wait):
                        if key.fileobj is self._server:
                            self._accept(selector)
                        elif key.fileobj in self._connections:
                            self._read(selector, key.fileobj)
                    if self.clock() >= due:
                        whole = self.snapshot()
                        due = self._next(self.clock()) if whole else self.clock() + RETRY_S
                self.snapshot()
            finally:
                for connection in [*self._connections, self._server, self._wake, self._woken]:
                    connection.close()

    def _next(self, now: float) -> float:
        return (now // self.every_s + 1) * self.every_s

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, peer = self._server.accept()
        except OSError:
            return
        router = _plain(str(peer[0]))
        if why := self._refuses(router):
            self.counts["refused"] += 1
            if router not in self._named and len(self._named) < MAX_SESSIONS:
                self._named.add(router)
                self.say(f"BMP: {router} refused: {why}")
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        for other, old in list(self._connections.items()):
            if old.session.router == router:  # it lost the old one, and we did not notice yet
                self._close(selector, other, "replaced by a new session")
        session = BmpSession(router, AdjRibs(path=f"BMP of {router}"), self.peers)
        exporter = self.exporters[router]
        self._connections[connection] = _Connection(session, exporter, self.clock())
        selector.register(connection, selectors.EVENT_READ)
        self.counts["sessions"] += 1
        self.say(f"BMP: {router} ({exporter}) connected")

    def _refuses(self, router: str) -> str:
        """Why a router may not connect; empty if it may."""
        if router not in self.exporters:
            return "no address of an exporter"
        if self.allowed is not None and not any(parse(router) in net for net in self.allowed):
            return "outside `bmp_allow` of [collector]"
        return "too many sessions" if len(self._connections) >= MAX_SESSIONS else ""

    def _read(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        state = self._connections[connection]
        session = state.session
        before = session.messages, session.broken
        try:
            octets = connection.recv(_READ)
            if octets:
                session.feed(octets)
            else:
                self._close(selector, connection, "closed")
        except BlockingIOError:
            return
        except OSError as error:
            self._close(selector, connection, error.strerror or "broken off")
        except LostError as error:
            self.counts["lost"] += 1
            self._close(selector, connection, f"no BMP: {error}")
        except InputError as error:
            self.counts["lost"] += 1
            self._close(selector, connection, error.what)
        finally:
            self.counts["messages"] += session.messages - before[0]
            self.counts["broken"] += session.broken - before[1]

    def _close(self, selector: selectors.BaseSelector, connection: socket.socket, why: str) -> None:
        state = self._connections.pop(connection)
        selector.unregister(connection)
        connection.close()
        self.say(f"BMP: {state.session.router} ({state.vantage}): {why}")

    def snapshot(self) -> bool:
        """Publish the routes of every settled session; False where that must be tried again."""
        now = self.clock()
        when = datetime.fromtimestamp(int(now), UTC)
        groups: dict[str, list[BmpSession]] = {}
        for state in self._connections.values():
            if now - state.begun >= self.settle_s and len(state.session.ribs):
                groups.setdefault(state.vantage, []).append(state.session)
        if not groups:
            return True
        try:
            with self.lake.lock("ribs"):
                for vantage, sessions in sorted(groups.items()):
                    for session in sessions:
                        self._publish(when, vantage, session)
        except LockedError:
            return False
        except (OSError, FlowpeerError) as error:
            self.counts["failed"] += 1
            self.say(f"BMP: no snapshot: {error}")
            return False
        return True

    def _publish(self, when: datetime, vantage: str, session: BmpSession) -> None:
        chosen = [view for view in session.chosen() if view.routes]
        if not chosen:
            return
        router = session.name or session.router
        facts: dict[str, Any] = {
            "vantage": vantage,
            "asked_taken_at": None,
            "source": f"BMP of {router}",
            "source_digest": sha256(f"{when} {vantage} {session.router}".encode()).hexdigest(),
            "peers": self.peers.words if self.peers is not None else [],
            "kind": "bmp",
            "routers": [router],
        }
        tally = RouteTally(skipped=session.skipped + session.ribs.skipped)
        info = publish(self.lake, ViewRoutes(session.ribs, chosen, tally), when, facts)
        session.ribs.compact()
        self.counts["snapshots"] += 1
        self.published = [*self.published[-99:], info]
        self.say(f"BMP: {vantage}: {info.rows:,} routes in {len(info.views)} views ({info.name})")


def _plain(text: str) -> str:
    """Canonical text of an address; an IPv4-mapped one is IPv4."""
    return str(parse(text.partition("%")[0]))
