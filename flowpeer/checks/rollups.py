"""What `check` says of the roll-ups: routed, covered, and adding up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from flowpeer import catalog
from flowpeer.analysis.coverage import covered_slots, exporter_coverage
from flowpeer.analysis.inputs import gather
from flowpeer.analysis.scratch import FileStore
from flowpeer.analysis.sessions import SLOTS
from flowpeer.checks.findings import Finding
from flowpeer.errors import NoDataError
from flowpeer.lake.account import Equality
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import conservation
from flowpeer_core.asns import UNROUTED
from flowpeer_core.roles import EXTERNAL_ROLES
from flowpeer_reports.candidates import placed_bytes


def routed(lake: Lake) -> Iterator[Finding]:
    """The share of bytes that have a route, and what has no sampling rate."""
    without = pl.col("bytes").filter(pl.col("remote_asn") == UNROUTED)
    total, unrouted = (
        catalog.scan(lake.root, "traffic")
        .filter(pl.col("role").is_in(EXTERNAL_ROLES), pl.col("scaled"))
        .select(total=pl.col("bytes").sum(), unrouted=without.sum())
        .collect()
        .row(0)
    )
    if total:
        share = 1 - unrouted / total
        level = "ok" if share >= 0.95 else "warning"
        yield Finding(level, "routes", f"{share:.2%} of the external bytes have a route",
                      "" if level == "ok" else "load a full table",
                      "" if level == "ok" else "unrouted")  # fmt: skip


def covered(
    network: Configuration, record: Record, span: tuple[datetime, datetime]
) -> Iterator[Finding]:
    """Slots of each metro that do not count, and what is missing of each exporter (M5)."""
    start, end = span
    coverage = exporter_coverage(network, record, start, end)
    found = record.read(
        "traffic",
        lambda: covered_slots(network, coverage, catalog.scan_slots(record, start, end)),
    )
    slots, missing = found.slots, found.missing
    # Records tell of the minutes before the first datagram: their slot is no gap.
    begun = set(found.uncovered.filter(pl.col("slot") == start)["metro"])
    short = {m: n for m, n in missing.items() if (n - (m in begun)) * 100 > n + slots[m]}
    for metro, n in short.items():
        yield Finding("warning", f"metro {metro}",
                      f"{n} of {n + slots[metro]} slots not covered: percentiles are estimates",
                      "look for gaps in the captures or the collector's log",
                      "coverage")  # fmt: skip
    if not short:
        shown = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        worst = max(missing.values(), default=0)
        yield Finding("ok", "coverage", f"{shown}, at most {worst} slots of a metro missing")
    if begun - short.keys():
        yield Finding("note", "coverage",
                      f"the first slot, {start:%Y-%m-%d %H:%M} UTC, was received in part: it does "
                      f"not count in {', '.join(sorted(begun - short.keys()))}")  # fmt: skip
    yield from (Finding("note", "coverage", note) for note in found.notes)


def conserved(rollup: RollupPlanner) -> Iterator[Finding]:
    """Do the sums of the stages agree (M13)?"""
    # The flow records themselves are summed again by `verify`.
    for identity in conservation(rollup, again=False):
        if identity.holds:
            yield Finding("ok", "sums", f"{identity.name}: {identity.left:,}")
        else:
            yield Finding(
                "warning", "sums",
                f"{identity.name}: {identity.left:,} against {identity.right:,}",
                "run `flowpeer verify`, and `flowpeer rollup` after it",
                "sums",
            )  # fmt: skip


def reported(network: Configuration, record: Record) -> Equality | None:
    """Do the lists of candidates place every byte of the roll-ups (M13)? None without any."""
    try:
        inputs = gather(network, record, None).inputs
    except NoDataError:
        return None
    traffic = (
        inputs.traffic.filter(
            (pl.col("role") == "transit") & (pl.col("direction") == "out") & pl.col("scaled")
            & (pl.col("slot") >= inputs.period_start) & (pl.col("slot") < inputs.period_end)
        )
        .select(pl.col("bytes").sum())
        .collect()
        .item()
    )  # fmt: skip
    return Equality(
        "outbound transit: candidates + not listed = traffic",
        placed_bytes(inputs, "out", FileStore), traffic,
    )  # fmt: skip


def unconfigured(network: Configuration, record: Record) -> Iterator[Finding]:
    """Sessions that count as such because they were seen (M9)."""
    try:
        inputs = gather(network, record, None).inputs
    except NoDataError as error:
        yield Finding("note", "sums", str(error))
        return
    seen = {
        "traffic": f"exchange traffic with us on an exchange interface ({SLOTS} slots and more)",
        "bgp": "have a view in our routers' tables",
    }
    for (metro, kind), rows in inputs.sessions.filter(pl.col("kind").is_in(list(seen))).group_by(
        "metro", "kind", maintain_order=True
    ):
        asns = ", ".join(f"AS{asn}" for asn in rows["asn"])
        yield Finding(
            "note", f"metro {metro}",
            f"{rows.height} networks {seen[str(kind)]} and count as sessions, though no "
            f"[[sessions]] names them: {asns}",
            "add them under [[sessions]]",
        )  # fmt: skip
