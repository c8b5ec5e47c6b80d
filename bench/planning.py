"""A lake of 10⁵ minute files, and what planning a roll-up of it costs.

    python bench/planning.py [--files 100000] [--folder DIR]

The lake is made cheaply: the record is a real one, with a unit a minute of twenty exporters, but
all data files of a table are one small file under many names (hard links). Each hour counts as
rolled up. Then, each as a process of its own: `rollup --explain` of everything and of one hour,
with the CPU time, the resident memory and the files of the lake that are opened, before and after
the record was packed (flowpeer.lake.day_index); `sql "select 1"`; and whether an hour is rolled
up while all others are being merged. Bounds: 2 s of CPU and 250 MB; 10 files for one hour; 0.5 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
EXPORTERS, INTERFACES = 20, 8
MAX_LINKS = 30_000
"""Names of one file; ext4 allows 65,000."""
OPENED = """
import os, sys
root, opened = os.path.abspath("lake"), set()

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path = os.path.abspath(arguments[0])
        if path.startswith(root + "/") and os.path.isfile(path):
            opened.add(path)

sys.addaudithook(hook)
sys.argv[0] = "flowpeer"
from flowpeer.cli import main
try:
    main()
finally:
    print(len(opened), file=sys.stderr)
"""
COST = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""
"""From a small process: what a forked one has used before it begins  is its parent's."""


def settings() -> str:
    """A configuration of all exporters and interfaces."""
    lines = [
        '[network]\nasn = 64500\nname = "Bench"\nprefixes = ["198.18.0.0/15"]',
        '[lake]\npath = "lake"\n[[metros]]\nid = "ams"\nname = "Amsterdam"',
    ]
    for n in range(EXPORTERS):
        lines.append(
            f'[[exporters]]\nid = "edge{n}"\nmetro = "ams"\naddresses = ["192.0.2.{n + 1}"]'
        )
        lines += [
            f'[[interfaces]]\nexporter = "edge{n}"\nindex = {i + 1}\nrole = "transit"\nasn = 1299'
            for i in range(INTERFACES)
        ]
    return "\n".join(lines) + "\n"


def tables(hour: datetime) -> dict[str, Any]:
    """A minute's rows of flows, rates and coverage."""
    import pyarrow as pa

    from flowpeer_core.columns import arrow_schema
    from flowpeer_ingest.schema import COVERAGE, FLOWS, SAMPLING

    flows, rates, covered = [], [], []
    for n in range(EXPORTERS):
        of = {"exporter_ip": f"192.0.2.{n + 1}", "session": 2055}
        flows += [
            of | {
                "received_at": hour, "start_time": hour, "end_time": hour, "format": "ipfix",
                "observation_domain": 0, "input_if": i + 1, "output_if": 99, "bytes": 1000,
                "packets": 1, "sampling_interval": 1000, "time_corrected": False, "direction": 0,
            }
            for i in range(INTERFACES)
        ]  # fmt: skip
        rates.append(of | {
            "observation_domain": 0, "sampler_id": 1, "interval": 1000, "numerator": 1000,
            "denominator": 1, "first_seen": hour, "last_seen": hour + HOUR / 60,
        })  # fmt: skip
        covered.append(of | {
            "slot": hour, "domain": 0, "datagrams": 10, "received": 10, "lost": 0,
            "first_sequence": 0, "last_sequence": 10, "seen": True,
        })  # fmt: skip

    def made(columns: Any, rows: list[dict[str, Any]]) -> pa.Table:
        schema = arrow_schema(columns)
        return pa.Table.from_pylist([{f: row.get(f) for f in schema.names} for row in rows], schema)

    return {
        "flows": made(FLOWS, flows), "sampling": made(SAMPLING, rates),
        "coverage": made(COVERAGE, covered),
    }  # fmt: skip


class Links:
    """One file under many names."""

    def __init__(self, source: Path) -> None:
        self._source, self._left = source, MAX_LINKS

    def at(self, path: Path) -> None:
        """Another name of it."""
        if not self._left:
            copy = self._source.with_name(f"{self._source.name}+")
            copy.write_bytes(self._source.read_bytes())
            self._source, self._left = copy, MAX_LINKS
        self._left -= 1
        os.link(self._source, path)


def make(folder: Path, files: int) -> None:
    """The lake, each of its hours of 60 units and rolled up."""
    from flowpeer.configuration import load
    from flowpeer.lake import codec
    from flowpeer.lake.manifest import Header, Manifest, folder_of, hour_name, key_of
    from flowpeer.lake.manifest import RollupFacts as Facts
    from flowpeer.lake.store import Lake
    from flowpeer.lake.units import UnitRecord, bucket_of, unit_key
    from flowpeer.rollup.planner import RollupPlanner
    from flowpeer.routing.rib import snapshot
    from flowpeer_ingest.facts import facts_of

    (folder / "flowpeer.toml").write_text(settings())
    (folder / "routes.txt").write_text("0.0.0.0/0\t3356\n20.0.0.0/8\t8075\n")
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    snapshot.load(lake, folder / "routes.txt", taken_at=START - timedelta(days=1))
    store = folder / "store"
    store.mkdir()
    units: dict[str, list[UnitRecord]] = {}
    links: dict[str, Links] = {}

    def write(table: str, hour: datetime, of: list[Any], rollup: Facts | None = None) -> None:
        (lake.root / folder_of(table, hour)).mkdir(parents=True)
        for file in of:
            links[table].at(lake.path(file.path))
        empty = Manifest.empty(table, hour_name(hour))
        made = empty.next(of, pending={}, retired=(), rollup=rollup)
        path = lake.path(key_of(table, hour))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode(made.header, made.files))

    for number in range(files // 60):
        hour = START + number * HOUR
        names = [f"segment-{number * 60 + n}-bench" for n in range(60)]
        parts: dict[str, dict[str, str]] = {name: {} for name in names}
        for table, rows in tables(hour).items():
            staged = lake.stage(table, _columns(table))
            staged.write(rows)
            file = staged.finish(table)
            if table not in links:
                links[table] = Links(staged.path.rename(store / table))
            else:
                staged.path.unlink()
            facts = facts_of(rows) if table == "flows" else None
            of = []
            for name in names:
                path = f"{folder_of(table, hour)}/{name}.parquet"
                parts[name][path] = file.sha256
                of.append(replace(file, path=path, units=(_entry(path, file, facts),)))
            write(table, hour, of)
        for name in names:
            unit = UnitRecord(name, parts[name], datagrams=10, rows=EXPORTERS * INTERFACES)
            units.setdefault(bucket_of(name), []).append(unit)
    for bucket, some in units.items():
        path = lake.path(unit_key(bucket))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode(Header("units", bucket, 1, rows=len(some)), some))
    rollup = RollupPlanner(lake, network)
    hours = rollup.plan()
    rollup.roll_up(hours[0])
    for table in ("traffic", "traffic_routes"):
        (file,) = rollup.record.manifest(table, hours[0].start).live
        links[table] = Links(store / table)
        (store / table).write_bytes(lake.path(file.path).read_bytes())
        header = rollup.record.header(table, hours[0].start)
        assert header is not None
        assert header.rollup is not None
        for hour in hours[1:]:
            path = f"{folder_of(table, hour.start)}/{Path(file.path).name}"
            write(table, hour.start, [replace(file, path=path)],
                  replace(header.rollup, inputs=dict(hour.parts)))  # fmt: skip
    lake.close()


def _columns(table: str) -> Any:
    from flowpeer_ingest.schema import TABLES

    return TABLES[table]


def _entry(path: str, file: Any, facts: Any) -> Any:
    from flowpeer.lake.manifest import UnitEntry

    return UnitEntry(path, file.sha256, file.rows, recorded=True, facts=facts)


def measure(folder: Path, name: str, *words: str, again: bool = True) -> None:
    """Run a command, and print what it cost; `again` to count the files that it opens."""
    command = [sys.executable, "-m", "flowpeer", *words]
    done = subprocess.run(
        [sys.executable, "-c", COST, *command], cwd=folder, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    seconds, megabytes = map(float, done.stdout.split())
    opened = ""
    if again:
        counted = subprocess.run(
            [sys.executable, "-c", OPENED, *words], cwd=folder, text=True, capture_output=True,
            check=True,
        )  # fmt: skip
        opened = f"{counted.stderr.split()[-1]:>7} files"
    print(f"{name:36} {seconds:6.2f} s CPU {megabytes:6.0f} MB {opened}")


def main() -> None:
    """See the module."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--files", type=int, default=100_000)
    words.add_argument("--folder", type=Path)
    said = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="planning-") as temporary:
        folder = said.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "flowpeer.toml").exists():
            make(folder, said.files)
        hour = START + (said.files // 120) * HOUR
        one = ("--from", f"{hour:%Y-%m-%dT%H:%M}", "--to", f"{hour + HOUR:%Y-%m-%dT%H:%M}")
        measure(folder, "rollup --explain, one hour", "rollup", "--explain", *one)
        measure(folder, "rollup --explain", "rollup", "--explain")
        measure(folder, "rollup, which packs the record", "rollup", again=False)
        measure(folder, "rollup --explain, packed", "rollup", "--explain")
        measure(folder, "rollup --explain, one hour, packed", "rollup", "--explain", *one)
        measure(folder, "sql, one number", "sql", "select 1")


if __name__ == "__main__":
    main()
