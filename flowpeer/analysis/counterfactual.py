"""The period billed again as if the first asks had been peers and the move list applied."""

from __future__ import annotations

import polars as pl

from flowpeer.analysis.answers import Answer, SideTable, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.move_lists import key_of, move_lists, share_of, shifts_of, span_of
from flowpeer.analysis.routing import Exits, exits_of
from flowpeer.analysis.scratch import FileStore
from flowpeer.analysis.signed import with_asks
from flowpeer.errors import UsageError
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer_reports.billing.counterfactual import TiedRoutes, counterfactual, taken_by_asks
from flowpeer_reports.billing.savings import Key, usable_months
from flowpeer_reports.candidates import Valuation, candidates
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.counterfactual import COUNTERFACTUAL
from flowpeer_reports.columns.drill import DRILL_ASKS
from flowpeer_reports.columns.moves import MOVES
from flowpeer_reports.columns.scenarios import SCENARIOS
from flowpeer_reports.meeting import MeetingPlaces
from flowpeer_reports.render.tables import tables_page
from flowpeer_reports.signed import asks_of
from flowpeer_reports.tied import TiedTraffic, free_bytes

SCREEN_COLUMNS = (
    "contract", "month", "as_billed_total", "with_asks_total", "with_moves_total",
    "best_split_total", "currency",
)  # fmt: skip


def counterfactual_answer(
    gathered: Gathered,
    network: Configuration,
    record: Record,
    *,
    asks: int = 10,
    rules: int = 20,
    exits: Exits | None = None,
) -> Answer:
    """What the bills would have been.

    Args:
        asks: how many of the list of organisations had been peers from day one.
        rules: most rules of a metro's move list, which is made for what is left then.
        exits: those of the period, where they are read already.

    Raises:
        UsageError: no contract, or numbers that are none.
    """
    if not isinstance(asks, int) or asks < 1:
        raise UsageError(f"{asks!r} asks", advice="give a number of asks, 1 or more")
    if rules < 0:
        raise UsageError(f"{rules} rules", advice="give 0 or more")
    if gathered.billed is None or not gathered.billed.octets.links:
        raise UsageError(
            "the configuration names no contract"
            if gathered.billed is None
            else "no interface names a contract",
            advice="add [[contracts]] and name them as `contract` of [[interfaces]]",
        )
    inputs, billed = gathered.inputs, gathered.billed
    found = candidates(inputs, asks=asks, stores=FileStore, money=Valuation(billed))
    where = MeetingPlaces(inputs, found.universe.parties)
    exits, placed = with_asks(
        exits or exits_of(inputs, network, record),
        asks_of(found.ranking, where, inputs.names()),
    )
    outbound = exits.tied()
    transit = exits.found.links.filter(pl.col("role") == "transit")
    metros = transit["metro"].unique().sort().to_list()
    lists = move_lists(exits, outbound, network, metros, rules)
    ruled = pl.concat([pl.DataFrame(schema=schema(MOVES)), *(one.made.rows for one in lists)])
    months, projected = usable_months(billed.months)
    made = counterfactual(
        billed.octets, months, billed.convert, taken_by_asks(found), shifts_of(exits, lists),
        _free(exits, outbound, {link.key for link in billed.octets.links}), span_of(exits),
        inputs.currency,
    )  # fmt: skip
    notes = [*inputs.notes, *placed.notes, *made.notes]
    if projected:
        notes.append("amounts are projected: no whole month is in the data")
    title = title_of(inputs, f"the bills with the first {asks} asks and the move list")
    side = {
        "counterfactual_asks": SideTable(placed.asks, DRILL_ASKS),
        "counterfactual_moves": SideTable(ruled, MOVES),
    }
    if found.signing is not None:
        side["counterfactual_scenarios"] = SideTable(found.signing.scenarios, SCENARIOS)
    page = {"counterfactual": (made.rows, COUNTERFACTUAL),
            **{name: (table.rows, table.columns) for name, table in side.items()}}  # fmt: skip
    return Answer(
        "counterfactual", title, made.rows, COUNTERFACTUAL, made,
        lambda: tables_page(title, page, notes), side_tables=side, notes=notes,
        provenance=gathered.provenance, screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip


def _free(exits: Exits, outbound: TiedTraffic, billed: set[Key]) -> list[TiedRoutes]:
    """What could leave by several billed links of its metro."""
    found = exits.found
    able = [
        n
        for n, (role, *_) in enumerate(found.links.select("role").iter_rows())
        if role == "transit" and key_of(exits, n) in billed
    ]
    free, whole = free_bytes(outbound, able)
    hour = found.hour_of_slot
    return [
        TiedRoutes(key_of(exits, link), tuple(key_of(exits, n) for n in options), found.start,
             share_of(size, whole[link])[hour])
        for (link, options), size in sorted(free.items())
    ]  # fmt: skip
