"""The transit imbalance: is transit spread as it is paid for?"""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer.analysis.answers import Answer, Direction, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer_reports.columns import IMBALANCE
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.render import html_report
from flowpeer_reports.render.report import Sections

SCREEN_COLUMNS = (
    "metro", "direction", "provider", "capacity_bps", "avg_bps", "p95_bps", "utilisation_p95",
    "share", "target_share", "excess_share", "d", "slots_over_80",
)  # fmt: skip


def imbalance_answer(
    gathered: Gathered, *, direction: Direction = "both", metros: Sequence[str] | None = None
) -> Answer:
    """The imbalance of a period."""
    found = imbalance(gathered.inputs, direction=direction, metros=metros or None)
    title = title_of(gathered.inputs, "transit imbalance")
    return Answer(
        "imbalance", title, found.rows, IMBALANCE, found,
        lambda: html_report(title=title, sections=Sections(imbalance=found)),
        notes=list(found.notes), totals={"totals": found.totals},
        provenance=gathered.provenance, screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip
