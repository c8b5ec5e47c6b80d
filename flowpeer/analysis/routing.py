"""Which links have a route to a prefix: the views in force, tied to interfaces (METHODS M12).

A view belongs to a link if its peer is a configured neighbour of the interface; without configured
neighbours, if its peer's ASN is the interface's, or if its peer has an address on the exchange that
an interface is for. The exporter's own snapshot goes before its metro's, that before the
network-wide one. A router's own table (a view of the exporter, or of a peer with our ASN and the
exporter's address) shows routes by their neighbour too, but only the best ones.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from flowpeer.analysis.carried import CarriedPrefixes
from flowpeer.analysis.stability import RouteHistory
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.routing.rib import snapshot
from flowpeer.routing.rib.snapshot import SnapshotInfo
from flowpeer_core.slots import HOUR
from flowpeer_reports.demand import Announced, Demand, demand
from flowpeer_reports.failover import FailoverCompiler
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.loads import EXTERNAL, KEY, Loads, loads
from flowpeer_reports.offers import OFFERS, ORIGIN_RANK, SCOPES, Choice, LinkPlaces, Offers, places
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.tied import TiedTraffic, Ties

KEPT_ROWS = 500_000
"""Some 50 MB."""
Views = dict[str, pl.DataFrame]
"""View → its routes, as `LinkViews.read` has them."""
_Chosen = tuple[list[str], list[str]]
"""Views of a link's neighbours, tables of its own router."""


@dataclass(frozen=True)
class Exits:
    """Everything that exits, moves and drills are made from."""

    inputs: Inputs
    found: Loads
    offers: Offers
    choice: Choice
    epoch_of_hour: Ints
    announced: Announced
    risk_groups: dict[str, list[int]]
    unstable: frozenset[tuple[str, int]]
    """(prefix, link): path changed more than twice, or in fewer than half of the tables."""
    notes: list[str]
    prepended: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(prefix, link) → ASNs on the path that repeat the one before, where there are any."""
    moved: pl.DataFrame | None = None
    """link, prefix, origin_asn, to: outbound routes that leave by another link than they did."""
    _kept: dict[datetime, pl.DataFrame] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Days that were read, as many as KEPT_ROWS allow: each metro goes through all of them."""

    def parts(self) -> Iterator[pl.DataFrame]:
        """hour, link, direction, prefix, origin_asn, local_prefix, bytes: a frame a day."""
        number = self.found.links.select(KEY).with_row_index("link").lazy()
        first = _hour(self.inputs.period_start)
        frame = self.inputs.traffic_routes.filter(
            pl.col("role").is_in(EXTERNAL), pl.col("direction").is_in(["in", "out"]), "scaled"
        )
        day = first.replace(hour=0)
        while day < self.inputs.period_end:
            if day in self._kept:
                yield self._kept[day]
                day += timedelta(days=1)
                continue
            end = min(day + timedelta(days=1), self.inputs.period_end)
            mine = frame.filter(pl.col("hour_start") >= max(day, first), pl.col("hour_start") < end)
            if "date" in frame.collect_schema():  # of the files' folders: others are not opened
                mine = mine.filter(pl.col("date") == day.date())
            part = (
                mine.group_by("hour_start", *KEY, "direction", "prefix", "origin_asn",
                              "local_prefix")
                .agg(pl.col("bytes").sum())
                .join(number, on=KEY, nulls_equal=True)
                .select(
                    hour=(pl.col("hour_start") - first).dt.total_hours(),
                    link=pl.col("link").cast(pl.Int64),
                    direction="direction", prefix="prefix", origin_asn="origin_asn",
                    local_prefix="local_prefix", bytes="bytes",
                )
                .collect()
            )  # fmt: skip
            part = part if self.moved is None else _moved(part, self.moved)
            if part.height + sum(p.height for p in self._kept.values()) <= KEPT_ROWS:
                self._kept[day] = part
            yield part
            day += timedelta(days=1)

    def tied(self) -> TiedTraffic:
        """The same routes, and which exits tie with theirs."""
        ties = Ties(self.choice, self.offers)
        return TiedTraffic(
            self.parts, self.found, self.offers, ties, self.epoch_of_hour, self.unstable
        )

    def outbound(self) -> pl.DataFrame:
        """epoch, link, prefix, origin_asn, local_prefix, bytes: what the audit judges."""
        keys = ["epoch", "link", "prefix", "origin_asn", "local_prefix"]
        parts = [_by_epoch(part, self.epoch_of_hour, keys) for part in self.parts()]
        return pl.concat(parts).group_by(keys).agg(pl.col("bytes").sum())

    @cached_property
    def demand(self) -> Demand:
        """The hours' routes, numbered."""
        return demand(
            self.parts(), self.found, self.offers, self.epoch_of_hour, self.choice, self.announced
        )

    @cached_property
    def compiler(self) -> FailoverCompiler:
        """What drills are compiled from."""
        return self._compiler(self.demand)

    @cached_property
    def compiler_by_local(self) -> FailoverCompiler:
        """The same with own prefixes kept apart, for plans that withdraw them one by one."""
        return self._compiler(
            demand(
                self.parts(), self.found, self.offers, self.epoch_of_hour, self.choice,
                self.announced, by_local=True,
            )
        )  # fmt: skip

    def _compiler(self, asked: Demand) -> FailoverCompiler:
        hours = self.found.hour_of_slot
        edges = np.flatnonzero(np.diff(hours, prepend=-1))
        hourly = np.zeros((self.found.links.height, len(self.epoch_of_hour)), dtype=np.int64)
        hourly[:, hours[edges]] = np.add.reduceat(self.found.into, edges, axis=1)
        return FailoverCompiler(self.found, self.choice, asked, self.announced, hourly)


def _moved(part: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """Outbound rows by the link that they leave by then."""
    going = moved.with_columns(direction=pl.lit("out"))
    return part.join(
        going, on=["link", "prefix", "origin_asn", "direction"], how="left", nulls_equal=True
    ).select(pl.coalesce("to", "link").alias("link"), pl.exclude("link", "to")).select(
        part.columns
    )  # fmt: skip


def _by_epoch(part: pl.DataFrame, epochs: Ints, keys: Sequence[str]) -> pl.DataFrame:
    out = part.filter(pl.col("direction") == "out")
    return (
        out.with_columns(epoch=pl.Series(epochs[out["hour"].to_numpy()], dtype=pl.Int64))
        .group_by(keys)
        .agg(pl.col("bytes").sum())
    )


def _hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def exits_of(inputs: Inputs, network: Configuration, record: Record) -> Exits:
    """Read the views of a period and tie them to the links."""
    more = pl.DataFrame(
        [
            {
                "exporter": i.exporter, "interface": i.index, "role": i.role, "asn": i.asn,
                "exchange": i.exchange,
                "facility": i.facility or _facility(network, i.exporter),
                "full_table": i.role == "transit" if i.full_table is None else i.full_table,
                "med": i.med,
            }
            for i in network.interfaces
        ],
        schema={"exporter": pl.String, "interface": pl.Int64, "role": pl.String, "asn": pl.Int64,
                "exchange": pl.Int64, "facility": pl.Int64, "full_table": pl.Boolean,
                "med": pl.Int64},
    ).unique(link := ["exporter", "interface", "role", "asn"], keep="last")  # fmt: skip
    described = [c for c in more.columns if c in inputs.interfaces.columns and c not in link]
    interfaces = inputs.interfaces.drop(described).join(
        more, on=link, how="left", nulls_equal=True, maintain_order="left"
    )
    inputs = replace(inputs, interfaces=interfaces)
    found = loads(inputs)
    where = places(found.links, inputs.metros)
    first = _hour(inputs.period_start)
    hours = [first + HOUR * i for i in range(-(-(inputs.period_end - first) // HOUR))]
    infos = snapshot.snapshots(record)
    tables, table_of_hour = epochs_of(network, infos, hours)
    absent = found.absent
    epochs, epoch_of_hour = _with_links(tables, table_of_hour, absent)
    link_views = LinkViews(network, inputs, found.links)
    used = (
        inputs.traffic_routes.filter(
            pl.col("role").is_in(EXTERNAL), pl.col("direction") == "out"
        ).select("prefix").drop_nulls().unique().collect()["prefix"]
    )  # fmt: skip
    loaded = np.zeros(found.links.height, dtype=np.bool_)
    offers, history = Offers(np.zeros(0, dtype=np.int64), loaded), RouteHistory()
    read: dict[str, Views] = {}
    carried, seen = CarriedPrefixes(used), set[tuple[str, ...]]()
    for epoch, away in epochs:
        read = link_views.read(record, epoch, carried, read)
        table = link_views.offers([(i, read[i.name]) for i in epoch], loaded, away)
        offers.learn(table)
        names = tuple(info.name for info in epoch)
        if names not in seen:
            seen.add(names)
            history.add(table)
    full = found.links["full_table"].fill_null(False).to_numpy() if found.links.height else loaded
    part = absent.any(axis=1)
    offers.assumed = np.flatnonzero(full & ~loaded & ~part).astype(np.int64)
    first_, rows = offers.table()
    scope = SCOPES.index(network.routing.default_scope)
    choice = Choice(where, first_, rows, offers.assumed,
                    network.routing.always_compare_med, scope)  # fmt: skip
    risk = risk_groups(network, found.links)
    notes = [] if infos else ["no routes are loaded: every alternate is an assumption"]
    notes += [
        f"{row['exporter']}:{row['interface']}: not there all of the period, and no view of it is "
        "loaded: nothing is assumed to leave by it"
        for row in found.links.filter(pl.Series(full & ~loaded & part)).iter_rows(named=True)
    ]
    return Exits(inputs, found, offers, choice, epoch_of_hour,
                 _announced(network, where, inputs), risk, history.unstable(), notes,
                 history.prepended())  # fmt: skip


def risk_groups(network: Configuration, links: pl.DataFrame) -> dict[str, list[int]]:
    """Risk group → its links, with every neighbour of a port of an exchange."""
    ports = links.select("exporter", "interface").rows()
    return {
        group.id: [
            n for n, (e, i) in enumerate(ports)
            if e in group.exporters or f"{e}:{i}" in group.interfaces
        ]
        for group in network.risk_groups
    }  # fmt: skip


def _facility(network: Configuration, exporter: str) -> int | None:
    return next((e.facility for e in network.exporters if e.id == exporter), None)


def epochs_of(
    network: Configuration, infos: Sequence[SnapshotInfo], hours: Sequence[datetime]
) -> tuple[list[list[SnapshotInfo]], Ints]:
    """The snapshots in force, by epoch, and the epoch of each hour."""
    vantages = {"", *(e.id for e in network.exporters), *(m.id for m in network.metros)}
    epochs: dict[tuple[str, ...], int] = {}
    found: list[list[SnapshotInfo]] = []
    numbers = []
    known: dict[int, int] = {}
    for hour in hours:
        taken = sum(info.taken_at <= hour for info in infos)
        if taken not in known:  # what is in force changes with a new snapshot alone
            chosen = {}
            for vantage in sorted(vantages):
                own = [info for info in infos if info.vantage == vantage]
                for family in (4, 6):
                    info = (
                        snapshot.in_force(own, hour, exporter=vantage, metro=vantage, family=family)
                        if own
                        else None
                    )
                    if info is not None:
                        chosen[info.name] = info
            key = tuple(sorted(chosen))
            if key not in epochs:
                epochs[key] = len(found)
                found.append([chosen[name] for name in key])
            known[taken] = epochs[key]
        numbers.append(known[taken])
    return found, np.array(numbers, dtype=np.int64)


def _with_links(
    tables: Sequence[list[SnapshotInfo]], table_of_hour: Ints, absent: Flags
) -> tuple[list[tuple[list[SnapshotInfo], frozenset[int]]], Ints]:
    """Epochs in which the same links are there, too: with those that are not, and the epoch of
    each hour. `absent`: links × hours."""
    epochs: dict[tuple[int, frozenset[int]], int] = {}
    numbers = [
        epochs.setdefault((int(table), frozenset(np.flatnonzero(away).tolist())), len(epochs))
        for table, away in zip(table_of_hour, absent.T, strict=True)
    ]
    return [(tables[n], away) for n, away in epochs], np.array(numbers, dtype=np.int64)


def routes_to(record: Record, info: SnapshotInfo, carried: CarriedPrefixes) -> pl.DataFrame:
    """Routes of a snapshot to the prefixes that carry traffic, and to those over them."""
    path = record.lake.path(f"routes/{info.name}.parquet")
    scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    names = scan.collect_schema().names()
    needed = carried.over(scan.select("prefix").unique().collect()["prefix"])
    frame = scan.join(needed.lazy(), on="prefix", how="semi").collect()
    if "origin_code" not in names:
        frame = frame.with_columns(origin_code=pl.lit(None, pl.String))
    path_text = pl.col("as_path").fill_null("")
    return frame.select(
        "prefix", "vantage", "local_pref", "med", "communities", "next_hop",
        path=path_text.hash(),
        first_as=path_text.str.extract(r"^(\d+)").cast(pl.Int64, strict=False),
        path_length=(
            path_text.str.count_matches(" ", literal=True)
            + (path_text.str.len_bytes() > 0).cast(pl.UInt32)
            - path_text.str.count_matches(r"[(\[]")
        ).cast(pl.Int32),
        prepends=(
            path_text.str.split(" ").list.len() - path_text.str.split(" ").list.n_unique()
        ).cast(pl.Int32),
        origin=pl.col("origin_code").replace_strict(ORIGIN_RANK, default=None,
                                                    return_dtype=pl.Int8),
    )  # fmt: skip


class LinkViews:
    """Which views belong to which links."""

    def __init__(self, network: Configuration, inputs: Inputs, links: pl.DataFrame) -> None:
        self.network = network
        self.links = links
        self.exporters = {e.id: e for e in network.exporters}
        self.interfaces = network.interface_by_key
        self.sections = {(i.exporter, i.index, i.asn): i for i in network.interfaces}
        ports = inputs.peeringdb.get("netixlan", pl.DataFrame())
        self.lan: dict[int, set[str]] = {}
        if {"ix_id", "ipaddr4", "ipaddr6"} <= set(ports.columns):
            for ix, *addresses in ports.select("ix_id", "ipaddr4", "ipaddr6").iter_rows():
                if ix is not None:
                    texts = (_address(a) for a in addresses)
                    self.lan.setdefault(ix, set()).update(t for t in texts if t)
        self.exchanges = dict(inputs.metros.select("metro", "exchanges").iter_rows())
        self.scopes = {s.community: SCOPES.index(s.scope) for s in network.routing.route_scope}
        self.default = SCOPES.index(network.routing.default_scope)
        self._rows = list(links.iter_rows(named=True))
        self._on_port: dict[tuple[str, int | None], set[int]] = {}
        for link in self._rows:
            if link["role"] == "ix" and link["provider_asn"] is not None:
                port = str(link["exporter"]), link["interface"]
                self._on_port.setdefault(port, set()).add(link["provider_asn"])
        self._chosen: dict[tuple[str, tuple[str, ...]], list[_Chosen]] = {}

    def read(
        self, record: Record, epoch: Sequence[SnapshotInfo], carried: CarriedPrefixes,
        known: Mapping[str, Views],
    ) -> dict[str, Views]:  # fmt: skip
        """Name of a snapshot → its routes to the prefixes that carry traffic, by view. Those that
        are `known` from the epoch before are not read again."""
        return {
            info.name: known[info.name] if info.name in known
            else self._by_view(routes_to(record, info, carried))
            for info in epoch
        }  # fmt: skip

    def _by_view(self, routes: pl.DataFrame) -> Views:
        scope = pl.lit(self.default, pl.Int8)
        for community, rank in sorted(self.scopes.items(), key=lambda s: -s[1]):
            has = (pl.lit(" ") + pl.col("communities").fill_null("") + pl.lit(" ")).str.contains(
                f" {community} ", literal=True
            )  # the narrowest of several counts: it is asked last
            scope = pl.when(has).then(pl.lit(rank, pl.Int8)).otherwise(scope)
        peer = pl.col("vantage").str.extract(r"^AS(\d+)@").cast(pl.Int64, strict=False)
        parts = routes.with_columns(scope=scope, peer=peer).partition_by(
            "vantage", as_dict=True, include_key=False
        )
        return {str(view): part for (view,), part in sorted(parts.items())}

    def offers(
        self, tables: Sequence[tuple[SnapshotInfo, Views]], loaded: np.ndarray,
        away: Collection[int] = (),
    ) -> pl.DataFrame:  # fmt: skip
        """Offers (`flowpeer_reports.offers.OFFERS`) of the snapshots of one epoch, by the links
        that are not `away`."""
        made = [pl.DataFrame(schema={**OFFERS, "path": pl.UInt64, "prepends": pl.Int32})]
        levels: dict[str, list[tuple[Views, list[_Chosen]]]] = {}
        for info, views in tables:
            levels.setdefault(info.vantage, []).append((views, self._views(info, tuple(views))))
        for number, link in enumerate(self._rows):
            if number in away:
                continue
            peer = f"AS{link['provider_asn']}@"
            known = link["role"] != "ix" or link["provider_asn"] is None
            for level in (link["exporter"], link["metro"], ""):
                frames = []
                for views, chosen in levels.get(level, ()):
                    own, routers = chosen[number]
                    for view in own:
                        routes = self._neighbours(views[view], link)
                        if known or routes.height or view.startswith(peer):
                            loaded[number] = True
                            frames.append(routes)
                    frames += [
                        views[view]
                        .filter(pl.col("first_as") == link["provider_asn"])
                        .with_columns(neighbour=pl.col("first_as"))
                        for view in routers
                    ]
                if frames:
                    made.append(self._as_offers(pl.concat(frames), number, link))
                    break
        return pl.concat(made)

    def _views(self, info: SnapshotInfo, views: tuple[str, ...]) -> list[_Chosen]:
        """Of each link: the views of its neighbours, and the tables of its own router."""
        key = info.vantage, views
        if key not in self._chosen:
            self._chosen[key] = [
                (
                    [view for view in views if self.own(view, link)],
                    [view for view in views if self._router(view, info, link)]
                    if link["provider_asn"] is not None
                    else [],
                )
                for link in self._rows
            ]
        return self._chosen[key]

    def _neighbours(self, routes: pl.DataFrame, link: Mapping[str, Any]) -> pl.DataFrame:
        """What a link's neighbour offers in a view; it may be nothing.

        On an exchange the routes of the link's own neighbour, also where a route server tells of
        them; a link without a known one has those of neighbours without a link of their own.
        """
        routes = routes.with_columns(neighbour=pl.col("peer"))
        if link["role"] != "ix":
            return routes
        member = pl.coalesce("first_as", "peer")
        if link["provider_asn"] is not None:
            return routes.filter(member == link["provider_asn"])
        others = self._on_port.get((str(link["exporter"]), link["interface"]))
        return routes.filter(~member.is_in(sorted(others))) if others else routes

    def own(self, view: str, link: Mapping[str, Any]) -> bool:
        """Whether a view is of a neighbour of the link."""
        peer, at, address = view.partition("@")
        if not at or not peer.startswith("AS"):
            return False
        neighbours = self.named(link)
        if neighbours:
            return address in neighbours
        if link["role"] == "ix":
            known = link.get("exchange")
            here: list[Any] = self.exchanges.get(link["metro"]) or []
            return any(address in self.lan.get(ix, ()) for ix in ([known] if known else here))
        return peer == f"AS{link['provider_asn']}"

    def named(self, link: Mapping[str, Any]) -> set[str]:
        """Addresses of the link's BGP neighbours, as configured."""
        key = str(link["exporter"]), link["interface"] or -1
        interface = self.sections.get((*key, link["provider_asn"])) or self.interfaces.get(key)
        return {str(a) for a in interface.neighbours} if interface is not None else set()

    def routers(self, info: SnapshotInfo, link: Mapping[str, Any]) -> bool:
        """Whether a snapshot holds the table of the link's own router, which tells of the
        neighbour of a private link."""
        return link["provider_asn"] is not None and any(
            self._router(view, info, link) for view in info.views
        )

    def _router(self, view: str, info: SnapshotInfo, link: Mapping[str, Any]) -> bool:
        """Whether a view is the table of the link's own router."""
        exporter = self.exporters.get(str(link["exporter"]))
        if exporter is None:
            return False
        if view == exporter.id or (view == info.vantage and info.vantage == exporter.id):
            return True
        peer, _, address = view.partition("@")
        ours = peer == f"AS{self.network.network.asn}"
        return ours and address in {str(a) for a in exporter.addresses}

    def _as_offers(self, frame: pl.DataFrame, number: int, link: Mapping[str, Any]) -> pl.DataFrame:
        med = pl.lit(link["med"], pl.Int64) if link.get("med") is not None else pl.col("med")
        return frame.select(
            pl.col("prefix"),
            pl.lit(number, pl.Int32).alias("link"),
            pl.col("neighbour").fill_null(pl.col("first_as")).fill_null(0),
            pl.col("local_pref"),
            pl.col("path_length"),
            pl.col("origin"),
            med.alias("med"),
            pl.col("scope"),
            pl.col("path"),
            pl.col("prepends"),
        )


def _address(text: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address(text)) if text else None
    except ValueError:
        return None


def _announced(network: Configuration, where: LinkPlaces, inputs: Inputs) -> Announced:
    """Homes of our prefixes, and the metros that announce each of them or a prefix over it."""
    local = (
        inputs.traffic_routes.select("local_prefix").drop_nulls().unique().collect()
    )["local_prefix"].to_list()  # fmt: skip
    home: dict[str, str] = {}
    metros: dict[str, frozenset[str]] = {}
    for prefix in local:
        net = ipaddress.ip_network(prefix)
        over = [
            a for a in network.announcements
            if a.prefix.version == net.version and net.subnet_of(a.prefix)  # type: ignore[arg-type]
        ]  # fmt: skip
        if not over:
            continue
        longest = max(over, key=lambda a: a.prefix.prefixlen)
        if longest.metros and longest.metros[0] in where.metros:
            home[prefix] = longest.metros[0]
        spread: set[str] = set()
        for a in over:
            if not a.metros:
                spread.update(where.metros)
            for metro in a.metros:
                if metro in where.metros:
                    allowed = where.allowed[SCOPES.index(a.scope), where.number(metro)]
                    spread.update(m for m, ok in zip(where.metros, allowed, strict=True) if ok)
        metros[prefix] = frozenset(spread)
    return Announced(home, metros)
