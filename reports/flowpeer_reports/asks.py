"""What the first asks of a list take, in sentences (METHODS M7)."""

from __future__ import annotations

from typing import Any

from flowpeer_reports.inputs import Inputs
from flowpeer_reports.ranking import Listing, Ranking, bps

HEADLINE = 12
"""Asks that a sentence speaks of where no number was asked for."""


def next_asks(ranking: Ranking, inputs: Inputs) -> dict[str, dict[str, Any] | None]:
    """By list ("" the organisations): what one more ask would add."""
    names = inputs.names()
    found: dict[str, dict[str, Any] | None] = {}
    for listing in (*ranking.metros, ranking.organisations):
        row = listing.next_row
        found[listing.name] = (
            None
            if row is None
            else {
                "rank": row.rank,
                "asn": row.asn,
                "marginal_bps": bps(_marginal(ranking, listing, row.cells), listing.slots),
                "expected_bps": bps(row.expected_rate, listing.slots),
                "name": names.get(row.asn or 0),
            }
        )
    return found


def _marginal(ranking: Ranking, listing: Listing, cells: Any) -> float:
    return float(ranking.cells.rate[cells + listing.base].sum())


def sentences(ranking: Ranking, inputs: Inputs) -> dict[str, str]:
    """By list ("" the organisations): what the first asks take, and the one after them.

    The observed share is what the paths show, the expected one what acceptance leaves of it.
    """
    names = inputs.names()
    found = {}
    for listing in (ranking.organisations, *ranking.metros):
        asked = [r for r in listing.rows if r.rank]
        cut = len(asked) if listing.next_row is not None else HEADLINE
        first, rest = asked[:cut], asked[cut:]
        if not first or not listing.total:
            continue
        counted = [r for r in first if not r.refuses]
        seen = sum(r.observed for r in counted) / listing.total
        expected = sum(r.expected for r in counted) / listing.total
        what = f"{listing.name}: " if listing.name else "organisations: "
        ask = "these " + f"{len(first)} asks take" if len(first) > 1 else "this ask takes"
        text = (
            f"{what}{ask} {seen:.1%} of the transit traffic by the paths we see, "
            f"{expected:.1%} expected"
        )
        after = rest[0] if rest else listing.next_row
        if after is not None:
            who = names.get(after.asn or 0) or f"AS{after.asn}"
            text += (
                f"; one more ask, {who} (AS{after.asn}), would add "
                f"{after.expected / listing.total:.1%}"
            )
        found[listing.name] = text
    return found
