"""The exits of a period as they are once the first asks are in place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flowpeer.analysis.routing import Exits
from flowpeer_reports.capacity import Relief
from flowpeer_reports.relations import Ints
from flowpeer_reports.signed import Asks, Signed, first_asks, signed


def with_asks(exits: Exits, asks: int | Asks) -> tuple[Exits, Signed]:
    """The same with the first asks of the list of organisations answered with yes."""
    made = signed(
        exits.found, exits.offers, exits.choice, exits.inputs.metros, exits.parts,
        first_asks(exits.inputs, asks) if isinstance(asks, int) else asks,
    )  # fmt: skip
    notes = [*exits.notes, *made.notes]
    return replace(
        exits, found=made.found, offers=made.offers, choice=made.choice, moved=made.moved,
        notes=notes,
    ), made  # fmt: skip


def relief_of(before: Exits, after: Exits) -> Relief:
    """(metro, provider) → outbound bytes of transit by slot that are gone."""
    gone: dict[tuple[str, int | None], Ints] = {}
    links = before.found.links
    for number, (metro, role, asn) in enumerate(
        links.select("metro", "role", "provider_asn").iter_rows()
    ):
        if role == "transit":
            less = before.found.out[number] - after.found.out[number]
            key = (metro, asn)
            gone[key] = gone.get(key, np.zeros(before.found.slots, dtype=np.int64)) + less
    return gone
