"""The exits of a period as they are once asks are in place: the signed ones, or the first."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np

from flowpeer.analysis.asks import log_path, read_log
from flowpeer.analysis.routing import Exits
from flowpeer.errors import UsageError
from flowpeer.network import Configuration
from flowpeer_reports.ask_log import asks
from flowpeer_reports.capacity import Relief
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.relations import Ints
from flowpeer_reports.signed import Asks, SignedNetwork, first_asks, signed, signed_asks

SIGNED: Final = "signed"
WithAsks = int | Literal["signed"]
"""How many of the list of organisations, or those that the log says yes of."""


def with_asks_of(text: str) -> WithAsks:
    """`10` or `signed`. Raises UsageError."""
    if text == SIGNED:
        return SIGNED
    if text.isascii() and text.isdecimal() and int(text):
        return int(text)
    raise UsageError(
        f"--with-asks {text}: no number of asks", advice=f"give 1 or more, or `{SIGNED}`"
    )


def picks_signed(network: Configuration) -> list[tuple[int, tuple[str, ...]]]:
    """ASN and metros (none: all) of asks that were answered with yes and are not live yet.

    Raises:
        InputError: the log of asks cannot be read.
    """
    return [(a.asn, a.metros) for a in asks(read_log(network)) if a.status == "answered_yes"]


def asks_in_place(inputs: Inputs, network: Configuration, asked: WithAsks) -> Asks:
    """What is taken to be in place.

    Raises:
        UsageError: no ask is signed, or there is no such number of asks.
    """
    if isinstance(asked, int):
        if asked < 1:
            raise UsageError(f"{asked} asks", advice=f"give 1 or more, or `{SIGNED}`")
        return first_asks(inputs, asked)
    picks = picks_signed(network)
    if not picks:
        raise UsageError(
            f"no ask in {log_path(network).name} was answered with yes",
            advice="`flowpeer asks update ASN answered_yes` notes one; or give a number",
        )
    return signed_asks(inputs, picks)


def with_asks(exits: Exits, asked: Asks) -> tuple[Exits, SignedNetwork]:
    """The same with these asks answered with yes."""
    made = signed(
        exits.found, exits.offers, exits.choice, exits.inputs.metros, exits.parts, asked
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
