"""A link that changes its role, neighbour or capacity keeps its history (METHODS M1, M15)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
CHANGED = datetime(2026, 9, 16, 12, tzinfo=UTC)
AS_TRANSIT = """\
exporter = "edge1.chi"
index = 11
name = "et-0/0/11"
role = "transit"
asn = 500101
capacity = "10G"
contract = "quartzheron-na"
"""
AS_PEER = """
[[interfaces]]
exporter = "edge1.chi"
index = 11
role = "peer"
asn = 500711
capacity = "40G"
from = 2026-09-16T12:00:00Z
"""


def _sums(folder: Path) -> pl.DataFrame:
    traffic = pl.scan_parquet(folder / "lake" / "traffic" / "**" / "*.parquet")
    return (
        traffic.filter(exporter="edge1.chi", interface=11)
        .group_by("slot", "role", "provider_asn", "direction")
        .agg(pl.col("bytes").sum())
        .collect()
    )


def test_a_change_of_role_holds_from_its_time_on(demo_copy: Path, run: Run) -> None:
    before = _sums(demo_copy)
    assert before["role"].unique().to_list() == ["transit"]
    path = demo_copy / "flowpeer.toml"
    text = path.read_text()
    assert text.count(AS_TRANSIT) == 1
    path.write_text(
        text.replace(AS_TRANSIT, AS_TRANSIT + "until = 2026-09-16T12:00:00Z\n" + AS_PEER)
    )
    done = run("rollup", "--json", cwd=demo_copy)
    assert done.returncode == 0, done.stderr
    named = json.loads(run("sql", "--json", "SELECT slot, role, provider_asn, direction, "
                           "sum(bytes)::BIGINT AS bytes FROM traffic WHERE exporter = 'edge1.chi' "
                           "AND interface = 11 GROUP BY ALL", cwd=demo_copy).stdout)  # fmt: skip
    found = {
        (datetime.fromisoformat(r["slot"]), r["direction"]): (r["role"], r["provider_asn"],
                                                              r["bytes"])
        for r in named
    }  # fmt: skip
    assert len(found) == len(named)
    expected = {
        (slot, direction): (*(("transit", 500101) if slot < CHANGED else ("peer", 500711)), octets)
        for slot, _, _, direction, octets in before.iter_rows()
    }
    assert found == expected
    again = run("rollup", cwd=demo_copy)
    assert "up to date" in again.stdout + again.stderr
    balance = run("imbalance", "--metro", "chi", "--direction", "out", "--json", cwd=demo_copy)
    transit = sum(r[4] for r in before.iter_rows() if r[3] == "out" and r[0] < CHANGED)
    (row,) = [r for r in json.loads(balance.stdout) if r["provider_asn"] == 500101]
    assert row["avg_bps"] == pytest.approx(transit * 8 / 86_400)
    # Of its contract's commit and of the other one's, half of the time a part, the rest none.
    assert 0 < row["target_share"] < 0.3
    run("drill", "--remove", "link:edge1.chi:12", "--slots", "--out", demo_copy / "out",
        "--format", "parquet", cwd=demo_copy)  # fmt: skip
    notes = json.loads((demo_copy / "out" / "drill.meta.json").read_text())["notes"]
    words = "edge1.chi:11: another role or neighbour since 2026-09-16 12:00: a link of its own"
    assert words in notes
    slots = pl.read_parquet(demo_copy / "out" / "drill_slots.parquet").filter(
        pl.col("exporter") == "edge1.chi", pl.col("interface") == 11
    )
    late = slots.filter(pl.col("slot") >= CHANGED)
    assert late["bytes"].to_list() == late["before_bytes"].to_list(), "it takes nothing over"
    early = slots.filter(pl.col("slot") < CHANGED)
    assert early["bytes"].sum() > early["before_bytes"].sum()


def test_another_capacity_is_no_other_link(demo_copy: Path, run: Run) -> None:
    """Half of the day 10G, half 20G: one link, of which the commit goes by its mean."""
    path = demo_copy / "flowpeer.toml"
    text, wider = path.read_text(), AS_TRANSIT.replace('"10G"', '"20G"')
    before = json.loads(
        run("imbalance", "--metro", "chi", "--direction", "out", "--json", cwd=demo_copy).stdout
    )
    half = f"until = 2026-09-16T12:00:00Z\n\n[[interfaces]]\n{wider}"
    path.write_text(text.replace(AS_TRANSIT, AS_TRANSIT + half + "from = 2026-09-16T12:00:00Z\n"))
    done = run("imbalance", "--metro", "chi", "--direction", "out", "--out", demo_copy / "out",
               "--format", "json", cwd=demo_copy)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads((demo_copy / "out" / "imbalance.json").read_text())
    links = json.loads((demo_copy / "out" / "links.json").read_text())
    assert [r["provider_asn"] for r in rows] == [r["provider_asn"] for r in before]
    assert len([r for r in links if r["interface"] == 11]) == 1
    was = {r["provider_asn"]: r for r in before}
    for row in rows:
        assert row["p95_bps"] == was[row["provider_asn"]]["p95_bps"]
    sizes = {"nyc": 100, "iad": 10, "chi": 10, "dfw": 10, "lax": 10}  # of quartzheron-na
    other = (
        was[500202]["target_share"] / was[500101]["target_share"] * 12 * 10 / sum(sizes.values())
    )
    mine = 12 * (10 / 140 + 20 / 150) / 2
    (row,) = [r for r in rows if r["provider_asn"] == 500101]
    assert row["target_share"] == pytest.approx(mine / (mine + other))
    assert row["capacity_bps"] == 20_000_000_000


def test_hours_that_a_change_does_not_touch_stay_as_they_are(demo_copy: Path, run: Run) -> None:
    path = demo_copy / "flowpeer.toml"
    text = path.read_text()
    path.write_text(
        text.replace(AS_TRANSIT, AS_TRANSIT + "until = 2026-09-16T12:00:00Z\n" + AS_PEER)
    )
    plan = json.loads(run("rollup", "--explain", "--json", cwd=demo_copy).stdout)
    changed = [row for row in plan if row["changed"] != "up to date"]
    assert len(changed) == 12, plan[:2]
