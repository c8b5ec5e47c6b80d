"""The SQL cookbook prints what it shows, and figures are the same by SQL, Polars and reports."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import flowpeer
from flowpeer.catalog import write_catalog
from flowpeer.cli.sql_names import frame_of, render
from flowpeer.lake.relation import FILED_BY
from flowpeer.pipeline.crossings import write_crossings
from flowpeer.query import QuerySession
from flowpeer.query.days import TIMES
from flowpeer_core.p95 import rank

PAGE = Path(__file__).parents[2] / "docs" / "sql-cookbook.md"
RECIPE = re.compile(r"(?ms)^```sql\n(?P<sql>.*?)^```\n\n```text\n(?P<shown>.*?)^```")


@pytest.fixture(scope="module")
def network(demo_folder: Path) -> flowpeer.api.Network:
    return flowpeer.open(demo_folder / "flowpeer.toml")


@pytest.fixture(scope="module")
def con(network: flowpeer.api.Network) -> Iterator[QuerySession]:
    lake, configuration = network.lake, network.configuration

    def crossings(folder: Path) -> list[Path]:
        return write_crossings(configuration, lake, folder)

    with QuerySession(lake.root, configured=configuration.tables, crossings=crossings) as session:
        yield session


def test_every_recipe_prints_what_the_page_shows(
    con: QuerySession, request: pytest.FixtureRequest
) -> None:
    text = PAGE.read_text("utf-8")
    recipes = list(RECIPE.finditer(text))
    assert len(recipes) >= 20
    assert len(recipes) == len(re.findall(r"(?m)^## ", text))

    def printed(found: re.Match[str]) -> str:
        table = con.query(found["sql"], flat=True)
        shown = render(frame_of(table), "table", width=100)
        return f"```sql\n{found['sql']}```\n\n```text\n{shown}```"

    made = RECIPE.sub(printed, text)
    if request.config.getoption("--update-golden"):
        PAGE.write_text(made, "utf-8")
    for before, after in zip(recipes, RECIPE.finditer(made), strict=True):
        assert before["shown"] == after["shown"], before["sql"]


def test_imbalance_and_its_question_give_the_same_numbers(
    con: QuerySession, network: flowpeer.api.Network
) -> None:
    asked = {
        (row["metro"], row["direction"], row["provider_asn"]): row
        for row in con.query("FROM p95_per_provider()").to_pylist()
    }
    compared = 0
    for row in network.imbalance().rows.iter_rows(named=True):
        found = asked.get((row["metro"], row["direction"], row["provider_asn"]))
        if found is None:  # nothing moved there: the report says so, SQL has no row
            assert not row["avg_bps"]
            continue
        assert row["avg_bps"] == pytest.approx(found["mean_mbps"] * 1e6, rel=0, abs=0.001)
        assert row["p95_bps"] == pytest.approx(found["p95_mbps"] * 1e6, rel=0, abs=0.001)
        assert row["peak_bps"] == pytest.approx(found["peak_mbps"] * 1e6, rel=0, abs=0.001)
        assert row["capacity_bps"] == pytest.approx(found["capacity_mbps"] * 1e6)
        compared += 1
    assert compared == len(asked) > 20


def test_polars_and_duckdb_agree(con: QuerySession, network: flowpeer.api.Network) -> None:
    scanned = network.scan("traffic").filter(pl.col("scaled"))
    by_network = (
        scanned.group_by("metro", "role", "direction", "remote_asn")
        .agg(pl.col("bytes", "packets", "records").sum())
        .collect()
    )
    asked = pl.DataFrame(
        pl.from_arrow(
            con.query(
                "SELECT metro, role, direction, remote_asn, sum(bytes) AS bytes,"
                " sum(packets) AS packets, sum(records) AS records FROM traffic WHERE scaled"
                " GROUP BY ALL"
            )
        )
    )
    assert_frame_equal(by_network, asked, check_row_order=False)
    slots = scanned.filter(pl.col("role") == "transit").group_by(
        "metro", "provider_asn", "direction", "slot"
    )
    series = slots.agg(pl.col("bytes").sum()).collect()
    n = 288
    by_sql = con.query(
        "SELECT metro, provider_asn, direction, p95(bytes, $n) AS p95 FROM provider_slots"
        " GROUP BY ALL",
        {"n": n},
    ).to_pylist()
    assert len(by_sql) > 20
    for row in by_sql:
        chosen = (pl.col(name) == row[name] for name in ("metro", "provider_asn", "direction"))
        found = sorted(series.filter(*chosen)["bytes"].to_list())
        assert row["p95"] == ([0] * (n - len(found)) + found)[rank(n) - 1]


def test_candidates_and_leaks_and_their_questions_give_the_same_numbers(
    con: QuerySession, network: flowpeer.api.Network
) -> None:
    asked: Counter[tuple[str, int]] = Counter()
    for row in con.query("FROM top_remote_asns(direction := 'out', top := 1000000)").to_pylist():
        asked[row["metro"], row["remote_asn"]] += row["mean_mbps"] * 1e6
    compared = 0
    for row in network.candidates().rows.iter_rows(named=True):
        if row["asn"] and row["own_bps"] is not None and len(row["asns"]) <= 1:
            given = asked[row["metro"], row["asn"]]
            assert row["own_bps"] == pytest.approx(given, rel=1e-9, abs=0.01)
            compared += 1
    assert compared > 100
    over_transit = {
        (row["metro"], row["remote_asn"]): row["transit_bytes"]
        for row in con.query("FROM ix_against_transit(direction := 'out', top := 1000000)")
        .to_pylist()
    }  # fmt: skip
    leaks = network.leaks().rows
    assert leaks.height
    for metro, asn, size in leaks.group_by("metro", "asn").agg(pl.sum("out_bytes")).iter_rows():
        assert over_transit[metro, asn] == size


def test_averages_of_a_period_that_begins_before_the_lake_are_those_of_the_reports(
    con: QuerySession, network: flowpeer.api.Network
) -> None:
    """What is not covered is taken like the rest (M5), or left out where a question says so."""
    week, day = "2026-W38", "2026-09-16"  # one day of it is in the lake
    asked: Counter[tuple[str, int]] = Counter()
    for row in con.query(
        "FROM top_remote_asns(direction := 'out', period := $p, top := NULL)", {"p": week}
    ).to_pylist():
        asked[row["metro"], row["remote_asn"]] += row["mean_mbps"] * 1e6
    compared = 0
    for row in network.candidates(period=week).rows.iter_rows(named=True):
        if row["asn"] and row["own_bps"] is not None and len(row["asns"]) <= 1:
            given = asked[row["metro"], row["asn"]]
            assert row["own_bps"] == pytest.approx(given, rel=1e-9, abs=0.01)
            compared += 1
    assert compared > 100
    links = {
        (row["exporter"], row["interface"], row["direction"]): row["avg_bps"]
        for row in network.imbalance(period=week).side_tables["links"].rows.iter_rows(named=True)
    }
    busiest = con.query("FROM busiest_interfaces(period := $p)", {"p": week}).to_pylist()
    told = [
        (row["mean_mbps"], links[row["exporter"], row["interface"], row["direction"]])
        for row in busiest if row["role"] == "transit"
    ]  # fmt: skip
    assert len(told) > 20
    assert all(mbps * 1e6 == pytest.approx(bps, abs=0.001) for mbps, bps in told)
    for name in ("growth", "growth_by_week", "hour_of_week"):
        of_day = con.query(f"FROM {name}(period := $p)", {"p": day})
        assert con.query(f"FROM {name}(period := $p)", {"p": week}).equals(of_day)


def test_bills_and_their_sum_in_sql_give_the_same_percentiles(
    con: QuerySession, network: flowpeer.api.Network
) -> None:
    asked = con.query(
        "WITH slots AS (SELECT i.contract, t.direction, t.slot,"
        " sum(t.bytes + 18 * t.packets)::BIGINT AS octets"  # with the heads of Ethernet
        " FROM transit t JOIN interfaces i USING (exporter, interface) GROUP BY ALL)"
        " SELECT contract, direction, p95(octets, 288) * 8 / 300 AS bps FROM slots GROUP BY ALL"
    ).to_pylist()
    found = {(row["contract"], row["direction"]): row["bps"] for row in asked}
    bills = network.bills().rows.to_dicts()
    assert len(bills) > 5
    for bill in bills:
        for way in ("in", "out"):
            assert bill[f"p95_{way}_bps"] == pytest.approx(
                found.pop((bill["contract"], way)), rel=0, abs=0.001
            )
    assert not found


def test_polars_and_the_questions_agree(con: QuerySession, network: flowpeer.api.Network) -> None:
    """Figures of questions that have no report, from the files by other means."""
    scaled = network.scan("traffic").filter(pl.col("scaled")).collect()
    transit = scaled.filter(pl.col("role") == "transit")
    by_hour = transit.group_by(
        "metro", "provider_asn", "direction", pl.col("slot").dt.weekday().alias("day"),
        pl.col("slot").dt.hour().alias("hour_utc"),
    ).agg(pl.col("bytes").sum())  # fmt: skip
    _same(by_hour, con.query("FROM hour_of_week()"))
    whole = con.query("FROM growth_by_week()").to_pylist()
    assert sum(row["bytes"] for row in whole) == transit["bytes"].sum()

    external = ("transit", "peer", "ix", "customer", "unknown")
    by_interface = (
        scaled.filter(pl.col("role").is_in(external))
        .group_by("metro", "exporter", "interface", "role", "provider_asn", "direction", "slot")
        .agg(pl.col("bytes").sum())
        .group_by("metro", "exporter", "interface", "role", "provider_asn", "direction")
        .agg(pl.col("bytes").sum(), (pl.col("bytes").max() * 8 / 300e6).alias("peak_mbps"))
    )
    _same(by_interface, con.query("FROM busiest_interfaces()"))

    everything = network.scan("traffic").group_by(
        "exporter", "metro", "interface", "role", "provider_asn", "direction", "scaled"
    )
    sums = everything.agg(pl.col("bytes", "packets", "records").sum()).collect()
    _same(sums, con.query("FROM exporter_saw()"))

    losses = (
        network.scan("coverage").group_by("exporter_ip")
        .agg(pl.col("datagrams", "received", "lost").sum()).collect()
    )  # fmt: skip
    _same(losses, con.query("FROM losses_by_exporter()"))


def _same(wanted: pl.DataFrame, asked: pa.Table) -> None:
    got = pl.DataFrame(pl.from_arrow(asked)).select(wanted.columns)
    assert got.height > 0
    assert_frame_equal(
        wanted, got, check_row_order=False, check_dtypes=False, rel_tol=1e-12, abs_tol=0
    )


def test_times_lie_in_the_days_of_their_files(con: QuerySession) -> None:
    """What the days that follow from a filter of times rest on, and the weeks of a catalog."""
    assert FILED_BY.items() <= TIMES.items()
    for table, time in TIMES.items():
        rows = con.query(
            f"SELECT count(*) AS n, count(*) FILTER (WHERE timezone('UTC', {time})::DATE <> date)"
            f" AS strays FROM {table}"
        ).to_pylist()[0]
        assert rows["n"] > 0
        assert rows["strays"] == 0, table


def test_recipes_for_other_programs_run(demo_copy: Path) -> None:
    page = (PAGE.parent / "howto-sql-tools.md").read_text("utf-8")
    section = page.partition("\n## Python\n")[2].partition("\n## ")[0]  # others: .ci/sql_tools.py
    recipes = re.findall(r"(?ms)^```python\n(.*?)^```", section)
    assert len(recipes) >= 5
    assert all("assert " in recipe for recipe in recipes)
    network = flowpeer.open(demo_copy / "flowpeer.toml")
    write_catalog(
        demo_copy / "lake" / "catalog.duckdb", network.lake.root,
        configured=network.configuration.tables(),
    )  # fmt: skip
    together = "".join(f"def recipe_{n}():\n{indent(r, '    ')}\n" for n, r in enumerate(recipes))
    together += "".join(f"recipe_{n}()\n" for n in range(len(recipes)))
    done = subprocess.run(
        [sys.executable, "-c", together], cwd=demo_copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
