"""METHODS M2, M4 to M7, M9 to M11 and M13 over a whole small network, in integers and fractions.

Takes the records of `figures_world` and works every figure out by trying everything. It shares no
code with the product and is written from the methods; what it leaves out is what its worlds leave
out (spreading over slots, money, exchanges).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any

from figures_world import (
    CLIQUE,
    CUSTOMER,
    EXPORTERS,
    FACILITIES,
    LINKS,
    MTU,
    OURS,
    SLOT_S,
    SLOTS,
    Record,
    World,
)

Route = tuple[str, str, int]
"""Metro, prefix, origin; origins below 0 stand for nobody: −1 unrouted, −2 reserved, −3 a set,
−4 our own."""
BASE = {"open": Fraction(4, 5), "selective": Fraction(1, 2), "restrictive": Fraction(3, 20),
        "no": Fraction(1, 50)}  # fmt: skip
UNKNOWN = sum(BASE.values()) / 4
Z = 1.96


@dataclass(frozen=True)
class Crossing:
    """A record on a transit interface."""

    metro: str
    exporter: str
    interface: int
    provider: int
    direction: str
    slot: int
    route: Route
    bytes: int
    variance: Fraction
    exported: int
    scaled: bool


@dataclass
class Judged:
    """An object's slots that count (M5)."""

    places: list[int]
    filled: int
    quality: str
    left_out: set[str]


@dataclass
class Row:
    rank: int | None
    asn: int | None
    marginal: set[Route]
    observed: set[Route]
    expected: Fraction
    expected_rate: Fraction
    refuses: bool = False


@dataclass
class Oracle:
    world: World
    crossings: list[Crossing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.crossings = [c for r in self.world.records if (c := self.crossing(r)) is not None]
        self.scaled = [c for c in self.crossings if c.scaled]
        self.covered = {e: covered(self.world, e) for e in EXPORTERS}
        self.due = {e: [b <= t < u for t in range(SLOTS)] for e, (b, u) in self.world.due.items()}
        carries = {(c.exporter, c.slot) for c in self.crossings}
        self.factor = {}
        for e in EXPORTERS:
            slots = [t for t in range(SLOTS) if self.due[e][t]]
            present = [t for t in slots if self.covered[e][t] or (e, t) in carries]
            self.factor[e] = Fraction(len(slots), len(present)) if present else Fraction(1)
        self.family = self.families()
        self.never = self.nobody()

    # M2, M4, M6: what a record is

    def crossing(self, r: Record) -> Crossing | None:
        role, provider = LINKS[r.exporter, r.link]
        if role != "transit" or provider is None:
            return None
        rate = {"e1": r.rate or self.world.rates["e1"], "e2": self.world.rates["e2"],
                "e3": r.rate}[r.exporter]  # fmt: skip
        metro = EXPORTERS[r.exporter]
        n = rate or 1
        return Crossing(
            metro, r.exporter, r.link, provider, r.direction, r.slot,
            (metro, *self.route(r.remote)), r.bytes * n, variance(r, n), r.bytes, rate > 0,
        )  # fmt: skip

    def route(self, address: str) -> tuple[str, int]:
        ip = ip_address(address)
        nets = [ip_network(p) for p in self.world.prefixes if p != "0.0.0.0/0"]
        best = max((n for n in nets if ip in n), key=lambda n: n.prefixlen, default=None)
        if best is None:
            return "", -1
        origin = self.world.prefixes[str(best)]
        if origin is None:
            return str(best), -3
        if origin == OURS:
            return str(best), -4
        return str(best), -2 if origin in (23456, 64512) else origin

    # M5

    def judge(self, series: Mapping[str, Sequence[int]]) -> Judged:
        mean: dict[str, Fraction] = {}
        out = set()
        for e, values in series.items():
            sure = [v for v, d, c in zip(values, self.due[e], self.covered[e], strict=True)
                    if d and c]  # fmt: skip
            mean[e] = Fraction(sum(sure), len(sure)) if sure else Fraction(0)
            if 2 * len(sure) < sum(self.due[e]):
                out.add(e)
        kept = [e for e in series if e not in out]
        places, filled = [], 0
        for t in range(SLOTS):
            wanted = [e for e in kept if self.due[e][t]]
            there = [e for e in wanted if self.covered[e][t]]
            if 100 * sum(mean[e] for e in there) >= 99 * sum(mean[e] for e in wanted):
                places.append(t)
                filled += len(there) < len(wanted)
        missing = SLOTS - len(places)
        whole, gone = sum(mean.values()), sum(mean[e] for e in out)
        quality = "exact"
        if 20 * missing > SLOTS or 20 * gone > whole:
            quality = "refused"
        elif 100 * max(missing, filled) > SLOTS or 100 * gone > whole:
            quality = "estimate"
        return Judged(places, filled, quality, out)

    def fill(self, exporter: str, values: Sequence[Fraction | int]) -> list[Fraction]:
        """The values, what is missing of them by its neighbours, rounded to bytes."""
        due, covered_ = self.due[exporter], self.covered[exporter]
        sure = [t for t in range(SLOTS) if due[t] and covered_[t]]
        filled = []
        for t, value in enumerate(values):
            if not due[t] or covered_[t]:
                filled.append(Fraction(value))
                continue
            before = max((s for s in sure if s < t), default=None)
            after = min((s for s in sure if s > t), default=None)
            near = [values[s] for s in (before, after) if s is not None and abs(s - t) <= 6]
            near = near or [values[s] for s in sure] or [0]
            filled.append(Fraction(sum(Fraction(v) for v in near), len(near)))
        return filled

    def lines(self, some: Iterable[Crossing]) -> dict[str, list[int]]:
        """Bytes by exporter and slot."""
        made: dict[str, list[int]] = defaultdict(lambda: [0] * SLOTS)
        for c in some:
            made[c.exporter][c.slot] += c.bytes
        return dict(made)

    # M7: who is who, and who takes what

    def families(self) -> dict[int, frozenset[int]]:
        known = {*self.world.nets, *(a for link in self.world.links for a in link[:2])}
        of = {a: {a} for a in known}
        ties = [(a, b) for a, b, kind in self.world.links if kind == 1]
        org = {a: n["org_id"] for a, n in self.world.nets.items()}
        ties += [(a, b) for a in org for b in org if a < b and org[a] == org[b]]
        for _ in known:
            for a, b in ties:
                both = of[a] | of[b]
                for member in both:
                    of[member] = both
        return {a: frozenset(members) for a, members in of.items()}

    def party(self, asn: int) -> int:
        members = self.family.get(asn, frozenset([asn]))
        asked = [m for m in members if m in self.world.nets] or list(members)
        return min(asked, key=lambda m: (-self.own(m), m))

    def own(self, asn: int) -> int:
        return sum(c.bytes for c in self.scaled if c.route[2] == asn)

    def nobody(self) -> set[int]:
        """Parties that are never asked, anywhere."""
        transits = {a for role, a in LINKS.values() if role == "transit" and a is not None}
        customers, todo = set(), [CUSTOMER]
        while todo:
            at = todo.pop()
            customers.add(at)
            for a, b, kind in self.world.links:
                more = [b] if a == at and kind in (-1, 1) else [a] if b == at and kind == 1 else []
                todo += [m for m in more if m not in customers]
        excluded = {a for a, until in self.world.excluded if until >= "2025-07-01"}
        alone = {OURS, *transits, *CLIQUE, *customers, *excluded}
        return {self.party(m) for a in alone for m in self.family.get(a, {a})}

    def seen_on(self, prefix: str) -> set[int]:
        """Networks after which every link of a path goes from provider to customer."""
        found: set[int] = set()
        for of, _, path in self.world.paths:
            if of != prefix:
                continue
            hops = collapsed(path)
            if hops[-1] is None:
                continue
            found.add(hops[-1])
            for left, right in reversed(list(pairwise(hops))):
                if left in (None, OURS) or not self.down(left, right):
                    break
                found.add(left)
        return found

    def down(self, a: int | None, b: int | None) -> bool:
        """a is the provider of b, or they are siblings."""
        return (a, b, -1) in self.linked or self.tied(a, b)

    def tied(self, a: int | None, b: int | None) -> bool:
        return (a, b, 1) in self.linked or (b, a, 1) in self.linked

    @cached_property
    def linked(self) -> set[tuple[int | None, int | None, int]]:
        return set(self.world.links)

    def cones(self) -> dict[int, set[int]]:
        """Network → what is behind it where its provider or peer hears it, on all paths."""
        peers = {a for a, _ in self.world.sessions}
        peers |= {a for role, a in LINKS.values() if role == "peer" and a is not None}
        found: dict[int, set[int]] = defaultdict(set)
        for _, _, path in self.world.paths:
            hops = collapsed(path)
            for at, a in enumerate(hops):
                if a in (None, OURS):
                    continue
                first = at
                while first and self.tied(hops[first - 1], hops[first]):
                    first -= 1
                before = hops[first - 1] if first else OURS
                if before == OURS:
                    heard = hops[first] in peers
                else:
                    heard = any((x, hops[first], k) in self.linked
                                for x, k in ((before, -1), (before, 0)))  # fmt: skip
                    heard |= (hops[first], before, 0) in self.linked
                if not heard:
                    continue
                for left, right in pairwise(hops[at:]):
                    if right in (None, OURS) or not self.down(left, right):
                        break
                    if right != a:
                        found[a].add(right)  # type: ignore[arg-type, index]
        return found

    def takers(self) -> dict[Route, dict[int, Fraction]]:
        """Route → party → what its evidence is worth."""
        cones, made = self.cones(), {}
        for route in {c.route for c in self.scaled}:
            _, prefix, origin = route
            worth: dict[int, Fraction] = {}
            if origin > 0:
                for a, members in cones.items():
                    if origin in members:
                        worth[self.party(a)] = Fraction(self.world.inferred)
                for a in {origin, *self.seen_on(prefix)}:
                    worth[self.party(a)] = Fraction(1)
            made[route] = worth
        return made

    def observers(self) -> dict[Route, set[int]]:
        return {
            (m, p, o): {self.party(a) for a in {o, *self.seen_on(p)}} if o > 0 else set()
            for m, p, o in {c.route for c in self.scaled}
        }

    # M10

    def refuses(self, asn: int) -> bool:
        stated = self.world.nets.get(asn, {}).get("policy_general")
        return bool(stated == "No") and asn not in self.world.acceptance

    def accepts(self, asn: int, metro: str, routes: Collection[Route]) -> Fraction:
        """`routes`: its own and observed ones in the metro, standing alone."""
        if asn in self.world.acceptance:
            return Fraction(self.world.acceptance[asn])
        net = self.world.nets.get(asn, {})
        stated = (net.get("policy_general") or "").lower()
        p = BASE.get(stated, UNKNOWN)
        out, into = (self.rate(routes, {way}) * 8 / (SLOTS * SLOT_S) for way in ("out", "in"))
        if max(out, into) < self.world.minimum.get(stated, 0) * 10**6:
            p *= Fraction(3, 10)
        members = self.family.get(asn, {asn})
        if not any(
            FACILITIES[metro] in self.world.nets.get(m, {}).get("places", ()) for m in members
        ):
            p *= Fraction(3, 10)
        if net.get("policy_ratio") and out + into:
            low, high = sorted((out, into))
            ways = {c.direction for c in self.scaled if c.metro == metro}
            if (not low and len(ways) == 2) or (low and high > 2 * low):
                p /= 2
        return p

    # M7: the lists

    def octets(self, routes: Collection[Route], ways: Collection[str]) -> int:
        return sum(c.bytes for c in self.scaled if c.route in routes and c.direction in ways)

    def rate(self, routes: Collection[Route], ways: Collection[str]) -> Fraction:
        """Bytes as averages count them."""
        return sum(
            (c.bytes * self.factor[c.exporter] for c in self.scaled
             if c.route in routes and c.direction in ways),
            Fraction(0),
        )  # fmt: skip

    def answer(self, metros: Sequence[str], ways: set[str]) -> list[Row]:
        takers, observers = self.takers(), self.observers()
        every = [r for r in takers if r[0] in metros]
        value = {r: self.octets({r}, ways) for r in every}
        rate = {r: self.rate({r}, ways) for r in every}
        free, unseen = set(every), set(every)
        rows: list[Row] = []
        held: dict[int, set[Route]] = {}
        peers: dict[str, set[int]] = {}
        transits = {self.party(a) for role, a in LINKS.values() if role == "transit" and a}
        for metro in metros:
            sessions = {a for a, m in self.world.sessions if m == metro}
            sessions |= {a for (e, _), (role, a) in LINKS.items()
                         if role == "peer" and a and EXPORTERS[e] == metro}  # fmt: skip
            peers[metro] = {self.party(a) for a in sessions}
            could = {
                a: {r for r in every if r[0] == metro and a in observers[r]
                    and (a not in transits or self.party(r[2]) == a)}
                for a in peers[metro]
            }  # fmt: skip
            sizes = {a: [-self.octets(could[a], w) for w in (ways, {"in", "out"})] for a in could}
            for a in sorted(could, key=lambda a: (*sizes[a], a)):
                held.setdefault(a, set()).update(could[a] & free)
                free -= could[a]
        unseen = set(free)
        universe = set(free)
        sums = {a: sum(value[r] for r in part) for a, part in held.items() if part}
        small = [a for a in sums if bps(sum(rate[r] for r in held[a])) < self.world.least]
        for a in sorted(sums, key=lambda a: (-sums[a], a)):
            if a not in small or len(small) == 1:
                rows.append(Row(0, a, held[a], held[a], Fraction(sums[a]),
                                sum((rate[r] for r in held[a]), Fraction(0))))  # fmt: skip
        if len(small) > 1:
            part = set().union(*(held[a] for a in small))
            rows.append(Row(0, None, part, part, Fraction(sum(sums[a] for a in small)),
                            sum((rate[r] for r in part), Fraction(0))))  # fmt: skip
        parties = {a for r in universe for a in takers[r]} - self.never
        can: dict[int, set[Route]] = {}
        p: dict[tuple[int, str], Fraction] = {}
        for a in parties:
            can[a] = set()
            for metro in metros:
                mine = {r for r in universe if r[0] == metro and a in takers[r]}
                if a in peers[metro] or not any(value[r] for r in mine):
                    continue
                can[a] |= mine
                p[a, metro] = self.accepts(a, metro, {r for r in mine if a in observers[r]})
        left = {a for a, mine in can.items() if mine}
        open_ = dict.fromkeys(universe, Fraction(1))

        def hoped(a: int, of: Mapping[Route, int | Fraction]) -> Fraction:
            return sum((p[a, r[0]] * takers[r][a] * of[r] * open_[r] for r in can[a]), Fraction(0))

        rank = 0
        while left:
            gains = {a: hoped(a, value) for a in left}
            best = min(left, key=lambda a: (-gains[a], a))
            expected = hoped(best, rate)
            if gains[best] <= 0 or bps(expected) < self.world.least:
                break
            rank += 1
            seen = {r for r in can[best] & unseen if best in observers[r]}
            rows.append(Row(rank, best, can[best] & free, seen, gains[best], expected,
                            self.refuses(best)))  # fmt: skip
            free -= can[best]
            left.remove(best)
            if not self.refuses(best):
                unseen -= seen
                for r in can[best]:
                    open_[r] *= 1 - p[best, r[0]] * takers[r][best]
        if left:
            willing = {a for a in left if not self.refuses(a)}
            part = free & set().union(*(can[a] for a in left))
            seen = {r for r in unseen if any(r in can[a] and a in observers[r] for a in willing)}
            more = {}
            for r in universe:
                none = Fraction(1)
                for a in willing:
                    if r in can[a]:
                        none *= 1 - p[a, r[0]] * takers[r][a]
                more[r] = open_[r] * (1 - none)
            rows.append(Row(None, None, part, seen,
                            sum((value[r] * more[r] for r in universe), Fraction(0)),
                            sum((rate[r] * more[r] for r in universe), Fraction(0))))  # fmt: skip
        return rows

    # the percentile of a row (M5, M6, M8 for its slots)

    def percentile(self, routes: set[Route], metro: str, ways: Sequence[str]) -> dict[str, Any]:
        objects = {
            way: self.judge(self.lines(c for c in self.scaled
                                       if c.metro == metro and c.direction == way))
            for way in ways
        }  # fmt: skip
        places = [t for t in range(SLOTS) if all(t in o.places for o in objects.values())]
        order = ("exact", "estimate", "refused")
        quality = max((o.quality for o in objects.values()), key=order.index)
        top = [Fraction(0)] * SLOTS
        noise, whole = Fraction(0), Fraction(0)
        for way, judged in objects.items():
            total = [Fraction(0)] * SLOTS
            for exporter in EXPORTERS:
                if exporter in judged.left_out or EXPORTERS[exporter] != metro:
                    continue
                line = self.fill(exporter, self.shaped(routes, exporter, way))
                total = [a + b for a, b in zip(total, line, strict=True)]
            top = [max(a, b) for a, b in zip(top, total, strict=True)]
        mine = [c for c in self.scaled if c.route in routes and c.direction in ways]
        noise = sum((c.variance for c in mine), Fraction(0))
        whole = sum((c.bytes for c in mine), Fraction(0))
        values = sorted(top[t] for t in places)
        n = len(values)
        found: dict[str, Any] = {
            "slots_counted": n, "slots_missing": SLOTS - n,
            "slots_filled": max(o.filled for o in objects.values()),
            "cv": math.sqrt(SLOTS * noise) / whole if whole else 0.0, "quality": quality,
            "p95_bps": None,
        }  # fmt: skip
        if quality != "refused" and n:
            found["p95_bps"] = float(values[(19 * n + 19) // 20 - 1] * 8 / SLOT_S)
        return found

    def shaped(self, routes: set[Route], exporter: str, way: str) -> list[Fraction]:
        """Slots by remote network and interface, shares of its routes by the hour."""
        line = [Fraction(0)] * SLOTS
        sums: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])
        some = [c for c in self.scaled if c.exporter == exporter and c.direction == way]
        for c in some:
            key = (c.interface, c.route[2], c.slot // 12)
            sums[key][0] += c.bytes
            sums[key][1] += c.bytes if c.route in routes else 0
        for c in some:
            every, mine = sums[c.interface, c.route[2], c.slot // 12]
            line[c.slot] += Fraction(c.bytes * mine, every)
        return line

    def interval(self, routes: set[Route], ways: Collection[str]) -> tuple[float, float, float]:
        """Half width and ends, in bytes (M6)."""
        mine = [c for c in self.scaled if c.route in routes and c.direction in ways]
        total = sum(c.bytes for c in mine)
        if not total:
            return 0.0, 0.0, 0.0
        spread = float(sum(c.variance for c in mine))
        scaled: dict[str, int] = defaultdict(int)
        exported: dict[str, int] = defaultdict(int)
        for c in self.scaled:
            scaled[c.exporter] += c.bytes
            exported[c.exporter] += c.exported
        n = sum(c.bytes * scaled[c.exporter] / exported[c.exporter] for c in mine) / total
        m = max(MTU[c.exporter] for c in mine)
        k = (spread + 2 * n * (n - 1) * m * m) / (total + 2 * n * m)
        half = Z * math.sqrt(k * total + Z * Z * k * k / 4)
        centre = total + Z * Z * k / 2
        return half, max(0.0, centre - half), centre + half

    # M11

    def shares(self, metro: str) -> tuple[str, dict[int, Fraction]]:
        """The rule and the targets of a metro's providers."""
        links = {k: a for k, (role, a) in LINKS.items() if role == "transit" and a}
        here = {k: a for k, a in links.items() if EXPORTERS[k[0]] == metro}
        providers = sorted(set(here.values()))
        if metro in self.world.targets:
            return "given", {a: Fraction(s) for a, s in self.world.targets[metro].items()}
        size = self.world.capacity
        if all(a in self.world.commits for a in here.values()):
            parts: dict[int, Fraction] = defaultdict(Fraction)
            for key, a in here.items():
                of = [k for k, other in links.items() if other == a]
                sizes = [size[k] for k in of]
                part = Fraction(1, len(of))
                if None not in sizes:
                    part = Fraction(size[key] or 0, sum(s or 0 for s in sizes))
                parts[a] += self.world.commits[a] * part
            return "commit", {a: parts[a] / sum(parts.values()) for a in providers}
        if any(size[k] is None for k in here):
            return "equal", {a: Fraction(1, len(providers)) for a in providers}
        whole = sum(size[k] or 0 for k in here)
        return "capacity", {
            a: Fraction(sum(size[k] or 0 for k in here if here[k] == a), whole) for a in providers
        }

    def imbalance(self, metro: str, way: str) -> dict[str, Any]:
        rule, aims = self.shares(metro)
        mine = [c for c in self.scaled if c.metro == metro and c.direction == way]
        judged = self.judge(self.object_lines(mine, metro))
        moved, weight, slots = Fraction(0), Fraction(0), []
        filled = {a: self.provider_line(mine, a, judged) for a in aims}
        for t in judged.places:
            whole = sum(filled[a][t] for a in aims)
            if whole:
                d = sum(abs(filled[a][t] / whole - aims[a]) for a in aims) / 2
                moved, weight = moved + d * whole, weight + whole
                slots.append((whole, d, t))
        average = {
            a: sum((c.bytes * self.factor[c.exporter] for c in mine if c.provider == a),
                   Fraction(0)) for a in aims
        }  # fmt: skip
        sure = judged.quality != "refused" and bool(judged.places)
        total = sum(average.values())
        found: dict[str, Any] = {
            "rule": rule, "quality": judged.quality, "missing": SLOTS - len(judged.places),
            "filled": judged.filled, "d": moved / weight if sure and weight else None,
            "providers": {},
        }  # fmt: skip
        for a in aims:
            own = [c for c in mine if c.provider == a]
            alone = self.judge(self.object_lines(own, metro, a))
            line = self.provider_line(own, a, alone)
            values = sorted(line[t] for t in alone.places)
            n = len(values)
            p95 = None
            if alone.quality != "refused" and n:
                p95 = values[(19 * n + 19) // 20 - 1] * 8 / SLOT_S
            found["providers"][a] = {
                "target_share": aims[a], "avg_bps": average[a] * 8 / (SLOTS * SLOT_S),
                "share": average[a] / total if total else None, "p95_bps": p95,
            }  # fmt: skip
        return found

    def network(self, metro: str, way: str, provider: int, asn: int) -> dict[str, Any]:
        """Average and percentile of one remote network over the links of a provider."""
        own = [
            c for c in self.scaled
            if (c.metro, c.direction, c.provider) == (metro, way, provider)
        ]  # fmt: skip
        judged = self.judge(self.object_lines(own, metro, provider))
        mine = [c for c in own if c.route[2] == asn]
        total = [Fraction(0)] * SLOTS
        for exporter, line in self.lines(mine).items():
            if exporter not in judged.left_out:
                filled = self.fill(exporter, line)
                total = [a + b for a, b in zip(total, filled, strict=True)]
        values = sorted(total[t] for t in judged.places)
        n = len(values)
        average = sum((c.bytes * self.factor[c.exporter] for c in mine), Fraction(0))
        found: dict[str, Any] = {
            "bytes": sum(c.bytes for c in mine), "avg_bps": average * 8 / (SLOTS * SLOT_S),
            "quality": judged.quality, "n_slots": n, "missing_slots": SLOTS - n, "p95_bps": None,
        }  # fmt: skip
        if judged.quality != "refused" and n:
            found["p95_bps"] = values[(19 * n + 19) // 20 - 1] * 8 / SLOT_S
        return found

    def object_lines(
        self, some: Sequence[Crossing], metro: str, provider: int | None = None
    ) -> dict[str, list[int]]:
        """Exporters that have interfaces of the object, silent ones too."""
        made = {
            e: [0] * SLOTS for (e, _), (role, a) in LINKS.items()
            if role == "transit" and EXPORTERS[e] == metro and provider in (None, a)
        }  # fmt: skip
        return made | self.lines(some)

    def link(self, exporter: str, interface: int, way: str) -> float | None:
        """The percentile of one link."""
        line = [0] * SLOTS
        for c in self.scaled:
            if (c.exporter, c.interface, c.direction) == (exporter, interface, way):
                line[c.slot] += c.bytes
        judged = self.judge({exporter: line})
        filled = self.fill(exporter, line)
        values = sorted(filled[t] for t in judged.places)
        if judged.quality == "refused" or not values:
            return None
        return float(values[(19 * len(values) + 19) // 20 - 1] * 8 / SLOT_S)

    def provider_line(
        self, some: Sequence[Crossing], provider: int, judged: Judged
    ) -> list[Fraction]:
        total = [Fraction(0)] * SLOTS
        for link, (_, asn) in LINKS.items():
            if asn != provider or link[0] in judged.left_out:
                continue
            line = [0] * SLOTS
            for c in some:
                if (c.exporter, c.interface) == link:
                    line[c.slot] += c.bytes
            total = [a + b for a, b in zip(total, self.fill(link[0], line), strict=True)]
        return total


def covered(world: World, exporter: str) -> list[bool]:
    """Seen with little loss, or a silence that the sequence numbers run across."""
    told = world.told[exporter]
    made = []
    for t in range(SLOTS):
        if t in told:
            units, lost, *_ = told[t]
            made.append(20 * lost < lost + units)
            continue
        before = max((s for s in told if s < t), default=None)
        after = min((s for s in told if s > t), default=None)
        made.append(
            before is not None and after is not None and not told[after][1]
            and told[before][3] == told[after][2]
        )  # fmt: skip
    return made


def collapsed(path: Sequence[int | tuple[int, ...]]) -> list[int | None]:
    """Hops without prepends; a set is None."""
    hops: list[int | None] = []
    for hop in path:
        asn = hop if isinstance(hop, int) else None
        if not hops or asn is None or hops[-1] != asn:
            hops.append(asn)
    return hops


def variance(r: Record, n: int) -> Fraction:
    """The upper bound of a record's part."""
    b, k = r.bytes, r.packets
    m = min(40, b // k)
    largest = max(Fraction(min(MTU[r.exporter], b - (k - 1) * m)), Fraction(b, k))
    squares = max(Fraction(b * b, k), b * (m + largest) - k * m * largest)
    return n * (n - 1) * squares


def bps(octets: Fraction | int) -> float:
    return round(float(octets * 8 / (SLOTS * SLOT_S)), 3)
