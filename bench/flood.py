"""Forged templates from a million spoofed sources, and junk, beside good traffic.

    python bench/flood.py [--sources 1000000] [--junk 200000]

Prints what the collector's processes grew by (bound: 64 MiB), what became of every datagram, and
whether the good exporter's records are all there, once each. Sends over loopback from addresses of
127.0.0.0/8.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "collect"))

from collector_rig import Rig
from test_junk import Spoofer, forged_template, good_rows, junk, resident


def main() -> None:
    """See the module."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--sources", type=int, default=1_000_000)
    words.add_argument("--junk", type=int, default=200_000)
    said = words.parse_args()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="flowpeer-flood-") as folder:
        rig = Rig(Path(folder) / "rig")
        rig.start()
        for _ in range(3):  # what decoding at such a rate takes for itself
            rig.send(60_000, rate=60_000)
            rig.drained()
            time.sleep(3)
        before = resident(rig)
        spoofer = Spoofer(rig.port)
        largest = before
        noise = junk(chance)
        total = said.sources + said.junk
        for i in range(total):
            if i < said.sources:
                payload = forged_template(chance, i, 256 + i % 60_000)
            else:
                payload = next(noise)
            spoofer.send(payload, int(IPv4Address("127.16.0.0")) + i % (1 << 22))
            if i % 1_000 == 0:
                rig.send(20)
                largest = max(largest, resident(rig))
        everything = rig.sent + total
        while rig.watermark()["received"] < everything:
            time.sleep(0.1)
        while rig.status()["totals"].get("datagrams", 0) < everything:
            largest = max(largest, resident(rig))
            time.sleep(0.1)
        last = rig.end()
        good = good_rows(rig)
        rig.close()
    grown = (largest - before) / 2**20
    complete = good == list(range(rig.sent))
    print(
        f"{said.sources:,} spoofed sources with a template each, {said.junk:,} datagrams of junk: "
        f"{grown:.0f} MiB more at most, of 64 allowed; {last['totals']['datagrams']:,} of "
        f"{everything:,} datagrams accounted for; good records {len(good):,} of {rig.sent:,}, "
        f"{'each once' if complete else 'NOT as sent'}; rejected: {last['rejected']}"
    )
    sys.exit(0 if complete and grown <= 64 else 1)


if __name__ == "__main__":
    main()
