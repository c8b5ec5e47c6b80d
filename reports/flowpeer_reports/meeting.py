"""Where to meet: the ladder of METHODS M9, from PeeringDB and our own places."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from flowpeer_reports.inputs import Inputs
from flowpeer_reports.parties import NOBODY_TOGETHER, Parties
from flowpeer_reports.places import NEAR_KM, Port, Position, Registry, distance_km
from flowpeer_reports.policy import Policy

EXISTS, ROUTE_SERVERS, BILATERAL, FACILITY, CAMPUS, NEARBY, JOIN_IX, ELSEWHERE = range(8)
BY_HAND = "not by the route servers: ask bilateral"
"""Both of us are on the route servers and the traffic rides transit all the same."""


@dataclass(frozen=True, slots=True)
class MeetingPlace:
    """A rung of the ladder: `rank` 0 to 7, in words, and what is known of it."""

    rank: int
    text: str
    ix: int | None = None
    facility: int | None = None
    """Theirs, where it is not one of ours."""
    our_facility: int | None = None
    campus: int | None = None
    their_bps: int | None = None
    """Their ports on the exchange, added up; None unknown."""
    our_bps: int | None = None
    route_servers: str = ""
    """Who is on the exchange's route servers: us, them, both or neither."""
    carriers: tuple[str, ...] = ()
    note: str = ""
    there: str = ""
    """The metro that it is in, where that is another one (rung 7)."""
    there_rank: int = 0
    """Its rung there."""


@dataclass(slots=True)
class OwnPlaces:
    """Our own places in one metro."""

    facilities: frozenset[int]
    near: frozenset[int]
    exchanges: dict[int, tuple[bool, int | None]]
    """Our exchanges: ix → (we have sessions with its route servers, speed of our ports)."""
    local_exchanges: frozenset[int]
    """Other exchanges that can be reached in the metro."""
    position: Position | None
    others: list[tuple[float, str]] = field(default_factory=list)


class MeetingPlaces:
    """The places of everybody. Building it reads PeeringDB once; questions are look-ups.

    A party meets where any of its members does; questions name it by the ASN to ask.
    """

    def __init__(self, inputs: Inputs, parties: Parties = NOBODY_TOGETHER) -> None:
        self.registry = Registry(inputs.peeringdb)
        self._parties = parties
        self._policy: Policy = inputs.policy
        self.here = _our_places(inputs, self.registry)
        self._rungs: dict[tuple[int, str], list[MeetingPlace]] = {}
        self._shared: dict[tuple[int, str], list[MeetingPlace]] = {}
        self._metros: dict[int, frozenset[str]] = {}
        """Network → metros in which it could be met; of those that could not in one of ours."""

    def party(self, asn: int) -> int:
        """The ASN that questions about a network go by."""
        return self._parties.of(asn)

    def listed(self, asn: int) -> bool:
        """Whether PeeringDB knows a port or a facility of the party."""
        return any(map(self.registry.listed, self._parties.members(asn)))

    def reach(self, asn: int, metro: str) -> int:
        """The lowest rung from 1 to 7 that holds."""
        return self.ladder(asn, metro)[0].rank

    def shared_metros(self, asn: int) -> list[str]:
        """Our metros in which the two could meet without anyone building a new place."""
        return [m for m in self.here if self._local(asn, m)]

    def pni_from(self, asn: int) -> float:
        """95th percentile above which a facility comes before an exchange."""
        return self._policy.of(asn).pni_from_bps or self._policy.pni_from_bps

    def meet(self, asn: int, metro: str, alone_p95_bps: float = 0.0) -> MeetingPlace:
        """Where to meet; a common facility first if the p95 standing alone is that large."""
        return self.options(asn, metro, alone_p95_bps)[0]

    def options(self, asn: int, metro: str, alone_p95_bps: float = 0.0) -> list[MeetingPlace]:
        """Every rung that holds, the best first."""
        ladder = self.ladder(asn, metro)
        if alone_p95_bps >= self.pni_from(asn):
            return sorted(ladder, key=lambda p: p.rank != FACILITY)
        return ladder

    def ladder(self, asn: int, metro: str) -> list[MeetingPlace]:
        """Rungs 1 to 6 that hold, best first; where none does, rung 7."""
        key = (asn, metro)
        found = self._rungs.get(key)
        if found is None:
            found = [*self._local(asn, metro), *self._join(asn, metro)]
            found = found or [self._elsewhere(asn, metro)]
            self._rungs[key] = found
        return found

    def near_misses(self, asn: int, metro: str) -> list[str]:
        """What would be a place but for one thing, in words."""
        here = self.here.get(metro)
        if here is None:
            return []
        found = []
        for port in self._ports_of(asn):
            if port.ix not in here.exchanges and port.ix not in here.local_exchanges:
                continue
            name = self.registry.exchange(port.ix)
            if not port.operational:
                found.append(f"{name}: their port is not operational")
            elif self._away(port.ix_facility, here):
                found.append(f"{name}: their port is in another city")
            elif port.never_route_servers and port.route_servers:
                found.append(f"{name}: on the route servers, but says never to use them")
        return sorted(set(found))

    def _ports_of(self, asn: int) -> list[Port]:
        return [
            p for member in self._parties.members(asn) for p in self.registry.ports.get(member, ())
        ]

    def _facilities_of(self, asn: int) -> frozenset[int]:
        every = (self.registry.facilities.get(m, frozenset()) for m in self._parties.members(asn))
        return frozenset().union(*every)

    def ports_in(self, asn: int, metro: str) -> dict[int, list[Port]]:
        """Exchange of the metro, ours or not → the party's operational ports on it there."""
        here = self.here.get(metro)
        found: dict[int, list[Port]] = defaultdict(list)
        if here is None:
            return found
        for port in self._ports_of(asn):
            near = port.ix in here.exchanges or port.ix in here.local_exchanges
            if near and port.operational and not self._away(port.ix_facility, here):
                found[port.ix].append(port)
        return found

    def _local(self, asn: int, metro: str) -> list[MeetingPlace]:
        """Rungs 1 to 5 that hold, best first."""
        found = self._shared.get((asn, metro))
        if found is None:
            found = self._places(asn, metro)
            if found or self.listed(asn):
                self._shared[asn, metro] = found
        return found

    def _places(self, asn: int, metro: str) -> list[MeetingPlace]:
        here = self.here.get(metro)
        if here is None or not self.listed(asn):
            return []
        places = [
            self._on_exchange(ix, ports, here)
            for ix, ports in sorted(self.ports_in(asn, metro).items())
            if ix in here.exchanges
        ]
        theirs = self._facilities_of(asn)
        places += [
            MeetingPlace(FACILITY, f"PNI: {self._fac(f)}", facility=f, our_facility=f)
            for f in sorted(theirs & here.facilities)
        ]
        if not any(p.rank == FACILITY for p in places):
            places += self._campus(theirs, here) or self._nearby(theirs, here)
        # Stable: of several exchanges on one rung the one with the larger ports, then PeeringDB's
        # order.
        return sorted(places, key=lambda p: (p.rank, -(p.their_bps or 0)))

    def _on_exchange(self, ix: int, ports: list[Port], here: OwnPlaces) -> MeetingPlace:
        ours, our_bps = here.exchanges[ix]
        theirs = any(p.route_servers for p in ports)
        willing = not all(p.never_route_servers for p in ports)
        both = ours and theirs
        by_servers = (ours != theirs) and willing
        if by_servers:
            how = f"route servers, once {'they join' if ours else 'we join'}"
        elif both and willing:
            how = BY_HAND
        else:
            how = "bilateral"
        details = [how]
        if all(self._away(p.net_facility, here) for p in ports):
            details.append("remote port")
        if all(p.export for p in ports):
            details.append("by the exchange's member list alone")
        speeds = [p.speed_bps for p in ports]
        their_bps = sum(s for s in speeds if s) or None
        return MeetingPlace(
            ROUTE_SERVERS if by_servers else BILATERAL,
            f"IX: {self._ix(ix)} ({', '.join(details)}{_speeds(their_bps, our_bps)})",
            ix=ix,
            their_bps=their_bps,
            our_bps=our_bps,
            route_servers="both" if both else "us" if ours else "them" if theirs else "neither",
            note="" if all(speeds) else "their speed is not known for every port",
        )

    def _campus(self, theirs: Iterable[int], here: OwnPlaces) -> list[MeetingPlace]:
        campus_of = self.registry.campus
        ours = {campus_of[f]: f for f in sorted(here.facilities, reverse=True) if f in campus_of}
        return [
            MeetingPlace(
                CAMPUS,
                f"campus {self.registry.campus_name(campus_of[f])}: "
                f"{self._fac(ours[campus_of[f]])} – {self._fac(f)}",
                facility=f,
                our_facility=ours[campus_of[f]],
                campus=campus_of[f],
                carriers=tuple(self.registry.carriers(ours[campus_of[f]], f)),
            )
            for f in sorted(theirs)
            if campus_of.get(f) in ours
        ]

    def _nearby(self, theirs: frozenset[int], here: OwnPlaces) -> list[MeetingPlace]:
        position = self.registry.position
        pairs = [
            (distance_km(position[ours], position[f]), ours, f)
            for f in sorted(theirs & here.near)
            for ours in sorted(here.facilities)
            if ours in position and f in position
        ]
        pairs = [p for p in pairs if p[0] <= NEAR_KM]
        if not pairs:
            return [
                MeetingPlace(NEARBY, f"same metro: {self._fac(f)}", facility=f)
                for f in sorted(theirs & here.near)[:1]
                if not here.facilities & position.keys()
            ]
        km, ours, f = min(pairs)
        # A pair with a carrier in both is worth a few kilometres more.
        for option in sorted(pairs):
            if self.registry.carriers(option[1], option[2]):
                km, ours, f = option
                break
        carriers = tuple(self.registry.carriers(ours, f))
        by = f", by {', '.join(carriers[:3])}" if carriers else ""
        return [
            MeetingPlace(
                NEARBY, f"same metro: {self._fac(ours)} – {self._fac(f)}, {km:.0f} km{by}",
                facility=f, our_facility=ours, carriers=carriers,
            )
        ]  # fmt: skip

    def _join(self, asn: int, metro: str) -> list[MeetingPlace]:
        """Exchanges of the metro that we are not on."""
        here = self.here.get(metro)
        places = []
        for ix, ports in sorted(self.ports_in(asn, metro).items()):
            if here is None or ix in here.exchanges:
                continue
            their_bps = sum(p.speed_bps for p in ports if p.speed_bps) or None
            places.append(
                MeetingPlace(
                    JOIN_IX, f"join IX: {self._ix(ix)}{_speeds(their_bps, None, ' (', ')')}",
                    ix=ix, their_bps=their_bps,
                    route_servers="them" if any(p.route_servers for p in ports) else "neither",
                )
            )  # fmt: skip
        return sorted(places, key=lambda p: -(p.their_bps or 0))

    def _elsewhere(self, asn: int, metro: str) -> MeetingPlace:
        here = self.here.get(metro)
        there = self._metros.get(asn)
        if there is None:
            there = self._metros[asn] = frozenset(self.shared_metros(asn))
        for km, other in here.others if here is not None and there else ():
            if other in there:
                places = self._local(asn, other)
                far = f", {km:.0f} km" if math.isfinite(km) else ""
                return replace(
                    places[0], rank=ELSEWHERE, text=f"in {other}{far}: {places[0].text}",
                    there=other, there_rank=places[0].rank,
                )  # fmt: skip
        if not self.registry.loaded:
            return MeetingPlace(ELSEWHERE, "no place known: no PeeringDB")
        if self.listed(asn):
            return MeetingPlace(ELSEWHERE, "no common place in PeeringDB")
        return MeetingPlace(ELSEWHERE, "no place known: not in PeeringDB")

    def _away(self, facility: int | None, here: OwnPlaces) -> bool:
        """Whether a facility is known to be outside the metro."""
        return (
            facility is not None
            and facility in self.registry.position
            and bool(here.near)
            and facility not in here.near
            and facility not in here.facilities
        )

    def _fac(self, facility: int) -> str:
        return f"{self.registry.facility(facility)} [fac {facility}]"

    def _ix(self, ix: int) -> str:
        return f"{self.registry.exchange(ix)} [ix {ix}]"


def _speeds(theirs: int | None, ours: int | None, before: str = ", ", after: str = "") -> str:
    """Port speeds in words."""
    parts = [f"{who} {bps / 1e9:g}G" for who, bps in (("theirs", theirs), ("ours", ours)) if bps]
    return f"{before}{', '.join(parts)}{after}" if parts else ""


def _our_places(inputs: Inputs, registry: Registry) -> dict[str, OwnPlaces]:
    ours: dict[str, dict[int, tuple[bool, int | None]]] = defaultdict(dict)
    added: dict[int, int] = defaultdict(int)
    on_servers: set[int] = set()
    for port in registry.ports.get(inputs.asn, []):
        if port.operational:
            added[port.ix] += port.speed_bps or 0
            if port.route_servers:
                on_servers.add(port.ix)
    ports = inputs.exchange_ports.select("metro", "ix_id", "route_servers", "speed_bps")
    for metro, ix, servers, speed in ports.iter_rows():
        if ix is not None:
            by_us = ix in on_servers if servers is None else bool(servers)
            ours[metro][ix] = (by_us, speed or added.get(ix) or None)
    metros: dict[str, OwnPlaces] = {}
    columns = ("metro", "latitude", "longitude", "facilities", "exchanges")
    for metro, latitude, longitude, facs, exchanges in inputs.metros.select(columns).iter_rows():
        for ix in exchanges or ():
            ours[metro].setdefault(ix, (ix in on_servers, added.get(ix) or None))
        facilities = frozenset(facs or ())
        points = [registry.position[f] for f in sorted(facilities) if f in registry.position]
        position = None
        if latitude is not None and longitude is not None:
            position = (float(latitude), float(longitude))
        elif points:
            position = points[0]
        near = registry.near([*points, *([position] if position else [])])
        local = {ix for f in near | facilities for ix in registry.exchanges_at.get(f, ())}
        metros[metro] = OwnPlaces(
            facilities, near, ours[metro], frozenset(local - set(ours[metro])), position
        )
    for metro, here in metros.items():
        here.others = sorted(
            (
                distance_km(here.position, there.position)
                if here.position and there.position
                else math.inf,
                other,
            )
            for other, there in metros.items()
            if other != metro
        )
    return metros
