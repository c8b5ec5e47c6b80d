"""What roll-ups, plans and answers cost as flows grow: one table.

    python bench/scale.py [--flows N] [--hours H] [--parts 16,4,1] [--jobs 1,2] [--folder DIR]
                          [--on 'local-cluster[2,1,1024]'] [--files 1000,10000,100000]

Generates H hours (4) of N flows each (6 million) of nine metros as `bench/rollup.py` does, a file a
minute, and a quarter and a sixteenth of that. Each line of the table is a command in a process of
its own, with the files in the page cache: wall and CPU time, and the largest resident memory of a
process. All hours are rolled up by each number of jobs, and by two workers of Spark (`--on`) where
`make test-spark` has left its environment in `build/engines`; none of the files may differ from
those that the first of them made. Then the answers, `check`, `verify` and a question in SQL. After
the sizes: plans of a lake of so many files (`bench/planning.py`), before its record is packed and
after; `check` and `run` with nothing new over 50 hours of half a million flows each.

Then how many rows an hour of more flows than can be generated here would give: the number
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
import planning
from rollup import (
    HOSTS,
    METROS,
    MINUTES,
    NETWORKS,
    ROUTES,
    START_S,
    Cost,
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
ENGINES = Path(__file__).resolve().parents[1] / "build" / "engines" / "bin" / "python"
PERIOD = ("--period", "2026-09-16/2026-09-19")
DAYS = 50, 500_000
"""Hours, and flows of each, over which `check` and `run` are to be cheap."""
RATES = (42_000, 420_000, 4_200_000)
"""Flows a second of which the rows are expected."""
OTHERS = ((1, NETWORKS), (3, NETWORKS), (27, NETWORKS), (METROS, NETWORKS // 3))
"""Metros and networks of which they are expected at the first rate."""
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


def expected(flows: int, metros: int = METROS, networks: int = NETWORKS) -> dict[str, int]:
    """Rows of an hour with so many of these flows, of other numbers of metros and networks: of each
    table, the sum over its keys of the probability that one of them is met."""
    rng = np.random.default_rng(SEED)
    _, _, origins = routes(rng)
    origins = 1 + (origins - 1) * networks // NETWORKS
    chosen = rng.integers(0, ROUTES, HOSTS)
    rank = np.arange(HOSTS)
    # P(rank) of zipf(1.2) modulo HOSTS; the sum over the turns after the first as an integral.
    p = (rank + 1.0) ** -1.2 + (rank + 1 + HOSTS / 2) ** -0.2 / 0.2 / HOSTS
    p /= p.sum()
    found = {}
    for table, number, parts in (("traffic", origins[chosen], 12), ("traffic_routes", chosen, 1)):
        rows = 0.0
        for metro in range(metros):
            for out, share in ((1, 0.8), (0, 0.2)):
                near = np.where(rank * 7919 % metros == metro, 0.8, 0.0) + 0.2 / metros
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


def line(of: str, what: str, took: Cost, *more: str) -> None:
    """A line of the table."""
    print(f"{of:>16}  {what:<36}{took.wall_s:>8.2f}{took.cpu_s:>8.2f}{took.peak_mib:>10,.0f}"
          + "".join(f"{cell:>15}" for cell in more), flush=True)  # fmt: skip


def flowpeer(folder: Path, *words: str, python: str | Path = sys.executable) -> Cost:
    """What a command costs on the lake of a folder."""
    config = str(folder / "flowpeer.toml")
    return cost([str(python), "-m", "flowpeer", "--config", config, *words])


def rolled_up(folder: Path, flows: int, ways: dict[str, list[str]]) -> tuple[Cost, int]:
    """Lines of a lake rolled up in each of some ways; the cost of the first, and the number of
    files that differ from those it made."""
    of, costs, differ = f"{flows:,} flows", [], 0
    first: dict[str, bytes] = {}
    for what, words in ways.items():
        forget(folder)
        took = flowpeer(folder, *words, python=ENGINES if "--on" in words else sys.executable)
        costs.append(took)
        made = rollups(folder)
        first = first or made
        differing = sum(made.get(name) != first.get(name) for name in {*made, *first})
        line(of, what, took, f"{flows / took.cpu_s / 1e6:.2f} M flows/s", f"{differing} differ")
        differ += differing
    return costs[0], differ


def answers(folder: Path, of: str) -> None:
    """Lines of what is asked of a lake."""
    out = str(folder / "out")
    for name in ("candidates", "imbalance"):
        line(of, name, flowpeer(folder, name, *PERIOD, "--out", out, "--format", "csv"))
    line(of, "check", flowpeer(folder, "check"))
    line(of, "verify", flowpeer(folder, "verify"))
    asked = f"FROM p95_per_asn(period := '{PERIOD[1]}')"
    line(of, "sql: p95_per_asn", flowpeer(folder, "sql", asked, "--format", "csv"))


def plans(folder: Path, files: int) -> None:
    """Lines of a plan of so many files."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "flowpeer.toml").exists():
        planning.make(folder, files)
        line(f"{files:,} files", "plan", flowpeer(folder, "rollup", "--explain"))
        flowpeer(folder, "rollup")
    line(f"{files:,} files", "plan, packed", flowpeer(folder, "rollup", "--explain"))


def nothing_new(folder: Path) -> None:
    """Lines of days of which all is done."""
    hours, flows = DAYS
    if not folder.exists():
        generate(folder, flows // MINUTES * MINUTES, hours)
    of = f"{flows * hours:,} flows"
    line(of, f"run, {hours} hours", flowpeer(folder, "run"))
    line(of, "run, nothing new", flowpeer(folder, "run"))
    line(of, "check", flowpeer(folder, "check"))


def measurement(folder: Path, flows: int, hours: int, took: Cost) -> str:
    """Lines for `docs/measured.toml` of a size that was rolled up by one job."""
    rows, wanted = counted(folder, hours), expected(flows)
    if any(abs(wanted[t] - rows[t]) > WITHIN * rows[t] for t in TABLES):
        raise SystemExit(f"{rows} rows an hour, {wanted} expected")
    return (
        f"[[rollup]]\nflows = {flows}\ncpu_s = {took.cpu_s / hours:.3f}\n"
        f"peak_mib = {took.peak_mib:.0f}\n"
        f"flow_octets = {disk(folder, 'flows') // hours}\n"
        f"traffic_octets = {disk(folder, 'traffic') // hours}\n"
        f"routes_octets = {disk(folder, 'traffic_routes') // hours}\n"
        f"traffic_rows = {rows['traffic']}\n"
        f"routes_rows = {rows['traffic_routes']}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flows", type=int, default=6_000_000, help="of an hour")
    parser.add_argument("--hours", type=int, default=4)
    parser.add_argument("--parts", default="16,4,1", help="sizes, as parts of the flows")
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--files", default="1000,10000,100000", help="of lakes that are planned")
    parser.add_argument(
        "--on", default="local-cluster[2,1,1024]", help="address of an engine; empty: none"
    )
    parser.add_argument("--folder", type=Path, help="keep what was generated, and use it again")
    arguments = parser.parse_args()
    ways = {f"rollup --jobs {n}": ["rollup", "--jobs", n] for n in arguments.jobs.split(",")}
    if arguments.on and ENGINES.exists():
        ways[f"rollup --on {arguments.on}"] = ["rollup", "--on", arguments.on]
    elif arguments.on:
        print(f"no {ENGINES}, so no line of an engine: `make test-spark` makes it")
    measured: list[str] = []
    differ = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        print(f"{arguments.hours} hours, {os.cpu_count()} cores")
        print(f"{'of':>16}  {'what':<36}{'wall s':>8}{'CPU s':>8}{'peak MiB':>10}", flush=True)
        for part in map(int, arguments.parts.split(",")):
            flows = arguments.flows // part // MINUTES * MINUTES
            folder = root / f"{flows}x{arguments.hours}"
            if not folder.exists():
                generate(folder, flows, arguments.hours)
            took, differing = rolled_up(folder, flows * arguments.hours, ways)
            differ += differing
            if "--jobs 1" in next(iter(ways)):
                measured.append(measurement(folder, flows, arguments.hours, took))
            answers(folder, f"{flows * arguments.hours:,} flows")
        for files in filter(None, arguments.files.split(",")):
            plans(root / f"files-{files}", int(files))
        nothing_new(root / "days")
    for rate in RATES:
        wanted = expected(3600 * rate)
        measured.append(
            f"[[expected]]\nflows_per_s = {rate}\ntraffic_rows = {wanted['traffic']}\n"
            f"routes_rows = {wanted['traffic_routes']}\n"
        )
    for metros, networks in OTHERS:
        wanted = expected(3600 * RATES[0], metros, networks)
        measured.append(
            f"[[other]]\nmetros = {metros}\nnetworks = {networks}\n"
            f"traffic_rows = {wanted['traffic']}\nroutes_rows = {wanted['traffic_routes']}\n"
        )
    print("\n" + "\n".join(measured))
    if differ:
        raise SystemExit(f"{differ} files differ by who made them")


if __name__ == "__main__":
    main()
