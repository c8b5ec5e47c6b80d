"""Roll-ups of several hours by one and two jobs, at 1/16, 1/4 and all of the flows: what they cost.

    python bench/scale.py [--flows N] [--hours H] [--parts 16,4,1] [--jobs 1,2] [--folder DIR]
                          [--on 'local-cluster[2,1,512]']

Generates H hours (4) of N flows each (6 million) of nine metros as `bench/rollup.py` does, a file a
minute. For each number of jobs, all hours are rolled up by a process of its own, with the files in
the page cache: CPU and wall time, the largest resident memory of a process, and how many files
differ from those that the first number of jobs made, which must be none. With `--on` an
engine does the same once more: two Spark workers on this machine are `local-cluster[2,1,512]`, in
the environment that `make test-spark` leaves in `build/engines`. Then what the lake takes
on disk, and how many rows an hour of more flows than can be generated here would give: the number
of keys that are expected to be met at least once, which is held to the rows that were counted. The
last lines are for `docs/measured.toml`, from which `docs/generate.py` makes the page on sizing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rollup import (
    HOSTS,
    METROS,
    MINUTES,
    ROUTES,
    START_S,
    configuration,
    cost,
    minute,
    routes,
    table_of,
)

from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.routing.rib import match, snapshot

TABLES = ("traffic", "traffic_routes")
SEED = 12
RATES = (42_000, 420_000, 4_200_000)
"""Flows a second of which the rows are expected."""
WITHIN = 0.1
"""Of the rows that were counted, by which the expected ones may differ."""


def generate(folder: Path, flows: int, hours: int) -> None:
    """A configured lake with routes and some hours of so many flows each."""
    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True)
    (folder / "flowpeer.toml").write_text(configuration())
    text, networks, origins = routes(rng)
    (folder / "routes-2026-09-15.txt").write_text(text)
    lake = Lake(folder / "lake")
    info, _ = snapshot.load(lake, folder / "routes-2026-09-15.txt")
    match.open_table(lake, info)
    chosen = rng.integers(0, ROUTES, HOSTS)
    hosts, of_host = networks[chosen] + rng.integers(0, 256, HOSTS), origins[chosen]
    for at in range(hours * MINUTES):
        hour = datetime.fromtimestamp(START_S, UTC) + timedelta(hours=at // MINUTES)
        sink = FlowSink(lake, f"segment-{at:04d}")
        made = minute(rng, flows // MINUTES, at, hosts, of_host)
        sink.write(hour, "flows", table_of(made))
        sink.publish()


def expected(flows: int) -> dict[str, int]:
    """Rows of an hour with so many of these flows: of each table, the sum over its keys of the
    probability that one of them is met."""
    rng = np.random.default_rng(SEED)
    _, _, origins = routes(rng)
    chosen = rng.integers(0, ROUTES, HOSTS)
    rank = np.arange(HOSTS)
    # P(rank) of zipf(1.2) modulo HOSTS; the sum over the turns after the first as an integral.
    p = (rank + 1.0) ** -1.2 + (rank + 1 + HOSTS / 2) ** -0.2 / 0.2 / HOSTS
    p /= p.sum()
    found = {}
    for table, number, parts in (("traffic", origins[chosen], 12), ("traffic_routes", chosen, 1)):
        rows = 0.0
        for metro in range(METROS):
            for out, share in ((1, 0.8), (0, 0.2)):
                near = np.where(rank * 7919 % METROS == metro, 0.8, 0.0) + 0.2 / METROS
                key = number * 4 + (rank * 31 + metro * 17 + out) % 4
                rows += parts * -np.expm1(-flows / parts * np.bincount(key, p * near * share)).sum()
        found[table] = int(rows)
    return found


def disk(folder: Path, table: str) -> int:
    return sum(path.stat().st_size for path in (folder / "lake" / table).rglob("*.parquet"))


def counted(folder: Path, hours: int) -> dict[str, int]:
    """Rows of an hour of each table."""
    lake = Lake(folder / "lake")
    return {t: sum(e["rows"] for e in lake.entries(t).values()) // hours for t in TABLES}


def rollups(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for table in TABLES
        for path in (folder / "lake" / table).rglob("*.parquet")
    }


def forget(folder: Path) -> None:
    """Take the roll-ups out of a lake."""
    for table in TABLES:
        shutil.rmtree(folder / "lake" / table, ignore_errors=True)
        shutil.rmtree(folder / "lake" / "manifests" / table, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flows", type=int, default=6_000_000, help="of an hour")
    parser.add_argument("--hours", type=int, default=4)
    parser.add_argument("--parts", default="16,4,1", help="sizes, as parts of the flows")
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--on", help="address of an engine: a last line, done by it")
    parser.add_argument("--folder", type=Path, help="keep what was generated, and use it again")
    arguments = parser.parse_args()
    measured: list[str] = []
    differ = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        print(f"{arguments.hours} hours, {os.cpu_count()} cores\n"
              f"{'flows an hour':>14}{'jobs':>6}{'wall s':>9}{'CPU s':>9}{'M flows/CPU s':>15}"
              f"{'peak MiB':>10}{'differ':>8}")  # fmt: skip
        for part in map(int, arguments.parts.split(",")):
            flows = arguments.flows // part // MINUTES * MINUTES
            folder = root / f"{flows}x{arguments.hours}"
            if not folder.exists():
                generate(folder, flows, arguments.hours)
            total = flows * arguments.hours
            first: dict[str, bytes] = {}
            ways = {jobs: ["--jobs", jobs] for jobs in arguments.jobs.split(",")}
            if arguments.on:
                ways["dask" if arguments.on.startswith("dask") else "spark"] = [
                    "--on",
                    arguments.on,
                ]
            for jobs, options in ways.items():
                forget(folder)
                took = cost([
                    sys.executable, "-m", "flowpeer", "--config", str(folder / "flowpeer.toml"),
                    "rollup", *options,
                ])  # fmt: skip
                made = rollups(folder)
                first = first or made
                differing = sum(made.get(name) != first.get(name) for name in {*made, *first})
                differ += differing
                print(f"{flows:>14,}{jobs:>6}{took.wall_s:>9.2f}{took.cpu_s:>9.2f}"
                      f"{total / took.cpu_s / 1e6:>15.2f}{took.peak_mib:>10,.0f}"
                      f"{differing:>8}", flush=True)  # fmt: skip
                if jobs == "1":
                    rows, wanted = counted(folder, arguments.hours), expected(flows)
                    if any(abs(wanted[t] - rows[t]) > WITHIN * rows[t] for t in TABLES):
                        raise SystemExit(f"{rows} rows an hour, {wanted} expected")
                    measured.append(
                        f"[[rollup]]\nflows = {flows}\ncpu_s = {took.cpu_s / arguments.hours:.3f}\n"
                        f"peak_mib = {took.peak_mib:.0f}\n"
                        f"flow_octets = {disk(folder, 'flows') // arguments.hours}\n"
                        f"traffic_octets = {disk(folder, 'traffic') // arguments.hours}\n"
                        f"routes_octets = {disk(folder, 'traffic_routes') // arguments.hours}\n"
                        f"traffic_rows = {rows['traffic']}\n"
                        f"routes_rows = {rows['traffic_routes']}\n"
                    )
    for rate in RATES:
        wanted = expected(3600 * rate)
        measured.append(
            f"[[expected]]\nflows_per_s = {rate}\ntraffic_rows = {wanted['traffic']}\n"
            f"routes_rows = {wanted['traffic_routes']}\n"
        )
    print("\n" + "\n".join(measured))
    if differ:
        raise SystemExit(f"{differ} files differ by who made them")


if __name__ == "__main__":
    main()
