"""What live asks brought, as an answer (METHODS M16)."""

from __future__ import annotations

from datetime import UTC, datetime, time

from flowpeer.analysis.answers import Answer
from flowpeer.analysis.asks import log_path, read_log
from flowpeer.analysis.inputs import gather
from flowpeer.analysis.periods import data_span
from flowpeer.errors import NoDataError
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer_core.slots import HOUR
from flowpeer_reports.ask_log import asks
from flowpeer_reports.columns.asks import OUTCOMES
from flowpeer_reports.outcomes import SPAN, outcomes
from flowpeer_reports.render import table_page

SCREEN_COLUMNS = (
    "organisation", "asn", "metros", "live_since", "days", "predicted_bps", "weekly_min_bps",
    "weekly_max_bps", "carried_bps", "transit_fall_bps", "growth", "within_range",
)  # fmt: skip


def outcomes_answer(network: Configuration, record: Record) -> Answer:
    """What live asks brought, against what was predicted.

    Raises:
        NoDataError: no ask went live, or there are no data around those days.
    """
    log = asks(read_log(network))
    days = [ask.live_since for ask in log if ask.live_since is not None]
    if not days:
        raise NoDataError(
            f"{log_path(network)}: no ask is live yet",
            advice="`flowpeer asks update ASN live` notes that its session is up",
        )
    first, last = data_span(network, record)
    begin = max(first, datetime.combine(min(days), time(), UTC) - SPAN)
    end = min(last, datetime.combine(max(days), time(), UTC) + SPAN)
    if begin >= end:
        raise NoDataError(
            f"no data around {min(days)}, when the first ask went live",
            advice=f"the roll-ups go from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC",
        )
    begin = begin.replace(minute=0)
    end = -(-(end - begin) // HOUR) * HOUR + begin
    gathered = gather(network, record, f"{begin.isoformat()}/{end.isoformat()}")
    rows = outcomes(gathered.inputs, log)
    title = f"{network.network.name} (AS{network.network.asn}): what asks brought"
    return Answer(
        "outcomes", title, rows, OUTCOMES, rows, lambda: table_page(rows, OUTCOMES, title=title),
        provenance={"log": str(log_path(network)), **gathered.provenance},
        notes=list(gathered.inputs.notes),
        screen_columns=SCREEN_COLUMNS,
    )  # fmt: skip
