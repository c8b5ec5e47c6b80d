"""What a metro's move list does to its providers: p95s, their fullest links, N−1 (METHODS M11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.moves import MOVES_EFFECT
from flowpeer_reports.imbalance import FULL
from flowpeer_reports.loads import Loads, percentiles
from flowpeer_reports.moves import Aim, Moves, in_n1
from flowpeer_reports.relations import Ints

TO_BPS = 8 / SLOT_SECONDS


def moves_effect(found: Loads, aim: Aim, made: Moves) -> pl.DataFrame:
    """One row a provider, before and after, over the outbound slots that count for D.

    The N−1 of another provider is that of `in_n1`, as where the rules are chosen.

    Returns:
        columns `MOVES_EFFECT`; no row where there are no rules.
    """
    records: list[dict[str, Any]] = []
    if made.rows.height:
        links = aim.links(found)
        before = dict(zip(links, aim.counted.lines(found, "out", list(links)), strict=True))
        after = {link: line.copy() for link, line in before.items()}
        for (source, target), line in made.shifts.items():
            after[source] -= line
            after[target] += line
        for place, provider in enumerate(aim.providers):
            row: dict[str, Any] = {
                "metro": aim.metro, "provider_asn": provider.asn, "provider": provider.name,
                "capacity_bps": provider.capacity_bps,
            }  # fmt: skip
            for when, lines in (("before", before), ("after", after)):
                row |= {
                    name.format(when): value
                    for name, value in _facts(found, aim, links, lines, place).items()
                }
            records.append(row)
    return pl.DataFrame(records, schema=schema(MOVES_EFFECT))


def _facts(
    found: Loads, aim: Aim, links: Mapping[int, int], lines: Mapping[int, Ints], place: int
) -> dict[str, Any]:
    """The cells of a provider, by their name with a place for `before` or `after`."""
    flags = aim.counted.flags
    load = np.zeros((len(aim.providers), int(flags.sum())), dtype=np.int64)
    for link, line in lines.items():
        load[links[link]] += line[flags]
    own, size = load[place], aim.providers[place].capacity_bps
    facts: dict[str, Any] = {
        "avg_{}_bps": float(own.mean()) * TO_BPS,
        "p95_{}_bps": _p95(own),
    }
    by_link = []
    for link, line in lines.items():
        row = found.links.row(link, named=True)
        if links[link] == place and row["capacity_bps"]:
            name = f"{row['exporter']}:{row['interface']}"
            by_link.append((_p95(line[flags]) / row["capacity_bps"], name))
    worst = min(by_link, key=lambda x: (-x[0], x[1]), default=(None, None))
    facts |= {"worst_link_utilisation_{}": worst[0], "worst_link_{}": worst[1]}
    if not size:
        return facts
    facts |= {
        "utilisation_{}": facts["p95_{}_bps"] / size,
        "slots_over_80_{}": int((own * TO_BPS > FULL * size).sum()),
    }
    lost = []
    for other, provider in enumerate(aim.providers):
        if other != place:
            line = in_n1(aim.providers, load, other)[place]
            lost.append((_p95(line) / size, provider.name, int((line * TO_BPS > size).sum())))
    if lost:
        utilisation, name, _ = min(lost, key=lambda x: (-x[0], x[1]))
        facts |= {
            "n1_utilisation_{}": utilisation, "n1_lost_{}": name,
            "n1_slots_over_100_{}": max(over for _, _, over in lost),
        }  # fmt: skip
    return facts


def _p95(line: Any) -> float:
    return float(percentiles(line[None, :], line.size)[0]) * TO_BPS
