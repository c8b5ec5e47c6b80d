"""Sums of days: every statement gives with them what it gives from the hours."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import flowpeer_sql
from flowpeer.lake.store import Lake
from flowpeer.pipeline import day_sums
from flowpeer.pipeline.day_sums import renew
from flowpeer.query import QuerySession
from flowpeer.schema import SUMS, TABLES
from flowpeer_core.columns import arrow_schema

_spec = importlib.util.spec_from_file_location("sql_world", Path(__file__).with_name("conftest.py"))
assert _spec is not None
assert _spec.loader is not None
world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(world)

QUESTIONS = {q.name: q for q in flowpeer_sql.questions()}
PAGES = {p.name: p.read_text("utf-8") for p in files("flowpeer.web").joinpath("sql").iterdir()}
PERIODS = [
    (None, None),
    ("2026-06-30 23:10", "2026-07-01 01:00"),
    ("2026-06-30", "2026-07-01 00:45"),
    ("2026-07-01", "2026-07-02"),
    ("2026-06-01", "2026-07-02"),
]
GIVEN: dict[str, object] = {"metros": ["ams"], "providers": None, "provider": 1299,
                            "direction": None, "family": 4, "asn": 2906, "find": "a"}  # fmt: skip


@pytest.fixture(scope="module")
def lake_of_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = world.build(
        tmp_path_factory.mktemp("hours") / "lake",
        *world.fold(world.traffic_rows(), lambda time, metro: {64500}),
    )
    # A later table, within an hour of the second day, in which every path is another one.
    later = world.START + timedelta(hours=2, minutes=30)
    rows = [
        {**r, "snapshot": "later", "taken_at": later,
         "as_path": r["as_path"].replace(" ", " 6453 ", 1)}
        for r in world.routes()
    ]  # fmt: skip
    schema = arrow_schema(TABLES["routes"])
    table = pa.Table.from_pylist(
        [{**dict.fromkeys(schema.names), **r} for r in rows], schema=schema
    )
    Lake(root).publish(
        "routes/later.parquet", TABLES["routes"], table, {"taken_at": later.isoformat()}
    )
    return root


@pytest.fixture(scope="module")
def both(lake_of_hours: Path) -> Iterator[tuple[QuerySession, QuerySession]]:
    """The same lake, from its hours and from sums of its days."""
    summed = Path(shutil.copytree(lake_of_hours, lake_of_hours.with_name("summed")))
    assert renew(Lake(summed).record()) == 6  # three tables, two days
    with (
        QuerySession(lake_of_hours, configured=world.configured()) as first,
        QuerySession(summed, configured=world.configured()) as second,
    ):
        yield first, second


def rows(con: QuerySession, sql: str, values: dict[str, object] | None = None) -> Any:
    return json.loads(json.dumps(con.query(sql, values or {}).to_pylist(), default=str))


def test_the_day_that_goes_on_is_not_summed(
    lake_of_hours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "lake"
    shutil.copytree(lake_of_hours, root)
    second = datetime(2026, 7, 1, tzinfo=UTC)
    for at, days in ((second + timedelta(hours=23), 1), (second + timedelta(days=1), 2)):
        monkeypatch.setattr(day_sums, "clock", at.timestamp)
        renew(Lake(root).record())
        found = {p.name for p in (root / "cache" / "asn_days").iterdir()}
        assert len(found) == days
        assert "date=2026-06-30" in found


def test_there_are_fewer_rows_and_they_add_up(both: tuple[QuerySession, QuerySession]) -> None:
    for table, of, day in (
        ("traffic_slots", "traffic", "date"),
        ("asn_days", "asn_traffic", "day"),
        ("route_days", "traffic_routes", "day"),
    ):
        hours, summed = (rows(con, f"SELECT count(*) AS n FROM {table}")[0]["n"] for con in both)
        assert 0 < summed < hours
        told = [
            rows(con, f"SELECT sum(bytes) AS b, sum(packets) AS p, sum(records) AS r, {d} AS day, "
                      f"scaled, direction FROM {source} GROUP BY ALL ORDER BY ALL")
            for con in both for source, d in ((of, "date"), (table, day))
        ]  # fmt: skip
        assert told[0]
        assert told[1:] == told[:1] * 3


@pytest.mark.parametrize("name", sorted(QUESTIONS.keys() - {"ports_and_protocols", "top_talkers"}))
@pytest.mark.parametrize("period", PERIODS)
def test_every_question_has_the_answer_it_has_from_the_hours(
    both: tuple[QuerySession, QuerySession], name: str, period: tuple[str | None, str | None]
) -> None:
    question = QUESTIONS[name]
    values: dict[str, object] = dict(question.defaults())
    values["period_start"], values["period_end"] = period
    if "before_start" in values:
        values |= {"before_start": "2026-06-30 22:15", "before_end": "2026-06-30 23:05"}
    first, second = (rows(con, question.sql, values) for con in both)
    assert first == second


@pytest.mark.parametrize("name", sorted(PAGES))
@pytest.mark.parametrize("period", PERIODS[1:])
def test_every_page_has_the_rows_it_has_from_the_hours(
    both: tuple[QuerySession, QuerySession], name: str, period: tuple[str, str]
) -> None:
    text = PAGES[name]
    given = {**GIVEN, "period_start": period[0], "period_end": period[1]}
    values = {name: given[name] for name in set(re.findall(r"\$(\w+)", text))}
    first, second = (rows(con, text, values) for con in both)
    assert first == second


def test_an_hour_that_changed_is_never_told_by_old_sums(lake_of_hours: Path) -> None:
    """Before the sums are made again, and after; of the day that did not change they stay."""
    changed = Path(shutil.copytree(lake_of_hours, lake_of_hours.with_name("changed")))
    renew(Lake(changed).record())
    before = {p.name for p in changed.glob("cache/*/date=*/*.parquet")}
    hour = world.START + timedelta(hours=3)
    extra = [{**r, "bytes": 10 * r["bytes"]} for r in world.traffic_rows() if r["slot"] >= hour]
    world.publish(changed, "traffic", extra, time="slot", name="late")
    by_route = world.route_traffic(extra)
    world.publish(changed, "traffic_routes", by_route, time="hour_start", name="late")
    sums = "SELECT sum(bytes) AS b, count(DISTINCT direction) AS n FROM "
    for made in (0, 3):
        with QuerySession(changed, configured=world.configured()) as con:
            assert rows(con, sums + "traffic_slots") == rows(con, sums + "traffic")
            assert rows(con, sums + "asn_days") == rows(con, sums + "asn_traffic")
            assert rows(con, sums + "route_days") == rows(con, sums + "traffic_routes")
        if not made:
            assert renew(Lake(changed).record()) == 3
            assert renew(Lake(changed).record()) == 0
    after = {p.name for p in changed.glob("cache/*/date=*/*.parquet")}
    # What was replaced stays for those who read it, and goes with a later run.
    assert len(after - before) == 3
    assert before < after
    for path in changed.glob("cache/*/date=*/*.parquet"):
        os.utime(path, (0, 0))
    renew(Lake(changed).record())
    assert len({p.name for p in changed.glob("cache/*/date=*/*.parquet")} & after) == 6


def test_without_a_place_for_sums_statements_read_the_hours(lake_of_hours: Path) -> None:
    full = Path(shutil.copytree(lake_of_hours, lake_of_hours.with_name("full")))
    (full / "cache").mkdir(exist_ok=True)
    for name in SUMS:
        (full / "cache" / name).write_text("a file where a folder would be")
    assert renew(Lake(full).record()) == 0
    with QuerySession(full, configured=world.configured()) as con:
        assert rows(con, "SELECT sum(bytes) AS b FROM traffic_slots") == rows(
            con, "SELECT sum(bytes) AS b FROM traffic"
        )


def test_a_routing_table_that_comes_later_parts_its_day_again(lake_of_hours: Path) -> None:
    later = Path(shutil.copytree(lake_of_hours, lake_of_hours.with_name("later")))
    renew(Lake(later).record())
    taken = world.START + timedelta(minutes=30)
    schema = arrow_schema(TABLES["routes"])
    Lake(later).publish(
        "routes/third.parquet", TABLES["routes"], schema.empty_table(),
        {"taken_at": taken.isoformat()},
    )  # fmt: skip
    assert renew(Lake(later).record()) == 1
    with QuerySession(later, configured=world.configured()) as con:
        parts = rows(con, "SELECT DISTINCT since FROM route_days ORDER BY since")
    assert [part["since"][5:16] for part in parts] == [
        "06-30 00:00", "06-30 23:00", "07-01 00:00", "07-01 01:00",
    ]  # fmt: skip
