"""What rows save, in order, against plain Python over the real slots (METHODS M8)."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from billing_oracle import Slots, amount, billed, month_slots
from test_billing import covered, terms_of, traffic_of

from flowpeer_core.slots import SLOT
from flowpeer_reports.billing.bills import MonthSeries, month_series
from flowpeer_reports.billing.costs import (
    Amounts,
    Costs,
    Prices,
    more_ports,
    opening,
    port_for,
    private,
)
from flowpeer_reports.billing.months import months_of
from flowpeer_reports.billing.octets import BilledLink, octets_of
from flowpeer_reports.billing.rows import cost_at
from flowpeer_reports.billing.savings import (
    Moved,
    RouteTraffic,
    Savings,
    by_contract,
    capped,
    sections,
)
from flowpeer_reports.billing.terms import Terms, converter
from flowpeer_reports.meeting import MeetingPlace

START, END = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
SPAN = START - timedelta(days=1)
KEYS = [("e0", 1), ("e0", 2), ("e1", 1)]


def a_world(dice: random.Random, words: dict[str, Any]) -> tuple[dict[Any, Slots], list[Any]]:
    """Octets of three links by slot, and rows: {key → Slots of (inbound own, outbound seen)}."""
    slots = [SPAN + SLOT * n for n in range((END - SPAN) // SLOT)]
    zone = words["timezone"]
    slots = sorted({*slots, *month_slots("2026-02", zone), *month_slots("2026-03", zone)})
    slots = [t for t in slots if SPAN <= t < END]
    links: dict[Any, Slots] = {key: {} for key in KEYS}
    rows: list[Any] = [{key: {} for key in KEYS} for _ in range(2)]
    for key in KEYS:
        peak = dice.choice([10**6, 10**8])
        for t in dice.sample(slots, len(slots) // 5):
            came, went = dice.randrange(peak), dice.randrange(peak)
            links[key][t] = (came, went)
            for row in rows:
                row[key][t] = (dice.randrange(came // 5 + 1), dice.randrange(went // 5 + 1))
    return links, rows


def part(slots: Slots, direction: int) -> RouteTraffic:
    n = (END - SPAN) // SLOT
    octets = np.array([slots.get(SPAN + SLOT * i, (0, 0))[direction] for i in range(n)], np.int64)
    packets = octets // 1000
    return RouteTraffic(octets - 18 * packets, packets)


def months_and_savings(
    terms: list[Terms], links: dict[Any, Slots], contract_of: dict[Any, str]
) -> tuple[list[MonthSeries], Savings]:
    coverage = covered(SPAN, END, ["e0", "e1"])
    named = [BilledLink(*key, contract_of[key], "ams", 18) for key in KEYS]
    octets = octets_of(named, traffic_of(links, 18), coverage)
    series = [
        month_series(t, month, octets) for t in terms for month in months_of(START, END, t.timezone)
    ]
    return series, Savings(series, converter("USD", {("EUR", "USD"): Fraction("1.1")}))


@pytest.mark.parametrize("seed", range(5))
def test_each_row_saves_the_fall_of_the_bill_after_the_rows_above(seed: int) -> None:
    dice = random.Random(seed)
    words = {
        "billing": dice.choice(["max_of_p95", "p95_of_max", "out", "sum"]),
        "aggregate": dice.choice(["p95_of_sum", "sum_of_p95"]),
        "timezone": dice.choice(["UTC", "Europe/Amsterdam"]),
        "commit": dice.choice([0, 10**6]),
    }
    if dice.random() < 0.5:
        words |= {"price_per_mbps": "0.9", "overage_per_mbps": "1.1"}
    else:
        words |= {"tiers": [(0, "1"), (2 * 10**6, "0.5")], "tier_mode": "all_volume"}
    links, rows = a_world(dice, words)
    contract_of = {KEYS[0]: "c", KEYS[1]: "c", KEYS[2]: "other"}
    series, savings = months_and_savings([terms_of(words)], links, contract_of)
    assert all(m.complete for m in series)
    mine = [key for key in KEYS if contract_of[key] == "c"]
    inbound = bool(seed % 2)
    gone: dict[Any, Slots] = {key: {} for key in mine}

    def bill(taken: dict[Any, Slots]) -> Fraction:
        left = [
            {t: tuple(max(a - b, 0) for a, b in zip(v, taken[key].get(t, (0, 0)), strict=True))
             for t, v in links[key].items()}
            for key in mine
        ]  # fmt: skip
        months = [month_slots(m, words["timezone"]) for m in ("2026-02", "2026-03")]
        total = sum(
            amount(words, billed(left, m, words["billing"], words["aggregate"]))  # type: ignore[arg-type]
            for m in months
        )
        return Fraction(total) / 2

    _, savings = months_and_savings([terms_of(words)], links, contract_of)
    now = bill(gone)
    for row in rows:
        moved = Moved(
            SPAN,
            observed_out={key: part(row[key], 1) for key in KEYS},
            own_in={key: part(row[key], 0) for key in KEYS},
        )
        money = savings.row(moved, Amounts(recurring=Fraction(1, 100)))
        with_inbound: dict[Any, Slots] = {key: {} for key in mine}
        for key in mine:
            for t, (came, went) in row[key].items():
                out = gone[key].get(t, (0, 0))[1] + went
                gone[key][t], with_inbound[key][t] = (0, out), (came, out)
        after = bill(gone)
        assert money.saving == now - after - Fraction(1, 100)
        if inbound:
            for key in mine:  # what rows above took in slots that this one is not in
                with_inbound[key] = gone[key] | with_inbound[key]
            assert money.saving_with_inbound == now - bill(with_inbound) - Fraction(1, 100)
        now = after


def one_contract(**words: Any) -> tuple[list[MonthSeries], Savings]:
    slots = [SPAN + SLOT * n for n in range((END - SPAN) // SLOT)]
    links = {key: dict.fromkeys(slots, (75 * 10**6, 150 * 10**6)) for key in KEYS}
    terms = terms_of({"billing": "out", "price_per_mbps": "1", **words})
    ends = {"ends": date(2027, 6, 30)} if words.get("commit") else {}
    terms = Terms(**{**{f: getattr(terms, f) for f in terms.__dataclass_fields__}, **ends})
    return months_and_savings([terms], links, dict.fromkeys(KEYS, "c"))


def taking(octets: int, **more: Any) -> Moved:
    n = (END - SPAN) // SLOT
    size = np.full(n, octets, np.int64)
    return Moved(SPAN, {KEYS[0]: RouteTraffic(size, np.zeros(n, np.int64))}, **more)


def test_why_a_saving_is_nothing_is_said() -> None:
    # Three links of 4 Mbit/s out, 2 Mbit/s in.
    money = one_contract(commit=20 * 10**6)[1].row(taking(75 * 10**6))
    assert money.bill_saving == 0
    assert money.billed_bps_avoided == 2 * 10**6
    assert money.notes == ("c: below commit until the contract ends 2027-06-30",)
    assert one_contract(billing="in")[1].row(taking(10**6)).notes == (
        "c: the other direction sets the bill",
    )
    assert one_contract(billing="flat")[1].row(taking(10**6)).notes == ("c: a flat price",)


def test_the_commit_is_reached_after_a_number_of_asks_and_that_is_said() -> None:
    savings = one_contract(commit=9 * 10**6)[1]
    for _ in range(3):
        savings.row(taking(45 * 10**6))
    assert savings.notes() == [
        "c: the first 3 asks reach the commit; the rest save nothing on it before 2027-06-30"
    ]


def test_what_a_port_does_not_carry_does_not_move() -> None:
    moved = taking(75 * 10**6)
    half = Moved(moved.start, capped(moved.observed_out, 5 * 10**5))
    assert one_contract()[1].row(half).billed_bps_avoided == 5 * 10**5
    assert one_contract()[1].row(moved).billed_bps_avoided == 2 * 10**6
    assert capped(moved.observed_out, None) is moved.observed_out


def test_bytes_are_those_of_the_contract_of_their_time() -> None:
    half, n = START + timedelta(days=20), (END - SPAN) // SLOT
    links = [
        BilledLink("e0", 1, "old", "ams", until=half),
        BilledLink("e0", 1, "new", "ams", since=half, until=END + timedelta(days=90)),
        BilledLink("e0", 1, "later", "ams", since=END + timedelta(days=90)),
        BilledLink("e0", 2, "new", "ams"),
    ]
    octets = octets_of(links, traffic_of({}, 18), covered(SPAN, END, ["e0"]))
    ones = RouteTraffic(np.ones(n, np.int64), np.zeros(n, np.int64))
    found = by_contract(sections(octets), {("e0", 1): ones, ("e0", 2): ones, ("e1", 1): ones}, SPAN)
    before = (half - SPAN) // SLOT
    assert {name: count for name, count in found.items() if count} == {
        "old": before, "new": n - before + n,
    }  # fmt: skip


def test_break_even_and_payback() -> None:
    cost = Amounts(recurring=Fraction(1, 2), setup=Fraction(24), currency="EUR")
    money = one_contract(commit=0)[1].row(taking(75 * 10**6, observed_bytes={"c": 5}), cost)
    assert money.bill_saving == 2
    assert money.peering_cost == Fraction(33, 20)  # (0.5 + 24/24) EUR at 1.1
    assert money.saving == Fraction(7, 20)
    assert money.break_even_bps == Fraction(33, 20) * 10**6
    assert money.payback_months == Fraction(264, 10) / (2 - Fraction(11, 20))


def test_without_a_price_there_is_no_money_and_the_rates_are_there() -> None:
    series, _ = one_contract()
    bare = [
        MonthSeries(Terms(contract="c", billing="out"), m.month, m.octets, m.judged, m.links)
        for m in series
    ]
    money = Savings(bare, converter("USD", {})).row(taking(75 * 10**6))
    assert (money.saving, money.bill_saving, money.peering_cost) == (None, None, None)
    assert money.billed_bps_avoided == 2 * 10**6


def test_costs_come_from_the_nearest_section_and_ports_are_bought_whole() -> None:
    general = Costs(
        port_per_month={10**10: Fraction(500), 10**11: Fraction(1800)},
        cross_connect_per_month=Fraction(200),
        setup=Fraction(1200),
        currency="USD",
    )
    here = Costs(cross_connect_per_month=Fraction(350), amortise_months=12).over(general)
    assert private(here, 1e9).per_month == 350 + 100
    assert port_for(general.port_per_month, 1.2e10) == (2 * 10**10, Fraction(1000))
    assert port_for(general.port_per_month, 5e10) == (10**11, Fraction(1800))
    assert more_ports(general, 0).per_month == 0
    assert more_ports(general, 1e9).recurring == 500
    assert opening(Costs(membership_per_month=Fraction(100)).over(general), 1e9).recurring == 600


def test_a_place_in_another_metro_costs_what_it_costs_there() -> None:
    prices = Prices(
        general=Costs(cross_connect_per_month=Fraction(1), currency="USD"),
        facilities={("fra", 20): Costs(cross_connect_per_month=Fraction(5))},
    )
    place = MeetingPlace(7, "in fra, 360 km: PNI", our_facility=20, there="fra", there_rank=3)
    assert cost_at(prices, "ams", place, 0.0, None).recurring == 5
    nowhere = MeetingPlace(7, "no common place in PeeringDB")
    assert cost_at(prices, "ams", nowhere, 0.0, None) == Amounts()
