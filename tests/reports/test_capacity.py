"""Growth and capacity against the definitions, in plain Python."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import Flow, World

from flowpeer_reports.capacity import capacity, weekly_p95
from flowpeer_reports.growth import theil_sen
from flowpeer_reports.link_rows import WEEK, least_squares, whole_weeks
from flowpeer_reports.loads import Loads, loads


@settings(max_examples=examples(60))
@given(st.lists(st.floats(1, 1e12), min_size=3, max_size=20))
def test_the_slope_is_the_median_of_all_pairs(values: list[float]) -> None:
    y = [math.log(v) for v in values]
    slopes = sorted((y[j] - y[i]) / (j - i) for i, j in combinations(range(len(y)), 2))
    line = theil_sen(values)
    assert line.slope == pytest.approx(statistics.median(slopes), abs=1e-12)
    last = len(y) - 1
    assert line.level == pytest.approx(
        statistics.median(v - line.slope * (i - last) for i, v in enumerate(y)), abs=1e-9
    )
    assert line.low <= line.slope <= line.high


def test_the_interval_holds_the_slope_as_often_as_the_answer_says() -> None:
    rng = np.random.default_rng(1)
    for weeks in (8, 26):
        held = 0
        for _ in range(400):
            noise = np.zeros(weeks)
            noise[0] = rng.normal() / math.sqrt(0.75)
            for i in range(1, weeks):
                noise[i] = 0.5 * noise[i - 1] + rng.normal()
            line = theil_sen(np.exp(0.01 * np.arange(weeks) + 0.05 * noise).tolist())
            held += line.low <= 0.01 <= line.high
        assert 0.72 <= held / 400 <= 0.86


def test_least_squares_is_the_text_book_s() -> None:
    assert least_squares([1.0]) == (None, None)
    assert least_squares([1.0, 3.0]) == (2.0, None)
    slope, error = least_squares([1.0, 2.0, 4.0, 4.0])
    assert slope == pytest.approx(1.1)
    assert error == pytest.approx(math.sqrt(0.7 / 2 / 5))


def _grown(weeks: int, growth: float) -> tuple[World, Loads]:
    """A provider with 10G whose weekly p95 grows from 2 Gbps."""
    world = World(
        [Flow(0, 2001, 1)], interfaces=[("ams", 1299, "transit", 1299, 10**10)],
        hours=weeks * 168, slots={"ams": weeks * WEEK},
    )  # fmt: skip
    inputs = replace(
        world.inputs(),
        period_start=datetime(2026, 6, 1, tzinfo=UTC),  # a Monday
        period_end=datetime(2026, 6, 1, tzinfo=UTC) + timedelta(weeks=weeks),
    )
    found = loads(inputs, ["transit"])
    size = 2e9 * 300 / 8 * np.exp(growth * np.arange(weeks))
    found.out[0] = np.repeat(size.astype(np.int64), WEEK)
    return world, replace(found, start=inputs.period_start)


@pytest.mark.parametrize(
    ("weeks", "growth", "status", "month"),
    [
        (7, 0.02, "no forecast: 7 weeks, 8 are needed", None),
        (12, 0.02, "slope only: 12 weeks, 26 are needed for a date", None),
        # 2 Gbps × e^0.8 after 40 weeks; 8 Gbps 29.3 weeks later: 2027-09
        (40, 0.02, "forecast; seasons not seen", None),
        (30, 0.001, "later than 2027-07; seasons not seen", None),
        (30, -0.01, "not growing; seasons not seen", None),
        (30, 0.06, "80 % is reached; seasons not seen", None),
    ],
)
def test_what_a_forecast_can_say_depends_on_the_history(
    weeks: int, growth: float, status: str, month: str | None
) -> None:
    world, found = _grown(weeks, growth)
    inputs = replace(
        world.inputs(), period_start=found.start,
        period_end=found.start + timedelta(weeks=weeks),
    )  # fmt: skip
    row = capacity(inputs, found, ways=["out"]).rows.row(0, named=True)
    assert row["status"] == status
    assert row["weeks"] == weeks
    if weeks >= 8:
        assert row["slope_per_year"] == pytest.approx(math.exp(growth * 365.25 / 7) - 1, rel=1e-6)
    if status.startswith("forecast"):
        ahead = (math.log(8e9) - math.log(2e9) - growth * (weeks - 1)) / growth
        when = found.start + timedelta(weeks=weeks + ahead)
        assert row["month_80"] == f"{when:%Y-%m}"
        need = 2e9 * math.exp(growth * (2 * weeks - 1)) - 8e9
        assert row["ports_to_buy"] == math.ceil(need / 8e9)
    elif not status.startswith("80"):
        assert row["month_80"] is None


def test_a_week_with_more_than_five_percent_missing_has_no_p95() -> None:
    series = np.arange(2 * WEEK, dtype=np.int64)
    covered = np.ones(2 * WEEK, dtype=np.bool_)
    covered[: WEEK // 20] = False
    weeks = [slice(0, WEEK), slice(WEEK, 2 * WEEK)]
    assert weekly_p95(series, covered, weeks)[0] == [0, 1]
    covered[WEEK // 20] = False
    places, values = weekly_p95(series, covered, weeks)
    assert places == [1]
    assert values == [WEEK + (19 * WEEK + 19) // 20 - 1]


def test_weeks_begin_on_monday_and_are_whole() -> None:
    inputs = replace(
        World([Flow(0, 2001, 1)]).inputs(),
        period_start=datetime(2026, 9, 16, 12, tzinfo=UTC),
        period_end=datetime(2026, 10, 5, tzinfo=UTC),
    )
    weeks = whole_weeks(inputs)
    assert [w.stop - w.start for w in weeks] == [WEEK, WEEK]
    first = inputs.period_start + timedelta(minutes=5 * weeks[0].start)
    assert (first.weekday(), first.hour) == (0, 0)


def test_the_signed_list_puts_the_month_off() -> None:
    world, found = _grown(40, 0.02)
    inputs = replace(
        world.inputs(), period_start=found.start, period_end=found.start + timedelta(weeks=40)
    )
    relief = {("ams", 1299): found.out[0] // 10}
    row = capacity(inputs, found, ways=["out"], relief=relief).rows.row(0, named=True)
    assert row["month_80"] < row["month_80_after_asks"]
