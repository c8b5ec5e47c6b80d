"""Merging and pruning flow records: the figures stay, whatever happens meanwhile."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
import worlds
from warm import begin

from flowpeer import catalog
from flowpeer.configuration import load
from flowpeer.errors import InputError
from flowpeer.lake import compact, relation
from flowpeer.lake.commit import sweep, sweep_retired
from flowpeer.lake.manifest import partition_hour
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.lake.verify import verify_files
from flowpeer.pipeline.hour import twice
from flowpeer.query import QuerySession
from flowpeer.rollup import aggregate, retention
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import conservation
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS

pytestmark = pytest.mark.slow


Run = Callable[..., "subprocess.CompletedProcess[str]"]
LONG_AGO = datetime(2026, 9, 16, 1, tzinfo=UTC)
EVER = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of three hours in four units of work, rolled up."""
    folder = tmp_path_factory.mktemp("done")
    rollup = worlds.prepare(folder, worlds.make_world(21), 4)
    for hour in rollup.plan():
        rollup.roll_up(hour)
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "world"))


def again(folder: Path) -> RollupPlanner:
    network = load(folder / "flowpeer.toml")
    return RollupPlanner(Lake(network.lake_path), network)


def rollups(folder: Path) -> dict[str, str]:
    lake = folder / "lake"
    return {
        str(path.relative_to(lake)): sha256_of(path)
        for table in ("traffic", "traffic_routes")
        for path in sorted((lake / table).rglob("*.parquet"))
    }


def flow_rows(folder: Path) -> pl.DataFrame:
    frame = catalog.scan(folder / "lake", "flows").collect()
    return frame.sort(frame.columns)


def holds(rollup: RollupPlanner) -> bool:
    return all(identity.holds for identity in conservation(rollup, again=True))


def flow(folder: Path, unit: str, start: datetime, received: datetime) -> None:
    """One record of a thousand octets, rate 1."""
    row = {c.name: None for c in FLOWS} | {
        "received_at": received, "start_time": start, "end_time": start, "format": "netflow9",
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "time_corrected": False,
        "bytes": 1000, "packets": 1, "sampling_interval": 1,
    }  # fmt: skip
    sink = FlowSink(again(folder).lake, unit)
    hour = received.replace(minute=0, second=0, microsecond=0)
    sink.write(hour, "flows", pa.Table.from_pylist([row], arrow_schema(FLOWS)))
    sink.publish()


def merge_all(folder: Path) -> RollupPlanner:
    rollup = again(folder)
    hours = retention.mergeable(rollup, EVER)
    assert len(hours) >= 3
    retention.compact(rollup.lake, hours, grace_s=0)
    return again(folder)


def test_merged_hours_hold_the_same_rows_and_stay_up_to_date(folder: Path) -> None:
    before, made = flow_rows(folder), rollups(folder)
    rollup = merge_all(folder)
    assert len(rollup.files) == len({str(Path(f).parent) for f in rollup.files})
    assert flow_rows(folder).equals(before)
    assert not [hour for hour in rollup.plan() if hour.changed]
    assert holds(rollup)
    assert retention.mergeable(rollup, EVER) == {}
    for hour in rollup.plan():  # done again from the merged files: the same octets
        rollup.roll_up(hour)
    assert rollups(folder) == made


def test_only_what_changed_is_redone_after_merging(folder: Path) -> None:
    rollup = merge_all(folder)
    flow(folder, "late", LONG_AGO, LONG_AGO)
    changed = {h.start: h.changed for h in again(folder).plan() if h.changed}
    assert changed[LONG_AGO] == ("flows",)
    assert len(changed) < len(rollup.plan())
    assert retention.mergeable(again(folder), EVER) == {}  # not before it is rolled up
    for hour in again(folder).plan():
        if hour.changed:
            again(folder).roll_up(hour)
    hours = retention.mergeable(again(folder), EVER)
    assert len(hours) == 1  # a merged file and a late one
    retention.compact(rollup.lake, hours, grace_s=0)
    assert not [hour for hour in again(folder).plan() if hour.changed]
    assert holds(again(folder))


def test_an_hour_not_rolled_up_is_not_merged_and_an_open_one_neither(folder: Path) -> None:
    rollup = again(folder)
    assert retention.mergeable(rollup, LONG_AGO + timedelta(minutes=59)).keys() < (
        retention.mergeable(rollup, EVER).keys()
    )
    for path in (folder / "lake/traffic").rglob("*.parquet"):
        path.unlink()
    assert retention.mergeable(again(folder), EVER) == {}


def test_a_damaged_file_is_not_merged_into_a_good_one(folder: Path) -> None:
    rollup = again(folder)
    name = next(iter(rollup.files))
    path = rollup.lake.path(name)
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    hour = partition_hour(name)
    with pytest.raises(InputError, match="not what was pub"):
        compact.merge(rollup.lake, "flows", hour, grace_s=0)
    assert again(folder).files == rollup.files
    told: list[str] = []
    hours = retention.mergeable(rollup, EVER)
    done = retention.compact(rollup.lake, hours, grace_s=0, warn=told.append)
    assert hours.keys() - done.keys() == {("flows", hour)}
    assert name in told[0]


def test_a_reader_of_the_record_sees_each_hour_once_while_it_is_merged(folder: Path) -> None:
    rollup = again(folder)
    hours = retention.mergeable(rollup, EVER)
    want = {h: sum(f.rows for f in rollup.record.manifest(*h).live) for h in hours}
    seen: Counter[bool] = Counter()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for (table, hour), rows in want.items():
                files = rollup.lake.record().manifest(table, hour).live
                there = all(rollup.lake.path(f.path).exists() for f in files)
                seen[there and sum(f.rows for f in files) == rows] += 1

    reader = threading.Thread(target=look)
    reader.start()
    retention.compact(rollup.lake, hours, grace_s=60)
    stop.set()
    reader.join()
    assert seen[True] > 10
    assert not seen[False]


def test_what_was_merged_stays_for_the_grace_period_and_goes_after_it(folder: Path) -> None:
    rollup = again(folder)
    before = {rollup.lake.path(f) for f in rollup.files}
    hours = retention.mergeable(rollup, EVER)
    retention.compact(rollup.lake, hours, grace_s=3600)
    assert all(path.exists() for path in before)
    record = again(folder).record
    assert sweep_retired(rollup.lake, record) == 0
    assert not [fault for _, fault in verify_files(record) if fault]
    for table, hour in hours:
        header = record.header(table, hour)
        assert header is not None
        later = datetime.now(UTC) + timedelta(hours=2)
        assert sweep(rollup.lake, table, hour, header, later) == len(header.retired) > 1
    assert not any(path.exists() for path in before if "unit" in path.name)
    assert not any(h.retired for h in again(folder).record.headers("flows").values())
    assert holds(again(folder))


def test_a_unit_that_comes_while_its_hour_is_merged_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollup = again(folder)
    before = flow_rows(folder).height
    real = compact.commit

    def late(lake: Lake, table: str, hour: datetime, *args: Any, **more: Any) -> Any:
        flow(folder, "straggler", hour, hour)
        return real(lake, table, hour, *args, **more)

    monkeypatch.setattr(compact, "commit", late)
    hours = retention.mergeable(rollup, EVER)
    retention.compact(rollup.lake, hours, grace_s=0)
    assert flow_rows(folder).height == before + len(hours)
    assert len(again(folder).files) == 2 * len(hours)
    assert all(h.changed == ("flows",) for h in again(folder).plan() if h.changed)


def test_of_two_that_merge_an_hour_one_gives_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollup, made = again(folder), flow_rows(folder)
    hours = retention.mergeable(rollup, EVER)
    real = compact.commit

    def beaten(lake: Lake, table: str, hour: datetime, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(compact, "commit", real)
        assert compact.merge(lake, table, hour, grace_s=0) is not None
        return real(lake, table, hour, *args, **more)

    monkeypatch.setattr(compact, "commit", beaten)
    done = retention.compact(rollup.lake, hours, grace_s=0)
    assert len(done) == len(hours) - 1
    assert flow_rows(folder).equals(made)
    assert not [fault for _, fault in verify_files(again(folder).record) if fault]


def points(log: Path) -> Iterator[tuple[str, int]]:
    counts = Counter(line.split()[1] for line in log.read_text().splitlines())
    for name in sorted(counts):
        if name in ("fsync+", "replace", "replace+", "unlink", "unlink+"):
            yield from ((name, n) for n in range(1, counts[name] + 1))


@pytest.mark.parametrize("words", [("compact",), ("prune", "--keep", "1h", "--yes")])
def test_killed_and_run_again_loses_nothing(
    done: Path, words: tuple[str, ...], tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(done, tmp_path / "whole"))
    log = tmp_path / "log"
    assert begin(whole, *words, FLOWPEER_FAULTS_LOG=str(log)).finish()[0] == 0
    want = flow_rows(whole) if words[0] == "compact" else None
    every = list(points(log))
    assert len(every) > 10
    for name, n in every[:: max(1, len(every) // 6)]:
        folder = Path(shutil.copytree(done, tmp_path / f"{name}{n}"))
        status, _, said = begin(folder, *words, FLOWPEER_FAULTS=f"kill:{name}:{n}").finish()
        assert status == -signal.SIGKILL, (name, n, said)
        status, out, said = begin(folder, "rollup").finish()
        assert status == 0, (name, n, said)
        assert "all up to date" in out, (name, n)
        assert begin(folder, *words).finish()[0] == 0, (name, n)
        assert holds(again(folder)), (name, n)
        assert rollups(folder) == rollups(done), (name, n)
        files = set(again(folder).files)
        assert {Path(f).parent for f in files} == {Path(f).parent for f in again(whole).files}
        assert not [fault for _, fault in verify_files(again(folder).record) if fault], (name, n)
        if want is not None:
            assert flow_rows(folder).equals(want), (name, n)


def test_prune_says_what_it_would_do_and_does_it_when_told(folder: Path, run: Run) -> None:
    made, rows = rollups(folder), flow_rows(folder).height
    said = run("prune", "--keep", "1h", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert document["rows"] == rows
    assert not document["deleted"]
    assert flow_rows(folder).height == rows
    assert run("prune", "--keep", "9999d", "--json", "--yes", cwd=folder).returncode == 0
    assert flow_rows(folder).height == rows
    deleted = run("prune", "--keep", "1h", "--yes", "--json", cwd=folder)
    assert json.loads(deleted.stdout)["files"] == document["files"]
    assert not list((folder / "lake/flows").rglob("*.parquet"))
    assert rollups(folder) == made
    assert holds(again(folder))
    rolled = run("rollup", cwd=folder)
    assert rolled.returncode == 0, rolled.stderr
    assert rollups(folder) == made
    assert run("verify", cwd=folder).returncode == 0
    assert run("prune", "--yes", cwd=folder).returncode == 2  # keep_flows is not set


def test_a_pruned_hour_is_never_made_of_less(folder: Path) -> None:
    rollup, made = again(folder), rollups(folder)
    plan = retention.prunable(rollup, LONG_AGO + timedelta(hours=1))
    assert 0 < len(plan.chosen) < len(rollup.files)
    retention.prune(rollup, plan)
    text = (folder / "flowpeer.toml").read_text()
    (folder / "flowpeer.toml").write_text(text.replace('role = "customer"', 'role = "peer"'))
    rollup = again(folder)
    frozen = {h.start for h in rollup.plan() if h.frozen}
    assert LONG_AGO in frozen
    assert not any(h.changed for h in rollup.plan() if h.frozen)
    assert any(h.changed for h in rollup.plan())
    for hour in rollup.plan():
        if hour.changed:
            rollup.roll_up(hour)
    for name, digest in rollups(folder).items():
        if partition_hour(name) in frozen:
            assert made[name] == digest


def test_late_flows_of_a_pruned_hour_are_told_once_and_kept_in_the_account(
    folder: Path, run: Run
) -> None:
    assert run("prune", "--keep", "1h", "--yes", cwd=folder).returncode == 0
    made = rollups(folder)
    flow(folder, "late", LONG_AGO, LONG_AGO + timedelta(minutes=1))
    said = run("rollup", cwd=folder)
    assert said.returncode == 1
    assert "01:00 1 records with 1,000 bytes came after its flow records were pruned" in said.stderr
    assert rollups(folder) == made
    assert holds(again(folder))
    assert run("rollup", cwd=folder).returncode == 0
    assert flow_rows(folder).height == 1
    assert run("prune", "--keep", "1h", "--yes", cwd=folder).returncode == 0
    assert holds(again(folder))


def test_what_is_not_rolled_up_is_not_pruned(folder: Path, run: Run) -> None:
    flow(folder, "late", LONG_AGO, LONG_AGO)
    said = run("prune", "--keep", "1h", "--yes", cwd=folder)
    assert said.returncode == 1
    assert "not rolled up; run `flowpeer rollup`" in said.stderr
    left = again(folder)
    assert all(LONG_AGO.strftime("%Y-%m-%dT%H") in str(f.units) for f in left.files.values())


def test_an_hour_that_another_process_rolls_up_is_left_to_it(folder: Path, run: Run) -> None:
    flow(folder, "late", LONG_AGO, LONG_AGO)
    lake = again(folder).lake
    with lake.lock(f"rollup+{LONG_AGO:%Y-%m-%dT%H}", once=True):
        said = run("rollup", cwd=folder)
        assert said.returncode == 75
        assert "works on 1 of the hours, first 2026-09-16 01:00" in said.stderr
    assert run("rollup", cwd=folder).returncode == 0
    assert "up to date" in run("rollup", cwd=folder).stdout


def test_an_hour_is_rolled_up_while_its_files_are_merged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are gone before they are read: it is done again with those that are there."""
    made, rollup = rollups(folder), again(folder)
    hour = next(h for h in rollup.plan() if h.start == LONG_AGO)
    real = aggregate.Aggregate

    def late(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(aggregate, "Aggregate", real)
        retention.compact(rollup.lake, retention.mergeable(again(folder), EVER), grace_s=0)
        return real(*args, **more)

    monkeypatch.setattr(aggregate, "Aggregate", late)
    twice(rollup, hour, lambda rows: None)
    assert rollups(folder) == made
    assert holds(again(folder))


@pytest.mark.parametrize("age", ["0d", "-1d", "soon", "", "14", "1.5d", "9999999999d"])
def test_an_age_that_is_none_is_refused_and_nothing_is_touched(
    folder: Path, run: Run, age: str
) -> None:
    made, rows = rollups(folder), flow_rows(folder)
    for words in (("prune", "--yes", f"--keep={age}"), ("compact", f"--after={age}")):
        said = run(*words, cwd=folder)
        assert said.returncode == 2, words
        assert "Traceback" not in said.stderr
        assert "a duration" in said.stderr
    assert flow_rows(folder).equals(rows)
    assert rollups(folder) == made


@pytest.mark.parametrize("keep", ["14d", "90d", "999999d"])
def test_any_age_that_the_configuration_takes_is_taken_by_prune(
    folder: Path, run: Run, keep: str
) -> None:
    settings = folder / "flowpeer.toml"
    settings.write_text(
        re.sub(r"(?m)^path = .*$", rf'\g<0>\nkeep_flows = "{keep}"', settings.read_text())
    )
    days = int(keep.removesuffix("d"))
    now = datetime.now(UTC)
    old = {f for f in again(folder).files
           if (now - partition_hour(f)) / timedelta(days=1) > days}  # fmt: skip
    said = run("prune", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert set(json.loads(said.stdout)["files"]) == old
    done = run("prune", "--yes", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_prune_takes_the_hours_before_the_age_and_no_others(folder: Path, run: Run) -> None:
    before = again(folder)
    hours = sorted({partition_hour(f) for f in before.files})
    assert len(hours) >= 3
    # The first hour ended an hour and a half before what is to be kept, the second one 30 minutes.
    minutes = (datetime.now(UTC) - hours[0]) // timedelta(minutes=1) - 90
    said = run("prune", f"--keep={minutes}m", "--yes", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    gone = {f for f in before.files if partition_hour(f) == hours[0]}
    assert set(document["files"]) == gone
    assert document["deleted"]
    assert document["waiting"] == []
    assert document["rows"] == sum(before.files[f].rows for f in gone)
    assert set(again(folder).files) == before.files.keys() - gone
    assert not (folder / "lake" / Path(next(iter(gone))).parent).exists()
    verified = run("verify", cwd=folder)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_record_remembers_what_was_pruned(folder: Path, run: Run) -> None:
    before = again(folder)
    assert before.files  # as they are now
    begun = datetime.now(UTC).replace(microsecond=0)
    assert run("prune", "--keep", "1h", "--yes", cwd=folder).returncode == 0
    pruned = again(folder).pruned
    assert pruned.keys() == before.files.keys()
    for name, file in pruned.items():
        was = before.files[name]
        assert replace(file, pruned=None) == was
        at = datetime.strptime(file.pruned.at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert begun <= at <= datetime.now(UTC)
        assert file.pruned.records == was.rows
    assert before.lake.entries("flows") == {}


def test_merged_hours_can_be_pruned_and_verified(folder: Path, run: Run) -> None:
    made = rollups(folder)
    merged = merge_all(folder)
    assert all(len(file.units) > 1 for file in merged.files.values())
    verified = run("verify", cwd=folder)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert run("prune", "--keep", "1h", "--yes", cwd=folder).returncode == 0
    assert not list((folder / "lake/flows").rglob("*.parquet"))
    rolled = run("rollup", cwd=folder)
    assert rolled.returncode == 0, rolled.stderr
    assert rollups(folder) == made
    verified = run("verify", cwd=folder)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_files_merged_between_listing_and_opening_are_looked_for_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want, listed, merged = flow_rows(folder).height, relation._listed, []

    def late(name: str, groups: Any) -> str:
        text = listed(name, groups)
        if name == "flows" and len(merged) < 2:
            one = sorted(retention.mergeable(again(folder), EVER).items())[:1]
            retention.compact(again(folder).lake, dict(one), grace_s=0)
            merged.extend(one)
        return text

    monkeypatch.setattr(relation, "_listed", late)
    with QuerySession(folder / "lake") as con:
        assert con.query("SELECT count(*) AS n FROM flows").to_pylist() == [{"n": want}]
    assert len(merged) == 2


def test_the_catalog_in_the_lake_is_kept_current(folder: Path, run: Run) -> None:
    path = folder / "lake" / "catalog.duckdb"
    assert run("rollup", cwd=folder).returncode == 0
    assert not path.exists()  # nobody asked for one
    for command in ("rollup", "compact", "prune"):
        path.write_bytes(b"an old one")
        words = ("--keep", "1h", "--yes") if command == "prune" else ()
        done = run(command, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        with duckdb.connect(str(path), read_only=True) as con:
            found = con.execute("SELECT count(*) FROM flows").fetchall()
            assert found == [(flow_rows(folder).height,)], command
            assert con.execute("SELECT count(*) > 0 FROM transit_share()").fetchall()
    assert run("verify", cwd=folder).returncode == 0


def test_what_a_catalog_names_stays_while_hours_are_rolled_up_again(folder: Path, run: Run) -> None:
    path, query = folder / "lake" / "catalog.duckdb", "SELECT sum(bytes)::BIGINT FROM traffic"
    assert run("sql", "--write-catalog", str(path), cwd=folder).returncode == 0
    named = rollups(folder)
    with duckdb.connect(str(path), read_only=True) as con:
        before = con.execute(query).fetchall()
        late = LONG_AGO + timedelta(minutes=7)
        flow(folder, "late", late, late)
        assert run("rollup", cwd=folder).returncode == 0
        assert con.execute(query).fetchall() == before  # as when it was opened
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute(query).fetchall() == [(before[0][0] + 1000,)]
    assert named.items() < rollups(folder).items()
    assert holds(again(folder))
    path.unlink()  # and without one the old files go at once
    flow(folder, "later", late, late)
    assert run("rollup", cwd=folder).returncode == 0
    assert len(rollups(folder)) == len(named) + 2


def test_a_file_that_is_missing_for_good_is_said_at_once(folder: Path) -> None:
    gone = next((folder / "lake/flows").rglob("*.parquet"))
    gone.unlink()
    with QuerySession(folder / "lake") as con, pytest.raises(InputError, match=gone.name):
        con.query("SELECT count(*), sum(bytes) FROM flows")


def test_queries_during_merging_count_every_record_once(folder: Path) -> None:
    rollup = again(folder)
    want = flow_rows(folder).height
    counts: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with QuerySession(rollup.lake.root) as con:
            while not stop.is_set():
                counts[
                    con.query("SELECT sum(bytes) > 0, count(*) AS n FROM flows")["n"][0].as_py()
                ] += 1

    reader = threading.Thread(target=ask)
    reader.start()
    hours = retention.mergeable(rollup, EVER)
    for one in sorted(hours.items()):
        before = counts.total()
        while counts.total() == before and reader.is_alive():
            time.sleep(0.01)
        retention.compact(rollup.lake, dict([one]), grace_s=0)
    before = counts.total()
    while counts.total() == before and reader.is_alive():
        time.sleep(0.01)
    stop.set()
    reader.join()
    assert set(counts) == {want}
    assert counts[want] > len(hours)
