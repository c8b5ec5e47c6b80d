"""Growth and capacity as an answer."""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer.analysis.answers import Answer, Direction, SideTable, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer_reports.capacity import capacity
from flowpeer_reports.columns.capacity import CAPACITY, CAPACITY_LINKS
from flowpeer_reports.loads import loads
from flowpeer_reports.render.tables import tables_page


def capacity_answer(
    gathered: Gathered, *, direction: Direction = "both", metros: Sequence[str] | None = None
) -> Answer:
    """When transit is full, and what to buy."""
    inputs = gathered.inputs
    ways = ("out", "in") if direction == "both" else (direction,)
    found = capacity(inputs, loads(inputs, ["transit"]), metros=metros or None, ways=ways)
    title = title_of(inputs, "growth and capacity")
    page = {"capacity": (found.rows, CAPACITY), "capacity_links": (found.links, CAPACITY_LINKS)}
    return Answer(
        "capacity", title, found.rows, CAPACITY, found,
        lambda: tables_page(title, page, found.notes),
        side_tables={"capacity_links": SideTable(found.links, CAPACITY_LINKS)},
        notes=found.notes, provenance=gathered.provenance,
    )  # fmt: skip
