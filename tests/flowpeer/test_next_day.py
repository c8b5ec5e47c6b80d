"""The day after of the sample network: an outage replayed, and a list compared with the day
before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowpeer_sample import answers as a
from flowpeer_sample import world as w

WINDOW = f"{w.NEXT_TEXT}T01:00/{w.NEXT_TEXT}T07:00"


@pytest.fixture(scope="module")
def two_days(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-days") / "demo"
    shutil.copytree(demo_folder, folder)
    return folder


def test_the_outage_is_found_replayed_and_its_error_is_the_one_printed(
    two_days: Path, run: Callable[..., Any]
) -> None:
    for words in (["ingest", "next-day"], ["rollup"]):
        done = run(*words, cwd=two_days)
        assert done.returncode in (0, 1), done.stderr
    done = run("drill", "--replay", WINDOW, "--json", cwd=two_days)
    assert done.returncode in (0, 1), done.stderr
    assert "silent in the window: edge1.iad:13;" in done.stderr
    rows = json.loads(done.stdout)
    at = {(r["exporter"], r["interface"], r["direction"]): r for r in rows}
    for provider in w.TRANSIT_WEIGHT["iad"]:
        if provider == w.OUTAGE.provider:
            continue
        for way in ("out", "in"):
            row = at["edge1.iad", w.TRANSIT_INDEX[provider], way]
            # A slot of a metered byte is ours to the byte.
            assert row["observed_bytes"] == a.outage_bytes(provider, way, w.NEXT)
            assert abs(row["predicted_bytes"] / row["observed_bytes"] - 1) < 0.15
    # Which way it goes is known from the tables: far better than to leave it where it was.
    mine = [r for r in rows if r["exporter"] == "edge1.iad" and r["direction"] == "out"]
    error = sum(r["error_share"] * r["observed_bytes"] for r in mine)
    assert error / sum(r["observed_bytes"] for r in mine) < 0.2


LIST = (
    "candidates", "--format", "csv,json,parquet,xlsx,html,md", "--compare",
    "2026-09-16T00:00/2026-09-16T08:00", "--period", "2026-09-16T08:00/2026-09-17",
)  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        (*LIST, "--metro", "ams", "--metro", "iad"), pytest.param(LIST, marks=pytest.mark.soak),
        ("report", "--format", "csv,xlsx", "--metro", "fra"),
    ],
)  # fmt: skip
def test_an_answer_is_made_again_to_the_byte_after_more_came(
    demo_folder: Path, two_days: Path, tmp_path: Path, run: Callable[..., Any],
    words: tuple[str, ...],
) -> None:  # fmt: skip
    for more in (["ingest", "next-day"], ["rollup"]):
        done = run(*more, cwd=two_days)
        assert done.returncode in (0, 1), done.stderr
    made = []
    # What came late for the last hours of the day changed them: the answer of the evening before.
    for lake, to in ((demo_folder, tmp_path / "then"), (two_days, tmp_path / "now")):
        out = [to] if words[0] == "report" else ["--out", to]
        done = run(*words, *out, "--as-of", "2026-09-16T20:00", cwd=lake)
        assert done.returncode in (0, 1), done.stderr
        made.append({path.name: path.read_bytes() for path in sorted(to.iterdir())})
    assert len(made[0]) > 8
    assert list(made[0]) == list(made[1])
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []


def test_a_time_that_is_none_and_an_input_that_is_younger_are_told(
    demo_folder: Path, run: Callable[..., Any]
) -> None:
    for text in ("yesterday", "2026-09-16T20:30"):
        done = run("candidates", "--as-of", text, cwd=demo_folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--as-of {text}" in done.stderr.replace("'", "")
    done = run("candidates", "--as-of", "2026-09-16T20:00", "--metro", "fra", cwd=demo_folder)
    assert "2026-09-16 00:00 to 2026-09-16 20:00" in done.stdout


def test_what_changed_since_the_morning_before_adds_up(
    two_days: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    for more in (["ingest", "next-day"], ["rollup"]):
        done = run(*more, cwd=two_days)
        assert done.returncode in (0, 1), done.stderr
    morning = "{0}T00:00/{0}T07:00"
    done = run(
        "candidates", "--period", morning.format(w.NEXT_TEXT), "--compare",
        morning.format("2026-09-16"), "--metro", "iad", "--metro", "fra", "--out", tmp_path,
        "--format", "json", cwd=two_days,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads((tmp_path / "changes.json").read_text())
    assert {row["status"] for row in rows} >= {"up", "down"}
    parts = ("inputs_bps", "demand_bps", "routing_bps", "overlap_bps", "eligibility_bps")
    for row in rows:
        moved = sum(row[part] or 0.0 for part in parts)
        before = (row["marginal_bps_before"] or 0.0) + moved
        assert before == pytest.approx(row["marginal_bps"] or 0.0, abs=1.0)
