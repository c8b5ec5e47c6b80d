"""`candidates --compare` and `asks outcomes` on the sample network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

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
