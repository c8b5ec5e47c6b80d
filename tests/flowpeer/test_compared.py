"""`candidates --compare` and `asks outcomes` on the sample network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import flowpeer
from flowpeer_sample.facts import facts

Run = Callable[..., Any]
HALF = "2026-09-16T12:00/2026-09-17T00:00"
DRIFTLARK, BY_EXCHANGE = 500655, 10_619_434_125_000


def test_half_a_day_against_the_half_before(demo_folder: Path, tmp_path: Path, run: Run) -> None:
    done = run("candidates", "--period", HALF, "--compare", "before", "--metro", "ams",
               "--out", tmp_path, "--format", "parquet", cwd=demo_folder)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    changed = pl.read_parquet(tmp_path / "changes.parquet")
    listed = pl.read_parquet(tmp_path / "candidates.parquet").filter(pl.col("rank") > 0)
    causes = ("inputs", "demand", "routing", "overlap", "eligibility")
    for row in changed.iter_rows(named=True):
        parts = sum(round(row[f"{cause}_bps"] * 1000) for cause in causes)
        whole = round(row["marginal_bps"] * 1000) - round(row["marginal_bps_before"] * 1000)
        assert parts == whole
    # Nothing but the traffic, and so the order, differs between two halves of a day.
    assert not changed.select("inputs_bps", "routing_bps", "eligibility_bps").sum().row(0)[0]
    now = changed.filter(pl.col("rank").is_not_null()).sort("rank")
    assert now["asn"].to_list() == listed["asn"].to_list()
    assert now["marginal_bps"].to_list() == pytest.approx(listed["marginal_bps"].to_list())
    assert now["status"].to_list() == listed["change"].to_list()
    assert set(listed["change"]) <= {"new", "up", "down", "same"}


def test_who_left_the_first_rows_is_not_gone_and_who_is_gone_is_named(demo_folder: Path) -> None:
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    whole = net.candidates(HALF, metro="nyc", compare="before")
    first = net.candidates(HALF, metro="nyc", compare="before", asks=5)
    changed, some = (answer.side_tables["changes"].rows for answer in (whole, first))
    top = (pl.col("rank") <= 5) | (pl.col("rank_before") <= 5)
    assert some.equals(changed.filter(top))
    assert some.filter((pl.col("rank") > 5) & (pl.col("rank_before") <= 5)).height
    assert "gone" not in some["status"].to_list()
    gone = changed.filter(pl.col("status") == "gone").sort("marginal_bps_before", descending=True)
    assert gone.height > 5
    (note,) = (note for note in whole.notes if note.startswith("nyc: gone: "))
    for asn, rank in gone.head(5).select("asn", "rank_before").iter_rows():
        assert f"(AS{asn}), rank {rank}, " in note
    assert note.endswith(f"; and {gone.height - 5} more")
    assert note in " ".join(whole.on_screen(120).split())
    assert note in whole.html()
    assert "change" in whole.screen_columns
    # Lists of metros are compared; organisations have no column of it to show.
    both = net.candidates(HALF, metro="nyc", compare="before", of="organisations", asks=5)
    assert "change" not in both.screen_columns


def test_what_the_first_asks_take_is_said_of_the_list_that_is_shown(demo_folder: Path) -> None:
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    for metro in (["ams", "fra"], ["ams"]):
        lists = {
            of: net.candidates(metro=metro, of=of, asks=3) for of in ("metros", "organisations")
        }
        for of, answer in lists.items():
            said = [note for note in answer.notes if "asks take" in note]
            names = metro if of == "metros" else ["organisations"]
            assert [note.split(":")[0] for note in said] == names
            listed = answer.rows.filter(pl.col("rank") > 0)
            for note, name in zip(said, names, strict=True):
                mine = listed.filter(pl.col("metro") == name) if of == "metros" else listed
                share = 100 * mine["cumulative_observed_share"][-1]
                assert f"these 3 asks take {share:.1f}% of" in note


def test_a_period_without_data_is_told(demo_folder: Path, run: Run) -> None:
    done = run("candidates", "--compare", "2025Q1", cwd=demo_folder)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no data in 2025Q1" in done.stderr


def test_what_a_live_ask_carries(demo_copy: Path, run: Run) -> None:
    (demo_copy / "asks.csv").unlink()  # the sample has asks of its own
    assert run("asks", "outcomes", cwd=demo_copy).returncode == 3
    run("asks", "add", DRIFTLARK, "--metro", "lon", "--date", "2026-08-01", cwd=demo_copy)
    run("asks", "update", DRIFTLARK, "live", "--date", "2026-09-15", cwd=demo_copy)
    done = run("asks", "outcomes", "--json", cwd=demo_copy)
    assert done.returncode in (0, 1), done.stderr
    ask, total = json.loads(done.stdout)
    assert (ask["asn"], ask["days"], ask["weekly_min_bps"]) == (DRIFTLARK, 1, None)
    assert ask["carried_bps"] == pytest.approx(BY_EXCHANGE * 8 / 86400, rel=1e-6)
    assert total["carried_bps"] == ask["carried_bps"]


def test_days_that_count_need_not_begin_when_an_ask_went_live(demo_folder: Path) -> None:
    """The ask of the sample network has been live for four weeks when its one day of data comes."""
    planted = next(fact.figures for fact in facts() if fact.key == "live-ask")
    ask, _ = flowpeer.open(demo_folder / "flowpeer.toml").outcomes().rows.to_dicts()
    assert (ask["days"], ask["predicted_bps"]) == (1, planted["predicted_bps"])
    assert ask["carried_bps"] == pytest.approx(planted["carried_bps"], abs=1)
