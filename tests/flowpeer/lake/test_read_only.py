"""A lake that may only be read answers all the same, and stays as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowpeer.configuration import load
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.rollup.planner import RollupPlanner

WORLDS = Path(__file__).parents[1] / "rollup"
COMMANDS = """
import json, os, sys
from flowpeer.cli.app import run
assert not os.access("lake", os.W_OK)
for words in json.loads(sys.argv[1]):
    print(json.dumps(run(words)), file=sys.stderr)
"""
READING = [
    ["verify"], ["check"], ["sql", "SELECT count(*) AS n FROM flows"], ["candidates"],
    ["imbalance"], ["lookup", "20.1.0.1"], ["rib", "list"], ["rollup", "--explain"],
]  # fmt: skip


def plain_user() -> list[str]:
    """What runs a command as somebody to whom the permissions of files apply."""
    if os.geteuid():
        return []
    if (tool := shutil.which("setpriv")) is None:
        pytest.skip("root, and no setpriv to give up its powers over files")
    return [tool, "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]


def test_a_plain_user_reads_a_read_only_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(WORLDS))
    import worlds

    worlds.prepare(tmp_path, worlds.make_world(3), 2)
    lake = Lake(load(tmp_path / "flowpeer.toml").lake_path)
    rollup = RollupPlanner(lake, load(tmp_path / "flowpeer.toml"))
    for hour in rollup.plan():
        rollup.roll_up(hour)
    lake.close()
    before = {p: sha256_of(p) for p in sorted(lake.root.rglob("*")) if p.is_file()}
    everything = [lake.root, *lake.root.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = subprocess.run(
            [*plain_user(), sys.executable, "-c", COMMANDS, json.dumps(READING)], cwd=tmp_path,
            text=True, capture_output=True, check=False,
        )  # fmt: skip
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)
    statuses = [int(line) for line in done.stderr.splitlines() if line.isdecimal()]
    assert len(statuses) == len(READING), done.stderr
    by_command = {words[0]: status for words, status in zip(READING, statuses, strict=True)}
    assert set(statuses) <= {0, 1}, (by_command, done.stderr)
    assert by_command["verify"] == by_command["sql"] == by_command["rollup"] == 0, done.stderr
    assert {p: sha256_of(p) for p in sorted(lake.root.rglob("*")) if p.is_file()} == before
