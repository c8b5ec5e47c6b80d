"""What the figures of an answer depend on, stated on the answer itself (METHODS M1, M2, M5).

`check` says it of all data, and every answer of its own period and metros: whoever reads a figure
sees what it hangs on without running `check` first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from flowpeer import catalog
from flowpeer.analysis.answers import Answer
from flowpeer.analysis.inputs import Gathered
from flowpeer.checks.exporters import name_of
from flowpeer.checks.findings import Finding, judged
from flowpeer.checks.metered import (
    by_interface,
    metering_conflicts,
    one_way,
    rib_age,
    undue,
    unknown_interfaces,
    unscaled,
)
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.rollup.planner import RollupPlanner

LOST_PARTS = 1000
"""One lost of so many touches a figure: less is in the noise of sampling."""


def stated(
    gathered: Gathered,
    network: Configuration,
    record: Record,
    metros: Collection[str] | None = None,
) -> tuple[Gathered, list[str]]:
    """What an answer is made from, with what its figures hang on among its notes, but those of
    metros that it leaves out; and the warnings of them, those that nobody has accepted."""
    inputs = gathered.inputs
    start, end = inputs.period_start, inputs.period_end
    relevant = _relevant(network, record, start, end, metros)
    left_out = {m.id for m in network.metros if metros is not None and m.id not in metros}
    left_out |= {e.id for e in network.exporters if e.metro in left_out}
    notes = [text for text in inputs.notes if text.partition(":")[0] not in left_out]
    notes += map(_noted, relevant)
    return replace(gathered, inputs=replace(inputs, notes=tuple(notes))), _warnings(relevant)


def stated_on(answer: Answer, network: Configuration, record: Record) -> list[str]:
    """The same for an answer that is made already: its notes grow."""
    period = answer.provenance["period"]
    start, end = (datetime.fromisoformat(period[name]) for name in ("start", "end"))
    relevant = _relevant(network, record, start, end, None)
    answer.found.notes.extend(map(_noted, relevant))
    return _warnings(relevant)


def _relevant(
    network: Configuration, record: Record, start: datetime, end: datetime,
    metros: Collection[str] | None,
) -> list[Finding]:  # fmt: skip
    day = None if record.until is None else record.until.date()
    found = judged(touching(network, record, start, end, metros), network.accepted, day)
    return [f for f in found if f.level in ("warning", "note")]


def _warnings(relevant: Collection[Finding]) -> list[str]:
    return [_in_words(f) for f in relevant if f.level == "warning"]


def _noted(finding: Finding) -> str:
    return ("warning: " if finding.level == "warning" else "") + _in_words(finding)


def _in_words(finding: Finding) -> str:
    step = f" ({finding.next_step})" if finding.next_step else ""
    return f"{finding.subject}: {finding.text}{step}"


def touching(
    network: Configuration,
    record: Record,
    start: datetime,
    end: datetime,
    metros: Collection[str] | None = None,
) -> list[Finding]:
    """Everything that figures of a period and of some metros (None: all) hang on."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    others = {e.id for e in network.exporters if metros is not None and e.metro not in metros}
    rollup = RollupPlanner(record.lake, network, record=record, period=(start, end))
    inside = (pl.col("slot") >= start) & (pl.col("slot") < end)

    def read() -> tuple[pl.DataFrame, list[Finding]]:
        slots = catalog.scan_slots(record, start, end).filter(inside)
        return by_interface(slots), list(undue(network, slots))

    sums, not_due = record.read("traffic", read)
    found = [
        *losses(network, record, start, end),
        *unknown_interfaces(sums),
        *one_way(network, sums),
        *metering_conflicts(network, rollup, start, end),
        *unscaled(sums),
        *not_due,
        *rib_age(rollup.snapshots, end),
    ]
    subjects = tuple(text for e in others for text in (f"exporter {e}", f" of {e}"))
    return [f for f in found if not f.subject.endswith(subjects)]


def losses(
    network: Configuration, record: Record, start: datetime, end: datetime
) -> Iterator[Finding]:
    """What exporters sent in the period that did not arrive."""

    def read() -> pl.DataFrame:
        rows = catalog.scan(record.lake.root, "coverage", start=start, end=end)
        return (
            rows.filter(pl.col("slot") >= start, pl.col("slot") < end)
            .group_by("exporter_ip")
            .agg(pl.col("received", "lost").sum())
            .filter(pl.col("lost") * LOST_PARTS > pl.col("lost") + pl.col("received"))
            .sort("exporter_ip")
            .collect()
        )

    for ip, received, lost in record.read("coverage", read).iter_rows():
        yield Finding(
            "warning", f"exporter {name_of(network, ip)}",
            f"{lost:,} lost on the way by its sequence numbers ({lost / (lost + received):.2%})",
            "look for drops between the router and here", "lost",
        )  # fmt: skip
