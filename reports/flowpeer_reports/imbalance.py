"""Is transit traffic spread as we pay for it (METHODS M11)?

D of a slot is ½ Σ |share − target|: the least fraction of its traffic that must change provider if
every route could use every provider. Metros are judged each by itself; regions and the whole
network by the sums of their slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import IMBALANCE, schema
from flowpeer_reports.columns.imbalance import AREAS
from flowpeer_reports.inputs import Inputs, chosen_metros
from flowpeer_reports.link_rows import hours_of_week, links_and_routers, trend
from flowpeer_reports.loads import LinkCoverage, Loads, counted, loads, percentiles
from flowpeer_reports.relations import Flags, Ints, Reals
from flowpeer_reports.targets import Chosen, Targets, targets

Direction = Literal["out", "in", "both"]
FULL = 0.8
"""Utilisation above which a link is too full to take over another's traffic."""


@dataclass(slots=True)
class Imbalance:
    """The answer. `rows` has the columns of `flowpeer_reports.columns.IMBALANCE`."""

    rows: pl.DataFrame
    series: pl.DataFrame
    """metro, direction, slot, bytes, d: the slots that count, with traffic."""
    totals: dict[str, dict[str, Any]]
    """By `metro/direction`, and `all`: scaled and unscaled transit bytes, d, worst provider."""
    notes: list[str]
    direction: Direction = "both"
    areas: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=schema(AREAS)))
    """Regions and the network, as `rows`."""
    links: pl.DataFrame = field(default_factory=pl.DataFrame)
    routers: pl.DataFrame = field(default_factory=pl.DataFrame)
    hours_of_week: pl.DataFrame = field(default_factory=pl.DataFrame)
    trend: pl.DataFrame = field(default_factory=pl.DataFrame)
    targets: dict[str, Targets] = field(default_factory=dict)
    loads: Loads | None = None
    """What all of it was measured from, for answers that go on from here."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A transit provider of a metro; capacity None where one of its links' is unknown."""

    asn: int | None
    name: str
    capacity_bps: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """Providers × slots of one area and direction."""

    bytes: Ints
    filled: Ints
    """The same for percentiles and D: gaps bridged, nearly silent exporters left out (M5)."""
    average: Reals
    """Of each provider, bytes of the period; what is missing is taken like the rest."""
    d: Reals
    """Of each slot; 0 where it has no traffic or does not count."""
    weights: Reals
    counted: LinkCoverage
    alone: Sequence[tuple[LinkCoverage, Ints]]
    """Of each provider: which slots count for its percentiles, and its bytes in them. A silent
    router is missing from the providers that it has links to, not from the others (M5)."""


def imbalance(
    inputs: Inputs,
    *,
    direction: Direction = "both",
    metros: Sequence[str] | None = None,
    chosen: Mapping[str, Chosen | None] | None = None,
) -> Imbalance:
    """Shares, percentiles and D of each metro, direction and transit provider.

    Args:
        chosen: metro → its configured `targets`. Unscaled bytes are in no figure but their own.

    Raises:
        ReportError: an unknown metro, or targets that name no provider.
    """
    ways = ["out", "in"] if direction == "both" else [direction]
    found = loads(inputs, ["transit"])
    seen = set(found.links["metro"])
    names = chosen_metros(inputs, sorted(seen), metros)
    notes: list[str] = []
    known = inputs.names()
    factors = factors_of(inputs, found)
    bare = {(m, d): b for m, d, b in found.unscaled.select("metro", "direction", "bytes").rows()}
    out = Imbalance(pl.DataFrame(), pl.DataFrame(), {}, [], direction, loads=found)
    records: list[dict[str, Any]] = []
    series: list[pl.DataFrame] = []
    for metro in names:
        if metro not in seen:
            if metros:
                notes.append(f"{metro}: no transit, in the configuration or in the traffic")
            continue
        providers = providers_of(inputs, found, metro, known)
        aims = targets(
            inputs.interfaces, inputs.contracts, metro, [p.asn for p in providers],
            (chosen or {}).get(metro), (inputs.period_start, inputs.period_end),
        )  # fmt: skip
        out.targets[metro] = aims
        if aims.note:
            notes.append(f"{metro}: {aims.note}")
        for way in ways:
            measured = measure(inputs, found, metro, way, providers, aims, factors)
            rows, total = _rows(metro, way, providers, measured, aims.rule)
            notes += missing_notes(f"{metro} {way}", measured.counted)
            for provider, (judged, _) in zip(providers, measured.alone, strict=True):
                if judged.quality != "exact":
                    about = f"{metro} {way}, {provider.name}"
                    notes += missing_notes(about, judged, _OF_PERCENTILES)
            unscaled = int(bare.get((metro, way), 0))
            if unscaled and not measured.bytes.any():  # not nothing, but nobody knows how much
                unknown = dict.fromkeys(
                    ("avg_bps", "p50_bps", "p95_bps", "peak_bps", "utilisation_p95")
                )
                rows = [record | unknown for record in rows]
            records += rows
            series.append(_series(found, metro, way, measured))
            out.totals[f"{metro}/{way}"] = {**total, "unscaled_bytes": unscaled}
            if unscaled:
                notes.append(
                    f"{metro} {way}: {unscaled:,} bytes have no sampling rate, in no figure"
                )
    out.totals["all"] = {
        key: sum(t[key] for t in out.totals.values()) for key in ("bytes", "unscaled_bytes")
    }
    out.rows = pl.DataFrame(records, schema=schema(IMBALANCE))
    kind: Any = {"metro": pl.String, "direction": pl.String, "slot": pl.Datetime("us", "UTC"),
            "bytes": pl.Int64, "d": pl.Float64}  # fmt: skip
    out.series = pl.concat([pl.DataFrame(schema=kind), *series])
    measured_metros = [m for m in names if m in seen]
    out.areas = _areas(inputs, found, ways, measured_metros, out.targets, known, factors)
    of = {
        m: {p.asn: p.name for p in providers_of(inputs, found, m, known)} for m in measured_metros
    }
    out.links, out.routers = links_and_routers(inputs, found, ways, of, factors)
    out.hours_of_week = _with_d(hours_of_week(inputs, found, ways, of), out.series)
    out.trend = trend(inputs, found, ways, of, {m: t.share for m, t in out.targets.items()})
    out.notes = [*inputs.notes, *notes]
    return out


def providers_of(
    inputs: Inputs, found: Loads, metro: str, names: Mapping[int, str]
) -> list[Provider]:
    """Configured transit providers of the metro, silent ones too, then others seen in traffic."""
    contract = dict(inputs.contracts.select("contract", "provider").drop_nulls().iter_rows())
    links = found.links.filter(pl.col("metro") == metro, pl.col("role") == "transit")
    capacity: dict[int | None, list[int | None]] = {}
    called: dict[int | None, str] = {}
    configured = set(
        inputs.interfaces.filter(pl.col("metro") == metro, pl.col("role") == "transit")
        .select("exporter", "interface", "asn").iter_rows()
    )  # fmt: skip
    for exporter, interface, asn, bps, terms in links.select(
        "exporter", "interface", "provider_asn", "capacity_bps", "contract"
    ).iter_rows():
        if (exporter, interface, asn) in configured:
            capacity.setdefault(asn, []).append(bps)
            if terms in contract:
                called.setdefault(asn, contract[terms])
    for asn in links["provider_asn"].unique(maintain_order=True):
        capacity.setdefault(asn, [None])
    return [
        Provider(
            asn,
            called.get(asn) or ("unknown" if asn is None else names.get(asn) or f"AS{asn}"),
            None if None in sizes or 0 in sizes else sum(s for s in sizes if s is not None),
        )
        for asn, sizes in sorted(capacity.items(), key=lambda i: (i[0] is None, i[0] or 0))
    ]


def measure(
    inputs: Inputs,
    found: Loads,
    metro: str,
    way: str,
    providers: Sequence[Provider],
    aims: Targets,
    factors: Reals,
) -> Measured:
    """Bytes of each provider and slot of a metro, and D of each slot that counts.

    Args:
        factors: `factors_of` the links.
    """
    here = found.links.with_row_index("link").filter(
        pl.col("metro") == metro, pl.col("role") == "transit"
    )
    links = here["link"].to_list()
    judged = counted(inputs, found, links, way)
    place = {p.asn: i for i, p in enumerate(providers)}
    bytes_ = np.zeros((len(providers), found.slots), dtype=np.int64)
    filled, average = bytes_.copy(), np.zeros(len(providers))
    lines = judged.lines(found, way, links)
    for row, (link, asn) in enumerate(here.select("link", "provider_asn").iter_rows()):
        at, line = place[asn], found.way(way)[link]
        bytes_[at] += line
        filled[at] += lines[row]
        average[at] += int(line.sum()) * factors[link]
    weights = np.array([float(aims.share[p.asn]) for p in providers])
    d = np.where(judged.flags, d_of(filled, weights), 0.0)
    alone = _alone(inputs, found, here, way, [p.asn for p in providers])
    return Measured(bytes_, filled, average, d, weights, judged, alone)


def _alone(
    inputs: Inputs, found: Loads, links: pl.DataFrame, way: str, providers: Sequence[int | None]
) -> list[tuple[LinkCoverage, Ints]]:
    """`Measured.alone`, from links with their number and `provider_asn`."""
    of: dict[int | None, list[int]] = {asn: [] for asn in providers}
    for link, asn in links.select("link", "provider_asn").iter_rows():
        of[asn].append(link)
    made = []
    for mine in of.values():
        judged = counted(inputs, found, mine, way)
        made.append((judged, judged.lines(found, way, mine).sum(axis=0)[judged.flags]))
    return made


def factors_of(inputs: Inputs, found: Loads) -> Reals:
    """What the bytes of each link count for in an average: due ÷ present of its exporter (M5)."""
    silence = inputs.silence().select("exporter", "weight").unique("exporter")
    weight = dict(silence.iter_rows())
    return np.array([weight.get(e, 1.0) for e in found.links["exporter"].to_list()])


_OF_D = {
    "exact": "D holds",
    "estimate": "D is an estimate",
    "refused": "no D is given (METHODS M5)",
}
_OF_PERCENTILES = {
    "exact": "its 95th percentile holds",
    "estimate": "its 95th percentile is an estimate",
    "refused": "no 95th percentile is given (METHODS M5)",
}


def missing_notes(what: str, judged: LinkCoverage, results: Mapping[str, str] = _OF_D) -> list[str]:
    """What missing and filled slots do to a figure, in words."""
    if judged.quality == "exact" and not judged.missing and not judged.filled:
        return []
    result = results[judged.quality]
    n = len(judged.flags)
    note = f", {len(judged.silent)} links of silent exporters left out" if judged.silent else ""
    counts = f"{judged.missing:,} of {n:,} slots are not covered, {judged.filled:,} are filled"
    return [f"{what}: {counts}{note}: {result}"]


def d_of(bytes_: Ints, weights: Reals) -> Reals:
    """D of each column of providers × slots; 0 where there is no traffic."""
    total = bytes_.sum(axis=0)
    moved = np.abs(bytes_ - weights[:, None] * total).sum(axis=0) / 2
    found: Reals = np.divide(moved, total, out=np.zeros(len(total)), where=total > 0)
    return found


def mean_d(bytes_: Ints, d: Reals) -> float | None:
    """Byte-weighted mean of D over slots; None without traffic."""
    whole = bytes_.sum(axis=0)
    total = int(whole.sum())
    return float((d * whole).sum() / total) if total else None


def busiest(bytes_: Ints, d: Reals, n: int) -> float | None:
    """Mean of D over the busiest 5 % of `n` slots, those with traffic."""
    total = bytes_.sum(axis=0)
    busy = np.argsort(-total, kind="stable")[: -(-n // 20)]
    busy = busy[total[busy] > 0]
    return float(d[busy].mean()) if len(busy) else None


def _series(found: Loads, metro: str, way: str, measured: Measured) -> pl.DataFrame:
    total = measured.filled.sum(axis=0)
    some = np.flatnonzero((total > 0) & measured.counted.flags)
    return pl.DataFrame({"place": some, "bytes": total[some], "d": measured.d[some]}).select(
        pl.lit(metro).alias("metro"),
        pl.lit(way).alias("direction"),
        (pl.lit(found.start) + pl.duration(seconds=pl.col("place") * SLOT_SECONDS))
        .cast(pl.Datetime("us", "UTC")).alias("slot"),
        "bytes",
        "d",
    )  # fmt: skip


def _with_d(hours: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """Hours of the week with d of each, as over the period (M11)."""
    time, keys = pl.col("slot").dt, ["metro", "direction", "hour_of_week"]
    hour = (24 * (time.weekday().cast(pl.Int64) - 1) + time.hour()).alias("hour_of_week")
    by_hour = series.group_by(*keys[:2], hour, maintain_order=True).agg(
        d=(pl.col("d") * pl.col("bytes")).sum() / pl.col("bytes").sum()
    )
    return hours.drop("d").join(by_hour, on=keys, how="left", maintain_order="left")


def _rows(
    metro: str, way: str, providers: Sequence[Provider], measured: Measured, rule: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    bytes_, judged = measured.bytes, measured.counted
    refused, n = judged.refused, judged.slots
    counting = measured.filled[:, judged.flags]
    d = None if refused else mean_d(counting, measured.d[judged.flags])
    d_busiest = None if refused else busiest(counting, measured.d[judged.flags], n)
    total = float(measured.average.sum())
    average = measured.average * 8 / (bytes_.shape[1] * SLOT_SECONDS)
    jain = _jain(average, providers)
    over = np.zeros(bytes_.shape[1], dtype=np.bool_)
    records: list[dict[str, Any]] = []
    for i, provider in enumerate(providers):
        capacity = provider.capacity_bps
        alone, own = measured.alone[i]
        p95, p50 = (
            None
            if alone.refused
            else int(percentiles(own[None, :], alone.slots, half=h)[0]) * 8 / SLOT_SECONDS
            for h in (False, True)
        )
        full = over_share(bytes_[i], capacity, 80)
        over |= full
        share = float(measured.average[i]) / total if total else None
        aim = float(measured.weights[i])
        records.append(
            {
                "metro": metro,
                "direction": way,
                "provider_asn": provider.asn,
                "provider": provider.name,
                "capacity_bps": capacity,
                "avg_bps": round(float(average[i]), 3),
                "p50_bps": p50,
                "p95_bps": p95,
                "peak_bps": int(bytes_[i].max(initial=0)) * 8 / SLOT_SECONDS,
                "utilisation_p95": p95 / capacity if capacity and p95 is not None else None,
                "share": share,
                "target_share": aim,
                "excess_share": None if share is None else share - aim,
                "d": d,
                "d_busiest": d_busiest,
                "jain": jain,
                "slots_over_80": int(full.sum()) if capacity else None,
                "target": rule,
            }
        )
    ranked = [(r["utilisation_p95"], r["provider_asn"]) for r in records if r["utilisation_p95"]]
    worst = max(ranked, key=lambda u: u[0], default=(None, None))
    return records, {
        "slots": n,
        "filled_slots": judged.filled,
        "missing_slots": judged.missing,
        "quality": judged.quality,
        "bytes": int(bytes_.sum()),
        "d": d,
        "d_busiest": d_busiest,
        "target": rule,
        "jain": jain,
        "worst_provider_asn": worst[1],
        "worst_utilisation_p95": worst[0],
        "slots_over_80": int(over.sum()),
    }


def over_share(bytes_: Ints, capacity_bps: int | None, percent: int) -> Flags:
    """Slots in which bytes are above `percent` of a capacity, in integers."""
    if not capacity_bps:
        return np.zeros(bytes_.shape, dtype=np.bool_)
    # bytes × 8 / 300 > capacity × percent / 100; an integer is above a fraction if above its floor
    found: Flags = bytes_ > capacity_bps * percent * SLOT_SECONDS // 800
    return found


def _jain(average: Reals, providers: Sequence[Provider]) -> float | None:
    """(Σu)² / (k Σu²) of average utilisations; None where a capacity or all traffic is missing."""
    if any(p.capacity_bps is None for p in providers):
        return None
    used = average / np.array([p.capacity_bps for p in providers], dtype=np.float64)
    square = float((used**2).sum())
    return float(used.sum()) ** 2 / (len(used) * square) if square else None


def _areas(
    inputs: Inputs,
    found: Loads,
    ways: Sequence[str],
    metros: Sequence[str],
    aims: Mapping[str, Targets],
    names: Mapping[int, str],
    factors: Reals,
) -> pl.DataFrame:
    """Regions and the network: sums of their metros' slots, targets by the metros' amounts.

    An area where some metro's targets have no bit/s behind them takes the metros' shares weighted
    by their traffic.
    """
    region = dict(inputs.metros.select("metro", "region").iter_rows())
    areas: dict[tuple[str, str], list[str]] = {}
    for metro in metros:
        if region.get(metro):
            areas.setdefault(("region", region[metro]), []).append(metro)
        areas.setdefault(("network", "all"), []).append(metro)
    records: list[dict[str, Any]] = []
    for (kind, area), members in areas.items():
        each = {m: providers_of(inputs, found, m, names) for m in members}
        called = {p.asn: p.name for m in members for p in each[m]}
        order = sorted(called, key=lambda a: (a is None, a or 0))
        sizes: dict[int | None, int | None] = {}
        for metro in members:
            for p in each[metro]:
                before = sizes.get(p.asn, 0)
                none = before is None or p.capacity_bps is None
                sizes[p.asn] = None if none else (before or 0) + (p.capacity_bps or 0)
        providers = [Provider(a, called[a], sizes[a]) for a in order]
        for way in ways:
            parts = {m: measure(inputs, found, m, way, each[m], aims[m], factors) for m in members}
            bytes_ = np.zeros((len(order), found.slots), dtype=np.int64)
            average = np.zeros(len(order))
            weight = np.zeros(len(order))
            sized = all(aims[m].amount for m in members)
            for metro in members:
                rows = [order.index(p.asn) for p in each[metro]]
                bytes_[rows] += parts[metro].bytes
                average[rows] += parts[metro].average
                amounts = aims[metro].amount
                for at, p in zip(rows, each[metro], strict=True):
                    weight[at] += (
                        (amounts or {})[p.asn] if sized
                        else float(aims[metro].share[p.asn]) * int(parts[metro].bytes.sum())
                    )  # fmt: skip
            total = weight.sum()
            weight = weight / total if total else np.full(len(order), 1 / len(order))
            rules = {aims[m].rule for m in members}
            here = found.links.with_row_index("link").filter(
                pl.col("metro").is_in(members), pl.col("role") == "transit"
            )
            links = here["link"].to_list()
            judged = counted(inputs, found, links, way)
            filled = np.zeros_like(bytes_)
            lines = judged.lines(found, way, links)
            for row, asn in enumerate(here["provider_asn"].to_list()):
                filled[order.index(asn)] += lines[row]
            d = np.where(judged.flags, d_of(filled, weight), 0.0)
            alone = _alone(inputs, found, here, way, order)
            measured = Measured(bytes_, filled, average, d, weight, judged, alone)
            rule = rules.pop() if len(rules) == 1 else "mixed"
            rows_, _ = _rows(area, way, providers, measured, rule)
            records += [{"area": kind, **row} for row in rows_]
    return pl.DataFrame(records, schema=schema(AREAS))
