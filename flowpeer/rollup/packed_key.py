"""What a sum is about, packed into one integer: side, route, local prefix, slot and scaled.

    63 … side | route code | local prefix | slot (4 bits) | scaled (1 bit)

Numbers of sides are given as they turn up, by all threads together; `tables` replaces them by
ranks, so that the order of their coming does not show in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer.rollup.attribute import Attributor, Side
from flowpeer.rollup.folding import Tail
from flowpeer.rollup.rates import NO_SESSION, Sampled
from flowpeer.rollup.reading import NO_SAMPLER, U64, Addresses, Bools, Records
from flowpeer.rollup.slots import Ints
from flowpeer.routing.rib.match import RouteTable
from flowpeer_core.asns import OWN
from flowpeer_core.sampling_rates import Rate

NO_ROUTE_4, NO_ROUTE_6, NO_ADDRESS = 0, 1, 2  # route codes; own prefixes follow, then routes
SPECIAL = 3
SLOT_BITS = 5
"""Bits of a key below the local prefix: slot of the hour, and whether the bytes are scaled."""
DENSE = 1 << 20
"""Combinations that are numbered by a table; beyond that by sorting."""
_MAPPED = np.uint64(0xFFFF)
_COMBINATION = (
    "observation_domain", "input_if", "output_if", "direction", "sampler_id", "sampling_interval",
    "session", "sampling_numerator", "sampling_denominator", "moment",
)  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What an hour is rolled up with, resolved."""

    attributor: Callable[[str], Attributor]  # flow file → M1 of the day it was received
    rate: Callable[[str, Sampled], Rate | None]
    """The rate of a record of a flow file, see `Inputs.rate`."""
    moments: Callable[[str], Ints]
    """Flow file → when during its hour of receipt an announced rate changes, in µs, ascending."""
    exporters: Sequence[tuple[str, str]]  # (id, metro) of those that may have their own view
    routes: Callable[[str, str], RouteTable]  # (id, metro) → the view in force
    own: RouteTable  # own prefixes
    own_asn: int
    neighbours: RouteTable | None = None  # exchange port addresses → ASN of the member
    tail: Tail | None = None  # what is folded; None: nothing


class Codes:
    """Numbers for what a row is about, shared by the threads.

    A side is a `Side` with the neighbour found on an exchange (0: none). Route codes are unique
    over own prefixes and all views: special ones, then own, then view after view.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = Lock()
        own = context.own
        self.sides: dict[tuple[Side, int], int] = {}
        self.views: list[tuple[RouteTable, int, Bools]] = []
        """(routes, the code of the first of them, `near_own`) of each view."""
        self._view_numbers: dict[int, int] = {}
        self._view_of: dict[tuple[str, str], int] = {}
        self.texts: list[Any] = [own.prefixes]
        self.origins: list[Ints] = [np.full(len(own.prefixes), OWN, np.int64)]
        self.routes = SPECIAL + len(own.prefixes)
        self.local_bits = (len(own.prefixes) + 1).bit_length()
        for table in {id(t): t for t in self._all_views()}.values():
            self._view_numbers[id(table)] = len(self.views)
            self.views.append((table, self.routes, near_own(table, own)))
            self.texts.append(table.prefixes)
            self.origins.append(table.origin_asn)
            self.routes += len(table.prefixes)
        self.route_bits = self.routes.bit_length()
        self.side_limit = 1 << (63 - SLOT_BITS - self.local_bits - self.route_bits)

    def _all_views(self) -> Iterator[RouteTable]:
        yield self._context.routes("", "")
        for exporter, metro in self._context.exporters:
            yield self._context.routes(exporter, metro)

    def side(self, side: Side, neighbour: int = 0) -> int:
        """The number of a side."""
        with self._lock:
            number = self.sides.setdefault((side, neighbour), len(self.sides))
        if number >= self.side_limit:
            raise OverflowError(f"more than {self.side_limit} interfaces and neighbours in an hour")
        return number

    def view(self, side: Side) -> int:
        """The number of the view that holds for a side's exporter."""
        where = side.exporter, side.metro
        if where not in self._view_of:
            self._view_of[where] = self._view_numbers[id(self._context.routes(*where))]
        return self._view_of[where]


def near_own(table: RouteTable, own: RouteTable) -> Bools:
    """Which routes of `table` may be the match of an address inside an own prefix.

    Only where the match is one of these, or there is none, need own prefixes be looked at. The
    last element stands for no route.
    """
    near = np.zeros(len(table.prefixes) + 1, dtype=bool)
    near[-1] = True
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
    return near


@dataclass
class Attributed:
    """M1 and M2 for each distinct combination of what decides them."""

    side: Ints  # (2, n): side number, −1 for no second crossing
    view: Ints  # (2, n): number of the view of the routes
    source: Bools  # (2, n): the source is the remote end
    exchange: Bools  # (2, n): the neighbour is to be found by next hop
    rate: Ints  # numerator; 0: unknown
    divisor: Ints | None  # denominator; None: 1 for all
    discarded: Bools


def combinations(records: Records) -> tuple[npt.NDArray[np.intp], list[tuple[str, ...]]]:
    """A number for each record's combination of what decides side and rate, and its values.

    The values are the exporter's address and the columns of `_COMBINATION`.
    """
    combined = records.exporter.astype(np.int64)
    size = max(1, len(records.exporters))
    for name in _COMBINATION:
        column = records.numbers[name]
        if not isinstance(column, np.ndarray):
            continue
        low, high = int(column.min()), int(column.max())
        if high - low < DENSE:
            codes, count = column - low, high - low + 1
        else:
            values, codes = np.unique(column, return_inverse=True)
            count = len(values)
        if size * count >= 1 << 62:
            present, combined = np.unique(combined, return_inverse=True)
            size = len(present)
        combined *= count
        combined += codes
        size *= count
    if size <= DENSE:
        last = np.full(size, -1, dtype=np.int64)
        last[combined] = np.arange(records.rows)
        distinct = np.flatnonzero(last >= 0)
        numbers = np.zeros(size, dtype=np.intp)
        numbers[distinct] = np.arange(len(distinct))
        place, at = numbers[combined], last[distinct]
    else:
        _, at, place = np.unique(combined, return_index=True, return_inverse=True)
    found: list[list[Any]] = [[records.exporters[n] for n in records.exporter[at].tolist()]]
    for name in _COMBINATION:
        column = records.numbers[name]
        some = column[at].tolist() if isinstance(column, np.ndarray) else [column] * len(at)
        found.append(some)
    return place, list(zip(*found, strict=True))


def attribute(
    file: str, distinct: Sequence[tuple[Any, ...]], context: Context, codes: Codes
) -> Attributed:
    """M1 and M2 for combinations of one file."""
    count = len(distinct)
    made = Attributed(
        np.full((2, count), -1, dtype=np.int64),
        np.zeros((2, count), dtype=np.int64),
        np.zeros((2, count), dtype=bool),
        np.zeros((2, count), dtype=bool),
        np.zeros(count, dtype=np.int64),
        None,
        np.zeros(count, dtype=bool),
    )
    divisor = np.ones(count, dtype=np.int64)
    attributor = context.attributor(file)
    moments = context.moments(file)
    for n, (
        ip,
        domain,
        came,
        went,
        direction,
        sampler,
        said,
        session,
        top,
        bottom,
        moment,
    ) in enumerate(distinct):
        found = attributor.attribute(ip, came, went, egress=direction == 1)
        for k, crossing in enumerate(found.crossings):
            made.side[k, n] = codes.side(crossing.side)
            made.view[k, n] = codes.view(crossing.side)
            made.source[k, n] = crossing.remote == "src"
            made.exchange[k, n] = crossing.side.role == "ix" and crossing.side.direction == "out"
        made.discarded[n] = found.discarded
        own = (top, bottom) if top > 0 < bottom else None
        if own is None and said > 0 and session == NO_SESSION:
            own = (said, 1)  # imported, or of a lake that did not tell
        rate = context.rate(
            file,
            Sampled(
                ip, session, domain, None if sampler == NO_SAMPLER else sampler,
                (went if direction == 1 else came) or None, own,
                int(moments[moment - 1]) if moment else 0,
            ),
        )  # fmt: skip
        if rate is not None:
            made.rate[n], divisor[n] = rate
    if (divisor > 1).any():
        made.divisor = divisor
    return made


def slot_of(key: U64) -> Any:
    """The slot of the hour of each key."""
    return (key >> np.uint64(1) & np.uint64(15)).astype(np.uint8)


def without_slot(key: pl.Expr) -> pl.Expr:
    """Keys of the whole hour."""
    return key & pl.lit(~(15 << 1) & ((1 << 64) - 1), pl.UInt64)


class Keys:
    """The part of a key that the record decides: side, route and local prefix."""

    def __init__(
        self, records: Records, combo: Any, known: Attributed, context: Context, codes: Codes
    ) -> None:
        self._records, self._combo, self._known = records, combo, known
        self._context, self._codes = context, codes

    def of_crossing(self, k: int, at: Any = slice(None)) -> npt.NDArray[np.uint64]:
        """Keys of the records' first (0) or second (1) crossing, shifted above slot and scaled.

        `at` chooses records; each must have that crossing.
        """
        combo = self._combo[at]
        source = self._known.source[k][combo]
        remote, local = self._ends(source, at)
        side = self._known.side[k][combo]
        if self._context.neighbours is not None:
            exchange = np.flatnonzero(self._known.exchange[k][combo])
            if exchange.size:
                side = self._with_neighbours(side, exchange, at)
        key = self._routes(remote, self._known.view[k][combo])
        key |= side << self._codes.route_bits
        key <<= self._codes.local_bits
        near = self._context.own.match(local.hi, local.lo).astype(np.int64)
        near += 1
        if local.present is not None:
            near[~local.present] = 0
        key |= near
        key <<= SLOT_BITS
        return key.view(np.uint64)

    def _ends(self, source: Bools, at: Any) -> tuple[Addresses, Addresses]:
        """The remote and the local addresses."""
        src, dst = (self._records.addresses[name].take(at) for name in ("src_addr", "dst_addr"))
        if source.all():
            return src, dst
        if not source.any():
            return dst, src
        remote, local = (
            Addresses(
                np.where(which, src.hi, dst.hi),
                np.where(which, src.lo, dst.lo),
                None
                if src.present is None and dst.present is None
                else np.where(which, _present(src), _present(dst)),
            )
            for which in (source, ~source)
        )
        return remote, local

    def _with_neighbours(self, side: Ints, exchange: Ints, at: Any) -> Ints:
        """On an exchange the neighbour belongs to the side: found by the next hop (M1)."""
        table = self._context.neighbours
        assert table is not None
        hop, other = (
            self._records.addresses[name].take(at).take(exchange)
            for name in ("bgp_next_hop", "next_hop")
        )
        # All zero and ::ffff:0.0.0.0 both say that there is none.
        none = (hop.hi == 0) & ((hop.lo == 0) | (hop.lo == _MAPPED << np.uint64(32)))
        found = table.match(np.where(none, other.hi, hop.hi), np.where(none, other.lo, hop.lo))
        asn = np.where(found >= 0, table.origin_asn[found], 0)
        sides = [one for one, _ in list(self._codes.sides)]  # another thread may add some
        mine = side[exchange]
        side = side.copy()
        for number, neighbour in np.unique(np.stack((mine, asn)), axis=1).T.tolist():
            if neighbour:
                chosen = exchange[(mine == number) & (asn == neighbour)]
                side[chosen] = self._codes.side(sides[number], neighbour)
        return side

    def _routes(self, remote: Addresses, view: Ints) -> Ints:
        """Route codes: own prefixes over routes over none."""
        code = np.empty(view.size, dtype=np.int64)
        views = np.unique(self._known.view).tolist()
        for number in views:
            table, offset, near = self._codes.views[number]
            rows: Any = slice(None) if len(views) == 1 else np.flatnonzero(view == number)
            found = table.match(remote.hi[rows], remote.lo[rows])
            suspect = near.take(found, mode="wrap")
            found = found.astype(np.int64)
            found[found < 0] -= offset  # keeps "no route" negative
            found += offset
            if suspect.any():
                self._look_closer(found, np.flatnonzero(suspect), remote.take(rows))
            code[rows] = found
        if remote.present is not None:
            code[~remote.present] = NO_ADDRESS
        return code

    def _look_closer(self, code: Ints, at: npt.NDArray[np.intp], remote: Addresses) -> None:
        """Tell what lies in own prefixes, and the families of what has no route."""
        hi, lo = remote.hi[at], remote.lo[at]
        own = self._context.own.match(hi, lo)
        is_v4 = (hi == 0) & (lo >> np.uint64(32) == _MAPPED)
        none = np.where(is_v4, NO_ROUTE_4, NO_ROUTE_6)
        code[at] = np.where(own >= 0, own + SPECIAL, np.where(code[at] < 0, none, code[at]))


def _present(addresses: Addresses) -> Bools:
    if addresses.present is not None:
        return addresses.present
    return np.ones(addresses.hi.size, dtype=bool)
