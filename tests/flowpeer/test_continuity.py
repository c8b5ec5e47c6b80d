"""Captures that are ingested one by one know what the ones before them taught."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest

import flowpeer
from flowpeer.lake.store import Lake

Run = Callable[..., CompletedProcess[str]]
START = 1_751_328_000  # 2025-07-01T00:00:00Z
HOUR = 3_600
WIDE = ((8, 4), (12, 4), (1, 4), (2, 4), (10, 4), (14, 4))
OTHER = ((12, 4), (8, 4), (14, 4), (10, 4), (2, 4), (1, 4))
CONFIG = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
"""


def template(fields: tuple[tuple[int, int], ...] = WIDE) -> bytes:
    body = struct.pack(">HH", 256, len(fields)) + b"".join(struct.pack(">HH", *f) for f in fields)
    return struct.pack(">HH", 0, 4 + len(body)) + body


def rate(n: int) -> bytes:
    options = struct.pack(">HHHHHHH", 257, 4, 4, 1, 4, 34, 4)
    data = struct.pack(">II", 0, n)
    return (
        struct.pack(">HH", 1, 4 + len(options)) + options
        + struct.pack(">HH", 257, 4 + len(data)) + data
    )  # fmt: skip


def data(octets: int, count: int = 1) -> bytes:
    body = struct.pack(">4s4sIIII", bytes([198, 18, 0, 1]), bytes([20, 0, 0, 1]), octets, 0, 0, 1)
    return struct.pack(">HH", 256, 4 + len(body) * count) + body * count


def capture(path: Path, at_s: float, *messages: bytes, source: int = 1, sequence: int = 0) -> Path:
    """A pcap of NetFlow v9 from 192.0.2.`source`, a second between datagrams."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
    for i, sets in enumerate(messages):
        now = int(START + at_s + i)
        payload = struct.pack(">HHIIII", 9, 1, 1_000, now, sequence + i, 0) + sets
        packet = struct.pack(
            ">BBHHHBBH4s4sHHHH", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0,
            bytes([192, 0, 2, source]), bytes([198, 51, 100, 9]), 40_000, 2055, 8 + len(payload), 0,
        ) + payload  # fmt: skip
        out += struct.pack("<IIII", now, 0, len(packet), len(packet)) + packet
    path.write_bytes(out)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    return tmp_path


def tables(folder: Path) -> dict[str, str]:
    """Digest of every published file."""
    lake = folder / "lake"
    return {
        str(p.relative_to(lake)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(lake.glob("*/date=*/hour=*/*.parquet"))
    }


def rows(run: Run, folder: Path) -> list[dict[str, Any]]:
    query = "SELECT bytes, sampling_interval AS n FROM flows ORDER BY received_at, bytes"
    done = run("sql", query, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_rotated_captures_in_separate_runs_equal_one_run(project: Path, run: Run) -> None:
    together = project / "together"
    together.mkdir()
    (together / "flowpeer.toml").write_text(CONFIG)
    files = [
        capture(project / "a-00.pcap", 0, template(), rate(100), data(10)),
        capture(project / "a-01.pcap", HOUR, data(11), data(12), sequence=3),
        capture(project / "b-00.pcap", 30, data(20), template(), source=2),
        capture(project / "b-01.pcap", HOUR + 30, data(21), rate(50), data(22), source=2),
        capture(project / "a-02.pcap", 2 * HOUR, data(13), sequence=7),
    ]
    for path in files:
        done = run("ingest", path, cwd=project)
        assert (done.returncode, done.stderr.count("template")) == (0, 0), done.stderr
    assert run("ingest", *files, cwd=together).returncode == 0
    assert tables(project) == tables(together)
    assert rows(run, project) == [
        {"bytes": b, "n": n}
        for b, n in ((10, 100), (20, None), (11, 100), (12, 100), (21, None), (22, 50), (13, 100))
    ]
    assert run("verify", cwd=project).returncode == 0
    before = tables(project), (project / "lake/decoder").stat().st_mtime_ns
    assert run("ingest", *files, cwd=project).returncode == 0
    assert (tables(project), (project / "lake/decoder").stat().st_mtime_ns) == before
    lost = json.loads(
        run("sql", "SELECT sum(lost)::INT AS n FROM coverage", "--json", cwd=project).stdout
    )
    assert lost == [{"n": 2}], "two datagrams are missing between a-01 and a-02"


def test_an_older_capture_does_not_use_what_was_said_later(project: Path, run: Run) -> None:
    first = capture(project / "first.pcap", HOUR, template(), data(5))
    later = capture(project / "later.pcap", 2 * HOUR, template(OTHER), data(7))
    older = capture(project / "older.pcap", 0, data(5), data(6))
    newest = capture(project / "newest.pcap", 3 * HOUR, data(8))
    assert run("ingest", first, later, cwd=project).returncode == 0
    done = run("ingest", older, cwd=project)
    assert done.returncode == 1
    assert "2 of 192.0.2.1 0 256" in done.stderr
    assert run("ingest", newest, cwd=project).returncode == 0
    assert [r["bytes"] for r in rows(run, project)] == [5, 1, 1]  # OTHER has bytes last
    assert run("verify", cwd=project).returncode == 0


@pytest.mark.parametrize("order", list(permutations(range(4)))[2::5])
def test_pieces_of_a_capture_in_any_order_are_the_capture(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    def ingested(name: str, *paths: Path) -> list[dict[str, Any]]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "flowpeer.toml").write_text(CONFIG)
        network = flowpeer.open(folder / "flowpeer.toml")
        for path in paths:
            network.ingest(path)
        assert network.verify().identities["holds"].all()
        lake = Lake(folder / "lake")
        names = sorted(lake.root.glob("flows/*/*/*.parquet"))
        frames = [pl.read_parquet(n, hive_partitioning=False) for n in names]
        kept = pl.concat(frames).drop("sampling_interval")  # the roll-up asks `sampling`
        return kept.sort("received_at", "bytes").to_dicts()

    sets = [data(40), data(41), template(), data(42), data(43), rate(7), data(44), data(45)]
    whole = capture(tmp_path / "whole.pcap", 0, *sets)
    pieces = [
        capture(tmp_path / f"{n}.pcap", 2 * n, *sets[2 * n : 2 * n + 2], sequence=2 * n)
        for n in range(4)
    ]
    expected = ingested("whole", whole)
    assert [row["bytes"] for row in expected] == [40, 41, 42, 43, 44, 45]
    assert ingested("pieces", *(pieces[n] for n in (*order, *order))) == expected


def test_records_wait_for_a_template_of_the_next_run_and_are_told_once(
    project: Path, run: Run
) -> None:
    first = capture(project / "1.pcap", 0, data(5))
    second = capture(project / "2.pcap", 60, data(6))
    third = capture(project / "3.pcap", 120, template())
    assert "1 of 192.0.2.1 0 256" in run("ingest", first, cwd=project).stderr
    done = run("ingest", second, cwd=project)
    assert (done.returncode, "1 of 192.0.2.1 0 256" in done.stderr) == (1, True)
    assert run("ingest", third, cwd=project).returncode == 0
    assert [r["bytes"] for r in rows(run, project)] == [5, 6]
    assert run("verify", cwd=project).returncode == 0


def test_after_a_long_pause_templates_are_learned_anew(project: Path, run: Run) -> None:
    first = capture(project / "1.pcap", 0, template(), data(5))
    assert run("ingest", first, cwd=project).returncode == 0
    late = capture(project / "2.pcap", 49 * HOUR, data(6))
    assert run("ingest", late, cwd=project).returncode == 1
    assert [r["bytes"] for r in rows(run, project)] == [5]


def test_another_exporter_or_domain_is_not_explained(project: Path, run: Run) -> None:
    assert run("ingest", capture(project / "1.pcap", 0, template()), cwd=project).returncode == 0
    other = capture(project / "2.pcap", 60, data(6), source=2)
    done = run("ingest", other, cwd=project)
    assert (done.returncode, "1 of 192.0.2.2 0 256" in done.stderr) == (1, True)


def test_a_capture_that_was_interrupted_is_done_again_alike(
    project: Path, run: Run, forget_unit: Callable[[Path, str], None]
) -> None:
    first = capture(project / "1.pcap", 0, template(), data(5))
    second = capture(project / "2.pcap", HOUR, template(OTHER), data(6), sequence=2)
    assert run("ingest", first, cwd=project).returncode == 0
    lake = Lake(project / "lake")
    (before,) = lake.record().units()
    assert run("ingest", second, cwd=project).returncode == 0
    done, states = tables(project), sorted((project / "lake/decoder").iterdir())
    # As if killed before the last step: its files and what it taught are there, but no record.
    (name,) = {unit.name for unit in lake.record().units()} - {before.name}
    forget_unit(lake.root, name)
    assert run("ingest", second, cwd=project).returncode == 0
    assert tables(project) == done
    assert sorted((project / "lake/decoder").iterdir()) == states
    assert run("verify", cwd=project).returncode == 0


def test_a_file_that_is_refused_teaches_nothing(project: Path, run: Run) -> None:
    first = capture(project / "1.pcap", 0, template(), data(5))
    bad = capture(project / "2.pcap", 60, template(OTHER), *[data(6)] * 30_000)
    packed = project / "2.pcap.gz"
    packed.write_bytes(gzip.compress(bad.read_bytes(), 1)[:-2_000])
    third = capture(project / "3.pcap", 120, data(9))
    done = run("ingest", first, packed, third, cwd=project)
    assert (done.returncode, "cut short" in done.stderr) == (1, True)
    assert [r["bytes"] for r in rows(run, project)] == [5, 9]


@pytest.mark.parametrize("content", [b"", b"flowpeer state 1\n\0\0\0\0x", b"\xff" * 99])
def test_a_damaged_memory_costs_only_itself(project: Path, run: Run, content: bytes) -> None:
    first = capture(project / "1.pcap", 0, template(), data(5))
    assert run("ingest", first, cwd=project).returncode == 0
    (state,) = (project / "lake/decoder").iterdir()
    state.write_bytes(content)
    second = capture(project / "2.pcap", HOUR, template(), data(6))
    done = run("ingest", second, cwd=project)
    assert (done.returncode, "templates are learned again" in done.stderr) == (1, True)
    third = capture(project / "3.pcap", 2 * HOUR, data(7))
    assert run("ingest", third, cwd=project).returncode == 0
    assert [r["bytes"] for r in rows(run, project)] == [5, 6, 7]
    assert run("verify", cwd=project).returncode == 0


def test_two_processes_at_once_do_each_file_once(project: Path, run: Run) -> None:
    files = [
        capture(project / f"{i}.pcap", i * HOUR, *([template()] if i == 0 else []), data(100 + i))
        for i in range(6)
    ]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "flowpeer", "ingest", *files],
            cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]  # fmt: skip
    codes = sorted(process.wait(timeout=120) for process in both)
    assert codes in ([0, 0], [0, 75])
    assert [r["bytes"] for r in rows(run, project)] == [100 + i for i in range(6)]
    assert run("verify", cwd=project).returncode == 0


def test_standard_input_is_a_capture_like_any_other(project: Path, run: Run) -> None:
    first = capture(project / "1.pcap", 0, template(), data(5))
    for said in ("1 flow records added", "0 flow records added"):
        done = subprocess.run(
            [sys.executable, "-m", "flowpeer", "ingest", "-"],
            cwd=project, input=gzip.compress(first.read_bytes()), capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode, said in done.stdout.decode()) == (0, True), done.stderr
    assert "0 flow records added" in run("ingest", first, cwd=project).stdout
