"""What is packed of the record says what the record says, and saves opening it."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import worlds
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer.configuration import load
from flowpeer.lake import day_index
from flowpeer.lake.compact import merge
from flowpeer.lake.manifest import HOUR, Header, key_of
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.pipeline.rollup import plan, roll_up
from flowpeer.reporter import Collected
from flowpeer.rollup.packed_rates import KEY, PackedRates, changes, points, runs
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS, SAMPLING

DAY = datetime(2026, 9, 16, tzinfo=UTC)
EXPORTER = next(iter(worlds.EXPORTERS))


def publish(lake: Lake, unit: str, hour: datetime, interval: int = 100) -> None:
    """A record and a rate."""
    of = {"exporter_ip": EXPORTER, "observation_domain": 0}
    flow = of | {
        "received_at": hour, "start_time": hour, "end_time": hour, "format": "ipfix",
        "input_if": 10, "output_if": 14, "bytes": 1000, "packets": 1, "time_corrected": False,
    }  # fmt: skip
    rate = of | {"interval": interval, "first_seen": hour, "last_seen": hour + HOUR / 2}
    sink = FlowSink(lake, unit)
    for name, columns, row in (("flows", FLOWS, flow), ("sampling", SAMPLING, rate)):
        schema = arrow_schema(columns)
        cells = {name: row.get(name) for name in schema.names}
        sink.write(hour, name, pa.Table.from_pylist([cells], schema))
    sink.publish()


def age(lake: Lake) -> None:
    """As if all manifests were written an hour ago, each at a time of its own."""
    for n, path in enumerate(sorted(lake.path("manifests").rglob("*.json"))):
        then = path.stat().st_mtime_ns
        if then > 1_700_000_000_000_000_000:
            os.utime(path, ns=(then, then % 1_000_000_000 + 10**15 + n))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of three days, some hours of each, rolled up; nothing of it is packed."""
    folder = tmp_path_factory.mktemp("made")
    world = worlds.make_world(3)
    world.flows, world.sampling = [], []
    lake = worlds.prepare(folder, world, 1).lake
    for n in range(-24, 48, 6):
        for unit in ("a", "b"):
            publish(lake, f"unit-{unit}{n}", DAY + n * HOUR)
    age(lake)
    roll_up(load(folder / "flowpeer.toml"), lake, Collected())
    lake.close()
    shutil.rmtree(lake.cache)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(made, tmp_path / "world", copy_function=shutil.copy))
    age(Lake(copy / "lake"))
    return copy


_opened: list[str] = []
_watching = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        _opened.append(os.fspath(arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def opened(lake: Lake) -> Iterator[set[str]]:
    """The files of a lake that are opened meanwhile, by path below it."""
    global _watching
    found: set[str] = set()
    _opened.clear()
    _watching = True
    try:
        yield found
    finally:
        _watching = False
        root = f"{lake.root}/"
        paths = {path for path in _opened if path.startswith(root) and Path(path).is_file()}
        found.update(path.removeprefix(root) for path in paths)


def plainly(lake: Lake, table: str) -> dict[datetime, Header]:
    """Headers as the manifests say."""
    record = Record(lake)
    return {
        hour: replace(record.manifest(table, hour).header, octets={})
        for hour in record.hours(table)
    }


def octets(record: Record) -> dict[datetime, Any]:
    return {hour: record.octets("flows", hour) for hour in record.hours("flows")}


def octets_plainly(lake: Lake) -> dict[datetime, Any]:
    """Octets as the manifests say."""
    record = Record(lake)
    return {h: record.manifest("flows", h).header.octets for h in record.hours("flows")}


@pytest.mark.parametrize("packed_by", ["plan", "rollup"])
def test_a_packed_lake_is_planned_alike_and_opens_few_files(folder: Path, packed_by: str) -> None:
    network, lake = load(folder / "flowpeer.toml"), Lake(folder / "lake")
    start = DAY + 6 * HOUR
    with opened(lake) as before:
        want = plan(network, lake, start=start, end=start + HOUR)
    everything = plan(network, Lake(lake.root))
    assert len(before) > 20
    if packed_by == "rollup":
        shutil.rmtree(lake.cache)
        assert roll_up(network, lake, Collected()).rolled_up == 0
    with opened(lake) as after:
        assert plan(network, Lake(lake.root), start=start, end=start + HOUR) == want
    assert len(after) <= 10, sorted(after)
    with opened(lake) as all_of_it:
        assert plan(network, Lake(lake.root)) == everything
    assert len(all_of_it) <= 3 + 3 * 3 + 1, sorted(all_of_it)
    assert len(want) == 1


def test_whatever_changes_the_index_is_never_wrong(folder: Path) -> None:
    lake, dice = Lake(folder / "lake"), random.Random(5)
    hours = Record(lake).hours("flows")
    for n in range(12):
        record = Record(lake)
        for table in ("flows", "sampling"):
            assert record.headers(table) == plainly(lake, table), n
        assert octets(record) == octets_plainly(lake)
        record.pack()
        hour = dice.choice(hours)
        if dice.random() < 0.3:
            merge(lake, "flows", hour, grace_s=0)
        else:
            publish(lake, f"unit-{n}", hour)
        if dice.random() < 0.5:
            age(lake)
        if dice.random() < 0.3:  # begun in a process that sees what came before and after it
            assert record.header("flows", hour) in (
                None, *(Record(lake).headers("flows").values()), record.headers("flows")[hour],
            )  # fmt: skip
            record.forget("flows", hour)
            assert record.headers("flows") == plainly(lake, "flows")
            record.pack()


def test_what_was_just_written_is_not_packed(folder: Path) -> None:
    lake = Lake(folder / "lake")
    young = DAY + 6 * HOUR
    publish(lake, "unit-young", young)
    record = Record(lake)
    record.headers("flows")
    record.pack()
    packed = day_index.read(lake.storage, "flows", "2026-09-16")
    assert DAY in packed
    assert young not in packed


def test_what_waits_for_its_unit_is_not_packed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowpeer.lake.units import UnitRecord

    lake = Lake(folder / "lake")
    with monkeypatch.context() as patch:
        patch.setattr(
            "flowpeer.lake.publish.complete", lambda *_: None
        )  # killed before its last act
        sink = FlowSink(lake, "unit-x")
        row = dict.fromkeys(arrow_schema(SAMPLING).names) | {
            "exporter_ip": EXPORTER, "observation_domain": 0, "interval": 7,
            "first_seen": DAY, "last_seen": DAY,
        }  # fmt: skip
        sink.write(DAY, "sampling", pa.Table.from_pylist([row], arrow_schema(SAMPLING)))
        sink.publish(UnitRecord("unit-x", rows=1))
    age(lake)
    record = Record(lake)
    record.headers("sampling")
    announced = PackedRates(record)
    record.pack()
    announced.pack()
    assert DAY not in day_index.read(lake.storage, "sampling", "2026-09-16")
    assert 7 not in announced.rows["numerator"]
    marked = pl.read_parquet(lake.path(KEY)).filter(pl.col("mark").is_not_null())["hour"]
    assert DAY not in marked
    assert DAY + 6 * HOUR in marked


@pytest.mark.parametrize("content", [b"", b"x", b'{"version":1}\n'])
def test_a_damaged_index_is_passed_over(folder: Path, content: bytes) -> None:
    lake = Lake(folder / "lake")
    record = Record(lake)
    want = record.headers("flows")
    rows = PackedRates(record)
    record.pack()
    rows.pack()
    for path in (lake.cache / "headers/flows").iterdir():
        path.write_bytes(content)
    lake.path(KEY).write_bytes(content)
    assert Record(lake).headers("flows") == want
    assert PackedRates(Record(lake)).changes().equals(rows.changes())


def test_a_copied_lake_reads_its_manifests(folder: Path, tmp_path: Path) -> None:
    """Another copy may have other manifests: no mark of the first is one of the second."""
    lake = Lake(folder / "lake")
    record = Record(lake)
    record.headers("flows")
    record.pack()
    other = Lake(Path(shutil.copytree(lake.root, tmp_path / "other")))
    hour = next(iter(Record(other).hours("flows")))
    with opened(other) as files:
        Record(other).headers("flows")
    assert key_of("flows", hour) in files


POINT = st.tuples(st.integers(0, 3), st.integers(0, 59), st.sampled_from([1, 2]), st.booleans())


@settings(max_examples=examples(30))
@given(st.lists(POINT, max_size=40), st.integers(1, 3))
def test_of_an_hour_the_ends_of_its_runs_are_enough(
    found: list[tuple[int, int, int, bool]], split: int
) -> None:
    rows = [
        {
            "exporter_ip": EXPORTER, "session": None, "observation_domain": 0,
            "sampler_id": 1 if sampler else None, "interface": None, "interval": interval,
            "numerator": None, "denominator": None,
            "first_seen": DAY + hour * HOUR + timedelta(minutes=minute),
            "last_seen": DAY + hour * HOUR + timedelta(minutes=min(59, minute + split)),
        }
        for hour, minute, interval, sampler in found
    ]  # fmt: skip
    table = pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, arrow_schema(SAMPLING)))).lazy()
    by_hour = [
        runs(points(table.filter(pl.col("first_seen").dt.truncate("1h") == DAY + n * HOUR)))
        for n in range(4)
    ]
    assert changes(pl.concat(by_hour)).equals(changes(points(table)))


def test_who_may_only_read_packs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lake, "writable", False)
    lake = Lake(folder / "lake")
    record = Record(lake)
    record.headers("flows")
    announced = PackedRates(record)
    record.pack()
    announced.pack()
    assert not lake.cache.exists()
