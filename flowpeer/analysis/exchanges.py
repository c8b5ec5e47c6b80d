"""What each exchange of our metros would take, joined or not."""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer.analysis.answers import Answer, Direction, SideTable, checked, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.scratch import FileStore
from flowpeer_reports.candidates import Candidates, Valuation, candidates
from flowpeer_reports.columns import EXCHANGES, OPENINGS
from flowpeer_reports.exchanges import exchanges
from flowpeer_reports.render import render_table

SCREEN_COLUMNS = (
    "rank", "metro", "ix_id", "exchange", "joined", "members", "rs_bps", "open_bps",
    "selective_bps", "all_bps", "marginal_bps", "saving_per_month",
)  # fmt: skip


def exchanges_answer(
    gathered: Gathered, *, direction: Direction = "out", metros: Sequence[str] | None = None,
    listed: Candidates | None = None,
) -> Answer:  # fmt: skip
    """The exchanges of each metro, in the order of what they add.

    Args:
        listed: the candidates of just this, where they are made already.
    """
    checked(direction)
    inputs = gathered.inputs
    if listed is None:
        listed = candidates(
            inputs, direction=direction, metros=metros or None, stores=FileStore,
            money=Valuation(gathered.billed, signing=False),
        )  # fmt: skip
    found = exchanges(inputs, listed, gathered.billed, FileStore)
    title = title_of(inputs, "exchanges")
    return Answer(
        "exchanges", title, found.rows, EXCHANGES, found,
        lambda: str(render_table(found.rows, EXCHANGES, format="html", title=title,
                                 notes=found.notes)),
        side_tables={"openings": SideTable(found.openings, OPENINGS)},
        notes=[*found.notes, *inputs.notes], provenance=gathered.provenance,
        screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip
