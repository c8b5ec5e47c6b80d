"""What the page shows beside the answers, against brute force: lines, grades, curve, days."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import polars as pl
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import START, Flow, World
from test_render import EVIL, small_world

from flowpeer_reports.candidates import candidates
from flowpeer_reports.curve import WIDTH, curve
from flowpeer_reports.grades import LIMITS, grades, letter
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.inputs import NO_TABLES
from flowpeer_reports.profiles import profiles
from flowpeer_reports.render import svg
from flowpeer_reports.timelines import timelines


def two_months() -> World:
    """Two days around a month's border: one provider with a hole, another steady."""
    flows = [
        Flow(slot, 2001, 10**9 + 7 * slot, provider=1299) for slot in range(576) if slot % 50 != 3
    ]
    flows += [Flow(slot, 2002, 3 * 10**9, provider=174, direction="in") for slot in range(576)]
    return World(flows, hours=48)


def test_steps_and_months_are_those_of_the_slots() -> None:
    inputs = two_months().inputs()
    # The world begins on the 16th: read it as if it began a day before a month's end.
    shift = datetime(2026, 9, 30, tzinfo=UTC) - START
    inputs = replace(
        inputs, period_start=START + shift, period_end=inputs.period_end + shift,
        traffic=inputs.traffic.with_columns(pl.col("slot") + shift),
    )  # fmt: skip
    found = timelines(inputs, imbalance(inputs))
    assert found is not None
    assert found.step == timedelta(hours=1)
    (metro,) = found.metros
    assert metro.capacity_bps == 200_000_000_000
    line = [0 if s % 50 == 3 else 10**9 + 7 * s for s in range(576)]

    def p95(values: list[int]) -> float:
        return sorted(values)[math.ceil(0.95 * len(values)) - 1] * 8 / 300

    assert metro.steps["out"] == [p95(line[at : at + 12]) for at in range(0, 576, 12)]
    one = next(p for p in found.providers if p.asn == 174)
    assert one.steps == {"out": [0.0] * 48, "in": [3 * 10**9 * 8 / 300] * 48}
    rows = found.rows.filter(pl.col("provider_asn") == 1299, pl.col("direction") == "out")
    assert rows["month"].to_list() == ["2026-09", "2026-10"]
    halves = [line[:288], line[288:]]
    assert rows["p95_bps"].to_list() == [p95(h) for h in halves]
    assert rows["peak_bps"].to_list() == [max(h) * 8 / 300 for h in halves]
    assert rows["avg_bps"].to_list() == pytest.approx([sum(h) * 8 / 300 / 288 for h in halves])
    assert rows["utilisation_p95"].to_list() == [p95(h) / 10**11 for h in halves]
    assert rows["slots_counted"].to_list() == [288, 288]


def test_slots_that_do_not_count_are_gaps_and_no_zeros() -> None:
    inputs = two_months().inputs()
    gone = [START + timedelta(minutes=5 * s) for s in range(24, 60)]
    inputs = replace(
        inputs, slots={"ams": 540}, missing_slots={"ams": 36},
        uncovered=pl.DataFrame(
            {"metro": ["ams"] * 36, "slot": gone},
            schema={"metro": pl.String, "slot": pl.Datetime("us", "UTC")},
        ),
    )  # fmt: skip
    found = timelines(inputs, imbalance(inputs))
    assert found is not None
    steps = found.metros[0].steps["out"]
    assert [n for n, v in enumerate(steps) if v is None] == [2, 3, 4]
    (row,) = found.rows.filter(
        pl.col("provider_asn") == 174, pl.col("direction") == "in"
    ).iter_rows(named=True)
    assert (row["slots_counted"], row["slots_missing"], row["p95_bps"]) == (540, 36, None)


def test_a_grade_is_its_worst_factor() -> None:
    inputs = small_world().inputs()
    (row,) = grades(inputs, ["ams"]).iter_rows(named=True)
    assert row["grade"] == "D"
    tables = pl.DataFrame(
        [("", START - timedelta(days=3), ["AS1299@192.0.2.1", "AS174@192.0.2.2"]),
         ("elsewhere", START - timedelta(days=400), ["AS9@192.0.2.3"])],
        schema=NO_TABLES, orient="row",
    )  # fmt: skip
    known = replace(
        inputs, tables=tables, registry_times={"peeringdb": START - timedelta(days=40)},
        traffic=inputs.traffic.filter("scaled"),
    )  # fmt: skip
    (row,) = grades(known, ["ams"]).iter_rows(named=True)
    assert (row["grade"], row["set_by"]) == ("B", ["age of PeeringDB: B"])
    assert (row["providers"], row["providers_with_view"]) == (2, 2)
    assert row["table_age_days"] == pytest.approx(3 + 1 / 24)
    flows = small_world().flows
    external = sum(f.bytes for f in flows if f.scaled)
    assert row["unknown_share"] == sum(f.bytes for f in flows if f.origin < 0) / external
    one_view = replace(known, tables=tables.with_columns(views=pl.lit(["AS174@192.0.2.2"])))
    assert grades(one_view, ["ams"])["grade"].to_list() == ["B"]
    silent = replace(known, slots={"ams": 9}, missing_slots={"ams": 3})
    assert grades(silent, ["ams"])["grade"].to_list() == ["D"]
    bare = replace(known, traffic=inputs.traffic)
    assert grades(bare, ["ams"])["set_by"].to_list() == [
        ["age of PeeringDB: B", "no sampling rate: C"]
    ]


def test_the_age_of_tables_is_that_of_the_newest_one_at_any_hour() -> None:
    world = replace(small_world(), hours=240)
    for days, oldest in (((-2,), 12), ((-2, 1, 6), 5), ((1, 6), 5), ((3,), 7), ((12,), 12)):
        tables = pl.DataFrame(
            [("", START + timedelta(days=d), []) for d in days], schema=NO_TABLES, orient="row"
        )
        found = grades(replace(world.inputs(), tables=tables), ["ams"])
        assert found["table_age_days"].to_list() == [oldest], days


def test_letters_are_worse_the_larger_a_factor_is() -> None:
    for factor, limits in LIMITS.items():
        assert [letter(factor, v) for v in limits] == ["A", "B", "C"]
        assert letter(factor, limits[-1] + 1e-9) == letter(factor, None) == "D"


def test_the_curve_has_mean_and_spread_of_all_outcomes() -> None:
    asks = [(0.9, 9.0, 100.0), (0.5, 4.0, None), (0.2, 3.0, -20.0), (0.0, 0.0, 50.0)]
    rows = pl.DataFrame(
        [
            {"rank": n, "asn": n, "name": None, "feasibility": p, "expected_bps": e,
             "ci95_bps": 0.0, "saving_per_month": s, "currency": "USD",
             "cumulative_observed_share": 0.1 * n}
            for n, (p, e, s) in enumerate(asks, start=1)
        ],
        schema_overrides={"name": pl.String, "saving_per_month": pl.Float64},
    )  # fmt: skip
    found = curve(rows, 40.0)
    for n in range(1, 5):
        takes, saves = [], []
        for answers in itertools.product((0, 1), repeat=n):
            mine = list(zip(answers, asks[:n], strict=True))
            chance = math.prod(p if yes else 1 - p for yes, (p, _, _) in mine)
            takes.append((chance, sum(e / p for yes, (p, e, _) in mine if yes and p)))
            saves.append((chance, sum(s or 0.0 for yes, (_, _, s) in mine if yes)))
        row = found.row(n - 1, named=True)
        for outcomes, name, whole in ((takes, "share", 40.0), (saves, "saving", 1.0)):
            mean = sum(c * v for c, v in outcomes)
            spread = math.sqrt(max(sum(c * v * v for c, v in outcomes) - mean * mean, 0.0))
            assert row[f"expected_{name}"] == pytest.approx(mean / whole)
            low, high = mean - WIDTH * spread, mean + WIDTH * spread
            if name == "share":
                low, high = max(low, 0.0), min(high, max(v for _, v in outcomes))
            assert row[f"low_{name}"] == pytest.approx(low / whole)
            assert row[f"high_{name}"] == pytest.approx(high / whole)


def test_the_day_of_a_row_is_the_mean_of_each_hour() -> None:
    flows = [Flow(s, 2001, 10**9 * (1 + s // 12 % 24), metro=m) for s in range(576)
             for m in ("ams", "fra")]  # fmt: skip
    inputs = replace(World(flows, metros=("ams", "fra"), hours=48)).inputs()
    found = profiles(inputs, candidates(inputs), 5)
    mean = [10**9 * (1 + h) * 8 / 300 for h in range(24)]
    assert found["ams", 2001] == pytest.approx(mean)
    assert found["", 2001] == pytest.approx([2 * v for v in mean])


numbers = st.one_of(st.none(), st.floats(-1e9, 1e15, allow_nan=False))


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(numbers, max_size=30),
    st.lists(numbers, max_size=30),
    st.sampled_from(EVIL),
    st.one_of(st.none(), st.floats(0, 1e14)),
)
def test_any_values_make_a_chart_that_stays_inside_its_box(
    out: list[float | None], into: list[float | None], words: str, limit: float | None
) -> None:
    made = svg.lines(
        [svg.Line(out, "one"), svg.Line(into, "two")], caption=words, ends=(words, "b"),
        label=lambda v: f"{v:g}{words}", limit=limit, bands=[(out, out)],
    )  # fmt: skip
    day = [max(v or 0.0, 0.0) for v in out]
    made += svg.bars(day, caption=words, names=[(0, words)], label=words)
    root = ElementTree.fromstring(f"<all>{made}</all>")
    for path in root.iter("path"):
        for number in "".join(c if c in "0123456789.-" else " " for c in path.attrib["d"]).split():
            assert -0.05 <= float(number) <= 420


def test_a_scale_ends_at_a_round_number_not_below_what_it_holds() -> None:
    for value in (0.03, 1, 1.01, 2.4, 26, 99.9, 5e9, 1e11):
        top = svg.nice(value)
        assert value <= top <= value * 1.34
        assert any(f"{top:.1e}".startswith(f"{k:.1f}") for k in svg.ROUND)
    assert svg.nice(0) == svg.nice(math.nan) == svg.nice(5e-324) == svg.nice(math.inf) == 1.0
