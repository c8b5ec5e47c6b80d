"""What was folded to hours: every sum stays what it was, and no percentile is called exact."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import flowpeer_sql
from flowpeer.query import QuerySession

_spec = importlib.util.spec_from_file_location("sql_world", Path(__file__).with_name("conftest.py"))
assert _spec is not None
assert _spec.loader is not None
world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(world)

QUESTIONS = {q.name: q for q in flowpeer_sql.questions()}
LAST_HOUR = world.START + timedelta(hours=3)
KEY = ("metro", "provider_asn", "direction", "remote_asn")


def tail(time: datetime, metro: str) -> set[int]:
    """64500 is always small, 6461 in the last hour of Amsterdam and in odd ones of Frankfurt."""
    odd = (time.replace(minute=0) - world.START) // timedelta(hours=1) % 2 == 1
    sometimes = time >= LAST_HOUR if metro == "ams" else odd
    return {64500, 6461} if sometimes else {64500}


def rows() -> list[dict[str, Any]]:
    """The usual ones, but in Amsterdam 6461 has a single slot in the last hour."""
    return [
        r
        for r in world.traffic_rows()
        if r["remote_asn"] != 6461 or r["metro"] != "ams" or r["slot"] < LAST_HOUR
        or r["slot"] == LAST_HOUR + timedelta(minutes=25)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[QuerySession, QuerySession]]:
    """The same traffic, as it was and folded."""
    folder = tmp_path_factory.mktemp("folded")
    traffic = rows()
    plain = world.build(folder / "plain", traffic, world.route_traffic(traffic))
    folded = world.build(folder / "folded", *world.fold(traffic, tail))
    with (
        QuerySession(plain, configured=world.configured()) as first,
        QuerySession(folded, configured=world.configured()) as second,
    ):
        yield first, second


def ask(con: QuerySession, name: str, **values: object) -> list[dict[str, Any]]:
    question = QUESTIONS[name]
    many = {"top": "1000"} if "top" in question.defaults() else {}
    answer = con.query(question.sql, {**question.defaults(), **many, **values})
    found: list[dict[str, Any]] = answer.to_pylist()
    return found


OF_FLOWS = {"ports_and_protocols", "top_talkers"}
"""They read flow records, which this world does not have."""


@pytest.mark.parametrize("name", sorted(QUESTIONS.keys() - {"p95_per_asn"} - OF_FLOWS))
@pytest.mark.parametrize("period", [{}, {"period_start": "2026-06-30 23:00",
                                         "period_end": "2026-07-01 01:00"}])  # fmt: skip
def test_every_question_has_the_answer_it_had(
    both: tuple[QuerySession, QuerySession],
    name: str,
    period: dict[str, str],
) -> None:
    plain, folded = (ask(con, name, **period) for con in both)
    assert plain
    assert folded == plain


@pytest.mark.parametrize("view", ["provider_slots", "interface_slots", "asn_totals", "unscaled"])
def test_views_have_the_sums_they_had(both: tuple[QuerySession, QuerySession], view: str) -> None:
    what = "* EXCLUDE (first_slot, last_slot)" if view == "asn_totals" else "*"
    plain, folded = (
        con.query(f"SELECT {what} FROM {view} ORDER BY ALL").to_pylist() for con in both
    )
    assert plain
    assert folded == plain


def test_all_traffic_of_networks_is_all_traffic(
    both: tuple[QuerySession, QuerySession],
) -> None:
    sums = "SELECT sum(bytes)::BIGINT AS b, sum(packets)::BIGINT AS p, sum(records)::BIGINT AS r"
    for con in both:
        found = [con.query(f"{sums} FROM {t}").to_pylist() for t in ("traffic", "asn_traffic")]
        assert found[0] == found[1]
    folded = both[1].query("FROM asn_traffic WHERE folded")
    assert folded.num_rows
    assert set(folded["family"].to_pylist()) == {4, 6}


def test_a_percentile_of_what_was_folded_is_never_exact(
    both: tuple[QuerySession, QuerySession],
) -> None:
    true = {tuple(r[k] for k in KEY): r for r in ask(both[0], "p95_per_asn")}
    known: dict[tuple[Any, ...], dict[datetime, int]] = defaultdict(lambda: defaultdict(int))
    by_hour: dict[tuple[Any, ...], int] = defaultdict(int)
    gone = world.START + 30 * world.SLOT
    for r in rows():
        if r["role"] != "transit" or not r["scaled"]:
            continue
        key = tuple(r[k] for k in KEY)
        if r["remote_asn"] in tail(r["slot"], r["metro"]):
            by_hour[key] += r["bytes"]
        elif (r["metro"], r["slot"]) != ("fra", gone):
            known[key][r["slot"]] += r["bytes"]
    seen = set()
    got = ask(both[1], "p95_per_asn")
    assert {tuple(r[k] for k in KEY) for r in got} == set(true)
    for row in got:
        key = tuple(row[k] for k in KEY)
        total = sum(known[key].values()) + by_hour[key]
        assert (row["bytes"], row["folded_bytes"]) == (total, by_hour[key])
        if 20 * by_hour[key] > total:
            assert (row["quality"], row["p95_mbps"], row["peak_mbps"]) == ("refused", None, None)
        else:
            dense = sorted([0] * (row["n_slots"] - len(known[key])) + list(known[key].values()))
            assert row["p95_mbps"] == dense[-(-95 * len(dense) // 100) - 1] * 8 / 300e6
            assert row["p95_mbps"] <= true[key]["p95_mbps"]
            exact = not by_hour[key] and not row["missing_slots"]
            assert row["quality"] == ("exact" if exact else "estimate")
        seen.add((row["quality"], by_hour[key] > 0))
    assert seen == {("exact", False), ("estimate", False), ("estimate", True), ("refused", True)}


def test_a_period_that_begins_within_a_folded_hour_is_not_exact(
    both: tuple[QuerySession, QuerySession],
) -> None:
    period = {"period_start": "2026-07-01 01:20", "period_end": "2026-07-01 02:00"}
    plain, folded = (ask(con, "p95_per_asn", metro="ams", **period) for con in both)
    assert {r["n_slots"] for r in (*plain, *folded)} == {8}
    assert {r["quality"] for r in folded if r["remote_asn"] in (6461, 64500)} == {"refused"}
    others = [[r for r in rows if r["remote_asn"] not in (6461, 64500)] for rows in (plain, folded)]
    assert [r | {"place": 0} for r in others[0]] == [r | {"place": 0} for r in others[1]]


def test_only_the_days_of_the_period_are_read(
    both: tuple[QuerySession, QuerySession],
) -> None:
    plan = (
        both[1]
        .query(
            "EXPLAIN SELECT sum(bytes) FROM asn_traffic_between($a::TIMESTAMP, NULL)",
            {"a": "2026-07-01"},
        )
        .to_pylist()[0]["explain_value"]
    )
    assert plan.count("Scanning Files: 2/4") == 2
