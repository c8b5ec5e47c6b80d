"""Pruning route snapshots: what an hour needs stays, and no figure changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import worlds

from flowpeer.configuration import load as load_network
from flowpeer.lake.manifest import File, key_of, partition_hour
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.lake.verify import verify_files
from flowpeer.rollup import retention
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.route_retention import prunable_routes, prune_routes
from flowpeer.routing.rib.snapshot import load, pruned_digests, snapshots
from flowpeer.sources import load_sources

Run = Callable[..., "CompletedProcess[str]"]
EVER = datetime(2026, 12, 1, tzinfo=UTC)
FIRST = datetime(2026, 9, 14, 0, 20, tzinfo=UTC)
STEP = timedelta(hours=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of the 16th rolled up; a snapshot each hour of four days, IPv4 of all and,
    each sixth time, of one metro."""
    folder = tmp_path_factory.mktemp("routes")
    rollup = worlds.prepare(folder, worlds.make_world(21), 2)
    metro = next(e["metro"] for e in worlds.EXPORTERS.values())
    for n in range(4 * 24):
        when = FIRST + n * STEP
        path = folder / f"table-{n}.txt"
        path.write_text(f"20.0.0.0/8\t{1 + n}\n45.0.0.0/8\t7\n")
        load(rollup.lake, path, taken_at=when)
        if n % 6 == 0:
            load(rollup.lake, path, taken_at=when, vantage=metro)
    rollup = again(folder)
    for hour in rollup.plan():
        rollup.roll_up(hour)
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "world"))


def pruned(lake: Lake) -> list[File]:
    return [file for file in lake.record().manifest("routes").files if file.pruned]


def again(folder: Path) -> RollupPlanner:
    network = load_network(folder / "flowpeer.toml")
    return RollupPlanner(Lake(network.lake_path), network)


def octets(folder: Path, *tables: str) -> dict[str, str]:
    lake = folder / "lake"
    return {
        str(path.relative_to(lake)): sha256_of(path)
        for table in tables
        for path in sorted((lake / table).rglob("*.parquet"))
    }


def rolled_up(rollup: RollupPlanner) -> set[datetime]:
    return {partition_hour(relative) for relative in rollup.lake.entries("traffic")}


def needed(rollup: RollupPlanner, hours: set[datetime] | None = None) -> set[str]:
    """By plain comparison: what was in force for each of these hours, or each with traffic."""
    found: set[str] = set()
    for start in rolled_up(rollup) if hours is None else hours:
        for vantage in {"", *(m.id for m in rollup.network.metros)}:
            for family in ("prefixes4", "prefixes6"):
                own = [i for i in rollup.snapshots if i.vantage == vantage and getattr(i, family)]
                before = [i for i in own if i.taken_at <= start]
                if own:
                    best = max(before, key=lambda i: i.taken_at) if before else own[0]
                    found.add(best.name)
    return found


def latest(rollup: RollupPlanner) -> set[str]:
    found: dict[tuple[str, str], str] = {}
    for info in rollup.snapshots:
        for family in ("prefixes4", "prefixes6"):
            if getattr(info, family):
                found[info.vantage, family] = info.name
    return set(found.values())


def test_what_no_hour_uses_is_pruned_and_nothing_else(folder: Path) -> None:
    rollup = again(folder)
    names = {info.name for info in rollup.snapshots}
    kept = needed(rollup) | latest(rollup)
    assert 5 <= len(kept) < 20
    chosen = prunable_routes(rollup, EVER, daily=False)
    assert {info.name for info in chosen} == names - kept
    made = octets(folder, "traffic", "traffic_routes")
    prune_routes(rollup.lake, chosen)
    assert {info.name for info in snapshots(rollup.lake)} == kept
    assert {Path(p).stem for p in octets(folder, "routes")} == kept
    rollup = again(folder)
    assert not [hour for hour in rollup.plan() if hour.changed]
    assert not prunable_routes(rollup, EVER, daily=False)
    for hour in rollup.plan():  # done again without them: the same octets
        rollup.roll_up(hour)
    assert octets(folder, "traffic", "traffic_routes") == made
    assert not [fault for _, fault in verify_files(rollup.lake.record()) if fault]
    gone = pruned(rollup.lake)
    assert {Path(file.path).stem for file in gone} == names - kept
    assert all(file.pruned.at and file.sha256 for file in gone)


def test_only_what_is_old_enough_is_pruned(folder: Path) -> None:
    before = datetime(2026, 9, 15, 0, 20, tzinfo=UTC)
    rollup = again(folder)
    chosen = {info.name for info in prunable_routes(rollup, before, daily=True)}
    old = {info.name for info in rollup.snapshots if info.taken_at < before}
    assert chosen == old - needed(rollup) - latest(rollup)
    assert len(chosen) > 20


def test_daily_leaves_what_hours_with_flow_records_need(folder: Path) -> None:
    rollup = again(folder)
    for daily in (False, True):
        chosen = {info.name for info in prunable_routes(rollup, EVER, daily=daily)}
        assert not chosen & needed(rollup)


def test_daily_leaves_the_first_of_each_day_where_the_flow_records_are_gone(folder: Path) -> None:
    rollup = again(folder)
    used = needed(rollup)
    retention.prune(rollup, retention.prunable(rollup, EVER))
    rollup = again(folder)
    assert not rollup.files
    first: dict[tuple[Any, ...], str] = {}
    for info in rollup.snapshots:
        if info.name in used:
            family = 4 if info.prefixes4 else 6
            first.setdefault((info.taken_at.date(), info.vantage, family), info.name)
    kept = set(first.values()) | latest(rollup)
    assert not used <= kept  # or it would say nothing
    chosen = prunable_routes(rollup, EVER, daily=True)
    assert {i.name for i in rollup.snapshots} - {i.name for i in chosen} == kept
    made = octets(folder, "traffic", "traffic_routes")
    prune_routes(rollup.lake, chosen)
    assert not [hour for hour in again(folder).plan() if hour.changed]
    assert octets(folder, "traffic", "traffic_routes") == made


def test_what_an_hour_with_a_damaged_manifest_may_need_stays(folder: Path) -> None:
    """Nobody knows its hours: all that lie up to a day before it was received count."""
    rollup = again(folder)
    received = {partition_hour(name) for name in rollup.files}
    for hour in received:
        rollup.lake.path(key_of("flows", hour)).write_bytes(b"{")
    for hour in rollup.record.hours("traffic"):
        rollup.lake.path(key_of("traffic", hour)).unlink()
    rollup = again(folder)
    assert not rollup.files
    hours = {hour - timedelta(hours=back) for hour in received for back in range(25)}
    kept = needed(rollup, hours) | latest(rollup)
    assert len(kept) >= 25
    chosen = {info.name for info in prunable_routes(rollup, EVER, daily=True)}
    assert chosen == {info.name for info in rollup.snapshots} - kept


def test_broken_off_it_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollup = again(folder)
    chosen = prunable_routes(rollup, EVER, daily=False)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "remove", lambda self, relative, **_: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):  # noqa: PT011
            prune_routes(rollup.lake, chosen)
    assert len(snapshots(rollup.lake)) == len(rollup.snapshots)
    assert not pruned_digests(rollup.lake)  # what is still there is not gone
    rollup = again(folder)
    prune_routes(rollup.lake, prunable_routes(rollup, EVER, daily=False))
    assert len(pruned(rollup.lake)) == len(chosen)
    assert not [fault for _, fault in verify_files(rollup.lake.record()) if fault]


def test_a_pruned_source_comes_back_only_by_hand(folder: Path) -> None:
    source = folder / "ribs"
    source.mkdir()
    shutil.copy(folder / "table-3.txt", source / "old-20260914.txt")
    config = folder / "flowpeer.toml"
    config.write_text(config.read_text() + '\n[sources]\nribs = "ribs"\n')
    rollup = again(folder)
    before = {info.name for info in snapshots(rollup.lake)}
    load_sources(rollup.lake, rollup.network, lambda text: None)
    (mine,) = {info.name for info in snapshots(rollup.lake)} - before
    rollup = again(folder)
    chosen = prunable_routes(rollup, EVER, daily=False)
    assert mine in {info.name for info in chosen}
    prune_routes(rollup.lake, chosen)
    left = snapshots(rollup.lake)
    load_sources(rollup.lake, rollup.network, lambda text: None)
    assert snapshots(rollup.lake) == left
    info, new = load(rollup.lake, source / "old-20260914.txt")
    assert new
    assert info.name == mine
    load_sources(rollup.lake, rollup.network, lambda text: None)
    assert len(snapshots(rollup.lake)) == len(left) + 1


def test_the_command_says_first_and_deletes_on_demand(folder: Path, run: Run) -> None:
    rollup = again(folder)
    expected = [info.name for info in prunable_routes(rollup, EVER, daily=False)]
    words = ("prune", "--keep", "1s", "--json")
    plain = json.loads(run(*words, cwd=folder).stdout)
    assert plain["snapshots"] == []
    said = json.loads(run(*words, "--routes", "unused", cwd=folder).stdout)
    assert said["deleted"] is False
    assert said["snapshots"] == expected
    assert said["snapshot_bytes"] == sum(
        info.file_bytes for info in rollup.snapshots if info.name in expected
    )
    assert snapshots(rollup.lake) == rollup.snapshots
    said = json.loads(run(*words, "--routes", "daily", cwd=folder).stdout)["snapshots"]
    assert said == expected  # the flow records are still there
    done = json.loads(run(*words, "--routes", "daily", "--yes", cwd=folder).stdout)
    assert done["deleted"] is True
    assert done["snapshots"] == said
    left = {info.name for info in snapshots(rollup.lake)}
    assert left == {info.name for info in rollup.snapshots} - set(said)
    assert not again(folder).files
    text = run("prune", "--keep", "1s", "--routes", "daily", cwd=folder).stdout
    assert "route snapshots" in text
    assert "to be deleted (with --yes)" in text
    more = json.loads(run(*words, "--routes", "daily", "--yes", cwd=folder).stdout)["snapshots"]
    assert more  # of the hours without flow records
    assert run("prune", "--keep", "1s", "--routes", "all", cwd=folder).returncode == 2
