"""The order by money, against a greedy in plain Python that bills every choice (METHODS M8)."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from money_world import bill_of, billed_of
from reports_world import Flow, World
from test_scenarios import ASNS, METROS, world

from flowpeer_reports.billing.costs import Costs, Prices
from flowpeer_reports.candidates import Valuation, candidates
from flowpeer_reports.errors import ReportError

OPENING = Fraction(40)
CROSS_CONNECT = Fraction(3)
PRICES = Prices(
    general=Costs(
        port_per_month={10**13: OPENING}, cross_connect_per_month=CROSS_CONNECT, currency="USD"
    )
)


def acceptance(asn: int, metro: str) -> float:
    return 0.2 + 0.07 * (asn % 10) + (0.1 if metro == "fra" else 0)


def by_hand(
    made: World, contracts: Any, metros: list[str], renewal: bool,
    rung: dict[tuple[int, str], tuple[int, int]],
) -> list[tuple[int, float]]:  # fmt: skip
    """ASN and value in order; every network is known for its own routes only."""
    gone: dict[tuple[str, int], float] = {}
    opened: set[tuple[str, int]] = set()
    # By bytes: who is first between equals.
    worth = {
        a: sum(f.bytes * acceptance(a, f.metro) for f in made.flows
               if f.origin == a and f.direction == "out" and f.metro in metros)
        for a in ASNS
    }  # fmt: skip
    left = sorted((a for a in ASNS if worth[a]), key=lambda a: (-worth[a], a))
    needs = {a: {(m, rung[a, m][1]) for m in metros if rung[a, m][0] == 6} for a in left}
    cost = {
        a: sum((Fraction(acceptance(a, m)) * CROSS_CONNECT
                for m in metros if rung[a, m][0] in (3, 4, 5)), Fraction(0))
        for a in left
    }  # fmt: skip

    def value(asks: list[int]) -> Fraction:
        more = gone | {(m, a): acceptance(a, m) for a in asks for m in metros}
        fall = bill_of(made, contracts, gone, renewal=renewal) - bill_of(
            made, contracts, more, renewal=renewal
        )
        return fall - sum((cost[a] for a in asks), Fraction(0))

    found: list[tuple[int, float]] = []

    def take(choices: list[int]) -> int:
        amount, _, asn = max((value([a]), -left.index(a), a) for a in choices)
        gone.update({(m, asn): acceptance(asn, m) for m in metros})
        left.remove(asn)
        found.append((asn, float(amount)))
        return asn

    while left:
        free = [a for a in left if needs[a] <= opened]
        single = max((value([a]) for a in free), default=None)
        bundles = []
        for wanted in {frozenset(needs[a] - opened) for a in left if needs[a] - opened}:
            asks = [a for a in left if needs[a] - opened and needs[a] <= opened | wanted]
            net = value(asks) - OPENING * len(wanted)
            bundles.append((net / len(asks), wanted, asks))
        best = max(bundles, key=lambda b: b[0], default=None)
        if best is not None and (single is None or best[0] > single):
            opened |= best[1]
            asks = list(best[2])
            while asks:
                asks.remove(take(asks))
        else:
            take(free)
    return found


@pytest.mark.parametrize(("seed", "by"), [(0, "saving"), (1, "renewal"), (2, "saving")])
def test_each_row_is_the_one_that_saves_most_after_those_above(seed: int, by: Any) -> None:
    made, contracts, _ = world(seed)
    made.paths, made.links, made.sessions, made.hours = (), (), (), 6
    made.flows = [f for f in made.flows if f.slot < 72]
    net = made.peeringdb["net"].with_columns(policy_general=pl.lit("Open"))
    made.peeringdb = {**made.peeringdb, "net": net}
    found = candidates(
        made.inputs(), money=Valuation(billed_of(made, contracts, PRICES), by),
        acceptance=acceptance,
    )  # fmt: skip
    rung = {
        (r["asn"], r["metro"]): (r["meet_rank"], r["ix_id"])
        for r in found.places.filter(pl.col("option") == 1).to_dicts()
    }
    for metros, rows in (
        (["ams"], found.rows.filter(pl.col("metro") == "ams")),
        (list(METROS), found.organisations),
    ):
        listed = rows.filter(pl.col("rank") > 0)
        expected = by_hand(made, contracts, metros, by == "renewal", rung)
        assert listed["asn"].to_list() == [a for a, _ in expected]
        values = listed["expected_value"].to_list()
        assert values == pytest.approx([v for _, v in expected], abs=0.02)
    assert any(note.startswith("ranked by expected money") for note in found.notes)
    # The rows are the same: another order moves no byte.
    plain = candidates(made.inputs(), acceptance=acceptance)
    assert found.organisations["out_bytes"].sum() == plain.organisations["out_bytes"].sum()


def test_the_one_that_sends_little_at_the_peak_saves_most() -> None:
    dice = random.Random(7)
    base = [Flow(n, 2001, 10**9) for n in range(120)]
    night = [Flow(n, 2002, 3 * 10**9) for n in range(30)]
    peak = [Flow(n, 2003, 10**9) for n in range(100, 120)]
    flows = [*base, *night, *peak, *(Flow(n, 2004, 4 * 10**9) for n in range(100, 120))]
    dice.shuffle(flows)
    made = World(flows, hours=10)
    contracts = {1299: {"billing": "out", "aggregate": "p95_of_sum", "price_per_mbps": "1"}}
    billed = billed_of(made, contracts)
    plain, money = (
        candidates(made.inputs(), money=Valuation(billed, by), acceptance=lambda a, m: 1.0)
        for by in ("bytes", "saving")
    )
    assert plain.rows["asn"].to_list() == [2001, 2002, 2004, 2003]
    # 6, 4 and 1 GB a slot: without 2004 the night is the peak, without 2002 then 2001 counts.
    assert money.rows["asn"].to_list() == [2004, 2002, 2001, 2003]
    values = money.rows["expected_value"].to_list()
    assert values == pytest.approx([53.33, 53.33, 26.67, 26.67], abs=0.01)


def test_an_order_by_money_needs_a_price() -> None:
    made = World([Flow(0, 2001, 10**6)])
    with pytest.raises(ReportError, match="needs contracts"):
        candidates(made.inputs(), money=Valuation(rank_by="saving"))
    unpriced = billed_of(made, {})
    with pytest.raises(ReportError, match="needs a price"):
        candidates(made.inputs(), money=Valuation(unpriced, "renewal"))
