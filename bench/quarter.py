"""A quarter of roll-ups: the p95 question in SQL against the time DuckDB needs to scan the columns.

    python bench/quarter.py [--days 91] [--folder DIR]

Generates 91 days of `traffic` of nine metros with four external interfaces each, in which 30,000
networks are active: some hundred in every slot, the others the more rarely the smaller they are;
over 200 million rows. Then, each as a process of its own with the files in the page cache: DuckDB
hashing the columns that a p95 reads, and the named question `p95_per_asn` for one week. Last, the
size of one of the days when the tail of small networks is folded to hours, by `fold_share`. The
disk needs 5 GB; `--folder` keeps them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 7, 1, tzinfo=UTC)
METROS = 9
INTERFACES = ((11, "transit", 1299), (12, "transit", 3356), (13, "transit", 174),
              (14, "peer", 15169))  # fmt: skip
NETWORKS = 30_000
ALWAYS = {"out": 115, "in": 25}
"""Networks that are active in every slot of a metro; beyond, with probability ALWAYS / rank."""
PATTERNS = 16
SHARES = (0.01, 0.02, 0.05)
FOLD_BELOW_BPS = 1_000_000
SCAN = """
import sys, duckdb
duckdb.sql(f"SELECT bit_xor(hash(slot, metro, role, direction, remote_asn, scaled, bytes)), "
           f"count(*) FROM read_parquet('{sys.argv[1]}', hive_partitioning = false)").show()
"""
RUNNER = """
import os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
out, said = process.stdout.read().decode(), process.stderr.read().decode()
_, status, usage = os.wait4(process.pid, 0)
if status:
    sys.exit(said[-2000:] or "failed")
print(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
print(out)
"""


def fold(columns: dict[str, Any], share: float) -> dict[str, Any]:
    """An hour's columns with the tail of each metro folded, by the roll-up's own choice of it."""
    import polars as pl

    from flowpeer.rollup.folding import ASN_BITS, Tail

    rows = pl.DataFrame(columns).with_columns(
        network=(pl.col("metro") * (1 << ASN_BITS)) + pl.col("remote_asn")
    )
    totals = rows.group_by("network").agg(pl.col("bytes").sum())
    tail = Tail(share, FOLD_BELOW_BPS).smallest(totals)
    keys = ["slot", "metro", "interface", "provider_asn", "role", "direction", "family",
            "remote_asn", "scaled"]  # fmt: skip
    small = pl.col("network").is_in(pl.Series(tail).implode())
    return (
        rows.with_columns(remote_asn=pl.when(small).then(-6).otherwise("remote_asn"))
        .group_by(keys)
        .agg(pl.exclude("network").sum())
        .sort("slot", "metro", "interface", "direction", "family", "remote_asn")
        .to_dict(as_series=False)
    )


def hours(folder: Path, numbers: list[int], share: float | None = None) -> int:
    """Write some hours of traffic; how many rows."""
    import numpy as np
    import pyarrow as pa

    from flowpeer import schema
    from flowpeer.lake.store import Lake
    from flowpeer_core.columns import arrow_schema

    lake = Lake(folder / "lake")
    target = arrow_schema(schema.TRAFFIC)
    rank = np.arange(1, NETWORKS + 1)
    asn = np.random.default_rng(1).permutation(64_000)[:NETWORKS] + 1
    rng = np.random.default_rng(2)
    patterns = []  # (slot, metro, direction, rank) of the active ones of an hour
    for _ in range(PATTERNS):
        rows = []
        for d, direction in enumerate(("in", "out")):
            active = rng.random((12, METROS, NETWORKS), np.float32) < ALWAYS[direction] / rank
            slot, metro, network = np.nonzero(active)
            rows.append(np.stack((slot, metro, np.full_like(slot, d), network)))
        patterns.append(np.concatenate(rows, axis=1))
    texts = {
        "metro": pa.array([f"m{m}x" for m in range(METROS)]),
        "exporter": pa.array([f"edge1.m{m}x" for m in range(METROS)]),
        "role": pa.array([role for _, role, _ in INTERFACES]),
        "direction": pa.array(["in", "out"]),
    }
    total = 0
    for number in numbers:
        begin = START + timedelta(hours=number)
        rng = np.random.default_rng((3, number))
        slot, metro, direction, network = patterns[int(rng.integers(PATTERNS))]
        port = (network * 31 + metro * 17 + direction) % 4  # one best path a metro
        order = np.lexsort((asn[network], direction, port, metro, slot))
        slot, metro, direction, network, port = (
            column[order] for column in (slot, metro, direction, network, port)
        )
        daily = 1 + 0.6 * np.sin((begin.hour + metro) / 24 * 2 * np.pi)
        size = 4e9 / (network + 1) ** 0.8 * daily * rng.lognormal(0, 0.5, network.size)
        octets = 1000 * (size / 1000).astype(np.int64) + 1000 * rng.integers(40, 1500, size.size)
        packets = octets // 900
        given = {
            "slot": (int(begin.timestamp()) + 300 * slot) * 1_000_000,
            "interface": 11 + port,
            "provider_asn": np.array([a for _, _, a in INTERFACES])[port],
            "family": np.where(network % 5 == 0, 6, 4).astype(np.int32),
            "remote_asn": asn[network],
            "scaled": np.ones(size.size, dtype=bool),
            "bytes": octets,
            "packets": packets,
            "records": packets // 1000 + 1,
            "variance_low": octets * 9e5,
            "variance_high": octets * 1.4e6,
        }
        given |= {"metro": metro, "role": port, "direction": direction}
        if share is not None:
            given = fold(given, share)
        given["exporter"] = given["metro"]
        columns = [
            texts[f.name].take(pa.array(given[f.name]))
            if f.name in texts
            else pa.array(given[f.name]).cast(f.type)
            for f in target
        ]
        lake.publish(
            f"traffic/date={begin:%Y-%m-%d}/hour={begin.hour:02d}/part.parquet", schema.TRAFFIC,
            pa.Table.from_arrays(columns, schema=target), {},
        )  # fmt: skip
        total += len(given["slot"])
    return total


def sizes() -> None:
    """Print what one day takes on disk, as it is and folded."""
    print(f"\n{'one day of traffic':<34}{'M rows':>8}{'MB':>8}{'of all':>8}")
    whole = 0
    for share in (None, *SHARES):
        with tempfile.TemporaryDirectory() as folder:
            rows = hours(Path(folder), list(range(24)), share)
            octets = sum(p.stat().st_size for p in Path(folder).rglob("*.parquet"))
        whole = whole or octets
        name = "not folded" if share is None else f"fold_share = {share}"
        print(f"{name:<34}{rows / 1e6:>8.2f}{octets / 1e6:>8.1f}{octets / whole:>8.0%}", flush=True)


def generate(folder: Path, days: int) -> int:
    """The lake and its configuration, in two processes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[network]", "asn = 64500", 'name = "Bench"', 'prefixes = ["198.18.0.0/15"]',
             "[lake]", 'path = "lake"']  # fmt: skip
    for m in range(METROS):
        lines += ["[[metros]]", f'id = "m{m}x"', f'name = "Metro {m}"', "[[exporters]]",
                  f'id = "edge1.m{m}x"', f'metro = "m{m}x"',
                  f'addresses = ["192.0.2.{m + 1}"]']  # fmt: skip
    (folder / "flowpeer.toml").write_text("\n".join(lines) + "\n")
    every = list(range(24 * days))
    with ProcessPoolExecutor(2) as pool:
        return sum(pool.map(hours, [folder, folder], [every[0::2], every[1::2]]))


def cost(name: str, command: list[str], rows: int) -> None:
    """Run a command from a small process, print what it took."""
    done = subprocess.run([sys.executable, "-S", "-c", RUNNER, *command], capture_output=True,
                          text=True, check=False, env={**os.environ, "COLUMNS": "120"})  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    wall, cpu, peak = map(float, done.stdout.splitlines()[0].split())
    print(f"{name:<34}{wall:>8.1f}{cpu:>8.1f}{rows / wall / 1e6:>10.1f}{peak:>10,.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=91)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep what was generated, and use it again")
    arguments = parser.parse_args()
    days = arguments.days
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "quarter"
        begun = time.monotonic()
        if not (folder / "rows").exists():
            rows = generate(folder, days)
            (folder / "rows").write_text(str(rows))
        rows = int((folder / "rows").read_text())
        octets = sum(p.stat().st_size for p in (folder / "lake/traffic").rglob("*.parquet"))
        print(
            f"{rows:,} rows of {days} days in {octets / 1e9:.2f} GB, {octets / rows:.1f} bytes a "
            f"row (made in {time.monotonic() - begun:.0f} s)\n"
        )
        print(f"{'process':<34}{'wall s':>8}{'CPU s':>8}{'M rows/s':>10}{'peak MiB':>10}")
        files = f"{folder}/lake/traffic/**/*.parquet"
        for _ in range(arguments.repeat):
            cost("DuckDB scans the columns", [sys.executable, "-c", SCAN, files], rows)
        week = min(7, days)
        period = ["--param", f"period_start={START:%Y-%m-%d}", "--param",
                  f"period_end={START + timedelta(days=week):%Y-%m-%d}"]  # fmt: skip
        cost(
            f"sql p95_per_asn, {week} days of them",
            [sys.executable, "-m", "flowpeer", "--config", f"{folder}/flowpeer.toml", "sql",
             "p95_per_asn", *period, "--format", "csv"],
            rows * week // days,
        )  # fmt: skip
    sizes()


if __name__ == "__main__":
    main()
