"""Bulk longest-prefix match against tries, on a full table, in one run.

    python bench/lpm.py [TABLE] [--addresses N]

TABLE is any prefix-to-AS table or MRT dump; by default the full table among the reference data
(`../shared`, or FLOWPEER_SHARED). Addresses are random ones inside random routes of the table, in
random order: harder for caches than real traffic. Rates are lookups in a second of CPU time. pyasn
and py-radix are measured where installed (`make bench` tries to).
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

import numpy as np

from flowpeer.lake.store import Lake
from flowpeer.routing.prefix_columns import MAPPED, U64, halves_of, high_mask, split_prefixes
from flowpeer.routing.rib.match import RouteTable, open_table
from flowpeer.routing.rib.snapshot import load

SHARED = Path(os.environ.get("FLOWPEER_SHARED", Path(__file__).parents[1] / "../shared"))
FULL = SHARED / "data" / "prefix2as" / "dfz-2024-01-29.prefix2as.tsv.gz"


def best(work: Callable[[], Any], times: int = 3) -> float:
    """CPU seconds of the fastest of several runs."""
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def addresses(table: RouteTable, family: int, count: int) -> tuple[U64, U64]:
    """Random addresses inside random routes."""
    rng = np.random.default_rng(8)
    texts, length, is6 = split_prefixes(table.prefixes)
    hi, lo, _ = halves_of(texts.to_pylist())
    chosen = rng.choice(np.flatnonzero(is6 == (family == 6)), count)
    bits = length[chosen] + (0 if family == 6 else 96)
    high, low = high_mask(bits), high_mask(bits - 64)
    top = 2**64 - 1
    return (
        hi[chosen] | rng.integers(0, top, count, dtype=np.uint64) & ~high,
        lo[chosen] | rng.integers(0, top, count, dtype=np.uint64) & ~low,
    )


def texts_of(family: int, hi: U64, lo: U64) -> list[str]:
    raw = np.column_stack([hi, lo]).astype(">u8").tobytes()
    first = 0 if family == 6 else 12
    kind = AF_INET6 if family == 6 else AF_INET
    return [inet_ntop(kind, raw[at + first : at + 16]) for at in range(0, len(raw), 16)]


def tries(table: RouteTable, family: int) -> dict[str, Callable[[Sequence[str]], Any]]:
    """Name → a function that looks up all of some address texts."""
    import pytricia

    prefixes = [p for p in table.prefixes.to_pylist() if (":" in p) == (family == 6)]
    trie = pytricia.PyTricia(128 if family == 6 else 32)
    for number, prefix in enumerate(prefixes):
        trie[prefix] = number
    trie.freeze()
    found: dict[str, Callable[[Sequence[str]], Any]] = {
        "pytricia": lambda asked: [trie.get(a) for a in asked]
    }
    try:
        import radix
    except ImportError:
        print("  py-radix: not installed")
    else:
        tree = radix.Radix()
        for prefix in prefixes:
            tree.add(prefix)
        found["py-radix"] = lambda asked: [tree.search_best(a) for a in asked]
    try:
        import pyasn
    except ImportError:
        print("  pyasn: not installed")
    else:
        text = "\n".join(f"{p}\t{i + 1}" for i, p in enumerate(prefixes))
        base = pyasn.pyasn(None, ipasn_string=text)
        found["pyasn"] = lambda asked: [base.lookup(a) for a in asked]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?", type=Path, default=FULL)
    parser.add_argument("--addresses", type=int, default=4_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        started = time.perf_counter()
        info, _ = load(lake, options.table)
        print(
            f"{options.table.name}: {info.prefixes4} IPv4 and {info.prefixes6} IPv6 prefixes, "
            f"loaded in {time.perf_counter() - started:.2f} s"
        )
        started = time.perf_counter()
        open_table(lake, info)
        print(f"compile, and write the cache: {time.perf_counter() - started:.2f} s")
        started = time.perf_counter()
        table = open_table(lake, info)
        first = table.match_text(["8.8.8.8"])
        print(
            f"open from cache, to the first answer ({first}): "
            f"{(time.perf_counter() - started) * 1000:.1f} ms"
        )
        started = time.perf_counter()
        table.four.spread()
        table.six.spread()
        print(f"spread both over tables: {(time.perf_counter() - started) * 1000:.0f} ms")
        files = sum(f.stat().st_size for f in lake.cache.rglob("*") if f.is_file())
        print(
            f"cache {files / 1e6:.0f} MB, blocks "
            f"{(table.four._blocks.nbytes + table.four._rows.nbytes) / 1e6:.0f} MB"
            if table.four._blocks is not None and table.four._rows is not None
            else f"cache {files / 1e6:.0f} MB"
        )
        for family, goal in ((4, 100), (6, 20)):
            hi, lo = addresses(table, family, options.addresses)
            print(f"IPv{family}: {options.addresses} addresses")
            if family == 4:
                assert (lo >> np.uint64(32) == MAPPED).all()
            bulk = options.addresses / best(lambda hi=hi, lo=lo: table.match(hi, lo))
            print(f"  flowpeer, bulk: {bulk / 1e6:.1f} M/s")
            few = min(300_000, options.addresses)
            asked = texts_of(family, hi[:few], lo[:few])
            for name, work in tries(table, family).items():
                rate = few / best(lambda work=work, asked=asked: work(asked))
                note = f" (goal {goal})" if name == "pytricia" else ""
                print(f"  {name}: {rate / 1e6:.2f} M/s; flowpeer {bulk / rate:.0f} times{note}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
