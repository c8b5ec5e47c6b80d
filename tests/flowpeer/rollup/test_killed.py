"""A roll-up that dies, or meets another, leaves the same files as one that was left alone."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import warm
import worlds
from warm import Running

from flowpeer.lake.store import Lake, sha256_of

pytestmark = pytest.mark.slow


Undisturbed = tuple[dict[str, Any], Counter[str]]
ALONE = ("--jobs", "1")
"""One thread: how many of several put sums aside, and remove them, is chance."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with flows of a few hours, not rolled up."""
    folder = tmp_path_factory.mktemp("world")
    worlds.prepare(folder, worlds.make_world(5), 3)
    return folder


def begin(folder: Path, *words: str, **environment: str) -> Running:
    """`flowpeer rollup` in a process group of its own."""
    return warm.begin(folder, "rollup", *words, **environment)


def files_of(folder: Path) -> dict[str, Any]:
    """Digest of every roll-up, and what the record says of it, but for how often it was written."""
    lake = Lake(folder / "lake")
    record = lake.record()
    found: dict[str, Any] = {
        path.relative_to(lake.root).as_posix(): sha256_of(path)
        for table in ("traffic", "traffic_routes")
        for path in sorted((lake.root / table).rglob("*"))
        if path.is_file()
    }
    for table in ("traffic", "traffic_routes"):
        for hour in record.hours(table):
            manifest = record.stands(table, hour)
            found[f"{table} {hour}"] = replace(manifest.header, generation=0), manifest.files
    return found


@pytest.fixture(scope="module")
def undisturbed(
    world: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Any]:
    """What a roll-up makes, and how often it passed each point where it could die."""
    folder = tmp_path_factory.mktemp("undisturbed") / "world"
    shutil.copytree(world, folder)
    log = folder / "points"
    assert begin(folder, *ALONE, FLOWPEER_FAULTS_LOG=str(log)).finish()[0] == 0
    made = files_of(folder)
    assert len(made) >= 12
    return made, Counter(line.split()[1] for line in log.read_text().splitlines())


def copy_of(world: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    return folder


def test_killed_at_any_point_and_run_again_gives_the_same_files(
    world: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    made, points = undisturbed
    assert {"replace", "fsync"} <= set(points)
    every = [(name, n) for name, count in sorted(points.items()) for n in range(1, count + 1)]
    dice = random.Random(len(every))
    for name, n in dice.sample(every, 8):
        folder = copy_of(world, tmp_path / f"{name}{n}")
        killed = begin(folder, *ALONE, FLOWPEER_FAULTS=f"kill:{name}:{n}").finish()
        assert killed[0] == -signal.SIGKILL, (name, n)
        again = begin(folder).finish()
        assert again[0] == 0, (name, n, again)
        assert files_of(folder) == made, (name, n)
        assert not any((folder / "lake/staging").iterdir()), (name, n)


def test_killed_at_any_time_and_run_again_gives_the_same_files(
    world: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    folder = copy_of(world, tmp_path)
    dice = random.Random(2)
    for _ in range(4):  # each goes on where the one before was killed
        process = begin(folder)
        time.sleep(dice.uniform(0.02, 0.4))
        process.kill()
        process.finish()
    assert begin(folder).finish()[0] == 0
    assert files_of(folder) == undisturbed[0]


def test_a_full_disk_leaves_what_was_there_and_says_so(
    world: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    folder = copy_of(world, tmp_path)
    status, _, said = begin(folder, FLOWPEER_FAULTS="ENOSPC:replace:6").finish()
    assert status == 3, said
    assert "No space left" in said
    assert begin(folder).finish()[0] == 0
    assert files_of(folder) == undisturbed[0]


def test_hours_that_another_process_has_are_left_to_it(
    world: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    folder = copy_of(world, tmp_path)
    with Lake(folder / "lake").lock("rollup+2026-09-16T01", once=True):
        status, _, said = begin(folder).finish()
    assert status == 75
    assert said.startswith("error: ")
    assert "try: wait" in said
    done = files_of(folder)
    assert done.items() < undisturbed[0].items()
    assert not any("hour=01" in name for name in done)
    assert begin(folder).finish()[0] == 0
    assert files_of(folder) == undisturbed[0]


def test_shards_with_different_counts_do_not_disturb_each_other(
    world: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    folder = copy_of(world, tmp_path)
    running = [begin(folder, "--shard", shard) for shard in ("1/2", "1/3", "2/3", "2/2")]
    assert {process.finish()[0] for process in running} <= {0, 75}
    assert begin(folder).finish()[0] == 0
    assert files_of(folder) == undisturbed[0]


def test_shards_on_several_processes_at_once_make_the_same_files(
    world: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    folder = copy_of(world, tmp_path)
    running = [begin(folder, "--shard", f"{n}/3") for n in (1, 2, 3)]
    assert [process.finish()[0] for process in running] == [0, 0, 0]
    assert files_of(folder) == undisturbed[0]
    assert "all up to date" in begin(folder).finish()[1]
