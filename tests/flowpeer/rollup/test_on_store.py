"""Roll-ups in a lake on an object store: the same tables, whoever else is at it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import worlds
from object_store import Bucket

from flowpeer import catalog
from flowpeer.checks.freshness import freshness
from flowpeer.errors import InputError, UsageError
from flowpeer.lake import day_sums as kept_sums
from flowpeer.lake.s3 import S3Storage
from flowpeer.lake.store import Lake
from flowpeer.lake.verify import verify_files
from flowpeer.mirror import limit
from flowpeer.pipeline import day_sums
from flowpeer.pipeline.ingest import capture_files, ingest_files
from flowpeer.pipeline.retention import merge
from flowpeer.pipeline.rollup import roll_up
from flowpeer.query import QuerySession
from flowpeer.reporter import Collected
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.schema import CONFIGURED
from flowpeer.workspace import Workspace

TABLES = ("traffic", "traffic_routes")


def tables(lake: Lake) -> dict[str, list[str]]:
    """Digests of what is rolled up, by table and hour."""
    record = lake.record()
    return {
        f"{table} {hour}": [file.sha256 for file in record.manifest(table, hour).live]
        for table in TABLES
        for hour in record.hours(table)
    }


def local(folder: Path) -> Lake:
    folder.mkdir()
    rollup = worlds.prepare(folder, worlds.make_world(5), 3)
    roll_up(rollup.network, rollup.lake, Collected(), jobs=1)
    return rollup.lake


def on_store(folder: Path, bucket: Bucket) -> RollupPlanner:
    folder.mkdir()
    return worlds.prepare(folder, worlds.make_world(5), 3, path=bucket.address)


def faults_of(lake: Lake) -> list[str]:
    return [fault.what for _, fault in verify_files(lake.record()) if fault]


def test_the_tables_are_those_of_a_folder(tmp_path: Path, bucket: Bucket) -> None:
    expected = local(tmp_path / "local")
    rollup = on_store(tmp_path / "remote", bucket)
    done = roll_up(rollup.network, rollup.lake, Collected(), jobs=2)
    assert done.rolled_up == done.hours > 2
    assert tables(rollup.lake) == tables(expected)
    assert len(tables(expected)) > 4

    # Another machine finds nothing to do, reads the same, and everything is sound.
    there = bucket.lake("two")
    again = roll_up(rollup.network, there, Collected(), jobs=1)
    assert (again.hours, again.rolled_up) == (done.hours, 0)
    for table in (*TABLES, "flows", "sampling", "routes"):
        frames = [
            catalog.scan(lake.root, table).collect().sort(pl.all()) for lake in (there, expected)
        ]
        assert frames[0].equals(frames[1]), table
    with QuerySession(there.root) as session:
        counted = session.query("SELECT count(*), sum(bytes) FROM traffic").to_pydict()
        names = session.query("SHOW TABLES").num_rows
    with QuerySession(expected.root) as session:
        assert session.query("SELECT count(*), sum(bytes) FROM traffic").to_pydict() == counted
        assert session.query("SHOW TABLES").num_rows == names
    assert faults_of(there) == []
    fresh, was = freshness(rollup.network, there), freshness(rollup.network, expected)
    assert (fresh.flows_until, fresh.rolled_up_until) == (was.flows_until, was.rolled_up_until)
    assert fresh.lake_octets_per_day == was.lake_octets_per_day
    assert "disk_free_octets" not in fresh.gauges()
    with pytest.raises(UsageError, match="`--on` is not possible on an object store"):
        roll_up(rollup.network, there, Collected(), on="spark://nobody:7077")
    with pytest.raises(UsageError, match="catalog"):
        catalog.write_catalog(tmp_path / "c.duckdb", there.root)

    # Merged, the hours are still up to date, and a lost roll-up is made again.
    before = tables(there)
    assert merge(rollup.network, there, datetime(2100, 1, 1, tzinfo=UTC), Collected()).hours
    assert roll_up(rollup.network, bucket.lake("three"), Collected(), jobs=1).rolled_up == 0
    record = there.record()
    hour = record.hours("traffic")[0]
    header = record.header("traffic", hour)
    assert header is not None
    there.storage.remove(header.paths[0])
    assert roll_up(rollup.network, bucket.lake("three"), Collected(), jobs=1).rolled_up == 1
    assert tables(there) == before
    assert faults_of(bucket.lake("four")) == []


def test_a_question_brings_the_files_of_its_hours_alone(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollup = on_store(tmp_path / "remote", bucket)
    roll_up(rollup.network, rollup.lake, Collected(), jobs=1)
    record = rollup.lake.record()
    hours = record.hours("traffic")
    assert len(hours) > 3
    there = bucket.lake("two")

    def here() -> set[str]:
        return {
            file.parent.as_posix()[-18:] for file in (there.root / "traffic").rglob("*.parquet")
        }

    def folders(*some: datetime) -> set[str]:
        return {f"{hour:%Y-%m-%d/hour=%H}"[-18:] for hour in some}

    (wanted,) = [
        frame.filter(pl.col("hour") == hours[-1].hour, pl.col("date") == hours[-1].date())
        for frame in [catalog.scan(rollup.lake.root, "traffic").collect()]
    ]
    asked = "SELECT sum(bytes) AS b FROM traffic WHERE slot >= $a AND slot < $b"
    last = {"a": hours[-1], "b": hours[-1] + timedelta(hours=1)}
    with QuerySession(there.root) as session:
        assert session.query(asked, last).to_pydict() == {"b": [wanted["bytes"].sum()]}
        # DuckDB looks into the first file of a table for its columns.
        assert here() == folders(hours[0], hours[-1])
        # It goes on where it is stopped while a file is on its way, or one is not there.
        fetch = S3Storage.fetch
        monkeypatch.setattr(S3Storage, "fetch", lambda *_, **__: time.sleep(1.5))
        with pytest.raises(UsageError, match=r"stopped after 0\.5 s"):
            session.query("SELECT sum(bytes) FROM traffic", timeout_seconds=0.5)
        monkeypatch.setattr(S3Storage, "fetch", lambda *_, **__: None)
        with pytest.raises(InputError, match=f"{bucket.address}/traffic/.*is missing"):
            session.query("SELECT sum(bytes) FROM traffic")
        monkeypatch.setattr(S3Storage, "fetch", fetch)
        assert here() == folders(hours[0], hours[-1])
        everything = session.query("SELECT sum(bytes) AS b FROM traffic")
    assert here() == folders(*hours)
    with QuerySession(rollup.lake.root) as session:
        assert session.query("SELECT sum(bytes) AS b FROM traffic") == everything
    octets = sum(header.file_bytes for header in record.headers("traffic").values())
    limit(bucket.machine("three"), octets // 2, 3600)
    with (
        QuerySession(bucket.machine("three")) as session,
        pytest.raises(UsageError, match="octets of `traffic` are to be read"),
    ):
        session.query("SELECT sum(bytes) FROM traffic")


def test_days_are_summed_where_their_hours_are(tmp_path: Path, bucket: Bucket) -> None:
    rollup = on_store(tmp_path / "remote", bucket)
    roll_up(rollup.network, rollup.lake, Collected(), jobs=1)
    asked = "SELECT day, sum(bytes)::BIGINT AS b FROM asn_days GROUP BY day ORDER BY day"
    there = bucket.lake("two")
    assert day_sums.renew(there.record()) == 0
    with QuerySession(there.root) as session:
        wanted = session.query(asked)
    days = set(wanted["day"].to_pylist())
    lost = min((there.root / "traffic").rglob("*.parquet"))
    lost.unlink()
    assert day_sums.renew(there.record()) > 0
    assert kept_sums.kept(there.record(), "asn_days").keys() < days
    there.places([lost.relative_to(there.root).as_posix()])
    assert day_sums.renew(there.record()) > 0
    assert kept_sums.kept(there.record(), "asn_days").keys() == days
    shutil.rmtree(there.root / "traffic")
    shutil.rmtree(there.root / "traffic_routes")
    with QuerySession(there.root) as session:
        assert session.query(asked) == wanted
    assert not (there.root / "traffic").exists()
    assert not (there.root / "traffic_routes").exists()


def test_of_two_that_roll_up_the_same_hour_one_is_refused_and_one_result_stands(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollup = on_store(tmp_path / "remote", bucket)
    hours = rollup.plan()
    write = S3Storage.write
    refused: list[str] = []
    there = bucket.lake("two")

    def meanwhile(self: S3Storage, key: str, octets: bytes, *, replaces: str | None) -> None:
        try:
            if self.root != there.root and key.startswith("manifests/traffic") and not refused:
                refused.append("")
                roll_up(rollup.network, there, Collected(), jobs=1)
            write(self, key, octets, replaces=replaces)
        except Exception as error:
            refused.append(f"{type(error).__name__} {error}")
            raise

    monkeypatch.setattr(S3Storage, "write", meanwhile)
    here = bucket.lake("one")
    roll_up(rollup.network, here, Collected(), jobs=1)
    name = f"manifests/traffic_routes/date={hours[0].start:%Y-%m-%d}/hour={hours[0].start:%H}.json"
    assert refused == ["", f"ConflictError {name}"]
    record = here.record()
    for table in TABLES:
        for hour in record.hours(table):
            header = record.header(table, hour)
            assert header is not None
            assert (header.files, header.generation, header.retired) == (1, 1, ())
    assert faults_of(here) == []  # the other result of the race is gone


KILLED = """
import os, signal, sys
from botocore.client import BaseClient
from flowpeer.cli import main
whole, passed = BaseClient._make_api_call, 0
def call(self, name, given):
    global passed
    passed += name == "PutObject" and "/traffic" in given["Key"]
    answer = whole(self, name, given)
    if passed == int(os.environ["KILLED_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
BaseClient._make_api_call = call
sys.argv[0] = "flowpeer"
sys.exit(main())
"""


def test_killed_after_each_put_of_an_hour_and_run_again_gives_the_same(
    tmp_path: Path, bucket: Bucket
) -> None:
    expected = tables(local(tmp_path / "local"))
    rollup = on_store(tmp_path / "remote", bucket)
    for put in range(1, 5):  # two files and their manifests
        done = subprocess.run(
            [sys.executable, "-c", KILLED, "rollup", "--jobs", "1"], cwd=tmp_path / "remote",
            env={**os.environ, "KILLED_AT": str(put)}, check=False, capture_output=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        lake = bucket.lake("two")
        made = tables(lake)
        assert all(made[hour] == expected[hour] for hour in made)
    roll_up(rollup.network, lake, Collected(), jobs=1)
    assert tables(lake) == expected
    assert set(faults_of(lake)) <= {
        "no manifest names it: it was never finished, or is no file of flowpeer"
    }


def test_tables_that_are_replaced_are_read_as_they_are_now(tmp_path: Path, bucket: Bucket) -> None:
    """`reference` and `routes` have one name for ever; their objects have not."""
    rollup = on_store(tmp_path / "remote", bucket)
    lake, there = rollup.lake, bucket.lake("two")
    roll_up(rollup.network, lake, Collected(), jobs=1)
    relative = "reference/metros.parquet"
    first = there.path(relative)
    rows = pl.read_parquet(first)
    assert catalog.scan(there.root, "metros").collect().equals(rows)
    lake.publish(relative, CONFIGURED["metros"], rows.head(1).to_arrow(), {"source": "x"})
    assert catalog.scan(there.root, "metros").collect().height == 1
    assert there.path(relative) != first
    assert first.is_file()
    header = lake.record().header("reference")
    assert header is not None
    assert [r.path for r in header.retired] == [first.relative_to(there.root).as_posix()]
    assert faults_of(there) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "captures", ["edge1.[ad]*", pytest.param("*", marks=pytest.mark.soak)], ids=["some", "all"]
)
def test_the_sample_gives_the_same_tables(
    captures: str, demo_folder: Path, tmp_path: Path, bucket: Bucket, run: Callable[..., Any]
) -> None:
    made = []
    for place, path in (("here", "lake"), ("there", bucket.address)):
        folder = tmp_path / place
        folder.mkdir()
        for source in demo_folder.iterdir():
            if source.name not in ("captures", "flowpeer.toml", "lake", "report"):
                (folder / source.name).symlink_to(source)
        config = folder / "flowpeer.toml"
        text = (demo_folder / "flowpeer.toml").read_text()
        assert 'path = "lake"' in text
        config.write_text(text.replace('path = "lake"', f'path = "{path}"', 1))
        workspace, said = Workspace(config), Collected()
        given = capture_files(sorted((demo_folder / "captures").glob(captures)))
        ingest_files(workspace.network(), workspace.lake(), given, said)
        workspace.reread()
        roll_up(workspace.network(), workspace.lake(), said)
        made.append(tables(workspace.lake()))
        answer = run("candidates", "--metro", "ams", "--format", "csv", cwd=folder)
        assert answer.returncode in (0, 1), answer.stderr
        made.append({"candidates": [answer.stdout]})
    assert made[:2] == made[2:]
    assert len(made[0]) == 48
    if captures == "*":
        assert made[0] == tables(Workspace(demo_folder / "flowpeer.toml").lake())
