"""A first capture begins and ends anywhere in an hour: the answers must be right all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow as pa
import pytest
from small_network import EDGE

from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import COVERAGE, FLOWS

Run = Callable[..., CompletedProcess[str]]
CONFIG = (
    EDGE
    + """\
sampling = 1000
[[exporters]]
id = "edge2"
metro = "ams"
addresses = ["192.0.2.2"]
sampling = 1000
[[interfaces]]
exporter = "edge1"
index = 11
role = "transit"
asn = 3356
capacity = "10G"
"""
)
SLOT = 300_000_000
BPS = 1_000_000_000


def address(text: str) -> bytes:
    return b"\0" * 10 + b"\xff\xff" + bytes(int(part) for part in text.split("."))


def constant(lake: Lake, first: datetime, slots: int, heard: dict[str, range]) -> None:
    """A constant gigabit out of edge1, in slots from `first`; `heard`: address → slot numbers."""
    sink = FlowSink(lake, "unit")
    start = int(first.timestamp()) * 1_000_000
    for n in range(slots):
        at = start + n * SLOT
        row = {c.name: None for c in FLOWS} | {
            "received_at": at + SLOT - 1, "start_time": at, "end_time": at + SLOT,
            "exporter_ip": "192.0.2.1", "observation_domain": 0, "format": "ipfix",
            "input_if": 20, "output_if": 11, "src_addr": address("198.18.0.1"),
            "dst_addr": address("20.0.0.1"), "bytes": BPS * 300 // 8 // 1000, "packets": 25_000,
            "time_corrected": False,
        }  # fmt: skip
        hour = datetime.fromtimestamp(at // 1_000_000 // 3600 * 3600, UTC)
        sink.write(hour, "flows", pa.Table.from_pylist([row], arrow_schema(FLOWS)))
        for ip, when in heard.items():
            if n in when:
                told = {"slot": at, "exporter_ip": ip, "datagrams": 9, "lost": 0, "seen": True}
                told = {c.name: told.get(c.name, None if c.nullable else 9) for c in COVERAGE}
                sink.write(hour, "coverage", pa.Table.from_pylist([told], arrow_schema(COVERAGE)))
    sink.publish()


@pytest.fixture
def project(tmp_path: Path, run: Run) -> Path:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    (tmp_path / "rib-20260915.txt").write_text("20.0.0.0/8\t13335\n")
    assert run("rib", "load", "rib-20260915.txt", cwd=tmp_path).returncode == 0
    return tmp_path


def test_no_answer_fails_before_anything_is_configured(tmp_path: Path, run: Run) -> None:
    (tmp_path / "flowpeer.toml").write_text(
        '[network]\nasn = 64500\nname = "x"\nprefixes = ["198.18.0.0/15"]\n[lake]\npath = "lake"\n'
    )
    (tmp_path / "rib-20260915.txt").write_text("20.0.0.0/8\t13335\n")
    assert run("rib", "load", "rib-20260915.txt", cwd=tmp_path).returncode == 0
    constant(Lake(tmp_path / "lake"), datetime(2026, 9, 16, 10, tzinfo=UTC), 12, {})
    assert run("rollup", cwd=tmp_path).returncode == 0
    assert run("verify", cwd=tmp_path).returncode == 0
    for words in (
        ("candidates",), ("candidates", "--list", "organisations"), ("exchanges",), ("leaks",),
        ("explain", "AS13335"), ("imbalance",), ("exits",), ("capacity",), ("asks", "draft"),
    ):  # fmt: skip
        done = run(*words, cwd=tmp_path)
        assert (words, done.returncode) == (words, 1), done.stderr  # an interface nobody knows
        assert "interface 20 of 192.0.2.1: not in the configuration" in done.stderr
    for words in (("drill", "--all"), ("report", "--period", "2026-09-16T10:00/2026-09-16T11:00")):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "no interface with the role transit" in done.stderr
        assert "try: give interfaces their roles under [[interfaces]]" in done.stderr


@pytest.mark.parametrize(
    ("begin", "slots"), [("10:35", 20), ("10:05", 10), ("10:00", 24), ("10:55", 1), ("23:40", 9)]
)
def test_a_constant_gigabit_is_a_gigabit_whenever_it_begins(
    project: Path, run: Run, begin: str, slots: int
) -> None:
    first = datetime.fromisoformat(f"2026-09-16T{begin}").replace(tzinfo=UTC)
    constant(Lake(project / "lake"), first, slots, {"192.0.2.1": range(slots)})
    assert run("rollup", cwd=project).returncode == 0
    (row,) = json.loads(run("candidates", "--json", cwd=project).stdout)
    assert row["asn"] == 13335
    assert row["marginal_bps"] == pytest.approx(BPS)
    assert row["p95_bps"] == pytest.approx(BPS)
    assert row["out_bytes"] == BPS // 8 * 300 * slots
    balance = json.loads(run("imbalance", "--direction", "out", "--json", cwd=project).stdout)
    assert balance[0]["avg_bps"] == pytest.approx(BPS)
    checked = run("check", cwd=project)
    assert "against" not in checked.stdout


def test_a_router_that_joins_at_noon_does_not_unmake_the_morning(project: Path, run: Run) -> None:
    first = datetime(2026, 9, 16, tzinfo=UTC)
    constant(
        Lake(project / "lake"), first, 288, {"192.0.2.1": range(288), "192.0.2.2": range(144, 288)}
    )
    assert run("rollup", cwd=project).returncode == 0
    (row,) = json.loads(run("candidates", "--json", cwd=project).stdout)
    assert row["marginal_bps"] == row["p95_bps"] == pytest.approx(BPS)
    balance = json.loads(run("imbalance", "--direction", "out", "--json", cwd=project).stdout)
    assert balance[0]["avg_bps"] == balance[0]["peak_bps"] == pytest.approx(BPS)


def test_bytes_of_slots_not_covered_do_not_raise_the_average(project: Path, run: Run) -> None:
    """Twelve of 288 slots unheard: their bytes came late, and the average stays what it is."""
    first = datetime(2026, 9, 16, tzinfo=UTC)
    constant(Lake(project / "lake"), first, 288, {"192.0.2.1": range(288)} | {
        "192.0.2.1": [n for n in range(288) if not 100 <= n < 112],  # type: ignore[dict-item]
    })  # fmt: skip
    assert run("rollup", cwd=project).returncode == 0
    (row,) = json.loads(run("candidates", "--json", cwd=project).stdout)
    assert row["marginal_bps"] == pytest.approx(BPS)
    for one in json.loads(run("imbalance", "--json", cwd=project).stdout):
        assert one["avg_bps"] <= one["peak_bps"]
