"""The n-th call that changes files fails, for every n of a run of the collector, with each error.

    python bench/faults.py [--errors ENOSPC,EIO] [--shard 1/2] [--fresh]

Calls are those of all libraries (open for writing, write, sync, rename, unlink, truncate, allocate,
make a folder) below the lake and its spool, in the collector's process and in its receiver's. A run
starts, receives, seals, decodes, publishes and ends. With `--fresh` each fault meets a lake that
does not exist yet, else one that earlier runs left. After every 20 faults a run without one, and
the account: everything sent is stored once or counted as dropped, nothing unfinished is left,
`flowpeer verify` agrees. It ends with the first account that does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "collect"))

from collector_rig import Rig
from faulty import Fault, Faults, build, every

BETWEEN_ACCOUNTS = 20


def sweep(library: Path, chosen: list[Fault], *, fresh: bool) -> Faults:
    """Some faults in a lake of their own."""
    with tempfile.TemporaryDirectory(prefix="flowpeer-faults-") as folder:
        rig = Rig(Path(folder) / "rig")
        try:
            faults = Faults(rig, library)
            if not fresh:
                faults.run()
            for fault in chosen:
                faults.run(fault)
            faults.account()
        finally:
            rig.close()
    return faults


def main() -> None:
    """See the module."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--errors", default="ENOSPC,EIO")
    words.add_argument("--shard", default="1/1")
    words.add_argument("--fresh", action="store_true")
    said = words.parse_args()
    i, n = map(int, said.shard.split("/"))
    with tempfile.TemporaryDirectory(prefix="flowpeer-faults-") as folder:
        library = build(Path(folder))
        if library is None:
            sys.exit("bench/faults.py: it needs a C compiler, `cc`")
        rig = Rig(Path(folder) / "rig")
        faults = Faults(rig, library)
        calls = faults.run()
        if not said.fresh:
            calls = faults.run()
        rig.close()
        chosen = every(calls, said.errors.split(","))[i - 1 :: n]
        group = 1 if said.fresh else BETWEEN_ACCOUNTS
        begun = time.monotonic()
        kinds: Counter[str] = Counter()
        dropped = refused = missed = 0
        for at in range(0, len(chosen), group):
            done = sweep(library, chosen[at : at + group], fresh=said.fresh)
            kinds.update(line.split()[2] for line in done.failed)
            dropped += done.dropped
            refused += done.refused
            missed += len(done.missed)
            if sys.stdout.isatty():
                print(f"\r{at + group} of {len(chosen)}", end="", flush=True)
    print(
        f"\rcalls of a run: {calls}; {len(chosen)} runs with one failing call "
        f"({missed} did not reach it) in {time.monotonic() - begun:.0f} s, {said.errors}: "
        f"0 datagrams lost, {dropped} counted as dropped, 0 rows twice, 0 leftovers; "
        f"{refused} starts refused in one line; failed: "
        + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    )


if __name__ == "__main__":
    main()
