"""`exits`, `drill` and `capacity` on the sample network, as a user runs them."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import flowpeer
from flowpeer import configuration
from flowpeer.analysis.capacity import capacity_answer
from flowpeer.analysis.inputs import gather
from flowpeer.lake.store import Lake
from flowpeer_reports.ask_log import HEADER
from flowpeer_sample.facts import facts
from flowpeer_sample.world import DAY_TEXT, DUCT, EMPTIED, LOST

Run = Callable[..., Any]


def test_a_drill_of_everything_loses_no_byte(demo_folder: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "answers"
    done = run("drill", "--all", "--slots", "--out", out, "--format", "parquet,csv,html",
               cwd=demo_folder)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    slots = pl.read_parquet(out / "drill_slots.parquet")
    sums = slots.group_by("kind", "removed", "direction", "slot").agg(
        pl.col("before_bytes", "bytes").sum()
    )
    assert sums.height > 288
    assert (sums["before_bytes"] == sums["bytes"]).all()
    summary = pl.read_parquet(out / "drill_summary.parquet")
    assert set(summary["kind"]) >= {"link", "provider", "exporter", "metro"}
    lost = summary.filter(pl.col("kind") == "metro")
    # One provider's routes may be used in the other metros of a continent.
    # (par has no known sampling rate: its bytes are in no figure.)
    assert (lost["moved_bytes"] > 0).sum() == lost.height - 1 == 8
    unrouted = lost["out_without_way_bytes"].sum()
    assert 0 < unrouted < lost["moved_bytes"].sum() // 100
    planted = {fact.key: fact.figures for fact in facts()}
    for key, kind, removed, links in (
        ("duct", "risk_group", DUCT.id, {"edge1.ams:13": "pelagolink_here",
                                         "edge1.lon:11": "quartzheron_lon"}),
        ("metro-lost", "metro", LOST, {"edge1.lon:11": "quartzheron_lon"}),
    ):  # fmt: skip
        mine = slots.filter(
            pl.col("kind") == kind, pl.col("removed") == removed, pl.col("direction") == "out"
        )
        more = mine.filter(pl.col("bytes") > pl.col("before_bytes"))
        sums = more.group_by("exporter", "interface", "what").agg(
            (pl.col("bytes") - pl.col("before_bytes")).sum().alias("more"),
            pl.col("bytes").max().alias("most"),
        )
        of = {
            f"{row['exporter']}:{row['interface']}" if row["what"] == "link" else "nowhere": row
            for row in sums.iter_rows(named=True)
        }
        assert of.keys() == {*links, "nowhere"}
        assert of["nowhere"]["more"] == pytest.approx(planted[key]["without_way_bytes"], abs=288)
        for link, name in links.items():
            assert of[link]["more"] == pytest.approx(planted[key][f"{name}_bytes"], abs=288)
            assert of[link]["most"] * 8 / 300 == pytest.approx(
                planted[key][f"{name}_peak_bps"], abs=1
            )
        (head,) = summary.filter(kind=kind, removed=removed).to_dicts()
        assert head["first_bottleneck"] == f"{next(iter(links))} out"
        assert head["slots_over_100"] > 0
    with (out / "drill.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == pl.read_parquet(out / "drill.parquet").height
    page = (out / "drill.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1, "the one that sorts and filters, which its policy names"
    meta = json.loads((out / "drill.meta.json").read_text())
    assert 0 < meta["largest_growth"] <= summary["largest_growth"].min()  # type: ignore[operator]


def test_a_metro_is_emptied_in_the_planted_order(demo_folder: Path, run: Run) -> None:
    done = run("drill", "--plan", LOST, "--json", cwd=demo_folder)
    assert done.returncode in (0, 1), done.stderr
    figures = next(fact.figures for fact in facts() if fact.key == "emptied")
    steps = json.loads(done.stdout)
    assert [row["withdraw"] for row in steps] == [[prefix] for prefix in EMPTIED]
    assert [row["to_metro"] for row in steps] == ["lon", "fra", "lon"]
    for row in steps:
        n = row["step"]
        assert row["out_bytes"] == figures[f"step_{n}_out_bytes"]
        assert row["in_bytes"] == figures[f"step_{n}_in_bytes"]
        assert row["slots_over_100"] == 0
    assert [row["fullest_utilisation"] > 0.8 for row in steps] == [False, False, True]


def test_the_audit_holds_every_outbound_byte(demo_folder: Path, run: Run) -> None:
    done = run("exits", "--json", cwd=demo_folder)
    assert done.returncode in (0, 1), done.stderr
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in json.loads(done.stdout):
        sums[row["metro"], row["comparison"]] += row["out_bytes"]
        assert 0 <= row["share"] <= 1
    question = """SELECT metro, sum(bytes)::BIGINT AS bytes FROM traffic_routes
        WHERE direction = 'out' AND scaled AND role IN ('transit', 'peer', 'ix', 'customer')
        GROUP BY ALL"""
    asked = json.loads(run("sql", question, "--format", "json", cwd=demo_folder).stdout)
    for row in asked:
        for comparison in ("with LOCAL_PREF", "without LOCAL_PREF"):
            assert sums[row["metro"], comparison] == row["bytes"]


def test_asks_in_place_move_what_the_list_says(demo_folder: Path, tmp_path: Path, run: Run) -> None:
    done = run("drill", "--remove", "link:edge1.ams:12", "--with-asks", "3", "--out", tmp_path,
               "--format", "parquet,md,xlsx", cwd=demo_folder)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    asks = pl.read_parquet(tmp_path / "drill_asks.parquet")
    for ending in ("md", "xlsx"):
        assert (tmp_path / f"drill.{ending}").stat().st_size > 1000
    moved = dict(asks.group_by("asn").agg(pl.col("moved_bytes").sum()).iter_rows())
    listed = pl.read_parquet(demo_folder / "report" / "organisations.parquet")
    first = listed.filter(pl.col("rank").is_between(1, 3))
    assert set(moved) == set(first["asn"])
    for asn, rate in first.select("asn", "observed_bps").iter_rows():
        assert moved[asn] * 8 / 86_400 == pytest.approx(rate, rel=1e-6)
    drills = pl.read_parquet(tmp_path / "drill.parquet")
    assert set(drills["removed"]) == {"edge1.ams:12"}


def test_the_signed_asks_in_place_are_those_of_the_log(
    demo_copy: Path, tmp_path: Path, run: Run
) -> None:
    words = ("drill", "--remove", "link:edge1.ams:12", "--with-asks", "signed", "--out", tmp_path,
             "--format", "parquet")  # fmt: skip
    refused = run(*words, cwd=demo_copy)
    assert refused.returncode == 2
    assert "no ask in asks.csv was answered with yes" in refused.stderr
    listed = pl.read_parquet(demo_copy / "report" / "candidates.parquet")
    metro, asn = listed.sort("observed_bps", descending=True).select("metro", "asn").row(0)
    with (demo_copy / "asks.csv").open("a", encoding="utf-8") as log:
        log.write(f"2026-09-01,,{asn},{metro},answered_yes,,,,,,\n")
    done = run(*words, cwd=demo_copy)
    assert done.returncode in (0, 1), done.stderr
    (row,) = pl.read_parquet(tmp_path / "drill_asks.parquet").to_dicts()
    assert (row["asn"], row["metro"]) == (asn, metro)
    net = flowpeer.open(demo_copy / "flowpeer.toml")
    (alone,) = net.what_ifs().answer([f"{metro}:{asn}"]).rows.to_dicts()
    # A slot is split by the routes of its hour, to the byte: its sums are not the routes'.
    assert row["moved_bytes"] == pytest.approx(alone["out_bytes"], rel=1e-6)
    assert row["moved_bytes"] > 0


def test_a_plan_moves_all_that_has_an_own_prefix(
    demo_folder: Path, tmp_path: Path, run: Run
) -> None:
    done = run("drill", "--plan", "ams", "--to", "lon", "--out", tmp_path, "--format",
               "parquet,html,md", cwd=demo_folder)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    steps = pl.read_parquet(tmp_path / "drt.parquet")
    question = """SELECT local_prefix, direction, sum(bytes)::BIGINT AS bytes FROM traffic_routes
        WHERE metro = 'ams' AND scaled AND direction <> 'none' AND local_prefix IS NOT NULL
          AND role IN ('transit', 'peer', 'ix', 'customer') GROUP BY ALL"""
    asked = json.loads(run("sql", question, "--format", "json", cwd=demo_folder).stdout)
    sums = {(r["local_prefix"], r["direction"]): r["bytes"] for r in asked}
    found = {
        (row["withdraw"][0], way): row[f"{way}_bytes"]
        for row in steps.iter_rows(named=True)
        for way in ("out", "in")
    }
    assert found == sums
    assert steps["step"].to_list() == [1, 2, 3]
    assert set(steps["to_metro"]) == {"lon"}
    links = pl.read_parquet(tmp_path / "drt_links.parquet")
    assert set(links["metro"]) == {"ams", "lon"}
    ours = links.filter(pl.col("metro") == "ams", pl.col("step") == 3)
    assert (ours["max_bps"] <= ours["max_before_bps"]).all()


def test_the_period_billed_again_begins_with_its_bills(
    demo_folder: Path, tmp_path: Path, run: Run
) -> None:
    done = run("bills", "--with-asks", "3", "--out", tmp_path, "--format", "parquet,md",
               cwd=demo_folder)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    rows = pl.read_parquet(tmp_path / "counterfactual.parquet")
    bills = json.loads(run("bills", "--json", cwd=demo_folder).stdout)
    was = {row["contract"]: row["total"] for row in bills}
    each = rows.filter(pl.col("contract") != "all")
    assert dict(each.select("contract", "as_billed_total").iter_rows()) == was
    whole = rows.filter(contract="all").row(0, named=True)
    assert whole["with_asks_total"] < whole["as_billed_total"]
    assert whole["best_split_total"] <= min(whole["with_asks_total"], whole["with_moves_total"])
    scenarios = pl.read_parquet(tmp_path / "counterfactual_scenarios.parquet")
    assert "observed only" in scenarios["scenario"].to_list()
    moves = pl.read_parquet(tmp_path / "counterfactual_moves.parquet")
    assert (moves["d_after"] < moves["d_before"]).all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("drill",), "nothing to remove"),
        (("drill", "--all", "--growth", "11"), "--growth 11"),
        (("drill", "--all", "--growth", "5..2"), "--growth 5..2"),
        (("drill", "--to", "ams"), "--to without --site-lost"),
        (("candidates", "--compare", "before", "--rank-by", "saving"), "--compare and --rank-by"),
        (("bills", "--with-asks", "3", "--force"), "--with-asks bills every contract again"),
        (("drill", "--plan", "ams", "--all"), "--plan is an answer of its own"),
        (("drill", "--plan", "ams", "--growth", "1..3"), "a plan has one growth"),
        (("drill", "--plan", "ams", "--to", "ams"), "the metro that is emptied"),
        (("drill", "--replay", "2026-09-16", "--all"), "--replay finds"),
        (("drill", "--replay", "2026-09-16", "--slots"), "--replay has a window of its own"),
        (("drill", "--remove", "facility:101"), "no external interface is that"),
        (("bills", "--rules", "3"), "--rules without --with-asks"),
        (("drill", "--replay", "2026-09-16", "--with-asks", "3"), "--replay finds"),
    ],
)
def test_bad_usage_is_one_line(
    demo_folder: Path, run: Run, words: tuple[str, ...], says: str
) -> None:
    done = run(*words, cwd=demo_folder)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


def test_a_day_is_no_history_for_a_forecast(demo_folder: Path, run: Run) -> None:
    done = run("capacity", "--metro", "ams", "--json", cwd=demo_folder)
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)
    assert {row["status"] for row in rows} == {"no forecast: 0 weeks, 8 are needed"}


def test_the_move_list_comes_near_the_bound(demo_folder: Path, tmp_path: Path, run: Run) -> None:
    done = run("imbalance", "--metro", "ams", "--out", tmp_path, "--format", "parquet,html",
               cwd=demo_folder)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    every = pl.read_parquet(tmp_path / "imbalance.parquet")
    _each_provider_has_its_own_sheet(tmp_path, every.filter(pl.col("direction") == "in"))
    rows = every.filter(pl.col("direction") == "out")
    moves = pl.read_parquet(tmp_path / "moves.parquet")
    assert rows["target"].unique().to_list() == ["commit"]
    assert 0 < moves.height <= 20
    beside = pl.read_parquet(tmp_path / "imbalance_bills.parquet")
    billed = run("bills", "--json", cwd=demo_folder)
    totals = {(r["contract"], r["month"]): r["total"] for r in json.loads(billed.stdout)}
    assert beside.height > 1
    assert set(beside["metros"].list.contains("ams")) == {True}
    for contract, month, total in beside.select("contract", "month", "total").iter_rows():
        assert totals[contract, month] == total
    assert moves["d_before"][0] == pytest.approx(rows["d"][0])
    assert (moves["d_after"] < moves["d_before"]).all()
    assert (moves["d_before"][1:] == moves["d_after"][:-1]).all()
    assert rows["d_feasible"][0] <= rows["d_hourly"][0]
    assert moves["d_after"][-1] >= rows["d_feasible"][0] - 1e-9
    assert set(moves["path"]) == {"tied"}
    effect = pl.read_parquet(tmp_path / "moves_effect.parquet")
    assert effect["provider_asn"].to_list() == rows["provider_asn"].to_list()
    same = {"p95_bps": "p95_before_bps", "utilisation_p95": "utilisation_before",
            "slots_over_80": "slots_over_80_before"}  # fmt: skip
    for there, here in same.items():
        assert effect[here].to_list() == pytest.approx(rows[there].to_list()), here
    gained = effect["avg_after_bps"].sum() - effect["avg_before_bps"].sum()
    assert gained == pytest.approx(0, abs=1)
    changed = pl.read_parquet(tmp_path / "moves_bills.parquet")
    contracts = changed.filter(pl.col("contract") != "all")
    assert set(contracts["contract"]) == set(beside["contract"])
    for contract, month, total in contracts.select("contract", "month", "before_total").iter_rows():
        assert totals[contract, month] == total
    assert (contracts["after_total"] != contracts["before_total"]).any()
    (everything,) = changed.filter(contract="all")["after_total"]
    assert everything == pytest.approx(contracts["after_total"].sum(), abs=0.02)


def _each_provider_has_its_own_sheet(folder: Path, rows: pl.DataFrame) -> None:
    """With all rows of its inbound traffic, and nothing of another provider."""
    inbound = pl.read_parquet(folder / "inbound.parquet")
    providers = dict(rows.select("provider_asn", "provider").iter_rows())
    assert len(providers) > 1
    assert {p.name for p in folder.glob("inbound_AS*.html")} == {
        f"inbound_AS{asn}.html" for asn in providers
    }
    for asn, name in providers.items():
        page = (folder / f"inbound_AS{asn}.html").read_text(encoding="utf-8")
        mine = inbound.filter(pl.col("provider_asn") == asn)
        for size in mine["in_bytes"]:
            assert f"{size:,}" in page
        assert f"{name} (AS{asn})" in page
        assert "prepend" in page
        assert not [other for other in providers.values() if other != name and other in page]


def test_answers_are_tables_for_sql_with_the_same_figures(
    demo_folder: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "answers"
    for words in (("exits",), ("capacity",), ("drill", "--remove", "provider:500101", "--growth",
                                              "1..3")):  # fmt: skip
        done = run(*words, "--out", out, "--format", "parquet", cwd=demo_folder)
        assert done.returncode in (0, 1), done.stderr
    asked = json.loads(run("sql", "--attach", out, "--json", """
        SELECT d.growth, d.first_bottleneck, d.ports_to_buy, x.bytes, c.rows
        FROM drill_summary d
        CROSS JOIN (SELECT sum(out_bytes)::BIGINT AS bytes FROM exits) x
        CROSS JOIN (SELECT count(*) AS rows FROM capacity JOIN metros USING (metro)) c
        ORDER BY d.growth""", cwd=demo_folder).stdout)  # fmt: skip
    summary = pl.read_parquet(out / "drill_summary.parquet").sort("growth")
    assert [(r["growth"], r["first_bottleneck"], r["ports_to_buy"]) for r in asked] == [
        *summary.select("growth", "first_bottleneck", "ports_to_buy").iter_rows()
    ]
    assert asked[0]["bytes"] == pl.read_parquet(out / "exits.parquet")["out_bytes"].sum()
    assert asked[0]["rows"] == pl.read_parquet(out / "capacity.parquet").height > 0
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    rows = net.sql("FROM now_drill", attach={"now": out}).select("removed", "p95_bps")
    assert rows.equals(pl.read_parquet(out / "drill.parquet").select("removed", "p95_bps"))
    none = run("sql", "SELECT 1", "--attach", tmp_path, cwd=demo_folder)
    assert none.returncode == 2
    assert "no Parquet file in that folder" in none.stderr


def test_capacity_takes_the_signed_asks_once_there_are_eight_weeks(
    demo_folder: Path, tmp_path: Path
) -> None:
    """Two hours of the sample in Chicago each day, a little more every week."""
    log = [",".join(HEADER)]
    for day, event in (("2026-09-01", "asked"), ("2026-09-09", "answered_yes")):
        told = {"date": day, "asn": "502391", "metros": "chi", "event": event}
        log.append(",".join(told.get(name, "") for name in HEADER))
    (tmp_path / "asks.csv").write_text("\n".join(log) + "\n")
    configured = configuration.load(demo_folder / "flowpeer.toml")
    sources = configured.sources.model_copy(update={"asks": str(tmp_path / "asks.csv")})
    network = configured.model_copy(update={"sources": sources})
    record = Lake(network.lake_path).record()
    sample = gather(network, record, DAY_TEXT)
    weeks, monday = 8, datetime(2026, 7, 20, tzinfo=UTC)
    back = datetime.fromisoformat(f"{DAY_TEXT}T00:00Z") - monday

    def each_day(frame: pl.LazyFrame, time: str) -> pl.LazyFrame:
        mine = frame.filter(pl.col("metro") == "chi", pl.col(time).dt.hour() >= 22)
        mine = mine.drop("date", strict=False).collect().lazy()
        return pl.concat(
            mine.with_columns(
                pl.col(time) - back + timedelta(days=n),
                pl.col("bytes") * (100 + 3 * (n // 7)) // 100,
            )
            for n in range(7 * weeks)
        )

    inputs = replace(
        sample.inputs, coverage=None,
        period_start=monday, period_end=monday + timedelta(weeks=weeks),
        slots={"chi": 2016 * weeks}, missing_slots={"chi": 0},
        traffic=each_day(sample.inputs.traffic, "slot"), traffic_slots=None,
        traffic_routes=each_day(sample.inputs.traffic_routes, "hour_start"),
    )  # fmt: skip

    def asked(until: timedelta) -> tuple[pl.DataFrame, pl.DataFrame]:
        period = replace(inputs, period_end=monday + until)
        answer = capacity_answer(replace(sample, inputs=period), network=network, record=record)
        tables = answer.rows, answer.side_tables["capacity_weekly"].rows
        rows, weekly = (t.filter(metro="chi", direction="out") for t in tables)
        return rows, weekly

    rows, weekly = asked(timedelta(weeks=weeks))
    assert rows["weeks"].to_list() == [weeks, weeks]
    assert (rows["slope_per_year"] > 0).all()
    assert weekly.height == 2 * weeks
    assert (weekly["p95_after_asks_bps"] < weekly["p95_bps"]).all()
    _, weekly = asked(timedelta(weeks=weeks - 1))
    assert weekly["p95_after_asks_bps"].null_count() == weekly.height, "seven weeks: no forecast"
