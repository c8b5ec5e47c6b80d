"""The drill against a drill in plain Python, slot by slot and to the byte."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from drill_world import Link, Offer, random_world

from flowpeer_reports.drill import after, drill
from flowpeer_reports.errors import ReportError
from flowpeer_reports.removals import chosen, groups, site, together


@pytest.mark.parametrize("seed", range(24))
def test_every_removal_equals_the_drill_in_plain_python(seed: int) -> None:
    world = random_world(seed)
    compiler = world.compiler()
    links = world.frame()
    removals = groups(links, {"duct": [0, len(world.links) - 1]})
    metros = list(dict.fromkeys(link.metro for link in world.links))
    removals += [site(links, m, None, metros) for m in metros]
    removals += [site(links, a, b, metros) for a in metros for b in metros if a != b]
    for removal in removals:
        expected = world.drill(removal)
        for way, fall in zip(("out", "in"), compiler.compile(removal), strict=True):
            state = after(compiler, removal, fall, way)
            want = expected[way]
            assert state.gone.tolist() == want["gone"].tolist(), (removal, way)
            assert state.without_way.tolist() == want["no way"].tolist(), (removal, way)
            place = {link: i for i, link in enumerate(state.links.tolist())}
            for link in range(len(world.links)):
                if link in removal.links:
                    assert link not in place
                    continue
                got = state.bytes[place[link]] if link in place else world.loads[way][link]
                assert got.tolist() == want[link].tolist(), (removal, way, link)
            before = world.loads[way].sum(axis=0)
            now = sum(want[i] for i in want)
            assert before.tolist() == now.tolist()


@pytest.mark.parametrize("seed", range(0, 12, 2))
def test_figures_of_a_drill_equal_the_definitions(seed: int) -> None:
    world = random_world(seed)
    compiler = world.compiler()
    removals = groups(world.frame(), {})
    growths = [Fraction(1), Fraction(5, 2)]
    found = drill(compiler, removals, covered={}, growths=growths, slots=True, threads=1)
    rows = {
        (r["kind"], r["removed"], r["exporter"], r["interface"], r["direction"], r["growth"]): r
        for r in found.rows.iter_rows(named=True)
    }
    n = 12 * world.hours
    for removal in removals:
        expected = world.drill(removal)
        summary = found.summary.filter(
            pl.col("kind") == removal.kind, pl.col("removed") == removal.name, pl.col("growth") == 1
        ).row(0, named=True)
        used = []
        for way in ("out", "in"):
            for (exporter, interface), mine in world.ports().items():
                link, left = world.links[mine[0]], [n for n in mine if n not in removal.links]
                key = (removal.kind, removal.name, exporter, interface, way)
                if (*key, 1.0) not in rows:
                    assert all(
                        expected[way][n].tolist() == world.loads[way][n].tolist() for n in left
                    )
                    continue
                assert left, key
                series = [int(v) for v in sum(expected[way][n] for n in left)]
                whole = world.loads[way][mine].sum(axis=0)
                for growth in growths:
                    row = rows[*key, float(growth)]
                    assert row["provider_asn"] == (link.asn if len(mine) == 1 else None)
                    rate = [Fraction(8 * v, 300) * growth for v in series]
                    assert row["max_bps"] == pytest.approx(float(max(rate)))
                    p95 = sorted(rate)[(19 * n + 19) // 20 - 1]
                    assert row["p95_bps"] == pytest.approx(float(p95))
                    before = Fraction(8 * int(whole.max()), 300) * growth
                    assert row["max_before_bps"] == pytest.approx(float(before))
                    if not link.capacity:
                        assert row["slots_over_80"] is row["ports_to_buy"] is None
                        continue
                    size = Fraction(link.capacity)
                    assert row["max_utilisation"] == pytest.approx(float(max(rate) / size))
                    assert row["slots_over_80"] == sum(r > size * 4 / 5 for r in rate)
                    assert row["slots_over_100"] == sum(r > size for r in rate)
                    short = max(Fraction(0), max(rate) - size * 4 / 5)
                    assert row["short_bps"] == pytest.approx(float(short))
                    assert row["ports_to_buy"] == math.ceil(short / (size * 4 / 5))
                    if way == "in":
                        assert row["worst_max_bps"] >= row["max_bps"]
                if link.capacity:
                    used.append(max(Fraction(8 * v, 300) for v in series) / link.capacity)
        bought = found.rows.filter(
            pl.col("kind") == removal.kind, pl.col("removed") == removal.name, pl.col("growth") == 1
        )["ports_to_buy"].sum()
        assert summary["ports_to_buy"] == bought
        lost = {way: int(sum(expected[way]["no way"])) for way in ("out", "in")}
        assert summary["out_without_way_bytes"] == lost["out"]
        assert summary["in_without_way_bytes"] == lost["in"]
        if used and max(used):
            assert summary["largest_growth"] == pytest.approx(
                min(100, math.floor(100 / max(used)) / 100), abs=0.011
            )
    assert len(rows) == found.rows.height
    key = ("kind", "removed", "slot", "exporter", "interface", "what", "direction")
    assert found.slots.select(key).is_unique().all()
    for (kind, name, way), part in found.slots.group_by("kind", "removed", "direction"):
        sums = part.select("before_bytes", "bytes").sum().row(0)
        assert sums[0] == sums[1], (kind, name, way)


def test_the_worst_case_gives_each_link_all_that_it_may_receive() -> None:
    """Two links take over 900 bytes a slot pro rata; each alone would get all of them."""
    world = random_world(0)
    world.links = [Link("a", n, "ams", "transit", 100 + n, 10**10) for n in range(3)]
    dense = np.zeros((3, 12), np.int64)
    dense[0], dense[1], dense[2] = 900, 200, 100
    world.loads = {"in": dense, "out": np.zeros((3, 12), np.int64)}
    world.epoch_of_hour, world.offers, world.assumed = [0], [[]], []
    world.home, world.announced = {}, {}
    world.routes = [(0, n, "in", None, "198.18.0.0/16", int(dense[n].sum())) for n in range(3)]
    removal = groups(world.frame(), {})[0]
    rows = drill(world.compiler(), [removal], covered={}, threads=1).rows
    assert rows["max_bps"].to_list() == [(200 + 600) * 8 / 300, (100 + 300) * 8 / 300]
    assert rows["worst_max_bps"].to_list() == [(200 + 900) * 8 / 300, (100 + 900) * 8 / 300]


def test_neighbours_of_one_port_fill_it_together() -> None:
    """A transit of 500 goes; on an exchange's port A has 300, B 200, and both receive it: the port
    has 1,000 of its 1,000, and in the worst case 1,000 too, not 1,500."""
    world = random_world(0)
    unit = 1000 * 8 // 300  # a little less than 1,000 bytes a slot
    world.links = [Link("a", 1, "ams", "transit", 174, 10**10)]
    world.links += [Link("a", 2, "ams", "transit", asn, unit, 26) for asn in (64500, 64501)]
    dense = np.zeros((3, 12), np.int64)
    dense[0], dense[1], dense[2] = 500, 300, 200
    out = dense.copy()
    out[0] = 400
    world.loads = {"in": dense, "out": out}
    world.epoch_of_hour, world.offers, world.assumed = [0], [[]], []
    world.home, world.announced = {}, {}
    world.routes = [(0, n, way, "10.1.0.0/16", "198.18.0.0/16", int(world.loads[way][n].sum()))
                    for n in range(3) for way in ("in", "out")]  # fmt: skip
    world.offers = [[Offer("10.1.0.0/16", 1, 64500, 100, 2, 0, None, 0)]]
    removals = {r.name: r for r in groups(world.frame(), {}) if r.kind == "link"}
    made = drill(world.compiler(), list(removals.values()), covered={}, slots=True, threads=1)
    rows = made.rows.filter(removed="a:1").to_dicts()
    assert [(r["interface"], r["direction"], r["provider_asn"]) for r in rows] == [
        (2, "out", None), (2, "in", None)
    ]  # fmt: skip
    assert [r["max_before_bps"] for r in rows] == [500 * 8 / 300] * 2
    assert [r["max_bps"] for r in rows] == [900 * 8 / 300, 1000 * 8 / 300]
    assert rows[1]["worst_max_bps"] == 1000 * 8 / 300
    assert [r["slots_over_80"] for r in rows] == [12, 12]
    assert [r["slots_over_100"] for r in rows] == [0, 12]
    assert made.summary.filter(removed="a:1")["ports_to_buy"].item() == 2
    slots = made.slots.filter(removed="a:1", interface=2, direction="in")
    assert slots["before_bytes"].to_list() == [500] * 12
    assert slots["bytes"].to_list() == [1000] * 12
    assert "ams" not in made.rows.filter(removed="a:2")["exporter"].to_list()


def test_what_is_asked_for_is_found_by_name_or_refused_with_a_suggestion() -> None:
    world = random_world(1)
    every = groups(world.frame(), {"duct": [0]})
    link = world.links[0]
    name = f"link:{link.exporter}:{link.interface}"
    assert chosen(every, [name, "risk_group:duct"]) == [
        next(r for r in every if r.kind == "link"),
        next(r for r in every if r.kind == "risk_group"),
    ]
    with pytest.raises(ReportError, match="no external interface is that") as refused:
        chosen(every, [name + "0"])
    assert name in refused.value.advice
    both = together(chosen(every, [name, f"metro:{link.metro}"]))
    assert both.links == next(r for r in every if r.kind == "metro").links
    with pytest.raises(ReportError, match="no such metro"):
        site(world.frame(), "xyz", None, ["ams"])
