"""Planted worlds for drills, and the drill in plain Python: one route, one slot at a time."""

from __future__ import annotations

import ipaddress
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from reports_world import START, TIME

from flowpeer_reports.demand import Announced, demand
from flowpeer_reports.failover import FailoverCompiler
from flowpeer_reports.loads import Loads
from flowpeer_reports.offers import OFFERS, Choice, Offers, places
from flowpeer_reports.removals import Removal

METROS = (("ams", "eu-west", "EU", 52.4, 4.9), ("fra", "eu-central", "EU", 50.1, 8.7),
          ("lon", "eu-west", "EU", 51.5, -0.1), ("nyc", "us-east", "NA", 40.7, -74.0))  # fmt: skip
SCOPES = ("metro", "region", "continent", "global")
ROLE = {"customer": 0, "peer": 1, "ix": 1, "transit": 2}
ORIGIN = {"IGP": 0, "EGP": 1, "INCOMPLETE": 2, None: None}


@dataclass
class Link:
    exporter: str
    interface: int
    metro: str
    role: str
    asn: int | None
    capacity: int
    exchange: int | None = None


@dataclass
class Offer:
    prefix: str
    link: int
    neighbour: int
    local_pref: int | None
    length: int
    origin: int | None
    med: int | None
    scope: int


@dataclass
class DrillWorld:
    links: list[Link]
    offers: list[list[Offer]]
    """By epoch."""
    epoch_of_hour: list[int]
    routes: list[tuple[int, int, str, str | None, str | None, int]]
    """hour, link, direction, prefix, local prefix, bytes."""
    loads: dict[str, np.ndarray[Any, Any]]
    assumed: list[int] = field(default_factory=list)
    always_compare_med: bool = False
    default_scope: int = 0
    home: dict[str, str] = field(default_factory=dict)
    announced: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def hours(self) -> int:
        return len(self.epoch_of_hour)

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(
            [(x.exporter, x.interface, x.metro, x.role, x.asn, f"if{x.interface}",
              x.capacity or None, x.exchange) for x in self.links],
            schema={"exporter": pl.String, "interface": pl.Int64, "metro": pl.String,
                    "role": pl.String, "provider_asn": pl.Int64, "name": pl.String,
                    "capacity_bps": pl.Int64, "exchange": pl.Int64},
            orient="row",
        )  # fmt: skip

    @property
    def metros(self) -> pl.DataFrame:
        return pl.DataFrame(
            METROS,
            schema=["metro", "region", "continent", "latitude", "longitude"],
            orient="row",
        )

    def parts(self) -> list[pl.DataFrame]:
        routes = pl.DataFrame(
            self.routes,
            schema={"hour": pl.Int64, "link": pl.Int64, "direction": pl.String,
                    "prefix": pl.String, "local_prefix": pl.String, "bytes": pl.Int64},
            orient="row",
        ).with_columns(origin_asn=pl.lit(1, pl.Int64))  # fmt: skip
        return [routes.filter(pl.col("hour") == h) for h in range(self.hours)]

    def offered(self) -> tuple[Loads, Offers, Choice]:
        links = self.frame()
        found = Loads(links, START, self.loads["out"], self.loads["in"],
                      pl.DataFrame(schema={"metro": pl.String, "direction": pl.String,
                                           "bytes": pl.Int64}))  # fmt: skip
        where = places(links, self.metros)
        loaded = np.ones(len(self.links), dtype=np.bool_)
        loaded[self.assumed] = False
        offers = Offers(np.array(self.assumed, dtype=np.int64), loaded)
        for epoch in self.offers:
            offers.learn(pl.DataFrame(
                [(o.prefix, o.link, o.neighbour, o.local_pref, o.length, o.origin, o.med, o.scope)
                 for o in epoch],
                schema=OFFERS, orient="row",
            ))  # fmt: skip
        first, table = offers.table()
        choice = Choice(where, first, table, offers.assumed, self.always_compare_med,
                        self.default_scope)  # fmt: skip
        return found, offers, choice

    def compiler(self, *, by_local: bool = False) -> FailoverCompiler:
        found, offers, choice = self.offered()
        announced = Announced(self.home, self.announced)
        asked = demand(self.parts(), found, offers, np.array(self.epoch_of_hour), choice, announced,
                       by_local=by_local)  # fmt: skip
        hourly = self.loads["in"].reshape(len(self.links), self.hours, 12).sum(axis=2)
        return FailoverCompiler(found, choice, asked, announced, hourly)

    def ports(self) -> dict[tuple[str, int], list[int]]:
        """Links by interface."""
        made: dict[tuple[str, int], list[int]] = {}
        for number, link in enumerate(self.links):
            made.setdefault((link.exporter, link.interface), []).append(number)
        return made

    # -- the drill in plain Python

    def allowed(self, scope: int, a: str, b: str) -> bool:
        return allowed(scope, a, b)

    def near(self, a: str, b: str) -> tuple[int, float]:
        return near(a, b)

    def best(
        self, epoch: int, prefix: str, asked: str, leaves: str | None, gone: set[int],
        *, with_local_pref: bool = True,
    ) -> list[int]:  # fmt: skip
        every = [o for o in self.offers[epoch] if o.prefix == prefix]
        by_role = any(o.local_pref is None for o in every)
        alike = any(o.origin is None for o in every)

        def usable(link: int, scope: int) -> bool:
            metro = self.links[link].metro
            return link not in gone and (
                self.allowed(scope, asked, metro)
                or (leaves is not None and self.allowed(scope, leaves, metro))
            )

        left = [o for o in every if usable(o.link, o.scope)]

        def keep(key: Any) -> None:
            nonlocal left
            if left:
                least = min(key(o) for o in left)
                left = [o for o in left if key(o) == least]

        if with_local_pref:
            keep(lambda o: ROLE[self.links[o.link].role] if by_role else -(o.local_pref or 0))
        keep(lambda o: o.length)
        keep(lambda o: 0 if alike else o.origin)
        med: dict[int, int] = {}
        for o in left:
            group = 0 if self.always_compare_med else o.neighbour
            med[group] = min(med.get(group, 1 << 40), o.med or 0)
        left = [
            o for o in left if (o.med or 0) == med[0 if self.always_compare_med else o.neighbour]
        ]
        keep(lambda o: self.near(asked, self.links[o.link].metro))
        return sorted({o.link for o in left})

    def assume(self, asked: str, leaves: str | None, gone: set[int]) -> list[int]:
        able = [
            i for i in self.assumed
            if i not in gone and (
                self.allowed(self.default_scope, asked, self.links[i].metro)
                or (leaves is not None
                    and self.allowed(self.default_scope, leaves, self.links[i].metro)))
        ]  # fmt: skip
        if not able:
            return []
        least = min(self.near(asked, self.links[i].metro) for i in able)
        return [i for i in able if self.near(asked, self.links[i].metro) == least]

    def exits(
        self, hour: int, prefix: str | None, asked: str, leaves: str | None, gone: set[int]
    ) -> tuple[list[int], bool]:
        if prefix is None:
            return [], True
        epoch = self.epoch_of_hour[hour]
        found = self.best(epoch, prefix, asked, leaves, gone)
        if found:
            return found, True
        found = self.assume(asked, leaves, gone)
        if found:
            return found, False
        net: Any = ipaddress.ip_network(prefix)
        for n in range(net.prefixlen - 1, 0, -1):
            found = self.best(epoch, str(net.supernet(new_prefix=n)), asked, leaves, gone)
            if found:
                return found, True
        return [], True

    def drill(self, removal: Removal) -> dict[str, dict[Any, np.ndarray[Any, Any]]]:
        """direction → link (or gone, no way) → bytes by slot, of every link that is left."""
        gone = set(removal.links)
        return self.applied(gone, self.out(removal, gone), self.into(removal, gone))

    def applied(self, gone: set[int], out: Any, into: Any) -> dict[str, dict[Any, Any]]:
        """The slots by (link, hour) → where → bytes of its routes."""
        result: dict[str, dict[Any, Any]] = {}
        for way, split in (("out", out), ("in", into)):
            load = self.loads[way]
            after: dict[Any, Any] = {
                i: np.zeros(load.shape[1], dtype=object) for i in range(len(self.links))
                if i not in gone
            }  # fmt: skip
            after["gone"] = np.zeros(load.shape[1], dtype=object)
            after["no way"] = np.zeros(load.shape[1], dtype=object)
            for link in range(len(self.links)):
                for slot in range(load.shape[1]):
                    amount, weights = int(load[link, slot]), split[link, slot // 12]
                    if not amount:
                        continue
                    if not weights:
                        weights = {"no way": 1} if link in gone else {link: 1}
                    for target, part in largest_remainder(amount, weights).items():
                        after[link if target == "stays" else target][slot] += part
            result[way] = after
        return result

    def lost(self, removal: Removal, home: str, local: str | None) -> bool:
        """Whether the demand of an own prefix goes with its site."""
        mine = removal.prefixes is None or local in removal.prefixes
        return removal.site is not None and home == removal.site and mine

    def out(self, removal: Removal, gone: set[int]) -> Any:
        split: Any = defaultdict(lambda: defaultdict(int))
        pools: Any = defaultdict(int)
        present: Any = defaultdict(int)
        for hour, link, way, prefix, _, size in self.routes:
            if way == "out":
                present[hour, prefix, link] += size
        whole: Any = defaultdict(int)  # of one prefix, home and link
        for hour, link, way, prefix, local, size in self.routes:
            if way == "out":
                home = self.home.get(local or "", self.links[link].metro)
                whole[hour, link, prefix, home, self.lost(removal, home, local)] += size
        for (hour, link, prefix, home, lost), size in whole.items():
            here = split[link, hour]
            if link not in gone and not lost:
                here["stays"] += size
            elif lost and removal.to is None:
                here["gone"] += size
            else:
                asked = removal.to if lost and removal.to else home
                leaves = None if lost else self.links[link].metro
                exits, _ = self.exits(hour, prefix, asked, leaves, gone)
                if not exits:
                    here["no way"] += size
                elif len(exits) == 1:
                    here[exits[0]] += size
                else:
                    used = {e: present[hour, prefix, e] for e in exits}
                    several = sum(present[hour, prefix, i] > 0 for i in range(len(self.links)))
                    if prefix is not None and several > 1 and sum(used.values()):
                        for e, part in largest_remainder(size, used).items():
                            here[e] += part
                    else:
                        pools[hour, link, tuple(exits)] += size
        for (hour, link, exits), size in pools.items():
            sizes = {e: self.links[e].capacity for e in exits}
            if not all(sizes.values()):
                sizes = dict.fromkeys(exits, 1)
            for e, part in largest_remainder(size, sizes).items():
                split[link, hour][e] += part
        return split

    def into(self, removal: Removal, gone: set[int]) -> Any:
        split: Any = defaultdict(lambda: defaultdict(int))
        pools: Any = defaultdict(int)
        for hour, link, way, _, local, size in self.routes:
            if way != "in":
                continue
            home = self.home.get(local or "", self.links[link].metro)
            lost = self.lost(removal, home, local)
            if link not in gone and not lost:
                split[link, hour]["stays"] += size
            elif lost and removal.to is None:
                split[link, hour]["gone"] += size
            else:
                able = self.receivers(link, local, removal.to if lost else None, gone)
                if able:
                    pools[hour, link, tuple(able)] += size
                else:
                    split[link, hour]["no way"] += size
        for (hour, link, able), size in pools.items():
            weights = {i: int(self.loads["in"][i, hour * 12 : hour * 12 + 12].sum()) for i in able}
            if not sum(weights.values()):
                weights = {i: self.links[i].capacity for i in able}
                if not all(weights.values()):
                    weights = dict.fromkeys(able, 1)
            for i, part in largest_remainder(size, weights).items():
                split[link, hour][i] += part
        return split

    def receivers(self, link: int, local: str | None, to: str | None, gone: set[int]) -> list[int]:
        me = self.links[link]
        stated = self.announced.get(local or "")
        found = []
        for i, other in enumerate(self.links):
            if to is not None:
                near = other.metro == to
            elif stated is None:
                near = self.allowed(self.default_scope, me.metro, other.metro)
            else:
                near = other.metro in stated
            same = me.asn is not None and other.asn == me.asn
            if i not in gone and near and (other.role == "transit" or same):
                found.append(i)
        return found


@cache
def allowed(scope: int, a: str, b: str) -> bool:
    facts = {m[0]: m for m in METROS}
    return (
        scope == 3
        or a == b
        or (scope >= 1 and facts[a][1] == facts[b][1])
        or (scope >= 2 and facts[a][2] == facts[b][2])
    )


@cache
def near(a: str, b: str) -> tuple[int, float]:
    facts = {m[0]: m for m in METROS}
    if a == b:
        return (0, 0.0)
    rank = 1 if facts[a][1] == facts[b][1] else 2
    la, oa, lb, ob = (np.radians(v) for v in (*facts[a][3:], *facts[b][3:]))
    h = np.sin((la - lb) / 2) ** 2 + np.cos(la) * np.cos(lb) * np.sin((oa - ob) / 2) ** 2
    return (rank, int(2 * 6_371_000 * np.arcsin(np.sqrt(h))))


def largest_remainder(amount: int, weights: dict[Any, int]) -> dict[Any, int]:
    """By integers; ties to links first, by number, then stays, gone, no way."""
    names = {"stays": 10**6, "gone": 10**6 + 1, "no way": 10**6 + 2}
    order = sorted(weights, key=lambda k: names.get(k, k))
    whole = sum(weights.values())
    part = {k: amount * weights[k] // whole for k in order}
    rest = sorted(order, key=lambda k: -(amount * weights[k] % whole))
    for k in rest[: amount - sum(part.values())]:
        part[k] += 1
    return part


def random_world(seed: int) -> DrillWorld:
    rng = random.Random(seed)
    names = [m[0] for m in METROS[: rng.randint(1, 4)]]
    links = []
    for metro in names:
        for n in range(rng.randint(1, 4)):
            role = rng.choice(["transit", "transit", "peer", "ix", "customer"])
            links.append(Link(
                f"edge{rng.randint(1, 2)}.{metro}", n + 1, metro, role,
                None if role == "ix" and rng.random() < 0.5 else rng.choice([174, 1299, 3356]),
                rng.choice([0, 10, 10, 40, 100]) * 10**9,
                rng.choice([26, None]) if role == "ix" else None,
            ))  # fmt: skip
            if role == "ix":  # more neighbours on the same port
                links += [replace(links[-1], asn=asn) for asn in rng.sample([64500, 64501, 174], 2)]
    links.sort(key=lambda x: (x.exporter, x.interface))
    prefixes = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "2001:db8::/32",
                "198.51.100.0/24"]  # fmt: skip
    epochs = rng.randint(1, 2)
    offers = [
        [
            Offer(p, i, links[i].asn or rng.choice([7, 8]), rng.choice([100, 100, 200, None])
                  if seed % 3 else 100, rng.randint(1, 2), rng.choice([0, 0, 2, None]),
                  rng.choice([None, 0, 10]), rng.choice([0, 0, 1, 2, 3]))
            for p in prefixes for i in range(len(links)) if rng.random() < 0.5
        ]
        for _ in range(epochs)
    ]  # fmt: skip
    hours = rng.randint(1, 3)
    locals_ = [None, "198.18.0.0/16", "198.19.0.0/16"]
    routes = []
    for hour in range(hours):
        for link in range(len(links)):
            for way in ("out", "in"):
                if rng.random() < 0.15:
                    continue
                routes += [
                    (hour, link, way, rng.choice([*prefixes, "203.0.113.0/24", None]),
                     rng.choice(locals_), rng.choice([1, 7, 1000, 10**12, rng.randrange(10**10)]))
                    for _ in range(rng.randint(1, 4))
                ]  # fmt: skip
    loads = {}
    for way in ("out", "in"):
        dense = np.zeros((len(links), hours * 12), dtype=np.int64)
        for hour, link, w, _, _, size in routes:
            if w == way:
                cuts = sorted(rng.randrange(size + 1) for _ in range(11))
                for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, size], strict=True)):
                    dense[link, hour * 12 + i] += b - a
        loads[way] = dense
    transit = [i for i, x in enumerate(links) if x.role == "transit"]
    assumed = [i for i in transit if rng.random() < 0.4]
    offers = [[o for o in epoch if o.link not in assumed] for epoch in offers]
    return DrillWorld(
        links, offers, [rng.randrange(epochs) for _ in range(hours)], routes, loads, assumed,
        rng.random() < 0.5, rng.choice([0, 0, 1, 3]),
        {"198.18.0.0/16": rng.choice(names)} if rng.random() < 0.5 else {},
        {"198.18.0.0/16": frozenset(rng.sample(names, rng.randint(1, len(names))))}
        if rng.random() < 0.5 else {},
    )  # fmt: skip


__all__ = ["START", "TIME", "DrillWorld", "Link", "Offer", "random_world", "timedelta"]
