"""Who is where, by PeeringDB: ports on exchanges, facilities, campuses, carriers, distances.

Anything may be missing in PeeringDB, and missing is unknown, not false: a port counts as
operational unless it is stated not to be, a facility without coordinates is near nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from flowpeer_reports.inputs import pdb

NEAR_KM = 50.0
_EARTH_KM = 6371.0
_I, _T, _B, _F = pl.Int64, pl.String, pl.Boolean, pl.Float64
Position = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a network on an exchange."""

    asn: int
    ix: int
    speed_bps: int | None
    route_servers: bool
    operational: bool
    net_facility: int | None
    """Where their router is, if it is not where the port is."""
    ix_facility: int | None
    export: str | None
    """The exchange's member export that names it, where PeeringDB does not."""
    never_route_servers: bool = False


class Registry:
    """PeeringDB's places as look-ups; reading it is the only costly part."""

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        fac = pdb(tables, "fac", {"id": _I, "name": _T, "campus_id": _I, "latitude": _F,
                                  "longitude": _F})  # fmt: skip
        fac = fac.drop_nulls("id").unique("id", keep="first", maintain_order=True)
        self._facility = dict(fac.select("id", "name").iter_rows())
        self.campus = {i: c for i, c in fac.select("id", "campus_id").iter_rows() if c is not None}
        self._campus = dict(pdb(tables, "campus", {"id": _I, "name": _T}).iter_rows())
        located = fac.drop_nulls(["latitude", "longitude"])
        self._ids = located["id"].to_numpy()
        self._positions = located.select("latitude", "longitude").to_numpy()
        self.position: dict[int, Position] = {
            int(i): (float(p[0]), float(p[1]))
            for i, p in zip(self._ids, self._positions, strict=True)
        }
        self._ix = dict(pdb(tables, "ix", {"id": _I, "name": _T}).iter_rows())
        net = pdb(tables, "net", {"id": _I, "asn": _I, "info_never_via_route_servers": _B})
        asn_of = {i: a for i, a, _ in net.iter_rows()}
        never = {a for a, flag in net.select("asn", "info_never_via_route_servers").iter_rows()
                 if flag}  # fmt: skip
        self.loaded = bool(net.height)
        self.known = set(asn_of.values())
        self.ports = _ports(tables, asn_of, never)
        self.members: dict[int, list[Port]] = defaultdict(list)
        for ports in self.ports.values():
            for port in ports:
                self.members[port.ix].append(port)
        facilities: dict[int, set[int]] = defaultdict(set)
        netfac = pdb(tables, "netfac", {"net_id": _I, "fac_id": _I, "local_asn": _I})
        for net_id, fac_id, local in netfac.iter_rows():
            asn = local if local else asn_of.get(net_id)
            if asn is not None and fac_id is not None:
                facilities[asn].add(fac_id)
        self.facilities = {a: frozenset(f) for a, f in facilities.items()}
        self.exchanges_at: dict[int, set[int]] = defaultdict(set)
        """Facility → exchanges that can be reached there."""
        for ix, fac_id in pdb(tables, "ixfac", {"ix_id": _I, "fac_id": _I}).iter_rows():
            if ix is not None and fac_id is not None:
                self.exchanges_at[fac_id].add(ix)
        names = dict(pdb(tables, "carrier", {"id": _I, "name": _T}).iter_rows())
        self._carriers: dict[int, set[str]] = defaultdict(set)
        for carrier, fac_id in pdb(
            tables, "carrierfac", {"carrier_id": _I, "fac_id": _I}
        ).iter_rows():
            if fac_id is not None:
                self._carriers[fac_id].add(names.get(carrier) or f"carrier {carrier}")

    def listed(self, asn: int) -> bool:
        """Whether a port or a facility of this network is known."""
        return asn in self.ports or asn in self.facilities

    def listed_networks(self) -> Iterable[int]:
        """Networks of which a port or a facility is known."""
        return {*self.ports, *self.facilities}

    def facility(self, facility: int) -> str:
        """Its name, else its number."""
        return self._facility.get(facility) or f"facility {facility}"

    def campus_name(self, campus: int) -> str:
        """Its name, else its number."""
        return self._campus.get(campus) or f"campus {campus}"

    def exchange(self, ix: int) -> str:
        """Its name, else its number."""
        return self._ix.get(ix) or f"exchange {ix}"

    def carriers(self, one: int, other: int) -> list[str]:
        """Carriers that are in both facilities."""
        return sorted(self._carriers.get(one, set()) & self._carriers.get(other, set()))

    def near(self, points: list[Position]) -> frozenset[int]:
        """Facilities within `NEAR_KM` of any of the points."""
        if not points or not len(self._ids):
            return frozenset()
        close = np.zeros(len(self._ids), dtype=np.bool_)
        there = np.radians(self._positions)
        for latitude, longitude in points:
            here = np.radians((latitude, longitude))
            half = np.sin((there - here) / 2) ** 2
            arc = half[:, 0] + np.cos(here[0]) * np.cos(there[:, 0]) * half[:, 1]
            close |= 2 * _EARTH_KM * np.arcsin(np.sqrt(np.clip(arc, 0, 1))) <= NEAR_KM
        return frozenset(int(i) for i in self._ids[close])


def _ports(
    tables: Mapping[str, pl.DataFrame], asn_of: Mapping[int, int], never: set[int]
) -> dict[int, list[Port]]:
    ix_of = dict(pdb(tables, "ixlan", {"id": _I, "ix_id": _I}).iter_rows())
    rows = pdb(tables, "netixlan", {
        "asn": _I, "net_id": _I, "ix_id": _I, "ixlan_id": _I, "speed": _I, "is_rs_peer": _B,
        "operational": _B, "net_side_id": _I, "ix_side_id": _I, "source": _T,
    })  # fmt: skip
    ports: dict[int, list[Port]] = defaultdict(list)
    for row in rows.iter_rows():
        asn, net_id, ix_id, ixlan, speed, servers, up, net_side, ix_side, export = row
        number = asn if asn is not None else asn_of.get(net_id)
        # An ixlan has the number of its exchange unless the table says otherwise.
        ix = ix_id if ix_id is not None else ix_of.get(ixlan, ixlan)
        if number is None or ix is None:
            continue
        ports[number].append(
            Port(number, ix, speed * 1_000_000 if speed else None, bool(servers), up is not False,
                 net_side, ix_side, export, number in never)
        )  # fmt: skip
    return dict(ports)


def distance_km(a: Position, b: Position) -> float:
    """Great-circle distance of two (latitude, longitude) in degrees."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, p)) for p in (a, b))
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
