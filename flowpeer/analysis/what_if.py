"""What if these asks all said yes, as an answer (METHODS M7, M8, M11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import polars as pl

from flowpeer.analysis.answers import Answer, SideTable, title_of
from flowpeer.analysis.asks import organisation_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.errors import UsageError
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.what_if import (
    WHAT_IF,
    WHAT_IF_ASKS,
    WHAT_IF_LINKS,
    WHAT_IF_METROS,
)
from flowpeer_reports.errors import ReportError
from flowpeer_reports.render.tables import tables_page
from flowpeer_reports.what_if import Baseline, pick_of


class WhatIfs:
    """Selections of one period: an answer is quick, for what all of them rest on is made once."""

    def __init__(self, gathered: Gathered, network: Configuration, lake: Lake) -> None:
        self._gathered, self._lake = gathered, lake
        self._board = Baseline(
            gathered.inputs, gathered.billed, {m.id: m.targets for m in network.metros}
        )

    def answer(self, picks: Sequence[str], *, on: date | None = None) -> Answer:
        """What these bring, in their order: `METRO:ASN`, or `METRO:ixID` for the members of an
        exchange that are easily won.

        Args:
            on: the day that the lines for the log of asks bear; default today, UTC.

        Raises:
            UsageError: one is no pick, or of a metro or an exchange that there is not.
        """
        try:
            found = self._board.selection([pick_of(text) for text in picks])
        except ReportError as error:
            raise UsageError(str(error), advice=error.advice) from None
        title = title_of(self._gathered.inputs, "what if")
        more = {
            "what_if_links": SideTable(found.links, WHAT_IF_LINKS),
            "what_if_metros": SideTable(found.metros, WHAT_IF_METROS),
            "what_if_asks": SideTable(self._asks(found.rows, on), WHAT_IF_ASKS),
        }
        page = {
            "what_if": (found.rows, WHAT_IF), **{n: (t.rows, t.columns) for n, t in more.items()}
        }  # fmt: skip
        return Answer(
            "what_if", title, found.rows, WHAT_IF, found,
            lambda: tables_page(title, page, found.notes), side_tables=more, notes=found.notes,
            provenance=self._gathered.provenance,
        )  # fmt: skip

    def _asks(self, rows: pl.DataFrame, on: date | None) -> pl.DataFrame:
        """The networks of an answer as lines of the log of asks."""
        day = (on or datetime.now(UTC).date()).isoformat()
        picked = rows.drop_nulls("asn")
        values = [
            {"date": day, "organisation": organisation_of(self._lake, asn), "asn": asn,
             "metros": metro, "event": "planned", "predicted_bps": round(rate),
             "predicted_saving": saving}
            for metro, asn, rate, saving in picked.select(
                "metro", "asn", "out_bps", "bill_saving_per_month"
            ).iter_rows()
        ]  # fmt: skip
        return pl.DataFrame(values, schema=schema(WHAT_IF_ASKS))
