"""The page on sizing, computed from docs/measured.toml (what `bench/scale.py` prints)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("measured.toml")
KEPT_DAYS = 14
QUARTER_HOURS = 91 * 24
FOLDED_FLOWS = 1_500_000
"""Of the hour that was folded."""
TB, GB = 10**12, 10**9


@dataclass(frozen=True, slots=True)
class Size:
    """What some flow records a second need."""

    name: str
    flows_per_s: int
    datagrams_per_s: int
    collect_cores: float
    rollup_cores: float
    spool_octets: int
    flows_octets: int
    rollups_octets: int


def sizes(measured: dict[str, Any]) -> list[Size]:
    """Each of the expected rates, from the measured unit costs."""
    collect = measured["collect"]
    small, large = sorted(measured["rollup"], key=lambda r: int(r["flows"]))[-2:]
    slope = (large["cpu_s"] - small["cpu_s"]) / (large["flows"] - small["flows"])
    base = max(0.0, large["cpu_s"] - slope * large["flows"])

    found = []
    for expected in measured["expected"]:
        rate = expected["flows_per_s"]
        name, hour = f"{rate // measured['expected'][0]['flows_per_s']} ×", rate * 3600
        found.append(
            Size(
                name, rate, ceil(rate / collect["flows_a_datagram"]),
                rate / collect["flows_per_cpu_s"], (base + slope * hour) / 3600,
                rate * 3600 * collect["octets_a_flow_on_the_wire"],
                ceil(24 * KEPT_DAYS * hour * large["flow_octets"] / large["flows"]),
                quarter_octets(measured, expected),
            )
        )  # fmt: skip
    return found


def quarter_octets(measured: dict[str, Any], rows: dict[str, Any]) -> int:
    """Of roll-ups with so many rows an hour."""
    large = max(measured["rollup"], key=lambda r: int(r["flows"]))
    return ceil(QUARTER_HOURS * sum(
        rows[f"{table}_rows"] * large[f"{table}_octets"] / large[f"{table}_rows"]
        for table in ("traffic", "routes")
    ))  # fmt: skip


def other_rows(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """Metros, networks, rows an hour of each table, roll-ups of a quarter."""
    first = {"metros": 9, "networks": 60_000, **measured["expected"][0]}
    return [
        (f"{r['metros']}", f"{r['networks']:,}", f"{r['traffic_rows']:,}", f"{r['routes_rows']:,}",
         amount(quarter_octets(measured, r)))
        for r in sorted([first, *measured["other"]], key=lambda r: (r["networks"], r["metros"]))
    ]  # fmt: skip


def fold_rows(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """Share, rows and octets of `traffic`, and that of all."""
    whole = next(r for r in measured["rollup"] if r["flows"] == FOLDED_FLOWS)
    return [
        (f"`{r['share']}`" if "share" in r else "not folded", f"{r['traffic_rows']:,}",
         f"{r['traffic_octets'] / 1e6:.1f} MB",
         f"{r['traffic_octets'] / whole['traffic_octets']:.0%}")
        for r in (whole, *measured["fold"])
    ]  # fmt: skip


def amount(octets: float) -> str:
    """`0.8 TB`, `31 GB`."""
    if octets >= TB:
        return f"{octets / TB:,.1f} TB" if octets < 10 * TB else f"{octets / TB:,.0f} TB"
    return f"{octets / GB:,.1f} GB" if octets < 10 * GB else f"{octets / GB:,.0f} GB"


def measured_rows(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """flows an hour, CPU, memory, octets a flow; rows and octets of each table."""
    return [
        (f"{r['flows']:,}", f"{r['cpu_s']:.1f} s", f"{r['peak_mib']:,} MiB",
         f"{r['flow_octets'] / r['flows']:.1f}",
         *(f"{r[f'{table}_rows']:,} rows, {r[f'{table}_octets'] / 1e6:.1f} MB"
           for table in ("traffic", "routes")))
        for r in measured["rollup"]
    ]  # fmt: skip


def size_rows(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a size."""
    return [
        (s.name, f"{s.flows_per_s:,}", f"{s.datagrams_per_s:,}", f"{s.collect_cores:.2f}",
         f"{s.rollup_cores:.2f}", amount(s.spool_octets), amount(s.flows_octets),
         amount(s.rollups_octets))
        for s in sizes(measured)
    ]  # fmt: skip


def load() -> dict[str, Any]:
    """What was measured."""
    return tomllib.loads(MEASURED.read_text("utf-8"))


def limits(measured: dict[str, Any]) -> list[str]:
    """What comes to its end at each size, and what to do about it."""
    collect = measured["collect"]
    told = []
    for s in sizes(measured):
        cores = s.collect_cores + s.rollup_cores
        seen = s.datagrams_per_s / collect["datagrams_per_s_seen"]
        parts = [f"{cores:.1f} cores on average"]
        if seen > 1:
            parts.append(
                f"{seen:.1f} × the datagrams that one collector was seen to take: that is the "
                f"first limit, and {ceil(seen)} collectors or more share them"
            )
        else:
            parts.append(f"{seen:.0%} of the datagrams that one collector was seen to take")
        hours = s.rollup_cores / measured["machine"]["cores"]
        parts.append(
            f"an hour is rolled up in {60 * hours:.0f} min by {measured['machine']['cores']} "
            f"such cores" if hours < 1 else f"rolling up keeps {ceil(s.rollup_cores)} such cores "
            "busy (`--jobs`, and `--shard` on several machines)"
        )  # fmt: skip
        told.append(f"- **{s.name}** ({s.flows_per_s:,} flows/s): {'; '.join(parts)}.")
    return told
