"""Questions in SQL as an analyst asks them, against plain Polars over the same files.

    python bench/sql.py [--days 14] [--folder DIR]

The lake of `bench/quarter.py`, 14 days of it: some 31 million rows of `traffic` in 336 files. Each
question is a `flowpeer sql` of its own: CPU and memory are those of the command and of the process
in which its query runs. Polars is a process of its own too, its start included; a ratio above 1 is
what SQL costs more. The disk needs 1 GB; `--folder` keeps it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from quarter import RUNNER, START, generate

POLARS = """
import sys, polars as pl
from datetime import datetime, timedelta
import flowpeer
net = flowpeer.open(sys.argv[1])
start = datetime.fromisoformat(sys.argv[2])
day, end = start + timedelta(days=1), start + timedelta(days=int(sys.argv[3]))
transit = (pl.col("role") == "transit") & pl.col("scaled")
key = ("metro", "provider_asn", "direction", "remote_asn")
"""
DAY = 'net.scan("traffic", start, day).select(pl.col("bytes").sum()).collect()'
GROWTH = """
(net.scan("traffic", start, end).filter(transit)
 .group_by(pl.col("slot").dt.truncate("1mo"), "remote_asn").agg(pl.col("bytes").sum())
 .sort("bytes", descending=True).head(20).collect())
"""
P95 = """
slots = net.scan("traffic", start, end).filter(transit).group_by(*key, "slot")
(slots.agg(pl.col("bytes").sum()).group_by(*key)
 .agg(pl.col("bytes").sort(), pl.col("bytes").sum().alias("total"))
 .sort("total", descending=True).group_by("metro", "provider_asn", "direction").head(20).collect())
"""


def cost(command: list[str]) -> tuple[float, float, float]:
    """Wall clock and CPU seconds, and the most memory of one process in MiB."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUNNER, *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    wall, cpu, peak = map(float, done.stdout.splitlines()[0].split())
    return wall, cpu, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--folder", type=Path, help="keep what was generated, and use it again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "lake"
        if not (folder / "rows").exists():
            (folder / "rows").write_text(str(generate(folder, arguments.days)))
        print(f"{int((folder / 'rows').read_text()):,} rows of {arguments.days} days\n")
        heads = ("wall s", "CPU s", "MiB", "Polars", "MiB", "ratio")
        print(f"{'question':<40}" + "".join(f"{head:>8}" for head in heads))
        next_day = f"{START + timedelta(days=1):%Y-%m-%d}"
        whole = f"{START:%Y-%m-%d}/{START + timedelta(days=arguments.days):%Y-%m-%d}"
        one_day = (
            "SELECT sum(bytes) AS b FROM traffic"
            f" WHERE slot >= '{START:%Y-%m-%d}' AND slot < '{next_day}'"
        )
        for name, words, peer in (
            ("select 1", ["SELECT 1 AS one"], ""),
            ("bytes of one day, by slot", [one_day], DAY),
            ("growth", ["growth", "--period", whole], GROWTH),
            ("p95_per_asn", ["p95_per_asn", "--period", whole], P95),
        ):  # fmt: skip
            flowpeer = [sys.executable, "-m", "flowpeer", "--config", f"{folder}/flowpeer.toml"]
            wall, cpu, peak = cost([*flowpeer, "sql", *words])
            line = f"{name:<40}{wall:>8.1f}{cpu:>8.2f}{peak:>8,.0f}"
            if peer:
                given = [f"{folder}/flowpeer.toml", START.isoformat(), str(arguments.days)]
                _, other, most = cost([sys.executable, "-c", POLARS + peer, *given])
                line += f"{other:>8.2f}{most:>8,.0f}{cpu / other:>8.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
