"""Which chart the rows of a statement get, and what is said where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flowpeer.web.charts import MOST_BARS, MOST_SERIES, Chart, chart_of

NOON = datetime(2026, 9, 16, 12, tzinfo=UTC)
HOURS = [NOON + timedelta(hours=n) for n in range(3)]


def test_rates_over_time_have_a_line_for_each_name_that_tells_rows_apart() -> None:
    rows = pl.DataFrame(
        [(t, "ams", asn, f"P{asn}", way, 7, 5.0)
         for t in HOURS for asn in (1, 2) for way in ("in", "out")],
        schema=["start", "metro", "provider_asn", "provider", "direction", "bytes", "avg_bps"],
        orient="row",
    )  # fmt: skip
    assert chart_of(rows) == Chart("start", "avg_bps", ("provider", "direction"), "bit/s")
    one = rows.filter(pl.col("provider_asn") == 1, pl.col("direction") == "in")
    assert chart_of(one.drop("avg_bps")) == Chart("start", "bytes", (), "bytes")
    assert chart_of(rows.drop("provider")) == Chart(
        "start", "avg_bps", ("direction", "provider_asn"), "bit/s"
    )


def test_without_a_time_there_are_bars_by_the_first_name() -> None:
    bills = pl.DataFrame({
        "contract": ["a", "b", "a", "b"], "month": ["2026-08", "2026-08", "2026-09", "2026-09"],
        "slots": [1, 2, 3, 4], "billed_bps": [5, 6, 7, 8], "total": [1.0, 2.0, 3.0, 4.0],
        "ends": [NOON.date()] * 4,
    })  # fmt: skip
    assert chart_of(bills) == Chart("contract", "billed_bps", ("month",), "bit/s", kind="bar")
    assert chart_of(bills.select("billed_bps", "ends").head(1)) == Chart("ends", "billed_bps")
    ranked = pl.DataFrame({"remote_asn": [15169, 2906], "mean_mbps": [9.0, 8.0], "n": [1, 2]})
    assert chart_of(ranked) == Chart("remote_asn", "mean_mbps", (), "", kind="bar")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pl.DataFrame({"metro": ["ams"]}), "no figure"),
        (pl.DataFrame({"n": [1]}), "no time and no name"),
        (pl.DataFrame({"n": []}, schema={"n": pl.Int64}), "no figure"),
        (pl.DataFrame({"slot": [NOON, NOON], "bytes": [1, 2]}), "same slot: sum them"),
        (pl.DataFrame({"metro": ["ams", "ams"], "n": [1, 2]}), "same metro: sum them"),
        (pl.DataFrame({"name": [str(n) for n in range(MOST_BARS + 1)],
                       "n": range(MOST_BARS + 1)}), "more than 60 bars"),
        (pl.DataFrame({"slot": [NOON] * (MOST_SERIES + 1),
                       "asn": range(MOST_SERIES + 1), "bytes": 1}), "more than 24 lines"),
    ],
)  # fmt: skip
def test_rows_that_say_no_point_get_the_reason(rows: pl.DataFrame, said: str) -> None:
    told = chart_of(rows)
    assert isinstance(told, str)
    assert said in told
