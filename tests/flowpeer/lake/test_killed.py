"""Whoever changes the record may be killed at any call that changes the disk: what is read is what
was there before or what is to be there, whole, and the same work done again completes it.

The work runs in a forked process, which `flowpeer_ingest.faults` kills there. So nothing of it is
cleaned up by Python, and hundreds of such places take seconds.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_units import HOURS, add, forked, merge_one, state

from flowpeer.lake.adopt import adopt
from flowpeer.lake.commit import commit
from flowpeer.lake.compact import merge
from flowpeer.lake.manifest import Manifest
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.lake.verify import verify_files

Work = Callable[[Lake], object]


def content(lake: Lake) -> dict[str, Any]:
    """All files and what the record says, but for how often and when it was written."""
    record = lake.record()
    found: dict[str, Any] = {
        path.relative_to(lake.root).as_posix(): sha256_of(path)
        for path in sorted(lake.root.rglob("*.parquet"))
        if path.relative_to(lake.root).parts[0] != "staging"
    }
    for table in ("flows", "coverage"):
        for hour in record.hours(table):
            made = record.stands(table, hour)
            retired = tuple(sorted(r.path for r in made.header.retired))
            header = replace(made.header, generation=0, retired=(), pending={})
            found[f"{table} {hour}"] = header, retired, made.files
    found["units"] = sorted(unit.name for unit in record.units())
    return found


def adopt_all(lake: Lake) -> None:
    lost = lake.path("manifests/flows")
    if lost.exists():
        shutil.rmtree(lost)
    adopt(lake)


WORKS: dict[str, Work] = {
    "publish": lambda lake: add(lake, 3),
    "merge": lambda lake: merge_one(lake, 0),
    "merge with grace": lambda lake: merge_one(lake, 3600),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = Lake(tmp_path_factory.mktemp("made") / "lake")
    for number in range(3):
        add(lake, number)
    lake.close()
    return lake.root


def points(log: Path, config: pytest.Config) -> list[tuple[str, int]]:
    """Where the work can be killed; without --soak those after which the folders differ."""
    counts = Counter(line.split()[1] for line in log.read_text().splitlines())
    assert {"replace+", "fsync", "unlink+"} <= counts.keys()
    names = sorted(counts) if config.getoption("--soak") else ("replace", "replace+", "unlink+")
    return [(name, n) for name in names for n in range(1, counts[name] + 1)]


@pytest.mark.parametrize("name", WORKS)
def test_killed_anywhere_all_of_it_is_there_or_nothing(
    name: str, made: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    work = WORKS[name]
    whole = Lake(Path(shutil.copytree(made, tmp_path / "whole")))
    before, log = state(whole), tmp_path / "log"
    assert forked(lambda: work(Lake(whole.root)), FLOWPEER_FAULTS_LOG=str(log)) == 0
    after, want, every = state(whole), content(whole), points(log, pytestconfig)
    seen: Counter[str] = Counter()
    for point, n in every:
        root = Path(shutil.copytree(made, tmp_path / f"{point}{n}"))
        rule = f"kill:{point}:{n}"
        status = forked(lambda root=root: work(Lake(root)), FLOWPEER_FAULTS=rule)  # type: ignore[misc]
        assert os.WIFSIGNALED(status), rule
        assert os.WTERMSIG(status) == signal.SIGKILL, rule
        lake = Lake(root)
        found = state(lake)
        if name == "publish":  # of all hours and tables, or of none
            assert found in (before, after), rule
        assert all(found[hour] in (before[hour], after[hour]) for hour in found), rule
        seen["before" if found == before else "after"] += 1
        faulty = [fault for _, fault in verify_files(lake.record()) if fault]
        assert all("no manifest names it" in fault.what for fault in faulty), rule
        work(lake)
        assert content(lake) == want, rule
        assert not [fault for _, fault in verify_files(lake.record()) if fault], rule
        lake.staging.sweep()
        lake.close()
        assert not any((root / "staging").iterdir()), rule
        shutil.rmtree(root)
    if name == "publish":
        assert seen["before"] > 3
        assert seen["after"] > 0


def test_killed_while_it_adopts_it_adopts_the_rest(
    made: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    whole = Lake(Path(shutil.copytree(made, tmp_path / "whole")))
    want, log = state(whole), tmp_path / "log"
    assert forked(lambda: adopt_all(Lake(whole.root)), FLOWPEER_FAULTS_LOG=str(log)) == 0
    assert {hour: rows for hour, (rows, _) in state(whole).items()} == {
        hour: rows for hour, (rows, _) in want.items()
    }
    for point, n in points(log, pytestconfig):
        root = Path(shutil.copytree(made, tmp_path / f"{point}{n}"))
        status = forked(
            lambda root=root: adopt_all(Lake(root)), FLOWPEER_FAULTS=f"kill:{point}:{n}"
        )  # type: ignore[misc]
        assert os.WIFSIGNALED(status), (point, n)
        adopt(Lake(root))
        assert state(Lake(root)) == state(whole), (point, n)
        shutil.rmtree(root)


def units_seen(lake: Lake) -> Iterator[Counter[str]]:
    """How often each unit is in what a reader finds, by hour and table."""
    record = lake.record()
    for table in ("flows", "coverage"):
        for hour in HOURS:
            manifest = record.manifest(table, hour)
            assert all(lake.path(f.path).exists() for f in manifest.live)
            assert sum(f.rows for f in manifest.live) == sum(
                u.rows for f in manifest.live for u in f.units
            )
            yield Counter(Path(u.path).stem for f in manifest.live for u in f.units)


def test_processes_that_publish_and_merge_at_once_lose_nothing_and_count_nothing_twice(
    tmp_path: Path,
) -> None:
    root = tmp_path / "lake"
    Lake(root).check_writable()
    stop = tmp_path / "stop"

    def publishing(seed: int) -> None:
        lake, numbers = Lake(root), list(range(12))
        random.Random(seed).shuffle(numbers)
        for number in numbers:  # two processes have the same units: a decoder that was thought dead
            add(lake, number)

    def merging() -> None:
        while not stop.exists():
            for table in ("flows", "coverage"):
                for hour in HOURS:
                    if len(Lake(root).record().manifest(table, hour).live) > 2:
                        try:
                            merge(Lake(root), table, hour, grace_s=60)
                        except FileNotFoundError:
                            continue

    works: list[Callable[[], object]] = [
        *(lambda seed=seed: publishing(seed) for seed in range(3)), merging, merging,
    ]  # fmt: skip
    children = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for work in works:
            if (child := os.fork()) == 0:
                status = 1
                try:
                    work()
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
    lake, before, looks = Lake(root), [Counter[str]()] * 4, 0
    waiting = set(children[:3])
    try:
        while waiting:
            time.sleep(0.005)
            for child in list(waiting):
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    assert status == 0
                    waiting.discard(child)
            now = list(units_seen(lake))
            assert all(set(found.values()) <= {1} for found in now)
            assert all(had <= has for had, has in zip(before, now, strict=True))
            before, looks = now, looks + 1
    finally:
        stop.touch()
    for child in children[3:]:
        assert os.waitpid(child, 0)[1] == 0
    assert looks > 3
    assert [len(found) for found in units_seen(lake)] == [12] * 4
    assert sorted(unit.name for unit in lake.record().units()) == sorted(
        f"segment-{n}-run" for n in range(12)
    )
    for table in ("flows", "coverage"):
        for hour in HOURS:
            commit(lake, table, hour, lambda manifest: _same(manifest))
    assert not [fault for _, fault in verify_files(lake.record()) if fault]


def _same(manifest: Manifest) -> Any:
    from flowpeer.lake.commit import Change

    return Change(manifest.files)
