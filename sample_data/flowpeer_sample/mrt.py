"""An MRT table dump (RFC 6396 section 4.3, TABLE_DUMP_V2): a view per transit provider, and one of
a session at an exchange."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from functools import cache

from flowpeer_sample import world as w
from flowpeer_sample.demand import is_leaked
from flowpeer_sample.dice import one
from flowpeer_sample.networks import Prefix, internet, special_prefixes
from flowpeer_sample.paths import seen_from
from flowpeer_sample.registry import port_addresses

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
AGGREGATE = 16
"""Length of the prefix that the session announces in the place of a leaked one."""

_TABLE_DUMP_V2, _PEER_INDEX, _RIB4, _RIB6 = 13, 1, 2, 4
_AS4_PEER = 0x02  # peer type, RFC 6396 section 4.3.1: four-octet AS, IPv4 address

PEER_ADDRESS = {w.QUARTZ.asn: "33.0.0.1", w.UMBRA.asn: "33.0.1.1", w.PELAGO.asn: "33.0.2.1"}
PEER_ADDRESS6 = {w.QUARTZ.asn: "2e01::1", w.UMBRA.asn: "2e01:1::1", w.PELAGO.asn: "2e01:2::1"}


def _record(subtype: int, body: bytes) -> bytes:
    return struct.pack("!IHHI", w.RIB_TIME, _TABLE_DUMP_V2, subtype, len(body)) + body


def _attribute(flags: int, kind: int, value: bytes) -> bytes:
    if len(value) > 255:
        return struct.pack("!BBH", flags | 0x10, kind, len(value)) + value
    return struct.pack("!BBB", flags, kind, len(value)) + value


def as_path(prefix: Prefix, provider: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sequence and the set (mostly empty) of the path of `prefix` in a provider's view."""
    if prefix.origin_set:  # aggregated by the first member's provider
        return seen_from(provider)[prefix.origin_set[0]][:-1], prefix.origin_set
    if prefix.origin == w.PRIVATE_ORIGIN:
        return (*seen_from(provider)[w.PROVIDER_FREE], w.PRIVATE_ORIGIN), ()
    path = seen_from(provider)[prefix.origin]
    if one(f"prepend/{prefix.net}", 16) == 0 and path[-1] != provider:
        path = (*path, path[-1], path[-1])  # traffic engineering of the origin
    return path, ()


def _attributes(prefix: Prefix, provider: int) -> bytes:
    sequence, members = as_path(prefix, provider)
    segments = struct.pack(f"!BB{len(sequence)}I", 2, len(sequence), *sequence)
    if members:
        segments += struct.pack(f"!BB{len(members)}I", 1, len(members), *members)
    made = _attribute(0x40, 1, b"\x00") + _attribute(0x40, 2, segments)
    if prefix.net.version == 4:
        made += _attribute(0x40, 3, ipaddress.IPv4Address(PEER_ADDRESS[provider]).packed)
    med = one(f"med/{provider}/{prefix.net}", 4) * 10
    if med:
        made += _attribute(0x80, 4, struct.pack("!I", med))
    if prefix.net.version == 6:  # RFC 6396 section 4.3.4: length and address of the next hop only
        hop = ipaddress.IPv6Address(PEER_ADDRESS6[provider]).packed
        made += _attribute(0x80, 14, bytes([len(hop)]) + hop)
    if provider == w.QUARTZ.asn:
        made += _attribute(0xC0, 8, struct.pack("!HH", *map(int, w.QUARTZ_SCOPE.split(":"))))
    kind = 1 if len(sequence) > 1 and sequence[1] in _customers(provider) else 2
    return made + _attribute(0xC0, 32, struct.pack("!III", provider, 10, kind))  # RFC 8092


@cache
def _customers(provider: int) -> frozenset[int]:
    return frozenset(customer for up, customer in internet().links if up == provider)


def _default_route() -> Prefix:
    """One provider also sends a default route, which must not make anything routed."""
    return Prefix(ipaddress.IPv4Network("0.0.0.0/0"), w.PELAGO.asn, 0, 0, 0)


def table() -> list[Prefix]:
    """All announced prefixes, in order of family, address and length."""
    all_of_them = [*internet().prefixes, *special_prefixes(), _default_route()]
    announced = [p for p in all_of_them if p.announced]
    return sorted(
        announced, key=lambda p: (p.net.version, int(p.net.network_address), p.net.prefixlen)
    )


def leaked_prefixes() -> list[Prefix]:
    """What the network with a session in London announces by its transit alone."""
    return [p for p in internet().prefixes
            if p.origin == w.PEERED and p.net.version == 4 and is_leaked(p)]  # fmt: skip


def session_view() -> tuple[str, dict[Network, tuple[int, ...]]]:
    """Address of that network's port on the exchange, and what it announces there: its prefixes,
    and of the leaked ones only the aggregate that covers them. Prefix → AS path."""
    exchange = w.METRO["lon"].exchange
    assert exchange is not None
    address = str(ipaddress.IPv4Address(port_addresses(exchange)[w.PEERED][0]))
    leaked = leaked_prefixes()
    nets: list[Network] = [p.net for p in internet().prefixes
                           if p.origin == w.PEERED and p not in leaked]  # fmt: skip
    nets += [p.net.supernet(new_prefix=AGGREGATE) for p in leaked]
    return address, dict.fromkeys(nets, (w.PEERED,))


def _offered(net: Network, path: tuple[int, ...], address: str) -> bytes:
    """Attributes of a route of the session."""
    made = _attribute(0x40, 1, b"\x00")
    made += _attribute(0x40, 2, struct.pack(f"!BB{len(path)}I", 2, len(path), *path))
    if net.version == 4:
        return made + _attribute(0x40, 3, ipaddress.IPv4Address(address).packed)
    exchange = w.METRO["lon"].exchange
    assert exchange is not None
    hop = ipaddress.IPv6Address(port_addresses(exchange)[w.PEERED][1]).packed
    return made + _attribute(0x80, 14, bytes([len(hop)]) + hop)


def _records() -> Iterator[bytes]:
    address, offered = session_view()
    peers = {**PEER_ADDRESS, w.PEERED: address}
    views = sorted(peers)
    name = b"sample"
    index = struct.pack("!4sH", ipaddress.IPv4Address("192.0.2.254").packed, len(name)) + name
    index += struct.pack("!H", len(views))
    for asn in views:
        packed = ipaddress.IPv4Address(peers[asn]).packed
        index += struct.pack("!B4s4sI", _AS4_PEER, packed, packed, asn)
    yield _record(_PEER_INDEX, index)
    of: dict[Network, Prefix | None] = dict.fromkeys(offered)
    of |= {p.net: p for p in table()}
    nets = sorted(of, key=lambda n: (n.version, int(n.network_address), n.prefixlen))
    for number, net in enumerate(nets):
        prefix, octets = of[net], -(-net.prefixlen // 8)
        body = struct.pack("!IB", number, net.prefixlen) + net.network_address.packed[:octets]
        routes: dict[int, bytes] = {}
        if prefix is not None:
            routes = {a: _attributes(prefix, a) for a in PEER_ADDRESS
                      if net.prefixlen or a == w.PELAGO.asn}  # fmt: skip
        if net in offered:
            routes[w.PEERED] = _offered(net, offered[net], address)
        body += struct.pack("!H", len(routes))
        for asn in sorted(routes):
            originated = w.RIB_TIME - 60 * one(f"age/{net}/{asn}", 20_000)
            body += struct.pack("!HIH", views.index(asn), originated, len(routes[asn]))
            body += routes[asn]
        yield _record(_RIB4 if net.version == 4 else _RIB6, body)


def table_dump() -> bytes:
    """The whole file, not compressed."""
    return b"".join(_records())
