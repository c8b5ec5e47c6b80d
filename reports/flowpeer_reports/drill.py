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
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.p95 import rank
from flowpeer_core.slots import HOUR_SLOTS, SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.drill import (
    DRILL,
    DRILL_BETWEEN_METROS,
    DRILL_SLOTS,
    DRILL_SUMMARY,
)
from flowpeer_reports.errors import ReportError
from flowpeer_reports.failover import GONE, NO_WAY, STAYS, Failover, FailoverCompiler
from flowpeer_reports.kernels import SlotFigures, Small, Spread, figures, spread
from flowpeer_reports.loads import Loads, percentiles
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.removals import Removal

WAYS = ("out", "in")
MOST_GROWTH = 100
"""A growth beyond it is no figure any more: the link is as good as empty."""


@dataclass(frozen=True, slots=True)
class After:
    """One direction after a removal, slot by slot.

    Attributes:
        links: numbers of the links that are not removed and carry something else than before.
        bytes: those links × slots.
        worst: the same if each port alone receives all that its links may, which is added to the
            first of them that may; None for outbound.
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
    compiler: FailoverCompiler,
    removal: Removal,
    failover: Failover,
    direction: str,
    only: slice | None = None,
) -> After:
    """Apply a compiled failover to the slots; `only` some of them.

    Raises:
        ReportError: bytes were made or lost, which is a fault of this program.
    """
    found, metro = compiler.found, compiler.choice.places.metro_of_link
    span = only or slice(0, found.slots)
    dense = found.way(direction)[:, span]
    width = dense.shape[1]
    removed = set(removal.links)
    sources = [n for n in sorted(removed | set(failover.targets)) if dense[n].any()]
    reached = {t for n in sources for t in failover.targets.get(n, []) if t >= 0}
    links = np.array(sorted((reached | set(sources)) - removed), dtype=np.int64)
    # Rows: the links, then what is gone and what is without a way.
    row = np.full(len(dense) + 3, -1, dtype=np.int64)
    row[links] = np.arange(len(links))
    row[[GONE, NO_WAY]] = len(links), len(links) + 1
    now = np.empty((len(links) + 2, width), dtype=np.int64)
    np.take(dense, links, axis=0, out=now[:-2])
    now[-2:] = 0
    most = dense[links] if direction == "in" else None
    pairs: dict[tuple[int, int], int] = {}
    for link in sources:
        for target in failover.targets.get(link, []):
            if target >= 0 and metro[target] != metro[link]:
                pairs.setdefault((int(metro[link]), int(metro[target])), len(pairs))
    between = np.zeros((len(pairs), width), dtype=np.int64)
    into = found.into_hour + span.start
    moved = 0
    for link in sources:
        if link not in failover.targets:  # no routes at all: nobody knows where to
            now[-1] += dense[link]
            continue
        targets = failover.targets[link]
        if link not in removed:
            now[row[link]] -= dense[link]
        row[STAYS] = row[link]
        pair = [pairs.get((int(metro[link]), int(metro[t])), -1) if t >= 0 else -1 for t in targets]
        real = np.array(targets, dtype=np.int64) >= 0
        how = Spread(
            failover.weights[link], failover.may.get(link) if most is not None else None,
            targets.index(STAYS if STAYS in targets else NO_WAY), row[targets],
            np.array(pair, dtype=np.int64), real, now, most, between,
        )  # fmt: skip
        sums = spread(np.ascontiguousarray(dense[link]), into, HOUR_SLOTS, how)
        moved += sum(int(b) for b, t in zip(sums, targets, strict=True) if t >= 0 and t != link)
    lost = np.zeros(width, dtype=np.int64)
    for link in (*links.tolist(), *removed):
        lost += dense[link]
    for line in now:
        lost -= line
    if lost.any():
        raise ReportError(
            f"drill {removal.kind}:{removal.name} {direction}: bytes were made or lost",
            advice="this is a fault of flowpeer; please report it",
        )
    series = {key: between[n] for key, n in pairs.items() if between[n].any()}
    return After(links, now[:-2], most, now[-2], now[-1], moved, series)


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
    compiler: FailoverCompiler,
    removals: Sequence[Removal],
    *,
    covered: Mapping[int | str, Flags],
    growths: Sequence[Fraction] = (Fraction(1),),
    slots: bool = False,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Drill:
    """Every removal by itself, at growths of the present traffic.

    A row for each interface that takes over something: those that nothing changes for have none.
    Moved and other bytes are those of the present traffic.

    Args:
        covered: which slots count for percentiles, of single links by number, else by metro.
        slots: also the bytes of each slot, of every interface that changes.
        progress: called with the number of removals done.
    """
    base = basis(compiler, covered, growths)
    compiler.lookups.intact  # noqa: B018  (made before the threads begin)

    # A router with one link, a building with all of a metro: what takes the same away is the same.
    alike: dict[tuple[Any, ...], Removal] = {}
    for removal in removals:
        alike.setdefault(removal.what, removal)

    def one(removal: Removal) -> Result:
        return figures_of(compiler, removal, compiler.compile(removal), base, slots=slots)

    made: dict[tuple[Any, ...], Result] = {}
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for done, (what, result) in enumerate(
            zip(alike, pool.map(one, alike.values()), strict=True)
        ):
            made[what] = result
            if progress is not None:
                progress(done + 1)
    records = [made[removal.what].of(removal) for removal in removals]
    known = [g for r in records if (g := r.summary[0]["largest_growth"]) is not None]
    fullest, notes = _as_it_is(compiler, base)
    known += [fullest] if fullest is not None else []
    return Drill(
        table_of(compiler, records),
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

    def of(self, removal: Removal) -> Result:
        """The same figures under the name of a removal that takes the same away."""
        head = {"kind": removal.kind, "removed": removal.name}
        return Result(
            self.rows,
            [{**row, **head} for row in self.summary],
            [{**row, **head} for row in self.between],
            None if self.slots is None
            else self.slots.with_columns(pl.lit(v).alias(k) for k, v in head.items()),
        )  # fmt: skip


def _as_it_is(compiler: FailoverCompiler, base: Basis) -> tuple[float | None, list[str]]:
    """The growth that the network survives without any failure, and a note of it."""
    capacity = compiler.ports.capacity
    size = np.maximum(capacity, 1)
    used = [(float((base.peak[w] / size * (capacity > 0)).max(initial=0)), w) for w in WAYS]
    most, way = max(used)
    if not most:
        return None, []
    link = int(np.argmax(base.peak[way] / size * (capacity > 0)))
    growth = _largest(most * 8 / SLOT_SECONDS)
    name = _named(compiler.found.links, link, way)
    return growth, [f"without any failure {growth:g} times the present traffic fits, by {name}"]


@dataclass(frozen=True, slots=True)
class Basis:
    """What the figures of every drill begin with; of a port they stand at its first link.

    Attributes:
        growths: what present traffic is multiplied with.
        peak, p95: direction → of each port as it is, bytes of a slot.
        counts: kinds × slots: which count for percentiles.
        kind: of each port, int32; −1: every slot counts.
        top: of each port: the p95 is the how-maniest of the largest.
        borders: ports × levels, bytes of a slot: 100 %, then 80 % of capacity at each growth,
            in rising order; `level` is the place of each of the unordered ones.
    """

    growths: tuple[Fraction, ...]
    peak: Mapping[str, Ints]
    p95: Mapping[str, Ints]
    counts: Flags
    kind: Small
    top: Ints
    borders: Ints
    level: Ints


PERCENTS = (100, 80)


def basis(
    compiler: FailoverCompiler, covered: Mapping[int | str, Flags], growths: Sequence[Fraction]
) -> Basis:
    """From the links as they are. `covered`: as `drill` has it."""
    found, capacity = compiler.found, compiler.ports.capacity
    slots = found.slots
    kinds: dict[int | str, int] = {}
    kind = np.full(len(capacity), -1, dtype=np.int32)
    for link, metro in enumerate(compiler.metro_names):
        group: int | str = link if link in covered else metro
        if group in covered and not covered[group].all():
            kind[link] = kinds.setdefault(group, len(kinds))
    counts = np.array([covered[g] for g in kinds], dtype=np.bool_).reshape(len(kinds), slots)
    every = np.append(counts.sum(axis=1), slots)  # the last one is kind −1
    tops = np.array([n - rank(n) + 1 if n else 0 for n in every.tolist()], dtype=np.int64)
    parts = [(p, g) for p in PERCENTS for g in growths]
    order = sorted(range(len(parts)), key=lambda n: parts[n][0] / parts[n][1])
    level = np.argsort(np.array(order, dtype=np.int64))
    borders = np.array(
        [
            [size * p * SLOT_SECONDS * g.denominator // (800 * g.numerator)
             for p, g in (parts[n] for n in order)]
            for size in capacity.tolist()
        ],
        dtype=np.int64,
    ).reshape(len(capacity), len(parts))  # fmt: skip
    peak, p95 = ({way: np.zeros(len(capacity), dtype=np.int64) for way in WAYS} for _ in "mp")
    every_link = np.arange(len(capacity))
    for way in WAYS:
        dense = np.ascontiguousarray(found.way(way))
        at, sums = compiler.ports.sums(every_link, dense, dense)
        none = np.zeros(len(at), dtype=np.int64)
        made = figures(sums, borders[at, :0], tops[kind[at]], kind[at], counts, none)
        peak[way][at], p95[way][at] = made.largest, made.ranked
    return Basis(tuple(growths), peak, p95, counts, kind, tops[kind], borders, level)


def figures_of(
    compiler: FailoverCompiler,
    removal: Removal,
    failovers: tuple[Failover, Failover],
    base: Basis,
    *,
    slots: bool = False,
) -> Result:
    """Every figure of one removal."""
    links, growths = compiler.found.links, base.growths
    ports, capacity = compiler.ports, compiler.ports.capacity
    between: list[dict[str, Any]] = []
    series: list[pl.DataFrame] = []
    head = {"kind": removal.kind, "removed": removal.name}
    fullest: list[tuple[float, int, str]] = []  # utilisation without growth, link, direction
    worst: list[float] = []
    totals = {"moved": 0, "gone": 0, "out": 0, "in": 0}
    states: list[tuple[str, Ints, SlotFigures, SlotFigures | None]] = []
    for way, failover in zip(WAYS, failovers, strict=True):
        state = after(compiler, removal, failover, way)
        totals["moved"] += state.moved
        totals["gone"] += int(state.gone.sum())
        totals[way] += int(state.without_way.sum())
        dense = compiler.found.way(way)
        at, whole = ports.sums(state.links, state.bytes, dense, removal.links)
        none = np.zeros(len(at), dtype=np.int64)
        made = figures(whole, base.borders[at], base.top[at], base.kind[at], base.counts,
                       base.p95[way][at])  # fmt: skip
        alone = None
        if state.worst is not None:
            _, whole = ports.sums(state.links, state.worst, dense, removal.links)
            alone = figures(whole, base.borders[at], none, base.kind[at], base.counts, none)
        states.append((way, at, made, alone))
        peak = base.peak[way].copy()
        peak[at] = made.largest
        able = np.zeros(links.height, dtype=np.bool_)  # of those that something changes for
        able[at] = capacity[at] > 0
        if able.any():
            used = peak * 8 / (SLOT_SECONDS * np.maximum(capacity, 1)) * able
            fullest.append((float(used.max()), int(np.argmax(used)), way))
            if alone is not None:
                peak[at] = alone.largest
                used = peak * 8 / (SLOT_SECONDS * np.maximum(capacity, 1)) * able
            worst.append(float(used.max()))
        for (left, right), bytes_ in sorted(state.between.items()):
            matrix = _matrix(compiler, left, right, bytes_)
            between += [{**head, "direction": way, **matrix(g)} for g in growths]
        if slots:
            series.append(_slots(compiler, removal, state, way))
    first = max(fullest, key=lambda f: (f[0], -f[1]), default=None)
    rows = [
        _figures(
            way, base, at, capacity[at], made, alone,
            first[1] if first is not None and first[2] == way else -1,
        )
        for way, at, made, alone in states
    ]  # fmt: skip
    summary = {
        **head,
        "moved_bytes": totals["moved"],
        "tie_bytes": failovers[0].tie_bytes,
        "assumed_bytes": failovers[0].assumed_bytes,
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


def _figures(
    way: str, base: Basis, links: Ints, size: Ints, made: SlotFigures, alone: SlotFigures | None,
    first: int,
) -> dict[str, npt.NDArray[Any]]:  # fmt: skip
    """Columns of a row for each growth and link of one direction; what is not known is −1."""
    growths = base.growths
    count, width = len(links), len(growths)
    times = np.array([float(g) for g in growths])[:, None]

    def rate(bytes_: Ints) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = bytes_ * 8 / SLOT_SECONDS * times
        return found

    known = size > 0
    over_100, over_80 = np.where(known, made.above.T[base.level], -1).reshape(2, width, count)
    worst, most = np.full((width, count), -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    if alone is not None:
        most = alone.largest
        worst = np.where(known, alone.above.T[base.level[:width]], -1)
    highest = made.largest
    # What is short, in 1 / (1200 den) bit/s: 8/300 × bytes × growth − 4/5 × capacity.
    num = np.array([g.numerator for g in growths], dtype=np.int64)[:, None]
    den = np.array([g.denominator for g in growths], dtype=np.int64)[:, None]
    safe = np.maximum(size, 1)
    short = np.maximum(highest * 32 * num - 960 * safe * den, 0)
    columns = {
        "link": np.broadcast_to(links, (width, count)),
        "way": np.full((width, count), WAYS.index(way)),
        "growth": np.repeat([float(g) for g in growths], count),
        "capacity_bps": np.broadcast_to(size, (width, count)),
        "max_before_bps": rate(base.peak[way][links]),
        "max_bps": rate(highest),
        "p95_bps": rate(made.ranked),
        "max_utilisation": rate(highest) / safe,
        "p95_utilisation": rate(made.ranked) / safe,
        "slots_over_80": over_80,
        "slots_over_100": over_100,
        "worst_max_bps": rate(most),
        "worst_slots_over_100": worst,
        "short_bps": short / (1200 * den),
        "ports_to_buy": -(-short // (960 * safe * den)),
        "bottleneck": np.broadcast_to(links == first, (width, count)),
    }
    return {name: np.ravel(values) for name, values in columns.items()}


_SIZED = ("max_utilisation", "p95_utilisation", "slots_over_80", "slots_over_100", "short_bps",
          "worst_slots_over_100", "ports_to_buy", "capacity_bps")  # fmt: skip


def table_of(compiler: FailoverCompiler, records: Sequence[Result]) -> pl.DataFrame:
    """The rows of all removals, in their order."""
    shared = compiler.ports.shared  # of several neighbours none is named
    links = compiler.found.links
    alone = pl.Series([link not in shared for link in range(links.height)], dtype=pl.Boolean)
    links = links.with_columns(provider_asn=pl.when(alone).then("provider_asn"))
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


def _matrix(
    compiler: FailoverCompiler, left: int, right: int, bytes_: Ints
) -> Callable[[Fraction], dict[str, Any]]:
    """Figures of the bytes between two metros, at a growth."""
    names = compiler.choice.places.metros
    total, mean, most = int(bytes_.sum()), float(bytes_.mean()), int(bytes_.max())
    p95 = int(percentiles(bytes_[None, :], len(bytes_))[0])

    def at(growth: Fraction) -> dict[str, Any]:
        factor = float(growth) * 8 / SLOT_SECONDS
        return {
            "from_metro": names[left],
            "to_metro": names[right],
            "bytes": total,
            "avg_bps": mean * factor,
            "p95_bps": p95 * factor,
            "max_bps": most * factor,
            "growth": float(growth),
        }

    return at


def _slots(compiler: FailoverCompiler, removal: Removal, state: After, way: str) -> pl.DataFrame:
    found, ports = compiler.found, compiler.ports
    dense = found.way(way)
    times = [found.start + timedelta(seconds=SLOT_SECONDS * i) for i in range(found.slots)]
    zero = np.zeros(found.slots, dtype=np.int64)
    gone = np.array(sorted(removal.links), dtype=np.int64)
    whole = np.union1d(ports.first[gone], ports.first[state.links])
    left = dict(zip(*ports.sums(state.links, state.bytes, dense, removal.links), strict=True))
    parts: list[tuple[dict[str, Any], str, Ints, Ints]] = []
    for port in whole.tolist():
        mine = list(ports.shared.get(port, (port,)))
        now = left.get(port)
        if now is None:  # nothing changes for those that are left
            now = dense[[link for link in mine if link not in removal.links]].sum(axis=0)
        parts.append((found.links.row(port, named=True), "link", dense[mine].sum(axis=0), now))
    nowhere: dict[str, Any] = dict.fromkeys(("metro", "exporter", "interface"))
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


def unscaled_metros(found: Loads) -> dict[str, int]:
    """Metros with bytes that are in no figure, because their sampling rate is not known."""
    by_metro = found.unscaled.group_by("metro").agg(pl.col("bytes").sum())
    return dict(by_metro.filter(pl.col("bytes") > 0).sort("metro").iter_rows())


def unknown_loads(found: Loads) -> list[str]:
    """`unscaled_metros` in words."""
    return [
        f"{metro}: {octets:,} bytes have no sampling rate: how full its links are is not known, "
        "more than these figures say"
        for metro, octets in unscaled_metros(found).items()
    ]


def _notes(compiler: FailoverCompiler, records: Sequence[Result]) -> list[str]:
    notes = unknown_loads(compiler.found)
    links = compiler.found.links
    unknown = list(
        dict.fromkeys(  # a port of an exchange is a row for each neighbour there
            f"{r['exporter']}:{r['interface']}"
            for r in links.iter_rows(named=True)
            if not r.get("capacity_bps") and not r.get("planned")
        )
    )
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
        every = [
            f"{links['exporter'][i]}:{links['interface'][i]}"
            for i in compiler.choice.assumed.tolist()
        ]
        names = list(dict.fromkeys(every))[:5]
        more = len(set(every)) - len(names)
        notes.append(
            f"alternates that no table shows: {', '.join(names)}{f' and {more} more' * (more > 0)} "
            "are taken to have every route"
        )
    notes.append(
        "how inbound traffic divides is not known: in proportion to what links carry now, and as "
        "worst case each alone; backbone capacity is not checked, and nothing is stated of latency"
    )
    return notes


__all__ = [
    "WAYS", "After", "Basis", "Drill", "Result", "after", "basis", "drill", "figures_of",
    "table_of", "unknown_loads", "unscaled_metros",
]  # fmt: skip
