"""The period billed again, against plain Python and against every constant split."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from billing_oracle import p95
from drill_world import random_world
from money_world import OVERHEAD, bill_of, billed_of, close
from reports_world import Flow, World
from test_scenarios import asked, carriers, world

from flowpeer_reports.billing.counterfactual import (
    ALL,
    Shift,
    Span,
    TiedRoutes,
    beyond_note,
    counterfactual,
    moved_bills,
    taken_by_asks,
)
from flowpeer_reports.billing.rows import BilledPeriod
from flowpeer_reports.candidates import Valuation, candidates
from flowpeer_reports.tied import TiedTraffic, Ties, free_bytes

ASKS = 3
A, B = ("edge1.ams", 174), ("edge1.ams", 1299)


@pytest.mark.parametrize("seed", range(3))
def test_the_bill_with_asks_is_that_of_the_traffic_without_what_they_are_seen_on(
    seed: int,
) -> None:
    made, contracts, seen = world(seed)
    billed = billed_of(made, contracts)
    found = candidates(made.inputs(), asks=ASKS, money=Valuation(billed))
    first = [r for r in asked(found) if r["rank"] <= ASKS]
    assert first
    answer = counterfactual(
        billed.octets, billed.months, billed.convert, taken_by_asks(found), [], [],
        Span(billed.octets.start, billed.octets.slots), "USD",
    )  # fmt: skip
    whole = answer.rows.filter(contract=ALL).row(0, named=True)
    assert close(whole["as_billed_total"], bill_of(made, contracts, {}))
    assert close(whole["with_asks_total"], bill_of(made, contracts, list(carriers(first, seen))))
    assert whole["with_moves_total"] == whole["best_split_total"] == whole["with_asks_total"]
    parts = answer.rows.filter(pl.col("contract") != ALL)
    assert parts["with_asks_total"].sum() == pytest.approx(whole["with_asks_total"], abs=0.02)


def _two(seed: int, commits: tuple[int, int], prices: tuple[str, str]) -> tuple[World, Any]:
    """Twelve slots of two providers in one metro."""
    dice = random.Random(seed)
    flows = [
        Flow(slot, 2001, dice.randrange(1, 10**9), provider=provider)
        for slot in range(12)
        for provider in (174, 1299)
    ]
    made = World(flows, hours=1)
    contracts = {
        provider: {"billing": "out", "aggregate": "p95_of_sum", "price_per_mbps": price,
                   "commit": commit, "outage_hours": 1}
        for provider, commit, price in zip((174, 1299), commits, prices, strict=True)
    }  # fmt: skip
    return made, contracts


def _slots(made: World, provider: int) -> list[int]:
    return [
        sum(f.bytes + OVERHEAD for f in made.flows if f.slot == t and f.provider == provider)
        for t in range(12)
    ]


def _answer(
    billed: BilledPeriod, shifts: Any = (), free: Any = (), span: Span | None = None
) -> dict[str, Any]:
    span = span or Span(billed.octets.start, billed.octets.slots)
    found = counterfactual(
        billed.octets, billed.months, billed.convert, [], shifts, free, span, "USD"
    )
    return {
        f"{row['contract']} {name}": row[name]
        for row in found.rows.to_dicts()
        for name in row
        if name.endswith(("_total", "_bps"))
    }


def test_a_move_takes_its_share_of_every_slot_to_the_other_bill() -> None:
    made, contracts = _two(1, (0, 0), ("1", "1"))
    share = np.arange(12) / 12
    start = made.inputs().period_start
    found = _answer(billed_of(made, contracts), [Shift(A, B, start, share)])
    source, target = _slots(made, 174), _slots(made, 1299)
    moved = [round(x * s) for x, s in zip(source, share.tolist(), strict=True)]
    left = [x - m for x, m in zip(source, moved, strict=True)]
    more = [x + m for x, m in zip(target, moved, strict=True)]
    assert found["c174 with_moves_bps"] == pytest.approx(float(p95(left)))
    assert found["c1299 with_moves_bps"] == pytest.approx(float(p95(more)))
    assert found["c174 with_asks_bps"] == pytest.approx(float(p95(source)))


def test_moves_alone_are_billed_as_in_the_counterfactual_without_asks() -> None:
    made, contracts = _two(2, (10**6, 0), ("1", "2.5"))
    billed, start = billed_of(made, contracts), made.inputs().period_start
    shifts = [Shift(A, B, start, np.arange(12) / 12)]
    found = _answer(billed, shifts)
    span = Span(billed.octets.start, billed.octets.slots)
    rows = moved_bills(billed.octets, billed.months, billed.convert, shifts, span, "USD")
    assert rows["contract"].to_list() == ["c174", "c1299", ALL]
    for row in rows.iter_rows(named=True):
        for mine, other in (("before", "as_billed"), ("after", "with_moves")):
            for figure in ("bps", "total"):
                assert row[f"{mine}_{figure}"] == found[f"{row['contract']} {other}_{figure}"]
    assert rows["before_total"].to_list() != rows["after_total"].to_list()


def test_a_month_that_reaches_beyond_the_period_has_no_bill_with_moves() -> None:
    """What moves is known for half of its slots: the bill would be one with half of the rules."""
    made, contracts = _two(2, (10**6, 0), ("1", "2.5"))
    billed, start = billed_of(made, contracts), made.inputs().period_start
    shifts = [Shift(A, B, start, np.arange(6) / 12)]
    span = Span(start, 6)
    found = _answer(billed, shifts, (), span)
    for of in ("c174", "c1299", ALL):
        assert found[f"{of} with_moves_total"] is found[f"{of} best_split_total"] is None
        assert found[f"{of} with_asks_total"] == found[f"{of} as_billed_total"] is not None
    rows = moved_bills(billed.octets, billed.months, billed.convert, shifts, span, "USD")
    assert rows["after_total"].to_list() == [None] * 3
    assert None not in rows["before_total"].to_list()
    assert beyond_note(billed.months, span)
    assert not beyond_note(billed.months, Span(start, 12))


@pytest.mark.parametrize("seed", range(6))
def test_the_best_split_is_as_good_as_every_constant_one(seed: int) -> None:
    """Half of each link may use either: all four ways to put the halves, and the present one."""
    dice = random.Random(seed)
    commits = (dice.choice([0, 10**7]), dice.choice([0, 2 * 10**7]))
    made, contracts = _two(seed, commits, (dice.choice(["1", "3"]), "2"))
    start = made.inputs().period_start
    half = np.full(12, 0.5)
    free = [TiedRoutes(A, (A, B), start, half), TiedRoutes(B, (A, B), start, half)]
    billed = billed_of(made, contracts)
    found = _answer(billed, (), free)
    sides = [np.array(_slots(made, p)) for p in (174, 1299)]
    halves = [np.rint(s * 0.5).astype(int) for s in sides]
    for goes in product((0, 1), repeat=2):
        shifts = [Shift((A, B)[n], (A, B)[to], start, half)
                  for n, to in enumerate(goes) if n != to]  # fmt: skip
        other = _answer(billed, shifts)
        lines = [s - h for s, h in zip(sides, halves, strict=True)]
        for n, to in enumerate(goes):
            lines[to] = lines[to] + halves[n]
        for line, name in zip(lines, ("c174", "c1299"), strict=True):
            rate = float(p95(line.tolist()))
            assert other[f"{name} with_moves_bps"] == pytest.approx(rate)
        assert found["all best_split_total"] <= other["all with_moves_total"] + 0.01
    assert found["all best_split_total"] <= found["all as_billed_total"]


def test_the_best_split_fills_a_commit_that_is_paid_for_anyway() -> None:
    """2,000,000 octets a slot cost nothing more on the second, whose commit is above all of it."""
    flows = [Flow(t, 2001, 10**6 - OVERHEAD, provider=p) for t in range(12) for p in (174, 1299)]
    made = World(flows, hours=1)
    contracts = {
        174: {"billing": "out", "aggregate": "p95_of_sum", "price_per_mbps": "5", "commit": 0,
              "outage_hours": 1},
        1299: {"billing": "out", "aggregate": "p95_of_sum", "price_per_mbps": "1",
               "commit": 10**6, "outage_hours": 1},
    }  # fmt: skip
    start = made.inputs().period_start
    found = _answer(billed_of(made, contracts), (), [TiedRoutes(A, (A, B), start, np.ones(12))])
    assert found["all as_billed_total"] == pytest.approx(5 * 8e6 / 300 / 1e6 + 1, abs=0.01)
    assert found["all best_split_total"] == 1.0
    assert found["c174 best_split_bps"] == 0


@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_what_could_leave_elsewhere_is_counted_link_by_link_and_hour_by_hour(seed: int) -> None:
    plain = random_world(seed)
    found, offers, choice = plain.offered()
    ties = Ties(choice, offers)
    able = [n for n, link in enumerate(plain.links) if link.role == "transit"]
    outbound = TiedTraffic(plain.parts, found, offers, ties, np.array(plain.epoch_of_hour))
    free, whole = free_bytes(outbound, able)
    expected: dict[Any, dict[int, int]] = {}
    total: dict[int, dict[int, int]] = {}
    for hour, link, way, prefix, _, size in plain.routes:
        if way != "out" or link not in able:
            continue
        total.setdefault(link, {}).setdefault(hour, 0)
        total[link][hour] += size
        class_ = offers.of_prefix[plain.epoch_of_hour[hour]].get(prefix or "", 0)
        options = tuple(sorted({link, *ties.of(class_, link).tied}))
        if len(options) > 1:
            expected.setdefault((link, options), {}).setdefault(hour, 0)
            expected[link, options][hour] += size
    hours = range(plain.hours)
    assert {k: v.tolist() for k, v in free.items()} == {
        k: [v.get(h, 0) for h in hours] for k, v in expected.items()
    }
    assert {k: v.tolist() for k, v in whole.items()} == {
        k: [v.get(h, 0) for h in hours] for k, v in total.items()
    }
