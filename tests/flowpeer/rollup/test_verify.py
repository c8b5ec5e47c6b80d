"""`verify`: a flipped bit anywhere is found, and costs only its own hour."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import worlds

from flowpeer.configuration import load
from flowpeer.lake.manifest import HOUR, key_of, partition_hour
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.lake.verify import verify_files
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import hours_conserved

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    rollup = worlds.prepare(folder, worlds.make_world(33), 3)
    for hour in rollup.plan():
        rollup.roll_up(hour)
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "world"))


def lake_files(folder: Path) -> list[Path]:
    lake = folder / "lake"
    return sorted(
        path
        for place in ("flows", "traffic", "traffic_routes", "sampling", "routes", "manifests")
        for path in (lake / place).rglob("*")
        if path.is_file()
    )


def flip(path: Path, bit: int) -> None:
    octets = bytearray(path.read_bytes())
    octets[bit // 8 % len(octets)] ^= 1 << bit % 8
    path.write_bytes(octets)


def rollups(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for table in ("traffic", "traffic_routes")
        for path in sorted((folder / "lake" / table).rglob("*.parquet"))
    }


def test_a_flipped_bit_in_any_file_is_found_and_named(done: Path) -> None:
    lake = Lake(done / "lake")
    assert not [fault for _, fault in verify_files(lake.record()) if fault]
    dice = random.Random(4)
    for path in lake_files(done):
        for bit in (dice.randrange(1 << 30), dice.randrange(1 << 30)):
            kept = path.read_bytes()
            flip(path, bit)
            faults = {fault.path for _, fault in verify_files(lake.record()) if fault}
            path.write_bytes(kept)
            assert faults == {path.relative_to(done / "lake").as_posix()}, (path, bit)


def test_a_damaged_roll_up_costs_only_its_own_hour(folder: Path, run: Run) -> None:
    made = rollups(folder)
    victim = sorted((folder / "lake/traffic").rglob("*.parquet"))[1]
    flip(victim, 4321)
    said = run("verify", "--json", cwd=folder)
    assert said.returncode == 1
    document = json.loads(said.stdout)
    assert [f["path"] for f in document["faults"]] == [str(victim.relative_to(folder / "lake"))]
    assert document["identities"]
    assert all(i["holds"] for i in document["identities"])
    assert "sums of 2 of 3 hours" in said.stderr or "hours are compared" in said.stderr
    victim.unlink()  # as verify advises
    rolled = run("rollup", "--json", cwd=folder)
    assert json.loads(rolled.stdout)["rolled_up"] == 1
    assert rollups(folder) == made
    assert run("verify", cwd=folder).returncode == 0


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_flow_file_costs_only_its_own_hours(folder: Path, run: Run, damage: str) -> None:
    made = rollups(folder)
    rollup = RollupPlanner(Lake(folder / "lake"), load(folder / "flowpeer.toml"))
    victim, file = next((f, e) for f, e in rollup.files.items() if "T01" in str(e.units[0].facts))
    path = rollup.lake.path(victim)
    with pq.ParquetFile(path) as parquet:
        names = parquet.schema_arrow.names
        column = parquet.metadata.row_group(0).column(names.index("start_time"))
        last_octet = column.dictionary_page_offset or column.data_page_offset
        last_octet += column.total_compressed_size - 1
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        flip(path, 8 * last_octet)
    hit = {h.name for h in rollup.plan() if h.name in file.units[0].facts.hours}
    for place in (folder / "lake/manifests/traffic").rglob("*.json"):
        place.write_bytes(b"damaged")  # as good as never rolled up
    rolled = run("rollup", "--json", cwd=folder)
    assert rolled.returncode == 1
    assert json.loads(rolled.stdout)["rolled_up"] == len(rollup.plan()) - len(hit)
    assert "left as it was" in rolled.stderr
    assert "flowpeer verify" in rolled.stderr
    assert rollups(folder) == made


@pytest.mark.parametrize("table", ["flows", "traffic"])
def test_a_damaged_document_costs_only_its_own_hours(folder: Path, run: Run, table: str) -> None:
    made = rollups(folder)
    document = sorted((folder / "lake/manifests" / table).rglob("*.json"))[-1]
    document.write_bytes(b"{" + document.read_bytes())
    said = run("verify", "--json", cwd=folder)
    assert said.returncode == 1, said.stderr
    faults = json.loads(said.stdout)["faults"]
    assert len(faults) == 1
    assert document.stem in faults[0]["path"]
    rolled = run("rollup", "--json", cwd=folder)
    assert json.loads(rolled.stdout)["rolled_up"] == (table == "traffic")
    assert rolled.returncode == (table == "flows")
    assert rollups(folder) == made


def test_a_period_is_verified_alone_and_spread_anew(folder: Path, run: Run) -> None:
    whole = json.loads(run("verify", "--json", cwd=folder).stdout)
    day = json.loads(run("verify", "--period", "2026-09-16", "--json", cwd=folder).stdout)
    hour = run("verify", "--period", "2026-09-16T00:00/2026-09-16T01:00", "--json", cwd=folder)
    one = json.loads(hour.stdout)
    assert hour.returncode == 0, hour.stderr
    assert 0 < one["files"] < day["files"] <= whole["files"]
    for document in (whole, day, one):
        assert document["identities"]
        assert all(i["holds"] for i in document["identities"])
    left = {i["identity"]: i["left"] for i in one["identities"]}
    name = "scaled bytes: flows + through = traffic"
    assert 0 < left[name] < next(i["left"] for i in whole["identities"] if i["identity"] == name)
    late = sorted((folder / "lake/traffic").rglob("*.parquet"))[-1]
    flip(late, 999)
    assert run("verify", "--period", "2026-09-16T00:00/2026-09-16T01:00",
               cwd=folder).returncode == 0  # fmt: skip
    assert run("verify", cwd=folder).returncode == 1


@pytest.mark.parametrize("damaged", ["file", "manifest"])
def test_what_was_received_later_than_a_period_is_verified_with_it(
    folder: Path, run: Run, damaged: str
) -> None:
    lake = Lake(folder / "lake")
    rollup = RollupPlanner(lake, load(folder / "flowpeer.toml"))
    first, last = rollup.plan()[:2]
    late, file = next(
        (path, file) for path, file in rollup.files.items()
        if partition_hour(path) > last.start and last.name in file.units[0].facts.hours
    )  # fmt: skip
    assert first.name not in file.units[0].facts.hours
    key = late if damaged == "file" else key_of("flows", partition_hour(late))
    path = lake.path(key)
    path.write_bytes(path.read_bytes()[:-20])
    period = f"{first.start:%Y-%m-%dT%H:%M}/{last.start + HOUR:%Y-%m-%dT%H:%M}"
    said = run("verify", "--period", period, "--json", cwd=folder)
    assert said.returncode == 1, said.stderr
    document = json.loads(said.stdout)
    assert [fault["path"] for fault in document["faults"]] == [key]
    assert "flowpeer adopt" in document["faults"][0]["next_step"]
    assert "sums of 1 of 2 hours are compared" in said.stderr
    assert document["identities"][0]["left"] > 0
    assert all(i["holds"] for i in document["identities"])


def test_stray_files_are_named_wherever_they_are(folder: Path) -> None:
    lake = Lake(folder / "lake")
    some = sorted((lake.root / "flows").rglob("*.parquet"))[0]
    strays = [
        some.with_name("copy.parquet"), lake.root / "flows/notes.txt",
        lake.root / "traffic/date=x/hour=y/a.parquet", lake.root / "reference/b.parquet",
    ]  # fmt: skip
    for path in strays:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(some, path)
    faults = [fault for _, fault in verify_files(lake.record()) if fault]
    assert {f.path for f in faults} == {p.relative_to(lake.root).as_posix() for p in strays}
    assert {f.what.partition(":")[0] for f in faults} == {"no manifest names it"}


def test_rows_that_do_not_add_up_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollup = RollupPlanner(Lake(folder / "lake"), load(folder / "flowpeer.toml"))
    hours = rollup.plan()
    assert all(i.holds for i in hours_conserved(rollup, hours, again=True))
    recount = rollup.recount

    def more(hour: Any) -> Any:
        figures = recount(hour)
        figures.flow_bytes += 1
        return figures

    monkeypatch.setattr(rollup, "recount", more)
    assert not all(i.holds for i in hours_conserved(rollup, hours, again=True))
