"""Where to meet: the ladder of METHODS M9, from PeeringDB and our own places.

Anything may be missing in PeeringDB, and missing is unknown, not false: a port counts as
operational unless it is said not to be, a facility without coordinates is near nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from flowpeer_reports.inputs import Inputs, pdb

PNI_FROM_BPS = 10_000_000_000
"""Above this p95 a private interconnection comes before an exchange."""
NEAR_KM = 50.0
EXISTS, ROUTE_SERVERS, BILATERAL, FACILITY, CAMPUS, NEARBY, JOIN_IX, ELSEWHERE = range(8)
_EARTH_KM = 6371.0
_I, _T, _B, _F = pl.Int64, pl.String, pl.Boolean, pl.Float64


@dataclass(frozen=True, slots=True)
class Place:
    """A rung of the ladder: `rank` 0 to 7, in words, and the speed that caps it."""

    rank: int
    text: str
    port_bps: int | None = None


@dataclass(frozen=True, slots=True)
class _Port:
    ix: int
    speed_bps: int | None
    route_servers: bool
    remote_facility: int | None
    ix_facility: int | None
    export: str | None
    """The exchange's member export that names it, where PeeringDB does not."""


@dataclass(slots=True)
class _Metro:
    facilities: frozenset[int]
    near: frozenset[int]
    exchanges: dict[int, tuple[bool, int | None]]
    """Our exchanges: ix → (we have sessions with its route servers, speed of our port)."""
    local_exchanges: frozenset[int]
    position: tuple[float, float] | None
    others: list[tuple[float, str]] = field(default_factory=list)


class Places:
    """The places of everybody. Building it reads PeeringDB once; questions are look-ups."""

    def __init__(self, inputs: Inputs) -> None:
        tables = inputs.peeringdb
        fac = pdb(
            tables, "fac", {"id": _I, "name": _T, "campus_id": _I, "latitude": _F, "longitude": _F}
        )
        fac = fac.drop_nulls("id").unique("id", keep="first", maintain_order=True)
        self._facility_name = dict(fac.select("id", "name").iter_rows())
        self._campus = {i: c for i, c in fac.select("id", "campus_id").iter_rows() if c is not None}
        located = fac.drop_nulls(["latitude", "longitude"])
        self._fac_ids = located["id"].to_numpy()
        self._fac_position = located.select("latitude", "longitude").to_numpy()
        self._position = {
            int(i): (float(p[0]), float(p[1]))
            for i, p in zip(self._fac_ids, self._fac_position, strict=True)
        }
        self._ix_name = dict(pdb(tables, "ix", {"id": _I, "name": _T}).iter_rows())
        net = pdb(tables, "net", {"id": _I, "asn": _I, "info_never_via_route_servers": _B})
        asn_of = {i: a for i, a, _ in net.iter_rows()}
        self.known = set(asn_of.values())
        self._never_rs = {a for _, a, never in net.iter_rows() if never}
        self._ports = self._read_ports(tables, asn_of)
        facilities: dict[int, set[int]] = defaultdict(set)
        netfac = pdb(tables, "netfac", {"net_id": _I, "fac_id": _I, "local_asn": _I})
        for net_id, fac_id, local in netfac.iter_rows():
            asn = local if local else asn_of.get(net_id)
            if asn is not None and fac_id is not None:
                facilities[asn].add(fac_id)
        self._facilities = {a: frozenset(f) for a, f in facilities.items()}
        self._metros = self._read_metros(inputs)
        self._rungs: dict[tuple[int, str], list[Place]] = {}

    def listed(self, asn: int) -> bool:
        """Whether PeeringDB knows a port or a facility of this network."""
        return asn in self._ports or asn in self._facilities

    def reach(self, asn: int, metro: str) -> int:
        """The lowest rung from 1 to 7 that holds."""
        return self._ladder(asn, metro)[0].rank

    def shared_metros(self, asn: int) -> list[str]:
        """Our metros in which the two could meet without anyone building a new place."""
        return [m for m in self._metros if self._local(asn, m)]

    def meet(self, asn: int, metro: str, p95_bps: float = 0.0) -> Place:
        """Where to meet for that much traffic: the first rung, facilities first when large."""
        ladder = self._ladder(asn, metro)
        place = ladder[0]
        if p95_bps >= PNI_FROM_BPS:
            place = next((p for p in ladder if p.rank == FACILITY), place)
        if place.port_bps is not None and p95_bps > place.port_bps:
            capped = f"{place.text}, port caps at {place.port_bps / 1e9:g} Gbps"
            return Place(place.rank, capped, place.port_bps)
        return place

    def _ladder(self, asn: int, metro: str) -> list[Place]:
        key = (asn, metro)
        found = self._rungs.get(key)
        if found is None:
            found = self._local(asn, metro) or [
                self._join(asn, metro) or self._elsewhere(asn, metro)
            ]
            self._rungs[key] = found
        return found

    def _local(self, asn: int, metro: str) -> list[Place]:
        """Rungs 1 to 5 that hold, best first."""
        here = self._metros.get(metro)
        if here is None or not self.listed(asn):
            return []
        places = []
        for port in self._ports.get(asn, ()):
            ours = here.exchanges.get(port.ix)
            if ours is None or self._elsewhere_port(port.ix_facility, here):
                continue
            servers = ours[0] and port.route_servers and asn not in self._never_rs
            how = "route servers" if servers else "bilateral"
            remote = ", remote port" if self._elsewhere_port(port.remote_facility, here) else ""
            if port.export:
                remote += ", by the exchange's member list alone"
            speeds = [s for s in (ours[1], port.speed_bps) if s]
            places.append(
                Place(
                    ROUTE_SERVERS if servers else BILATERAL,
                    f"IX: {self._ix(port.ix)} ({how}{remote})",
                    min(speeds) if speeds else None,
                )
            )
        theirs = self._facilities.get(asn, frozenset())
        places += [
            Place(FACILITY, f"PNI: {self._facility(f)}") for f in sorted(theirs & here.facilities)
        ]
        if not places:
            places = self._campus_or_nearby(theirs, here)
        # Stable: of several ports on one rung the fastest, then PeeringDB's order.
        return sorted(places, key=lambda p: (p.rank, -(p.port_bps or 0)))

    def _campus_or_nearby(self, theirs: frozenset[int], here: _Metro) -> list[Place]:
        campuses = {self._campus[f]: f for f in sorted(here.facilities) if f in self._campus}
        places = [
            Place(
                CAMPUS, f"campus: {self._facility(campuses[self._campus[f]])} – {self._facility(f)}"
            )
            for f in sorted(theirs)
            if self._campus.get(f) in campuses
        ]
        if places:
            return places
        nearest: tuple[float, int, int] | None = None
        for f in sorted(theirs & here.near):
            for ours in sorted(here.facilities):
                if ours in self._position and f in self._position:
                    option = (distance_km(self._position[ours], self._position[f]), ours, f)
                    nearest = option if nearest is None else min(nearest, option)
        if nearest is None:
            return [
                Place(NEARBY, f"same metro: {self._facility(f)}")
                for f in sorted(theirs & here.near)[:1]
            ]
        km, ours, f = nearest
        if km > NEAR_KM:
            return []
        return [
            Place(NEARBY, f"same metro: {self._facility(ours)} – {self._facility(f)}, {km:.0f} km")
        ]

    def _join(self, asn: int, metro: str) -> Place | None:
        here = self._metros.get(metro)
        if here is None:
            return None
        for port in self._ports.get(asn, ()):
            if port.ix in here.local_exchanges and not self._elsewhere_port(port.ix_facility, here):
                return Place(JOIN_IX, f"join IX: {self._ix(port.ix)}", port.speed_bps)
        return None

    def _elsewhere(self, asn: int, metro: str) -> Place:
        here = self._metros.get(metro)
        for km, other in here.others if here is not None else ():
            places = self._local(asn, other)
            if places:
                far = f", {km:.0f} km" if math.isfinite(km) else ""
                return Place(ELSEWHERE, f"in {other}{far}: {places[0].text}", places[0].port_bps)
        if self.listed(asn):
            return Place(ELSEWHERE, "no common place in PeeringDB")
        return Place(ELSEWHERE, "no place known: not in PeeringDB")

    def _elsewhere_port(self, facility: int | None, here: _Metro) -> bool:
        return (
            facility is not None
            and facility in self._position
            and bool(here.near)
            and facility not in here.near
            and facility not in here.facilities
        )

    def _facility(self, facility: int) -> str:
        return self._facility_name.get(facility) or f"facility {facility}"

    def _ix(self, ix: int) -> str:
        return self._ix_name.get(ix) or f"exchange {ix}"

    @staticmethod
    def _read_ports(
        tables: dict[str, pl.DataFrame], asn_of: dict[int, int]
    ) -> dict[int, list[_Port]]:
        ix_of = dict(pdb(tables, "ixlan", {"id": _I, "ix_id": _I}).iter_rows())
        rows = pdb(tables, "netixlan", {
            "asn": _I, "net_id": _I, "ix_id": _I, "ixlan_id": _I, "speed": _I, "is_rs_peer": _B,
            "operational": _B, "net_side_id": _I, "ix_side_id": _I, "source": _T,
        })  # fmt: skip
        ports: dict[int, list[_Port]] = defaultdict(list)
        for row in rows.iter_rows():
            asn, net_id, ix_id, ixlan, speed, servers, up, net_side, ix_side, export = row
            number = asn if asn is not None else asn_of.get(net_id)
            # An ixlan has the number of its exchange unless the table says otherwise.
            ix = ix_id if ix_id is not None else ix_of.get(ixlan, ixlan)
            if number is None or ix is None or up is False:
                continue
            bps = speed * 1_000_000 if speed else None
            ports[number].append(_Port(ix, bps, bool(servers), net_side, ix_side, export))
        return dict(ports)

    def _read_metros(self, inputs: Inputs) -> dict[str, _Metro]:
        ours: dict[str, dict[int, tuple[bool, int | None]]] = defaultdict(dict)
        ports = inputs.exchange_ports.select("metro", "ix_id", "route_servers", "speed_bps")
        for metro, ix, servers, speed in ports.iter_rows():
            if ix is not None:
                ours[metro][ix] = (bool(servers), speed)
        ixfac: dict[int, set[int]] = defaultdict(set)
        for ix, fac in pdb(inputs.peeringdb, "ixfac", {"ix_id": _I, "fac_id": _I}).iter_rows():
            ixfac[fac].add(ix)
        metros: dict[str, _Metro] = {}
        columns = ("metro", "latitude", "longitude", "facilities", "exchanges")
        for metro, latitude, longitude, facs, exchanges in inputs.metros.select(
            columns
        ).iter_rows():
            for ix in exchanges or ():
                ours[metro].setdefault(ix, (False, None))
            facilities = frozenset(facs or ())
            points = [self._position[f] for f in sorted(facilities) if f in self._position]
            position = None
            if latitude is not None and longitude is not None:
                position = (float(latitude), float(longitude))
            elif points:
                position = points[0]
            near = self._near([*points, *([position] if position else [])])
            local = {ix for f in near | facilities for ix in ixfac.get(f, ())}
            metros[metro] = _Metro(
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

    def _near(self, points: list[tuple[float, float]]) -> frozenset[int]:
        if not points or not len(self._fac_ids):
            return frozenset()
        close = np.zeros(len(self._fac_ids), dtype=np.bool_)
        there = np.radians(self._fac_position)
        for latitude, longitude in points:
            here = np.radians((latitude, longitude))
            half = np.sin((there - here) / 2) ** 2
            arc = half[:, 0] + np.cos(here[0]) * np.cos(there[:, 0]) * half[:, 1]
            close |= 2 * _EARTH_KM * np.arcsin(np.sqrt(np.clip(arc, 0, 1))) <= NEAR_KM
        return frozenset(int(i) for i in self._fac_ids[close])


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two (latitude, longitude) in degrees."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, p)) for p in (a, b))
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
