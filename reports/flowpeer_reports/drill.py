"""What happens to every link when some go (METHODS M12).

Outbound bytes of a removed exit go to the next exit of each prefix; inbound ones come in by the
links that are left and announce the prefix, in a split that nobody knows: in proportion, and each
link alone as the worst case. Nothing here says anything about latency or the backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.drill import (
    DRILL,
    DRILL_BETWEEN_METROS,
    DRILL_SLOTS,
    DRILL_SUMMARY,
)
from flowpeer_reports.errors import ReportError
from flowpeer_reports.fallover import GONE, NO_WAY, STAYS, Compiler, Fall
from flowpeer_reports.loads import percentiles
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.removals import Removal, disjoint
from flowpeer_reports.shares import scaled

WAYS = ("out", "in")
MOST_GROWTH = 100
"""A growth beyond it is no figure any more: the link is as good as empty."""


@dataclass(frozen=True, slots=True)
class After:
    """One direction after a removal, slot by slot.

    Attributes:
        links: numbers of the links that are not removed and carry something else than before.
        bytes: those links × slots.
        worst: the same if each alone receives all that it may; None for outbound.
        gone, without_way: by slot.
        between: (from metro, to metro) → bytes by slot, where they differ.
    """

    links: Ints
    bytes: Ints
    worst: Ints | None
    gone: Ints
    without_way: Ints
    moved: int
    between: Mapping[tuple[int, int], Ints]


def after(
    compiler: Compiler, removal: Removal, fall: Fall, direction: str, only: slice | None = None
) -> After:
    """Apply a compiled fall to the slots; `only` some of them.

    Raises:
        ReportError: bytes were made or lost, which is a fault of this program.
    """
    found = compiler.found
    span = only or slice(0, found.slots)
    dense = found.way(direction)[:, span]
    hour = found.hour_of_slot[span]
    width = dense.shape[1]
    removed = set(removal.links)
    extra: dict[int, Ints] = {}
    worst: dict[int, Ints] = {}
    lost = {GONE: np.zeros(width, dtype=np.int64), NO_WAY: np.zeros(width, dtype=np.int64)}
    between: dict[tuple[int, int], Ints] = {}
    metro = compiler.choice.places.metro_of_link
    moved = 0
    for link in sorted(removed | set(fall.targets)):
        load = dense[link]
        if not load.any():
            continue
        if link not in fall.targets:  # no routes at all: nobody knows where to
            lost[NO_WAY] += load
            continue
        targets = fall.targets[link]
        parts = fall.split(link, load, hour)
        if link not in removed:
            _add(extra, link, -load)
        for target, part in zip(targets, parts, strict=True):
            if target == STAYS:
                _add(extra, link, part)
            elif target < 0:
                lost[target] += part
            else:
                _add(extra, target, part)
                moved += int(part.sum()) if target != link else 0
                pair = (int(metro[link]), int(metro[target]))
                if pair[0] != pair[1]:
                    _add(between, pair, part)
        if direction == "in" and link in fall.may:
            for target, part in zip(targets, _most(fall, link, load, hour), strict=True):
                if target >= 0:
                    _add(worst, target, part)
    links = np.array(sorted(t for t in extra if t not in removed), dtype=np.int64)
    bytes_ = dense[links] + np.stack([extra[t] for t in links.tolist()]) if len(links) else (
        np.zeros((0, width), dtype=np.int64)
    )  # fmt: skip
    before = dense[links].sum(axis=0) + dense[sorted(removed)].sum(axis=0)
    rest = bytes_.sum(axis=0) + lost[GONE] + lost[NO_WAY]
    if (before != rest).any():
        raise ReportError(
            f"drill {removal.kind}:{removal.name} {direction}: bytes were made or lost",
            advice="this is a fault of flowpeer; please report it",
        )
    alone = None
    if direction == "in":
        none = np.zeros(width, dtype=np.int64)
        alone = (
            np.stack([dense[t] + worst.get(t, none) for t in links.tolist()])
            if len(links)
            else bytes_
        )
    return After(links, bytes_, alone, lost[GONE], lost[NO_WAY], moved, between)


def _add(into: dict[Any, Ints], key: Any, part: Ints) -> None:
    if key in into:
        into[key] += part
    else:
        into[key] = part.copy()


def _most(fall: Fall, link: int, load: Ints, hour: Ints) -> Ints:
    """What each target may receive at most of a link's bytes, by slot, rounded up."""
    may, weights = fall.may[link], fall.weights[link]
    whole = weights.sum(axis=0)
    safe = np.maximum(whole, 1)[hour]
    part, rest = scaled(load[None, :], may[:, hour], np.broadcast_to(safe, may[:, hour].shape))
    return part + (rest > 0)


@dataclass(slots=True)
class Drill:
    """The answer; its frames have the columns of `flowpeer_reports.columns.drill`."""

    rows: pl.DataFrame
    summary: pl.DataFrame
    between_metros: pl.DataFrame
    slots: pl.DataFrame
    growths: list[float]
    largest_growth: float | None
    """The largest that survives every removal asked for; None where no capacity is known."""
    notes: list[str] = field(default_factory=list)


def drill(
    compiler: Compiler,
    removals: Sequence[Removal],
    *,
    covered: Mapping[int | str, Flags],
    growths: Sequence[Fraction] = (Fraction(1),),
    slots: bool = False,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Drill:
    """Every removal by itself, at growths of the present traffic.

    A row for each link that takes over something: links that nothing changes for have none.
    Moved and other bytes are those of the present traffic.

    Args:
        covered: which slots count for percentiles, of single links by number, else by metro.
        slots: also the bytes of each slot, of every link that changes.
        progress: called with the number of removals done.
    """
    base = {way: peaks(compiler, way) for way in WAYS}
    done = 0
    records: list[Result] = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for batch in disjoint(removals):
            falls = compiler.compile(batch)

            def one(pair: tuple[Removal, tuple[Fall, Fall]]) -> Result:
                return figures_of(compiler, *pair, covered, growths, base, slots)

            for result in pool.map(one, zip(batch, falls, strict=True)):
                records.append(result)
                done += 1
                if progress is not None:
                    progress(done)
    order = {(r.kind, r.name): i for i, r in enumerate(removals)}
    records.sort(key=lambda r: order[r.summary[0]["kind"], r.summary[0]["removed"]])
    known = [g for r in records if (g := r.summary[0]["largest_growth"]) is not None]
    fullest, notes = _as_it_is(compiler, base)
    known += [fullest] if fullest is not None else []
    return Drill(
        table_of(compiler.found.links, records),
        pl.DataFrame([row for r in records for row in r.summary], schema=schema(DRILL_SUMMARY)),
        pl.DataFrame([row for r in records for row in r.between],
                     schema=schema(DRILL_BETWEEN_METROS)),
        pl.concat([pl.DataFrame(schema=schema(DRILL_SLOTS)), *(r.slots for r in records
                                                               if r.slots is not None)]),
        [float(g) for g in growths],
        min(known, default=None),
        notes + _notes(compiler, records),
    )  # fmt: skip


@dataclass(slots=True)
class Result:
    """One removal: columns by direction, rows of the summary and of what moves between metros."""

    rows: list[dict[str, npt.NDArray[Any]]]
    summary: list[dict[str, Any]]
    between: list[dict[str, Any]]
    slots: pl.DataFrame | None


def _as_it_is(compiler: Compiler, base: Mapping[str, Ints]) -> tuple[float | None, list[str]]:
    """The growth that the network survives without any failure, and a note of it."""
    capacity = compiler.choice.places.capacity
    size = np.maximum(capacity, 1)
    used = [(float((base[w] / size * (capacity > 0)).max(initial=0)), w) for w in WAYS]
    most, way = max(used)
    if not most:
        return None, []
    link = int(np.argmax(base[way] / size * (capacity > 0)))
    growth = _largest(most * 8 / SLOT_SECONDS)
    name = _named(compiler.found.links, link, way)
    return growth, [f"without any failure {growth:g} times the present traffic fits, by {name}"]


def peaks(compiler: Compiler, way: str) -> Ints:
    """Largest slot of each link as it is, in bytes."""
    dense = compiler.found.way(way)
    return dense.max(axis=1) if dense.shape[1] else np.zeros(len(dense), dtype=np.int64)


def figures_of(
    compiler: Compiler,
    removal: Removal,
    falls: tuple[Fall, Fall],
    covered: Mapping[int | str, Flags],
    growths: Sequence[Fraction],
    base: Mapping[str, Ints],
    slots: bool,
) -> Result:
    """Every figure of one removal. `base`: `peaks` by direction."""
    links = compiler.found.links
    capacity = compiler.choice.places.capacity
    between: list[dict[str, Any]] = []
    series: list[pl.DataFrame] = []
    head = {"kind": removal.kind, "removed": removal.name}
    fullest: list[tuple[float, int, str]] = []  # utilisation without growth, link, direction
    worst: list[float] = []
    totals = {"moved": 0, "gone": 0, "out": 0, "in": 0}
    states: list[tuple[str, After, Ints]] = []
    for way, fall in zip(WAYS, falls, strict=True):
        state = after(compiler, removal, fall, way)
        totals["moved"] += state.moved
        totals["gone"] += int(state.gone.sum())
        totals[way] += int(state.without_way.sum())
        highest = state.bytes.max(axis=1, initial=0)
        most = highest if state.worst is None else state.worst.max(axis=1, initial=0)
        states.append((way, state, highest))
        peak, alone = base[way].copy(), base[way].copy()
        peak[state.links], alone[state.links] = highest, most
        able = np.zeros(links.height, dtype=np.bool_)  # of those that something changes for
        able[state.links] = capacity[state.links] > 0
        if able.any():
            used = peak * 8 / (SLOT_SECONDS * np.maximum(capacity, 1)) * able
            at = int(np.argmax(used))
            fullest.append((float(used[at]), at, way))
            alone_used = alone * 8 / (SLOT_SECONDS * np.maximum(capacity, 1)) * able
            worst.append(float(alone_used.max()))
        for (left, right), bytes_ in sorted(state.between.items()):
            between += [
                {**head, "direction": way, **_matrix(compiler, left, right, bytes_, growth)}
                for growth in growths
            ]
        if slots:
            series.append(_slots(compiler, removal, state, way))
    first = max(fullest, key=lambda f: (f[0], -f[1]), default=None)
    rows = [
        _figures(
            WAYS.index(way), growths, state, capacity[state.links], base[way][state.links],
            highest, _p95(compiler, state, covered),
            first[1] if first is not None and first[2] == way else -1,
        )
        for way, state, highest in states
    ]  # fmt: skip
    summary = {
        **head,
        "moved_bytes": totals["moved"],
        "tie_bytes": falls[0].tie_bytes,
        "assumed_bytes": falls[0].assumed_bytes,
        "gone_bytes": totals["gone"],
        "out_without_way_bytes": totals["out"],
        "in_without_way_bytes": totals["in"],
        "first_bottleneck": None if first is None else _named(links, first[1], first[2]),
        "largest_growth": None if first is None else _largest(first[0]),
        "worst_largest_growth": _largest(max(worst)) if worst else None,
    }
    summaries = []
    for growth in growths:
        sums = {
            name: sum(
                int(
                    np.maximum(part[name], 0)[
                        (part["growth"] == float(growth)) & (part["capacity_bps"] > 0)
                    ].sum()
                )
                for part in rows
            )
            for name in ("slots_over_100", "ports_to_buy")
        }
        summaries.append({**summary, **sums, "growth": float(growth)})
    return Result(rows, summaries, between, pl.concat(series) if series else None)


def _largest(used: float) -> float:
    """1 / utilisation, rounded down to a hundredth."""
    return float(MOST_GROWTH) if used * MOST_GROWTH <= 1 else int(100 / used + 1e-9) / 100


def _named(links: pl.DataFrame, link: int, way: str) -> str:
    row = links.row(link, named=True)
    return f"{row['exporter']}:{row['interface']} {way}"


_LINK = ("metro", "exporter", "interface", "provider_asn", "role")


@lru_cache(maxsize=4096)
def _borders(capacity: int, percents: tuple[int, ...], growths: tuple[Fraction, ...]) -> Ints:
    return np.array(
        [
            [capacity * p * SLOT_SECONDS * g.denominator // (800 * g.numerator) for g in growths]
            for p in percents
        ],
        dtype=np.int64,
    )


def over(bytes_: Ints, capacity: int, percents: Sequence[int], growths: Sequence[Fraction]) -> Ints:
    """Percent × growth: slots in which growth × bytes are above that much of a capacity.

    In integers: one is above a fraction if it is above its floor.
    """
    borders = _borders(capacity, tuple(percents), tuple(growths))
    high = np.sort(bytes_[bytes_ > borders.min()])
    found: Ints = len(high) - np.searchsorted(high, borders, "right")
    return found


def _figures(
    way: int, growths: Sequence[Fraction], state: After, size: Ints, before: Ints, highest: Ints,
    p95: Ints, first: int,
) -> dict[str, npt.NDArray[Any]]:  # fmt: skip
    """Columns of a row for each growth and link of one direction; what is not known is −1."""
    count, width = len(state.links), len(growths)
    times = np.array([float(g) for g in growths])[:, None]

    def rate(bytes_: Ints) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = bytes_ * 8 / SLOT_SECONDS * times
        return found

    counts = np.full((2, width, count), -1, dtype=np.int64)
    worst = np.full((width, count), -1, dtype=np.int64)
    most = np.full(count, -1, dtype=np.int64)
    if state.worst is not None:
        most = state.worst.max(axis=1, initial=0)
    for at, capacity in enumerate(size.tolist()):
        if capacity:
            counts[:, :, at] = over(state.bytes[at], capacity, (80, 100), growths)
            if state.worst is not None:
                worst[:, at] = over(state.worst[at], capacity, (100,), growths)[0]
    # What is short, in 1 / (1200 den) bit/s: 8/300 × bytes × growth − 4/5 × capacity.
    num = np.array([g.numerator for g in growths], dtype=np.int64)[:, None]
    den = np.array([g.denominator for g in growths], dtype=np.int64)[:, None]
    safe = np.maximum(size, 1)
    short = np.maximum(highest * 32 * num - 960 * safe * den, 0)
    columns = {
        "link": np.broadcast_to(state.links, (width, count)),
        "way": np.full((width, count), way),
        "growth": np.repeat([float(g) for g in growths], count),
        "capacity_bps": np.broadcast_to(size, (width, count)),
        "max_before_bps": rate(before),
        "max_bps": rate(highest),
        "p95_bps": rate(p95),
        "max_utilisation": rate(highest) / safe,
        "p95_utilisation": rate(p95) / safe,
        "slots_over_80": counts[0],
        "slots_over_100": counts[1],
        "worst_max_bps": rate(most),
        "worst_slots_over_100": worst,
        "short_bps": short / (1200 * den),
        "ports_to_buy": -(-short // (960 * safe * den)),
        "bottleneck": np.broadcast_to(state.links == first, (width, count)),
    }
    return {name: np.ravel(values) for name, values in columns.items()}


_SIZED = ("max_utilisation", "p95_utilisation", "slots_over_80", "slots_over_100", "short_bps",
          "worst_slots_over_100", "ports_to_buy", "capacity_bps")  # fmt: skip


def table_of(links: pl.DataFrame, records: Sequence[Result]) -> pl.DataFrame:
    """The rows of all removals, in their order."""
    parts = [(number, part) for number, r in enumerate(records) for part in r.rows]
    if not parts:
        return pl.DataFrame(schema=schema(DRILL))
    columns = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
    removal = np.concatenate([np.full(len(part["link"]), n) for n, part in parts])
    heads = pl.DataFrame(
        {
            "kind": [r.summary[0]["kind"] for r in records],
            "removed": [r.summary[0]["removed"] for r in records],
        }
    )
    known = pl.col("capacity_bps") > 0
    frame = pl.concat(
        [
            heads[removal.tolist()],
            links[columns["link"].tolist()].select(_LINK),
            pl.DataFrame(columns),
        ],
        how="horizontal",
    )
    table: pl.DataFrame = (
        frame.with_columns(removal=pl.Series(removal))
        .sort("removal", "growth", "way", "link", maintain_order=True)
        .with_columns(
            direction=pl.when(pl.col("way") == 0).then(pl.lit("out")).otherwise(pl.lit("in")),
            port_bps=pl.when(known).then("capacity_bps"),
            **{name: pl.when(known).then(name) for name in _SIZED},
        )
        .with_columns(
            pl.when(pl.col("way") == 1).then(name).alias(name)
            for name in ("worst_max_bps", "worst_slots_over_100")
        )
        .select(pl.col(name).cast(kind) for name, kind in schema(DRILL).items())
    )
    return table


def _p95(compiler: Compiler, state: After, covered: Mapping[int | str, Flags]) -> Ints:
    found = np.zeros(len(state.links), dtype=np.int64)
    groups: list[int | str] = [
        link if link in covered else compiler.metro_names[link] for link in state.links.tolist()
    ]
    for group in set(groups):
        at = np.array([g == group for g in groups], dtype=np.bool_)
        keep = covered.get(group)
        mine = state.bytes[at]
        mine = mine if keep is None or keep.all() else mine[:, keep]
        found[at] = percentiles(mine, mine.shape[1])
    return found


def _matrix(
    compiler: Compiler, left: int, right: int, bytes_: Ints, growth: Fraction
) -> dict[str, Any]:
    names = compiler.choice.places.metros
    factor = float(growth) * 8 / SLOT_SECONDS
    return {
        "from_metro": names[left],
        "to_metro": names[right],
        "bytes": int(bytes_.sum()),
        "avg_bps": float(bytes_.mean()) * factor,
        "p95_bps": int(percentiles(bytes_[None, :], len(bytes_))[0]) * factor,
        "max_bps": int(bytes_.max()) * factor,
        "growth": float(growth),
    }


def _slots(compiler: Compiler, removal: Removal, state: After, way: str) -> pl.DataFrame:
    found = compiler.found
    dense = found.way(way)
    times = [found.start + timedelta(seconds=SLOT_SECONDS * i) for i in range(found.slots)]
    zero = np.zeros(found.slots, dtype=np.int64)
    parts = [(found.links.row(link, named=True), "link", dense[link], zero)
             for link in removal.links]  # fmt: skip
    parts += [(found.links.row(link, named=True), "link", dense[link], state.bytes[at])
              for at, link in enumerate(state.links.tolist())]  # fmt: skip
    nowhere = dict.fromkeys(("metro", "exporter", "interface"))
    parts += [(nowhere, "gone", zero, state.gone),
              (nowhere, "without a way", zero, state.without_way)]  # fmt: skip
    frames = [
        pl.DataFrame(
            {
                "kind": [removal.kind] * found.slots,
                "removed": [removal.name] * found.slots,
                "slot": times,
                "metro": [row["metro"]] * found.slots,
                "exporter": [row["exporter"]] * found.slots,
                "interface": [row["interface"]] * found.slots,
                "what": [what] * found.slots,
                "direction": [way] * found.slots,
                "before_bytes": before,
                "bytes": now,
            },
            schema=schema(DRILL_SLOTS),
        )
        for row, what, before, now in parts
        if before.any() or now.any()
    ]
    return pl.concat([pl.DataFrame(schema=schema(DRILL_SLOTS)), *frames])


def _notes(compiler: Compiler, records: Sequence[Result]) -> list[str]:
    notes = []
    links = compiler.found.links
    unknown = [
        f"{r['exporter']}:{r['interface']}"
        for r in links.iter_rows(named=True)
        if not r.get("capacity_bps") and not r.get("planned")
    ]
    if unknown:
        notes.append(
            f"no capacity is known of {', '.join(unknown[:5])}"
            f"{f' and {len(unknown) - 5} more' if len(unknown) > 5 else ''}: these links are in no "
            "growth and no bottleneck"
        )
    if "planned" in links.columns and links["planned"].any():
        notes.append("links that are planned have no capacity yet: in no growth and no bottleneck")
    moved = sum(r.summary[0]["moved_bytes"] for r in records)
    assumed = sum(r.summary[0]["assumed_bytes"] for r in records)
    tied = sum(r.summary[0]["tie_bytes"] for r in records)
    if moved and (assumed or tied):
        notes.append(
            f"{assumed / moved:.1%} of the bytes that move go to exits whose view is not loaded "
            f"(assumed to have every route), {tied / moved:.1%} are placed by a tie"
        )
    if compiler.choice.assumed.size:
        names = [
            f"{links['exporter'][int(i)]}:{links['interface'][int(i)]}"
            for i in compiler.choice.assumed[:5]
        ]
        more = len(compiler.choice.assumed) - len(names)
        notes.append(
            f"alternates that no table shows: {', '.join(names)}{f' and {more} more' * (more > 0)} "
            "are taken to have every route"
        )
    notes.append(
        "how inbound traffic divides is not known: in proportion to what links carry now, and as "
        "worst case each alone; backbone capacity is not checked, and nothing is said of latency"
    )
    return notes


__all__ = [
    "WAYS", "After", "Drill", "Result", "after", "drill", "figures_of", "over", "peaks", "table_of",
]  # fmt: skip
