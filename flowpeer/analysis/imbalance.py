"""The transit imbalance: is transit spread as it is paid for, and what would have to move?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from flowpeer.analysis.answers import Answer, Direction, SideTable, checked, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.move_lists import MoveList, move_lists, shifts_of, span_of
from flowpeer.analysis.routing import Exits, exits_of
from flowpeer.errors import UsageError
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer_reports.billing.bills import bills
from flowpeer_reports.billing.counterfactual import beyond_note, moved_bills
from flowpeer_reports.billing.rows import BilledPeriod
from flowpeer_reports.billing.savings import usable_months
from flowpeer_reports.causes import Evidence, Excess, causes
from flowpeer_reports.columns import IMBALANCE, schema
from flowpeer_reports.columns.bills import IMBALANCE_BILLS
from flowpeer_reports.columns.causes import CAUSES
from flowpeer_reports.columns.imbalance import AREAS, HOURS_OF_WEEK, LINKS, ROUTERS, TREND
from flowpeer_reports.columns.moves import (
    INBOUND,
    INBOUND_KNOBS,
    MOVES,
    MOVES_BILLS,
    MOVES_EFFECT,
)
from flowpeer_reports.imbalance import Imbalance, imbalance, providers_of
from flowpeer_reports.inbound import inbound, knobs
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.loads import covered_links
from flowpeer_reports.moves_effect import moves_effect
from flowpeer_reports.render import failures, html_report
from flowpeer_reports.render.report import Sections
from flowpeer_reports.tied import feasible

SCREEN_COLUMNS = (
    "metro", "direction", "provider", "capacity_bps", "avg_bps", "p95_bps", "utilisation_p95",
    "share", "target_share", "excess_share", "d", "slots_over_80",
)  # fmt: skip
SHEET_COLUMNS = (
    "metro", "capacity_bps", "avg_bps", "p50_bps", "p95_bps", "peak_bps", "utilisation_p95",
    "slots_over_80",
)  # fmt: skip
"""Of a provider's own sheet: nothing of its competitors, of targets or of D."""
HEADINGS = {
    "imbalance_areas": "Regions and the whole network",
    "imbalance_causes": "Why transit is uneven",
    "moves": "What to move",
    "moves_effect": "What the moves do to each provider",
    "moves_bills": "Bills before and after the moves",
    "imbalance_bills": "Bills by provider and month",
    "links": "Links, the fullest first",
    "routers": "Routers",
    "trend": "Change from week to week",
}
"""Side tables on the page; inbound traffic has a page for each provider."""
MOST_RULES = 20
MOST_NOTES = 5
"""Causes that are reported in words; the table has all."""


def imbalance_answer(
    gathered: Gathered,
    *,
    direction: Direction = "both",
    metros: Sequence[str] | None = None,
    network: Configuration | None = None,
    record: Record | None = None,
    rules: int = MOST_RULES,
    exits: Exits | None = None,
) -> Answer:
    """The imbalance of a period.

    Args:
        network: its metros' `targets` are the targets.
        record: with the network, the routes are read, and what could move is in `moves`.
        rules: most of them in a metro.
        exits: those of the period, where they are read already.

    Raises:
        UsageError: no direction, or fewer than no rules.
    """
    checked(direction)
    if rules < 0:
        raise UsageError(f"{rules} rules", advice="give 0 or more")
    inputs = gathered.inputs
    chosen = {m.id: m.targets for m in network.metros} if network is not None else {}
    found = imbalance(inputs, direction=direction, metros=metros or None, chosen=chosen)
    names = inputs.names()
    side = {
        "links": SideTable(found.links, LINKS),
        "routers": SideTable(found.routers, ROUTERS),
        "imbalance_areas": SideTable(found.areas, AREAS),
        "hours_of_week": SideTable(found.hours_of_week, HOURS_OF_WEEK),
        "trend": SideTable(found.trend, TREND),
    }
    if direction != "in" and network is not None and record is not None:
        exits = exits or exits_of(inputs, network, record)
        side["imbalance_causes"] = SideTable(_causes(found, exits, names), CAUSES)
        side |= _moves(found, exits, network, rules, gathered.billed)
    if direction != "out" and found.loads is not None:
        called = {
            metro: {p.asn: p.name for p in providers_of(inputs, found.loads, metro, names)}
            for metro in found.targets
        }
        side["inbound"] = SideTable(inbound(inputs, found.loads, called, names), INBOUND)
        side["inbound_knobs"] = SideTable(knobs(), INBOUND_KNOBS)
    title = title_of(inputs, "transit imbalance")
    if gathered.billed is not None and network is not None:
        beside = _bills(gathered.billed, network, metros)
        side["imbalance_bills"] = SideTable(beside, IMBALANCE_BILLS)
    more = [(heading, side[name].rows, side[name].columns)
            for name, heading in HEADINGS.items() if name in side]  # fmt: skip
    drawn = {"Transit by hour of the week": failures.hours(found.hours_of_week)}
    return Answer(
        "imbalance", title, found.rows, IMBALANCE, found,
        lambda: html_report(
            title=title, sections=Sections(imbalance=found, more=more, drawn=drawn)
        ),
        side_tables=side, pages=_sheets(inputs, found, side),
        notes=list(found.notes), totals={"totals": found.totals},
        provenance=gathered.provenance, screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip


def _sheets(
    inputs: Inputs, found: Imbalance, side: Mapping[str, SideTable]
) -> dict[str, Callable[[], str]]:
    """A page for each provider, of its own inbound traffic alone, that can be handed to it."""
    if "inbound" not in side:
        return {}
    rows = side["inbound"].rows.drop_nulls("provider_asn")
    here = found.rows.filter(pl.col("direction") == "in")
    columns = {
        "by metro": [c for c in IMBALANCE if c.name in SHEET_COLUMNS],
        "by source": [c for c in INBOUND if c.name not in ("provider_asn", "provider")],
    }

    def sheet(asn: int, name: str) -> str:
        mine = pl.col("provider_asn") == asn
        return html_report(
            title=title_of(inputs, f"inbound traffic by {name} (AS{asn})"),
            sections=Sections(
                whole=True,
                more=[
                    ("By metro", here.filter(mine), columns["by metro"]),
                    ("By own prefix and source", rows.filter(mine), columns["by source"]),
                    ("What can be set, and what else it does", knobs(), INBOUND_KNOBS),
                ],
            ),
        )

    return {
        f"inbound_AS{asn}": partial(sheet, asn, name)
        for asn, name in rows.group_by("provider_asn", maintain_order=True)
        .agg(pl.col("provider").first())
        .iter_rows()
    }


def _bills(
    billed: BilledPeriod, network: Configuration, metros: Sequence[str] | None
) -> pl.DataFrame:
    """The bill of each contract and month, by the providers that its links lead to."""
    made = bills(billed.months, billed.octets, now=billed.octets.end).rows
    metro_of = {e.id: e.metro for e in network.exporters}
    places = sorted(
        {(i.contract, i.asn, metro_of[i.exporter]) for i in network.interfaces if i.contract},
        key=str,
    )
    here = (
        pl.DataFrame(
            places, schema={"contract": pl.String, "provider_asn": pl.Int64, "metro": pl.String},
            orient="row",
        )
        .group_by("contract", "provider_asn", maintain_order=True)
        .agg(metros=pl.col("metro"))
    )  # fmt: skip
    if metros:
        here = here.filter(pl.col("metros").list.set_intersection(list(metros)).list.len() > 0)
    return (
        made.join(here, on="contract")
        .sort("provider_asn", "contract", "month", nulls_last=True)
        .select(pl.col(c.name).cast(c.type) for c in IMBALANCE_BILLS)
    )


def _causes(found: Imbalance, exits: Exits, names: dict[int, str]) -> pl.DataFrame:
    """Why providers carry more than their part; the largest of each is a note."""
    rows = found.rows.drop_nulls("excess_share")
    sizes = (
        exits.inputs.traffic.filter(
            pl.col("role") == "transit", "scaled", pl.col("direction").is_in(["in", "out"]),
            pl.col("slot") >= exits.inputs.period_start, pl.col("slot") < exits.inputs.period_end,
        )
        .group_by("metro", "provider_asn", "direction", "remote_asn")
        .agg(pl.col("bytes").sum())
        .collect()
    )  # fmt: skip
    totals = {
        (m, a, d): b
        for m, a, d, b in sizes.group_by("metro", "provider_asn", "direction")
        .agg(pl.col("bytes").sum())
        .iter_rows()
    }
    excess = [
        Excess(
            str(metro),
            str(way),
            {
                asn: (name, part, totals.get((metro, asn, way), 0))
                for asn, name, part in mine.select(
                    "provider_asn", "provider", "excess_share"
                ).iter_rows()
            },
        )
        for (metro, way), mine in rows.group_by("metro", "direction", maintain_order=True)
    ]
    evidence = Evidence(
        exits.found, exits.offers, exits.choice, exits.outbound(), exits.prepended, sizes,
        covered_links(exits.inputs, exits.found),
    )  # fmt: skip
    made = causes(evidence, excess, names)
    found.notes += [
        f"{metro} {way}: {provider} carries {part:.1%} of the traffic too much; of its bytes "
        f"{share:.0%}: {cause}"
        for metro, way, provider, part, share, cause in made.drop_nulls("share")
        .sort("share", descending=True)
        .unique(["metro", "direction", "provider_asn"], keep="first", maintain_order=True)
        .sort("excess_share", descending=True)
        .head(MOST_NOTES)
        .select("metro", "direction", "provider", "excess_share", "share", "cause")
        .iter_rows()
    ]
    return made


def _moves(
    found: Imbalance,
    exits: Exits,
    network: Configuration,
    rules: int,
    billed: BilledPeriod | None,
) -> dict[str, SideTable]:
    """Rules of every metro and what they do; D_feasible is filled into the rows and totals of
    `found`."""
    outbound = exits.tied()
    lists = move_lists(exits, outbound, network, list(found.targets), rules)
    least: dict[str, tuple[float, float]] = {}
    for one in lists:
        metro, made = one.aim.metro, one.made
        bound = feasible(outbound, metro, [p.asn for p in one.aim.providers], one.aim.weights)
        able = [
            n
            for n, (m, role) in enumerate(exits.found.links.select("metro", "role").iter_rows())
            if m == metro and role == "transit" and exits.offers.loaded[n]
        ]
        if bound is not None and len(able) > 1:
            least[metro] = (bound.d_feasible, bound.d_hourly)
            found.totals[f"{metro}/out"] |= {
                "d_feasible": bound.d_feasible, "d_hourly": bound.d_hourly,
                "tied_share": bound.tied_share,
            }  # fmt: skip
        found.notes += made.notes
        if made.rows.height:
            found.totals[f"{metro}/out"]["d_after_moves"] = made.d_after
            found.notes.append(
                f"{metro}: {made.rows.height} rules take d outbound from {made.d_before:.3f} to "
                f"{made.d_after:.3f}; no longer AS path is claimed, nothing of latency"
                + (f"; least possible by tied routes {least[metro][0]:.3f}, by the hour"
                   if metro in least else "")
            )  # fmt: skip
    values: Any = pl.DataFrame(
        [(m, "out", f, h) for m, (f, h) in least.items()],
        schema={"metro": pl.String, "direction": pl.String, "f": pl.Float64, "h": pl.Float64},
        orient="row",
    )
    found.rows = (
        found.rows.join(values, on=["metro", "direction"], how="left", maintain_order="left")
        .with_columns(d_feasible="f", d_hourly="h")
        .drop("f", "h")
    )
    empty = pl.DataFrame(schema=schema(MOVES))
    side = {
        "moves": SideTable(pl.concat([empty, *(one.made.rows for one in lists)]), MOVES),
        "moves_effect": SideTable(
            pl.concat([pl.DataFrame(schema=schema(MOVES_EFFECT)),
                       *(moves_effect(exits.found, one.aim, one.made) for one in lists)]),
            MOVES_EFFECT,
        ),
    }  # fmt: skip
    if billed is not None:
        side["moves_bills"] = SideTable(_moved_bills(found, exits, lists, billed), MOVES_BILLS)
    return side


def _moved_bills(
    found: Imbalance, exits: Exits, lists: Sequence[MoveList], billed: BilledPeriod
) -> pl.DataFrame:
    """The bills of the contracts of these metros, before and after; notes go to `found`."""
    metros = [one.aim.metro for one in lists]
    here = set(
        exits.found.links.filter(pl.col("metro").is_in(metros))
        .select("exporter", "interface").iter_rows()
    )  # fmt: skip
    contracts = {link.contract for link in billed.octets.links if link.key in here}
    months, projected = usable_months(billed.months)
    months = [m for m in months if m.terms.contract in contracts]
    span, shifts = span_of(exits), shifts_of(exits, lists)
    found.notes += beyond_note(months, span)
    if projected and months:
        found.notes.append("bills with the moves are projected: no whole month is in the data")
    return moved_bills(billed.octets, months, billed.convert, shifts, span, exits.inputs.currency)
