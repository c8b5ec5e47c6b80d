"""What the report's page shows beside the answers: charts and grades, as figures."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from flowpeer_reports.candidates import Candidates
from flowpeer_reports.curve import curve
from flowpeer_reports.drafts import drafts
from flowpeer_reports.grades import grades
from flowpeer_reports.imbalance import Imbalance
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.profiles import Profiles, profiles
from flowpeer_reports.timelines import Timelines, timelines

BEST_OVERALL, ROWS_PER_METRO = 15, 25
"""Rows that a page shows of the organisations' list and of each metro's; the files have all."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A part that is None is left out."""

    timelines: Timelines | None = None
    grades: pl.DataFrame | None = None
    curve: pl.DataFrame | None = None
    profiles: Profiles | None = None
    drafts: pl.DataFrame | None = None


def pictures(inputs: Inputs, found: Candidates, spread: Imbalance) -> Pictures:
    """All of them, of one period."""
    metros = list(dict.fromkeys([*(m for m in found.totals if m != "all"), *spread.targets]))
    asks = found.organisations.filter(pl.col("rank") > 0)["asn"].head(BEST_OVERALL).to_list()
    return Pictures(
        timelines=timelines(inputs, spread),
        grades=grades(inputs, metros),
        curve=curve(found.organisations, found.totals["all"]["transit_bps"]),
        profiles=profiles(inputs, found, ROWS_PER_METRO),
        drafts=drafts(inputs, found, asns=asks) if asks else None,
    )
