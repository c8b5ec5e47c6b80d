"""Makes the lakes of format 2 in this folder. Runs only with the code that wrote that format.

    git worktree add OLD 82b1881 && cd OLD && PYTHONPATH=tests/flowpeer/rollup:tests/collect \
        python …/format2/make.py

One `.tar.xz` for each state a lake may be in, each with its configuration, and `answers.json`:
what the commands of that time answered.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import collector_rig
import worlds
from flowpeer.rollup.hours import Rollup

from flowpeer.configuration import load
from flowpeer.lake import compact
from flowpeer.lake.store import Lake
from flowpeer.rollup import retention

HERE = Path(__file__).parent
EVER = datetime(2026, 12, 1, tzinfo=UTC)
FOLD = 'fold_share = 0.4\nfold_below = "900G"'
QUERIES = (
    "SELECT count(*) AS n, sum(bytes)::BIGINT AS bytes, min(received_at) AS first FROM flows",
    "SELECT role, direction, scaled, sum(bytes)::BIGINT AS n FROM traffic GROUP BY ALL ORDER BY ALL",  # noqa: E501
    "SELECT prefix, sum(bytes)::BIGINT AS n FROM traffic_routes GROUP BY ALL ORDER BY ALL",
    "SELECT slot, datagrams, received, lost FROM coverage ORDER BY ALL",
    "SELECT exporter_ip, interval FROM sampling ORDER BY ALL",
    "SELECT count(*) AS n FROM routes",
)


def capture(path: Path) -> None:
    """Sixty datagrams of the exporter 192.0.2.1 over three hours, sequence number 31 missing."""
    start = datetime(2026, 9, 16, tzinfo=UTC).timestamp()
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for n in range(61):
            if n == 31:
                continue
            when = int(start) + 180 * n
            body = bytearray(collector_rig.numbered(n))
            struct.pack_into(">I", body, 8, when)
            udp = struct.pack(">HHHH", 9999, 2055, 8 + len(body), 0) + body
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), n, 0, 64, 17, 0,
                             bytes([192, 0, 2, 1]), bytes([192, 0, 2, 200])) + udp  # fmt: skip
            file.write(struct.pack("<IIII", when, 0, len(ip), len(ip)) + ip)


def flowpeer(folder: Path, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "flowpeer", "--json", *words],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def world(folder: Path, lake: str = "") -> Path:
    folder.mkdir()
    worlds.prepare(folder, worlds.make_world(21), 4, lake)
    capture(folder / "sixty.pcap")
    flowpeer(folder, "ingest", "sixty.pcap")
    flowpeer(folder, "rollup")
    return folder


def merge(folder: Path) -> None:
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    hours = retention.mergeable(Rollup(lake, network), EVER)
    with lake.flow_files(alone=True):
        retention.compact(lake, hours)


def half_merged(folder: Path) -> None:
    """Killed after the files have changed places and before their documents did."""
    real, calls = compact.exchange, []

    def once(one: Path, other: Path) -> None:
        if calls:
            raise KeyboardInterrupt
        calls.append(one)
        real(one, other)

    compact.exchange = once  # type: ignore[assignment]
    with contextlib.suppress(KeyboardInterrupt):
        merge(folder)
    compact.exchange = real
    assert (folder / "lake/exchange/journal.json").exists()


def answers(folder: Path) -> dict[str, Any]:
    return {
        "sql": [flowpeer(folder, "sql", text, "--format", "json") for text in QUERIES],
        "explain": flowpeer(folder, "rollup", "--explain"),
        "verify": flowpeer(folder, "verify"),
    }


def collected(folder: Path) -> Path:
    """A collector killed with a published segment, a sealed one, and one still open."""
    rig = collector_rig.Rig(folder, seal_after="1s")
    rig.start()
    for n in range(20):
        rig.sender.sendto(collector_rig.numbered(n), ("127.0.0.1", rig.port))
    captures = folder / "lake/ledger/captures"
    rig.until(lambda: captures.is_dir() and list(captures.glob("segment-*.json")))
    for n in range(20, 30):
        rig.sender.sendto(collector_rig.numbered(n), ("127.0.0.1", rig.port))
    rig.until(lambda: rig.watermark()["committed"] >= 30)
    rig.sent = 30
    rig.kill()
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        plain = world(root / "plain")
        kept = {"plain": plain, "folded": world(root / "folded", FOLD)}
        for name in ("compacted", "half_merged"):
            kept[name] = Path(shutil.copytree(plain, root / name))
        merge(kept["compacted"])
        half_merged(kept["half_merged"])
        said = {name: answers(folder) for name, folder in kept.items() if name != "half_merged"}
        kept["collected"] = collected(root / "collected")
        said["queries"] = {"sql": list(QUERIES)}
        (HERE / "answers.json").write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")
        for name, folder in kept.items():
            for unneeded in ("lake/cache", "lake/staging", "lake/locks"):
                shutil.rmtree(folder / unneeded, ignore_errors=True)
            with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as packed:
                packed.add(folder, arcname=name)


if __name__ == "__main__":
    main()
