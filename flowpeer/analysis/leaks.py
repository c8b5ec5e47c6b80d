"""What is peered already and still rides transit, as an answer (METHODS M14)."""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer.analysis.answers import Answer, SideTable, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.scratch import FileStore
from flowpeer_reports.columns.leaks import LEAK_PREFIXES, LEAKS
from flowpeer_reports.leaks import leaks
from flowpeer_reports.render.tables import tables_page

SCREEN_COLUMNS = (
    "metro", "asn", "name", "cause", "prefixes", "avg_bps", "p95_bps", "in_row_0",
    "saving_per_month", "currency",
)  # fmt: skip


def leaks_answer(gathered: Gathered, *, metros: Sequence[str] | None = None) -> Answer:
    """What networks with a session of ours should carry, by cause, with the routes."""
    found = leaks(
        gathered.inputs, metros=list(metros) if metros else None, stores=FileStore,
        billed=gathered.billed,
    )  # fmt: skip
    title = title_of(gathered.inputs, "already peered, still on transit")
    notes = [*found.notes, *gathered.inputs.notes]
    page = {"leaks": (found.rows, LEAKS), "leak_prefixes": (found.prefixes, LEAK_PREFIXES)}
    return Answer(
        "leaks", title, found.rows, LEAKS, found, lambda: tables_page(title, page, notes),
        side_tables={"leak_prefixes": SideTable(found.prefixes, LEAK_PREFIXES)},
        notes=notes, provenance=gathered.provenance, screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip
