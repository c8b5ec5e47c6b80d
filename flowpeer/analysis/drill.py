"""The failure drill, the plan of a test of it and its replay as answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

import polars as pl

from flowpeer.analysis.answers import Answer, SideTable, title_of
from flowpeer.analysis.inputs import Gathered, gather
from flowpeer.analysis.routing import Exits, exits_of
from flowpeer.analysis.signed import WithAsks, asks_in_place, with_asks
from flowpeer.errors import UsageError
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.period import parse_period
from flowpeer_core.slots import SLOT
from flowpeer_reports.columns.drill import (
    DRILL,
    DRILL_ASKS,
    DRILL_BETWEEN_METROS,
    DRILL_SLOTS,
    DRILL_SUMMARY,
    REPLAY,
)
from flowpeer_reports.columns.drt import DRT, DRT_LINKS
from flowpeer_reports.drill import Drill, drill
from flowpeer_reports.drt import drt
from flowpeer_reports.loads import covered_links
from flowpeer_reports.removals import Removal, chosen, groups, site, together
from flowpeer_reports.render.tables import tables_page
from flowpeer_reports.replay import replay

SCREEN_COLUMNS = (
    "kind", "removed", "exporter", "interface", "direction", "capacity_bps", "max_before_bps",
    "max_bps", "max_utilisation", "slots_over_80", "slots_over_100", "worst_max_bps",
    "ports_to_buy", "bottleneck",
)  # fmt: skip
DRT_SCREEN = (
    "metro", "step", "withdraw", "to_metro", "why", "moved_share", "fullest_link",
    "fullest_utilisation", "slots_over_100", "verdict",
)  # fmt: skip
MOST_GROWTH = 10


def growths_of(text: str) -> list[Fraction]:
    """`3`, `1.5` or `1..10` (each whole number) → factors. Raises UsageError."""
    advice = "a factor of 1 to 10 like 1.5, or 1..10 for each whole one"
    try:
        first, dots, last = text.partition("..")
        if dots:
            found = [Fraction(n) for n in range(int(first), int(last) + 1)]
        else:
            found = [Fraction(first)]
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--growth {text}: no factor", advice=advice) from None
    if not found or not all(1 <= g <= MOST_GROWTH and g.denominator <= 1000 for g in found):
        raise UsageError(f"--growth {text}: out of bounds", advice=advice)
    return found


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """What fails, and under which traffic.

    `remove` at once are one drill, `every` is one of each; the demand of the metro `site_lost`
    goes, or moves `to` another. `growth` as `growths_of` reads it; `slots`: each slot too; `asks`:
    as if the first so many of the list of organisations were peers, or the signed ones.
    """

    remove: Sequence[str] = ()
    every: bool = False
    site_lost: str | None = None
    to: str | None = None
    growth: str = "1"
    slots: bool = False
    asks: WithAsks | None = None

    def removals(self, exits: Exits) -> list[Removal]:
        """What is removed, a drill each. Raises UsageError where nothing is."""
        links = exits.found.links
        if links.is_empty():
            raise UsageError(
                "no interface with the role transit, ix or peer carries anything in the period",
                advice="give interfaces their roles under [[interfaces]], then run "
                "`flowpeer rollup`",
            )
        known = groups(links, exits.risk_groups)
        found = list(known) if self.every else []
        if self.remove:
            found.append(together(chosen(known, self.remove)))
        if self.site_lost is not None:
            found.append(site(links, self.site_lost, self.to, exits.choice.places.metros))
        if not found:
            raise UsageError(
                "nothing to remove",
                advice="give --remove link:EXPORTER:INDEX, --all or --site-lost",
            )
        return found


def drill_answer(
    gathered: Gathered,
    network: Configuration,
    record: Record,
    asked: DrillRequest,
    *,
    metros: Sequence[str] | None = None,
    exits: Exits | None = None,
) -> Answer:
    """What happens to the links that are left; `metros` only narrows what is shown, `exits` are
    those of the period, where they are read already."""
    factors = growths_of(asked.growth)
    if asked.to is not None and asked.site_lost is None:
        raise UsageError("--to without --site-lost", advice="add --site-lost METRO, or --plan")
    exits = exits or exits_of(gathered.inputs, network, record)
    covered = covered_links(exits.inputs, exits.found)
    title = title_of(gathered.inputs, "failure drill")
    placed = None
    if asked.asks is not None:
        chosen_asks = asks_in_place(exits.inputs, network, asked.asks)
        exits, placed = with_asks(exits, chosen_asks)
        title += f", with {chosen_asks.called} in place"
    found = drill(
        exits.compiler, asked.removals(exits), covered=covered, growths=factors, slots=asked.slots
    )
    rows = found.rows if not metros else found.rows.filter(pl.col("metro").is_in(list(metros)))
    notes = [*_notes(found, rows, metros or ()), *exits.inputs.notes, *exits.notes, *found.notes]
    side = {
        "drill_summary": SideTable(found.summary, DRILL_SUMMARY),
        "drill_between_metros": SideTable(found.between_metros, DRILL_BETWEEN_METROS),
    }
    page = {"drill_summary": (found.summary, DRILL_SUMMARY), "drill": (rows, DRILL),
            "drill_between_metros": (found.between_metros, DRILL_BETWEEN_METROS)}  # fmt: skip
    if placed is not None:
        side["drill_asks"] = SideTable(placed.asks, DRILL_ASKS)
        page["drill_asks"] = (placed.asks, DRILL_ASKS)
    if asked.slots:
        side["drill_slots"] = SideTable(found.slots, DRILL_SLOTS)
    return Answer(
        "drill", title, rows, DRILL, found, lambda: tables_page(title, page, notes),
        side_tables=side, notes=notes,
        totals={"largest_growth": found.largest_growth, "growths": found.growths},
        provenance=gathered.provenance, screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip


def _notes(found: Drill, rows: pl.DataFrame, metros: Sequence[str]) -> list[str]:
    """Notes of a drill: bytes without a way, the growth that survives, metros without a row."""
    lost = ("out_without_way_bytes", "in_without_way_bytes", "gone_bytes")
    summary = found.summary.unique(["kind", "removed"], maintain_order=True).head(5)
    notes = [
        f"{row['kind']} {row['removed']}: without a way {row[lost[0]]:,} bytes out and "
        f"{row[lost[1]]:,} in, gone {row[lost[2]]:,}; moved {row['moved_bytes']:,}"
        for row in summary.reverse().iter_rows(named=True)
        if any(row[name] for name in lost)
    ]
    if found.largest_growth is not None:
        notes.append(
            "the present traffic, and each drill asked for, survives up to "
            f"{found.largest_growth:g} times as much (inbound pro rata)"
        )
    if found.rows.height and not rows.height:
        notes.append(
            f"no link of {', '.join(metros)} takes anything over: leave out --metro to see who does"
        )
    return notes


def drt_answer(
    gathered: Gathered,
    network: Configuration,
    record: Record,
    metros: Sequence[str],
    *,
    to: str | None = None,
    growth: str = "1",
    asks: WithAsks | None = None,
    exits: Exits | None = None,
) -> Answer:
    """Which own prefixes to withdraw in a metro, in which order, and what each step does.

    Args:
        metros: to empty, each by itself; none: every one.
    """
    factors = growths_of(growth)
    if len(factors) > 1:
        raise UsageError(f"--growth {growth}: a plan has one growth", advice="give one factor")
    exits = exits or exits_of(gathered.inputs, network, record)
    covered = covered_links(exits.inputs, exits.found)
    if asks is not None:
        chosen_asks = asks_in_place(exits.inputs, network, asks)
        exits, _ = with_asks(exits, chosen_asks)
    chosen_ = list(metros) or [
        m for m in exits.choice.places.metros if m in set(exits.found.links["metro"])
    ]
    found = drt(exits.compiler_by_local, chosen_, covered=covered, to=to, growth=factors[0])
    notes = [*exits.inputs.notes, *exits.notes, *found.notes]
    title = title_of(gathered.inputs, "plan of a disaster-recovery test")
    if asks is not None:
        title += f", with {chosen_asks.called} in place"
    page = {"drt": (found.steps, DRT), "drt_links": (found.links, DRT_LINKS)}
    return Answer(
        "drt", title, found.steps, DRT, found, lambda: tables_page(title, page, notes),
        side_tables={"drt_links": SideTable(found.links, DRT_LINKS)}, notes=notes,
        provenance=gathered.provenance, screen_columns=DRT_SCREEN,
    )  # fmt: skip


def replay_answer(
    network: Configuration, record: Record, asked: str, *, metros: Sequence[str] | None = None
) -> Answer:
    """Predicted against what happened in START/END; `metros` narrows what is shown."""
    start, end = parse_period(asked)
    for back in (timedelta(days=1), timedelta(days=7)):
        gathered = gather(network, record, _text(start - back, end))
        if _has_traffic(gathered, start - back, end - back):
            break
    exits = exits_of(gathered.inputs, network, record)
    first = (start - gathered.inputs.period_start) // SLOT
    window = slice(first, min(first + (end - start) // SLOT, exits.found.slots))
    found = replay(exits.compiler, window)
    title = f"{gathered.inputs.name}: replay of {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    by_metro = [
        f"{key}: error {error:.1%}"
        for key, error in found.error.items()
        if error is not None and "/" in key and (not metros or key.split("/")[0] in metros)
    ]
    notes = [*exits.inputs.notes, *exits.notes, *found.notes, *by_metro]
    rows = found.rows
    if metros:
        rows = rows.join(
            exits.found.links.filter(pl.col("metro").is_in(list(metros))),
            on=["exporter", "interface"], how="semi", maintain_order="left",
        )  # fmt: skip
    return Answer(
        "replay", title, rows, REPLAY, found,
        lambda: tables_page(title, {"replay": (rows, REPLAY)}, notes),
        notes=notes, provenance=gathered.provenance,
        totals={"error": found.error, "window_error": found.window_error, "removed": found.removed},
    )  # fmt: skip


def _text(start: datetime, end: datetime) -> str:
    first = start.replace(minute=0)
    last = end if not end.minute else end.replace(minute=0) + timedelta(hours=1)
    return f"{first.isoformat()}/{last.isoformat()}"


def _has_traffic(gathered: Gathered, start: datetime, end: datetime) -> bool:
    slots = gathered.inputs.traffic.filter(pl.col("slot") >= start, pl.col("slot") < end)
    return not slots.head(1).collect().is_empty()
