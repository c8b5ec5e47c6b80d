"""The plan of a disaster-recovery test against plain Python, and the order of its steps."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from drill_world import DrillWorld, Link, Offer, random_world

from flowpeer_reports.drill import after
from flowpeer_reports.drt import ANNOUNCED, FIRST, drt
from flowpeer_reports.errors import ReportError
from flowpeer_reports.failover import merged
from flowpeer_reports.removals import Removal

LOCALS = ("198.18.0.0/16", "198.19.0.0/16")


def _together(world: DrillWorld, splits: list[Any], way: str) -> Any:
    """Splits of different demand as one: what moves adds up, the rest of a link stays."""
    whole: Any = defaultdict(int)
    for hour, link, w, _, _, size in world.routes:
        if w == way:
            whole[link, hour] += size
    made: Any = defaultdict(lambda: defaultdict(int))
    for split in splits:
        for key, targets in split.items():
            for target, size in targets.items():
                if target != "stays":
                    made[key][target] += size
    for key, targets in made.items():
        targets["stays"] = whole[key] - sum(targets.values())
    return made


@pytest.mark.parametrize("seed", range(0, 24, 2))
def test_each_withdrawal_and_both_together_equal_plain_python(seed: int) -> None:
    world = random_world(seed)
    compiler = world.compiler(by_local=True)
    metros = list(dict.fromkeys(link.metro for link in world.links))
    for site in metros:
        for to in [m for m in metros if m != site][:2]:
            removals = [Removal("drt", p, (), site, to, frozenset([p])) for p in LOCALS]
            failovers = [compiler.compile(r) for r in removals]
            splits = {
                way: [of(r, set()) for r in removals]
                for way, of in (("out", world.out), ("in", world.into))
            }
            asked: list[tuple[Any, Any, Any]] = [
                (failovers[n], splits["out"][n], splits["in"][n]) for n in range(2)
            ]
            both = (merged([f[0] for f in failovers]), merged([f[1] for f in failovers]))
            asked.append((both, *(_together(world, splits[w], w) for w in ("out", "in"))))
            for pair, out, into in asked:
                expected = world.applied(set(), out, into)
                for way, fall in zip(("out", "in"), pair, strict=True):
                    state = after(compiler, removals[0], fall, way)
                    want = expected[way]
                    assert state.without_way.tolist() == want["no way"].tolist()
                    place = {link: i for i, link in enumerate(state.links.tolist())}
                    for link in range(len(world.links)):
                        got = state.bytes[place[link]] if link in place else world.loads[way][link]
                        assert got.tolist() == want[link].tolist(), (site, to, way, link)


def _world() -> DrillWorld:
    """ams is to be emptied of three prefixes; fra is near and small, nyc far and large."""
    links = [Link("a", 0, "ams", "transit", 174, 10**10), Link("f", 0, "fra", "transit", 174, 8000),
             Link("n", 0, "nyc", "transit", 174, 10**10)]  # fmt: skip
    offers = [Offer("10.1.0.0/16", n, 174, 100, 2, 0, None, 3) for n in range(3)]
    sizes = {"198.18.0.0/16": 120_000, "198.19.0.0/16": 240_000, "198.20.0.0/16": 600_000}
    routes = [(0, 0, way, "10.1.0.0/16", local, size)
              for local, size in sizes.items() for way in ("out", "in")]  # fmt: skip
    dense = np.zeros((3, 12), np.int64)
    dense[0] = sum(sizes.values()) // 12
    return DrillWorld(
        links, [offers], [0], [*routes, (0, 0, "out", "10.1.0.0/16", None, 0)],
        {"out": dense, "in": dense.copy()}, always_compare_med=False, default_scope=3,
        announced={"198.18.0.0/16": frozenset({"ams", "fra"}),
                   "198.19.0.0/16": frozenset({"ams", "fra"}),
                   "198.20.0.0/16": frozenset({"ams", "nyc"})},
    )  # fmt: skip


def test_the_step_that_fills_most_comes_last_and_says_stop() -> None:
    compiler = _world().compiler(by_local=True)
    found = drt(compiler, ["ams"], covered={})
    steps = found.steps.to_dicts()
    assert [s["withdraw"] for s in steps] == [["198.20.0.0/16"], ["198.18.0.0/16"],
                                             ["198.19.0.0/16"]]  # fmt: skip
    assert [s["to_metro"] for s in steps] == ["nyc", "fra", "fra"]
    assert {s["why"] for s in steps} == {ANNOUNCED}
    # 10,000 and then 30,000 bytes a slot on fra's 8,000 bit/s = 300,000 bytes: 8 × 10,000 / 300.
    rates = [8 * b / 300 for b in (10_000, 30_000)]
    assert [s["fullest_utilisation"] for s in steps[1:]] == [r / 8000 for r in rates]
    assert [s["verdict"] for s in steps] == ["fits", "fits", "fits"]
    assert steps[-1]["moved_share"] == 1
    assert steps[-1]["left_max_bps"] == 0
    grown = drt(compiler, ["ams"], covered={}, growth=Fraction(9)).steps
    assert grown["verdict"].to_list()[-1] == "a link is above 80 %"
    assert grown["slots_over_80"].to_list() == [0, 0, 24]
    last = found.links.filter(step=3, exporter="f").to_dicts()
    assert [(r["direction"], r["max_before_bps"], r["max_bps"]) for r in last] == [
        ("out", 0, rates[1]), ("in", 0, rates[1])
    ]  # fmt: skip


def test_a_prefix_that_is_announced_nowhere_else_is_to_be_announced_first() -> None:
    world = _world()
    world.announced = {}
    found = drt(world.compiler(by_local=True), ["ams"], covered={})
    assert set(found.steps["why"]) == {FIRST}
    assert set(found.steps["to_metro"]) == {"fra"}
    given = drt(world.compiler(by_local=True), ["ams"], covered={}, to="nyc")
    assert set(given.steps["to_metro"]) == {"nyc"}
    with pytest.raises(ReportError, match="no such metro: xyz"):
        drt(world.compiler(by_local=True), ["xyz"], covered={})
    with pytest.raises(ReportError, match="the metro that is emptied"):
        drt(world.compiler(by_local=True), ["ams"], covered={}, to="ams")
