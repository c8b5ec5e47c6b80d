"""The candidate list of a quarter against DuckDB's scan and grouping of the same columns.

    python bench/candidates.py [--days 1 4 16] [--metros 9] [--folder DIR]

Generates days of `traffic` and `traffic_routes` of nine metros, three transits each, in which
70,000 networks with some 170,000 prefixes are active (2.1 million rows of routes and 2.6 million of
slots a day; 91 days are a quarter), with their AS paths and relationships. Then, each as a process
of its own with the files in the page cache: DuckDB
reading the columns that the list is made from and
grouping them by metro, direction and route, and by metro, direction and slot; and the whole default
list with its percentiles. Prints CPU, peak memory and the ratio (goal: 3), and where the time goes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

START = datetime(2026, 7, 1, tzinfo=UTC)
NETWORKS, CARRIERS, PREFIXES = 70_000, 600, 170_000
TRANSITS = (1299, 3356, 174)
ALWAYS = {"out": 105, "in": 24}
"""Networks active in every slot of a metro; beyond, with probability ALWAYS / rank."""
SCAN = """
import sys, duckdb
c = duckdb.connect()
c.sql("SET threads = 1; SET memory_limit = '8GB'; SET enable_progress_bar = false")
a = c.sql(f"SELECT count(*), sum(b) FROM (SELECT sum(bytes) b, sum(variance_high) v FROM "
          f"read_parquet('{sys.argv[1]}/traffic_routes/**/*.parquet') WHERE role = 'transit' AND "
          f"scaled GROUP BY metro, direction, prefix, origin_asn)").fetchall()
b = c.sql(f"SELECT count(*), sum(b) FROM (SELECT sum(bytes) b, sum(variance_high) v, sum(packets) "
          f"FROM read_parquet('{sys.argv[1]}/traffic/**/*.parquet') WHERE role = 'transit' AND "
          f"scaled GROUP BY metro, direction, slot, remote_asn)").fetchall()
print(a, b)
"""
RUNNER = """
import os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
out = process.stdout.read().decode()
_, status, usage = os.wait4(process.pid, 0)
if status:
    sys.exit("failed")
print(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
print(out)
"""


class Internet:
    """Networks by rank of their traffic, their prefixes and the carriers above them."""

    def __init__(self) -> None:
        dice = np.random.default_rng(1)
        self.asn = 131_072 + dice.permutation(NETWORKS)
        self.carrier = 10_000 + np.arange(CARRIERS)
        weight = 1 / np.arange(1, CARRIERS + 1)
        self.above = dice.choice(self.carrier, (NETWORKS, 2), p=weight / weight.sum())
        share = dice.pareto(1.2, NETWORKS) + 0.3
        count = np.maximum(1, (share / share.sum() * PREFIXES).astype(np.int64))
        self.first = np.concatenate([[0], np.cumsum(count)])
        number = np.arange(self.first[-1])
        self.prefix = np.array(
            [f"{1 + n // 65536 % 220}.{n // 256 % 256}.{n % 256}.0/24" for n in number]
        )

    def tables(self) -> dict[str, pl.DataFrame]:
        owner = np.repeat(np.arange(NETWORKS), np.diff(self.first))
        frames = []
        for view, transit in enumerate(TRANSITS):
            above = self.above[owner, (owner + view) % 2]
            frames.append(
                pl.DataFrame({"prefix": self.prefix, "a": above, "o": self.asn[owner]}).select(
                    "prefix", as_path=pl.format(f"{transit} {{}} {{}}", "a", "o")
                )
            )
        down = [
            (int(a), int(o), -1)
            for a, o in zip(self.above.ravel(), np.repeat(self.asn, 2), strict=True)
        ]
        down += [(t, int(c), -1) for t in TRANSITS for c in self.carrier]
        links = pl.DataFrame(
            down,
            schema={"asn": pl.Int64, "other_asn": pl.Int64, "relationship": pl.Int32},
            orient="row",
        )
        return {"paths": pl.concat(frames), "relationships": links.unique()}


def hour(net: Internet, folder: Path, number: int, metros: int) -> tuple[int, int]:
    """Write one hour of both tables; how many rows."""
    dice = np.random.default_rng((7, number))
    begin = START + timedelta(hours=number)
    rank = np.arange(1, NETWORKS + 1)
    slots, routes = [], []
    for metro in range(metros):
        for direction, always in ALWAYS.items():
            active = dice.random((12, NETWORKS), np.float32) < always / rank
            slot, who = np.nonzero(active)
            octets = 1000 * (
                4e9 / rank[who] ** 0.85 / 1000 * dice.lognormal(0, 0.4, len(who))
            ).astype(np.int64)
            octets += 1000 * dice.integers(40, 1500, len(who))
            port = (who * 31 + metro * 17) % len(TRANSITS)
            base = {
                "metro": f"m{metro}x", "exporter": f"edge1.m{metro}x", "role": "transit",
                "direction": direction, "scaled": True,
            }  # fmt: skip
            slots.append(
                pl.DataFrame({
                    "slot": begin.timestamp() + 300 * slot, "interface": 11 + port,
                    "provider_asn": np.array(TRANSITS)[port], "remote_asn": net.asn[who],
                    "bytes": octets, "packets": octets // 900, "variance_high": octets * 1.4e6,
                }).with_columns(
                    pl.from_epoch(pl.col("slot").cast(pl.Int64), "s").cast(
                        pl.Datetime("us", "UTC")
                    ),
                    **{k: pl.lit(v) for k, v in base.items()},
                )
            )  # fmt: skip
            total = np.bincount(who, octets, NETWORKS).astype(np.int64)
            seen = np.flatnonzero(total)
            many = np.minimum(np.diff(net.first)[seen], 4)
            owner = np.repeat(seen, many)
            place = np.arange(len(owner)) - np.repeat(np.cumsum(many) - many, many)
            part = np.repeat(total[seen] // many, many)
            part[np.cumsum(many) - 1] += total[seen] % many
            port = (owner * 31 + metro * 17) % len(TRANSITS)
            routes.append(
                pl.DataFrame({
                    "interface": 11 + port, "provider_asn": np.array(TRANSITS)[port],
                    "prefix": net.prefix[net.first[owner] + place], "origin_asn": net.asn[owner],
                    "bytes": part, "packets": part // 900, "variance_high": part * 1.4e6,
                }).with_columns(
                    hour_start=pl.lit(begin).cast(pl.Datetime("us", "UTC")),
                    **{k: pl.lit(v) for k, v in base.items()},
                )
            )  # fmt: skip
    counts = []
    for name, frames, order in (
        ("traffic", slots, ["slot", "metro", "interface", "direction", "remote_asn"]),
        ("traffic_routes", routes, ["metro", "interface", "direction", "prefix"]),
    ):
        path = folder / name / f"date={begin:%Y-%m-%d}" / f"hour={begin.hour:02d}"
        path.mkdir(parents=True, exist_ok=True)
        frame = pl.concat(frames).sort(order)
        frame.write_parquet(path / "part.parquet", compression="zstd", compression_level=1)
        counts.append(frame.height)
    return counts[0], counts[1]


def ours(folder: Path, days: float, metros: int) -> None:
    """The default list, in this process; prints where the time goes."""
    from flowpeer.analysis.scratch import FileStore
    from flowpeer_reports import candidates as module
    from flowpeer_reports.inputs import Inputs

    spent: dict[str, float] = {}

    def timed(name: str) -> None:
        inner = getattr(module, name)

        def call(*args: object, **named: object) -> object:
            begun = time.process_time()
            made = inner(*args, **named)
            spent[name] = spent.get(name, 0.0) + time.process_time() - begun
            return made

        setattr(module, name, call)

    for name in (
        "universe",
        "cover",
        "rank",
        "figures",
        "candidate_rows",
        "unlisted",
        "disagreements",
    ):
        timed(name)
    load = module.Series.load

    def loaded(self: module.Series) -> None:
        begun = time.process_time()
        load(self)
        spent["series"] = time.process_time() - begun

    module.Series.load = loaded  # type: ignore[method-assign]
    names = [f"m{m}x" for m in range(metros)]
    empty = pl.DataFrame
    inputs = Inputs(
        asn=64500, name="Bench", currency="USD", siblings=frozenset(),
        period_start=START, period_end=START + timedelta(days=days),
        slots=dict.fromkeys(names, round(288 * days)), missing_slots=dict.fromkeys(names, 0),
        metros=pl.DataFrame({"metro": names}).with_columns(
            name="metro", region=pl.lit(None, pl.String), continent=pl.lit("EU"),
            latitude=pl.lit(None, pl.Float64), longitude=pl.lit(None, pl.Float64),
            facilities=pl.lit([], pl.List(pl.Int64)), exchanges=pl.lit([], pl.List(pl.Int64)),
        ),
        exchange_ports=empty(schema={"metro": pl.String, "ix_id": pl.Int64,
                                     "route_servers": pl.Boolean, "speed_bps": pl.Int64}),
        interfaces=pl.DataFrame(
            [(f"edge1.{m}", m, 11 + i, None, "transit", t, 10**11, None)
             for m in names for i, t in enumerate(TRANSITS)],
            schema={"exporter": pl.String, "metro": pl.String, "interface": pl.Int64,
                    "name": pl.String, "role": pl.String, "asn": pl.Int64,
                    "capacity_bps": pl.Int64, "contract": pl.String}, orient="row"),
        contracts=empty(),
        sessions=empty(schema={"asn": pl.Int64, "metro": pl.String, "kind": pl.String}),
        exclusions=empty(schema={"asn": pl.Int64, "reason": pl.String, "until": pl.Date}),
        traffic=pl.scan_parquet(folder / "traffic/**/*.parquet"),
        traffic_routes=pl.scan_parquet(folder / "traffic_routes/**/*.parquet"),
        paths=pl.read_parquet(folder / "paths.parquet"),
        relationships=pl.read_parquet(folder / "relationships.parquet"),
        clique=frozenset(TRANSITS), cones=empty(schema={"asn": pl.Int64, "member_asn": pl.Int64}),
        asns=empty(schema={"asn": pl.Int64, "name": pl.String, "organisation": pl.String,
                           "country": pl.String}),
        peeringdb={},
    )  # fmt: skip
    found = module.candidates(inputs, stores=FileStore)
    print(f"{found.rows.height} rows, {found.organisations.height} organisations;",
          *(f"{k.strip('_')} {v:.1f} s" for k, v in spent.items()))  # fmt: skip


def cost(name: str, command: list[str]) -> float:
    """Run a command from a small process, print what it took; its CPU."""
    done = subprocess.run([sys.executable, "-S", "-c", RUNNER, *command], capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    lines = done.stdout.splitlines()
    wall, cpu, peak = map(float, lines[0].split())
    print(
        f"{name:<20}{wall:>8.1f} s{cpu:>8.1f} s CPU{peak:>9,.0f} MiB   {' '.join(lines[1:])}",
        flush=True,
    )
    return cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=float, nargs="+", default=[1, 4, 16])
    parser.add_argument("--metros", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="keep what was generated, and use it again")
    parser.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.list:
        ours(arguments.list, arguments.days[0], arguments.metros)
        return
    net = Internet()
    with tempfile.TemporaryDirectory() as temporary:
        for days in arguments.days:
            folder = (arguments.folder or Path(temporary)) / f"{days:g}-{arguments.metros}"
            if not (folder / "relationships.parquet").exists():
                rows = np.zeros(2, np.int64)
                for number in range(round(24 * days)):
                    rows += hour(net, folder, number, arguments.metros)
                for name, frame in net.tables().items():
                    frame.write_parquet(folder / f"{name}.parquet")
                print(f"\n{days:g} days: {rows[0]:,} rows of traffic, {rows[1]:,} of routes")
            scan = cost("DuckDB groups", [sys.executable, "-c", SCAN, str(folder)])
            listed = cost(
                "the list",
                [sys.executable, __file__, "--list", str(folder), "--days", str(days),
                 "--metros", str(arguments.metros)],
            )  # fmt: skip
            print(f"{'ratio of CPU':<20}{listed / scan:>8.2f} (goal: 3)")


if __name__ == "__main__":
    main()
