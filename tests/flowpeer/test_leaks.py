"""`flowpeer leaks` on the sample network, whose README has the right answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

import flowpeer

DRIFTLARK, PLANTED = 500655, 1_395_221_908_000


def test_the_planted_leak_is_found_to_the_byte(demo_folder: Path, run: Callable[..., Any]) -> None:
    done = run("leaks", "--metro", "lon", "--json", cwd=demo_folder)
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)
    assert sum(r["out_bytes"] for r in rows if r["asn"] == DRIFTLARK) == PLANTED
    # The table of its session is loaded, and lacks the route.
    (row,) = [r for r in rows if r["asn"] == DRIFTLARK]
    assert row["cause"] == "more specific by transit only"
    assert row["in_row_0"]
    answer = flowpeer.open(demo_folder / "flowpeer.toml").leaks(metro="lon")
    assert answer.rows["out_bytes"].to_list() == [r["out_bytes"] for r in rows]
    routes = answer.side_tables["leak_prefixes"].rows
    (leak,) = routes.filter(pl.col("asn") == DRIFTLARK).to_dicts()
    assert (leak["prefix"], leak["covering_prefix"]) == ("26.34.128.0/17", "26.34.0.0/16")
    assert routes["out_bytes"].sum() == answer.rows["out_bytes"].sum()


def test_a_session_that_nobody_configured_is_one_all_the_same(
    demo_copy: Path, run: Callable[..., Any]
) -> None:
    config = demo_copy / "flowpeer.toml"
    blocks = config.read_text().split("\n[[sessions]]\n")
    kept = [b for b in blocks if not (f"asn = {DRIFTLARK} " in b and 'metro = "lon"' in b)]
    assert len(kept) == len(blocks) - 1
    config.write_text("\n[[sessions]]\n".join(kept))
    checked = json.loads(run("check", "--json", cwd=demo_copy).stdout)
    (found,) = [f for f in checked if "count as sessions" in f["text"]]
    assert (found["subject"], found["level"]) == ("metro lon", "note")
    assert found["text"].endswith(f": AS{DRIFTLARK}")
    net = flowpeer.open(config)
    asked = net.candidates(metro="lon").rows
    assert asked.filter(asn=DRIFTLARK)["rank"].to_list() == [0]
    rows = net.leaks(metro="lon").rows
    assert rows.filter(asn=DRIFTLARK)["out_bytes"].sum() == PLANTED
