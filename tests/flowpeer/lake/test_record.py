"""The record of the lake: read once and as a whole, whoever else writes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flowpeer.checks import quality
from flowpeer.configuration import load
from flowpeer.errors import InputError
from flowpeer.lake.decoder_state import SavedDecoder
from flowpeer.lake.manifest import HOUR, folder_of, key_of
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.storage import LocalStorage
from flowpeer.lake.store import Lake
from flowpeer.lake.units import UnitRecord
from flowpeer.pipeline.rollup import roll_up
from flowpeer.reporter import Collected
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.schema import FORMAT
from flowpeer.workspace import Workspace
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.facts import facts_of
from flowpeer_ingest.parts import MAX_INTERFACES, FlowFacts
from flowpeer_ingest.schema import FLOWS
from flowpeer_ingest.unit_decoder import UnitDecoder

Run = Callable[..., CompletedProcess[str]]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("exporters", [1, 3])
def test_rows_as_they_lie_and_tables_make_the_same_file(tmp_path: Path, exporters: int) -> None:
    rng = np.random.default_rng(5)
    sent = []
    for i in range(3_000):  # NetFlow v5, 30 records each
        record = np.zeros((30, 48), np.uint8)
        record[:, :16] = rng.integers(0, 250, (30, 16))
        record[:, 19] = rng.integers(1, 9, 30)
        record[:, 22:24] = rng.integers(100, 200, (30, 2))
        head = struct.pack(">HHIIIIBBH", 5, 30, 1 << 20, 1_789_520_400, 0, 30 * i, 0, 0, 0x4064)
        at_us = 1_789_520_400_000_000 + 2_000_000 * i  # across two borders of hours
        exporter = f"192.0.2.{1 + rng.integers(exporters)}"
        sent.append((head + record.tobytes(), exporter, 4_000, at_us))
    found = {}
    for name in ("rows", "tables"):
        lake = Lake(tmp_path / name)
        sink = FlowSink(lake, "unit")
        run = UnitDecoder(Decoder(), sink.write, sink.write if name == "rows" else None)
        for at in range(0, len(sent), 500):
            run.many(*zip(*sent[at : at + 500], strict=True))
        run.finish()
        assert sink.publish()["flows"] == 90_000
        record = lake.record()
        found[name] = [f for h in record.hours("flows") for f in record.manifest("flows", h).files]
        for file in found[name]:
            octets = (lake.root / file.path).read_bytes()
            assert hashlib.sha256(octets).hexdigest() == file.sha256
    assert found["rows"] == found["tables"]
    assert len(found["rows"]) == 2


def test_run_reads_each_document_once(demo_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()
    read = LocalStorage.read

    def counted(self: LocalStorage, key: str) -> Any:
        reads[key] += 1
        return read(self, key)

    monkeypatch.chdir(demo_copy)
    workspace = Workspace(Path("flowpeer.toml"))
    network, lake = workspace.network(), workspace.lake()
    record = lake.record()
    assert roll_up(network, lake, Collected(), record=record).rolled_up == 0
    monkeypatch.setattr(LocalStorage, "read", counted)
    rollup = RollupPlanner(lake, network, record=record)
    assert not any(hour.changed for hour in rollup.plan())
    assert {key for key in reads if "/flows/" in key or "/traffic" in key} == set(), "kept"
    assert all(n == 1 for key, n in reads.items() if "routes" not in key)


def test_a_period_reads_only_its_days(demo_copy: Path) -> None:
    network = load(demo_copy / "flowpeer.toml")
    lake = Lake(network.lake_path)
    flows = lake.root / "manifests" / "flows"
    for day in ("2026-09-13", "2026-09-20"):
        shutil.copytree(flows / "date=2026-09-16", flows / f"date={day}")
    start, end = datetime(2026, 9, 16, 2, tzinfo=UTC), datetime(2026, 9, 16, 4, tzinfo=UTC)
    part = RollupPlanner(lake, network, period=(start, end))
    assert {f"{hour:%Y-%m-%d}" for hour in part._headers} == {"2026-09-16"}
    for day in ("2026-09-13", "2026-09-20"):
        shutil.rmtree(flows / f"date={day}")
    alone, everything = part.plan(start, end), RollupPlanner(lake, network).plan(start, end)
    assert alone == everything
    assert [h.start for h in alone] == [start, start.replace(hour=3)]
    assert not any(h.changed for h in alone)


def publish(lake: Lake, unit: str, *hours: datetime, record: bool = True) -> None:
    sink = FlowSink(lake, unit)
    for hour in hours:
        sink.write(hour, "flows", invented(3, 1))
    sink.publish(UnitRecord(unit, rows=3 * len(hours)) if record else None)


def test_a_unit_counts_once_its_record_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, hours = Lake(tmp_path / "lake"), [EPOCH, EPOCH + HOUR]
    publish(lake, "unit-a", *hours)
    with monkeypatch.context() as patch:
        patch.setattr(
            "flowpeer.lake.publish.complete", lambda *_: None
        )  # killed before its last act
        publish(lake, "unit-b", *hours)
    for hour in hours:
        assert [f.path for f in lake.record().manifest("flows", hour).live] == [
            f"{folder_of('flows', hour)}/unit-a.parquet"
        ]
        assert lake.record().header("flows", hour).rows == 3
        assert len(lake.record().stands("flows", hour).live) == 2
    publish(lake, "unit-c", EPOCH)  # others come meanwhile
    publish(lake, "unit-b", *hours)
    assert [lake.record().header("flows", hour).rows for hour in hours] == [9, 6]
    publish(lake, "unit-b", *hours)
    assert [lake.record().header("flows", hour).rows for hour in hours] == [9, 6]


def test_what_a_unit_published_before_it_was_killed_and_not_again_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path / "lake")
    with monkeypatch.context() as patch:
        patch.setattr("flowpeer.lake.publish.complete", lambda *_: None)
        publish(lake, "unit-a", EPOCH, EPOCH + HOUR)
    publish(lake, "unit-a", EPOCH)  # decoded with other templates, it has nothing there
    assert not lake.record().manifest("flows", EPOCH + HOUR).live
    publish(lake, "unit-b", EPOCH + HOUR)
    (file,) = lake.record().stands("flows", EPOCH + HOUR).live
    assert file.path.endswith("unit-b.parquet")
    assert [p.name for p in sorted((lake.root / "flows").rglob("*.parquet"))] == [
        "unit-a.parquet", "unit-b.parquet",
    ]  # fmt: skip


def test_writers_of_one_hour_at_once_all_get_in(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.check_writable()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: publish(Lake(lake.root), f"unit-{n}", EPOCH), range(24)))
    header = lake.record().header("flows", EPOCH)
    assert (header.files, header.rows, header.generation) == (24, 72, 24)
    assert len(list(lake.record().units())) == 24


def test_a_damaged_manifest_is_told_each_time(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    for n in range(2):
        publish(lake, f"unit-{n}", EPOCH + n * HOUR)
    path = lake.path(key_of("flows", EPOCH + HOUR))
    path.write_bytes(path.read_bytes().replace(b'"rows":3', b'"rows":4'))
    record = lake.record()
    for _ in range(2):
        with pytest.raises(InputError, match="not what was written"):
            record.headers("flows")
        damaged: list[datetime] = []
        assert list(record.headers("flows", damaged=damaged)) == [EPOCH]
        assert damaged == [EPOCH + HOUR]
    with pytest.raises(InputError, match="not what was written"):
        publish(lake, "unit-3", EPOCH + HOUR)


def test_unfinished_files_of_others_are_left_and_those_of_the_killed_go(tmp_path: Path) -> None:
    mine, other = Lake(tmp_path / "lake"), Lake(tmp_path / "lake")
    other.staging.path("a").write_text("x")
    code = (
        "import os, sys; from pathlib import Path; from flowpeer.lake.store import Lake\n"
        "lake = Lake(Path(sys.argv[1])); lake.staging.path('b').write_text('y'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(mine.root)], check=False)
    assert len(list((mine.root / "staging").iterdir())) == 2
    with mine.lock("ingest"):
        left = {*(mine.root / "staging").iterdir()}
    assert left == {mine.staging.folder, other.staging.folder}
    other.close()
    mine.close()
    assert list((mine.root / "staging").iterdir()) == []


def test_what_needs_a_lock_requires_its_token(tmp_path: Path) -> None:
    lake, other = Lake(tmp_path / "lake"), Lake(tmp_path / "other")
    with lake.lock("ingest") as held:
        SavedDecoder(lake, held, Decoder())
        for foreign, what in ((other, "ingest"), (lake, "reference")):
            with pytest.raises(
                RuntimeError, match=f"`{what}` of .*{foreign.root.name} is not held"
            ):
                held.require(foreign.root, what)
    with pytest.raises(RuntimeError, match="`ingest`"):
        SavedDecoder(lake, held, Decoder())


@pytest.mark.parametrize("command", [
    ["sql", "SELECT count(*) AS n FROM flows"], ["rollup"], ["check"], ["candidates"], ["verify"],
    ["compact"], ["lookup", "192.0.2.1"], ["rib", "list"],
])  # fmt: skip
def test_a_lake_without_its_manifests_is_found_out(
    tmp_path: Path, run: Run, command: list[str]
) -> None:
    (tmp_path / "flowpeer.toml").write_text(
        '[network]\nasn = 64500\nname = "x"\nprefixes = ["198.18.0.0/15"]\n[lake]\npath = "lake"\n'
    )
    publish(Lake(tmp_path / "lake"), "unit-a", EPOCH)
    shutil.rmtree(tmp_path / "lake" / "manifests")
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 3
    assert "files without the manifests that name them" in done.stderr
    assert "flowpeer adopt" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"format": 1}', "format 1,"), ('{"format": 99, "written_by": "flowpeer 9.8"}', "format 99,"),
     ("x", "format unknown,"), ("[]", "format unknown,")],
)  # fmt: skip
def test_a_lake_of_another_format_is_refused(
    content: str, said: str, demo_copy: Path, run: Run
) -> None:
    mark = demo_copy / "lake" / "format.json"
    assert json.loads(mark.read_text())["format"] == FORMAT
    before = sorted((demo_copy / "lake").rglob("*.parquet"))
    mark.write_text(content)
    for command in (["rollup"], ["check"], ["sql", "FROM traffic"], ["candidates"], ["verify"]):
        done = run(*command, cwd=demo_copy)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        (error, advice) = done.stderr.strip().splitlines()
        assert said in error
        assert f"formats 2 and {FORMAT}" in error
        assert ("flowpeer 9.8" in advice) == ("99" in content)
        assert advice.startswith("try: ")
    assert sorted((demo_copy / "lake").rglob("*.parquet")) == before


@pytest.mark.parametrize("above", ["date=2020-01-01", "hour=3/x"])
def test_a_lake_in_a_folder_named_like_those_of_its_days_is_refused(
    demo_copy: Path, run: Run, above: str
) -> None:
    """Its dates would be those of the folder, without a word."""
    there = demo_copy / above
    there.mkdir(parents=True)
    (demo_copy / "lake").rename(there / "lake")
    config = demo_copy / "flowpeer.toml"
    moved = re.sub(r'(?m)^path = "lake"', f'path = "{above}/lake"', config.read_text())
    config.write_text(moved)
    for command in (["rollup"], ["check"], ["sql", "FROM traffic"], ["candidates"], ["verify"]):
        done = run(*command, cwd=demo_copy)
        assert (done.returncode, done.stdout) == (2, "")
        assert "a folder above the lake is named like those of its days" in done.stderr


def invented(count: int, first: int, *, ip: str = "192.0.2.1", times: int = 1) -> pa.Table:
    """Records with a different output interface each, all that came in on interface 7."""
    schema = arrow_schema(FLOWS)
    cells: dict[str, Any] = {
        "received_at": 0, "start_time": 0, "end_time": 0, "exporter_ip": ip, "format": "ipfix",
        "observation_domain": 0, "input_if": 7, "time_corrected": False,
    }  # fmt: skip
    n = count * times
    columns = [
        pa.array(np.repeat(np.arange(first, first + count) * 1021, times), pa.int64())
        if f.name == "output_if"
        else pa.array([cells.get(f.name)] * n, pa.int64()).cast(f.type)
        if pa.types.is_timestamp(f.type)
        else pa.array([cells.get(f.name)] * n, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def test_invented_interfaces_are_bounded_and_told(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    sink = FlowSink(lake, "unit")
    hour = datetime(1970, 1, 1, tzinfo=UTC)
    real = invented(3, 4_000_000, times=5)  # three that are named more often than once
    total = 0
    for n in range(6):
        sink.write(hour, "flows", invented(3_000, 1 + n * 3_000))
        sink.write(hour, "flows", real)
        total += 3_000 + real.num_rows
    sink.write(hour, "flows", invented(10, 1, ip="192.0.2.2"))
    sink.publish()
    (file,) = lake.record().files("flows")
    facts = file.units[0].facts
    assert facts is not None
    seen = facts.seen["192.0.2.1"]
    assert len(seen) == MAX_INTERFACES
    assert facts.octets["192.0.2.1"].keys() == seen.keys()
    assert {7, *(n * 1021 for n in range(4_000_000, 4_000_003))} <= set(seen)
    kept = MAX_INTERFACES - 4  # with a single record each
    assert facts.unlisted == {"192.0.2.1": 6 * 3_000 - kept}
    assert len(facts.seen["192.0.2.2"]) == 11
    assert file.rows == total + 10


def test_an_exporter_that_a_part_of_a_batch_has_no_row_of_is_in_no_fact() -> None:
    """A batch is cut by hours of receipt, and its parts keep all names."""
    table = invented(2, 1)
    names = pa.DictionaryArray.from_arrays(pa.array([0] * table.num_rows, pa.int32()),
                                           ["192.0.2.1", "192.0.2.9"])  # fmt: skip
    place = table.schema.get_field_index("exporter_ip")
    facts = facts_of(table.set_column(place, "exporter_ip", names))
    assert facts == facts_of(table)
    assert facts.seen.keys() == facts.octets.keys() == {"192.0.2.1"}


def test_check_tells_of_an_exporter_that_names_too_many_interfaces(demo_copy: Path) -> None:
    network = load(demo_copy / "flowpeer.toml")
    known = network.exporters[0]
    flows = [
        FlowFacts(unlisted={str(known.addresses[0]): 7, "203.0.113.1": 1}),
        FlowFacts(unlisted={str(known.addresses[0]): 1_000}), FlowFacts(),
    ]  # fmt: skip
    ours, stranger = quality._invented(network, flows)  # by address
    assert (stranger.subject, ours.subject) == ("exporter 203.0.113.1", f"exporter {known.id}")
    assert "1,007 times" in ours.text
    assert {stranger.level, ours.level} == {"warning"}


def test_a_lake_whose_first_unit_is_on_its_way_is_no_lake_without_its_manifests(
    tmp_path: Path,
) -> None:
    lake = Lake(tmp_path / "lake")
    lake.mark()
    staged = lake.staging.path("x.parquet")
    staged.write_bytes(b"PAR1")
    lake.storage.put(staged, "flows/date=2026-07-01/hour=00/unit.parquet")
    lake.check_format()  # killed here, or not yet there
