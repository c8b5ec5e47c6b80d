"""Interface counters against flows, by hand-made readings whose slots are known."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from small_network import EDGE

from flowpeer.configuration import load
from flowpeer.errors import InputError
from flowpeer.network import Configuration
from flowpeer.rollup.counters import compare, per_slot, read_counters

Run = Callable[..., "subprocess.CompletedProcess[str]"]
START = datetime(2026, 9, 16, 1, tzinfo=UTC)
TOML = (
    EDGE
    + """\
[[interfaces]]
exporter = "edge1"
index = 11
role = "transit"
asn = 1299
l2_overhead = 22
"""
)


@pytest.fixture
def network(tmp_path: Path) -> Configuration:
    (tmp_path / "flowpeer.toml").write_text(TOML)
    return load(tmp_path / "flowpeer.toml")


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "counters.csv"
    path.write_text("\n".join(("exporter,interface,time,in_octets,out_octets", *lines)) + "\n")
    return path


def test_a_packed_file_is_refused_and_not_unpacked(tmp_path: Path, network: Configuration) -> None:
    path = table(tmp_path, *["edge1,11,2026-09-16T01:00:00Z,1,2"] * 1_000)
    for packing in ("gzip", "zstd"):
        path.write_bytes(pa.compress(path.read_bytes(), packing, asbytes=True))
        with pytest.raises(InputError, match="not text"):
            read_counters(path, network)


def test_times_and_exporters_are_read_in_every_usual_form(
    tmp_path: Path, network: Configuration
) -> None:
    path = table(
        tmp_path, "edge1,11,2026-09-16T01:00:00Z,1,2", "192.0.2.1,11,2026-09-16 01:05:00,3,4",
        f"edge1,11,{int(START.timestamp()) + 600},5,6", "edge1,11,2026-09-16T01:15:00+00:00,7,8",
        "stranger,11,2026-09-16T01:15:00Z,7,8",
    )  # fmt: skip
    read = read_counters(path, network)
    assert read["time"].to_list() == [START + timedelta(minutes=m) for m in (0, 5, 10, 15)]
    assert set(read["exporter"]) == {"edge1"}
    assert read["in_octets"].to_list() == [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("edge1,11,yesterday,1,2", "line 3"),
        ("edge1,eleven,2026-09-16T01:00:00Z,1,2", "line 3"),
        ("edge1,11,2026-09-16T01:00:00Z,1.5,2", "line 3"),
        ("edge1,11,2026-09-16T01:00:00Z,1", "line 3"),
    ],
)
def test_what_is_no_reading_is_refused_with_its_line(
    tmp_path: Path, network: Configuration, line: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_counters(table(tmp_path, "edge1,11,2026-09-16T01:00:00Z,1,2", line), network)


def test_a_rise_is_spread_over_slots_and_restarts_and_gaps_are_left_out(
    tmp_path: Path, network: Configuration
) -> None:
    def at(minutes: float, octets: int) -> str:
        time = START + timedelta(minutes=minutes)
        return f"edge1,11,{time:%Y-%m-%dT%H:%M:%SZ},{octets},0"

    path = table(
        tmp_path,
        at(-1, 1000), at(4, 1500), at(9, 2500),  # 100, then 200 a minute
        at(14, 0), at(19, 500),  # a restart between 9 and 14
        at(24, 1000), at(100, 9000), at(115, 10500),  # no reading for more than an hour
    )  # fmt: skip
    slots = per_slot(read_counters(path, network)).filter(pl.col("direction") == "in")
    got = {(t - START).total_seconds() / 60: round(o) for t, o in
           slots.select("slot", "octets").iter_rows()}  # fmt: skip
    assert got == {0: 4 * 100 + 200, 15: 4 * 100 + 100, 100: 500, 105: 500, 110: 500}


def traffic(bytes_a_slot: int, packets: int) -> pl.LazyFrame:
    return pl.DataFrame(
        [
            {"slot": START + timedelta(minutes=5 * n), "exporter": "edge1", "interface": 11,
             "direction": "in", "scaled": True, "bytes": bytes_a_slot, "packets": packets}
            for n in range(6)
        ],
        schema_overrides={"slot": pl.Datetime("us", "UTC")},
    ).lazy()  # fmt: skip


@pytest.mark.parametrize(("lost", "good"), [(1.0, True), (0.92, True), (0.85, False), (1.2, False)])
def test_the_ratio_counts_the_octets_of_the_frame(
    tmp_path: Path, network: Configuration, lost: float, good: bool
) -> None:
    rise = 1_000_000 + 22 * 1_000
    path = table(
        tmp_path,
        *(f"edge1,11,{(START + timedelta(minutes=m)).isoformat()},{10**15 + m * rise // 5},5"
          for m in range(31)),
    )  # fmt: skip
    flows = traffic(round(1_000_000 * lost), round(1_000 * lost))
    span = (START, START + timedelta(minutes=30))
    found = {r.direction: r for r in compare(read_counters(path, network), flows, network, span)}
    ratio = found["in"].ratio
    assert ratio == pytest.approx(lost, rel=1e-5)
    assert found["in"].good is good
    assert found["in"].slots == 6
    assert found["in"].slots_outside == (0 if good else 6)
    assert found["out"].ratio is None  # neither flows nor octets
    assert found["out"].good


def test_check_prints_the_ratio_and_warns_outside_its_bounds(demo_copy: Path, run: Run) -> None:
    network = load(demo_copy / "flowpeer.toml")
    frame = pl.read_parquet(f"{demo_copy}/lake/traffic/**/*.parquet", hive_partitioning=False)
    port = next(i for i in network.interfaces if i.role == "transit")
    sums = (
        frame.filter((pl.col("exporter") == port.exporter) & (pl.col("interface") == port.index)
                     & (pl.col("direction") == "out"))
        .group_by("slot").agg(pl.col("bytes", "packets").sum()).sort("slot")
    )  # fmt: skip
    octets = 0
    lines = []
    for slot, bytes_, packets in sums.iter_rows():
        lines.append(f"{port.exporter},{port.index},{slot:%Y-%m-%dT%H:%M:%SZ},0,{octets}")
        octets += 2 * (bytes_ + port.l2_overhead * packets)  # flows see half of it
    table(demo_copy, *lines)
    config = demo_copy / "flowpeer.toml"
    config.write_text(
        config.read_text().replace("[sources]", '[sources]\ncounters = "counters.csv"')
    )
    said = run("check", "--json", cwd=demo_copy)
    assert said.returncode == 1, said.stderr
    mine = [f for f in json.loads(said.stdout) if "of the counters" in f["text"]]
    assert [f["level"] for f in mine] == ["warning"]
    assert "out: flows are 0.500 of the counters" in mine[0]["text"]
