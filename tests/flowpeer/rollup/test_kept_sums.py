"""Sums that a decoder keeps of flow files: hours closed with them are those of the records."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import worlds
from deliveries import SECOND, UNITS, empty_lake, publish, world_of
from effort import seeds

from flowpeer.checks import integrity
from flowpeer.configuration import load
from flowpeer.lake.manifest import partition_hour
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.pipeline import sum_keeper
from flowpeer.pipeline.collect import SegmentUnit
from flowpeer.pipeline.sum_keeper import SumKeeper
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.reporter import Collected
from flowpeer.rollup import aggregate, kept_sums, sum_files
from flowpeer.rollup import planner as rollup_planner
from flowpeer.rollup.packed_rates import PackedRates
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.rib import snapshot
from flowpeer_core.native import library
from flowpeer_ingest.segments import SegmentSummary

pytestmark = pytest.mark.skipif(library() is None, reason="built without the compiled core")


def seal(planner: RollupPlanner) -> list[Path]:
    """Keep the sums of all files, as they would be kept now."""
    kept = SumKeeper(planner.lake, planner.network, lambda: 0)
    for path, file in planner.files.items():
        table = pq.read_table(planner.lake.path(path), partitioning=None)
        kept.begin(Path(path).stem)
        for at in range(0, table.num_rows, 7):  # as they come: some rows at a time
            kept.add(partition_hour(path), table.slice(at, 7))
        kept.keep({partition_hour(path): file.sha256})
    return sorted((planner.lake.cache / "sums").rglob("*.sums"))


def rolled_up(folder: Path) -> dict[str, str]:
    """Digests of what a roll-up of everything makes."""
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    for table in ("traffic", "traffic_routes"):
        shutil.rmtree(lake.root / "manifests" / table, ignore_errors=True)
        shutil.rmtree(lake.root / table, ignore_errors=True)
    planner = RollupPlanner(lake, network)
    for hour in planner.plan():
        planner.roll_up(hour)
    return {
        path.relative_to(lake.root).as_posix(): sha256_of(path)
        for table in ("traffic", "traffic_routes")
        for path in sorted((lake.root / table).rglob("*.parquet"))
    }


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the flow files whose records were read for the hour of their receipt."""
    names: list[str] = []
    original = aggregate.read

    def read(task: Any, hour: datetime, *rest: Any, **more: Any) -> Iterator[Any]:
        names.extend(name for name, *_ in task if partition_hour(name) == hour)
        return original(task, hour, *rest, **more)

    monkeypatch.setattr(aggregate, "read", read)
    return names


@pytest.mark.parametrize("seed", seeds(20, 6))
def test_hours_closed_with_kept_sums_are_those_of_the_records(
    seed: int, tmp_path: Path, files_read: list[str]
) -> None:
    planner = worlds.prepare(tmp_path, worlds.make_world(seed), 3)
    expected = rolled_up(tmp_path)
    assert sorted({*files_read}) == sorted(planner.files)
    files_read.clear()
    assert len(seal(planner)) == len(planner.files)
    assert rolled_up(tmp_path) == expected
    assert files_read == []


@pytest.mark.parametrize("seed", seeds(8, 3))
def test_sums_kept_while_the_day_was_learned_change_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How interfaces are metered is not known before the day's records are: some sums do not hold
    later, in whatever order the files came."""
    world = worlds.make_world(seed)

    class KeepingSink(FlowSink):
        def __init__(self, lake: Lake, unit: str) -> None:
            super().__init__(lake, unit)
            self._written: list[tuple[datetime, Any]] = []

        def write(self, hour: datetime, name: str, table: Any) -> None:
            super().write(hour, name, table)
            self._written += [(hour, table)] if name == "flows" else []

        def publish(self, record: Any = None) -> Any:
            done = super().publish(record)
            kept.begin(self.unit)
            for hour, table in self._written:
                kept.add(hour, table)
            kept.keep(self.flow_digests)
            return done

    monkeypatch.setattr(sum_keeper, "RENEWED_S", 0.0)
    (tmp_path / "flowpeer.toml").write_text(worlds.toml_of(world))
    network = load(tmp_path / "flowpeer.toml")
    kept = SumKeeper(Lake(network.lake_path), network, lambda: 0)
    monkeypatch.setattr(worlds, "FlowSink", KeepingSink)
    planner = worlds.prepare(tmp_path, world, 5)
    assert list((planner.lake.cache / "sums").rglob("*.sums"))
    closed = rolled_up(tmp_path)
    shutil.rmtree(planner.lake.cache / "sums")
    assert closed == rolled_up(tmp_path)


def other_rate(folder: Path) -> None:
    path = folder / "flowpeer.toml"
    path.write_text(path.read_text().replace("sampling_override = 7", "sampling_override = 8"))


def other_role(folder: Path) -> None:
    path = folder / "flowpeer.toml"
    path.write_text(path.read_text().replace('role = "peer"', 'role = "customer"'))


def other_prefixes(folder: Path) -> None:
    path = folder / "flowpeer.toml"
    path.write_text(path.read_text().replace("'198.18.3.0/24'", "'198.18.2.0/23'"))


def other_routes(folder: Path) -> None:
    lake = Lake(load(folder / "flowpeer.toml").lake_path)
    (folder / "again4.txt").write_text("20.0.0.0\t8\t174\n31.0.0.0\t9\t2914\n")
    snapshot.load(lake, folder / "again4.txt", taken_at=datetime(2026, 9, 15, 1, tzinfo=UTC))


def other_announcements(folder: Path) -> None:
    lake = Lake(load(folder / "flowpeer.toml").lake_path)
    hour = datetime(2026, 9, 16, 1, tzinfo=UTC)
    at = worlds.MIDNIGHT + worlds.HOUR
    row = {"exporter_ip": "2001:db8:1::3", "observation_domain": 0, "sampler_id": None,
           "interface": None, "interval": 333, "first_seen": at, "last_seen": at}  # fmt: skip
    sink = FlowSink(lake, "rates")
    sink.write(hour, "sampling", pa.Table.from_pylist([row], worlds.arrow_schema(worlds.SAMPLING)))
    sink.publish()


@pytest.mark.parametrize(
    "change", [other_rate, other_role, other_prefixes, other_routes, other_announcements]
)
def test_sums_that_do_not_hold_any_more_are_not_taken(
    change: Callable[[Path], None], tmp_path: Path, files_read: list[str]
) -> None:
    planner = worlds.prepare(tmp_path, worlds.make_world(3), 3)
    seal(planner)
    before = rolled_up(tmp_path)
    assert files_read == []
    change(tmp_path)
    closed = rolled_up(tmp_path)
    assert closed != before
    assert files_read
    shutil.rmtree(planner.lake.cache / "sums")
    assert closed == rolled_up(tmp_path)


def test_sums_of_a_crossing_that_is_none_any_more_are_not_taken(
    tmp_path: Path, files_read: list[str]
) -> None:
    """The only record of the hour crosses two external interfaces, and then only one."""
    world = worlds.make_world(3)
    flow = next(flow for flow in world.flows if flow["received"] >= worlds.MIDNIGHT + worlds.HOUR)
    flow |= {"exporter_ip": "192.0.2.1", "input_if": 10, "output_if": 14, "direction": 0,
             "start": flow["received"], "end": flow["received"]}  # fmt: skip
    world.flows = [flow]
    planner = worlds.prepare(tmp_path, world, 1)
    seal(planner)
    before = rolled_up(tmp_path)
    assert files_read == []
    other = '[[interfaces]]\nexporter = "edge1"\nindex = 14\nrole = '
    path = tmp_path / "flowpeer.toml"
    edited = path.read_text().replace(f'{other}"customer"\nasn = 2914', f'{other}"internal"')
    assert edited != path.read_text()
    path.write_text(edited)
    closed = rolled_up(tmp_path)
    assert closed != before
    assert files_read
    shutil.rmtree(planner.lake.cache / "sums")
    assert closed == rolled_up(tmp_path)


def rewritten(path: Path, edit: Callable[[dict[str, Any], Any], None]) -> None:
    """Write other sums in place of those of a file, with the right checksum."""
    found = sum_files.read(path)
    assert found is not None
    header, entries = json.loads(found.header), found.entries.copy()
    edit(header, entries)
    sum_files.write(path, entries, json.dumps(header).encode())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flipped(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 16
    path.write_bytes(octets)


def of_another_version(path: Path) -> None:
    path.replace(path.with_stem(f"{path.stem}0"))


def of_another_file(path: Path) -> None:
    rewritten(path, lambda header, _: header.update(sha256="0" * 64))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def unordered(path: Path) -> None:
    def turned(_: dict[str, Any], entries: Any) -> None:
        entries[:] = entries[::-1].copy()

    rewritten(path, turned)


def of_a_longer_header(path: Path) -> None:
    """The length says that the header is longer than the file."""
    octets = path.read_bytes()[:-12] + (1 << 40).to_bytes(8)
    path.write_bytes(octets + zlib.crc32(octets).to_bytes(4))


@pytest.mark.parametrize(
    "damage",
    [cut, flipped, of_another_version, of_another_file, empty, unordered, of_a_longer_header],
)
def test_damaged_sums_are_not_taken(
    damage: Callable[[Path], None], tmp_path: Path, files_read: list[str]
) -> None:
    planner = worlds.prepare(tmp_path, worlds.make_world(4), 3)
    expected = rolled_up(tmp_path)
    files_read.clear()
    for path in seal(planner):
        damage(path)
    assert rolled_up(tmp_path) == expected
    assert sorted({*files_read}) == sorted(planner.files)


def verified(folder: Path, period: Any = None) -> list[tuple[str, str]]:
    network = load(folder / "flowpeer.toml")
    done = integrity.verify(network, Lake(network.lake_path), Collected(), period)
    assert done.broken == []
    return [(fault.path, fault.what) for fault in done.faults]


def test_verify_makes_kept_sums_again(tmp_path: Path) -> None:
    planner = worlds.prepare(tmp_path, worlds.make_world(6), 3)
    rolled_up(tmp_path)
    paths = seal(planner)
    assert verified(tmp_path) == []

    def moved(_: dict[str, Any], entries: Any) -> None:
        entries["bytes"][0] += 1
        entries["bytes"][1] -= 1

    def sums_in(path: Path) -> int:
        found = sum_files.read(path)
        return 0 if found is None else len(found.entries)

    several = next(p for p in paths if sums_in(p) > 1)
    rewritten(several, moved)
    flipped(next(path for path in paths if path != several))
    faults = dict(verified(tmp_path))
    assert len(faults) == 2
    name = several.relative_to(planner.lake.root).as_posix()
    assert faults[name] == "not the sums of the records"


def test_verify_passes_over_sums_beside_a_damaged_file(tmp_path: Path) -> None:
    """Whether records count elsewhere is not known without the copies in the hour before."""
    planner = empty_lake(tmp_path / "lake", world_of(3))
    edge = worlds.MIDNIGHT + worlds.HOUR - SECOND
    flow = {
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "received": edge,
        "start": edge - SECOND, "end": edge, "input_if": 10, "output_if": 15, "direction": 0,
        "src_addr": "20.0.0.1", "dst_addr": "198.18.0.1", "bytes": 1000, "packets": 3,
        "sampling_interval": None, "export_time": edge, "datagram_sequence": 7,
    }  # fmt: skip
    after = flow | dict.fromkeys(("received", "start", "end", "export_time"), edge + 60 * SECOND)
    publish(planner.lake, UNITS[2], [(0, [flow])], 1)
    publish(planner.lake, UNITS[0], [(2 * SECOND, [flow]), (0, [after])], 2)
    rolled_up(planner.lake.root.parent)
    planner = RollupPlanner(planner.lake, planner.network)
    assert len(seal(planner)) == 2
    (copy,) = (planner.lake.path(path) for path in planner.files if "capture" in path)
    copy.write_bytes(copy.read_bytes()[:-20])
    name = copy.relative_to(planner.lake.root).as_posix()
    assert [path for path, _ in verified(planner.lake.root.parent)] == [name]
    begin = datetime(2026, 9, 16, 1, tzinfo=UTC)
    hour = begin, begin + timedelta(hours=1)
    assert verified(planner.lake.root.parent, hour) == [], "the hour's own files are good"


def test_sums_of_a_unit_whose_datagrams_count_elsewhere_are_not_taken(tmp_path: Path) -> None:
    """What is kept has no datagrams: rows that are duplicates must be read."""
    planner = worlds.prepare(tmp_path, worlds.make_world(8), 2)
    hour = next(h for h in planner.plan() if h.start == datetime(2026, 9, 16, 1, tzinfo=UTC))
    own = [path for path in planner.files if partition_hour(path) == hour.start]
    rows = np.array([0])
    assert {*planner._kept(hour, {own[0]: rows})} == {*own[1:]}


def test_a_collector_keeps_sums_of_what_it_publishes(
    tmp_path: Path, files_read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = worlds.prepare(tmp_path, worlds.make_world(5), 2)
    waiting = [0]
    kept = SumKeeper(planner.lake, planner.network, lambda: waiting[0])
    tables = {
        partition_hour(path): pq.read_table(planner.lake.path(path), partitioning=None)
        for path in planner.files
    }

    def publish(name: str) -> set[str]:
        before = {*(planner.lake.cache / "sums").rglob("*.sums")}
        unit = SegmentUnit(planner.lake, name, collector="one", keeper=kept)
        for hour, table in tables.items():
            unit.write(hour, "flows", table)
        unit.publish(SegmentSummary(path=name, rows=0))
        return {
            p.stem.partition("-")[0]
            for p in (planner.lake.cache / "sums").rglob("*.sums")
            if p not in before
        }

    made = publish("segment-1")
    record = planner.lake.record()
    digests = {
        file.sha256[:32]
        for hour in tables
        for file in record.manifest("flows", hour).live
        if file.path.endswith("segment-1-one.parquet")
    }
    assert made == digests
    assert len(made) == len(tables)
    waiting[0] = sum_keeper.MOST_WAITING + 1
    assert publish("segment-2") == set(), "publishing comes first"
    waiting[0] = 0
    monkeypatch.setattr(sum_keeper, "RENEWED_S", 0.0)
    with monkeypatch.context() as fewer:
        fewer.setattr(sum_keeper, "MOST_COMBINED", 1)
        assert publish("segment-made-up") == set()
    monkeypatch.setattr(sum_keeper, "HELD_OCTETS", 1)

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_sums, "write", broken)
    assert publish("segment-3") == set(), "published all the same"
    assert len(planner.lake.record().manifest("flows", next(iter(tables))).live) >= 4


def test_sums_of_hours_long_past_are_removed(tmp_path: Path) -> None:
    planner = worlds.prepare(tmp_path, worlds.make_world(5), 1)
    seal(planner)
    first = min(partition_hour(path) for path in planner.files)
    kept = SumKeeper(planner.lake, planner.network, lambda: 0)
    kept._remove_old(first + timedelta(hours=sum_keeper.KEPT_HOURS))
    assert kept_sums.place(planner.lake.cache, first, "0").parent.is_dir()
    kept._remove_old(first + timedelta(hours=sum_keeper.KEPT_HOURS + 1))
    assert not kept_sums.place(planner.lake.cache, first, "0").parent.exists()


def test_what_does_not_fit_is_not_kept_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums that were emptied for others are those of no file, whatever comes behind."""
    monkeypatch.setattr(sum_keeper, "HELD_OCTETS", 1)
    monkeypatch.setattr(sum_keeper, "RENEWED_S", 0.0)
    planner = worlds.prepare(tmp_path, worlds.make_world(5), 1)
    path = next(p for p in planner.files if partition_hour(p).hour == 1)
    rows = pq.read_table(planner.lake.path(path), partitioning=None)
    at = rows.schema.get_field_index("end_time"), rows.schema.get_field_index("start_time")
    inside = rows.take([n for n, end in enumerate(rows["end_time"].to_pylist()) if end.hour == 1])
    outside = rows.slice(0, 1)
    for place in at:
        old = pa.array([datetime(2026, 9, 15, tzinfo=UTC)], rows.schema.field(place).type)
        outside = outside.set_column(place, rows.schema.field(place), old)
    many = pa.concat_tables([*[inside] * (64 // len(inside) + 1)]).slice(0, 64)
    kept = SumKeeper(planner.lake, planner.network, lambda: 0)
    kept.begin("unit")
    kept.add(partition_hour(path), pa.concat_tables([many, *[outside] * 64]))
    kept.add(partition_hour(path), inside)
    kept.keep({partition_hour(path): "0" * 64})
    assert not list((planner.lake.cache / "sums").rglob("*.sums"))


def test_a_unit_is_published_whatever_is_wrong_with_the_routes_or_exchanges(tmp_path: Path) -> None:
    planner = worlds.prepare(tmp_path, worlds.make_world(5), 1)
    port = {"id": 1, "net_id": 1, "ix_id": 26, "asn": 64601, "speed": 1, "ipaddr4": "203.0.113.1"}
    tables = {"netixlan": [port], "net": [{"id": 1, "asn": 64601, "name": "A member"}],
              "ix": [{"id": 26, "name": "An exchange"}]}  # fmt: skip
    document = {name: {"data": rows} for name, rows in tables.items()}
    (tmp_path / "peeringdb.json").write_text(json.dumps(document))
    load_peeringdb(planner.lake, tmp_path / "peeringdb.json")
    (ports,) = (planner.lake.root / "reference").glob("*netixlan*")
    ports.write_bytes(b"not a table")
    kept = SumKeeper(planner.lake, planner.network, lambda: 0)
    path = next(iter(planner.files))
    unit = SegmentUnit(planner.lake, "segment", keeper=kept)
    table = pq.read_table(planner.lake.path(path), partitioning=None)
    unit.write(partition_hour(path), "flows", table)
    unit.publish(SegmentSummary(path="segment", rows=0))
    live = planner.lake.record().manifest("flows", partition_hour(path)).live
    assert any(file.path.endswith("/segment.parquet") for file in live)


def test_tables_of_routes_that_hold_no_more_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector runs for months, and routes are loaded every few hours."""
    monkeypatch.setattr(sum_keeper, "RENEWED_S", 0.0)
    planner = worlds.prepare(tmp_path, worlds.make_world(5), 1)
    kept = SumKeeper(planner.lake, planner.network, lambda: 0)
    path = next(iter(planner.files))
    table = pq.read_table(planner.lake.path(path), partitioning=None)
    for day in range(3):
        (tmp_path / "more.txt").write_text(f"20.0.0.0\t8\t{100 + day}\n")
        when = datetime(2026, 9, 15, 1 + day, tzinfo=UTC)
        snapshot.load(planner.lake, tmp_path / "more.txt", taken_at=when)
        kept.begin(f"unit-{day}")
        kept.add(partition_hour(path), table)
        assert len(kept._tables) == 1


def test_announcements_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the roll-up runs elsewhere, or never, there are a file each minute of them."""
    monkeypatch.setattr(sum_keeper, "RENEWED_S", 0.0)
    planner = worlds.prepare(tmp_path, worlds.make_world(3), 1)
    for manifest in (planner.lake.root / "manifests" / "sampling").rglob("*.json"):
        os.utime(manifest, (1e9, 1e9))  # not of just now, when the next one may get the same time
    read: list[datetime] = []
    original = PackedRates._read

    def _read(self: PackedRates, hour: datetime, mark: str) -> Any:
        read.append(hour)
        return original(self, hour, mark)

    monkeypatch.setattr(PackedRates, "_read", _read)
    path = next(iter(planner.files))
    table = pq.read_table(planner.lake.path(path), partitioning=None)
    kept = SumKeeper(planner.lake, planner.network, lambda: 0)
    for n in range(3):
        kept.begin(f"unit-{n}")
        kept.add(partition_hour(path), table)
        assert kept._active
    assert sorted(read) == planner.record.hours("sampling") != []


def test_sums_of_an_hour_go_on_while_another_hour_has_other_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_planner, "TABLES_KEPT", 1)
    planner = worlds.prepare(tmp_path, worlds.make_world(5), 1)
    (tmp_path / "fra.txt").write_text("20.0.0.0\t8\t100\n")
    (tmp_path / "later.txt").write_text("20.0.0.0\t8\t101\n")
    snapshot.load(planner.lake, tmp_path / "fra.txt", vantage="fra",
                  taken_at=datetime(2026, 9, 15, 1, tzinfo=UTC))  # fmt: skip
    snapshot.load(planner.lake, tmp_path / "later.txt",
                  taken_at=datetime(2026, 9, 16, 0, 30, tzinfo=UTC))  # fmt: skip
    kept = SumKeeper(planner.lake, planner.network, lambda: 0)
    kept.begin("unit")
    first, second = sorted(planner.files)[:2]
    rows = pq.read_table(planner.lake.path(first), partitioning=None)
    of_one = rows.filter(pc.equal(rows["exporter_ip"].cast(pa.string()), "192.0.2.1"))
    kept.add(partition_hour(first), of_one)
    kept.add(partition_hour(second), pq.read_table(planner.lake.path(second), partitioning=None))
    kept.add(partition_hour(first), rows)
    assert kept._active
