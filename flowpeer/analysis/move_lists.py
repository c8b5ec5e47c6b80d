"""The outbound move lists of the metros, and what they shift between links (METHODS M11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowpeer.analysis.routing import Exits
from flowpeer.network import Configuration
from flowpeer_reports.billing.counterfactual import Shift, Span
from flowpeer_reports.billing.savings import Key
from flowpeer_reports.imbalance import providers_of
from flowpeer_reports.loads import of_metro
from flowpeer_reports.moves import Aim, Moves, moves
from flowpeer_reports.relations import Ints, Reals
from flowpeer_reports.targets import targets
from flowpeer_reports.tied import TiedTraffic


@dataclass(frozen=True, slots=True)
class MoveList:
    """Of one metro: what its transit is to come to, and the rules."""

    aim: Aim
    made: Moves


def move_lists(
    exits: Exits, outbound: TiedTraffic, network: Configuration, metros: Sequence[str], rules: int
) -> list[MoveList]:
    """One of each metro with transit.

    Args:
        rules: most of them in a metro.
    """
    inputs, found, names = exits.inputs, exits.found, exits.inputs.names()
    chosen = {m.id: m.targets for m in network.metros}
    made = []
    for metro in metros:
        providers = providers_of(inputs, found, metro, names)
        aims = targets(
            inputs.interfaces, inputs.contracts, metro, [p.asn for p in providers],
            chosen.get(metro), (inputs.period_start, inputs.period_end),
        )  # fmt: skip
        weights = np.array([float(aims.share[p.asn]) for p in providers])
        aim = Aim(metro, providers, weights, of_metro(inputs, found, metro, "out"))
        ruled = moves(
            outbound, aim, names=names, most=rules,
            always_compare_med=network.routing.always_compare_med,
        )  # fmt: skip
        made.append(MoveList(aim, ruled))
    return made


def shifts_of(exits: Exits, lists: Sequence[MoveList]) -> list[Shift]:
    """What the rules shift, as shares of what each link carries outbound by slot."""
    found = exits.found
    return [
        Shift(key_of(exits, source), key_of(exits, target), found.start,
              share_of(series, found.out[source]))
        for one in lists
        for (source, target), series in one.made.shifts.items()
    ]  # fmt: skip


def span_of(exits: Exits) -> Span:
    """The slots in which moves are known."""
    return Span(exits.found.start, exits.found.slots)


def key_of(exits: Exits, link: int) -> Key:
    """Exporter and interface of a link."""
    row = exits.found.links.row(link, named=True)
    return row["exporter"], row["interface"]


def share_of(part: Ints, total: Ints) -> Reals:
    """Element by element; 0 where there is nothing."""
    return np.divide(part, total, out=np.zeros(len(part)), where=total > 0)
