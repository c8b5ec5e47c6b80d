"""kill −9 of the collector under load, at random moments and at every named point; and of nfcapd.

    python bench/kill.py [--kills 200] [--rate 20000] [--seed 1] [--nfcapd 5]

Every datagram sent has a number, and the account at the end is that of the tests: of each run of
the collector a prefix must be stored, at least as far as its public watermark; nothing twice,
nothing that was not sent; every loss reported to the datagram. Then nfcapd is killed in the same
way, by the same sender, to show that the rig finds losses.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "collect"))

from collector_rig import Rig, numbered
from test_kill import IN_DECODER, IN_RECEIVER


def flowpeer(kills: int, rate: int, chance: random.Random) -> None:
    """The collector: figures, or an AssertionError that says what was lost."""
    points = [*IN_RECEIVER, *IN_DECODER, ("recover", 1)]
    with tempfile.TemporaryDirectory(prefix="flowpeer-kill-") as folder:
        rig = Rig(Path(folder) / "rig")
        begun = time.monotonic()
        by_point = 0
        for n in range(kills):
            if n % 2:
                point, passing = chance.choice(points)
                rig.start(
                    FLOWPEER_FAULTS=f"kill:{point}:{max(1, passing + chance.randrange(-1, 2))}"
                )
                rig.send(3 * rate, rate=rate, until_dead=True)
                if not rig.ended:
                    rig.kill()  # a point that this run did not pass, like recovery of nothing
                else:
                    rig.reap()
                    by_point += 1
            else:
                rig.start()
                rig.send(chance.randrange(rate // 10, rate), rate=rate)
                rig.kill()
            if sys.stdout.isatty():
                print(f"\r{n + 1} kills", end="", flush=True)
        rig.start()
        rig.send(rate // 2, rate=rate)
        rig.drained()
        # What the kills left undone takes a busy machine minutes, and SIGTERM waits for seconds.
        rig.until(lambda: not [*rig.spool.glob("*.sealed")], seconds=1_800)
        rig.end()
        figures = rig.account()
        rig.clean()
        losses = sorted(r.at_kill - r.first - stored for r, stored in rig.kept() if r.at_kill >= 0)
        rig.close()
        worst, median = losses[-1], losses[len(losses) // 2]
        print(
            f"\rflowpeer: {kills} kills ({by_point} at a named point) at {rate:,} datagrams/s in "
            f"{time.monotonic() - begun:.0f} s; {figures['sent']:,} sent, "
            f"{figures['committed']:,} committed, 0 of them lost, 0 rows twice, "
            f"0 files unreadable, 0 leftovers; lost at a random kill: median {median:,} datagrams "
            f"({median * 1e3 / rate:.0f} ms), at most {worst:,} ({worst * 1e3 / rate:.0f} ms); "
            f"{figures['reported']:,} of {figures['missing']:,} missing reported"
        )


def nfcapd(kills: int, rate: int, chance: random.Random) -> None:
    """nfcapd with a file a minute: what a kill costs it."""
    for _ in range(kills):
        with tempfile.TemporaryDirectory(prefix="flowpeer-kill-") as folder:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            process = subprocess.Popen(
                ["nfcapd", "-p", str(port), "-w", folder, "-t", "60", "-B", str(4 << 20)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(1)
            count = chance.randrange(rate, 3 * rate)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                begun = time.monotonic()
                for i in range(count):
                    sender.sendto(numbered(i), ("127.0.0.1", port))
                    if i % 100 == 99:
                        time.sleep(max(0.0, begun + i / rate - time.monotonic()))
            process.send_signal(signal.SIGKILL)
            process.wait()
            said = subprocess.run(
                ["nfdump", "-R", folder, "-I"], capture_output=True, text=True, check=False
            ).stdout
            flows = sum(int(n) for n in re.findall(r"^Flows: (\d+)", said, re.MULTILINE))
            files = sum(1 for _ in Path(folder).iterdir())
            print(
                f"nfcapd: killed after {count:,} datagrams of one flow: {flows:,} flows readable, "
                f"{count - flows:,} lost ({(count - flows) * 1e3 / rate:,.0f} ms), "
                f"{files} file left behind",
                flush=True,
            )


def main() -> None:
    """See the module."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--kills", type=int, default=200)
    words.add_argument("--rate", type=int, default=20_000)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--nfcapd", type=int, default=5)
    said = words.parse_args()
    chance = random.Random(said.seed)
    flowpeer(said.kills, said.rate, chance)
    if shutil.which("nfcapd"):
        nfcapd(said.nfcapd, said.rate, chance)
    else:
        print("nfcapd: not installed, left out")


if __name__ == "__main__":
    main()
