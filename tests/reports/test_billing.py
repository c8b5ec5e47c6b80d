"""Bills over months, time zones, tiers and groups, against plain Python (METHODS M5, M8)."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from billing_oracle import Slots, amount, billed, cents, month_slots

from flowpeer_core.slots import SLOT
from flowpeer_reports.billing.bills import Bills, bills, month_series
from flowpeer_reports.billing.months import Month, month_named, months_of
from flowpeer_reports.billing.octets import BilledLink, Octets, octets_of
from flowpeer_reports.billing.terms import Terms, Tier, converter, printed
from flowpeer_reports.coverage import Coverage, Due

ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Asia/Kolkata")
MODES = ("max_of_p95", "p95_of_max", "in", "out", "sum", "flat")


def terms_of(words: dict[str, Any]) -> Terms:
    def price(key: str) -> Fraction | None:
        return Fraction(words[key]) if key in words else None

    return Terms(
        contract="c",
        provider="P",
        commit_bps=words.get("commit", 0),
        price_per_mbps=price("price_per_mbps"),
        overage_per_mbps=price("overage_per_mbps"),
        tiers=tuple(Tier(f, Fraction(p)) for f, p in words.get("tiers", ())),
        tier_mode=words.get("tier_mode", "marginal"),
        billing=words["billing"],
        aggregate=words.get("aggregate", "p95_of_sum"),
        billed_unit_bps=words.get("billed_unit", 0),
        fixed_per_month=Fraction(words.get("fixed_per_month", 0)),
        timezone=words.get("timezone", "UTC"),
    )


def traffic_of(links: dict[tuple[str, int], Slots], overhead: int) -> pl.LazyFrame:
    """Rows of `traffic` whose bytes and framing add up to these octets."""
    rows = []
    for (exporter, interface), slots in links.items():
        for slot, octets in slots.items():
            for direction, total in zip(("in", "out"), octets, strict=True):
                packets = total // 1000
                rows.append((slot, exporter, interface, direction, True,
                             total - overhead * packets, packets))  # fmt: skip
    schema = {
        "slot": pl.Datetime("us", "UTC"), "exporter": pl.String, "interface": pl.Int64,
        "direction": pl.String, "scaled": pl.Boolean, "bytes": pl.Int64, "packets": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row").lazy()


def covered(start: datetime, end: datetime, exporters: list[str]) -> Coverage:
    n = (end - start) // SLOT
    flags = np.ones((len(exporters), n), bool)
    dues = tuple(Due(e, "ams") for e in exporters)
    return Coverage(start, dues, flags, flags.copy(), frozenset())


def made(
    words: dict[str, Any], links: dict[tuple[str, int], Slots], coverage: Coverage, month: Month,
    *, now: datetime | None = None, **options: Any,
) -> tuple[Bills, Octets]:  # fmt: skip
    sections = [BilledLink(e, i, "c", "ams", 18) for e, i in links]
    octets = octets_of(sections, traffic_of(links, 18), coverage)
    series = [month_series(terms_of(words), month, octets)]
    end = coverage.start + SLOT * coverage.slots
    return bills(series, octets, now=now or end, **options), octets


def a_contract(dice: random.Random) -> dict[str, Any]:
    words: dict[str, Any] = {
        "billing": dice.choice(MODES),
        "aggregate": dice.choice(["p95_of_sum", "sum_of_p95"]),
        "timezone": dice.choice(ZONES),
        "fixed_per_month": dice.choice(["0", "250.55"]),
    }
    if dice.random() < 0.7:
        words["commit"] = dice.choice([10**5, 2 * 10**6, 10**7])
    if dice.random() < 0.2:
        words["billed_unit"] = 10**6
    if dice.random() < 0.4 and words["billing"] != "flat":
        words["tiers"] = [(0, "1.25"), (10**6, "0.805"), (3 * 10**6, "0.33")]
        words["tier_mode"] = dice.choice(["marginal", "all_volume"])
    else:
        words["price_per_mbps"] = "0.815"
        if dice.random() < 0.5:
            words["overage_per_mbps"] = "1.005"
    return words


@pytest.mark.parametrize("seed", range(24))
def test_bills_are_the_oracles_to_the_cent(seed: int) -> None:
    dice = random.Random(seed)
    words = a_contract(dice)
    # March and October have a change of clocks in Amsterdam, March and November in New York.
    name = dice.choice(["2026-02", "2026-03", "2026-10", "2026-11", "2026-12"])
    slots = month_slots(name, words["timezone"])
    peak = dice.choice([10**4, 10**6, 10**8])
    links: dict[tuple[str, int], Slots] = {
        (f"e{n % 2}", n): {
            t: (dice.randrange(peak), dice.randrange(peak))
            for t in slots
            if dice.random() < dice.choice([0.02, 0.5])
        }
        for n in range(dice.randint(1, 3))
    }
    month = month_named(name, words["timezone"])
    assert (month.start, month.end) == (slots[0], slots[-1] + SLOT)
    coverage = covered(month.start - SLOT * 100, month.end + SLOT * 50, ["e0", "e1"])
    rows = made(words, links, coverage, month)[0].rows
    rate = billed(list(links.values()), slots, words["billing"], words["aggregate"])
    (row,) = rows.to_dicts()
    assert row["total"] == cents(amount(words, rate))
    assert row["slots"] == len(slots)
    assert (row["status"], row["quality"], row["missing_slots"]) == ("complete", "exact", 0)
    if "billed_unit" not in words:
        assert row["billed_bps"] == pytest.approx(float(rate))


def test_a_month_belongs_to_a_period_by_its_name() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    months = list(months_of(start, end, "Europe/Amsterdam"))
    assert [m.name for m in months] == ["2026-01", "2026-02", "2026-03"]
    assert months[2].start == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert months[2].slots == 31 * 288 - 12
    assert months[2].last_day == date(2026, 3, 31)
    assert list(months_of(start, start + timedelta(days=1), "UTC")) == [Month(2026, 1, "UTC")]


def test_a_router_that_fell_silent_makes_an_estimate_then_no_bill() -> None:
    month = month_named("2026-02", "UTC")
    coverage = covered(month.start, month.end, ["e0"])
    links = {("e0", 1): {month.start + SLOT * n: (10**6, 0) for n in range(28 * 288)}}
    words = {"billing": "in", "price_per_mbps": "1"}
    for silent, quality in ((70, "exact"), (200, "estimate"), (500, "refused")):
        coverage.covered[0] = True
        coverage.covered[0, 1000 : 1000 + silent] = False
        (row,) = made(words, links, coverage, month)[0].rows.to_dicts()
        assert row["quality"] == quality
        assert (row["total"] is None) == (quality == "refused")
    forced, _ = made(words, links, coverage, month, forced=True)
    assert forced.rows["total"].to_list() == [0.03]
    assert any("forced" in note for note in forced.notes)


def test_a_running_month_says_what_is_left_and_where_it_is_heading() -> None:
    month = month_named("2026-07", "UTC")
    start, now = month.start - timedelta(days=35), month.start + timedelta(days=10)
    coverage = covered(start, now, ["e0"])
    slots = [start + SLOT * n for n in range((now - start) // SLOT)]
    dice = random.Random(5)
    series = {t: (0, dice.randrange(10**8, 10**9)) for t in slots}
    words = {"billing": "out", "price_per_mbps": "0.5", "commit": 20 * 10**6}
    found, _ = made(words, {("e0", 1): series}, coverage, month, now=now)
    (row,) = found.rows.to_dicts()
    assert row["status"] == "projected"
    assert row["burst_slots_allowed"] == 31 * 288 - (19 * 31 * 288 + 19) // 20
    held = [t for t in slots if t >= month.start]
    assert row["burst_slots_used_out"] == sum(series[t][1] * 8 > 300 * 20 * 10**6 for t in held)
    assert row["burst_slots_used_in"] is None
    expected = []
    for weeks in (1, 2, 3, 4):
        whole = dict(series)
        at = now
        while at < month.end:
            back = at - timedelta(weeks=weeks)
            while back >= now - timedelta(weeks=weeks - 1):  # the same week for all
                back -= timedelta(weeks=1)
            whole[at] = series[back]
            at += SLOT
        expected.append(billed([whole], month_slots("2026-07", "UTC"), "out", "p95_of_sum"))
    assert row["heading_for_bps"] == pytest.approx(float(expected[0]))
    assert row["heading_for_low_bps"] == pytest.approx(float(min(expected)))
    assert row["heading_for_high_bps"] == pytest.approx(float(max(expected)))
    assert row["heading_for_total"] == cents(amount(words, expected[0]))


def test_counters_are_the_series_where_they_are_loaded() -> None:
    month = month_named("2026-02", "UTC")
    coverage = covered(month.start, month.end, ["e0"])
    slots = month_slots("2026-02", "UTC")
    flows = {("e0", 1): dict.fromkeys(slots, (3000, 3000))}
    read = pl.DataFrame(
        [("e0", 1, d, t, 7500) for t in slots[: len(slots) - 90] for d in ("in", "out")],
        schema={"exporter": pl.String, "interface": pl.Int64, "direction": pl.String,
                "slot": pl.Datetime("us", "UTC"), "octets": pl.Int64},
        orient="row",
    )  # fmt: skip
    octets = octets_of([BilledLink("e0", 1, "c", "ams")], traffic_of(flows, 18), coverage, read)
    one = month_series(terms_of({"billing": "in", "price_per_mbps": "1"}), month, octets)
    (row,) = bills([one], octets, now=month.end).rows.to_dicts()
    assert (row["source"], row["p95_in_bps"]) == ("counters", 200.0)
    # No reading of the last 90 slots: missing, whatever the flows say of them.
    assert (row["missing_slots"], row["quality"]) == (90, "estimate")


def test_a_link_that_moved_to_another_contract_counts_in_its_time() -> None:
    month = month_named("2026-02", "UTC")
    half = month.start + timedelta(days=14)
    coverage = covered(month.start, month.end, ["e0"])
    flows = {("e0", 1): dict.fromkeys(month_slots("2026-02", "UTC"), (3000, 0))}
    sections = [
        BilledLink("e0", 1, "c", "ams", until=half),
        BilledLink("e0", 1, "d", "ams", since=half),
    ]
    octets = octets_of(sections, traffic_of(flows, 18), coverage)
    assert octets.values[:, 0].sum(axis=1).tolist() == [14 * 288 * 3000, 14 * 288 * 3000]


def test_a_part_of_a_month_is_billed_as_a_whole_one_and_says_so() -> None:
    month = month_named("2026-02", "Europe/Amsterdam")
    half = datetime(2026, 2, 15, tzinfo=UTC)
    sections = [
        BilledLink("e0", 1, "c", "ams", until=half),
        BilledLink("e0", 1, "d", "ams", since=half),
        BilledLink("e0", 2, "e", "ams", until=datetime(2026, 3, 1, tzinfo=UTC)),
        BilledLink("e0", 3, "f", "ams", until=datetime(2026, 1, 15, tzinfo=UTC)),
    ]
    slots = month_slots("2026-02", "Europe/Amsterdam")
    flows = {("e0", n): dict.fromkeys(slots, (375 * 10**6, 0)) for n in (1, 2, 3)}
    octets = octets_of(sections, traffic_of(flows, 18), covered(month.start, month.end, ["e0"]))
    words = {"billing": "in", "price_per_mbps": "1", "commit": 10**9, "fixed_per_month": "5"}
    terms = terms_of(words)
    all_terms = [
        *(replace(terms, contract=name) for name in "cdef"),
        replace(terms, contract="e", starts=date(2026, 2, 10), ends=date(2026, 2, 20)),
        replace(terms, contract="e", ends=date(2026, 2, 20), auto_renew=True),
    ]
    series = [month_series(one, month, octets) for one in all_terms]
    found = bills(series, octets, now=month.end)
    assert found.rows["total"].to_list() == [1005.0] * 6
    whole = "commit and fixed charges billed for the whole month, not by the day; "
    zero = "slots without a link of the contract count as zero"
    assert [note for note in found.notes if whole in note] == [
        f"c 2026-02: in force 2026-02-01 to 2026-02-15 only: {whole}{zero}",
        f"d 2026-02: in force 2026-02-15 to 2026-02-28 only: {whole}{zero}",
        f"f 2026-02: in force on no link of the month: {whole}{zero}",
        f"e 2026-02: in force 2026-02-10 to 2026-02-20 only: {whole}{zero}",
    ]


def test_notice_is_of_an_end_that_is_to_come() -> None:
    month = month_named("2026-02", "UTC")
    octets = octets_of([BilledLink("e0", 1, "c", "ams")], traffic_of({("e0", 1): {}}, 18),
                       covered(month.start, month.end, ["e0"]))  # fmt: skip
    terms = replace(terms_of({"billing": "in", "price_per_mbps": "1"}), notice_days=30)
    for ends, renews, notice in (
        (date(2026, 12, 31), False, date(2026, 12, 1)),
        (date(2026, 12, 31), True, date(2026, 12, 1)),
        (date(2026, 1, 31), True, None), (None, True, None),
    ):  # fmt: skip
        one = month_series(replace(terms, ends=ends, auto_renew=renews), month, octets)
        found = bills([one], octets, now=month.end)
        assert found.rows["notice_by"].to_list() == [notice]
        renewed = "c 2026-02: renewed itself after 2026-01-31: state its new `ends`"
        assert any(note.startswith(renewed) for note in found.notes) == (ends == date(2026, 1, 31))


def test_an_invoice_is_compared_with_the_bill_and_a_stray_one_is_named() -> None:
    month = month_named("2026-02", "UTC")
    coverage = covered(month.start, month.end, ["e0"])
    flows = {("e0", 1): dict.fromkeys(month_slots("2026-02", "UTC"), (375 * 10**6, 0))}
    words = {"billing": "in", "price_per_mbps": "1", "commit": 10**7}
    invoices = {("c", "2026-02"): Fraction("15.5"), ("c", "2026-03"): Fraction(1)}
    found, _ = made(words, flows, coverage, month, invoices=invoices)
    (row,) = found.rows.to_dicts()
    assert (row["total"], row["invoice"], row["invoice_difference"]) == (10.0, 15.5, 5.5)
    assert any(note.startswith("c 2026-03: an invoice") for note in found.notes)


def test_amounts_are_rounded_half_up_once() -> None:
    assert [printed(Fraction(n, 1000)) for n in (5, 15, 25, -5)] == [0.01, 0.02, 0.03, -0.01]
    assert printed(None) is None


def test_currencies_are_converted_by_a_stated_rate_or_not_at_all() -> None:
    convert = converter("USD", {("EUR", "USD"): Fraction("1.1")})
    assert convert(Fraction(10), "EUR") == 11
    assert convert(Fraction(10), "USD") == 10
    assert convert(Fraction(10), "CHF") is None
    assert converter("EUR", {("EUR", "USD"): Fraction(2)})(Fraction(10), "USD") == 5
