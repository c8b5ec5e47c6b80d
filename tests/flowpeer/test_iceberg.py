"""`flowpeer export iceberg`: what is read back is what the lake has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowpeer.errors import NoDataError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.schema import PARTITIONED, TABLES
from flowpeer.workspace import Workspace
from flowpeer_core.columns import arrow_schema

pytest.importorskip("pyiceberg", reason="an optional extra")

from pyiceberg.table import StaticTable

from flowpeer.pipeline import iceberg

CONFIG = """\
[network]
asn = 64500
name = "Example"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "ams"
name = "Amsterdam"
"""
Finished = subprocess.CompletedProcess[str]
START = datetime(2026, 7, 1, 22, tzinfo=UTC)
OCTETS = bytes(10) + b"\xff\xff\xc0\x00\x02\x01"


def _publish(lake: Lake, table: str, hour: datetime, size: int) -> pa.Table:
    """Three rows of an hour, the second with nothing but what is required."""
    fill = {
        pa.string(): "x", pa.int64(): size, pa.int32(): 4, pa.float64(): 0.5, pa.bool_(): True,
        pa.binary(16): OCTETS, pa.timestamp("us", tz="UTC"): hour, pa.date32(): hour.date(),
    }  # fmt: skip
    columns = TABLES[table]
    full = {c.name: fill[c.type] for c in columns}
    bare = {c.name: None if c.nullable else fill[c.type] for c in columns}
    rows = pa.Table.from_pylist([full, bare, full], schema=arrow_schema(columns))
    folder = f"{table}/date={hour:%Y-%m-%d}/hour={hour:%H}" if table in PARTITIONED else "reference"
    name = "part" if table in PARTITIONED else table
    lake.publish(f"{folder}/{name}.parquet", columns, rows, {})
    return rows


@pytest.fixture
def world(tmp_path: Path) -> tuple[Configuration, Lake]:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    workspace = Workspace(tmp_path / "flowpeer.toml")
    lake = Lake(tmp_path / "lake")
    for table in ("traffic", "traffic_routes", "flows"):
        for number in range(4):
            _publish(lake, table, START + timedelta(hours=number), 2**62 + number)
    _publish(lake, "asns", START, 7)
    return workspace.network(), lake


def _read(folder: Path) -> pa.Table:
    version = (folder / "metadata" / "version-hint.text").read_text().strip()
    found = StaticTable.from_metadata(str(folder / "metadata" / f"v{version}.metadata.json"))
    table = found.scan().to_arrow()
    assert isinstance(table, pa.Table)
    return table


def _rows(table: pa.Table) -> list[str]:
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in table.to_pylist())


def _of_lake(lake: Lake, table: str) -> pa.Table:
    parts = [pq.ParquetFile(path).read() for path in sorted((lake.root / table).rglob("*.parquet"))]
    return pa.concat_tables(parts)


@pytest.mark.parametrize("batch", [iceberg.BATCH_ROWS, 1])
def test_what_is_read_back_is_what_the_lake_has(
    world: tuple[Configuration, Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(iceberg, "BATCH_ROWS", batch)
    network, lake = world
    names = ["traffic", "traffic_routes", "flows", "asns", "metros", "coverage"]
    done = {one.table: one.rows for one in iceberg.export(network, lake, tmp_path / "out", names)}
    assert done == {"traffic": 12, "traffic_routes": 12, "flows": 12, "asns": 3, "metros": 1,
                    "coverage": 0}  # fmt: skip
    for name in ("traffic", "traffic_routes", "flows"):
        got = _read(tmp_path / "out" / name)
        stated = arrow_schema(TABLES[name])
        assert [got.schema.field(f.name).type for f in stated] == stated.types
        assert _rows(got.select(stated.names)) == _rows(_of_lake(lake, name).select(stated.names))
        days = {str(day) for day in got["date"].to_pylist()}
        assert days == {"2026-07-01", "2026-07-02"}
        folders = {path.name for path in (tmp_path / "out" / name / "data").iterdir()}
        assert folders == {f"date={day}" for day in days}
    addresses = _read(tmp_path / "out" / "flows")["src_addr"]
    assert addresses.type == pa.binary(16)
    assert set(addresses.to_pylist()) == {OCTETS, None}
    assert _read(tmp_path / "out" / "metros")["name"].to_pylist() == ["Amsterdam"]
    assert _read(tmp_path / "out" / "coverage").num_rows == 0


def test_again_is_a_new_version_and_the_one_before_stays(
    world: tuple[Configuration, Lake], tmp_path: Path
) -> None:
    network, lake = world
    out = tmp_path / "out"
    (first,) = iceberg.export(network, lake, out, ["traffic"])
    before = StaticTable.from_metadata(
        str(out / "traffic" / "metadata" / f"v{first.version}.metadata.json")
    )
    _publish(lake, "traffic", START + timedelta(hours=9), 5)
    end = START + timedelta(hours=10)
    (second,) = iceberg.export(
        network, lake, out, ["traffic"], start=START + timedelta(hours=3), end=end
    )
    assert (first.rows, second.rows) == (12, 6)
    assert second.version > first.version
    got = _read(out / "traffic")
    assert set(got["hour"].to_pylist()) == {1, 7}
    assert before.scan().to_arrow().num_rows == 12


def test_what_cannot_be_exported_is_told(world: tuple[Configuration, Lake], tmp_path: Path) -> None:
    network, lake = world
    with pytest.raises(UsageError, match="no table trafic"):
        list(iceberg.export(network, lake, tmp_path / "out", ["trafic"]))
    with pytest.raises(NoDataError):
        list(iceberg.export(network, lake, tmp_path / "out", ["traffic"], end=START))
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine" / "traffic").mkdir(parents=True)
    (tmp_path / "mine" / "traffic" / "a").touch()
    with pytest.raises(UsageError, match="something else"):
        list(iceberg.export(network, lake, tmp_path / "mine", ["traffic"]))
    (one,) = iceberg.export(network, lake, tmp_path / "out", ["traffic"])
    (tmp_path / "out" / "traffic").rename(tmp_path / "out" / "flows")
    with pytest.raises(UsageError, match="other columns"):
        list(iceberg.export(network, lake, tmp_path / "out", ["flows"]))
    assert one.rows == 12


def test_the_command_says_what_it_wrote(
    world: tuple[Configuration, Lake], tmp_path: Path, run: Callable[..., Finished]
) -> None:
    done = run("export", "iceberg", "out", "--period", "2026-07-02", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = {one["table"]: one["rows"] for one in json.loads(done.stdout)}
    assert told == {"traffic": 6, "traffic_routes": 6}
    assert _read(tmp_path / "out" / "traffic").num_rows == 6
    for words, status in ((["delta", "out"], 2), (["iceberg", "out", "--period", "2020"], 2),
                          (["iceberg", "out", "--period", "2020-01"], 3)):  # fmt: skip
        assert run("export", *words, cwd=tmp_path).returncode == status
