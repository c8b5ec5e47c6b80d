"""Inside a provider and over time: links, routers, hours of the week, weeks (METHODS M11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.p95 import rank as p95_rank
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.imbalance import HOURS_OF_WEEK, LINKS, ROUTERS, TREND
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.loads import Loads, counted, percentiles
from flowpeer_reports.relations import Ints, Reals

Names = Mapping[str, Mapping[int | None, str]]
"""Metro → provider's ASN → name."""
WEEK = 7 * 24 * 12


def links_and_routers(
    inputs: Inputs,
    found: Loads,
    ways: Sequence[str],
    providers: Names,
    factors: Reals,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row a link, and one a router, of each metro, direction and provider; worst link first.

    Args:
        factors: what the bytes of each link count for in an average.
    """
    links: list[dict[str, Any]] = []
    routers: list[dict[str, Any]] = []
    for metro, names in providers.items():
        here = found.links.with_row_index("link").filter(
            pl.col("metro") == metro, pl.col("role") == "transit"
        )
        groups: dict[int | None, list[dict[str, Any]]] = {}
        for row in here.iter_rows(named=True):
            groups.setdefault(row["provider_asn"], []).append(row)
        for way in ways:
            dense = found.way(way)
            for asn, members in groups.items():
                head = {"metro": metro, "direction": way, "provider_asn": asn,
                        "provider": names.get(asn, "unknown")}  # fmt: skip
                total = int(sum(dense[m["link"]].sum() for m in members))
                for m in members:
                    facts = _facts(inputs, found, way, [m["link"]], m.get("capacity_bps"), factors)
                    links.append({**head, "exporter": m["exporter"], "interface": m["interface"],
                                  "name": m.get("name"), **facts,
                                  **_shares(facts["bytes"], total, m, members)})  # fmt: skip
                by_router: dict[str, list[dict[str, Any]]] = {}
                for m in members:
                    by_router.setdefault(m["exporter"], []).append(m)
                for exporter, own in by_router.items():
                    sizes = [m.get("capacity_bps") for m in own]
                    size = sum(s or 0 for s in sizes) if all(sizes) else None
                    facts = _facts(inputs, found, way, [m["link"] for m in own], size, factors)
                    share = facts["bytes"] / total if total else None
                    routers.append({**head, "exporter": exporter, "links": len(own), **facts,
                                    "share_of_provider": share})  # fmt: skip
    order = [pl.col("utilisation_p95"), pl.col("p95_bps")]
    made = []
    for rows_, stated in ((links, LINKS), (routers, ROUTERS)):
        frame = pl.DataFrame(rows_, schema=schema(stated))
        metros = pl.col("metro").replace_strict(
            {m: i for i, m in enumerate(providers)}, default=None, return_dtype=pl.Int64
        )
        made.append(
            frame.sort(
                metros, pl.col("direction") == "in", *order, "exporter",
                descending=[False, False, True, True, False], nulls_last=True,
            )
        )  # fmt: skip
    return made[0], made[1]


def _shares(
    own: int, total: int, link: Mapping[str, Any], members: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """Share of the provider's bytes in the metro, and of its capacity there."""
    sizes = [m.get("capacity_bps") for m in members]
    aim = link["capacity_bps"] / sum(s or 0 for s in sizes) if all(sizes) else 1 / len(members)
    return {"share_of_provider": own / total if total else None, "target_share": aim}


def _facts(
    inputs: Inputs, found: Loads, way: str, links: Sequence[int], size: int | None, factors: Reals
) -> dict[str, Any]:
    rows = found.way(way)[list(links)].sum(axis=0, keepdims=True)
    judged = counted(inputs, found, links, way)
    refused = judged.refused
    counting = judged.lines(found, way, links).sum(axis=0, keepdims=True)[:, judged.flags]
    p95, p50 = (
        int(percentiles(counting, judged.slots, half=h)[0]) * 8 / SLOT_SECONDS
        for h in (False, True)
    )
    total = sum(int(found.way(way)[link].sum()) * factors[link] for link in links)
    over = (
        int((rows[0] > size * 80 * SLOT_SECONDS // 800).sum()) if size else None
    )  # above 80 % of capacity, in integers
    return {
        "capacity_bps": size,
        "bytes": int(rows.sum()),
        "avg_bps": round(total * 8 / (found.slots * SLOT_SECONDS), 3),
        "p50_bps": None if refused else p50,
        "p95_bps": None if refused else p95,
        "peak_bps": int(rows.max(initial=0)) * 8 / SLOT_SECONDS,
        "utilisation_p95": p95 / size if size and not refused else None,
        "slots_over_80": over,
    }


def hours_of_week(
    inputs: Inputs, found: Loads, ways: Sequence[str], providers: Names
) -> pl.DataFrame:
    """Mean and p95 of each hour of the week (0: Monday 00:00 UTC) over its covered slots."""
    monday = found.start - timedelta(
        days=found.start.weekday(), hours=found.start.hour, minutes=found.start.minute
    )
    first = int((found.start - monday).total_seconds()) // SLOT_SECONDS
    hour = (np.arange(found.slots) + first) // 12 % 168
    records: list[dict[str, Any]] = []
    for metro, names in providers.items():
        here = found.links.with_row_index("link").filter(
            pl.col("metro") == metro, pl.col("role") == "transit"
        )
        links = here["link"].to_list()
        for way in ways:
            judged = counted(inputs, found, links, way)
            if judged.refused:
                continue
            chosen = [np.flatnonzero(judged.flags & (hour == h)) for h in range(168)]
            dense = np.zeros_like(found.filled(way))
            dense[links] = judged.lines(found, way, links)
            total = np.zeros(found.slots, dtype=np.int64)
            series: list[tuple[int | None, str, int | None, Ints]] = []
            for asn, name in names.items():
                mine = here.filter(pl.col("provider_asn").eq_missing(pl.lit(asn, pl.Int64)))
                bytes_ = dense[mine["link"].to_numpy()].sum(axis=0)
                total += bytes_
                sizes = mine["capacity_bps"].to_list() if "capacity_bps" in mine.columns else []
                series.append((asn, name, sum(sizes) if sizes and all(sizes) else None, bytes_))
            for asn, name, size, bytes_ in series:
                for h, slots in enumerate(chosen):
                    if not len(slots):
                        continue
                    values = np.sort(bytes_[slots])
                    p95 = int(values[p95_rank(len(values)) - 1]) * 8 / SLOT_SECONDS
                    all_of_hour = int(total[slots].sum())
                    records.append(
                        {
                            "metro": metro, "direction": way, "provider_asn": asn,
                            "provider": name, "hour_of_week": h, "slots": len(slots),
                            "mean_bps": int(values.sum()) * 8 / (len(values) * SLOT_SECONDS),
                            "p95_bps": p95,
                            "utilisation_p95": p95 / size if size else None,
                            "share": int(values.sum()) / all_of_hour if all_of_hour else None,
                        }
                    )  # fmt: skip
    return pl.DataFrame(records, schema=schema(HOURS_OF_WEEK))


def whole_weeks(inputs: Inputs) -> list[slice]:
    """Slots of the calendar weeks (from Monday, UTC) that lie whole inside the period."""
    start = inputs.period_start.astimezone(UTC)
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = day - timedelta(days=day.weekday())
    if monday < start:
        monday += timedelta(days=7)
    first = int((monday - start).total_seconds()) // SLOT_SECONDS
    count = (inputs.period_slots - first) // WEEK
    return [slice(first + i * WEEK, first + (i + 1) * WEEK) for i in range(max(count, 0))]


def trend(
    inputs: Inputs,
    found: Loads,
    ways: Sequence[str],
    providers: Names,
    shares: Mapping[str, Mapping[int | None, Fraction]],
) -> pl.DataFrame:
    """Change a week of D and of each share: least squares on weekly values, standard error.

    Weeks without traffic, or with more than 5 % of their slots missing, have no value. The standard
    error needs three weeks.
    """
    weeks = whole_weeks(inputs)
    records: list[dict[str, Any]] = []
    for metro, names in providers.items():
        here = found.links.with_row_index("link").filter(
            pl.col("metro") == metro, pl.col("role") == "transit"
        )
        links = here["link"].to_list()
        for way in ways:
            judged = counted(inputs, found, links, way)
            dense = np.zeros_like(found.filled(way))
            dense[links] = judged.lines(found, way, links)
            bytes_ = np.stack(
                [
                    dense[
                        here.filter(pl.col("provider_asn").eq_missing(pl.lit(a, pl.Int64)))[
                            "link"
                        ].to_numpy()
                    ].sum(axis=0)
                    for a in names
                ]
            )
            aims = np.array([float(shares[metro][a]) for a in names])
            d, each = [], []
            for week in weeks:
                flags = judged.flags[week]
                if 20 * int((~flags).sum()) > len(flags):
                    continue
                part = bytes_[:, week][:, flags]
                whole = part.sum(axis=0)
                total = int(whole.sum())
                if not total:
                    continue
                d.append(float(np.abs(part - aims[:, None] * whole).sum() / 2 / total))
                each.append(part.sum(axis=1) / total)
            head = {"metro": metro, "direction": way, "weeks": len(d)}
            lines: list[tuple[str, int | None, str | None, list[float]]] = [("d", None, None, d)]
            for i, (number, called) in enumerate(names.items()):
                lines.append(("share", number, called, [float(e[i]) for e in each]))
            for what, asn, name, values in lines:
                slope, error = least_squares(values)
                records.append(
                    {
                        **head, "what": what, "provider_asn": asn, "provider": name,
                        "first_week": values[0] if values else None,
                        "last_week": values[-1] if values else None,
                        "change_per_week": slope, "standard_error": error,
                    }
                )  # fmt: skip
    return pl.DataFrame(records, schema=schema(TREND))


def least_squares(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Slope over 0, 1, 2, … and its standard error; None where there are too few values."""
    n = len(values)
    if n < 2:
        return None, None
    y = np.array(values)
    x = np.arange(n) - (n - 1) / 2
    square = float((x**2).sum())
    slope = float((x * y).sum() / square)
    if n < 3:
        return slope, None
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt((rest**2).sum() / (n - 2) / square))
