"""Exporters of other parties send to the collector; what they read from a capture must arrive."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import time
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from collector_rig import Rig

pytestmark = pytest.mark.slow


Sums = dict[tuple[int, int, int], tuple[int, int]]
"""(source, destination, protocol) → octets and packets."""


def packet(source: int, destination: int, protocol: int, port: int, octets: int) -> bytes:
    """An Ethernet frame of an IPv4 packet of so many octets, with right header checksum."""
    head = struct.pack(">BBHHHBBHII", 0x45, 0, octets, 1, 0, 64, protocol, 0, source, destination)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    if protocol == 6:
        body = struct.pack(">HHIIBBHHH", port, 443, 1, 1, 0x50, 0x10, 1_000, 0, 0)
    else:
        body = struct.pack(">HHHH", port, 53, octets - 20, 0)
    return b"\2" * 12 + b"\x08\0" + (head + body).ljust(octets, b"\0")


@pytest.fixture
def traffic(tmp_path: Path) -> tuple[Path, Sums]:
    """A capture of 400 flows in 40 s, and its sums by plain counting."""
    chance = random.Random(9)
    octets: Counter[tuple[int, int, int]] = Counter()
    packets: Counter[tuple[int, int, int]] = Counter()
    frames = []
    for flow in range(400):
        key = (
            int(IPv4Address("192.0.2.0")) + flow % 256,
            int(IPv4Address("198.51.100.0")) + chance.randrange(256),
            chance.choice((6, 17)),
        )
        port = 10_000 + flow
        for _ in range(chance.randrange(1, 12)):
            size = chance.randrange(60, 1_500)
            frames.append((chance.random() * 40, packet(*key, port, size)))
            octets[key] += size
            packets[key] += 1
    frames.sort()
    began = int(time.time()) - 60
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    for at, frame in frames:
        seconds, micros = divmod(int(at * 1e6), 1_000_000)
        out += struct.pack("<IIII", began + seconds, micros, len(frame), len(frame)) + frame
    path = tmp_path / "traffic.pcap"
    path.write_bytes(out)
    return path, {k: (octets[k], packets[k]) for k in octets}


def stored(rig: Rig) -> Sums:
    """The same sums of what is in the lake."""
    columns = rig.flows("src_addr", "dst_addr", "protocol", "bytes", "packets")
    sums: dict[tuple[int, int, int], list[int]] = {}
    for source, destination, protocol, octets, packets in zip(*columns.values(), strict=True):
        key = (
            int.from_bytes(source[12:], "big"), int.from_bytes(destination[12:], "big"),
            int(protocol),
        )  # fmt: skip
        of = sums.setdefault(key, [0, 0])
        of[0] += int(octets)
        of[1] += int(packets)
    return {k: (a, b) for k, (a, b) in sums.items()}


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


def finished(rig: Rig) -> None:
    """The receiver has taken all; the exporter has ended, so nothing more comes."""
    rig.until(lambda: rig.watermark()["received"] and not rig.kernel()[0])


@pytest.mark.parametrize("version", [5, 9, 10])
def test_softflowd_reads_a_capture_and_all_of_it_is_stored(
    rig: Rig, traffic: tuple[Path, Sums], tmp_path: Path, version: int
) -> None:
    need("softflowd")
    path, sums = traffic
    rig.start()
    subprocess.run(
        ["softflowd", "-d", "-r", path, "-v", str(version), "-n", f"127.0.0.1:{rig.port}",
         "-p", tmp_path / "pid", "-c", "none"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    finished(rig)
    last = rig.end()
    assert last["rejected"] == {}
    assert last["losses"]["sequence_lost"]["total"] == 0
    assert stored(rig) == sums
    rig.clean()


@pytest.mark.parametrize("version", [5, 9])
def test_nfreplay_sends_a_file_of_nfpcapd_and_all_of_it_is_stored(
    rig: Rig, traffic: tuple[Path, Sums], tmp_path: Path, version: int
) -> None:
    need("nfreplay")
    need("nfpcapd")
    path, sums = traffic
    flows = tmp_path / "flows"
    flows.mkdir()
    subprocess.run(
        ["nfpcapd", "-r", path, "-w", flows], check=True, capture_output=True, timeout=60
    )
    rig.start()
    files = sorted(flows.glob("nfcapd.*"))
    assert files
    for file in files:
        subprocess.run(
            ["nfreplay", "-r", file, "-v", str(version), "-p", str(rig.port), "-d", "100"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    finished(rig)
    last = rig.end()
    assert last["rejected"] == {}
    assert stored(rig) == sums
