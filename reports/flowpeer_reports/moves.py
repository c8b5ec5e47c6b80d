"""The outbound move list: which routes to prefer elsewhere, as rules of an import policy (M11).

Greedy: the rule that takes the most off D, slot by slot, comes next. Tied routes first; routes one
hop longer only when no tied one helps. A route's slots have the shape of its exit's slots in that
hour. No longer AS path is all that a tie claims: latency is not measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import HOUR_SLOTS, SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.moves import MOVES
from flowpeer_reports.imbalance import FULL, Provider
from flowpeer_reports.loads import LinkCoverage, Loads, percentiles
from flowpeer_reports.relations import Flags, Ints, Reals
from flowpeer_reports.tied import TiedTraffic

CANDIDATES = 300
"""Rules tried in each step: those with the most bytes. A smaller one moves less than D shows."""
GROUPS = 4_096
"""Origins at a provider that are looked at before it is seen whether others can matter."""
LEAST_GAIN = 1e-4
"""Of D: a rule that takes less off is not worth its line."""
BATCH = 1 << 18
"""Slots that are looked at side by side."""
TABLES = 8
"""With fewer tables in the period, whether a path is stable is not known."""


@dataclass(slots=True)
class Moves:
    """Of one metro. `rows` has the columns of `flowpeer_reports.columns.moves.MOVES`."""

    rows: pl.DataFrame
    d_before: float | None = None
    d_after: float | None = None
    shifts: dict[tuple[int, int], Ints] = field(default_factory=dict)
    """(link, link of another provider) → bytes by slot that leave the first for the second."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Rule:
    by: str  # origin or prefix
    prefix: str | None
    origin: int
    source: int  # places of providers
    target: int
    longer: bool
    routes: frozenset[tuple[str | None, int]]  # prefix, link


@dataclass(frozen=True, slots=True)
class Aim:
    """What a metro's transit is to come to.

    Args:
        weights: the share that each provider should have, in their order.
        counted: which outbound slots count, for D and percentiles.
        target: D at which it is enough.
    """

    metro: str
    providers: Sequence[Provider]
    weights: Reals
    counted: LinkCoverage
    target: float = 0.05

    def links(self, found: Loads) -> dict[int, int]:
        """Transit link of the metro → place of its provider; links of exporters that are left out
        of D are left out."""
        places = {p.asn: i for i, p in enumerate(self.providers)}
        silent = self.counted.silent
        links = found.links.select("metro", "role", "provider_asn").iter_rows()
        return {
            n: places[asn]
            for n, (metro, role, asn) in enumerate(links)
            if metro == self.metro and role == "transit" and n not in silent
        }


def moves(
    outbound: TiedTraffic,
    aim: Aim,
    *,
    names: Mapping[int, str],
    always_compare_med: bool,
    most: int = 20,
) -> Moves:
    """The rules of a metro, at most `most`."""
    found, offers = outbound.found, outbound.offers
    metro, providers, covered = aim.metro, aim.providers, aim.counted.flags
    provider = aim.links(found)
    load = np.zeros((len(providers), found.slots), dtype=np.int64)
    for place, line in zip(
        provider.values(), aim.counted.lines(found, "out", list(provider)), strict=True
    ):
        load[place] += line
    whole = load[:, covered].sum(axis=0)
    total = int(whole.sum())
    empty = pl.DataFrame(schema=schema(MOVES))
    if aim.counted.refused and total:
        return Moves(empty, notes=[f"{metro}: no moves, as d outbound is not given (METHODS M5)"])
    if not total or len(providers) < 2:
        return Moves(empty)
    ended = found.ended
    here = {link: place for link, place in provider.items() if not ended[link]}
    rules, hourly = _candidates(outbound, here)
    routed = _shaped(hourly, found)
    series = [_summed(_by_link(rule, routed), found.slots) for rule in rules]
    series_covered = [line[covered] for line in series]
    between: tuple[dict[tuple[int, int], list[int]], ...] = ({}, {})
    """By whether the path is longer, and from and to which provider: rules by number."""
    for number, rule in enumerate(rules):
        between[rule.longer].setdefault((rule.source, rule.target), []).append(number)
    moved: dict[tuple[int, int], Ints] = {}
    """(link, place of a provider) → bytes by slot."""
    aims = aim.weights[:, None] * whole
    d = float(np.abs(load[:, covered] - aims).sum() / 2 / total)
    before = d
    records: list[dict[str, Any]] = []
    taken: set[tuple[str | None, int]] = set()
    stability = "stable" if len(offers.of_prefix) >= TABLES else "unknown"
    blocked = 0
    while len(records) < most and d > aim.target:
        best = None
        load_covered = load[:, covered]
        over = over_in_n1(providers, load_covered)
        for longer in (False, True):
            options = []
            for pair, numbers in between[longer].items():
                free = [n for n in numbers if not rules[n].routes & taken]
                lines = [series_covered[n] for n in free]
                gains = _gains(load_covered, aims, lines, *pair)
                options += [
                    (gain / total, -number)
                    for gain, number in zip(gains, free, strict=True)
                    if gain / total > LEAST_GAIN
                ]
            for gain, number in sorted(options, reverse=True):
                rule = rules[-number]
                after = load.copy()
                after[rule.source] -= series[-number]
                after[rule.target] += series[-number]
                if _fits(over, load, after, rule.target, aim):
                    best = (gain, -number, after)
                    break
                blocked += 1
            if best is not None:
                break
        if best is None:
            break
        _, number, after = best
        remaining = float(np.abs(after[:, covered] - aims).sum() / 2 / total)
        rule = rules[number]
        taken |= rule.routes
        for link, line in _by_link(rule, routed).items():
            key = (link, rule.target)
            moved[key] = moved[key] + line if key in moved else line
        p95 = [
            _p95(x[place], covered) for place in (rule.source, rule.target) for x in (load, after)
        ]
        source, goal = providers[rule.source], providers[rule.target]
        records.append(
            {
                "metro": metro,
                "rule": len(records) + 1,
                "match": rule.by,
                "prefix": rule.prefix,
                "origin_asn": rule.origin,
                "origin": names.get(rule.origin),
                "from_provider_asn": source.asn,
                "from_provider": source.name,
                "to_provider_asn": goal.asn,
                "to_provider": goal.name,
                "knob": "MED" if always_compare_med and not rule.longer else "LOCAL_PREF",
                "path": "one hop longer" if rule.longer else "tied",
                "stability": stability,
                "out_bytes": int(series[number].sum()),
                "avg_bps": int(series[number].sum()) * 8 / (SLOT_SECONDS * found.slots),
                "d_before": d,
                "d_after": remaining,
                "from_p95_before_bps": p95[0],
                "from_p95_after_bps": p95[1],
                "to_p95_before_bps": p95[2],
                "to_p95_after_bps": p95[3],
                "to_utilisation_after": p95[3] / goal.capacity_bps if goal.capacity_bps else None,
            }
        )  # fmt: skip
        load, d = after, remaining
    notes = []
    if blocked:
        notes.append(
            f"{metro}: {blocked} rules were passed over: the provider they lead to would be above "
            "80 % at p95, or one would be above its capacity in more slots when another one fails"
        )
    rows = pl.DataFrame(records, schema=schema(MOVES))
    return Moves(rows, before, d, _to_links(moved, here, found), notes)


def _to_links(
    moved: Mapping[tuple[int, int], Ints], provider: Mapping[int, int], found: Loads
) -> dict[tuple[int, int], Ints]:
    """`Moves.shifts`: what goes to a provider is divided among its links by capacity, equally where
    one is unknown."""
    capacity = found.links["capacity_bps"].to_list()
    shifts: dict[tuple[int, int], Ints] = {}
    for (link, goal), line in sorted(moved.items()):
        targets = [n for n, place in provider.items() if place == goal]
        sizes = [capacity[n] or 0 for n in targets]
        sizes = sizes if all(sizes) else [1] * len(sizes)
        given, before = 0, np.zeros_like(line)
        for target, size in zip(targets, sizes, strict=True):
            given += size
            upto = np.floor(line * (given / sum(sizes))).astype(np.int64)
            upto = line if given == sum(sizes) else np.minimum(upto, line)
            shifts[link, target] = upto - before
            before = upto
    return shifts


_Route = tuple[str | None, int]
"""A prefix, and a link that carries it."""
_Able = Mapping[_Route, tuple[set[int], set[int]]]
"""Places of the providers that a route can go to: by as good a path, by a longer one."""


def _order(rule: tuple[int, _Rule]) -> tuple[int, str, str, int, int, int, bool]:
    of = rule[1]
    return -rule[0], of.by, of.prefix or "", of.origin, of.target, of.source, of.longer


def _groups(rows: pl.DataFrame, provider: Mapping[int, int]) -> pl.DataFrame:
    """Routes by origin and provider that carries them, those with most bytes first."""
    routes = rows.group_by("prefix", "link", maintain_order=True).agg(
        pl.col("origin_asn").last(), pl.col("bytes").sum()
    )
    source = pl.col("link").replace_strict(dict(provider), return_dtype=pl.Int64)
    columns = ["origin_asn", "source"]
    return (
        routes.group_by("origin_asn", source=source)
        .agg(pl.col("bytes").sum().alias("whole"), "prefix", "link", "bytes")
        .sort("whole", *columns, descending=[True, False, False])
        .select(*columns, "whole", "prefix", "link", "bytes")
    )


def _able(outbound: TiedTraffic, provider: Mapping[int, int], asked: pl.DataFrame) -> _Able:
    """Where routes can go: a route is an alternate in every table in which it carries bytes."""
    able: dict[_Route, tuple[set[int], set[int]]] = {}
    for prefix, link, epoch in asked.iter_rows():
        key = (prefix, link)
        found = outbound.alternates(epoch, prefix, link)
        tied = {provider[t] for t in found.tied if t in provider} - {provider[link]}
        longer = {provider[t] for t in found.longer if t in provider} - {provider[link]}
        if key in able:
            old = able[key]
            able[key] = (old[0] & tied, (old[0] | old[1]) & (tied | longer) - (old[0] & tied))
        else:
            able[key] = (tied, longer - tied)
    return able


def _rules(
    origin: int,
    source: int,
    size: Mapping[_Route, int],
    able: _Able,
    unstable: Container[tuple[str, int]],
) -> Iterator[tuple[int, _Rule]]:
    """Rules, and their bytes, for the routes of an origin at a provider."""
    held = Counter(prefix for prefix, _ in size)
    free = [k for k in size if k in able and (k[0] or "", k[1]) not in unstable]
    for late in (False, True):
        for goal in sorted({g for k in free for g in able[k][int(late)]}):
            fits = [k for k in free if goal in able[k][int(late)]]
            if origin > 0 and len(fits) == len(size) and len(fits) > 1:
                rule = _Rule("origin", None, origin, source, goal, late, frozenset(fits))
                yield sum(size[k] for k in fits), rule
            single: dict[str | None, list[_Route]] = {}
            for k in fits:
                single.setdefault(k[0], []).append(k)
            for prefix, of in single.items():
                if len(of) < held[prefix]:
                    continue  # a rule takes all that the provider carries of it, or nothing
                rule = _Rule("prefix", prefix, origin, source, goal, late, frozenset(of))
                yield sum(size[k] for k in of), rule


def _candidates(
    outbound: TiedTraffic, provider: Mapping[int, int]
) -> tuple[list[_Rule], dict[_Route, dict[int, int]]]:
    """Rules worth trying, largest first, and bytes by hour of the routes in them.

    Args:
        provider: link that is there at the end of the period → place of its provider.
    """
    mine = pl.col("link").is_in(list(provider))
    columns = ["hour", "link", "prefix", "origin_asn"]
    parts = [
        part.filter(pl.col("direction") == "out", mine).group_by(columns).agg(pl.col("bytes").sum())
        for part in outbound.parts()
    ]
    rows = pl.concat(parts).sort(columns)
    epochs = pl.Series(outbound.epoch_of_hour[rows["hour"].to_numpy()], dtype=pl.Int64)
    asked = rows.select("prefix", "link", epoch=epochs).drop_nulls("prefix").unique()
    rules: list[tuple[int, _Rule]] = []
    for groups in _groups(rows, provider).iter_slices(GROUPS):
        rules.sort(key=_order)
        del rules[CANDIDATES:]
        # No rule is larger than all that its origin has at its provider.
        if len(rules) == CANDIDATES and groups["whole"][0] < rules[-1][0]:
            break
        some = groups.select("prefix", "link").explode("prefix", "link")
        able = _able(outbound, provider, asked.join(some, on=["prefix", "link"], how="semi"))
        for origin, source, _, prefixes, links, sizes in groups.iter_rows():
            size = dict(zip(zip(prefixes, links, strict=True), sizes, strict=True))
            rules += _rules(origin, source, size, able, outbound.unstable)
    rules.sort(key=_order)
    kept = [rule for _, rule in rules[:CANDIDATES]]
    wanted = pl.DataFrame(
        [*{key for rule in kept for key in rule.routes}],
        schema={k: rows.schema[k] for k in ("prefix", "link")}, orient="row",
    )  # fmt: skip
    hourly: dict[_Route, dict[int, int]] = {}
    each = rows.join(wanted, on=["prefix", "link"], how="semi", nulls_equal=True)
    for prefix, link, hour, bytes_ in (
        each.group_by("prefix", "link", "hour").agg(pl.col("bytes").sum()).iter_rows()
    ):
        hourly.setdefault((prefix, link), {})[hour] = bytes_
    return kept, hourly


def _shaped(
    hourly: Mapping[tuple[str | None, int], Mapping[int, int]], found: Loads
) -> dict[tuple[str | None, int], Ints]:
    """Bytes of each route by slot: its hours, shaped by its exit's slots.

    Conserved by the hour: what rounding down leaves over goes to the first slots of the hour in
    which the exit has bytes left that no other route here was given.
    """
    first, hours = found.into_hour, int(found.hour_of_slot[-1]) + 1
    made: dict[tuple[str | None, int], Ints] = {}
    by_link: dict[int, list[str | None]] = {}
    for prefix, link in sorted(hourly, key=lambda k: (k[1], k[0] or "")):
        by_link.setdefault(link, []).append(prefix)
    for link, prefixes in by_link.items():
        load = np.zeros((hours, HOUR_SLOTS), dtype=np.int64)
        load.reshape(-1)[first : first + found.slots] = found.out[link]
        total, spare = load.sum(axis=1), load.copy()
        floors = []
        for prefix in prefixes:
            size = np.zeros(hours, dtype=np.int64)
            for at, bytes_ in hourly[prefix, link].items():
                size[at] = min(bytes_, total[at])
            share = np.divide(size, total, out=np.zeros(hours), where=total > 0)
            line = np.minimum(np.floor(load * share[:, None]).astype(np.int64), spare)
            spare -= line
            floors.append((prefix, size, line))
        for prefix, size, line in floors:
            lacking = (size - line.sum(axis=1))[:, None]
            given = np.clip(lacking - (np.cumsum(spare, axis=1) - spare), 0, spare)
            spare -= given
            made[prefix, link] = (line + given).reshape(-1)[first : first + found.slots]
    return made


def _by_link(rule: _Rule, routed: Mapping[tuple[str | None, int], Ints]) -> dict[int, Ints]:
    """Bytes of a rule by link and slot."""
    made: dict[int, Ints] = {}
    for key in sorted(rule.routes, key=lambda k: (k[0] or "", k[1])):
        link, line = key[1], routed[key]
        made[link] = made[link] + line if link in made else line
    return made


def _summed(lines: Mapping[int, Ints], slots: int) -> Ints:
    found: Ints = np.add.reduce([np.zeros(slots, dtype=np.int64), *lines.values()])
    return found


def _gains(load: Ints, aims: Reals, lines: Sequence[Ints], source: int, target: int) -> list[float]:
    """Bytes that no longer have to move, by the line that goes from one provider to another."""
    before = np.abs(load[source] - aims[source]) + np.abs(load[target] - aims[target])
    found: list[float] = []
    size = max(1, BATCH // max(1, len(before)))
    for at in range(0, len(lines), size):
        batch = np.stack(lines[at : at + size])
        after = np.abs(load[source] - batch - aims[source]) + np.abs(
            load[target] + batch - aims[target]
        )
        found += ((before - after).sum(axis=1) / 2).tolist()
    return found


def _p95(series: Ints, covered: Flags) -> float:
    part = series[covered]
    return int(percentiles(part[None, :], len(part))[0]) * 8 / SLOT_SECONDS


def _fits(over: Sequence[int], before: Ints, after: Ints, target: int, aim: Aim) -> bool:
    """Whether the receiving provider stays below 80 % at p95, and no N−1 of the metro gets slots
    above capacity.

    Args:
        over: `over_in_n1` of `before`, in the slots that count.
    """
    size, covered = aim.providers[target].capacity_bps, aim.counted.flags
    if size:
        was, now = _p95(before[target], covered), _p95(after[target], covered)
        if now > FULL * size and now > was:
            return False
    made = over_in_n1(aim.providers, after[:, covered])
    return all(now <= was for was, now in zip(over, made, strict=True))


def in_n1(providers: Sequence[Provider], load: Ints, lost: int) -> Reals:
    """Providers × slots where one is lost: its bytes fall to those that are left by capacity,
    equally where one is unknown. What BGP would do with them is the drill's."""
    sizes = np.array([p.capacity_bps or 0 for p in providers], dtype=np.float64)
    sizes = sizes if sizes.all() else np.ones_like(sizes)
    sizes[lost] = 0
    found: Reals = load + load[lost] * (sizes / max(sizes.sum(), 1))[:, None]
    found[lost] = 0
    return found


def over_in_n1(providers: Sequence[Provider], load: Ints) -> list[int]:
    """For each provider lost and each other of known capacity: its slots above that."""
    borders = [(n, p.capacity_bps * SLOT_SECONDS / 8) for n, p in enumerate(providers)
               if p.capacity_bps]  # fmt: skip
    found = []
    for lost in range(len(providers)):
        made = in_n1(providers, load, lost)
        found += [int((made[n] > border).sum()) for n, border in borders if n != lost]
    return found
