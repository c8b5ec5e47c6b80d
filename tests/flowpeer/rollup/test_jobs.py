"""Hours rolled up by one process or several: the same lake, whatever ends one of them."""

from __future__ import annotations

import errno
import pickle
import signal
import sys
import time
from pathlib import Path

import pytest
import worlds

from flowpeer.errors import ConfigError, InputError
from flowpeer.lake.store import Lake
from flowpeer.pipeline import jobs
from flowpeer.pipeline.rollup import RolledUp, roll_up
from flowpeer.reporter import Collected
from flowpeer.rollup.planner import RollupPlanner

HOURS = 5
FAULTY = """
import errno, os, runpy, sys, time
from contextlib import suppress
from pathlib import Path
from flowpeer.rollup.planner import RollupPlanner
whole = RollupPlanner._roll_up
def roll_up(self, hour, progress):
    kind, hours, place = sys.argv[2:5]
    if kind == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "some.parquet")
    if kind == "hang":
        self.lake.staging.path("begun").write_bytes(b"x")
        Path(place, "hanging").touch()
        time.sleep(600)
    if kind == "bad":
        raise ArithmeticError("a defect")
    if hour.name in hours.split(","):
        self.lake.staging.path("begun").write_bytes(b"x")
        os.kill(os.getpid(), 9)
    with suppress(FileExistsError):
        if kind == "once":
            Path(place, "killed").mkdir()  # by the first of them
            os.kill(os.getpid(), 9)
    return whole(self, hour, progress)
RollupPlanner._roll_up = roll_up
runpy.run_module("flowpeer.pipeline.worker", run_name="__main__")
"""


def lake_of(folder: Path) -> RollupPlanner:
    folder.mkdir()
    world = worlds.make_world(7)
    for seed in range(20, 23):
        world.flows += worlds.make_world(seed).flows
    for n, flow in enumerate(world.flows):
        shift = n % HOURS * worlds.HOUR
        flow |= {name: flow[name] + shift for name in ("received", "start", "end")}
    return worlds.prepare(folder, world, 6)


def rolled(rollup: RollupPlanner, count: int | None, said: Collected | None = None) -> RolledUp:
    return roll_up(rollup.network, Lake(rollup.lake.root), said or Collected(), jobs=count)


def made(rollup: RollupPlanner) -> dict[str, bytes]:
    """Every file that a roll-up makes."""
    root = rollup.lake.root
    return {
        str(path.relative_to(root)): path.read_bytes()
        for table in ("traffic", "traffic_routes", "manifests/traffic", "manifests/traffic_routes")
        for path in (root / table).rglob("*") if path.is_file()
    }  # fmt: skip


def faulty(monkeypatch: pytest.MonkeyPatch, kind: str, hours: str, place: Path) -> None:
    place.mkdir()

    popen = jobs.subprocess.Popen

    def patched(words: list[str], **options: object) -> object:
        command = [sys.executable, "-P", "-c", FAULTY, words[-1], kind, hours, str(place)]
        return popen(command, **options)

    monkeypatch.setattr(jobs.subprocess, "Popen", patched)


def test_any_number_of_processes_and_threads_makes_the_same_lake(tmp_path: Path) -> None:
    whole = lake_of(tmp_path / "one")
    done = rolled(whole, 1)
    assert done.rolled_up == done.hours > HOURS
    expected = made(whole)
    several, said = lake_of(tmp_path / "several"), Collected()
    assert rolled(several, 3, said) == done
    assert said.warnings == []
    assert made(several) == expected
    assert rolled(several, 3).rolled_up == 0
    assert not list((several.lake.root / "staging").glob("*/*"))
    assert not list((several.lake.root / "locks").glob("rollup+*"))
    threads = lake_of(tmp_path / "threads")
    rolled(threads, None)  # too little for processes
    assert made(threads) == expected


def test_a_process_that_is_killed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lake_of(tmp_path / "one")
    expected = rolled(whole, 1)
    several, said = lake_of(tmp_path / "several"), Collected()
    faulty(monkeypatch, "once", "", tmp_path / "marks")
    assert rolled(several, 2, said) == expected
    assert said.warnings == []
    assert made(several) == made(whole)


def test_an_hour_that_ends_every_process_is_left_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lake_of(tmp_path / "one")
    expected = rolled(whole, 1)
    bad = f"{expected.done[2].hour:%Y-%m-%dT%H}"
    several, said = lake_of(tmp_path / "several"), Collected()
    with monkeypatch.context() as patch:
        faulty(patch, "never", bad, tmp_path / "marks")
        done = rolled(several, 2, said)
    assert [one for one in expected.done if one not in done.done] == [expected.done[2]]
    (warning,) = said.warnings
    assert warning.startswith(f"{bad.replace('T', ' ')}:00 left as it was: ")
    assert not list((several.lake.root / "staging").glob("*/*"))
    assert rolled(several, 1).rolled_up == 1
    assert made(several) == made(whole)


@pytest.mark.parametrize(("kind", "error"), [("full", OSError), ("bad", ArithmeticError)])
def test_what_ends_a_roll_up_ends_it_here_too(
    kind: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = lake_of(tmp_path / "several")
    faulty(monkeypatch, kind, "", tmp_path / "marks")
    with pytest.raises(error) as raised:
        rolled(several, 2)
    if isinstance(raised.value, OSError):
        assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "some.parquet")
    assert "Traceback" in raised.value.__notes__[0]
    assert not list((several.lake.root / "staging").glob("*/*"))


def test_a_process_ends_with_the_one_that_began_it_whatever_it_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = lake_of(tmp_path / "a")
    faulty(monkeypatch, "hang", "", tmp_path / "marks")
    worker = jobs.started(planner.network, planner.lake.root.absolute(), 1)
    try:
        worker.give(planner.plan())
        until = time.monotonic() + 120
        while not (tmp_path / "marks" / "hanging").exists():
            assert worker.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        worker.channel.close()  # as when this process is killed
        assert worker.process.wait(120) == 128 + signal.SIGTERM
    finally:
        worker.process.kill()
        worker.process.wait()
    assert not list((planner.lake.root / "staging").glob("*/*"))


def test_processes_are_started_where_they_pay() -> None:
    assert jobs.processes(8, 100, [jobs.ROWS // 101] * 100) == 1
    assert jobs.processes(8, 100, [jobs.ROWS // 25] * 100) == 4
    assert jobs.processes(8, 100, [jobs.ROWS] * 100) == 8
    # The start of a process costs more than it takes over from one that has nearly everything.
    assert jobs.processes(8, 2, [9 * jobs.ROWS, jobs.ROWS]) == 1
    assert jobs.processes(8, 4, [9 * jobs.ROWS] * 4) == 4
    assert jobs.processes(8, 0, []) == 1
    assert jobs.processes(8, 5) == 5
    assert jobs.processes(1, 5) == 1
    assert jobs.processes(4, 0) == 1


def test_errors_come_from_another_process_as_they_are() -> None:
    for error in (
        InputError("a", "is bad", line=3, offset=4, advice="fix it"),
        ConfigError("b", ["one", "two"], advice="fix them"),
    ):
        same = pickle.loads(pickle.dumps(error))
        assert type(same) is type(error)
        assert (str(same), vars(same)) == (str(error), vars(error))
