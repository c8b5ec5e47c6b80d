"""`verify`: a flipped bit anywhere is found, and costs only its own hour."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import worlds

from flowpeer.configuration import load
from flowpeer.lake.ledger import Ledger
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.lake.verify import in_period, verify_files
from flowpeer.rollup.conserve import hours_conserved
from flowpeer.rollup.hours import Rollup

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
        for place in ("flows", "traffic", "traffic_routes", "sampling", "routes", "ledger")
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
    assert not [fault for _, fault in verify_files(Ledger(lake)) if fault]
    dice = random.Random(4)
    for path in lake_files(done):
        for bit in (dice.randrange(1 << 30), dice.randrange(1 << 30)):
            kept = path.read_bytes()
            flip(path, bit)
            faults = {fault.path for _, fault in verify_files(Ledger(lake)) if fault}
            path.write_bytes(kept)
            name = str(path.relative_to(done / "lake")).removeprefix("ledger/")
            assert {str(Path(fault).with_suffix("")) for fault in faults} == {
                str(Path(name).with_suffix(""))
            }, (path, bit)


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
    ledger = folder / "lake/ledger" / victim.relative_to(folder / "lake").with_suffix(".json")
    victim.unlink(), ledger.unlink()  # as verify advises
    rolled = run("rollup", "--json", cwd=folder)
    assert json.loads(rolled.stdout)["rolled_up"] == 1
    assert rollups(folder) == made
    assert run("verify", cwd=folder).returncode == 0


def test_a_damaged_flow_file_costs_only_its_own_hours(folder: Path, run: Run) -> None:
    made = rollups(folder)
    rollup = Rollup(Lake(folder / "lake"), load(folder / "flowpeer.toml"))
    victim = next(f for f, e in rollup.files.items() if "T01" in str(e["hours"]))
    path = rollup.lake.path(victim)
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        column = file.metadata.row_group(0).column(names.index("start_time"))
        last_octet = column.dictionary_page_offset or column.data_page_offset
        last_octet += column.total_compressed_size - 1
    flip(path, 8 * last_octet)
    hit = {h.relative for h in rollup.plan() if victim in h.files}
    for place in (folder / "lake/ledger/traffic").rglob("*.json"):
        place.unlink()
    rolled = run("rollup", "--json", cwd=folder)
    assert rolled.returncode == 1
    assert json.loads(rolled.stdout)["rolled_up"] == len(rollup.plan()) - len(hit)
    assert "left as it was" in rolled.stderr
    assert "flowpeer verify" in rolled.stderr
    assert rollups(folder) == made


@pytest.mark.parametrize("table", ["flows", "traffic"])
def test_a_damaged_document_costs_only_its_own_hours(folder: Path, run: Run, table: str) -> None:
    made = rollups(folder)
    document = sorted((folder / "lake/ledger" / table).rglob("*.json"))[-1]
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


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [("03:30", "03:35", True), ("03:55", "05:00", True), ("02:00", "03:05", True),
     ("03:00", "04:00", True), ("04:00", "05:00", False), ("02:00", "03:00", False)],
)  # fmt: skip
def test_an_hour_is_of_a_period_that_it_shares_a_moment_with(
    start: str, end: str, inside: bool
) -> None:
    period = tuple(datetime.fromisoformat(f"2026-09-16T{t}:00+00:00") for t in (start, end))
    name = "traffic/date=2026-09-16/hour=03/part.parquet"
    assert in_period(name, period) is inside  # type: ignore[arg-type]
    assert in_period("routes/a.parquet", period)  # type: ignore[arg-type]
    assert in_period(name, None)


def test_rows_that_do_not_add_up_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollup = Rollup(Lake(folder / "lake"), load(folder / "flowpeer.toml"))
    hours = rollup.plan()
    assert all(i.holds for i in hours_conserved(rollup, hours, again=True))
    recount = rollup.recount

    def more(hour: Any) -> Any:
        figures = recount(hour)
        figures.flow_bytes += 1
        return figures

    monkeypatch.setattr(rollup, "recount", more)
    assert not all(i.holds for i in hours_conserved(rollup, hours, again=True))
