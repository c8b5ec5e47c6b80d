"""Coloured tables and lines of the page: every cell says its figure, nothing foreign gets out."""

from __future__ import annotations

import re
from datetime import date, timedelta

import polars as pl

from flowpeer_reports.capacity import Capacity
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.capacity import CAPACITY, CAPACITY_LINKS, CAPACITY_WEEKLY
from flowpeer_reports.columns.drill import DRILL
from flowpeer_reports.columns.imbalance import HOURS_OF_WEEK
from flowpeer_reports.render.failures import growth, hours, matrix

HOSTILE = "<script>alert(1)</script>"


def _cells(markup: str) -> list[tuple[str, str]]:
    return re.findall(r'<td class="v (b\d)">([^<]*)</td>', markup)


def test_each_hour_shows_the_fullest_provider_with_its_figure() -> None:
    rows = [
        {"metro": "ams", "direction": "out", "provider_asn": asn, "provider": name,
         "hour_of_week": hour, "utilisation_p95": used}
        for asn, name, values in ((174, HOSTILE, (0.2, 1.2)), (1299, "Room", (0.4, 0.7)))
        for hour, used in zip((0, 25), values, strict=True)
    ]  # fmt: skip
    made = hours(pl.DataFrame(rows, schema=schema(HOURS_OF_WEEK)))
    assert _cells(made) == [("b1", "40"), ("b5", "120!")]
    assert "<th>Mon</th>" in made
    assert "<th>Tue</th>" in made
    assert "<th>Wed</th>" not in made
    assert "<script" not in made
    assert made.count("<td></td>") == 46
    bare = pl.DataFrame([r | {"utilisation_p95": None} for r in rows], schema=schema(HOURS_OF_WEEK))
    assert hours(bare) == ""


def _drill(removed: str, interface: int, way: str, used: float | None, grown: float = 1.0) -> dict:
    return {"kind": "link", "removed": removed, "exporter": "edge1.ams", "interface": interface,
            "direction": way, "max_utilisation": used, "growth": grown}  # fmt: skip


def test_the_matrix_has_the_fuller_direction_of_each_link_worst_drill_first() -> None:
    rows = pl.DataFrame(
        [
            _drill("a", 1, "out", 0.3), _drill("a", 1, "in", 0.6), _drill("a", 2, "out", 0.1),
            _drill(HOSTILE, 1, "out", 0.9), _drill(HOSTILE, 3, "in", 1.01),
            _drill("quiet", 1, "out", 0.4), _drill("unknown", 4, "out", None),
            _drill("a", 1, "out", 3.0, 10.0),
        ],
        schema=schema(DRILL),
    )  # fmt: skip
    made = matrix(rows)
    assert _cells(made) == [("b5", "101!"), ("b4", "90"), ("b2", "60")]
    assert re.findall(r"<th class=d>([^<]*)", made) == [
        "down", "link &lt;script&gt;alert(1)&lt;/script&gt;", "link a"
    ]  # fmt: skip
    assert "quiet" not in made
    assert "edge1.<wbr>ams:<wbr>3" in made
    assert matrix(rows.filter(pl.col("max_utilisation") < 0.5)) == ""


def test_drills_that_come_to_the_same_are_one_row() -> None:
    rows = [
        {**_drill(name, link, "out", used), "kind": kind}
        for kind, name in (("exporter", "edge1.fra"), ("metro", "fra"), ("metro", "lon"))
        for link, used in ((1, 0.9), (2, 0.2 if name == "lon" else 0.1))
    ]
    made = matrix(pl.DataFrame(rows, schema=schema(DRILL)))
    names = re.findall(r"<th class=d>([^<]*)", made)
    assert names == ["down", "exporter edge1.fra, metro fra", "metro lon"]


def test_growth_draws_weeks_with_and_without_the_asks() -> None:
    head = {"metro": "ams", "provider_asn": 174, "provider": HOSTILE, "direction": "out"}
    weekly = [
        {**head, "week": date(2026, 1, 5) + timedelta(weeks=n), "p95_bps": 1e9 + n * 1e7,
         "p95_after_asks_bps": 8e8}
        for n in range(30)
    ]  # fmt: skip
    rows = [{**head, "capacity_bps": 10**10, "status": "forecast", "month_80": "2027-03",
             "month_80_after_asks": "2027-09"}]  # fmt: skip
    found = Capacity(
        pl.DataFrame(rows, schema=schema(CAPACITY)),
        pl.DataFrame(schema=schema(CAPACITY_LINKS)),
        pl.DataFrame(weekly, schema=schema(CAPACITY_WEEKLY)),
    )
    made = growth(found)
    assert made.count('class="one"') == made.count('class="two"') == 1
    assert 'class="limit"' in made
    assert "80 % in 2027-03; with the asks in 2027-09" in made
    assert "2026-01-05" in made
    assert "<script" not in made
    alone = found.weekly.with_columns(p95_after_asks_bps=pl.lit(None, pl.Float64))
    assert 'class="two"' not in growth(Capacity(found.rows, found.links, alone))
    assert growth(Capacity(found.rows, found.links, found.weekly.head(1))) == ""
