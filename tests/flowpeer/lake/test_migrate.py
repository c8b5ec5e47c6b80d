"""Lakes of format 2, in every state they may be in, read as they are and brought up to date."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from warm import begin

from flowpeer.configuration import load
from flowpeer.lake import migrate
from flowpeer.lake.format2 import Ledger2
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.query import QuerySession
from flowpeer.rollup.planner import RollupPlanner
from flowpeer_reports.render.json import json_rows

HERE = Path(__file__).parent / "format2"
ANSWERS = json.loads((HERE / "answers.json").read_text())
STATES = ("plain", "compacted", "folded", "half_merged")
Run = Callable[..., subprocess.CompletedProcess[str]]


def unpack(name: str, to: Path) -> Path:
    with tarfile.open(HERE / f"{name}.tar.xz") as packed:
        packed.extractall(to, filter="data")
    return to / name


@pytest.fixture(params=STATES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return unpack(request.param, tmp_path)


def files(folder: Path, *, but: tuple[str, ...] = ("locks", "staging", "cache")) -> dict[str, str]:
    lake = folder / "lake"
    return {
        p.relative_to(lake).as_posix(): sha256_of(p)
        for p in sorted(lake.rglob("*"))
        if p.is_file() and p.relative_to(lake).parts[0] not in but
    }


def said(folder: Path) -> list[Any]:
    """Rows of the statements, in one process that reads the lake."""
    with QuerySession(load(folder / "flowpeer.toml").lake_path) as session:
        tables = [pl.from_arrow(session.query(text)) for text in ANSWERS["queries"]["sql"]]
    return [json.loads(json_rows(pl.DataFrame(table))) for table in tables]


def expected(folder: Path) -> dict[str, Any]:
    return dict(ANSWERS[folder.name if folder.name != "half_merged" else "plain"])


def test_it_is_read_as_it_is_and_nothing_is_changed(old: Path, run: Run) -> None:
    before = files(old)
    assert said(old) == expected(old)["sql"]
    verified = run("verify", "--json", cwd=old)
    if old.name != "half_merged":
        assert json.loads(verified.stdout)["faults"] == []
    assert run("check", cwd=old).returncode in (0, 1)
    assert files(old) == before


@pytest.mark.parametrize("words", [
    ("rollup",), ("compact",), ("prune", "--keep", "1d", "--yes"), ("ingest", "sixty.pcap"),
    ("rib", "load", "routes4-2026-09-15.txt", "--taken-at", "2026-01-01"),
])  # fmt: skip
def test_what_would_change_it_is_refused(tmp_path: Path, run: Run, words: tuple[str, ...]) -> None:
    folder = unpack("plain", tmp_path)
    before = files(folder)
    done = run(*words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "a lake of format 2: it can be read, not changed" in done.stderr
    assert "flowpeer migrate" in done.stderr
    assert files(folder) == before


def test_migrated_it_says_the_same(old: Path, run: Run) -> None:
    before = files(old)
    assert run("migrate", cwd=old).returncode == 0
    assert files(old) == before, "without --yes nothing is done"
    done = run("migrate", "--yes", "--json", cwd=old)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["missing"] == []
    assert json.loads((old / "lake/format.json").read_text())["format"] == 3
    assert said(old) == expected(old)["sql"]
    verified = run("verify", "--json", cwd=old)
    assert json.loads(verified.stdout)["faults"] == []
    assert run("migrate", "--yes", cwd=old).returncode == 2, "once is enough"
    assert run("ingest", "sixty.pcap", cwd=old).stdout.startswith("0 flow records added")
    rolled = run("rollup", cwd=old)
    assert rolled.returncode == 0, rolled.stderr
    assert said(old) == expected(old)["sql"], "rolled up again, the figures are what they were"
    assert run("compact", cwd=old).returncode == 0
    assert said(old) == expected(old)["sql"]
    verified = run("verify", cwd=old)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_it_can_be_undone_until_it_is_finished(old: Path, run: Run) -> None:
    was = files(old, but=("locks", "staging", "cache", "exchange"))
    assert run("migrate", "--yes", cwd=old).returncode == 0
    for words in (("rollup",), ("compact",)):
        assert run(*words, cwd=old).returncode == 0
    undone = run("migrate", "--undo", cwd=old)
    assert undone.returncode == 0, undone.stderr
    if old.name != "half_merged":  # there the merge was completed
        assert files(old, but=("locks", "staging", "cache", "exchange")) == was
    assert said(old) == expected(old)["sql"]
    assert run("migrate", "--undo", cwd=old).returncode == 2
    assert run("migrate", "--yes", cwd=old).returncode == 0
    assert run("migrate", "--finish", cwd=old).returncode == 0
    assert not (old / "lake/ledger").exists()
    assert not (old / "lake/before").exists()
    assert run("migrate", "--undo", cwd=old).returncode == 2
    assert said(old) == expected(old)["sql"]


def test_what_format_2_does_not_know_is_unknown_not_zero(tmp_path: Path, run: Run) -> None:
    folder = unpack("plain", tmp_path)
    run("migrate", "--yes", cwd=folder)
    text = "SELECT count(first_sequence) AS n, count(session) AS s, count(*) AS rows FROM coverage"
    (row,) = json.loads(run("sql", text, "--format", "json", cwd=folder).stdout)
    assert (row["n"], row["s"]) == (0, 0)
    assert row["rows"] > 0
    text = "SELECT count(export_time) + count(datagram_sequence) AS n FROM flows"
    assert json.loads(run("sql", text, "--format", "json", cwd=folder).stdout) == [{"n": 0}]
    lake = Lake(folder / "lake")
    assert not any(unit.sequences for unit in lake.record().units())
    assert not any(h.octets for h in lake.record().headers("flows").values())


def test_a_damaged_file_is_not_migrated(tmp_path: Path, run: Run) -> None:
    folder = unpack("plain", tmp_path)
    path = next((folder / "lake/flows").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    done = run("migrate", "--yes", cwd=folder)
    assert done.returncode == 3
    assert path.name in done.stderr
    assert json.loads((folder / "lake/format.json").read_text())["format"] == 2


def test_where_links_fail_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unpack("plain", tmp_path)
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    migrate.migrate(Lake(folder / "lake"))
    kept = folder / "lake/before/flows"
    assert {sha256_of(p) for p in kept.rglob("*.parquet")} == {
        sha256_of(p) for p in (folder / "lake/flows").rglob("*.parquet")
    }


@pytest.mark.parametrize("state", ["plain", "half_merged"])
def test_killed_anywhere_it_is_one_or_the_other_and_goes_on(
    state: str, tmp_path: Path, run: Run
) -> None:
    whole = unpack(state, tmp_path / "whole")
    log = tmp_path / "log"
    assert begin(whole, "migrate", "--yes", FLOWPEER_FAULTS_LOG=str(log)).finish()[0] == 0
    want = files(whole, but=("locks", "staging", "cache", "before"))
    counts = Counter(line.split()[1] for line in log.read_text().splitlines())
    every = [(name, n) for name, count in sorted(counts.items()) for n in range(1, count + 1)]
    for name, n in random.Random(len(every)).sample(every, 4):
        folder = unpack(state, tmp_path / f"{name}{n}")
        status, _, text = begin(
            folder, "migrate", "--yes", FLOWPEER_FAULTS=f"kill:{name}:{n}"
        ).finish()
        assert status == -signal.SIGKILL, (name, n, text)
        assert said(folder) == expected(folder)["sql"], (name, n)
        if json.loads((folder / "lake/format.json").read_text())["format"] == 2:
            status, _, text = begin(folder, "migrate", "--yes").finish()
            assert status == 0, (name, n, text)
        assert files(folder, but=("locks", "staging", "cache", "before")) == want, (name, n)
        shutil.rmtree(folder)


def test_the_spool_and_what_the_decoder_knew_go_on(tmp_path: Path, run: Run) -> None:
    """A collector was killed with a published segment and one open; its templates are known."""
    folder = unpack("collected", tmp_path)
    before = {p.name for p in (folder / "lake/spool").iterdir()}
    assert run("migrate", "--yes", cwd=folder).returncode == 0
    assert {p.name for p in (folder / "lake/spool").iterdir()} == before
    settings = folder / "flowpeer.toml"
    process = subprocess.Popen(
        [sys.executable, "-m", "flowpeer", "--json", "collect", "--listen", "127.0.0.1:0"],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    lake = Lake(load(settings).lake_path)
    for _ in range(600):
        if sum(unit.datagrams for unit in lake.record().units()) == 30:
            break
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text
    text = "SELECT count(*) AS n, count(DISTINCT bytes) AS b FROM flows"
    assert json.loads(run("sql", text, "--format", "json", cwd=folder).stdout) == [
        {"n": 30, "b": 30}
    ]
    verified = run("verify", cwd=folder)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_newer_flowpeers_record_and_the_older_ones_agree(old: Path) -> None:
    """What the plan reads of the ledger is what it reads of the manifests made from it."""
    lake = Lake(old / "lake")
    network = load(old / "flowpeer.toml")
    before = RollupPlanner(lake, network).plan()
    migrate.migrate(lake)
    again = RollupPlanner(Lake(old / "lake"), network).plan()
    assert [(h.start, h.received, h.parts) for h in again] == [
        (h.start, h.received, h.parts) for h in before
    ]
    if old.name == "plain":
        assert [*Ledger2(lake.root).hours("flows")] == lake.record().hours("flows")
