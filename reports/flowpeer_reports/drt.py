"""The plan of a disaster-recovery test: which own prefixes to withdraw in a metro, one at a time.

A step withdraws a prefix: its demand moves, both ways, to another metro that announces it, and the
links of the metro stay up and carry what is left. The order is the one that keeps the fullest link
that takes over lowest, hour by hour, so that what does not fit comes last. Each step's figures are
those of all steps up to it (METHODS M12).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.drt import DRT, DRT_LINKS
from flowpeer_reports.drill import (
    WAYS,
    Basis,
    Result,
    basis,
    figures_of,
    table_of,
    unknown_loads,
    unscaled_metros,
)
from flowpeer_reports.errors import ReportError
from flowpeer_reports.failover import Failover, FailoverCompiler, merged
from flowpeer_reports.offers import TRANSIT_RANK
from flowpeer_reports.relations import Flags, Ints, Reals
from flowpeer_reports.removals import Removal

MOST_STEPS = 30
"""More prefixes than that: the smallest are withdrawn together."""
NO_WAY_SHARE = 100
"""A step stops where more than one in so many of the bytes moved has no way: bytes without a
prefix never have one."""
GIVEN, ANNOUNCED, FIRST = "given", "announced there", "announce it there first"


@dataclass(slots=True)
class DrtPlan:
    """The answer; its frames have the columns of `flowpeer_reports.columns.drt`."""

    steps: pl.DataFrame
    links: pl.DataFrame
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Step:
    prefixes: tuple[str, ...]
    to: str
    why: str
    failovers: tuple[Failover, Failover]
    bytes: tuple[int, int]
    """Out and in."""


def drt(
    compiler: FailoverCompiler,
    metros: Sequence[str],
    *,
    covered: Mapping[int | str, Flags],
    to: str | None = None,
    growth: Fraction = Fraction(1),
    progress: Callable[[int], None] | None = None,
) -> DrtPlan:
    """The plans of some metros, each by itself.

    Args:
        compiler: with a demand that keeps own prefixes apart (`demand(…, by_local=True)`).
        covered: as `drill` has it.
        to: metro that all demand moves to; None: for each prefix the nearest that announces it,
            else the nearest with transit.
        growth: what present traffic is multiplied with.

    Raises:
        ReportError: no such metro, or it is the one that is emptied.
    """
    names = compiler.choice.places.metros
    for name in (*metros, *([to] if to is not None else [])):
        if name not in names:
            raise ReportError(f"no such metro: {name}", advice=f"one of {', '.join(names)}")
    if to is not None and to in metros:
        raise ReportError(
            f"--to {to}: that is the metro that is emptied", advice="give another one"
        )
    steps: list[pl.DataFrame] = [pl.DataFrame(schema=schema(DRT))]
    links: list[pl.DataFrame] = [pl.DataFrame(schema=schema(DRT_LINKS))]
    notes = unknown_loads(compiler.found)
    base = basis(compiler, covered, [growth])
    for done, metro in enumerate(metros):
        found, taking, remarks = _of_metro(compiler, metro, to, base)
        steps.append(found)
        links.append(taking)
        notes += remarks
        if progress is not None:
            progress(done + 1)
    notes.append(
        "a step counts all before it; how fast inbound traffic follows a withdrawal is not known, "
        "nor is how it divides: pro rata, and each link alone as worst case"
    )
    return DrtPlan(pl.concat(steps), pl.concat(links), notes)


def _of_metro(
    compiler: FailoverCompiler, metro: str, to: str | None, base: Basis
) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    sizes = _sizes(compiler, metro)
    demand = sum(out + into for out, into in sizes.values())
    asked = []
    notes = []
    for prefix in sorted(p for p in sizes if p is not None):
        goal, why = (to, GIVEN) if to is not None else _goal(compiler, metro, prefix)
        if goal is None:
            notes.append(f"{metro}: no other metro has transit that could take {prefix}")
            continue
        removal = Removal("drt", f"{metro} {prefix}", (), metro, goal, frozenset([prefix]))
        asked.append(_Step((prefix,), goal, why, compiler.compile(removal), sizes[prefix]))
    ordered = _ordered(compiler, _fewest(asked))
    results: list[Result] = []
    rows = []
    moved = 0
    for number, step in enumerate(ordered, start=1):
        removal = Removal("drt", f"{metro} {number}", (), metro)
        failovers = tuple(
            merged([s.failovers[way] for s in ordered[:number]]) for way in range(len(WAYS))
        )
        made = figures_of(compiler, removal, (failovers[0], failovers[1]), base)
        results.append(made)
        moved += sum(step.bytes)
        rows.append(
            {
                "metro": metro, "step": number, "withdraw": list(step.prefixes),
                "at": _routers(compiler, metro), "to_metro": step.to, "why": step.why,
                "out_bytes": step.bytes[0], "in_bytes": step.bytes[1],
                "moved_share": moved / demand if demand else None,
                **_state(compiler, metro, {s.to for s in ordered[:number]}, made, base, moved),
                "growth": float(base.growths[0]),
            }
        )  # fmt: skip
    bare = sizes.get(None)
    if bare is not None:
        notes.append(f"{metro}: {bare[0] + bare[1]:,} bytes have no own prefix and stay there")
    taking = table_of(compiler, results)
    step_of = pl.col("removed").str.split(" ").list.last().cast(pl.Int64)
    taking = taking.with_columns(emptied=pl.lit(metro), step=step_of)
    return (
        pl.DataFrame(rows, schema=schema(DRT)),
        taking.select(pl.col(n).cast(k) for n, k in schema(DRT_LINKS).items()),
        notes,
    )


def _sizes(compiler: FailoverCompiler, metro: str) -> dict[str | None, tuple[int, int]]:
    """Own prefix → bytes out and in of its demand that belongs to a metro."""
    asked, places = compiler.demand, compiler.choice.places
    number = places.number(metro)
    sums = np.zeros((2, len(asked.locals)), dtype=np.int64)
    out, into = asked.out, asked.into
    mine = out.home == number
    if out.local is not None:
        np.add.at(sums[0], out.local[mine], out.bytes[mine])
    if len(asked.locals):
        link = np.repeat(np.arange(len(into.edge) - 1), np.diff(into.edge))
        at = compiler.home_of_local[into.local]
        at = np.where(at < 0, places.metro_of_link[link], at)
        np.add.at(sums[1], into.local[at == number], into.bytes[at == number])
    return {
        prefix: (int(sums[0, n]), int(sums[1, n]))
        for n, prefix in enumerate(asked.locals)
        if sums[:, n].any()
    }


def _goal(compiler: FailoverCompiler, metro: str, prefix: str) -> tuple[str | None, str]:
    """The metro that a prefix moves to, and why that one."""
    places = compiler.choice.places
    transit = set(places.metro_of_link[places.role_rank == TRANSIT_RANK].tolist())
    here = places.number(metro)
    able = [n for n in range(len(places.metros)) if n != here and n in transit]
    stated = compiler.announced.metros.get(prefix, frozenset())
    announced = [n for n in able if places.metros[n] in stated]
    nearest = min(announced or able, key=lambda n: (places.distance[here, n], n), default=None)
    if nearest is None:
        return None, ""
    return places.metros[nearest], ANNOUNCED if announced else FIRST


def _fewest(steps: Sequence[_Step]) -> list[_Step]:
    """At most `MOST_STEPS` or so: the smallest that move to the same metro go together."""
    if len(steps) <= MOST_STEPS:
        return list(steps)
    large = sorted(steps, key=lambda s: (-sum(s.bytes), s.prefixes))
    kept, rest = large[: MOST_STEPS - 1], large[MOST_STEPS - 1 :]
    groups: dict[tuple[str, str], list[_Step]] = {}
    for step in rest:
        groups.setdefault((step.to, step.why), []).append(step)
    for (to, why), mine in groups.items():
        kept.append(
            _Step(
                tuple(p for s in mine for p in s.prefixes), to, why,
                (merged([s.failovers[0] for s in mine]), merged([s.failovers[1] for s in mine])),
                (sum(s.bytes[0] for s in mine), sum(s.bytes[1] for s in mine)),
            )
        )  # fmt: skip
    return kept


def _ordered(compiler: FailoverCompiler, steps: Sequence[_Step]) -> list[_Step]:
    """Next comes the step after which the fullest port that takes over is least full, by the hour;
    of equals the one with fewer bytes."""
    ports, hours = compiler.ports, compiler.demand.hours
    added: dict[tuple[int, int], Reals] = {}
    base = [_hourly(compiler, way) for way in WAYS]
    more = [_received(ports.first, step) for step in steps]
    remaining = list(range(len(steps)))
    found: list[_Step] = []
    while remaining:

        def fullest(number: int) -> float:
            most = 0.0
            for (way, port), part in more[number].items():
                if ports.capacity[port]:
                    before = base[way][port] + added.get((way, port), np.zeros(hours))
                    most = max(most, float((before + part).max(initial=0.0)) / ports.capacity[port])
            return most

        best = min(remaining, key=lambda n: (fullest(n), sum(steps[n].bytes), steps[n].prefixes))
        for key, part in more[best].items():
            added[key] = added.get(key, np.zeros(hours)) + part
        remaining.remove(best)
        found.append(steps[best])
    return found


def _hourly(compiler: FailoverCompiler, way: str) -> Reals:
    """Ports × hours: bytes; a port's at its first link."""
    dense, hour = compiler.found.way(way), compiler.found.hour_of_slot
    made = np.zeros((len(dense), compiler.demand.hours))
    if dense.shape[1]:
        edges = np.flatnonzero(np.diff(hour, prepend=-1))
        made[:, hour[edges]] = np.add.reduceat(dense, edges, axis=1)
    total = np.zeros_like(made)
    np.add.at(total, compiler.ports.first, made)
    return total


def _received(first: Ints, step: _Step) -> dict[tuple[int, int], Reals]:
    """(direction, port) → bytes by the hour that a step brings it; `first`: of each link."""
    sums: dict[tuple[int, int], Reals] = {}
    for way, failover in enumerate(step.failovers):
        for link, targets in failover.targets.items():
            for place, target in enumerate(targets):
                if target >= 0 and target != link:
                    part = failover.weights[link][place].astype(np.float64)
                    key = (way, int(first[target]))
                    sums[key] = sums[key] + part if key in sums else part
    return sums


def _routers(compiler: FailoverCompiler, metro: str) -> list[str]:
    links = compiler.found.links.filter(pl.col("metro") == metro)
    if "planned" in links.columns:
        links = links.filter(~pl.col("planned"))
    return links["exporter"].unique().sort().to_list()


def _state(
    compiler: FailoverCompiler,
    metro: str,
    goals: Collection[str],
    made: Result,
    base: Basis,
    moved: int,
) -> dict[str, Any]:
    """What the links look like after a step.

    Args:
        goals: metros that all steps up to it lead to; `moved`: their bytes.
    """
    links, metro_of = compiler.found.links, compiler.metro_names
    fullest: tuple[float, str] | None = None
    over = [0, 0]
    unknown = False
    for way, part in enumerate(made.rows):
        for at, link in enumerate(part["link"].tolist()):
            grows = part["max_bps"][at] > part["max_before_bps"][at]
            if metro_of[link] == metro and not grows:
                continue
            if not part["capacity_bps"][at]:
                unknown = True
                continue
            over[0] += int(part["slots_over_80"][at])
            over[1] += int(part["slots_over_100"][at])
            used = float(part["max_utilisation"][at])
            if fullest is None or used > fullest[0]:
                row = links.row(link, named=True)
                fullest = used, f"{row['exporter']}:{row['interface']} {WAYS[way]}"
    summary = made.summary[0]
    lost = (
        summary["out_without_way_bytes"] + summary["in_without_way_bytes"] + summary["gone_bytes"]
    )
    if lost * NO_WAY_SHARE > moved:
        verdict = "stop: more than 1 % has no way"
    elif over[1]:
        verdict = "stop: a link is above 100 %"
    elif over[0]:
        verdict = "a link is above 80 %"
    elif fullest is None and unknown:
        verdict = "no capacity is known"
    else:
        verdict = "fits"
        unscaled = unscaled_metros(compiler.found)
        if blind := sorted(m for m in goals if m in unscaled):
            verdict = f"fits, as far as the load of {', '.join(blind)} is known"
    return {
        "fullest_link": None if fullest is None else fullest[1],
        "fullest_utilisation": None if fullest is None else fullest[0],
        "slots_over_80": over[0],
        "slots_over_100": over[1],
        "without_way_bytes": lost,
        "left_max_bps": _remaining(compiler, metro, made, base),
        "verdict": verdict,
    }


def _remaining(compiler: FailoverCompiler, metro: str, made: Result, base: Basis) -> float:
    """The largest slot that is left on a link of the metro, bit/s."""
    peak = {way: line.astype(np.float64) * 8 / SLOT_SECONDS for way, line in base.peak.items()}
    for way, part in zip(WAYS, made.rows, strict=True):
        factor = float(part["growth"][0]) if len(part["growth"]) else 1.0
        peak[way] *= factor
        peak[way][part["link"]] = part["max_bps"]
    here = [n for n, m in enumerate(compiler.metro_names) if m == metro]
    return max((float(line[here].max(initial=0.0)) for line in peak.values()), default=0.0)


__all__ = ["DrtPlan", "drt"]
