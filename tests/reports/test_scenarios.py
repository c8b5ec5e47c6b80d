"""The scenarios for signing and the money of exchanges, against plain Python (METHODS M8, M18)."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from billing_oracle import p95
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from money_world import bill_of, billed_of, close, flows
from reports_world import World

from flowpeer_reports.billing.costs import Costs, Prices
from flowpeer_reports.billing.outages import worst_octets, worst_p95
from flowpeer_reports.candidates import Candidates, Valuation, candidates
from flowpeer_reports.exchanges import exchanges

ASNS = tuple(range(2001, 2010))
METROS = ("ams", "fra")
IXES = (26, 27, 28)
SESSION = 2002


def world(seed: int) -> tuple[World, dict[int, dict[str, Any]], dict[int, set[int]]]:
    """A world of two metros, its contracts, and network → origins that it is seen on."""
    dice = random.Random(seed)
    members = {ix: {a: dice.random() < 0.5 for a in ASNS if dice.random() < 0.5} for ix in IXES}
    tables = {
        "net": pl.DataFrame({"id": ASNS, "asn": ASNS, "policy_general": [
            dice.choice(["Open", "Open", "Selective", "No"]) for _ in ASNS]}),
        "fac": pl.DataFrame({"id": [18], "name": ["Harbour"], "latitude": [52.3],
                             "longitude": [4.9]}),
        "netfac": pl.DataFrame({"net_id": ASNS[:3], "local_asn": ASNS[:3], "fac_id": [18] * 3}),
        "ix": pl.DataFrame({"id": list(IXES), "name": ["One", "Two", "Three"]}),
        "ixfac": pl.DataFrame({"ix_id": list(IXES), "fac_id": [18] * 3}),
        "netixlan": pl.DataFrame(
            [{"asn": a, "net_id": a, "ix_id": ix, "speed": 100_000, "is_rs_peer": servers,
              "operational": True} for ix, of in members.items() for a, servers in of.items()]),
    }  # fmt: skip
    above = {a: dice.choice(ASNS[:4]) for a in ASNS[4:]}
    seen = {a: {a} | {o for o, via in above.items() if via == a} for a in ASNS}
    # Known to carry, though not seen on a path.
    cones = [(ASNS[0], a, -1) for a in ASNS[4:7] if above[a] != ASNS[0]]
    here = {"facilities": [18], "latitude": 52.3, "longitude": 4.9}
    made = World(
        flows(dice, ASNS, METROS, 12),
        [(f"10.{a % 251}.0.0/16", f"1299 {via} {a}") for a, via in above.items()],
        [(via, a, -1) for a, via in above.items()] + cones,
        metros=METROS,
        hours=12,
        peeringdb=tables,
        places=dict.fromkeys(METROS, here),
        ports=[(m, 26, True, 10**11) for m in METROS],
        sessions=[(SESSION, "ams", "pni")],
    )
    contracts = {
        1299: {"billing": dice.choice(["max_of_p95", "out", "p95_of_max"]),
               "aggregate": "p95_of_sum", "price_per_mbps": "0.9", "overage_per_mbps": "1.1",
               "commit": dice.choice([0, 10**9]), "renewal_price_per_mbps": "0.7",
               "outage_hours": 2},
        174: {"billing": dice.choice(["out", "sum"]),
              "aggregate": dice.choice(["p95_of_sum", "sum_of_p95"]),
              "tiers": [(0, "1"), (2 * 10**9, "0.5")], "tier_mode": "marginal",
              "outage_hours": 1},
    }  # fmt: skip
    return made, contracts, seen


def asked(found: Candidates) -> list[dict[str, Any]]:
    listed = found.organisations.filter(pl.col("rank") > 0, pl.col("asn").is_not_null())
    return [r for r in listed.to_dicts() if r["policy"] != "No"]


def carriers(rows: list[dict[str, Any]], seen: dict[int, set[int]]) -> dict[tuple[str, int], int]:
    """(metro, origin) → the first of these asks that is seen on it; row 0 holds its own."""
    first: dict[tuple[str, int], int] = {}
    for row in rows:
        for metro in METROS:
            for origin in seen[row["asn"]]:
                if metro != "ams" or origin not in seen[SESSION]:
                    first.setdefault((metro, origin), row["asn"])
    return first


@pytest.mark.parametrize("seed", range(4))
def test_bills_of_the_scenarios_and_the_worst_outage_in_each(seed: int) -> None:
    made, contracts, seen = world(seed)
    found = candidates(made.inputs(), money=Valuation(billed_of(made, contracts)))
    assert found.signing is not None
    rows = {r["scenario"]: r for r in found.signing.scenarios.to_dicts()}
    right = {("ams", origin): 1.0 for origin in seen[SESSION]}
    asks = asked(found)
    observed = dict.fromkeys(carriers(asks, seen), 1.0) | right
    largest = max(asks, key=lambda r: (r["observed_bps"], -r["rank"]))
    without = dict.fromkeys(carriers([r for r in asks if r is not largest], seen), 1.0) | right
    everything = sum(f.bytes for f in made.flows if f.direction == "out")
    for name, gone in (
        ("as it is", {}), ("sessions put right", right), ("observed only", observed),
        ("without the largest ask", without),
    ):  # fmt: skip
        row = rows[name]
        assert close(row["bill_per_month"], bill_of(made, contracts, gone))
        assert close(row["bill_at_renewal_per_month"], bill_of(made, contracts, gone, renewal=True))
        moved = sum(f.bytes for f in made.flows
                    if f.direction == "out" and (f.metro, f.origin) in gone)  # fmt: skip
        assert row["moved_bps"] == pytest.approx(moved * 8 / 43200, abs=0.01)
        assert row["transit_bps"] == pytest.approx((everything - moved) * 8 / 43200, abs=0.01)
    assert rows["without the largest ask"]["left_out"] == f"AS{largest['asn']}"
    assert rows["observed only"]["asks"] == len(asks)

    # What the list's rows save, one after the other, is the difference of two scenarios.
    savings = sum(r["bill_saving_per_month"] for r in asks)
    both = rows["sessions put right"]["bill_per_month"] - rows["observed only"]["bill_per_month"]
    assert savings == pytest.approx(both, abs=0.01 * len(asks))

    # The place that is worst to lose, every place tried in every window.
    place_of = {
        (r["asn"], r["metro"]): (
            r["ix_id"] if r["meet_rank"] in (1, 2, 6) else (r["asn"], r["metro"])
        )
        for r in found.places.filter(pl.col("option") == 1).to_dicts()
    }  # fmt: skip
    at: dict[Any, dict[tuple[str, int], float]] = {}
    for (metro, origin), asn in carriers(asks, seen).items():
        at.setdefault(place_of[asn, metro], {})[metro, origin] = 1.0
    worst = max(bill_of(made, contracts, observed, renewal=True, back=b) for b in at.values())
    assert close(rows["observed only"]["outage_bill_at_renewal_per_month"], worst, 0.02)

    commits = {r["contract"]: r for r in found.signing.commits.to_dicts()}
    for provider in contracts:
        mine = {provider: contracts[provider]}
        before, after = (bill_of(made, mine, g, renewal=True) for g in ({}, observed))
        worst = max(bill_of(made, mine, observed, renewal=True, back=b) for b in at.values())
        row = commits[f"c{provider}"]
        assert close(row["saving_at_renewal_per_month"], before - after, 0.02)
        assert close(row["outage_cost_per_month"], worst - after, 0.02)
        assert close(row["net_saving_at_renewal_per_month"], before - worst, 0.03)


def test_the_expected_scenario_takes_each_route_as_far_as_it_is_likely_to_go() -> None:
    made, contracts, seen = world(1)

    def acceptance(asn: int, metro: str) -> float:
        return 0.2 + 0.07 * (asn % 10) + (0.1 if metro == "fra" else 0)

    found = candidates(
        made.inputs(), money=Valuation(billed_of(made, contracts)), acceptance=acceptance
    )
    assert found.signing is not None
    left = {(m, o): 1.0 for m in METROS for o in ASNS}
    for row in found.organisations.filter(pl.col("rank") > 0).to_dicts():
        asn = row["asn"]
        for metro in METROS:
            for origin in {*seen[asn], *(b for a, b, _ in made.links if a == asn)}:
                weight = 1.0 if origin in seen[asn] else 0.3
                left[metro, origin] *= 1 - acceptance(asn, metro) * weight
    gone = {key: 1 - part for key, part in left.items()}
    gone |= {("ams", origin): 1.0 for origin in seen[SESSION]}
    moved = sum(f.bytes * gone[f.metro, f.origin] for f in made.flows if f.direction == "out")
    row = next(r for r in found.signing.scenarios.to_dicts() if r["scenario"] == "expected")
    assert row["moved_bps"] == pytest.approx(moved * 8 / 43200, rel=1e-9)
    # Routes of a place that go to about the same part share their mean: a slot is near, not exact.
    assert row["bill_per_month"] == pytest.approx(float(bill_of(made, contracts, gone)), rel=0.01)


def test_a_network_that_refuses_takes_nothing_from_the_savings_below_it() -> None:
    made, contracts, _ = world(2)
    policies = ["No" if a == ASNS[0] else "Open" for a in ASNS]
    net = made.peeringdb["net"].with_columns(policy_general=pl.Series(policies))
    made.peeringdb = {**made.peeringdb, "net": net}
    made.links = [(ASNS[0], a, -1) for a in ASNS[4:]] + [(ASNS[1], a, -1) for a in ASNS[4:]]
    made.paths = [(f"10.{a % 251}.0.0/16", f"1299 {ASNS[n % 2 * 2]} {a}")
                  for a in ASNS[4:] for n in (0, 1)]  # fmt: skip
    made.links += [(ASNS[2], a, -1) for a in ASNS[4:]]
    made.sessions = ()
    billed = billed_of(made, contracts)
    found = candidates(made.inputs(), money=Valuation(billed))
    assert found.signing is not None
    rows = {r["scenario"]: r for r in found.signing.scenarios.to_dicts()}
    both = rows["as it is"]["bill_per_month"] - rows["observed only"]["bill_per_month"]
    asks = asked(found)
    assert {r["asn"] for r in asks} == set(ASNS) - {ASNS[0]}
    assert sum(r["bill_saving_per_month"] for r in asks) == pytest.approx(both, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_an_ask_costs_and_saves_the_same_however_long_the_list_is(seed: int) -> None:
    made, contracts, _ = world(seed)
    general = Costs(port_per_month={10**6: Fraction(1, 2)}, cross_connect_per_month=Fraction(3, 10),
                    setup=Fraction(24), currency="USD", amortise_months=24)  # fmt: skip
    billed = billed_of(made, contracts, Prices(general=general))
    whole = candidates(made.inputs(), money=Valuation(billed)).organisations
    whole = whole.filter(pl.col("rank") > 0)
    money = ["rank", "asn", *(c for c in whole.columns if c.endswith("_per_month")),
             "break_even_bps", "payback_months", "meet"]  # fmt: skip
    assert (whole["peering_cost_per_month"] > 0).any()
    for asks in (1, 2, 3):
        short = candidates(made.inputs(), asks=asks, money=Valuation(billed)).organisations
        mine = short.filter(pl.col("rank") > 0)
        assert mine.height
        assert mine.select(money).equals(whole.head(mine.height).select(money))


@pytest.mark.parametrize("seed", range(4))
def test_the_money_of_exchanges_in_their_order(seed: int) -> None:
    made, contracts, seen = world(seed)
    general = Costs(port_per_month={10**12: Fraction(1, 2)},
                    membership_per_month=Fraction(1, 5), setup=Fraction(24), currency="USD",
                    amortise_months=24)  # fmt: skip
    billed = billed_of(made, contracts, Prices(general=general))
    inputs = made.inputs()
    found = candidates(inputs, money=Valuation(billed))
    answer = exchanges(inputs, found, billed)
    policy = dict(made.peeringdb["net"].select("asn", "policy_general").iter_rows())
    ports = made.peeringdb["netixlan"].to_dicts()
    for metro in METROS:
        barred = {SESSION} if metro == "ams" else set()
        gone = {(metro, origin) for a in barred for origin in seen[a]}
        before = {k: bill_of(made, contracts, gone, renewal=k) for k in (False, True)}
        for row in answer.rows.filter(pl.col("metro") == metro).to_dicts():
            open_to_us = {
                p["asn"] for p in ports
                if p["ix_id"] == row["ix_id"] and policy[p["asn"]] != "No"
                and (p["is_rs_peer"] or policy[p["asn"]] == "Open")
            } - barred  # fmt: skip
            mine = {(metro, o) for a in open_to_us for o in seen[a]} - gone
            gone |= mine
            after = {k: bill_of(made, contracts, gone, renewal=k) for k in (False, True)}
            fall = {k: before[k] - after[k] for k in before}
            cost = Fraction(0) if row["ix_id"] == 26 else Fraction(17, 10)
            assert close(row["peering_cost_per_month"], cost)
            assert close(row["bill_saving_per_month"], fall[False], 0.02)
            assert close(
                row["saving_per_month"], Fraction(row["bill_saving_per_month"]) - cost, 0.02
            )
            assert close(row["saving_at_renewal_per_month"], fall[True] - cost, 0.02)
            octets = {
                p: sum(f.bytes for f in made.flows if f.provider == p and f.direction == "out"
                       and (f.metro, f.origin) in mine)
                for p in contracts
            }  # fmt: skip
            price = octets[1299] * Fraction("0.7") + octets[174]
            even = float(cost * 10**6 * sum(octets.values()) / price) if price else None
            assert row["break_even_bps"] == pytest.approx(even, abs=0.001)
            before = after
    assert answer.openings.equals(found.openings)


@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_the_worst_hours_of_an_outage_are_found(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    numbers = st.lists(st.integers(0, 20), min_size=n, max_size=n)
    values, back = (np.array(data.draw(numbers), np.int64) for _ in range(2))
    length = data.draw(st.integers(1, 70))
    tried = [
        p95([int(v + (b if first <= i < first + length else 0))
             for i, (v, b) in enumerate(zip(values, back, strict=True))]) * 300 / 8
        for first in range(-length, n)
    ]  # fmt: skip
    assert worst_p95(values, back, length) == max(
        t for first, t in zip(range(-length, n), tried, strict=True)
        if first + min(length, n) <= n and first >= 0
    )  # fmt: skip


def test_an_outage_raises_nothing_that_only_inbound_is_billed_for() -> None:
    one = np.arange(100, dtype=np.int64)
    links, back = [(one, one)], [one * 10]
    assert worst_octets(links, back, "in", "p95_of_sum", 24) == 94
    assert worst_octets(links, back, "out", "p95_of_sum", 24) == 1034
    assert worst_octets(links, back, "max_of_p95", "p95_of_sum", 24) > 94
