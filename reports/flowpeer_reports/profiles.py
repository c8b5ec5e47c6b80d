"""The day of a row: its average by hour of day, over the slots that count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

import numpy as np

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.candidates import Candidates
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.percentiles import counted

HOURS = 24
Profiles = Mapping[tuple[str, int], tuple[float, ...]]
"""(metro, ASN) → bit/s in each hour of the day, UTC; the metro is "" for all of them."""


def profiles(inputs: Inputs, found: Candidates, most: int) -> Profiles:
    """Of the marginal part of the first `most` rows of each list, in the direction that ranks."""
    ranking, series = found.ranking, found.series
    first = int(inputs.period_start.astimezone(UTC).timestamp()) // SLOT_SECONDS
    sums: dict[tuple[str, int], np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for metro, listing in enumerate(ranking.metros):
        counts = counted(inputs, series, metro, listing.name, ranking.directions)
        hours = (first + counts.places) * SLOT_SECONDS // 3600 % HOURS
        slots = np.maximum(np.bincount(hours, minlength=HOURS), 1)
        for name, rows in ((listing.name, listing.rows), ("", ranking.organisations.rows)):
            for number, row in enumerate(rows[:most]):
                if row.asn is None or (not name and metro not in row.metros):
                    continue
                key = (name, "marginal", number)
                values, _, _ = counts.line(series, key, metro, ranking.directions)
                octets = np.bincount(hours, weights=values, minlength=HOURS)
                day = octets * 8 / (slots * SLOT_SECONDS)
                held = sums.get((name, row.asn))
                sums[name, row.asn] = day if held is None else held + day
    return {key: tuple(day.tolist()) for key, day in sums.items()}


def busiest(day: tuple[float, ...]) -> int:
    """The hour with the most; the first of equals."""
    return int(np.argmax(np.array(day)))


def ratio(row: Mapping[str, object]) -> float | None:
    """Inbound ÷ outbound bytes of a row; None where nothing goes out."""
    into, out = row["in_bytes"], row["out_bytes"]
    return into / out if isinstance(into, int) and isinstance(out, int) and out else None
