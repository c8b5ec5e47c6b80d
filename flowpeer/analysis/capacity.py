"""Growth and capacity as an answer."""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer.analysis.answers import Answer, Direction, SideTable, checked, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.routing import Exits, exits_of
from flowpeer.analysis.signed import (
    SIGNED,
    WithAsks,
    asks_in_place,
    picks_signed,
    relief_of,
    with_asks,
)
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer_reports.capacity import FEWEST, capacity
from flowpeer_reports.columns.capacity import CAPACITY, CAPACITY_LINKS, CAPACITY_WEEKLY
from flowpeer_reports.link_rows import whole_weeks
from flowpeer_reports.loads import loads
from flowpeer_reports.render.tables import tables_page


def capacity_answer(
    gathered: Gathered,
    *,
    direction: Direction = "both",
    metros: Sequence[str] | None = None,
    network: Configuration | None = None,
    record: Record | None = None,
    asks: WithAsks | None = None,
    exits: Exits | None = None,
) -> Answer:
    """When transit is full, and what to buy.

    Args:
        asks: with the network and the record, also as if the first so many of the list of
            organisations were peers, or the signed ones; None: the signed ones where there are
            any and the history is long enough for a forecast.
        exits: those of the period, where they are read already.
    """
    checked(direction)
    inputs = gathered.inputs
    relief = None
    called = ""
    if network is not None and record is not None:
        if asks is None and len(whole_weeks(inputs)) >= FEWEST and picks_signed(network):
            asks = SIGNED
        if asks is not None:
            exits = exits or exits_of(inputs, network, record)
            chosen = asks_in_place(inputs, network, asks)
            relief, called = relief_of(exits, with_asks(exits, chosen)[0]), chosen.called
    ways = ("out", "in") if direction == "both" else (direction,)
    found = capacity(inputs, loads(inputs, ["transit"]), metros=metros or None, ways=ways,
                     relief=relief)  # fmt: skip
    if called:
        found.notes.append(f"month_80_after_asks: less what {called} are seen on")
    title = title_of(inputs, "growth and capacity")
    page = {"capacity": (found.rows, CAPACITY), "capacity_links": (found.links, CAPACITY_LINKS),
            "capacity_weekly": (found.weekly, CAPACITY_WEEKLY)}  # fmt: skip
    return Answer(
        "capacity", title, found.rows, CAPACITY, found,
        lambda: tables_page(title, page, found.notes),
        side_tables={
            "capacity_links": SideTable(found.links, CAPACITY_LINKS),
            "capacity_weekly": SideTable(found.weekly, CAPACITY_WEEKLY),
        },
        notes=found.notes, provenance=gathered.provenance,
    )  # fmt: skip
