"""A filter of times opens the files of its hours alone, and never changes an answer."""

from __future__ import annotations

import importlib.util
import json
import random
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flowpeer.errors import InputError, UsageError
from flowpeer.query import QuerySession
from flowpeer.query.days import BY_DAY, TEMPLATES, TIMES, same, with_days

_spec = importlib.util.spec_from_file_location("sql_world", Path(__file__).with_name("conftest.py"))
assert _spec is not None
assert _spec.loader is not None
world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(world)


def _tree(text: str) -> Any:
    (answer,) = duckdb.execute("SELECT json_serialize_sql($text)", {"text": text}).fetchall()[0]
    tree = json.loads(answer)
    assert tree["error"] is False, answer
    return tree


def _implied(text: str) -> list[str]:
    """Conditions that are added, as `alias >= moment`."""
    made = with_days(_tree(text), {k: _tree(text) for k, text in TEMPLATES.items()})
    if made is None:
        return []
    (again,) = duckdb.execute(
        "SELECT json_deserialize_sql($tree)", {"tree": json.dumps(made)}
    ).fetchall()[0]
    assert same(made, _tree(again))
    moment = r"\(?timezone\('UTC', CAST\((.*?) AS TIMESTAMPTZ\)\)(?: - to_microseconds\(1\)\))?"
    day = rf"\((\w+)\.date (>=?|<=?) CAST\({moment} AS DATE\)\)"
    hour = rf"( OR .*? \(\1\.\"hour\" (>=|<=) date_part\('hour', {moment}\)\))?"
    found = []
    for table, days, first, by_hour, hours, second in re.findall(day + hour, again):
        assert bool(by_hour) != (table in BY_DAY)
        assert not by_hour or (f"{days}=", first) == (hours, second)
        found.append(f"{table} {hours or days} {first}")
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FROM traffic WHERE slot >= '2026-07-01' AND slot < $b AND metro = 'ams'",
         ["traffic >= '2026-07-01'", "traffic <= $b"]),
        ("FROM transit t, metros m WHERE '2026-07-01' > T.slot", ["t <= '2026-07-01'"]),
        ("FROM traffic t LEFT JOIN asns a ON a.asn = t.remote_asn WHERE slot = $a",
         ["t >= $a", "t <= $a"]),
        ("FROM traffic_routes WHERE hour_start BETWEEN $a AND $b AND (bytes > 1 AND bytes < 9)",
         ["traffic_routes >= $a", "traffic_routes <= $b"]),
        ("SELECT (SELECT count(*) FROM flows f WHERE f.received_at > $a)", ["f >= $a"]),
        ("WITH x AS (FROM traffic WHERE slot > $a) FROM x WHERE slot < $b", ["traffic >= $a"]),
        ("FROM traffic a JOIN traffic b USING (slot) WHERE a.slot > $a AND b.slot < $b",
         ["a >= $a", "b <= $b"]),
        ("FROM traffic_slots WHERE slot >= $a", ["traffic_slots >= $a"]),
    ],
)  # fmt: skip
def test_days_follow_from_times(text: str, wanted: list[str]) -> None:
    assert _implied(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "FROM traffic WHERE slot >= $a OR bytes > 3",
        "FROM traffic WHERE NOT slot >= $a",
        "FROM traffic WHERE slot <> $a",
        "FROM traffic WHERE slot >= (SELECT max(slot) FROM transit)",
        "FROM traffic t WHERE t.slot >= t.date",
        "FROM traffic WHERE slot + INTERVAL 1 DAY >= $a",
        "FROM traffic WHERE slot >= now() - random() * INTERVAL 1 DAY",
        "FROM traffic WHERE bytes >= 3",
        "FROM metros LEFT JOIN traffic USING (slot) WHERE slot > $a",
        "FROM metros NATURAL JOIN traffic WHERE slot > $a",
        "FROM traffic a, transit b WHERE slot > $a",
        "WITH traffic AS (SELECT 1 AS slot) FROM traffic WHERE slot > 0",
        "SELECT slot - INTERVAL 1 DAY AS slot FROM traffic WHERE slot > $a",
        "FROM traffic t(a, b) WHERE t.slot > $a",
        "FROM memory.main.traffic WHERE slot > $a",
        "SELECT max(slot) FROM traffic HAVING max(slot) > $a",
    ],
)
def test_where_they_do_not_nothing_is_added(text: str) -> None:
    assert _implied(text) == []


def amount(table: str) -> str:
    return "received" if table == "coverage" else "bytes"


def test_only_files_of_the_days_are_opened(tmp_path: Path) -> None:
    traffic = world.traffic_rows()
    lake = world.build(tmp_path / "lake", traffic, world.route_traffic(traffic))
    asked = "SELECT sum({}) AS b FROM {} WHERE {} >= '2026-07-01' AND {} < $b"
    with QuerySession(lake, configured=world.configured()) as con:
        for table, time in TIMES.items():
            if table.startswith("flows"):
                continue  # of one hour here
            text = asked.format(amount(table), table, time, time)
            plan = con.query(f"EXPLAIN ANALYZE {text}", {"b": "2026-07-01 12:00"}).to_pylist()
            scans = re.findall(r"Total Files Read: (\d+)", plan[0]["explain_value"])
            assert scans, plan[0]["explain_value"]
            assert {int(n) for n in scans} <= {0, 1, 2}, table  # of four
    # A file of the other day that cannot be read is not missed. DuckDB looks into the first.
    broken = sorted((lake / "traffic" / "date=2026-06-30").rglob("*.parquet"))[-1]
    broken.write_bytes(b"PAR1 this is none PAR1")
    with QuerySession(lake) as con:
        with pytest.raises(InputError):
            con.query("SELECT sum(bytes) AS b FROM traffic")
        got = con.query("SELECT sum(bytes) AS b FROM traffic WHERE slot >= '2026-07-01'")
        want = sum(r["bytes"] for r in traffic if r["slot"].day == 1)
        assert got.to_pylist() == [{"b": want}]


def test_answers_are_those_of_all_files(con: QuerySession) -> None:
    """Against the same filter in words from which no day follows."""
    made = random.Random(20260701)
    end = world.START + world.SLOTS * world.SLOT
    for _ in range(60):
        table, time = made.choice(list(TIMES.items()))
        tests = []
        for _ in range(made.randint(1, 2)):
            moment = made.choice([world.START, end]) + timedelta(minutes=made.randint(-300, 300))
            written = made.choice(
                ["'{:%Y-%m-%d %H:%M}'", "TIMESTAMP '{:%Y-%m-%d %H:%M}'", "DATE '{:%Y-%m-%d}'",
                 "TIMESTAMPTZ '{:%Y-%m-%d %H:%M}+00'", "'{:%Y-%m-%d %H:%M}+05:30'"]
            ).format(moment)  # fmt: skip
            tests.append((made.choice(["<", "<=", ">", ">=", "="]), written))
        plain = " AND ".join(f"{time} {sign} {moment}" for sign, moment in tests)
        hidden = " AND ".join(f"{time} + INTERVAL 0 DAY {sign} {moment}" for sign, moment in tests)
        text = f"SELECT count(*) AS n, sum({amount(table)}) AS b FROM {table} WHERE "
        assert con.query(text + plain).equals(con.query(text + hidden)), plain


def test_an_error_is_told_of_what_was_written(con: QuerySession) -> None:
    for text, said in (
        ("SELECT nothing FROM traffic WHERE slot > '2026-07-01'", "line 1, column 8"),
        ("SELECT 1\nFROM traffic WHERE slot > '2026-07-01' AND none > 1", "line 2, column 44"),
    ):
        with pytest.raises(UsageError, match=said):
            con.query(text)
