"""Sessions that came up within the period: they count from their live day (METHODS M14).

What their routes sent by transit before it is in no list: `not_listed` says "peered since DATE".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl

from flowpeer_reports.inputs import Inputs
from flowpeer_reports.offload import Cover
from flowpeer_reports.parties import Parties
from flowpeer_reports.ranking import cells_of, sessions_parts
from flowpeer_reports.universe import Flows

ROUTE = ["metro", "prefix", "origin_asn"]
SINCE = pl.Schema([
    ("metro", pl.String()), ("prefix", pl.String()), ("origin_asn", pl.Int64()),
    ("asn", pl.Int64()), ("since", pl.Datetime("us", "UTC")),
])  # fmt: skip
"""Routes of a metro, the party whose session carries them, and since when."""


def came_up(inputs: Inputs, parties: Parties, metro: str) -> dict[int, datetime]:
    """Party → when its first session in the metro came up, where that was within the period."""
    if "since" not in inputs.sessions.columns:
        return {}
    start = inputs.period_start.astimezone(UTC)
    first: dict[int, datetime] = {}
    here = inputs.sessions.filter(pl.col("metro") == metro).select("asn", "since")
    for asn, since in here.iter_rows():
        party, when = parties.of(asn), max(since or start, start)
        first[party] = min(first.get(party, when), when)
    return {party: when for party, when in first.items() if when > start}


def routes_since(
    inputs: Inputs, found: Cover, flows: Flows, metros: Sequence[str], parties: Parties,
    never: Mapping[int, str],
) -> pl.DataFrame:  # fmt: skip
    """The routes that no session carried when the period began, and one does now (`SINCE`)."""
    young = {metro: came_up(inputs, parties, metro) for metro in metros}
    pieces = [pl.DataFrame(schema=SINCE)]
    if not any(young.values()):
        return pieces[0]
    cells = cells_of(inputs, flows, metros, ("out", "in"))
    origin_party = parties.named(np.where(found.origins > 0, found.origins, 0))
    start = inputs.period_start.astimezone(UTC)
    for number, metro in enumerate(metros):
        if not young[metro]:
            continue
        _, parts = sessions_parts(inputs, found, parties, cells, number, never, origin_party)
        first: dict[int, tuple[datetime, int]] = {}
        for part in parts:
            whose = (young[metro].get(part.asn, start), part.asn)
            for cell in part.cells.tolist():
                first[cell] = min(first.get(cell, whose), whose)
        atoms = cells.atom[cells.of(number)]
        late = [(metro, int(atoms[c]), a, w) for c, (w, a) in first.items() if w > start]
        of_atoms = pl.DataFrame(
            late,
            schema={"metro": pl.String, "atom": pl.Int32, "asn": pl.Int64,
                    "since": SINCE["since"]},
            orient="row",
        )  # fmt: skip
        pieces.append(of_atoms.join(found.units, on="atom").select(list(SINCE)))
    return pl.concat(pieces)


def before_since(hourly: pl.LazyFrame, since: pl.DataFrame) -> pl.LazyFrame:
    """Of rows with hour_start, metro, prefix and origin_asn those of `since` routes before their
    session came up, with `asn` and `since`."""
    return hourly.join(since.lazy(), on=ROUTE, nulls_equal=True).filter(
        pl.col("hour_start") < pl.col("since")
    )
