"""Half of a real capture that comes a second time, by another way: nothing counts twice."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl

from flowpeer.lake.publish import FlowSink, unit_record
from flowpeer.lake.store import Lake
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.ingest import ingest_capture

Run = Callable[..., CompletedProcess[str]]
LATER_US = 40_000


def received_later(octets: bytes, seconds: int) -> bytes:
    """A capture by a clock that is ahead."""
    order = "<" if octets[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    made, at = bytearray(octets), 24
    while at < len(made):
        at_s, _, length, _ = struct.unpack_from(f"{order}4I", made, at)
        struct.pack_into(f"{order}I", made, at, at_s + seconds)
        at += 16 + length
    return bytes(made)


def collected(lake: Lake, capture: Path, collector: str) -> None:
    """A capture as a segment that a collector received."""
    sink = FlowSink(lake, f"segment-{1:020d}-{collector}")
    summary = ingest_capture(capture, decoder=Decoder(), write=sink.write)
    sink.publish(unit_record(sink.unit, summary, collector=collector))


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


def test_a_collector_whose_clock_is_wrong_is_told_and_its_copies_count_once(
    demo_copy: Path, run: Run
) -> None:
    before = rollups(demo_copy)
    octets = gzip.decompress((demo_copy / "captures" / "edge1.dfw.pcap.gz").read_bytes())
    for collector, seconds in (("dfw1", 0), ("dfw2", 3), ("dfw3", 700)):
        capture = demo_copy / f"{collector}.pcap"
        capture.write_bytes(received_later(octets, seconds))
        collected(Lake(demo_copy / "lake"), capture, collector)
    done = run("rollup", cwd=demo_copy)
    assert done.returncode == 0, done.stderr
    after = rollups(demo_copy)
    assert after.items() >= before.items()
    for path in after.keys() - before.keys():  # an hour in which only that clock received
        assert pl.read_parquet(demo_copy / "lake" / path).is_empty()
    found: list[dict[str, Any]] = json.loads(run("check", "--json", cwd=demo_copy).stdout)
    told = [(f["subject"], f["text"]) for f in found if f["code"] == "collector-clock"]
    assert [(subject, text.partition(", by")[0]) for subject, text in told] == [
        ("collector dfw3", "its clock is 700 s ahead of that of dfw1"),
        ("collector dfw3", "its clock is 697 s ahead of that of dfw2"),
    ]
    assert all("of 1 exporters that both received from" in text for _, text in told)
    assert run("verify", cwd=demo_copy).returncode == 0
