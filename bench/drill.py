"""Every N−1 of nine metros × 40 links over a quarter of 5-minute slots, growth 1 to 10.

    python bench/drill.py [--days 91] [--scales 1,4,16] [--routes 20]

Each scale is a process of its own over a part of the quarter (16: all of it), with the routes of
the hours, and the offers of each week, in Parquet files that are read again. Printed: seconds, CPU
seconds, memory at its most, and for what: 360 links, 8 providers, 18 routers, 27 exchanges and
facilities, 9 metros.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

START = datetime(2026, 7, 1, tzinfo=UTC)
METROS = 9
LINKS = 40
TRANSITS = (174, 1299, 2914, 3257, 3320, 3356, 6453, 6461)
PREFIXES = 4_000
LOCALS = 6


def links() -> Any:
    import polars as pl

    rows = []
    for m in range(METROS):
        for n in range(LINKS):
            transit = n < len(TRANSITS)
            role = "transit" if transit else "ix" if n % 10 == 9 else "peer"
            rows.append((f"edge{1 + n % 2}.m{m}", n, f"m{m}", role,
                         TRANSITS[n] if transit else None if role == "ix" else 5000 + n,
                         f"if{n}", 100_000_000_000, 100 * m + n % 2 if role == "ix" else None,
                         1000 + m))  # fmt: skip
    frame = pl.DataFrame(
        rows,
        schema=["exporter", "interface", "metro", "role", "provider_asn", "name", "capacity_bps",
                "exchange", "facility"],
        orient="row",
    )  # fmt: skip
    return frame.sort("exporter", "interface")


def write_routes(folder: Path, days: int, per_hour: int) -> None:
    """A file a day: hour, link, direction, prefix, local_prefix, bytes."""
    import numpy as np
    import polars as pl

    frame = links()
    rng = np.random.default_rng(1)
    prefix = pl.Series([f"10.{i >> 8}.{i & 255}.0/24" for i in range(PREFIXES)])
    local = pl.Series([f"198.{18 + i}.0.0/16" for i in range(LOCALS)])
    every = np.arange(frame.height)
    for day in range(days):
        parts = []
        for direction, each in (("out", per_hour), ("in", LOCALS)):
            hour = np.repeat(np.arange(24) + 24 * day, frame.height * each)
            link = np.tile(np.repeat(every, each), 24)
            which = rng.zipf(1.3, len(hour)) % PREFIXES
            home = np.tile(np.arange(each) % LOCALS, len(hour) // each)
            parts.append(
                pl.DataFrame(
                    {
                        "hour": hour, "link": link, "prefix": prefix.gather(which),
                        "local_prefix": local.gather(home),
                        "bytes": rng.integers(1, 10**11, len(hour)),
                    }
                ).with_columns(direction=pl.lit(direction))
            )  # fmt: skip
        pl.concat(parts).write_parquet(folder / f"{day:03}.parquet")


def write_offers(folder: Path, days: int) -> None:
    """A file a week: the offers of that week's table; in each a twentieth of the prefixes has
    paths of another length than in the one before."""
    import numpy as np
    import polars as pl

    from flowpeer_reports.offers import OFFERS

    frame = links()
    asn = frame["provider_asn"].fill_null(1).to_list()
    transit = [i for i, role in enumerate(frame["role"]) if role == "transit"]
    peers = sorted({*range(frame.height)} - {*transit})
    rng = np.random.default_rng(3)
    length = rng.integers(2, 5, (PREFIXES, len(transit)))
    scope = rng.integers(0, 2, PREFIXES)
    for week in range(-(-days // 7)):
        some = rng.integers(0, PREFIXES, PREFIXES // 20)
        length[some] = rng.integers(2, 5, (len(some), len(transit)))
        rows = []
        for i, lengths in enumerate(length.tolist()):
            name = f"10.{i >> 8}.{i & 255}.0/24"
            rows += [
                (name, t, asn[t], 100, n, 0, 0, 0)
                for k, (t, n) in enumerate(zip(transit, lengths, strict=True))
                if k % 4
            ]
            rows += [(name, p, asn[p], 200, 1, 0, 0, int(scope[i]))
                     for p in peers if (p + i) % 24 == 0]  # fmt: skip
        table = pl.DataFrame(rows, schema=OFFERS, orient="row")
        table.write_parquet(folder / f"week{week:02}.parquet")


def one(folder: Path, days: int) -> None:
    """Demand, every removal, ten growths; in this process."""
    import numpy as np
    import polars as pl

    from flowpeer_reports.demand import Announced, demand
    from flowpeer_reports.drill import drill
    from flowpeer_reports.failover import FailoverCompiler
    from flowpeer_reports.loads import Loads
    from flowpeer_reports.offers import Choice, Offers, places
    from flowpeer_reports.removals import groups

    frame = links()
    hours = 24 * days
    rng = np.random.default_rng(2)
    # Loads with the shape of a day; that they are the routes' to the byte is for the tests.
    wave = 1 + 0.5 * np.sin(np.arange(hours * 12) * 2 * np.pi / 288)
    size = rng.integers(10**10, 10**12, frame.height)
    dense = (size[:, None] * wave).astype(np.int64) + rng.integers(
        0, 10**9, (frame.height, hours * 12)
    )
    begun, cpu = time.perf_counter(), time.process_time()
    metros = pl.DataFrame({"metro": [f"m{m}" for m in range(METROS)],
                           "region": ["east", "east", "west"] * 3, "continent": ["EU"] * METROS,
                           "latitude": [50.0 + m for m in range(METROS)],
                           "longitude": [float(m) for m in range(METROS)]})  # fmt: skip
    where = places(frame, metros)
    transit = np.flatnonzero((frame["role"] == "transit").to_numpy())
    offers = Offers(transit[::4].astype(np.int64), np.ones(frame.height, dtype=np.bool_))
    for week in range(-(-days // 7)):
        offers.learn(pl.read_parquet(folder / f"week{week:02}.parquet"))
    first, table = offers.table()
    choice = Choice(where, first, table, offers.assumed)
    found = Loads(frame, START, dense, dense[::-1].copy(),
                  pl.DataFrame(schema={"metro": pl.String, "direction": pl.String,
                                       "bytes": pl.Int64}))  # fmt: skip
    epochs = np.minimum(np.arange(hours) // 168, len(offers.of_prefix) - 1)
    # Every second own prefix is announced in two metros, the others where they come in.
    announced = Announced({}, {f"198.{18 + i}.0.0/16": frozenset({"m0", f"m{i + 1}"})
                               for i in range(0, LOCALS, 2)})  # fmt: skip
    parts = (pl.read_parquet(folder / f"{day:03}.parquet") for day in range(days))
    asked = demand(parts, found, offers, epochs, choice, announced)
    read = time.perf_counter() - begun
    hourly = found.into.reshape(frame.height, hours, 12).sum(axis=2)
    compiler = FailoverCompiler(found, choice, asked, announced, hourly)
    removals = groups(frame, {})
    answer = drill(compiler, removals, covered={},
                   growths=[Fraction(g) for g in range(1, 11)])  # fmt: skip
    seconds, used = time.perf_counter() - begun, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows_ = len(asked.out.hour) + len(asked.into.hour)
    print(f"{days} {len(removals)} {rows_} {answer.rows.height} {read:.1f} {seconds:.1f} "
          f"{used:.1f} {memory:.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=91)
    parser.add_argument("--scales", default="1,4,16")
    parser.add_argument("--routes", type=int, default=20)
    parser.add_argument("--one", nargs=2)
    options = parser.parse_args()
    if options.one:
        one(Path(options.one[0]), int(options.one[1]))
        return
    scales = [int(s) for s in options.scales.split(",")]
    with tempfile.TemporaryDirectory() as name:
        write_routes(Path(name), options.days, options.routes)
        write_offers(Path(name), options.days)
        print(f"{METROS} metros × {LINKS} links, {os.cpu_count()} cores; at the largest scale "
              f"{options.days} days")  # fmt: skip
        print("scale  days  drills  route rows  answer rows  reading s  all s  CPU s  GiB")
        for scale in scales:
            days = max(1, round(options.days * scale / max(scales)))
            command = [sys.executable, __file__, "--one", name, str(days)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            d, drills, rows, out, read, seconds, cpu, memory = said.split()
            print(f"{scale:>5}  {d:>4}  {drills:>6}  {int(rows):>10,}  {int(out):>11,}  {read:>9}"
                  f"  {seconds:>5}  {cpu:>5}  {memory:>4}")  # fmt: skip


if __name__ == "__main__":
    main()
