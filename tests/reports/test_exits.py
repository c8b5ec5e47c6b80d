"""The exit audit and tied alternates against plain Python, on planted worlds."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import pytest
from drill_world import METROS, ROLE, DrillWorld, Link, Offer, random_world

from flowpeer_reports.exits import COMPARISONS, EXPECTED, NOT_JUDGED, TIE, exits
from flowpeer_reports.offers import OFFERS, Choice, Offers, places
from flowpeer_reports.tied import Ties


def _audit(world: DrillWorld) -> Any:
    compiler = world.compiler()
    loaded = np.ones(len(world.links), dtype=np.bool_)
    loaded[world.assumed] = False
    offers = Offers(np.array(world.assumed, dtype=np.int64), loaded)
    for epoch in world.offers:
        offers.learn(pl.DataFrame(
            [(o.prefix, o.link, o.neighbour, o.local_pref, o.length, o.origin, o.med, o.scope)
             for o in epoch], schema=OFFERS, orient="row",
        ))  # fmt: skip
    routes = pl.DataFrame(
        [(world.epoch_of_hour[h], k, p, 2001, local, b)
         for h, k, way, p, local, b in world.routes if way == "out"],
        schema={"epoch": pl.Int64, "link": pl.Int64, "prefix": pl.String,
                "origin_asn": pl.Int64, "local_prefix": pl.String, "bytes": pl.Int64},
        orient="row",
    )  # fmt: skip
    return exits(world.frame(), routes, offers, compiler.choice, world.home)


@pytest.mark.parametrize("seed", range(20))
def test_expected_and_tied_bytes_equal_plain_python(seed: int) -> None:
    world = random_world(seed)
    found = _audit(world)
    for comparison in COMPARISONS:
        want: dict[tuple[str, str], int] = defaultdict(int)
        whole: dict[str, int] = defaultdict(int)
        for hour, link, way, prefix, local, size in world.routes:
            if way != "out":
                continue
            metro = world.links[link].metro
            whole[metro] += size
            if prefix is None:
                want[metro, "no prefix"] += size
                continue
            epoch = world.epoch_of_hour[hour]
            home = world.home.get(local or "", metro)
            best = world.best(epoch, prefix, home, metro, set(),
                              with_local_pref=comparison == COMPARISONS[0])  # fmt: skip
            used = world.links[link]
            mine = [link] if used.asn else world.ports()[used.exporter, used.interface]
            if set(mine) & set(best):
                want[metro, EXPECTED if len(best) == 1 else TIE] += size
            elif not any(o.link in mine for o in world.offers[epoch] if o.prefix == prefix):
                want[metro, "not seen"] += size
            else:
                want[metro, "differs"] += size
        got: dict[tuple[str, str], int] = defaultdict(int)
        rows = found.rows.filter(pl.col("comparison") == comparison)
        for row in rows.iter_rows(named=True):
            cause = row["cause"]
            if cause in (*NOT_JUDGED[1:], "more specific elsewhere"):
                cause = "not seen"
            elif cause not in (EXPECTED, TIE, "no prefix"):
                cause = "differs"
            got[row["metro"], cause] += row["out_bytes"]
            assert row["judged"] == (row["cause"] not in NOT_JUDGED)
            assert row["share"] == pytest.approx(row["out_bytes"] / whole[row["metro"]])
        assert got == want
        assert sum(got.values()) == sum(whole.values())


def _one(offers: list[Offer], used: int, *, always: bool = False, home: str = "ams") -> list[str]:
    """Causes of one route that leaves by link `used`: with and without LOCAL_PREF."""
    links = [
        Link("a", 1, "ams", "transit", 174, 10**10), Link("a", 2, "ams", "transit", 1299, 10**10),
        Link("a", 3, "ams", "transit", 174, 10**10), Link("n", 1, "nyc", "transit", 174, 10**10),
    ]  # fmt: skip
    world = DrillWorld(
        links, [offers], [0], [(0, used, "out", "10.1.0.0/16", "198.18.0.0/16", 100)],
        {"out": np.zeros((4, 12), np.int64), "in": np.zeros((4, 12), np.int64)},
        always_compare_med=always, home={"198.18.0.0/16": home},
    )  # fmt: skip
    rows = _audit(world).rows
    return [rows.filter(pl.col("comparison") == c)["cause"].item() for c in COMPARISONS]


def _offer(link: int, **facts: Any) -> Offer:
    known = {"prefix": "10.1.0.0/16", "neighbour": (174, 1299, 174, 174)[link], "local_pref": 100,
             "length": 2, "origin": 0, "med": None, "scope": 3}  # fmt: skip
    return Offer(link=link, **(known | facts))


@pytest.mark.parametrize(
    ("offers", "causes"),
    [
        ([_offer(0), _offer(1, length=3)], [EXPECTED, EXPECTED]),
        ([_offer(0), _offer(1)], [TIE, TIE]),
        ([_offer(0, length=3), _offer(1)], ["longer path", "longer path"]),
        ([_offer(0, length=3, local_pref=200), _offer(1)], [EXPECTED, "LOCAL_PREF override"]),
        ([_offer(0), _offer(1, local_pref=200)], ["lower LOCAL_PREF", TIE]),
        ([_offer(0, med=20), _offer(2, med=10)], ["missing or higher MED"] * 2),
        ([_offer(0, med=20), _offer(1, med=10)], [TIE, TIE]),  # another neighbour: not compared
        ([_offer(0, origin=2), _offer(1)], ["worse ORIGIN", "worse ORIGIN"]),
        ([_offer(1)], ["path not visible", "path not visible"]),
        ([_offer(1), _offer(0, prefix="10.0.0.0/8")], ["more specific elsewhere"] * 2),
        ([], ["no view has the prefix", "no view has the prefix"]),
    ],
)
def test_each_cause_is_told(offers: list[Offer], causes: list[str]) -> None:
    assert _one(offers, 0) == causes


def test_med_across_neighbours_and_hot_potato() -> None:
    assert _one([_offer(0, med=20), _offer(1, med=10)], 0, always=True) == [
        "missing or higher MED",
        "missing or higher MED",
    ]
    assert _one([_offer(0), _offer(3)], 3) == ["hot potato", "hot potato"]
    assert _one([_offer(0), _offer(3)], 3, home="nyc") == [EXPECTED, EXPECTED]


@pytest.mark.parametrize("seed", range(12))
def test_alternates_equal_the_definition(seed: int) -> None:
    world = random_world(seed)
    links = world.frame()
    metros = pl.DataFrame(
        METROS, schema=["metro", "region", "continent", "latitude", "longitude"], orient="row"
    )
    loaded = np.ones(len(world.links), dtype=np.bool_)
    loaded[world.assumed] = False
    offers = Offers(np.array(world.assumed, dtype=np.int64), loaded)
    for epoch in world.offers:
        offers.learn(pl.DataFrame(
            [(o.prefix, o.link, o.neighbour, o.local_pref, o.length, o.origin, o.med, o.scope)
             for o in epoch], schema=OFFERS, orient="row",
        ))  # fmt: skip
    first, table = offers.table()
    ties = Ties(Choice(places(links, metros), first, table, offers.assumed), offers)
    for number, epoch in enumerate(world.offers):
        for prefix, class_ in offers.of_prefix[number].items():
            every = [o for o in epoch if o.prefix == prefix]
            roles = any(o.local_pref is None for o in every)
            alike = any(o.origin is None for o in every)
            for own in every:
                me = world.links[own.link]
                if ROLE[me.role] != ROLE["transit"]:
                    continue
                tied = {
                    o.link for o in every
                    if o.link != own.link and world.links[o.link].metro == me.metro
                    and world.links[o.link].role == "transit" and o.length == own.length
                    and (roles or o.local_pref == own.local_pref)
                    and (alike or o.origin == own.origin)
                }  # fmt: skip
                assert set(ties.of(class_, own.link).tied) == tied
