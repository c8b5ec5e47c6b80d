"""Half of a real capture that comes a second time, by another way: nothing counts twice."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from flowpeer.lake.store import Lake

Run = Callable[..., CompletedProcess[str]]
LATER_US = 40_000


def half_of(octets: bytes) -> bytes:
    """The second half of a capture's packets, received a little later."""
    order = "<" if octets[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    packets, at = [], 24
    while at < len(octets):
        seconds, us, length, whole = struct.unpack_from(f"{order}4I", octets, at)
        packets.append((seconds, us, octets[at + 16 : at + 16 + length], whole))
        at += 16 + length
    made = [octets[:24]]
    for seconds, us, packet, whole in packets[len(packets) // 2 :]:
        more, us = divmod(us + LATER_US, 1_000_000)
        made += [struct.pack(f"{order}4I", seconds + more, us, len(packet), whole), packet]
    return b"".join(made)


def rollups(folder: Path) -> dict[str, str]:
    lake = Lake(folder / "lake")
    return {
        path: entry["sha256"]
        for table in ("traffic", "traffic_routes")
        for path, entry in lake.entries(table).items()
    }


def test_half_a_capture_by_another_way_changes_no_total(demo_copy: Path, run: Run) -> None:
    before = rollups(demo_copy)
    captured = demo_copy / "captures" / "edge1.dfw.pcap.gz"
    (demo_copy / "again.pcap").write_bytes(half_of(gzip.decompress(captured.read_bytes())))
    done = run("ingest", "again.pcap", "--json", cwd=demo_copy)
    assert done.returncode == 0, done.stderr
    (added,) = json.loads(done.stdout)
    assert added["rows"] > 10_000
    done = run("rollup", cwd=demo_copy)
    assert done.returncode == 0, done.stderr
    assert rollups(demo_copy) == before
    found: list[dict[str, Any]] = json.loads(run("check", "--json", cwd=demo_copy).stdout)
    (told,) = (f["text"] for f in found if "more than one path" in f["text"])
    assert told.startswith(f"{added['rows']:,} records in ")
    assert not any(f["code"] == "over-capacity" for f in found)
    assert run("verify", cwd=demo_copy).returncode == 0
