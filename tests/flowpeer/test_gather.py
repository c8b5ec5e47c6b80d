"""Which slots count, which period is meant (METHODS M5)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import polars as pl
import pytest

from flowpeer import catalog
from flowpeer.analysis.coverage import exporter_coverage
from flowpeer.analysis.inputs import paths_in_force
from flowpeer.analysis.periods import default_period
from flowpeer.configuration import load
from flowpeer.errors import InputError, LockedError, UsageError
from flowpeer.lake.manifest import key_of, partition_hour
from flowpeer.lake.store import Lake
from flowpeer.period import parse_period
from flowpeer.routing.rib.snapshot import SnapshotInfo
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import COVERAGE
from flowpeer_sample import answers, world

Run = Callable[..., CompletedProcess[str]]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def forget(folder: Path, address: str, hours: range) -> None:
    """Take an exporter's coverage of some hours out of the lake."""
    lake = Lake(folder / "lake")
    for name in lake.entries("coverage"):
        whose = pl.read_parquet(lake.path(name), hive_partitioning=False)["exporter_ip"][0]
        if partition_hour(name).hour in hours and whose == address:
            lake.remove(name)


@pytest.mark.parametrize(("hours", "missing"), [(range(12, 13), 12), (range(12, 14), 24)])
def test_slots_not_covered_are_left_out_of_the_percentile(
    demo_copy: Path, run: Run, hours: range, missing: int
) -> None:
    forget(demo_copy, world.EXPORTER["iad"].address, hours)
    done = run("imbalance", "--metro", "iad", "--direction", "out", "--json", cwd=demo_copy)
    rows = {row["provider_asn"]: row for row in json.loads(done.stdout)}
    gone = {slot for hour in hours for slot in range(hour * 12, hour * 12 + 12)}
    for asn, row in rows.items():
        series = answers.slot_bytes("iad", world.TRANSIT_INDEX[asn], "out")
        kept = sorted(int(v) for n, v in enumerate(series) if n not in gone)
        want = kept[(19 * len(kept) + 19) // 20 - 1] * 8 / 300
        if missing * 20 > 288:  # above 5 % no percentile is given
            assert row["p95_bps"] is None
        else:
            assert row["p95_bps"] == pytest.approx(want)
    checked = run("check", cwd=demo_copy)
    assert f"metro iad: {missing} of 288 slots not covered" in checked.stdout


def test_merged_coverage_and_rates_say_the_same(demo_copy: Path, run: Run) -> None:
    lake, network = Lake(demo_copy / "lake"), load(demo_copy / "flowpeer.toml")

    def said() -> list[str]:
        found = exporter_coverage(network, lake.record(), day("2026-09-16"), day("2026-09-17"))
        told = [repr((found.due.tolist(), found.covered.tolist()))]
        for name in ("coverage", "sampling"):
            frame = catalog.scan(lake.root, name).collect()
            told.append(frame.sort(frame.columns).write_json())
        return [*told, run("imbalance", "--metro", "iad", "--json", cwd=demo_copy).stdout]

    def files(name: str) -> list[Path]:
        return sorted(map(Path, lake.entries(name)))

    before, hours = said(), {file.parent for file in files("coverage")}
    assert len(files("coverage")) > len(hours)
    damaged = lake.path(key_of("coverage", partition_hour(str(files("coverage")[0]))))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-9])
    assert run("compact", cwd=demo_copy).returncode == 0
    damaged.write_bytes(whole)
    assert len(files("coverage")) > len(hours), "the hour of the damaged one is left alone"
    assert run("compact", cwd=demo_copy).returncode == 0
    for name in ("coverage", "sampling"):
        assert len(files(name)) == len({file.parent for file in files(name)}) > 0
    assert said() == before
    assert "up to date" in run("rollup", cwd=demo_copy).stdout
    verified = run("verify", cwd=demo_copy)
    assert verified.returncode == 0, verified.stdout


def test_what_is_read_while_it_is_merged_is_read_once_more(tmp_path: Path) -> None:
    lake, tries = Lake(tmp_path / "lake"), []
    hour = "coverage/date=2026-09-16/hour=00"
    empty = arrow_schema(COVERAGE).empty_table()
    lake.publish(f"{hour}/a.parquet", COVERAGE, empty, {})
    record = lake.record()

    def read(*, merged_each_time: bool) -> list[str]:
        names = [file.path for file in record.files("coverage")]
        tries.append(names)
        if merged_each_time or len(tries) == 1:
            lake.remove(names[0])
            lake.publish(f"{hour}/merged-{len(tries)}.parquet", COVERAGE, empty, {})
            raise FileNotFoundError(names[0])
        return names

    found = record.read("coverage", lambda: read(merged_each_time=False))
    assert found == [f"{hour}/merged-1.parquet"]
    with pytest.raises(LockedError, match="faster than they can be read"):
        record.read("coverage", lambda: read(merged_each_time=True))
    with pytest.raises(InputError, match="the file is missing"):
        record.read("coverage", lambda: Path(tmp_path / "nothing").read_text())


def test_flows_without_coverage_count_as_covered(demo_copy: Path, run: Run) -> None:
    for exporter in world.EXPORTERS:
        forget(demo_copy, exporter.address, range(24))
    done = run("imbalance", "--metro", "iad", "--json", "--period", "2026-09-16", cwd=demo_copy)
    row = json.loads(done.stdout)[0]
    series = answers.slot_bytes("iad", world.TRANSIT_INDEX[row["provider_asn"]], row["direction"])
    assert row["p95_bps"] == pytest.approx(answers.bps(answers.p95(series)))


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026Q3", "2026-07-01", "2026-10-01"),
        ("2026q4", "2026-10-01", "2027-01-01"),
        ("2026-07", "2026-07-01", "2026-08-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2026-07-01", "2026-07-01", "2026-07-02"),
        ("2026-07-01/2026-07-08", "2026-07-01", "2026-07-08"),
        ("2026-07-01T02:05/2026-07-01T03:00", "2026-07-01T02:05", "2026-07-01T03:00"),
    ],
)
def test_periods(text: str, start: str, end: str) -> None:
    assert parse_period(text) == (day(start), day(end))


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026Q5", "2026-13", "2026-02-30", "2026-07-02/2026-07-01", "2026-07-01/",
     "2026-07-01T00:01/2026-07-02", "9999-12", "٢٠٢٦-07", "2026-07-01/2026-07-01"],
)  # fmt: skip
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_period(text)


@pytest.mark.parametrize(
    ("first", "last", "start", "end"),
    [
        ("2026-09-16", "2026-09-17", "2026-09-16", "2026-09-17"),  # no whole quarter: all
        ("2026-05-01", "2026-11-20", "2026-07-01", "2026-10-01"),  # the last whole one
        ("2026-01-01", "2026-11-20", "2026-07-01", "2026-10-01"),
        ("2026-07-01", "2026-10-01", "2026-07-01", "2026-10-01"),  # exactly one
        ("2026-07-02", "2026-11-20", "2026-07-02", "2026-11-20"),
        ("2026-04-01", "2026-08-20", "2026-04-01", "2026-07-01"),
    ],
)
def test_the_default_is_the_last_whole_quarter_with_data(
    first: str, last: str, start: str, end: str
) -> None:
    assert default_period(day(first), day(last)) == (day(start), day(end))


def test_paths_of_a_table_a_day_are_taken_once_and_only_where_transit_went(tmp_path: Path) -> None:
    rng = random.Random(7)
    lake = Lake(tmp_path)
    names = [f"table-{n}" for n in range(6)]
    prefixes = [f"10.{n}.0.0/16" for n in range(40)]
    wanted: set[tuple[str, str]] = set()
    carried = set(prefixes[:25])
    lake.path("routes").mkdir()
    for name in names:
        rows = [
            (prefix, vantage, rng.choice([None, f"{vantage} 64511", f"{vantage} 64510 64511"]))
            for prefix in prefixes
            for vantage in (1299, 3356)
            if rng.random() < 0.8
        ]
        wanted |= {(p, path) for p, _, path in rows if path is not None and p in carried}
        table = pl.DataFrame(rows, schema=["prefix", "vantage", "as_path"], orient="row")
        table.write_parquet(lake.path(f"routes/{name}.parquet"))
    routes = pl.DataFrame(
        [("transit", p) for p in [*carried, None]] + [("peer", prefixes[30])],
        schema=["role", "prefix"], orient="row",
    )  # fmt: skip
    infos = [
        SnapshotInfo(name, day("2026-09-15"), "", 0, 0, 0, (), "", "", {}, "") for name in names
    ]
    found = paths_in_force(lake, infos, routes.lazy())
    assert found.rows() == sorted(wanted)
    assert paths_in_force(lake, [], routes.lazy()).rows() == []
