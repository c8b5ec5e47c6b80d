"""Growth and capacity as an answer."""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer.analysis.answers import Answer, Direction, SideTable, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.routing import Exits, exits_of
from flowpeer.analysis.signed import relief_of, with_asks
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer_reports.capacity import capacity
from flowpeer_reports.columns.capacity import CAPACITY, CAPACITY_LINKS, CAPACITY_WEEKLY
from flowpeer_reports.loads import loads
from flowpeer_reports.render.tables import tables_page


def capacity_answer(
    gathered: Gathered,
    *,
    direction: Direction = "both",
    metros: Sequence[str] | None = None,
    network: Configuration | None = None,
    record: Record | None = None,
    asks: int | None = None,
    exits: Exits | None = None,
) -> Answer:
    """When transit is full, and what to buy.

    Args:
        asks: with the network and the record, also as if the first so many of the list of
            organisations were peers.
        exits: those of the period, where they are read already.
    """
    inputs = gathered.inputs
    relief = None
    if asks is not None and network is not None and record is not None:
        exits = exits or exits_of(inputs, network, record)
        relief = relief_of(exits, with_asks(exits, asks)[0])
    ways = ("out", "in") if direction == "both" else (direction,)
    found = capacity(inputs, loads(inputs, ["transit"]), metros=metros or None, ways=ways,
                     relief=relief)  # fmt: skip
    if asks is not None:
        found.notes.append(f"month_80_after_asks: less what the first {asks} asks are seen on")
    title = title_of(inputs, "growth and capacity")
    page = {"capacity": (found.rows, CAPACITY), "capacity_links": (found.links, CAPACITY_LINKS)}
    return Answer(
        "capacity", title, found.rows, CAPACITY, found,
        lambda: tables_page(title, page, found.notes),
        side_tables={
            "capacity_links": SideTable(found.links, CAPACITY_LINKS),
            "capacity_weekly": SideTable(found.weekly, CAPACITY_WEEKLY),
        },
        notes=found.notes, provenance=gathered.provenance,
    )  # fmt: skip
