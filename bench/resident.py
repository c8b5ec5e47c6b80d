"""How much memory a large capture takes: `flowpeer ingest` in a process of its own.

    python bench/resident.py [--gigabytes 2] [--formats netflow9,variable,sflow5]

Writes a capture of that size for each format, the datagrams of `bench/decode.py` over and over,
and prints the largest resident memory of the process that ingests it, its CPU time and its rows.
Bound: 1 GiB, whatever the size. The file is written to the temporary folder (TMPDIR) and removed.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from decode import BUILD, START_S, flows

BOUND_OCTETS = 1 << 30
FLOWS = 60_000
CONFIG = """\
[network]
asn = 64500
name = "Bench"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
"""


def capture(path: Path, payloads: list[bytes], octets: int) -> None:
    """A pcap of raw IP packets (link type 101) with at least so many octets, a minute a round."""
    packets = []
    for payload in payloads:
        size = 28 + len(payload)
        packets.append(
            struct.pack(">BBHHHBBH8s", 0x45, 0, size, 1, 0, 64, 17, 0, bytes([192, 0, 2, 1] * 2))
            + struct.pack(">HHHH", 40_000, 2_055, size - 20, 0)
            + payload
        )
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101))
        minute = 0
        while file.tell() < octets:
            for i, packet in enumerate(packets):
                at = START_S + 60 * minute + 60 * i // len(packets)
                file.write(struct.pack("<IIII", at, 0, len(packet), len(packet)) + packet)
            minute += 1


def main() -> None:
    """See the module."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--gigabytes", type=float, default=2.0)
    words.add_argument("--formats", default="netflow9,variable,sflow5")
    said = words.parse_args()
    worst = 0
    for name in said.formats.split(","):
        with tempfile.TemporaryDirectory(prefix="flowpeer-resident-") as temporary:
            folder = Path(temporary)
            (folder / "flowpeer.toml").write_text(CONFIG)
            capture(folder / "x.pcap", BUILD[name](flows(FLOWS)), int(said.gigabytes * 1e9))
            size = (folder / "x.pcap").stat().st_size
            process = subprocess.Popen(
                [sys.executable, "-m", "flowpeer", "ingest", "x.pcap"],
                cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            assert process.stdout is not None
            told = process.stdout.read().strip()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            resident = usage.ru_maxrss << 10
            worst = max(worst, resident)
            print(
                f"{name:<10}{size / 1e9:>6.2f} GB: {resident / 2**20:>6.0f} MiB resident, "
                f"{usage.ru_utime + usage.ru_stime:>6.1f} s CPU: {told}",
                flush=True,
            )
    if worst > BOUND_OCTETS:
        raise SystemExit(f"more than the bound of {BOUND_OCTETS >> 20} MiB")


if __name__ == "__main__":
    main()
