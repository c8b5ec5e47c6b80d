"""What an hour is rolled up from: flow files and their facts, routes, rates, configuration.

The fingerprint of an hour is the digest of everything its rows follow from: the flow files that
reach into it, the RIB snapshots in force, rates announced late, the resolved configuration of the
exporters and interfaces seen in it, and the metering chosen for each interface from what was seen
during that UTC day, and what is folded. Prices, contracts and sessions are not part of it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any

import polars as pl

from flowpeer.errors import UsageError
from flowpeer.lake.compact import units
from flowpeer.lake.ledger import Ledger
from flowpeer.lake.store import Lake, partition_hour
from flowpeer.network import Network
from flowpeer.rollup.attribute import Attributor, LateRates, RateRow
from flowpeer.rollup.tail import Tail
from flowpeer.routing import match, snapshot
from flowpeer_ingest.flows import NEWEST_US, OLDEST_US

METHOD = 2
"""Raised when the same inputs give other rows than before: every hour is then redone."""

HOUR = timedelta(hours=1)
TABLES_KEPT = 16
"""Compiled views kept for the next hour; joined ones are copies of some 50 MB."""


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def parse_hour(hour: str) -> datetime:
    """`2026-09-16T07` of the ledger as a time."""
    return datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)


def received_between(
    start: datetime | None, end: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """First and last moment of receipt of records that may have a part in [start, end): M3 lets a
    record begin a day before it was received, and end some minutes after. None: no bound."""
    return (
        start - timedelta(microseconds=NEWEST_US) if start else None,
        end + timedelta(microseconds=OLDEST_US) if end else None,
    )


class Inputs:
    """The inputs of one lake with one configuration; reads each ledger document once.

    Args:
        ledger: of the lake, where the command has one already.
        period: only hours that overlap [start, end) are asked for. Whole days of receipt are read
            then, for metering is chosen by the day.
    """

    def __init__(
        self,
        lake: Lake,
        network: Network,
        *,
        ledger: Ledger | None = None,
        period: tuple[datetime | None, datetime | None] = (None, None),
    ) -> None:
        self.lake = lake
        self.network = network
        self.ledger = ledger or Ledger(lake)
        self.period = period
        first, last = received_between(*period)
        pruned = self.ledger.entries("pruned/flows", first=first, last=last)
        gone = {name.removeprefix("pruned/"): entry for name, entry in pruned.items()}
        self.pruned = gone
        """Documents of the flow files that were pruned."""
        self._damaged: list[str] = []
        flows = self.ledger.entries("flows", first=first, last=last, damaged=self._damaged)
        self.files = {f: e for f, e in flows.items() if f not in gone}
        """Documents of the flow files that are there."""
        placed = units(self.files)
        self._gone = {name: unit for name, (_, unit) in units(gone).items()}
        self._flows = {name: unit for name, (_, unit) in placed.items() if name not in self._gone}
        self._file_of = {name: file for name, (file, _) in placed.items()}
        self._tables: dict[tuple[str, ...], match.RouteTable] = {}
        self._attributors: dict[str, Attributor] = {}
        self._late: dict[str, dict[str, LateRates]] = {}

    @cached_property
    def snapshots(self) -> list[snapshot.SnapshotInfo]:
        """Snapshots of the lake, oldest first."""
        return snapshot.snapshots(self.ledger)

    @cached_property
    def _files_by_hour(self) -> dict[datetime, list[str]]:
        by_hour: dict[datetime, list[str]] = {}
        for relative, entry in self._flows.items():
            for hour in entry["hours"]:
                by_hour.setdefault(parse_hour(hour), []).append(relative)
        return by_hour

    @property
    def _tail(self) -> Tail | None:
        """What is folded of an hour; None: nothing."""
        settings = self.network.lake
        if settings.fold_share is None:
            return None
        return Tail(settings.fold_share, settings.fold_below)

    @cached_property
    def _own(self) -> match.RouteTable:
        prefixes = [str(p) for p in self.network.network.prefixes]
        return match.RouteTable.from_routes(prefixes, [self.network.network.asn] * len(prefixes))

    @cached_property
    def _neighbours(self) -> tuple[str, match.RouteTable | None]:
        """Exchange port addresses as host routes whose origin is the member, and their digest."""
        relative = "reference/peeringdb_netixlan.parquet"
        if self.ledger.entry(relative) is None:
            return "", None
        ours = {e.id for m in self.network.metros for e in m.exchanges}
        ports = (
            pl.scan_parquet(self.lake.path(relative))
            .filter(pl.col("ix_id").is_in(list(ours)))
            .select("asn", pl.concat_list("ipaddr4", "ipaddr6").alias("address"))
            .explode("address", empty_as_null=True)
            .drop_nulls()
            .unique("address", keep="first", maintain_order=True)
            .sort("address")
            .collect()
        )
        members: dict[str, int] = {}
        for text, asn in ports.select("address", "asn").iter_rows():
            try:
                address = ipaddress.ip_address(text.strip())
            except ValueError:
                continue  # anyone can write anything there; such a port is nobody's next hop
            members.setdefault(f"{address}/{address.max_prefixlen}", asn)
        if not members:
            return "", None
        hosts, asns = list(members), list(members.values())
        return _digest([hosts, asns]), match.RouteTable.from_routes(hosts, asns)

    @cached_property
    def _sampling(self) -> dict[str, list[RateRow]]:
        """Rates from options data, by exporter address."""
        of = ["exporter_ip", "observation_domain", "sampler_id", "interface"]

        def changes(names: list[str]) -> pl.DataFrame:
            if not names:
                return pl.DataFrame()
            files = [self.lake.path(name) for name in names]
            return (
                pl.scan_parquet(files, glob=False, hive_partitioning=False)
                .select(*of, "interval", "first_seen")
                .sort(*of, "first_seen", "interval")
                # Routers repeat themselves every few minutes; what counts is a change.
                .filter(pl.col("interval").ne_missing(pl.col("interval").shift().over(of)))
                .collect()
            )

        rows: dict[str, list[RateRow]] = {}
        said = self.ledger.read("sampling", changes)
        for ip, domain, sampler, interface, interval, first_seen in said.iter_rows():
            key = (domain, sampler, interface)
            rows.setdefault(ip, []).append(RateRow(key, interval, first_seen))
        return rows

    def _attributor(self, file: str) -> Attributor:
        """M1 for the records of one flow file: its choices hang on the day it was received in, so
        that all parts of a record are counted alike, whichever hours they fall into."""
        return self.metering(f"{partition_hour(file):%Y-%m-%d}")

    def metering(self, day: str) -> Attributor:
        """M1's choices for one UTC day (`YYYY-MM-DD`), from what the ledger says was seen in it."""
        if day not in self._attributors:
            by_ip: dict[str, dict[str, int]] = {}
            for entry in self._by_day.get(day, ()):
                for ip, interfaces in entry["seen"].items():
                    of_ip = by_ip.setdefault(ip, {})
                    for index, bits in interfaces.items():
                        of_ip[index] = of_ip.get(index, 0) | bits
            seen: dict[str, dict[int, int]] = {}
            for ip, of_ip in by_ip.items():
                configured = self.network.exporter_by_address.get(ip)
                of_exporter = seen.setdefault(configured.id if configured else ip, {})
                for index, bits in of_ip.items():
                    of_exporter[int(index)] = of_exporter.get(int(index), 0) | bits
            self._attributors[day] = Attributor(self.network, seen)
        return self._attributors[day]

    @cached_property
    def _by_day(self) -> dict[str, list[dict[str, Any]]]:
        """Documents of units by the UTC day they were received in, those that are gone too."""
        found: dict[str, list[dict[str, Any]]] = {}
        for units_ in (self._flows, self._gone):
            for name, entry in units_.items():
                found.setdefault(f"{partition_hour(name):%Y-%m-%d}", []).append(entry)
        return found

    def _late_rates(self, file: str) -> dict[str, LateRates]:
        """Rates for the exporters that left theirs unsaid in one flow file.

        They hang on the hour that the file was received in, so that all parts of a record are
        scaled alike, whichever hours they fall into.
        """
        if file not in self._late:
            until = partition_hour(file) + HOUR
            self._late[file] = {
                ip: LateRates(self._sampling[ip], until)
                for ip in sorted((self._flows.get(file) or self.files[file])["unrated"])
                if ip in self._sampling and not self._override(ip)
            }
        return self._late[file]

    def _override(self, exporter_ip: str) -> int:
        configured = self.network.exporter_by_address.get(exporter_ip)
        return (configured.sampling_override if configured else None) or 0

    def rate(
        self,
        file: str,
        exporter_ip: str,
        domain: int,
        sampler: int | None,
        said: int | None,
        input_if: int,
        output_if: int,
    ) -> int:
        """The N of a record of `file` (M2); 0 where nobody says it."""
        configured = self.network.exporter_by_address.get(exporter_ip)
        late = self._late_rates(file).get(exporter_ip)
        return (
            self._override(exporter_ip)
            or said
            or (late.rate(domain, sampler, input_if, output_if) if late else 0)
            or (configured.sampling if configured else None)
            or 0
        )

    def _views(
        self, hour: datetime, exporter: str, metro: str
    ) -> tuple[snapshot.SnapshotInfo | None, ...]:
        """The snapshots in force for IPv4 and for IPv6: tables of the two often come apart."""
        return tuple(
            snapshot.in_force(self.snapshots, hour, exporter=exporter, metro=metro, family=family)
            for family in (4, 6)
        )

    def in_force(self, hour: datetime) -> set[str]:
        """Names of the snapshots that an hour is rolled up with."""
        return {
            info.name
            for place in (("", ""), *((e.id, e.metro) for e in self.network.exporters))
            for info in self._views(hour, *place)
            if info is not None
        }

    def in_force_for_flows(self) -> set[str]:
        """Names of the snapshots of all hours that flow records reach into, or may: what a file
        with a damaged document holds began at most a day before it was received (M3)."""
        hours = set(self._files_by_hour)
        for file in self._damaged:
            hours.update(partition_hour(file) - back * HOUR for back in range(25))
        return {name for hour in hours for name in self.in_force(hour)}

    def _parts(self, hour: datetime, files: Sequence[str]) -> dict[str, str]:
        by_day: dict[str, dict[str, set[str]]] = {}
        for name in files:
            of_day = by_day.setdefault(f"{partition_hour(name):%Y-%m-%d}", {})
            for ip, interfaces in self._flows[name]["seen"].items():
                of_day.setdefault(ip, set()).update(interfaces)
        seen: dict[str, set[int]] = {}
        metering: set[tuple[str, str, int, str, str]] = set()
        for day, of_day in by_day.items():
            attributor = self.metering(day)
            for ip, texts in of_day.items():
                indexes = {int(index) for index in texts}
                seen.setdefault(ip, set()).update(indexes)
                exporter, _ = attributor.exporter(ip)
                metering.update(
                    (day, exporter, index,
                     attributor.counts(exporter, index, inbound=True),
                     attributor.counts(exporter, index, inbound=False))
                    for index in indexes
                    if (exporter, index) in self.network.interface_by_key
                )  # fmt: skip
        exporters, interfaces_, views = [], [], []
        uses_exchange = False
        for ip, indexes in sorted(seen.items()):
            exporter, metro = attributor.exporter(ip)
            configured = self.network.exporter_by_address.get(ip)
            rates = (configured.sampling, configured.sampling_override) if configured else None
            exporters.append([ip, exporter, metro, rates])
            in_force = self._views(hour, exporter, metro)
            views.append([exporter, *(view.digest if view else None for view in in_force)])
            for index in sorted(indexes):
                interface = self.network.interface_by_key.get((exporter, index))
                if interface is not None:
                    interfaces_.append([exporter, index, interface.role, interface.asn])
                    uses_exchange |= interface.role == "ix"
        identity = self.network.network
        return {
            "method": str(METHOD),
            "flows": _digest([[f, self._flows[f]["sha256"]] for f in sorted(files)]),
            "routes": _digest(views),
            "sampling": _digest(
                [
                    [ip, late.items()]
                    for file in sorted(files)
                    for ip, late in self._late_rates(file).items()
                ]
            ),
            "exporters": _digest(exporters),
            "interfaces": _digest(interfaces_),
            "metering": _digest(sorted(metering)),
            "prefixes": _digest([identity.asn, sorted(str(p) for p in identity.prefixes)]),
            "exchanges": self._neighbours[0] if uses_exchange else "",
            "fold": _digest([tail.share, tail.below_bps]) if (tail := self._tail) else "",
        }

    def _vantages_exist(self) -> None:
        """Every snapshot tied to a place is tied to a configured one, or it would match nothing."""
        known = {"", *(e.id for e in self.network.exporters), *(m.id for m in self.network.metros)}
        strange = sorted({info.vantage for info in self.snapshots} - known)
        if strange and not known & {info.vantage for info in self.snapshots}:
            raise UsageError(
                f"routes are loaded for {', '.join(strange)} only: no exporter and no metro",
                advice="load them again with `flowpeer rib load FILE`, or the right --vantage",
            )

    def _routes(self, hour: datetime) -> Callable[[str, str], match.RouteTable]:
        configured = {e.id for e in self.network.exporters}

        def view(exporter: str, metro: str) -> match.RouteTable:
            place = (exporter, metro) if exporter in configured else ("", "")
            four, six = self._views(hour, *place)
            key = tuple(info.digest if info else "" for info in (four, six))
            if key not in self._tables:
                tables = [
                    match.open_table(self.lake, info)
                    if info
                    else match.RouteTable.from_routes([], [])
                    for info in ((four,) if four == six else (four, six))
                ]
                self._tables[key] = match.joined(*tables) if len(tables) == 2 else tables[0]
            return self._tables[key]

        return view
