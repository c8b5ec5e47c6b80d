"""The exit audit as an answer."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from flowpeer.analysis.answers import Answer, SideTable, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.routing import Exits, exits_of
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer_reports.columns.exits import EXIT_ROUTES, EXITS
from flowpeer_reports.exits import exits
from flowpeer_reports.render.tables import tables_page


def exits_answer(
    gathered: Gathered,
    network: Configuration,
    record: Record,
    *,
    metros: Sequence[str] | None = None,
    read: Exits | None = None,
) -> Answer:
    """Expected against actual exits, by cause. `read`: the exits of the period, where they are
    read already."""
    of = read or exits_of(gathered.inputs, network, record)
    found = exits(of.found.links, of.outbound(), of.offers, of.choice, of.announced.home)
    rows, routes = found.rows, found.routes
    if metros:
        rows = rows.filter(pl.col("metro").is_in(list(metros)))
        routes = routes.filter(pl.col("metro").is_in(list(metros)))
    title = title_of(gathered.inputs, "exit audit")
    notes = [*of.inputs.notes, *of.notes, *found.notes]
    page = {"exits": (rows, EXITS), "exit_routes": (routes, EXIT_ROUTES)}
    return Answer(
        "exits", title, rows, EXITS, found, lambda: tables_page(title, page, notes),
        side_tables={"exit_routes": SideTable(routes, EXIT_ROUTES)}, notes=notes,
        totals={"judged_share": found.judged_share}, provenance=gathered.provenance,
    )  # fmt: skip
