"""The move list on planted worlds: each rule against D, the slots and the ties in plain Python."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from drill_world import DrillWorld, Link, Offer

from flowpeer_reports.imbalance import Provider
from flowpeer_reports.loads import LinkCoverage
from flowpeer_reports.moves import Aim, in_n1, moves, over_in_n1
from flowpeer_reports.moves_effect import moves_effect
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


def _counted(slots: int, seed: int) -> LinkCoverage:
    """All slots, or in every third world all but some."""
    flags = np.ones(slots, dtype=np.bool_)
    if seed % 3 == 2:
        flags[random.Random(seed).sample(range(slots), 5)] = False
    return LinkCoverage(flags, 0, 0, "exact")


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
        counted = _counted(found.slots, seed)
        aim = Aim(metro, providers, aims, counted, target=0.0)
        made = moves(
            TiedTraffic(world.parts, found, offers, ties, np.array(world.epoch_of_hour)), aim,
            names={}, most=5, always_compare_med=world.always_compare_med,
        )  # fmt: skip
        load = np.zeros((len(providers), found.slots), dtype=np.int64)
        for link, row in mine.items():
            load[row] += found.out[link]
        if made.d_before is None:
            assert len(providers) < 2 or not load.any()
            continue
        counting = counted.flags
        assert made.d_before == pytest.approx(_d(load[:, counting], aims))
        by_link = found.out.copy()
        for (link, target), line in made.shifts.items():
            assert (line >= 0).all()
            assert mine[link] != mine[target]
            by_link[link] -= line
            by_link[target] += line
        assert (by_link >= 0).all()
        after = np.zeros_like(load)
        for link, row in mine.items():
            after[row] += by_link[link]
        assert after.sum(axis=0).tolist() == load.sum(axis=0).tolist()
        assert made.d_after == pytest.approx(_d(after[:, counting], aims))
        sizes = [x.capacity for x in world.links]
        for (link, target), line in made.shifts.items():
            beside = [n for n in mine if mine[n] == mine[target]]
            share = sizes[target] / sum(sizes[n] for n in beside)
            moved = sum(made.shifts[link, n] for n in beside)
            assert np.abs(line - moved * share).max() <= 1
        _effect_is_so(moves_effect(found, aim, made), world, metro, found.out, by_link, counting)
        before = made.d_before
        for row in made.rows.iter_rows(named=True):
            assert row["d_before"] == pytest.approx(before)
            before = row["d_after"]
            source, target = place[row["from_provider_asn"]], place[row["to_provider_asn"]]
            routes = [r for r in world.routes if r[2] == "out" and mine.get(r[1]) == source
                      and r[3] and row["prefix"] in (None, r[3])]  # fmt: skip
            assert row["out_bytes"] == sum(r[5] for r in routes)
            for hour, link, _, prefix, _, _ in routes:
                class_ = offers.of_prefix[world.epoch_of_hour[hour]].get(prefix or "", 0)
                other = ties.of(class_, link)
                able = other.tied if row["path"] == "tied" else (*other.tied, *other.longer)
                assert target in {mine[n] for n in able}, (metro, row, prefix)
        assert 0 < made.rows.height <= 5
        assert before == pytest.approx(made.d_after)


def _p95(octets: list[Any]) -> float:
    """bit/s at rank ceil(0.95 n)."""
    return float(sorted(octets)[-(-19 * len(octets) // 20) - 1] * 8 / 300)


def _effect_is_so(
    rows: Any, world: DrillWorld, metro: str, before: Any, after: Any, counting: Any
) -> None:
    """Each cell of `moves_effect`, in plain Python from the links' slots."""
    providers = _providers(world, metro)
    slots = [int(t) for t in np.flatnonzero(counting)]
    assert rows["provider_asn"].to_list() == [p.asn for p in providers]
    for row, provider in zip(rows.iter_rows(named=True), providers, strict=True):
        for when, lines in (("before", before), ("after", after)):
            of = {
                p.asn: [sum(int(lines[n][t]) for n, x in enumerate(world.links) if x.asn == p.asn)
                        for t in slots]
                for p in providers
            }  # fmt: skip
            own, size = of[provider.asn], provider.capacity_bps
            assert size
            assert row[f"p95_{when}_bps"] == pytest.approx(_p95(own))
            assert row[f"avg_{when}_bps"] == pytest.approx(sum(own) / len(own) * 8 / 300)
            assert row[f"utilisation_{when}"] == pytest.approx(_p95(own) / size)
            assert row[f"slots_over_80_{when}"] == sum(x * 8 / 300 > 0.8 * size for x in own)
            links = {
                f"{x.exporter}:{x.interface}":
                    _p95([int(lines[n][t]) for t in slots]) / x.capacity
                for n, x in enumerate(world.links) if x.asn == provider.asn
            }  # fmt: skip
            worst = max(links.values())
            assert row[f"worst_link_utilisation_{when}"] == pytest.approx(worst)
            assert links[row[f"worst_link_{when}"]] == pytest.approx(worst)
            lost, over = {}, []
            for other in providers:
                if other.asn != provider.asn:
                    rest = sum(p.capacity_bps or 0 for p in providers if p.asn != other.asn)
                    line = [x + y * size / rest
                            for x, y in zip(own, of[other.asn], strict=True)]  # fmt: skip
                    lost[other.name] = _p95(line) / size
                    over.append(sum(x * 8 / 300 > size for x in line))
            assert row[f"n1_utilisation_{when}"] == pytest.approx(max(lost.values()))
            assert lost[row[f"n1_lost_{when}"]] == pytest.approx(max(lost.values()))
            assert row[f"n1_slots_over_100_{when}"] == max(over)
        assert row["n1_slots_over_100_after"] <= row["n1_slots_over_100_before"]


def test_where_a_capacity_is_unknown_the_lost_bytes_fall_equally() -> None:
    load = np.array([[90, 30], [10, 10], [5, 5]])
    sized = [Provider(1, "a", 300), Provider(2, "b", 100), Provider(3, "c", 100)]
    assert in_n1(sized, load, 0).tolist() == [[0, 0], [55, 25], [50, 20]]
    assert in_n1(sized, load, 2).tolist() == [[93.75, 33.75], [11.25, 11.25], [0, 0]]
    unknown = [Provider(1, "a", None), *sized[1:]]
    assert in_n1(unknown, load, 2).tolist() == [[92.5, 32.5], [12.5, 12.5], [0, 0]]
    # 1, 2 lost of those of known capacity, 100 bit/s or 3,750 bytes a slot
    assert over_in_n1(unknown, load * 100) == [1, 1, 0, 0]


def test_without_d_there_is_no_move() -> None:
    world = _world(0)
    found, offers, choice = world.offered()
    refused = LinkCoverage(np.zeros(found.slots, dtype=np.bool_), 0, found.slots, "refused")
    providers = _providers(world, "ams")
    aims = np.full(len(providers), 1 / len(providers))
    made = moves(
        TiedTraffic(world.parts, found, offers, Ties(choice, offers), np.array([0, 1, 1])),
        Aim("ams", providers, aims, refused), names={}, always_compare_med=False,
    )  # fmt: skip
    assert (made.rows.height, made.d_before, made.shifts) == (0, None, {})
