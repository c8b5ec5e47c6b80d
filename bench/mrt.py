"""Entries in a second of CPU time of the MRT reader against mrtparse and bgpdump, and its memory.

    python bench/mrt.py [FILE…] [--entries N]

FILEs are table dumps; by default those among the reference data (`../shared`, or FLOWPEER_SHARED).
After them a generated table of N entries (default ten million; 0 for none) is read and loaded, in
a process of its own, so that its peak memory is its own. mrtparse reads only files below a
megabyte, since it would need minutes for the others; bgpdump is measured where installed. Goals: 8
times mrtparse, not slower than bgpdump.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from flowpeer.lake.store import Lake
from flowpeer.routing.mrt.table_dump import MrtReader
from flowpeer.routing.rib.snapshot import load

SHARED = Path(os.environ.get("FLOWPEER_SHARED", Path(__file__).parents[1] / "../shared"))
Timed = tuple[int, float]
PEERS = 40
WHEN = 1_767_225_600


def generate(path: Path, entries: int) -> None:
    """A table of 40 peers, with a hundred thousand distinct attribute blocks.

    All routes of a prefix end in one origin, as nearly all do.
    """
    rng = random.Random(4)
    table = bytes(4) + struct.pack(">HH", 0, PEERS)
    for peer in range(PEERS):
        table += struct.pack(">B4s4sI", 2, bytes(4), bytes([192, 0, 2, peer]), 64500 + peer)
    blocks: list[bytes] = []
    for n in range(100_000):
        path_ = [rng.randrange(1, 400_000) for _ in range(rng.randrange(1, 6))] + [1 + n // PEERS]
        segment = bytes([2, len(path_)]) + struct.pack(f">{len(path_)}I", *path_)
        block = b"\x40\x01\x01\x00" + bytes([0x40, 2, len(segment)]) + segment
        block += b"\x40\x03\x04" + struct.pack(">I", rng.getrandbits(32))
        values = [rng.randrange(65536) for _ in range(2 * rng.randrange(4))]
        if values:
            block += bytes([0xC0, 8, 2 * len(values)]) + struct.pack(f">{len(values)}H", *values)
        blocks.append(struct.pack(">IH", WHEN, len(block)) + block)
    heads = [struct.pack(">H", peer) for peer in range(PEERS)]
    with path.open("wb") as file:
        file.write(struct.pack(">IHHI", WHEN, 13, 1, len(table)) + table)
        for number in range(entries // PEERS):
            of_origin = number % (len(blocks) // PEERS) * PEERS
            body = b"".join(
                part
                for head in heads
                for part in (head, blocks[of_origin + int(rng.random() * PEERS)])
            )
            prefix = struct.pack(">IBI", number, 24, (16 << 24) + (number << 8))[:8]
            body = prefix + struct.pack(">H", PEERS) + body
            file.write(struct.pack(">IHHI", WHEN, 13, 2, len(body)) + body)


def timed(work: Callable[[], int], times: int = 1, who: int = resource.RUSAGE_SELF) -> Timed:
    """What it counts, and the CPU seconds of the fastest of several runs."""
    seconds = []
    for _ in range(times):
        before = resource.getrusage(who)
        count = work()
        after = resource.getrusage(who)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return count, min(seconds)


def ours(path: Path) -> int:
    return sum(table.num_rows for table in MrtReader(path))


def bgpdump(path: Path) -> int:
    done = subprocess.Popen(
        ["bgpdump", "-m", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert done.stdout is not None
    count = 0
    while block := done.stdout.read(1 << 20):
        count += block.count(b"\n")
    done.wait()
    return count


def mrtparse(path: Path) -> int:
    import mrtparse as library

    return sum(entry.data.get("entry_count", 0) for entry in library.Reader(str(path)))


def compare(path: Path) -> None:
    count, seconds = timed(lambda: ours(path), 3)
    print(f"{path.name}: {count} entries\n  flowpeer: {count / seconds / 1e6:.3f} M entries/s")
    others: dict[str, Timed] = {}
    if shutil.which("bgpdump"):
        others["bgpdump"] = timed(lambda: bgpdump(path), 3, resource.RUSAGE_CHILDREN)
    if path.stat().st_size < 1_000_000:
        others["mrtparse"] = timed(lambda: mrtparse(path))
    for name, (found, took) in others.items():
        print(
            f"  {name}: {found / took / 1e6:.3f} M entries/s; flowpeer {took / seconds:.1f} times"
            + ("" if found == count else f" (it counts {found})")
        )


def large(entries: int) -> None:
    """Read and load a generated table; prints rates and the peak memory of this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.mrt"
        generate(path, entries)
        print(f"generated: {entries} entries, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        count, seconds = timed(lambda: ours(path))
        assert count == entries
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  read: {count / seconds / 1e6:.3f} M entries/s, peak {peak:.0f} MiB (before it "
              f"{base:.0f})", flush=True)  # fmt: skip
        count, seconds = timed(lambda: load(Lake(Path(folder) / "lake"), path)[0].rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  load: {count / seconds / 1e6:.3f} M entries/s, peak {peak:.0f} MiB", flush=True)
        if shutil.which("bgpdump"):
            count, seconds = timed(lambda: bgpdump(path), 1, resource.RUSAGE_CHILDREN)
            print(f"  bgpdump: {count / seconds / 1e6:.3f} M entries/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--only-generated", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    entries = options.entries // PEERS * PEERS
    if options.only_generated:
        large(entries)
        return
    for path in options.files or sorted((SHARED / "data" / "mrt").glob("rib*")):
        compare(path)
    sys.stdout.flush()
    if entries:
        command = [sys.executable, __file__, "--only-generated", "--entries", str(entries)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
