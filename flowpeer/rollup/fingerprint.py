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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from flowpeer.errors import UsageError
from flowpeer.lake.manifest import (
    File,
    Header,
    Reach,
    parse_hour,
    partition_hour,
    received_between,
)
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration, Interface
from flowpeer.rollup import rates
from flowpeer.rollup.attribute import Attributor, both_ways
from flowpeer.rollup.codes import Macs
from flowpeer.rollup.duplicates import Duplicates
from flowpeer.rollup.folding import Tail
from flowpeer.rollup.rates import Announcements, Sampled
from flowpeer.rollup.reading import Ints
from flowpeer.rollup.slots import LARGEST_PACKET
from flowpeer.routing.rib import match, snapshot
from flowpeer_core.sampling_rates import Rate
from flowpeer_core.slots import HOUR_US

if TYPE_CHECKING:
    from flowpeer.rollup.packed_rates import PackedRates

METHOD = 6
"""Raised when the same inputs give other rows than before: every hour is then redone."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TABLES_KEPT = 16
"""Compiled views kept for the next hour; joined ones are copies of some 50 MB."""


Seen = tuple[tuple[str, tuple[int, ...]], ...]
Interfaces = Mapping[tuple[str, int], Interface]
"""Exporter addresses and the interfaces seen of each, in order."""


def _seen(reach: Reach) -> Seen:
    return tuple(sorted(reach.seen.items()))


def _joined(some: Sequence[Seen]) -> Seen:
    if len(set(some)) == 1:
        return some[0]
    found: dict[str, set[int]] = {}
    for ip, indexes in (item for seen in some for item in seen):
        found.setdefault(ip, set()).update(indexes)
    return tuple((ip, tuple(sorted(found[ip]))) for ip in sorted(found))


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class RollupInputs:
    """The inputs of one lake with one configuration.

    Args:
        record: of the lake, where the command has one already.
        period: only hours that overlap [start, end) are asked for. Whole days of receipt are read
            then, for metering is chosen by the day.
        threads: of each hour; by default as many as there are cores.
        tables: compiled routes that were opened already, by digests; more are added.
    """

    def __init__(
        self,
        lake: Lake,
        network: Configuration,
        *,
        record: Record | None = None,
        period: tuple[datetime | None, datetime | None] = (None, None),
        threads: int | None = None,
        tables: dict[tuple[str, ...], match.RouteTable] | None = None,
    ) -> None:
        self.lake = lake
        self.network = network
        self.record = record or lake.record()
        self.period = period
        first, last = received_between(*period)
        self._span = (
            first and first.replace(hour=0, minute=0, second=0, microsecond=0),
            last and (last + DAY).replace(hour=0, minute=0, second=0, microsecond=0),
        )
        self._damaged: list[datetime] = []
        """Hours of receipt whose manifest is damaged."""
        self._headers: dict[datetime, Header] = self.record.headers(
            "flows", start=self._span[0], end=self._span[1], damaged=self._damaged
        )
        self._threads = threads
        self._tables = {} if tables is None else tables
        self._attributors: dict[str, Attributor] = {}
        self._attributors_at: dict[tuple[str, int], Attributor] = {}
        self._moments: dict[str, Ints] = {}
        self._exporters: dict[Seen, tuple[tuple[str, str], ...]] = {}
        self._configurations: dict[tuple[int, Seen], tuple[str, str, bool]] = {}
        self._meterings: dict[tuple[int, tuple[tuple[str, Seen], ...]], str] = {}

    def _manifest_files(self) -> list[File]:
        return [f for hour in self._headers for f in self.record.manifest("flows", hour).files]

    @cached_property
    def files(self) -> dict[str, File]:
        """The flow files that are there, by path."""
        return {f.path: f for f in self._manifest_files() if f.pruned is None}

    @cached_property
    def pruned(self) -> dict[str, File]:
        """The flow files that were pruned."""
        return {f.path: f for f in self._manifest_files() if f.pruned is not None}

    @cached_property
    def duplicates(self) -> Duplicates:
        """Records of datagrams that several units hold."""
        return Duplicates(self.record, self._headers)

    @property
    def any_flows(self) -> bool:
        """Whether there are flows, or were."""
        return bool(self._headers or self._damaged)

    @cached_property
    def snapshots(self) -> list[snapshot.SnapshotInfo]:
        """Snapshots of the lake, oldest first."""
        return snapshot.snapshots(self.record)

    @cached_property
    def _in_force(self) -> snapshot.InForce:
        return snapshot.InForce(self.snapshots)

    @cached_property
    def _reaching(self) -> dict[datetime, list[tuple[datetime, Reach]]]:
        """By hour: the hours of receipt whose records reach into it, oldest first."""
        found: dict[datetime, list[tuple[datetime, Reach]]] = {}
        for received, header in self._headers.items():
            for reached, reach in header.reach.items():
                found.setdefault(parse_hour(reached), []).append((received, reach))
        return found

    @property
    def _tail(self) -> Tail | None:
        """What is folded of an hour; None: nothing."""
        settings = self.network.lake
        if settings.fold_share is None:
            return None
        return Tail(settings.fold_share, settings.fold_below)

    @cached_property
    def _own(self) -> match.RouteTable:
        prefixes = list(self.network.own_prefixes)
        return match.RouteTable.from_routes(prefixes, [self.network.network.asn] * len(prefixes))

    @cached_property
    def _neighbours(self) -> tuple[str, match.RouteTable | None]:
        """Exchange port addresses as host routes whose origin is the member, and their digest."""
        relative = "reference/peeringdb_netixlan.parquet"
        if relative not in self._reference:
            return "", None
        import polars as pl

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
    def _reference(self) -> dict[str, File]:
        return self.record.single("reference")

    @cached_property
    def _macs(self) -> Macs | None:
        """MAC addresses of the ports of our exchanges, from their own exports; one that several
        members have is nobody's."""
        relative = "reference/ixf_ports.parquet"
        if relative not in self._reference:
            return None
        import polars as pl

        ports = pl.scan_parquet(self.lake.path(relative))
        if "macs" not in ports.collect_schema():
            return None  # of an older flowpeer
        ours = {e.id for m in self.network.metros for e in m.exchanges}
        found = (
            ports.filter(pl.col("ix_id").is_in(list(ours)))
            .select("asn", mac=pl.col("macs").str.split(" "))
            .explode("mac", empty_as_null=True)
            .drop_nulls()
            .select("asn", mac=pl.col("mac").str.replace_all(":", "").str.to_integer(base=16))
            .group_by("mac")
            .agg(pl.col("asn").min(), members=pl.col("asn").n_unique())
            .filter(pl.col("members") == 1)
            .sort("mac")
            .collect()
        )
        if found.is_empty():
            return None
        return Macs(found["mac"].to_numpy(), found["asn"].to_numpy())

    @cached_property
    def _exchanges(self) -> str:
        """Digest of what is known of ports of our exchanges."""
        macs = self._macs
        if macs is None:
            return self._neighbours[0]
        return _digest([self._neighbours[0], macs.numbers.tolist(), macs.members.tolist()])

    @cached_property
    def _announcements(self) -> PackedRates:
        from flowpeer.rollup.packed_rates import PackedRates  # and Polars

        return PackedRates(self.record)

    @cached_property
    def _announced(self) -> Announcements:
        """Rates from options data."""
        if not self.record.marks("sampling"):
            return Announcements(())
        return Announcements(self._announcements.changes().iter_rows())

    def pack(self) -> None:
        """Keep what was read of the record so that the next command opens less."""
        if "_announcements" in self.__dict__:
            self._announcements.pack()
        self.record.pack()

    def _attributor(self, hour: datetime, file: str) -> Attributor:
        """M1 for what the records of one flow file hold of an hour: its choices hang on the day it
        was received in, so that all parts of a record are counted alike, whichever hours they fall
        into; roles and neighbours are those of interfaces when the hour begins."""
        day, interfaces = f"{partition_hour(file):%Y-%m-%d}", self.network.interfaces_at(hour)
        key = day, id(interfaces)
        if key not in self._attributors_at:
            self._attributors_at[key] = replace(
                self.metering(day), interfaces=interfaces, _memory={}
            )
        return self._attributors_at[key]

    def metering(self, day: str) -> Attributor:
        """M1's choices for one UTC day (`YYYY-MM-DD`), from what the record says was seen in it."""
        if day not in self._attributors:
            seen: dict[str, dict[int, int]] = {}
            for hour in self._by_day.get(day, ()):
                for ip, interfaces in self._headers[hour].metering.items():
                    configured = self.network.exporter_by_address.get(ip)
                    of_exporter = seen.setdefault(configured.id if configured else ip, {})
                    for index, bits in interfaces.items():
                        of_exporter[index] = of_exporter.get(index, 0) | bits
            octets: dict[str, dict[int, tuple[int, int, int, int]]] = {}
            if any(both_ways(bits) for of in seen.values() for bits in of.values()):
                for hour in self._by_day[day]:
                    for ip, ways in self.record.octets("flows", hour).items():
                        self._add_octets(octets, ip, ways)
            self._attributors[day] = Attributor(
                self.network, seen, octets, self.network.interface_by_key
            )
        return self._attributors[day]

    def _add_octets(
        self,
        octets: dict[str, dict[int, tuple[int, int, int, int]]],
        ip: str,
        ways: Mapping[int, tuple[int, ...]],
    ) -> None:
        """Add an exporter's bytes by way: those scaled by the rate that the record states, and the
        others by the configured one, else at face value."""
        configured = self.network.exporter_by_address.get(ip)
        rate = 1
        if configured is not None:
            rate = configured.sampling_override or configured.sampling or 1
        of_exporter = octets.setdefault(configured.id if configured else ip, {})
        for index, found in ways.items():
            if len(found) < 8:
                continue
            before = of_exporter.get(index, (0, 0, 0, 0))
            a, b, c, d = (x + found[n] + rate * found[n + 4] for n, x in enumerate(before))
            of_exporter[index] = (a, b, c, d)

    @cached_property
    def _by_day(self) -> dict[str, list[datetime]]:
        """Hours of receipt by UTC day."""
        found: dict[str, list[datetime]] = {}
        for hour in self._headers:
            found.setdefault(f"{hour:%Y-%m-%d}", []).append(hour)
        return found

    @property
    def rational_rates(self) -> bool:
        """Was a rate announced that is not a whole number?"""
        return self._announced.rational

    def moments(self, file: str) -> Ints:
        """When a rate of the file's exporters changes during its hour of receipt, in µs."""
        if file not in self._moments:
            begin_us = rates.microseconds(partition_hour(file))
            header = self._headers.get(partition_hour(file))  # none of an hour's first file
            seen = header.metering if header is not None else {}
            found = self._announced.moments(seen, begin_us, begin_us + HOUR_US)
            self._moments[file] = np.array(found, np.int64)
        return self._moments[file]

    def _override(self, exporter_ip: str) -> int:
        configured = self.network.exporter_by_address.get(exporter_ip)
        return (configured.sampling_override if configured else None) or 0

    def rate(self, file: str, record: Sampled) -> Rate | None:
        """The rate of a record of `file` (M2); None where nobody says it. Its time may be left out
        where no rate changes between the begin of the hour of receipt and it."""
        configured = self.network.exporter_by_address.get(record.exporter_ip)
        if configured is not None and configured.sampling_override:
            return configured.sampling_override, 1
        if record.own is not None:
            return record.own
        begin_us = rates.microseconds(partition_hour(file))
        found = self._announced.rate(replace(record, at_us=max(record.at_us, begin_us)))
        if found is None and configured is not None and configured.sampling:
            return configured.sampling, 1
        return found

    def _views(
        self, hour: datetime, exporter: str, metro: str
    ) -> tuple[snapshot.SnapshotInfo | None, ...]:
        """The snapshots in force for IPv4 and for IPv6: tables of the two often come apart."""
        return tuple(
            self._in_force.at(hour, exporter=exporter, metro=metro, family=family)
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
        of an hour with a damaged manifest began at most a day before it was received (M3)."""
        hours = set(self._reaching)
        for received in self._damaged:
            hours.update(received - back * HOUR for back in range(25))
        return {name for hour in hours for name in self.in_force(hour)}

    def _parts(self, hour: datetime, received: Sequence[tuple[datetime, Reach]]) -> dict[str, str]:
        seen = _joined([_seen(reach) for _, reach in received])
        views = []
        for exporter, metro in self._places(seen):
            four, six = self._views(hour, exporter, metro)
            views.append([exporter, four and four.digest, six and six.digest])
        days = tuple(sorted({(f"{when:%Y-%m-%d}", _seen(reach)) for when, reach in received}))
        known = self.network.interfaces_at(hour)
        exporters, interfaces_, uses_exchange = self._configured(seen, known)
        identity = self.network.network
        return {
            "method": str(METHOD),
            "flows": _digest([[f"{when:%Y-%m-%dT%H}", reach.digest] for when, reach in received]),
            "duplicates": self.duplicates.fingerprint([when for when, _ in received]),
            "routes": _digest(views),
            "sampling": _digest(self._rates_in_force(received)),
            "exporters": exporters,
            "interfaces": interfaces_,
            "metering": self._metered(days, known),
            "prefixes": _digest([identity.asn, sorted(self.network.own_prefixes)]),
            "exchanges": self._exchanges if uses_exchange else "",
            "fold": _digest([tail.share, tail.below_bps]) if (tail := self._tail) else "",
        }

    def _basis(self, hour: datetime) -> str:
        """See `HourContext.basis`: views by the order in which their routes are numbered."""
        network = self.network.network
        views = (
            tuple(info and info.digest for info in self._views(hour, exporter, metro))
            for exporter, metro in (("", ""), *((e.id, e.metro) for e in self.network.exporters))
        )
        return _digest(
            [METHOD, [*dict.fromkeys(views)], network.asn, sorted(self.network.own_prefixes),
             self._exchanges]
        )  # fmt: skip

    def _places(self, seen: Seen) -> tuple[tuple[str, str], ...]:
        """(id, metro) of each exporter."""
        if seen not in self._exporters:
            named = Attributor(self.network, {}).exporter
            self._exporters[seen] = tuple(named(ip) for ip, _ in seen)
        return self._exporters[seen]

    def _configured(self, seen: Seen, known: Interfaces) -> tuple[str, str, bool]:
        """Digests of the exporters and of the interfaces as they are configured, and whether one
        is at an exchange. From hour to hour the same ones are seen, so that it is made once."""
        key = id(known), seen
        if key not in self._configurations:
            exporters: list[list[object]] = []
            interfaces_: list[list[object]] = []
            uses_exchange = False
            for (ip, indexes), (exporter, metro) in zip(seen, self._places(seen), strict=True):
                configured = self.network.exporter_by_address.get(ip)
                rates = (configured.sampling, configured.sampling_override) if configured else None
                exporters.append([ip, exporter, metro, rates])
                if configured is not None and configured.mtu != LARGEST_PACKET:
                    exporters[-1].append(configured.mtu)
                for index in indexes:
                    interface = known.get((exporter, index))
                    if interface is not None:
                        interfaces_.append([exporter, index, interface.role, interface.asn])
                        uses_exchange |= interface.role == "ix"
            self._configurations[key] = _digest(exporters), _digest(interfaces_), uses_exchange
        return self._configurations[key]

    def _metered(self, days: tuple[tuple[str, Seen], ...], known: Interfaces) -> str:
        """Digest of M1's choices for what was seen, by day of receipt; made once likewise."""
        key = id(known), days
        if key not in self._meterings:
            self._meterings[key] = _digest(sorted({
                (day, exporter, index,
                 attributor.counts(exporter, index, inbound=True),
                 attributor.counts(exporter, index, inbound=False))
                for day, seen in days
                for attributor in [self.metering(day)]
                for ip, indexes in seen
                for exporter in [attributor.exporter(ip)[0]]
                for index in indexes
                if (exporter, index) in known
            }))  # fmt: skip
        return self._meterings[key]

    def _rates_in_force(self, received: Sequence[tuple[datetime, Reach]]) -> list[object]:
        """What was announced that may decide the rates of records received in these hours."""
        in_force: list[object] = []
        for when, reach in received:
            begin_us = rates.microseconds(when)
            in_force += [
                [begin_us, ip, self._announced.in_force(ip, begin_us, begin_us + HOUR_US)]
                for ip in reach.unrated
                if ip in self._announced and not self._override(ip)
            ]
        return in_force

    def _vantages_exist(self) -> None:
        """Every snapshot tied to a place is tied to a configured one, or it would match nothing."""
        known = {"", *(e.id for e in self.network.exporters), *(m.id for m in self.network.metros)}
        unknown = sorted({info.vantage for info in self.snapshots} - known)
        if unknown and not known & {info.vantage for info in self.snapshots}:
            raise UsageError(
                f"routes are loaded for {', '.join(unknown)} only: no exporter and no metro",
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
