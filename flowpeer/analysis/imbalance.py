"""The transit imbalance: is transit spread as it is paid for?"""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer.analysis.answers import Answer, Direction, SideTable, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.network import Network
from flowpeer_reports.columns import IMBALANCE
from flowpeer_reports.columns.imbalance import AREAS, HOURS_OF_WEEK, LINKS, ROUTERS, TREND
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.render import html_report
from flowpeer_reports.render.report import Sections

SCREEN_COLUMNS = (
    "metro", "direction", "provider", "capacity_bps", "avg_bps", "p95_bps", "utilisation_p95",
    "share", "target_share", "excess_share", "d", "slots_over_80",
)  # fmt: skip


def imbalance_answer(
    gathered: Gathered,
    *,
    direction: Direction = "both",
    metros: Sequence[str] | None = None,
    network: Network | None = None,
) -> Answer:
    """The imbalance of a period; the targets are those that the network's metros state."""
    chosen = {m.id: m.targets for m in network.metros} if network is not None else {}
    found = imbalance(gathered.inputs, direction=direction, metros=metros or None, chosen=chosen)
    title = title_of(gathered.inputs, "transit imbalance")
    return Answer(
        "imbalance", title, found.rows, IMBALANCE, found,
        lambda: html_report(title=title, sections=Sections(imbalance=found)),
        side_tables={
            "links": SideTable(found.links, LINKS),
            "routers": SideTable(found.routers, ROUTERS),
            "imbalance_areas": SideTable(found.areas, AREAS),
            "hours_of_week": SideTable(found.hours_of_week, HOURS_OF_WEEK),
            "trend": SideTable(found.trend, TREND),
        },
        notes=list(found.notes), totals={"totals": found.totals},
        provenance=gathered.provenance, screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip
