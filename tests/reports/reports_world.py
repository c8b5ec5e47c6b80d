"""Synthetic inputs from a list of flows, so that a test states a world in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from flowpeer_reports.inputs import Inputs
from flowpeer_reports.policy import Policy

START = datetime(2026, 9, 16, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Flow:
    """Bytes of one route in one slot over one transit provider of one metro."""

    slot: int
    origin: int
    bytes: int
    prefix: str | None = None
    provider: int = 1299
    metro: str = "ams"
    direction: str = "out"
    variance: int = 0
    scaled: bool = True
    role: str = "transit"
    interface: int | None = None
    local: str | None = None

    @property
    def route(self) -> str | None:
        return self.prefix if self.prefix is not None else f"10.{self.origin % 251}.0.0/16"

    def where(self) -> dict[str, Any]:
        return {
            "metro": self.metro,
            "exporter": f"edge1.{self.metro}",
            "interface": self.interface or self.provider,
            "role": self.role,
            "provider_asn": self.provider,
            "direction": self.direction,
        }

    def sums(self) -> dict[str, Any]:
        return {
            "bytes": self.bytes,
            "packets": 1,
            "records": 1,
            "variance_low": 0.0,
            "variance_high": float(self.variance),
        }


WHERE = {
    "metro": pl.String,
    "exporter": pl.String,
    "interface": pl.Int64,
    "role": pl.String,
    "provider_asn": pl.Int64,
    "direction": pl.String,
}
SUMS = {
    "bytes": pl.Int64,
    "packets": pl.Int64,
    "records": pl.Int64,
    "variance_low": pl.Float64,
    "variance_high": pl.Float64,
}
TRAFFIC = {"slot": TIME, **WHERE, "family": pl.Int32, "remote_asn": pl.Int64,
           "scaled": pl.Boolean, **SUMS}  # fmt: skip
TRAFFIC_ROUTES = {"hour_start": TIME, **WHERE, "scaled": pl.Boolean, "prefix": pl.String,
                  "origin_asn": pl.Int64, "local_prefix": pl.String, **SUMS}  # fmt: skip
PATHS = {"prefix": pl.String, "as_path": pl.String}


@dataclass
class World:
    flows: Sequence[Flow]
    paths: Sequence[tuple[str, str]] = ()
    """(prefix, AS path)."""
    links: Iterable[tuple[int, int, int]] = ()
    metros: Sequence[str] = ("ams",)
    hours: int = 1
    slots: Mapping[str, int] | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    sessions: Sequence[tuple[int, str, str]] = ()
    interfaces: Sequence[tuple[str, int, str, int, int | None]] = ()
    """(metro, interface, role, asn, capacity)."""
    clique: Iterable[int] = (1299, 174)
    siblings: Iterable[int] = ()
    exclusions: Sequence[tuple[int, str, date | None]] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    peeringdb: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    places: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ports: Sequence[tuple[str, int, bool, int | None]] = ()
    notes: Sequence[str] = ()
    policy: Policy = field(default_factory=lambda: Policy(min_expected_bps=0))
    """Small worlds have small volumes: their lists have no end."""

    def inputs(self) -> Inputs:
        end = START + timedelta(hours=self.hours)
        slots = dict(self.slots or dict.fromkeys(self.metros, 12 * self.hours))
        transit = [
            (m, p, "transit", p, 100_000_000_000)
            for m, p in sorted({(f.metro, f.provider) for f in self.flows if f.role == "transit"})
        ]
        interfaces = self.interfaces or transit
        return Inputs(
            asn=64500,
            name="Example Cloud",
            currency="USD",
            siblings=frozenset(self.siblings),
            period_start=START,
            period_end=end,
            slots=slots,
            missing_slots=dict(self.missing),
            metros=pl.DataFrame(
                [
                    {"metro": m, "name": m.upper(), "region": None, "continent": "EU",
                     "latitude": None, "longitude": None, "facilities": [], "exchanges": [],
                     **self.places.get(m, {})}
                    for m in self.metros
                ],
                schema={"metro": pl.String, "name": pl.String, "region": pl.String,
                        "continent": pl.String, "latitude": pl.Float64, "longitude": pl.Float64,
                        "facilities": pl.List(pl.Int64), "exchanges": pl.List(pl.Int64)},
            ),
            exchange_ports=pl.DataFrame(
                list(self.ports),
                schema={"metro": pl.String, "ix_id": pl.Int64, "route_servers": pl.Boolean,
                        "speed_bps": pl.Int64},
                orient="row",
            ),
            interfaces=pl.DataFrame(
                [(f"edge1.{m}", m, i, None, role, asn, size, f"c{asn}")
                 for m, i, role, asn, size in interfaces],
                schema={"exporter": pl.String, "metro": pl.String, "interface": pl.Int64,
                        "name": pl.String, "role": pl.String, "asn": pl.Int64,
                        "capacity_bps": pl.Int64, "contract": pl.String},
                orient="row",
            ),
            contracts=pl.DataFrame(
                schema={"contract": pl.String, "provider": pl.String, "commit_bps": pl.Int64,
                        "price_per_mbps": pl.Float64, "overage_per_mbps": pl.Float64,
                        "billing": pl.String}
            ),
            sessions=pl.DataFrame(
                list(self.sessions),
                schema={"asn": pl.Int64, "metro": pl.String, "kind": pl.String}, orient="row",
            ),
            exclusions=pl.DataFrame(
                list(self.exclusions),
                schema={"asn": pl.Int64, "reason": pl.String, "until": pl.Date}, orient="row",
            ),
            traffic=pl.DataFrame(
                [{"slot": START + timedelta(minutes=5 * f.slot), **f.where(), "family": 4,
                  "remote_asn": f.origin, "scaled": f.scaled, **f.sums()} for f in self.flows],
                schema=TRAFFIC,
            ).lazy(),
            traffic_routes=pl.DataFrame(
                [{"hour_start": START + timedelta(hours=f.slot // 12), **f.where(),
                  "scaled": f.scaled, "prefix": f.route, "origin_asn": f.origin,
                  "local_prefix": f.local, **f.sums()} for f in self.flows],
                schema=TRAFFIC_ROUTES,
            ).lazy(),
            paths=pl.DataFrame(list(self.paths), schema=PATHS, orient="row"),
            relationships=pl.DataFrame(
                list(self.links),
                schema={"asn": pl.Int64, "other_asn": pl.Int64, "relationship": pl.Int32},
                orient="row",
            ),
            clique=frozenset(self.clique),
            asns=pl.DataFrame(
                [(a, n, None, None) for a, n in self.names.items()],
                schema={"asn": pl.Int64, "name": pl.String, "organisation": pl.String,
                        "country": pl.String},
                orient="row",
            ),
            peeringdb=dict(self.peeringdb),
            notes=tuple(self.notes),
            policy=self.policy,
        )  # fmt: skip
