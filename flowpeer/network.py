"""The network as its operator describes it: every setting, its key, its type, its default.

`flowpeer.configuration` reads it from `flowpeer.toml`.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flowpeer import schema
from flowpeer.rules import Classified

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

OBSERVED_CONES = "observed"
"""The word in the place of a file of customer cones that says: from our own routes."""

_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def bits_per_second(value: object) -> int:
    """`"100G"` → 100_000_000_000. Raises ValueError for anything else than a positive rate."""
    match = re.fullmatch(r"(\d{1,6})(?:\.(\d{1,6}))?\s*([KMGT]?)", str(value).strip())
    if isinstance(value, str) and match:
        whole, fraction, unit = match.groups()
        scaled = int(whole + (fraction or "")) * _SCALE[unit]
        bps, rest = divmod(scaled, int(10 ** len(fraction or "")))
        if bps > 0 and not rest:
            return bps
    raise ValueError('a rate in bit/s as text with K, M, G or T is expected, like "100G"')


def seconds(value: object) -> int:
    """`"60s"` → 60. Raises ValueError for anything else than a positive duration."""
    match = re.fullmatch(r"(\d{1,6})\s*([smhd])", str(value).strip())
    if isinstance(value, str) and match and int(match[1]) > 0:
        return int(match[1]) * _SECONDS[match[2]]
    raise ValueError('a duration as text with s, m, h or d is expected, like "60s"')


def canonical_address(value: object) -> Address:
    """An address as all tables name it: IPv4-mapped IPv6 is IPv4."""
    try:
        parsed = ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError('an IP address is expected, like "192.0.2.1"') from None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    return parsed


def _prefix(value: object) -> Prefix:
    try:
        prefix = ipaddress.ip_network(str(value))
        if prefix.version == 6 and prefix.network_address.ipv4_mapped:
            raise ValueError("IPv4-mapped: write it as IPv4")
        return prefix
    except ValueError as error:
        raise ValueError(f'a prefix is expected, like "198.18.0.0/15" ({error})') from None


def _pattern(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= 500:
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"a regular expression is expected ({error})") from None
        return value
    raise ValueError("a regular expression of at most 500 characters is expected")


def _zone(value: object) -> str:
    try:
        ZoneInfo(str(value))
    except (KeyError, OSError, ValueError):
        raise ValueError('a time zone name is expected, like "Europe/Amsterdam"') from None
    return str(value)


def _exchange(value: object) -> object:
    return {"id": value} if isinstance(value, int) else value


Bps = Annotated[int, BeforeValidator(bits_per_second)]
Seconds = Annotated[int, BeforeValidator(seconds)]
IP = Annotated[Address, BeforeValidator(canonical_address)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
Net = Annotated[Prefix, BeforeValidator(_prefix)]
ASN = Annotated[int, Field(ge=1, le=2**32 - 1, strict=True)]
PeeringDBId = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
Interval = Annotated[int, Field(ge=1, le=2**24, strict=True)]
IfIndex = Annotated[int, Field(ge=1, le=2**32 - 1, strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=200, strict=True)]
# Metro ids become partition values and file names: an empty or all-digit one makes other engines
# refuse or misread the table.
Id = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{1,63}$", strict=True)]
Role = Literal["transit", "peer", "ix", "customer", "internal"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Identity(_Section):
    """`[network]`: who we are."""

    asn: ASN
    name: Text
    prefixes: tuple[Net, ...] = Field(min_length=1)
    timezone: Annotated[str, BeforeValidator(_zone)] = "UTC"
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", strict=True)] = "USD"


class LakeSettings(_Section):
    """`[lake]`: where the tables are."""

    path: Text
    keep_flows: Seconds | None = None
    fold_share: Annotated[float, Field(gt=0, le=0.5)] | None = None
    fold_below: Bps = 1_000_000


class CollectorSettings(_Section):
    """`[collector]`: receiving export datagrams."""

    listen: tuple[Text, ...] = ("0.0.0.0:2055",)
    spool: Text | None = None
    seal_after: Seconds = 60
    active_timeout: Annotated[Seconds, Field(ge=1, le=7200)] = 60


class SourceSettings(_Section):
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


class Exchange(_Section):
    """An exchange of a metro that we have a port on."""

    id: PeeringDBId
    route_servers: bool = False
    speed: Bps | None = None


class Metro(_Section):
    """`[[metros]]`: a city, with the places where we are."""

    id: Id
    name: Text
    region: Text | None = None
    continent: Text | None = None
    facilities: tuple[PeeringDBId, ...] = ()
    exchanges: tuple[Annotated[Exchange, BeforeValidator(_exchange)], ...] = ()
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None


class Exporter(_Section):
    """`[[exporters]]`: a router that exports flows."""

    id: Text
    metro: Text
    addresses: tuple[IP, ...] = Field(min_length=1)
    sampling: Interval | None = None
    sampling_override: Interval | None = None
    metering: Literal["auto", "ingress", "egress"] = "auto"
    active_timeout: Annotated[Seconds, Field(ge=1, le=7200)] | None = None


class Interface(_Section):
    """`[[interfaces]]`: what is on the other side of a router's interface."""

    exporter: Text
    index: IfIndex
    name: Text | None = None
    description: Text | None = None
    role: Role
    asn: ASN | None = None
    capacity: Bps | None = None
    contract: Text | None = None
    l2_overhead: Annotated[int, Field(ge=0, le=100, strict=True)] = 18


class Rule(_Section):
    """`[[rules]]`: what an interface is that the CSV, or its exporter, lists without a role."""

    exporter: Pattern | None = None
    name: Pattern | None = None
    description: Pattern | None = None
    role: Role
    asn: ASN | None = None
    capacity: Bps | None = None
    contract: Text | None = None


class Contract(_Section):
    """`[[contracts]]`: what a provider charges for."""

    id: Text
    provider: Text | None = None
    commit: Bps | None = None
    price_per_mbps: Annotated[float, Field(ge=0)] | None = None
    overage_per_mbps: Annotated[float, Field(ge=0)] | None = None
    billing: Literal["max_of_p95", "p95_of_max", "in", "out", "sum"] = "max_of_p95"


class Session(_Section):
    """`[[sessions]]`: a peering that exists."""

    asn: ASN
    metro: Text
    kind: Literal["ix", "pni"]


class Exclusion(_Section):
    """`[[exclusions]]`: a network not to be asked, and why."""

    asn: ASN
    reason: Text
    until: date | None = None


class Network(_Section):
    """The whole file. `source` is where it was read from; paths in it are relative to there."""

    network: Identity
    lake: LakeSettings
    collector: CollectorSettings = CollectorSettings()
    sources: SourceSettings = SourceSettings()
    metros: tuple[Metro, ...] = ()
    exporters: tuple[Exporter, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    rules: tuple[Rule, ...] = ()
    contracts: tuple[Contract, ...] = ()
    sessions: tuple[Session, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    source: Path = Field(default=Path("flowpeer.toml"), exclude=True)
    classified: Classified = Field(default_factory=Classified, exclude=True)
    """What the rules made of the interfaces that are listed without a role."""

    @property
    def lake_path(self) -> Path:
        """Folder of the lake."""
        return self.source.parent / self.lake.path

    def source_path(self, name: str) -> Path | None:
        """The file or folder of one `[sources]` key, None where it is not set."""
        value: str | None = getattr(self.sources, name)
        if value is None or (name == "as_cones" and value == OBSERVED_CONES):
            return None
        return self.source.parent / value

    @cached_property
    def exporter_by_address(self) -> dict[str, Exporter]:
        """Exporters by the canonical text of each of their addresses."""
        return {str(a): e for e in self.exporters for a in e.addresses}

    @cached_property
    def metering_by_exporter(self) -> dict[str, Literal["auto", "ingress", "egress"]]:
        """`metering` by exporter id."""
        return {e.id: e.metering for e in self.exporters}

    @cached_property
    def interface_by_key(self) -> dict[tuple[str, int], Interface]:
        """Interfaces by (exporter id, ifIndex)."""
        return {(i.exporter, i.index): i for i in self.interfaces}

    def active_timeout_s(self, exporter_ip: str) -> int:
        """Active timeout of an exporter in seconds (M3)."""
        exporter = self.exporter_by_address.get(exporter_ip)
        if exporter is not None and exporter.active_timeout is not None:
            return exporter.active_timeout
        return self.collector.active_timeout

    def tables(self) -> dict[str, pa.Table]:
        """The configured reference tables of `flowpeer.schema.CONFIGURED`."""
        metro_of = {e.id: e.metro for e in self.exporters}
        rows: dict[str, list[dict[str, Any]]] = {
            "metros": [
                {
                    "metro": m.id,
                    **m.model_dump(
                        include={"name", "region", "continent", "latitude", "longitude"}
                    ),
                }
                for m in self.metros
            ],
            "exporters": [
                {
                    "exporter": e.id,
                    "address": str(a),
                    **e.model_dump(include={"metro", "sampling", "sampling_override", "metering"}),
                }
                for e in self.exporters
                for a in e.addresses
            ],
            "interfaces": [
                {
                    "exporter": i.exporter,
                    "metro": metro_of[i.exporter],
                    "interface": i.index,
                    "name": i.name,
                    "role": i.role,
                    "asn": i.asn,
                    "capacity_bps": i.capacity,
                    "contract": i.contract,
                }
                for i in self.interfaces
            ],
            "contracts": [
                {
                    "contract": c.id,
                    "commit_bps": c.commit,
                    **c.model_dump(
                        include={"provider", "price_per_mbps", "overage_per_mbps", "billing"}
                    ),
                }
                for c in self.contracts
            ],
            "sessions": [s.model_dump() for s in self.sessions],
        }
        return {
            name: pa.Table.from_pylist(rows[name], schema.arrow_schema(columns))
            for name, columns in schema.CONFIGURED.items()
        }
