"""Numbers for what sums are about: sides, routes, and M1 and M2 by what decides them.

Numbers of sides are given as they turn up, by all threads together; `tables` replaces them by
ranks, so that the order of their coming does not show in a file. Sums are kept under two keys:

    by network   side | family (2 bits) | remote ASN (33) | scaled       for each slot
    by route     side | route code | own prefix of the local end | scaled

and, before they become these, under the slot and the second one together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowpeer.rollup.attribute import Attributor, CountingPoint
from flowpeer.rollup.folding import ASN_BITS, Tail
from flowpeer.rollup.rates import NO_SESSION, Sampled
from flowpeer.rollup.reading import MACS, NO_SAMPLER, U64, Bools, Ints
from flowpeer.rollup.slots import LARGEST_PACKET
from flowpeer.routing.rib.match import RouteTable
from flowpeer_core.asns import FOLDED, NO_ADDRESS, OWN, PRIVATE, UNROUTED, is_public
from flowpeer_core.native import table as native
from flowpeer_core.sampling_rates import Rate

SPECIAL = 3
"""Codes 0 to 2: no IPv4 route, no IPv6 route, no address. Own prefixes follow, then routes."""
LOWEST = FOLDED
"""Subtracted from ASNs and codes, so that the least of them is 0."""
NETWORK_BITS = ASN_BITS + 3
"""Of a key by network below the side."""
SPECIAL_NETWORKS = tuple(
    (family << ASN_BITS | code - LOWEST) << 1
    for family, code in ((0, UNROUTED), (1, UNROUTED), (2, NO_ADDRESS))
)
SPECIAL_ORIGINS = np.array((UNROUTED, UNROUTED, NO_ADDRESS))
COMBINED = (
    "exporter_ip", "observation_domain", "input_if", "output_if", "direction", "sampler_id",
    "sampling_interval", "session", "sampling_numerator", "sampling_denominator", "moment",
    "neighbour", "src_member", "dst_member",
)  # fmt: skip
"""What decides M1 and M2 of a record. `moment`: how many changes of rates lie before its receipt or
at it; `neighbour`: the number of the exchange port that is its next hop, −1 for none; `src_member`,
`dst_member`: the members of an exchange that its MAC addresses are of, 0 for none."""
KINDS = np.dtype(native.CKind)
KINDS_KEPT = 1 << 16
"""Of an hour of receipt, some 500 octets each; beyond, they are forgotten and found again."""


@dataclass(frozen=True)
class Macs:
    """MAC addresses of exchange ports, ascending, and the member that each is of."""

    numbers: Ints
    members: Ints

    def of(self, column: pa.Array | int) -> pa.Array | int:
        """The members of a column of MAC addresses, 0 where there is none."""
        if isinstance(column, int):
            return int(self._find(np.array([column], np.int64))[0])
        return pa.array(self._find(column.fill_null(0).to_numpy(zero_copy_only=False)))

    def _find(self, macs: Ints) -> Ints:
        at = np.minimum(np.searchsorted(self.numbers, macs), len(self.numbers) - 1)
        found: Ints = np.where(self.numbers[at] == macs, self.members[at], 0)
        return found


def members_of(context: HourContext, columns: Mapping[str, pa.Array | int]) -> dict[str, Any]:
    """`src_member` and `dst_member` of a batch's columns."""
    macs = context.macs
    return {f"{name[:3]}_member": 0 if macs is None else macs.of(columns[name]) for name in MACS}


@dataclass(frozen=True)
class HourContext:
    """What an hour is rolled up with, resolved."""

    attributor: Callable[[str], Attributor]  # flow file → M1 of its day of receipt, and this hour
    rate: Callable[[str, Sampled], Rate | None]
    """The rate of a record of a flow file, see `Inputs.rate`."""
    moments: Callable[[str], Ints]
    """Flow file → when during its hour of receipt an announced rate changes, in µs, ascending."""
    exporters: Sequence[tuple[str, str]]  # (id, metro) of those that may have their own view
    routes: Callable[[str, str], RouteTable]  # (id, metro) → the view in force
    own: RouteTable  # own prefixes
    own_asn: int
    neighbours: RouteTable | None = None  # exchange port addresses → ASN of the member
    macs: Macs | None = None  # the same by MAC address
    tail: Tail | None = None  # what is folded; None: nothing
    mtu: Mapping[str, int] = field(default_factory=dict)
    """Exporter address → largest packet (M6), where another than `LARGEST_PACKET`."""
    basis: str = ""
    """Digest of what numbers of routes, own prefixes and exchange ports follow from."""


@dataclass(frozen=True)
class RouteView:
    """Routes that hold for some exporters; `offset` is the code of the first of them."""

    table: RouteTable
    offset: int
    near: Bools
    """Whether an address that it is the longest match of may lie in an own prefix."""
    origins: Ints


class Codes:
    """The numbers of an hour, shared by its threads.

    A side is a `CountingPoint` with the neighbour found on an exchange (0: none).
    """

    def __init__(self, context: HourContext) -> None:
        self.context = context
        self._lock = Lock()
        own = context.own
        self.sides: dict[tuple[CountingPoint, int], int] = {}
        self._kinds: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
        count = len(own.prefixes)
        origins = np.full(count, OWN, np.int64)
        self.own = RouteView(own, SPECIAL, np.ones(count, bool), origins)
        networks = [np.array(SPECIAL_NETWORKS), _networks(own, origins)]
        self.views: list[RouteView] = []
        self._view_numbers: dict[int, int] = {}
        self._view_of: dict[tuple[str, str], int] = {}
        self.routes = SPECIAL + count
        self.local_bits = (count + 1).bit_length()
        for table in {id(t): t for t in self._all_views()}.values():
            self._view_numbers[id(table)] = len(self.views)
            found, near, origins = _known(table, own, context.own_asn)
            self.views.append(RouteView(table, self.routes, near, origins))
            networks.append(found)
            self.routes += len(table.prefixes)
        self.networks: Ints = np.concatenate(networks)
        """Of each code of a route, its part of a key by network."""
        self.route_bits = self.routes.bit_length()
        bits = native.SLOT_BIT - 1 - self.local_bits - self.route_bits
        self.side_limit = 1 << min(bits, 63 - NETWORK_BITS)

    def _all_views(self) -> Iterator[RouteTable]:
        yield self.context.routes("", "")
        for exporter, metro in self.context.exporters:
            yield self.context.routes(exporter, metro)

    def side(self, side: CountingPoint, neighbour: int = 0) -> int:
        """The number of a side."""
        with self._lock:
            number = self.sides.setdefault((side, neighbour), len(self.sides))
        if number >= self.side_limit:
            raise OverflowError(f"more than {self.side_limit} interfaces and neighbours in an hour")
        return number

    def view(self, side: CountingPoint) -> int:
        """The number of the view that holds for a side's exporter."""
        where = side.exporter, side.metro
        if where not in self._view_of:
            self._view_of[where] = self._view_numbers[id(self.context.routes(*where))]
        return self._view_of[where]

    def about(self, used: Ints) -> tuple[pa.Array, Ints]:
        """Prefixes (null: none) and origins of route codes, which are sorted."""
        views = (self.own, *self.views)
        at = np.split(used, np.searchsorted(used, [view.offset for view in views]))
        texts, origins = [pa.nulls(at[0].size, pa.string())], [SPECIAL_ORIGINS[at[0]]]
        for view, codes in zip(views, at[1:], strict=True):
            texts.append(view.table.prefixes.take(pa.array(codes - view.offset)))
            origins.append(view.origins[codes - view.offset])
        return pa.concat_arrays(texts), np.concatenate(origins)

    @property
    def route_fields(self) -> dict[str, tuple[int, int]]:
        """Lowest bit and number of bits of the parts of a key by route."""
        at = 1 + self.local_bits
        return {
            "scaled": (0, 1), "local": (1, self.local_bits), "route": (at, self.route_bits),
            "side": (at + self.route_bits, native.SLOT_BIT - at - self.route_bits),
        }  # fmt: skip

    def route_part(self, name: str, key: U64) -> Ints:
        """One of `route_fields` of keys by route."""
        begin, bits = self.route_fields[name]
        return (key >> np.uint64(begin) & np.uint64((1 << bits) - 1)).view(np.int64)

    def in_order(self) -> list[int]:
        """Numbers of the sides so far, as sides sort in the tables: sums that are sorted by these
        lie together where they are needed together."""
        with self._lock:
            sides = [*self.sides]
        return sorted(range(len(sides)), key=lambda n: _sort_key(*sides[n]))

    def kinds(self, file: str, distinct: Sequence[tuple[Any, ...]]) -> npt.NDArray[Any]:
        """M1 and M2 for distinct values of `COMBINED` in a flow file: an array of `KINDS`."""
        received = file.rpartition("/")[0]  # M1 goes by its day, and M2 by its hour
        known = self._kinds.setdefault(received, {})
        found = []
        for values in distinct:
            kind = known.get(values)
            if kind is None:
                if len(known) >= KINDS_KEPT:
                    known.clear()
                kind = known[values] = self._kind(file, values)
            found.append(kind)
        return np.array(found, KINDS)

    def _kind(self, file: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        context = self.context
        (
            ip, domain, input_if, output_if, direction, sampler, stated, session, top, bottom,
            moment, port, *by_mac,
        ) = values  # fmt: skip
        found = context.attributor(file).attribute(ip, input_if, output_if, egress=direction == 1)
        members = context.neighbours
        member = int(members.origin_asn[port]) if members is not None and port >= 0 else 0
        sides, views, sources = [-1, -1], [0, 0], [0, 0]
        for k, crossing in enumerate(found.crossings):
            side = crossing.side
            far = 0
            if side.role == "ix" and side.direction == "out":
                far = by_mac[1] or member
            elif side.role == "ix":
                far = by_mac[0]
            sides[k] = self.side(side, far)
            views[k] = self.view(side)
            sources[k] = int(crossing.remote == "src")
        own = (top, bottom) if top > 0 < bottom else None
        if own is None and stated > 0 and session == NO_SESSION:
            own = (stated, 1)  # imported, or of a lake that did not tell
        rate = context.rate(
            file,
            Sampled(
                ip, session, domain, None if sampler == NO_SAMPLER else sampler,
                (output_if if direction == 1 else input_if) or None, own,
                int(context.moments(file)[moment - 1]) if moment else 0,
            ),
        )  # fmt: skip
        largest = context.mtu.get(ip, LARGEST_PACKET)
        return (sides, views, sources, found.discarded, *(rate or (0, 1)), largest)


def _sort_key(side: CountingPoint, neighbour: int) -> tuple[Any, ...]:
    fields = (
        side.metro, side.exporter, side.interface, side.role, neighbour or side.provider_asn,
        side.direction,
    )  # fmt: skip
    return tuple((value is None, value) for value in fields)


def near_own(table: RouteTable, own: RouteTable) -> Bools:
    """Which routes of `table` may be the match of an address inside an own prefix.

    Only where the match is one of these, or there is none, need own prefixes be looked at.
    """
    near = np.zeros(len(table.prefixes) + 1, dtype=bool)  # the last one stands for no route
    four, six = table.four, table.six
    for text in own.prefixes.to_pylist():
        prefix = ip_network(text)
        ends = int(prefix.network_address), int(prefix.broadcast_address)
        if prefix.version == 4:
            first, last = np.searchsorted(four.start, np.array(ends, np.uint32), side="right")
            near[four.owner[first - 1 : last]] = True
        else:
            halves = np.array([end >> 64 for end in ends], np.uint64)
            first, last = np.searchsorted(six.hi, halves, side="right")
            near[six.owner[six.first[first - 1] : six.first[last]]] = True
    return near[:-1]


def _networks(table: RouteTable, origins: Ints) -> Ints:
    """The part of a key by network of each route."""
    networks = origins - LOWEST
    networks[(origins >= 0) & ~is_public(origins)] = PRIVATE - LOWEST
    texts = table.prefixes  # IPv4 first
    six = bisect_left(range(len(texts)), True, key=lambda n: ":" in texts[n].as_py())
    networks[six:] |= 1 << ASN_BITS
    networks <<= 1
    return networks


_KNOWN: WeakKeyDictionary[RouteTable, tuple[RouteTable, int, Ints, Bools, Ints]] = (
    WeakKeyDictionary()
)


def _known(table: RouteTable, own: RouteTable, own_asn: int) -> tuple[Ints, Bools, Ints]:
    """`networks`, `near` and `origins` of a view, kept as long as its table: hours share it."""
    found = _KNOWN.get(table)
    if found is None or found[0] is not own or found[1] != own_asn:
        origins = np.where(table.origin_asn == own_asn, OWN, table.origin_asn)
        networks, near = _networks(table, origins), near_own(table, own)
        found = _KNOWN[table] = own, own_asn, networks, near, origins
    return found[2:]
