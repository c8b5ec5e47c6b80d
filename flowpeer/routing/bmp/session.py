"""BMP (RFC 7854; Loc-RIB RFC 9069, Adj-RIB-Out RFC 8671): what a router's peers announced to it.

Octets of one session in, routes in `AdjRibs` out. Kept are unicast routes of the global table:
Adj-RIB-In before and after policy, and the Loc-RIB. Routes of VRFs (a peer distinguisher) and of
the Adj-RIB-Out are counted and left out. Where a peer is shown before and after policy, the routes
after policy count, since those are what the router uses.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field

from flowpeer.routing.bgp import messages as bgp
from flowpeer.routing.bgp.adj_rib_in import AdjRibs, PeerRoutes
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.prefix_columns import address_text

VERSION = 3
HEADER = struct.Struct(">BIB")
MAX_MESSAGE = 1 << 20
"""A BGP message is at most 64 kB; a Peer Up holds two, an Initiation some text."""
ROUTE_MONITORING, STATISTICS, PEER_DOWN, PEER_UP, INITIATION, TERMINATION, MIRRORING = range(7)
MAX_PEERS = 10_000
_PEER = struct.Struct(">BB8s16sI4sII")
_GLOBAL, _RD, _LOCAL, _LOC_RIB = range(4)
_IPV6, _POST, _NARROW, _OUT = 0x80, 0x40, 0x20, 0x10
_BOTH = frozenset({4, 6})


class LostError(ValueError):
    """What stands where a message should begin is none."""


@dataclass(eq=False)
class Peer:
    """A peer of the router: its views before and after policy, and its session's options."""

    add_path: frozenset[int] | None = None
    """None: its Peer Up was not seen."""
    views: dict[str, PeerRoutes] = field(default_factory=dict)


@dataclass(eq=False)
class BmpSession:
    """One BMP session: `feed` it octets in order.

    Args:
        router: its address, as text.
        ribs: where the routes go; sessions of several routers may share one.
        peers: the peers that are wanted; None for all.

    Attributes:
        name: what the router calls itself, "" before it announced so.
        messages, broken: counts of messages, and of those that contradict themselves.
        skipped: what was left out, by reason.
    """

    router: str
    ribs: AdjRibs
    peers: Peers | None = None
    name: str = ""
    messages: int = 0
    broken: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    _peers: dict[tuple[int, bytes], Peer] = field(default_factory=dict)
    _rest: bytes = b""

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the stream.

        Raises:
            LostError: they do not hold messages any more; nothing further is believed.
            InputError: more routes than memory should hold.
        """
        data = self._rest + octets if self._rest else octets
        at = 0
        while len(data) - at >= HEADER.size:
            version, length, kind = HEADER.unpack_from(data, at)
            if not _plausible(version, length, kind):
                raise LostError(f"version {version}, type {kind}, length {length}")
            if len(data) - at < length:
                break
            self._message(version, kind, data[at + HEADER.size : at + length])
            at += length
        self._rest = data[at:]

    def resume(self, octets: bytes) -> None:
        """Go on after a gap, or after `LostError`: look for the next message first."""
        data, self._rest = (self._rest + octets), b""
        for at in range(len(data)):
            if _chain(data, at):
                self.skipped["octets between BMP messages"] += at
                self.feed(data[at:])
                return
        self._rest = data[-(HEADER.size + 1) :]

    def lose(self) -> None:
        """Octets are missing: what was begun is not believed."""
        self._rest = b""

    def clear(self) -> None:
        """Forget the router's routes: a new session tells them all again."""
        for peer in self._peers.values():
            for view in peer.views.values():
                self.ribs.forget(view)
        self._peers.clear()
        self._rest = b""

    def chosen(self) -> list[PeerRoutes]:
        """The view of each peer that counts."""
        found: list[PeerRoutes] = []
        for peer in self._peers.values():
            view = peer.views.get("post") or peer.views.get("pre") or peer.views.get("loc")
            if view is not None:
                found.append(view)
        return found

    # one message

    def _message(self, version: int, kind: int, body: bytes) -> None:
        self.messages += 1
        if version != VERSION:
            self.skipped[f"BMP version {version}"] += 1
            return
        try:
            if kind == ROUTE_MONITORING:
                self._routes(body)
            elif kind == PEER_UP:
                self._up(body)
            elif kind == PEER_DOWN:
                self._down(body)
            elif kind == INITIATION:
                self._initiation(body)
            elif kind == STATISTICS:
                self.skipped["BMP statistics"] += 1
            elif kind != TERMINATION:
                self.skipped[f"BMP message of type {kind}"] += 1
        except bgp.MessageError as fault:
            self.broken += 1
            self.skipped[f"broken BMP message: {fault.reason}"] += 1

    def _initiation(self, body: bytes) -> None:
        """A session begins (RFC 7854 section 4.3)."""
        self.clear()
        at = 0
        while at + 4 <= len(body):
            kind, size = struct.unpack_from(">HH", body, at)
            if kind == 2:  # sysName
                self.name = body[at + 4 : at + 4 + size].decode("utf-8", "replace")[:255]
            at += 4 + size

    def _peer(self, body: bytes) -> tuple[Peer, str, str, int, int] | None:
        """Peer, kind of view, name of the view, ASN, width of ASNs; None where it is left out."""
        if len(body) < _PEER.size:
            raise bgp.MessageError("per-peer header")
        kind, flags, distinguisher, address, asn, bgp_id, _, _ = _PEER.unpack_from(body)
        if kind > _LOC_RIB:
            self.skipped[f"peer of type {kind}"] += 1
            return None
        if kind == _LOC_RIB:
            which, width, text = "loc", 4, address_text(bgp_id)
        else:
            if flags & _OUT:
                self.skipped["message of the Adj-RIB-Out"] += 1
                return None
            which = "post" if flags & _POST else "pre"
            width = 2 if flags & _NARROW else 4
            text = address_text(address if flags & _IPV6 else address[12:])
        if any(distinguisher):
            self.skipped["message of a VRF's peer"] += 1
            return None
        if self.peers is not None and not self.peers.wanted(asn, text):
            return None
        key = (kind, address)
        peer = self._peers.get(key)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self.skipped["message of one peer too many"] += 1
                return None
            peer = self._peers[key] = Peer()
        return peer, which, f"AS{asn}@{text}", asn, width

    def _view(self, peer: Peer, which: str, text: str, asn: int) -> PeerRoutes:
        view = peer.views.get(which)
        if view is None or view.text != text:
            if view is not None:
                self.ribs.forget(view)
            key = f"{self.router} {id(self)} {text} {which}"
            view = peer.views[which] = self.ribs.view(text, asn, key=key)
        return view

    def _routes(self, body: bytes) -> None:
        """Route Monitoring (RFC 7854 section 4.6): UPDATEs as the peer sent them."""
        found = self._peer(body)
        if found is None:
            return
        peer, which, text, asn, width = found
        for kind, message in bgp.messages(body[_PEER.size :]):
            if kind != bgp.UPDATE:
                self.skipped["BGP message other than UPDATE"] += 1
                continue
            change = self._update(peer, message)
            self.ribs.apply(self._view(peer, which, text, asn), change, width)

    def _update(self, peer: Peer, message: bytes) -> bgp.Update:
        if peer.add_path is not None:
            return bgp.update(message, peer.add_path)
        self.skipped["routes of a peer whose Peer Up was not seen"] += 1
        try:
            return bgp.update(message)
        except bgp.MessageError:
            return bgp.update(message, _BOTH)

    def _up(self, body: bytes) -> None:
        """Peer Up (RFC 7854 section 4.10): both OPENs say whether path identifiers are used."""
        found = self._peer(body)
        if found is None:
            return
        peer = found[0]
        self._drop(peer)
        at = _PEER.size + 20  # local address, local port, remote port
        opens: list[bgp.Open] = []
        for _ in range(2):
            length = int.from_bytes(body[at + 16 : at + 18], "big")
            if length < bgp.HEADER_OCTETS or at + length > len(body) or body[at + 18] != bgp.OPEN:
                raise bgp.MessageError("Peer Up without its OPEN messages")
            opens.append(bgp.open_message(body[at + bgp.HEADER_OCTETS : at + length]))
            at += length
        sent, received = opens
        peer.add_path = received.add_path_send & sent.add_path_receive

    def _down(self, body: bytes) -> None:
        """Peer Down (RFC 7854 section 4.9)."""
        found = self._peer(body)
        if found is not None:
            self._drop(found[0])

    def _drop(self, peer: Peer) -> None:
        for view in peer.views.values():
            self.ribs.forget(view)
        peer.views.clear()
        peer.add_path = None


def _plausible(version: int, length: int, kind: int) -> bool:
    return version in (3, 4) and HEADER.size <= length <= MAX_MESSAGE and kind <= MIRRORING + 1


def _chain(data: bytes, at: int) -> bool:
    """Whether messages follow each other from here to the end of what is known."""
    count = 0
    while len(data) - at >= HEADER.size:
        version, length, kind = HEADER.unpack_from(data, at)
        if not _plausible(version, length, kind):
            return False
        if at + length > len(data):
            break
        at += length
        count += 1
    return count > 0


def looks_like_bmp(octets: bytes) -> bool:
    """Whether a stream begins with a BMP message."""
    return len(octets) >= HEADER.size and _plausible(*HEADER.unpack_from(octets))
