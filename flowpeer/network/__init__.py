"""The network as its operator describes it: every setting, its key, its type, its default.

`flowpeer.configuration` reads it from `flowpeer.toml`.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from flowpeer import mirror, schema
from flowpeer.network.commercial import (
    Accepted,
    Contract,
    ExchangeRate,
    Exclusion,
    NetworkNote,
    PeeringCosts,
    Policy,
    Tier,
)  # fmt: skip
from flowpeer.network.settings import (
    Announcement,
    CollectorSettings,
    Exchange,
    Exporter,
    Facility,
    Interface,
    LakeSettings,
    Metro,
    NetworkIdentity,
    PeeringSession,
    RiskGroup,
    RouteScope,
    Routing,
    Rule,
    SourceSettings,
)  # fmt: skip
from flowpeer.network.values import (
    Prefix,
    Section,
    bits_per_second,
    canonical_address,
    seconds,
)  # fmt: skip
from flowpeer.rules import Classified
from flowpeer_core.columns import arrow_schema

__all__ = [
    "Accepted",
    "Announcement",
    "CollectorSettings",
    "Configuration",
    "Contract",
    "Exchange",
    "ExchangeRate",
    "Exclusion",
    "Exporter",
    "Facility",
    "Interface",
    "LakeSettings",
    "Metro",
    "NetworkIdentity",
    "NetworkNote",
    "PeeringCosts",
    "PeeringSession",
    "Policy",
    "Prefix",
    "RiskGroup",
    "RouteScope",
    "Routing",
    "Rule",
    "SourceSettings",
    "Tier",
    "bits_per_second",
    "canonical_address",
    "seconds",
]  # fmt: skip

OBSERVED_CONES, RECURSIVE_CONES = "observed", "recursive"
CONES_WORDS = (OBSERVED_CONES, RECURSIVE_CONES)
"""The words in the place of a file of customer cones: those seen on our own routes, and all that
can be reached over customer links, an upper bound."""

_EVER = datetime.min.replace(tzinfo=UTC)


class Configuration(Section):
    """The whole file. `source` is where it was read from; paths in it are relative to there."""

    network: NetworkIdentity
    lake: LakeSettings
    collector: CollectorSettings = CollectorSettings()
    sources: SourceSettings = SourceSettings()
    metros: tuple[Metro, ...] = ()
    exporters: tuple[Exporter, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    rules: tuple[Rule, ...] = ()
    contracts: tuple[Contract, ...] = ()
    sessions: tuple[PeeringSession, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    peering_costs: PeeringCosts = PeeringCosts()
    networks: tuple[NetworkNote, ...] = ()
    policy: Policy = Policy()
    fx: tuple[ExchangeRate, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    routing: Routing = Routing()
    announcements: tuple[Announcement, ...] = ()
    risk_groups: tuple[RiskGroup, ...] = ()
    source: Path = Field(default=Path("flowpeer.toml"), exclude=True)
    classified: Classified = Field(default_factory=Classified, exclude=True)
    """What the rules made of the interfaces that are listed without a role."""

    @property
    def lake_path(self) -> Path:
        """Folder of the lake; of one on an object store, what this machine keeps of it."""
        lake = self.lake
        root = mirror.lake_folder(lake.path, self.source.parent, lake.cache)
        if mirror.is_address(lake.path):
            mirror.limit(root, lake.cache_size, lake.grace)
        return root

    @property
    def spool_path(self) -> Path:
        """Folder of the collector's spool: `[collector] spool`, else `spool` in the lake; where
        that is on an object store, beside the configuration."""
        if self.collector.spool is None:
            remote = mirror.is_address(self.lake.path)
            return (self.source.parent if remote else self.lake_path) / "spool"
        return self.source.parent / self.collector.spool

    @property
    def own_prefixes(self) -> tuple[str, ...]:
        """`[network] prefixes`, and those of `[[announcements]]` that are not among them."""
        announced = (str(a.prefix) for a in self.announcements)
        return tuple(dict.fromkeys((*map(str, self.network.prefixes), *announced)))

    def source_path(self, name: str) -> Path | None:
        """The file or folder of one `[sources]` key, None where it is not set."""
        value: str | None = getattr(self.sources, name)
        if value is None or (name == "as_cones" and value in CONES_WORDS):
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
        """Interfaces by (exporter id, ifIndex), each as its last section in time has it."""
        ordered = sorted(self.interfaces, key=lambda i: i.from_ or _EVER)
        return {(i.exporter, i.index): i for i in ordered}

    @cached_property
    def interface_changes(self) -> list[datetime]:
        """When the section of an interface begins or ends to hold, ascending."""
        return sorted({t for i in self.interfaces for t in (i.from_, i.until) if t is not None})

    @cached_property
    def interfaces_by_era(self) -> dict[int, dict[tuple[str, int], Interface]]:
        """Number of changes before → what `interfaces_at` gives then; filled as it is asked for."""
        return {}

    def interfaces_at(self, moment: datetime) -> dict[tuple[str, int], Interface]:
        """Interfaces by (exporter id, ifIndex), as they are at a time: `from` ≤ it < `until`.

        An object for each stretch without a change.
        """
        era = bisect_right(self.interface_changes, moment)
        if era not in self.interfaces_by_era:
            self.interfaces_by_era[era] = {
                (i.exporter, i.index): i
                for i in self.interfaces
                if (i.from_ is None or i.from_ <= moment) and (i.until is None or moment < i.until)
            }
        return self.interfaces_by_era[era]

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
                    "valid_from": e.from_,
                    "valid_until": e.until,
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
                    "valid_from": i.from_,
                    "valid_until": i.until,
                    "neighbours": " ".join(map(str, i.neighbours)) or None,
                }
                for i in self.interfaces
            ],
            "contracts": [
                {
                    "contract": c.id,
                    "commit_bps": c.commit,
                    **c.model_dump(
                        include={"provider", "billing", "tier_mode", "aggregate", "starts", "ends"}
                    ),
                    **{
                        key: None if (price := getattr(c, key)) is None else float(price)
                        for key in (
                            "price_per_mbps",
                            "overage_per_mbps",
                            "renewal_price_per_mbps",
                            "fixed_per_month",
                        )
                    },
                    "currency": c.currency or self.network.currency,
                    "timezone": c.timezone or self.network.timezone,
                }
                for c in self.contracts
            ],
            "sessions": [s.model_dump(include={"asn", "metro", "kind"}) for s in self.sessions],
        }
        return {
            name: pa.Table.from_pylist(rows[name], arrow_schema(columns))
            for name, columns in schema.CONFIGURED.items()
        }
