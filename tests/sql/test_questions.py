"""Every question against a golden file, and its figures against plain Python and Polars."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import flowpeer_sql
from flowpeer.analysis.periods import period_before
from flowpeer.catalog import scan
from flowpeer.errors import NoDataError, UsageError
from flowpeer.period import parse_period
from flowpeer.query import QuerySession
from flowpeer.query.asked import made_names
from flowpeer.schema import TABLES

_spec = importlib.util.spec_from_file_location("sql_world", Path(__file__).with_name("conftest.py"))
assert _spec is not None
assert _spec.loader is not None
world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(world)

QUESTIONS = {q.name: q for q in flowpeer_sql.questions()}
NAMES = sorted(QUESTIONS)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ";".join(map(str, value))
    return str(value)


def as_text(table: pa.Table) -> str:
    """Rows in aligned columns under the names and types."""
    rows = [
        table.column_names,
        [str(f.type) for f in table.schema],
        *([_cell(v) for v in row.values()] for row in table.to_pylist()),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def ask(con: QuerySession, name: str, **values: object) -> pa.Table:
    question = QUESTIONS[name]
    return con.query(question.sql, {**question.defaults(), **values})


@pytest.mark.parametrize("name", NAMES)
def test_answer_is_the_golden_one(
    con: QuerySession, golden: Callable[[str, str], None], name: str
) -> None:
    values: dict[str, object] = {}
    if name == "change_between":
        values |= {"period_start": "2026-07-01", "before_end": "2026-07-01"}
    if "top" in QUESTIONS[name].defaults():
        values["top"] = "4"
    table = ask(con, name, **values)
    assert table.num_rows
    golden(f"{name}.txt", as_text(table.slice(0, 40)))


@pytest.mark.parametrize("name", NAMES)
def test_file_is_documented_and_its_parameters_are_those_of_the_text(name: str) -> None:
    question = QUESTIONS[name]
    assert question.title.endswith("?")
    assert "One row per" in question.description
    body = re.sub(r"--.*", "", question.sql)
    assert set(re.findall(r"\$(\w+)", body)) == set(question.defaults())
    for parameter in question.parameters:
        assert f"${parameter.name}::{parameter.type}" in body


@pytest.mark.parametrize("name", NAMES)
def test_sums_are_bigint_and_nothing_is_huge(con: QuerySession, name: str) -> None:
    question = QUESTIONS[name]
    described = con.query("DESCRIBE " + question.sql, question.defaults())
    types = [tuple(row.values()) for row in described.to_pylist()]
    assert not [t for t in types if "HUGEINT" in t[1] or "DECIMAL" in t[1]]
    assert all(t[1] == "BIGINT" for t in types if t[0].endswith("bytes"))


@pytest.mark.parametrize("name", NAMES)
def test_question_is_a_table_macro_too(con: QuerySession, name: str) -> None:
    if name != "change_between":  # which takes a period
        assert con.query(f"FROM {name}()").equals(ask(con, name))
    values = {
        "metro": "ams", "provider": "AS1299", "direction": "out", "asn": "as2906",
        "period": "2026-07", "before": "2026Q2", "exporter": "edge1.ams",
        "prefix": "198.51.100.0/24",
    }  # fmt: skip
    known = flowpeer_sql.signature(QUESTIONS[name])
    given = {key: value for key, value in values.items() if key in known}
    as_macro = con.query(f"FROM {name}({', '.join(f'{key} := ${key}' for key in given)})", given)
    said = {
        "metro": "ams", "provider": "1299", "direction": "out", "asn": "2906",
        "exporter": "edge1.ams", "period_start": "2026-07-01", "period_end": "2026-08-01",
        "before_start": "2026-04-01", "before_end": "2026-07-01", "prefix": "198.51.100.0/24",
    }  # fmt: skip
    defaults = QUESTIONS[name].defaults()
    assert as_macro.equals(ask(con, name, **{k: v for k, v in said.items() if k in defaults}))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("growth(metro := 'xyz')", "no metro xyz is configured"),
        ("growth(period := 'soon')", "'soon' is no period"),
        ("growth(period := '2026-13')", "'2026-13' is no period"),
        ("growth(period := '2026-W54')", "'2026-W54' is no period"),
        ("growth(period := '2026-07-02/2026-07-01')", "ends before it starts"),
        ("growth(period := '2026-07-01T00:01/2026-07-02')", "5-minute slots"),
        ("transit_asns(provider := 'Telia')", "Telia is no AS number"),
        ("exporter_saw(exporter := 'edge1.nowhere')", "no exporter edge1.nowhere is configured"),
        ("in_out_ratio(role := 'friend')", "friend is none of the roles"),
        ("top_talkers(prefix := 'x')", "SQL: not an IP address: x"),
        (
            "top_talkers(period := '2026-07', prefix := '192.0.2.0/40')",
            "not a prefix: 192.0.2.0/40",
        ),
        ("growth(provider := 4294967296)", "4294967296 is no AS number"),
        ("exporter_saw(exporter := '5')", "no exporter 5 is configured"),
        ("change_between()", "SQL: there is no period to compare with: give period, or"),
        ("change_between(period_start := '2026-07-01')", "there is no period to compare with"),
        *(
            (f"transit_share(bucket := '{given}')", f"{given} is no length of time")
            for given in ("soon", "-1 hour", "0 days", "5", "1 fortnight")
        ),
        *(
            (f"{name}(top := {given})", f"top = {said} is no number of rows")
            for name in NAMES
            if "top" in QUESTIONS[name].defaults()
            for given, said in (("1.5", "1.5"), ("-1", "-1"), ("0", "0"), ("'ten'", "ten"))
        ),
        ("growth(mtro := 'ams')", "does not support"),
    ],
)
def test_value_that_the_program_does_not_take_is_refused(
    con: QuerySession, call: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        con.query(f"FROM {call}")


def test_change_is_against_the_period_before(con: QuerySession) -> None:
    """As `period_before` has it for reports; one without data is told, like one that was given."""

    def called(*given: str) -> pa.Table:
        return con.query(f"FROM change_between({', '.join(given)}, top := NULL)")

    later, earlier = "2026-07-01T01:00/2026-07-01T02:00", "2026-07-01T00:00/2026-07-01T01:00"
    assert called(f"period := '{later}'").equals(
        called(f"period := '{later}'", f"before := '{earlier}'")
    )
    for period, before in (
        ("2026Q3", "2026Q2"), ("2026-03", "2026-02"), ("2026-W30", "2026-W29"),
        ("2026-07-01/2026-10-01", "2026Q2"), ("2026-07-10/2026-07-12", "2026-07-08/2026-07-10"),
        (later, earlier),
    ):  # fmt: skip
        found = con.query(
            "SELECT _utc(_start_before(_period_start($p), _period_end($p))) AS start,"
            " _utc(_before_end(_period_start($p), NULL, NULL)) AS end", {"p": period},
        ).to_pylist()[0]  # fmt: skip
        assert (found["start"], found["end"]) == parse_period(before)
        assert period_before(*parse_period(period)) == parse_period(before)
    with pytest.raises(NoDataError, match="no traffic in the period before 2026Q2"):
        con.query("FROM change_between(period := '2026Q2')")
    rows = con.query(
        "SELECT count(*) AS n FROM (SELECT $later AS p, $earlier AS b) x,"
        " change_between(period := x.p, before := x.b)", {"later": later, "earlier": earlier},
    ).to_pylist()  # fmt: skip
    assert rows[0]["n"] > 0


def test_top_null_is_all_rows(con: QuerySession) -> None:
    more = 0
    for name in NAMES:
        if "top" in QUESTIONS[name].defaults():
            given = "period_start := '2026-07-01T01:00', before_end := '2026-07-01T01:00', "
            given = given if name == "change_between" else ""
            every = con.query(f"FROM {name}({given}top := NULL)")
            assert every.equals(con.query(f"FROM {name}({given}top := 1000000)"))
            more += every.num_rows > con.query(f"FROM {name}({given}top := 1)").num_rows
    assert more > 8


def test_times_have_one_type_everywhere(con: QuerySession) -> None:
    """TIMESTAMP WITH TIME ZONE, in UTC: in tables, views, questions, results and files of them."""
    views = [name for name, (kind, _) in made_names().items() if kind == "view"]
    spans = ("traffic", "transit", "routes", "asn_traffic", "crossings", "slots")
    called = [*(f"{name}()" for name in NAMES), *(f"{s}_between(NULL, NULL)" for s in spans)]
    called += ["transit_paths(NULL, NULL)", "slots_uncovered(NULL, NULL)"]
    seen = 0
    for name in [*TABLES, "crossings", *views, *called]:
        for column in con.query(f"DESCRIBE FROM {name}").to_pylist():
            kind = column["column_type"]
            assert kind == "TIMESTAMP WITH TIME ZONE" or "TIME" not in kind, (name, column)
            seen += kind.startswith("TIME")
    assert seen > 40
    for source in ("traffic", "crossings", "growth_by_week()"):
        for field in con.query(f"FROM {source} LIMIT 1").schema:
            assert not pa.types.is_timestamp(field.type) or field.type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize("name", NAMES)
def test_every_question_refuses_what_there_is_not(con: QuerySession, name: str) -> None:
    """Also where the period has no rows, so that nothing of the question's own would run."""
    known = flowpeer_sql.signature(QUESTIONS[name])
    wrong = {"metro": "xyz", "provider": "Telia", "asn": "Films", "direction": "up"}
    for key in wrong.keys() & known.keys():
        with pytest.raises(UsageError, match=wrong[key]):
            con.query(f"FROM {name}({key} := ${key})", {key: wrong[key]})
        with pytest.raises(UsageError, match=wrong[key]):
            con.query(f"FROM {name}(period := '2031-01', {key} := $v)", {"v": wrong[key]})
    for given, said in (
        ("period := '2031Q1'", "in 2031Q1"), ("period_start := '2031-01-01'", "from 2031-01-01"),
        ("period_end := DATE '2020-01-01'", "until 2020-01-01"),
        ("metro := 'ams', period := '203' || '1-W07'", "in 2031-W07"),
    ):  # fmt: skip
        with pytest.raises(NoDataError, match=f"no traffic {said}"):
            con.query(f"SELECT count(*) FROM {name}({given})")
    if "before" in known:
        with pytest.raises(NoDataError, match="no traffic in 2020Q1"):
            con.query(f"WITH x AS (FROM {name}(before := '2020Q1')) FROM x")


def test_question_takes_values_of_its_own_rows(con: QuerySession) -> None:
    """What depends on a row cannot be looked at before, nor by what asks; constants still are."""
    metros = con.query(
        "SELECT m.metro, count(*) AS n FROM metros m, growth(metro := $m, top := 3) g"
        " WHERE g.place <= 3 GROUP BY ALL ORDER BY 1", {"m": "fra"},
    ).to_pylist()  # fmt: skip
    assert [row["metro"] for row in metros] == ["ams", "fra"]
    with pytest.raises(UsageError, match="no metro xyz"):
        con.query("SELECT (SELECT max(bytes) FROM growth(metro := 'x' || 'yz'))")
    assert con.query("FROM growth(direction := 'both')").equals(con.query("FROM growth()"))
    # A time with a zone is that moment, as a value of SQL and as text.
    whole = con.query("FROM exporter_saw(period_start := '2026-07-01')")
    for start in ("TIMESTAMPTZ '2026-07-01 02:00+02'", "'2026-07-01T02:00+02:00'"):
        assert con.query(f"FROM exporter_saw(period_start := {start})").equals(whole)


@pytest.mark.parametrize(
    "period", ["2026Q2", "2026-Q4", "2026-06", "2026-12", "2026-W01", "2026W53", "2026-02-28",
               "2026-06-30/2026-07-02", "2026-07-01T01:00/2026-07-01T02:00",
               "2026-07-01T10:00+02:00/2026-07-02T00:00-0530", "2026-07-01T10:00Z/2026-07-02"],
)  # fmt: skip
def test_periods_are_those_of_the_command_line(con: QuerySession, period: str) -> None:
    row = con.query(
        "SELECT _utc(_period_start($p)) AS a, _utc(_period_end($p)) AS b", {"p": period}
    ).to_pylist()[0]
    assert (row["a"], row["b"]) == parse_period(period)


def test_plain_slot_filter_reaches_the_files(con: QuerySession) -> None:
    plan = con.query("EXPLAIN SELECT sum(bytes) FROM transit WHERE slot >= '2026-07-01'")
    assert "slot >= '2026-07-01 00:00:00+00'" in plan.to_pylist()[0]["explain_value"]


def test_paths_are_those_of_the_exporters_own_view(tmp_path: Path) -> None:
    """Two views of one provider differ: each metro takes the one of its own neighbour."""
    traffic = world.traffic_rows()
    lake = world.build(tmp_path / "lake", traffic, world.route_traffic(traffic))
    views = {"192.0.2.21": "1299 64501 2906", "192.0.2.22": "1299 64502 2906"}
    world.publish(
        lake, "routes",
        [{"snapshot": "rib", "taken_at": world.START, "vantage": f"AS1299@{address}",
          "prefix": "192.0.2.0/24", "family": 4, "origin_asn": 2906, "as_path": path}
         for address, path in views.items()], name="rib",
    )  # fmt: skip
    tables = world.configured()
    rows = tables["interfaces"].to_pylist()
    for row in rows:
        if row["asn"] == 1299:
            row["neighbours"] = "192.0.2.21" if row["metro"] == "ams" else "192.0.2.99 192.0.2.22"
    tables["interfaces"] = pa.Table.from_pylist(rows, schema=tables["interfaces"].schema)
    with QuerySession(lake, configured=tables) as con:
        found = con.query("FROM next_as_after_provider(provider := 1299, direction := 'out')")
    got = {(r["metro"], r["next_asn"]) for r in found.to_pylist() if r["known"]}
    assert got == {("ams", 64501), ("fra", 64502)}


def _transit() -> list[dict[str, Any]]:
    return [r for r in world.traffic_rows() if r["role"] == "transit" and r["scaled"]]


def test_top_remote_asns_equal_plain_sums(con: QuerySession) -> None:
    wanted: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in _transit():
        wanted[row["metro"], row["provider_asn"], row["remote_asn"]] += row["bytes"]
    got = {
        (r["metro"], r["provider_asn"], r["remote_asn"]): r["bytes"]
        for r in ask(con, "top_remote_asns", top="1000").to_pylist()
    }
    assert got == wanted


def test_p95_is_nearest_rank_over_covered_slots_with_zeros(con: QuerySession) -> None:
    series: dict[tuple[Any, ...], dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    for row in _transit():
        key = (row["metro"], row["provider_asn"], row["direction"], row["remote_asn"])
        series[key][row["slot"]] += row["bytes"]
    got = ask(con, "p95_per_asn", top="1000").to_pylist()
    assert len(got) == len(series)
    for row in got:
        n = 48 - (row["metro"] == "fra")
        values = series[row["metro"], row["provider_asn"], row["direction"], row["remote_asn"]]
        dense = sorted([0] * (n - len(values)) + list(values.values()))
        rank = -(-95 * n // 100)
        assert (row["n_slots"], row["missing_slots"]) == (n, 48 - n)
        assert row["quality"] == ("exact" if n == 48 else "estimate")
        assert row["p95_mbps"] == dense[rank - 1] * 8 / 300e6


def test_polars_and_duckdb_agree_on_sums_and_p95(con: QuerySession, lake: Path) -> None:
    slots = (
        scan(lake, "traffic")
        .filter((pl.col("role") == "transit") & pl.col("scaled"))
        .group_by("metro", "provider_asn", "direction", "slot")
        .agg(pl.col("bytes").sum())
    )
    every = scan(lake, "traffic").select(pl.col("slot").unique())
    groups = slots.select("metro", "provider_asn", "direction").unique()
    # fra was not heard in one slot, and has no traffic in it: left out of its series.
    dense = (
        groups.join(every, how="cross")
        .filter((pl.col("metro") != "fra") | (pl.col("slot") != world.START + 30 * world.SLOT))
        .join(slots, on=["metro", "provider_asn", "direction", "slot"], how="left")
        .with_columns(pl.col("bytes").fill_null(0))
    )
    wanted = (
        dense.group_by("metro", "provider_asn", "direction")
        .agg(
            pl.col("bytes").sum().alias("bytes"),
            pl.col("bytes").quantile(0.95, "equiprobable").alias("p95"),
        )
        .sort("metro", "provider_asn", "direction")
        .collect()
    )
    got = pl.from_arrow(ask(con, "p95_per_provider"))
    assert isinstance(got, pl.DataFrame)
    assert got["bytes"].to_list() == wanted["bytes"].to_list()
    octets = [round(mbps * 300e6 / 8) for mbps in got["p95_mbps"]]
    assert octets == [int(p95) for p95 in wanted["p95"]]


def test_bytes_by_path_and_by_next_as_are_all_transit_bytes(
    con: QuerySession,
) -> None:
    total = sum(r["bytes"] for r in _transit())
    for name in ("traffic_by_as_path", "next_as_after_provider"):
        assert sum(ask(con, name, top="1000")["bytes"].to_pylist()) == total


def test_through_traffic_counts_a_network_on_the_way_apart_from_its_own(
    con: QuerySession,
) -> None:
    rows = ask(con, "through_traffic", asn="6461", direction="out", metro="ams").to_pylist()
    out = [r for r in _transit() if r["direction"] == "out" and r["metro"] == "ams"]
    own = sum(r["bytes"] for r in out if r["remote_asn"] == 6461)
    through = sum(
        r["bytes"]
        for r in out
        if (r["remote_asn"], r["provider_asn"]) in {(2906, 3356), (15169, 1299), (64500, 1299)}
    )
    assert [(r["own_bytes"], r["through_bytes"]) for r in rows] == [(own, through)]


def test_period_is_half_open_and_ends_with_the_last_slot_rolled_up(
    con: QuerySession,
) -> None:
    def slots(start: str | None, end: str | None) -> list[tuple[Any, ...]]:
        table = con.query(
            "FROM slots_between($a::TIMESTAMP, $b::TIMESTAMP)", {"a": start, "b": end}
        )
        return [(r["n_slots"], f"{r['last_slot']:%Y-%m-%d %H:%M:%S}") for r in table.to_pylist()]

    assert slots(None, None) == [(48, "2026-07-01 01:55:00")]
    assert slots("2026-07-01", "2026-07-01 01:00") == [(12, "2026-07-01 00:55:00")]
    assert slots("2026-07-01", "2026-08-01") == [(24, "2026-07-01 01:55:00")]
    assert slots("2026-09-01", "2026-10-01") == []
    july = ask(con, "transit_share", period_start="2026-07-01").to_pylist()
    hours = {r["bucket_start"].strftime("%Y-%m-%d %H:%M %Z") for r in july}
    assert hours == {"2026-07-01 00:00 UTC", "2026-07-01 01:00 UTC"}


def test_what_a_silent_exporter_did_not_tell_is_taken_like_the_rest_of_it(tmp_path: Path) -> None:
    """METHODS M5 in each month, week, hour of the week and period, by plain arithmetic."""
    week = timedelta(days=7)
    silent = {("edge1.fra", n) for n in (*range(3, 12), *range(20, 29))} | {("edge1.ams", 5)}
    rows = [
        {**row, "slot": row["slot"] + later}
        for later in (timedelta(0), week)
        for row in world.traffic_rows()
        if later or (row["exporter"], (row["slot"] - world.START) // world.SLOT) not in silent
    ]
    root = world.build(tmp_path / "lake", rows, world.route_traffic(rows))
    world.publish(root, "coverage", [
        {"slot": world.START + later + n * world.SLOT, "exporter_ip": address, "datagrams": 10,
         "received": 10, "lost": 0, "seen": bool(later) or (exporter, n) not in silent}
        for later in (timedelta(0), week) for n in range(world.SLOTS)
        for _, exporter, address in world.EDGES
    ], time="slot")  # fmt: skip
    transit = [r for r in rows if r["role"] == "transit" and r["scaled"]]
    last = max(r["slot"] for r in rows)
    every = [world.START + n * world.SLOT for n in range((last - world.START) // world.SLOT + 1)]
    carried = {(r["exporter"], r["slot"]) for r in transit}

    def means(part: Callable[[Any], Any], *names: str) -> dict[tuple[Any, ...], float]:
        due, present = Counter(map(part, every)), Counter[tuple[Any, str]]()
        for slot in every:
            first = slot < world.START + world.SLOTS * world.SLOT
            seen = first or slot >= world.START + week
            for _, exporter, _ in world.EDGES:
                hushed = first and (exporter, (slot - world.START) // world.SLOT) in silent
                told = seen and not hushed
                present[part(slot), exporter] += told or (exporter, slot) in carried
        found: dict[tuple[Any, ...], float] = defaultdict(float)
        for r in transit:
            of = part(r["slot"])
            found[of, *(r[name] for name in names)] += (
                r["bytes"] * due[of] / present[of, r["exporter"]] * 8 / (300e6 * due[of])
            )
        return found

    def check(table: pa.Table, wanted: dict[tuple[Any, ...], float], *key: str) -> None:
        got = {tuple(r[k] for k in key): r["mean_mbps"] for r in table.to_pylist()}
        assert got == pytest.approx(wanted, rel=1e-12)

    with QuerySession(root, configured=world.configured()) as asked:
        by_month = means(lambda slot: slot.date().replace(day=1), "remote_asn")
        growth = asked.query("FROM growth(top := NULL)")
        check(growth, by_month, "month", "remote_asn")
        key = ("metro", "provider_asn", "direction")
        weeks = means(lambda slot: slot.date() - timedelta(days=slot.weekday()), *key)
        check(asked.query("FROM growth_by_week()"), weeks, "week", *key)
        hours = means(lambda slot: 100 * slot.isoweekday() + slot.hour, *key)
        asked_hours = asked.query("SELECT *, 100 * day + hour_utc AS hour FROM hour_of_week()")
        check(asked_hours, hours, "hour", *key)
        both = asked.query(
            "FROM change_between(top := NULL, period := '2026-07', before := '2026-06')"
        ).to_pylist()
        wanted = means(lambda slot: slot.month, "metro", "remote_asn")
        assert {(7, r["metro"], r["remote_asn"]): r["mean_mbps"] for r in both} == pytest.approx(
            {k: v for k, v in wanted.items() if k[0] == 7}, rel=1e-12
        )
        assert {
            (6, r["metro"], r["remote_asn"]): r["mean_mbps_before"]
            for r in both if r["mean_mbps_before"]
        } == pytest.approx({k: v for k, v in wanted.items() if k[0] == 6}, rel=1e-12)  # fmt: skip


def test_unknown_traffic_and_the_rest_are_all_there_is(con: QuerySession) -> None:
    placed = [
        r
        for r in world.traffic_rows()
        if r["scaled"]
        and r["role"] not in ("unknown", "discarded", "set_aside")
        and (r["remote_asn"] > 0 or r["role"] == "internal")
    ]
    total = sum(r["bytes"] for r in world.traffic_rows())
    unknown = sum(ask(con, "unknown_traffic")["bytes"].to_pylist())
    assert unknown + sum(r["bytes"] for r in placed) == total


def test_only_the_days_of_the_period_are_read(con: QuerySession) -> None:
    plan = con.query(
        "EXPLAIN SELECT sum(bytes) FROM transit_between($a::TIMESTAMP, NULL)",
        {"a": "2026-07-01"},
    ).to_pylist()[0]["explain_value"]
    assert "Scanning Files: 2/4" in plan
