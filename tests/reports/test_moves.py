"""The move list on planted worlds: each rule against D, the slots and the ties in plain Python."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from drill_world import DrillWorld, Link, Offer

from flowpeer_reports.imbalance import Provider
from flowpeer_reports.moves import Aim, moves
from flowpeer_reports.tied import TiedTraffic, Ties


def _d(load: Any, aims: Any) -> float:
    whole = load.sum(axis=0)
    return float(np.abs(load - aims[:, None] * whole).sum() / 2 / whole.sum())


def _providers(world: DrillWorld, metro: str) -> list[Provider]:
    sizes: dict[int | None, list[int]] = {}
    for link in world.links:
        if link.metro == metro and link.role == "transit":
            sizes.setdefault(link.asn, []).append(link.capacity)
    return [
        Provider(a, str(a), sum(s) if all(s) else None)
        for a, s in sorted(sizes.items(), key=lambda i: i[0] or 0)
    ]


def _world(seed: int) -> DrillWorld:
    """Four links of three providers in one metro, thirty prefixes that many of them offer alike."""
    dice = random.Random(seed)
    links = [Link("a", n, "ams", "transit", asn, dice.choice([10**7, 10**9]))
             for n, asn in enumerate((174, 1299, 1299, 3356))]  # fmt: skip
    prefixes = [f"10.{n}.0.0/16" for n in range(30)]
    offers = [
        [Offer(p, n, link.asn or 0, 100, dice.choice([2, 2, 3]), 0, None, 0)
         for p in prefixes for n, link in enumerate(links) if dice.random() < 0.7]
        for _ in range(2)
    ]  # fmt: skip
    routes = [
        (hour, dice.choice([0, 0, 1, 2, 3]), "out", p, None, dice.randrange(1, 10**8))
        for hour in range(3) for p in prefixes
    ]  # fmt: skip
    out = np.zeros((4, 36), dtype=np.int64)
    for hour, link, _, _, _, size in routes:
        cuts = sorted(dice.randrange(size + 1) for _ in range(11))
        for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, size], strict=True)):
            out[link, hour * 12 + i] += b - a
    return DrillWorld(links, offers, [0, 1, 1], routes, {"out": out, "in": np.zeros_like(out)})


@pytest.mark.parametrize("seed", range(12))
def test_every_rule_moves_tied_routes_and_takes_off_what_it_says(seed: int) -> None:
    world = _world(seed)
    found, offers, choice = world.offered()
    ties = Ties(choice, offers)
    for metro in dict.fromkeys(link.metro for link in world.links):
        providers = _providers(world, metro)
        place = {p.asn: n for n, p in enumerate(providers)}
        mine = {n: place[x.asn] for n, x in enumerate(world.links)
                if x.metro == metro and x.role == "transit"}  # fmt: skip
        aims = np.full(len(providers), 1 / max(len(providers), 1))
        made = moves(
            TiedTraffic(world.parts, found, offers, ties, np.array(world.epoch_of_hour)),
            Aim(metro, providers, aims, np.ones(found.slots, dtype=np.bool_), target=0.0),
            names={}, most=5,
            always_compare_med=world.always_compare_med,
        )  # fmt: skip
        load = np.zeros((len(providers), found.slots), dtype=np.int64)
        for link, row in mine.items():
            load[row] += found.out[link]
        if made.d_before is None:
            assert len(providers) < 2 or not load.any()
            continue
        assert made.d_before == pytest.approx(_d(load, aims))
        assert made.bytes_after.sum(axis=0).tolist() == load.sum(axis=0).tolist()
        after = load.copy()
        for (link, target), line in made.shifts.items():
            assert (line <= found.out[link]).all()
            after[mine[link]] -= line
            after[target] += line
        assert after.tolist() == made.bytes_after.tolist()
        assert (after >= 0).all()
        assert made.d_after == pytest.approx(_d(after, aims))
        before = made.d_before
        for row in made.rows.iter_rows(named=True):
            assert row["d_before"] == pytest.approx(before)
            before = row["d_after"]
            source, target = place[row["from_provider_asn"]], place[row["to_provider_asn"]]
            routes = [r for r in world.routes if r[2] == "out" and mine.get(r[1]) == source
                      and r[3] and row["prefix"] in (None, r[3])]  # fmt: skip
            assert 0 < row["out_bytes"] <= sum(r[5] for r in routes)
            for hour, link, _, prefix, _, _ in routes:
                class_ = offers.of_prefix[world.epoch_of_hour[hour]].get(prefix or "", 0)
                other = ties.of(class_, link)
                able = other.tied if row["path"] == "tied" else (*other.tied, *other.longer)
                assert target in {mine[n] for n in able}, (metro, row, prefix)
        assert 0 < made.rows.height <= 5
        assert before == pytest.approx(made.d_after)
