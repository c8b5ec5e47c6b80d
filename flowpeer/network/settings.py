"""The sections of the file that say where we are, what exports flows and how it is read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from flowpeer import mirror
from flowpeer.network.commercial import PeeringCosts
from flowpeer.network.values import (
    ASN,
    IP,
    Bps,
    Currency,
    Id,
    IfIndex,
    Interval,
    Moment,
    Net,
    Octets,
    Pattern,
    PeeringDBId,
    Place,
    Role,
    Seconds,
    Section,
    Share,
    Text,
    Zone,
    by_id,
    scope,
)

Scope = Annotated[Literal["metro", "region", "continent", "global"], BeforeValidator(scope)]


class Period(Section):
    """Something that holds from a time, inclusive, until a time, exclusive."""

    from_: Moment | None = Field(default=None, alias="from")
    until: Moment | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.from_ and self.until and self.until <= self.from_:
            raise ValueError("`until` must be after `from`")
        return self


class NetworkIdentity(Section):
    """`[network]`: who we are."""

    asn: ASN
    name: Text
    prefixes: tuple[Net, ...] = Field(min_length=1)
    timezone: Zone = "UTC"
    currency: Currency = "USD"


class LakeSettings(Section):
    """`[lake]`: where the tables are."""

    path: Place
    cache: Text | None = None
    cache_size: Octets = mirror.CACHE_OCTETS
    keep_flows: Seconds | None = None
    grace: Seconds = 3600
    fold_share: Annotated[float, Field(gt=0, le=0.5)] | None = None
    fold_below: Bps = 1_000_000


class CollectorSettings(Section):
    """`[collector]`: receiving export datagrams."""

    name: Id | None = None
    listen: tuple[Text, ...] = ("0.0.0.0:2055",)
    spool: Text | None = None
    seal_after: Seconds = 60
    reserve: Octets = 512_000_000
    active_timeout: Annotated[Seconds, Field(ge=1, le=7200)] = 60
    allow: tuple[Net, ...] | None = None
    bmp_allow: tuple[Net, ...] | None = None


class SourceSettings(Section):
    """`[sources]`: files or folders, relative to the configuration."""

    ribs: Text | None = None
    peeringdb: Text | None = None
    peeringdb_url: Text | None = None
    peeringdb_api_key_file: Text | None = None
    ixf: Text | None = None
    as_relationships: Text | None = None
    as_cones: Text | None = None
    as_names: Text | None = None
    interfaces: Text | None = None
    counters: Text | None = None
    asks: Text | None = None


class Exchange(PeeringCosts):
    """An exchange of a metro that we have a port on, with its own costs where they differ."""

    id: PeeringDBId
    route_servers: bool | None = None
    speed: Bps | None = None


class Facility(PeeringCosts):
    """A facility of a metro that we are in, with its own costs where they differ."""

    id: PeeringDBId


def _targets(value: object) -> object:
    """`targets`: a word, or shares by ASN."""
    if isinstance(value, dict):
        asns = all(k.isdecimal() and 1 <= int(k) < 2**32 for k in value)
        shares = all(
            isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1
            for v in value.values()
        )
        if asns and shares:
            if abs(sum(value.values()) - 1) > 1e-9:
                raise ValueError(f"the shares add up to {sum(value.values())}, not to 1")
            return value
    elif value in ("commit", "capacity", None):
        return value
    raise ValueError(
        'it must be "commit", "capacity" or shares from 0 to 1 by ASN, like { "1299" = 0.6, '
        '"174" = 0.4 }'
    )


class Metro(PeeringCosts):
    """`[[metros]]`: a city, with the places where we are."""

    id: Id
    name: Text
    region: Text | None = None
    continent: Text | None = None
    facilities: tuple[Annotated[Facility, BeforeValidator(by_id)], ...] = ()
    exchanges: tuple[Annotated[Exchange, BeforeValidator(by_id)], ...] = ()
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    targets: Annotated[
        Literal["commit", "capacity"] | dict[str, Share] | None, BeforeValidator(_targets)
    ] = None


class Exporter(Period):
    """`[[exporters]]`: a router that exports flows."""

    id: Text
    metro: Text
    addresses: tuple[IP, ...] = Field(min_length=1)
    sampling: Interval | None = None
    sampling_override: Interval | None = None
    metering: Literal["auto", "ingress", "egress"] = "auto"
    active_timeout: Annotated[Seconds, Field(ge=1, le=7200)] | None = None
    mtu: Annotated[int, Field(ge=576, le=65535, strict=True)] = 1500
    facility: PeeringDBId | None = None
    collectors: tuple[Id, ...] = ()


class Interface(Period):
    """`[[interfaces]]`: what is on the other side of a router's interface, and since when."""

    exporter: Text
    index: IfIndex
    name: Text | None = None
    description: Text | None = None
    role: Role
    asn: ASN | None = None
    capacity: Bps | None = None
    contract: Text | None = None
    l2_overhead: Annotated[int, Field(ge=0, le=100, strict=True)] = 18
    full_table: bool | None = None
    med: Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)] | None = None
    exchange: PeeringDBId | None = None
    facility: PeeringDBId | None = None
    neighbours: tuple[IP, ...] = ()


class Rule(Section):
    """`[[rules]]`: what an interface is that the CSV, or its exporter, lists without a role."""

    exporter: Pattern | None = None
    name: Pattern | None = None
    description: Pattern | None = None
    role: Role
    asn: ASN | None = None
    capacity: Bps | None = None
    contract: Text | None = None


class PeeringSession(Section):
    """`[[sessions]]`: a peering that exists."""

    asn: ASN
    metro: Text
    kind: Literal["ix", "pni"]
    from_: Moment | None = Field(default=None, alias="from")


class RouteScope(Section):
    """A community, and how far from its metro a route that carries it may be used."""

    community: Annotated[str, Field(pattern=r"^\d{1,10}(:\d{1,10}){1,2}$", strict=True)]
    scope: Scope


class Routing(Section):
    """`[routing]`: how our routers choose and where a learned route may be used (M11, M12)."""

    always_compare_med: bool = False
    default_scope: Scope = "metro"
    route_scope: tuple[RouteScope, ...] = ()


class Announcement(Section):
    """`[[announcements]]`: an own prefix, where it is announced and how far (M12)."""

    prefix: Net
    scope: Scope = "global"
    metros: tuple[Text, ...] = ()


class RiskGroup(Section):
    """`[[risk_groups]]`: what fails together: a duct, a line card, a power feed (M12)."""

    id: Id
    interfaces: tuple[Annotated[str, Field(pattern=r"^[^:]+:\d{1,10}$", strict=True)], ...] = ()
    exporters: tuple[Text, ...] = ()
