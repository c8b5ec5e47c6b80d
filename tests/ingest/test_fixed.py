"""NetFlow v1 and v7: datagrams written from Cisco's tables, and tshark's reading of the same."""

from __future__ import annotations

import shutil
import struct
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from flowpeer_ingest.records import decode_records
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.events import Malformed, Message, Records, Rejected, SequenceGap

FLOWS = [
    {"src": f"10.0.{i}.1", "dst": f"172.16.{i}.2", "hop": "192.0.2.9", "input": 7, "output": 9,
     "packets": i + 1, "octets": 1_500 * i + 40, "first": 9_000, "last": 9_500 + i,
     "sport": 1_000 + i, "dport": 443, "protocol": 6, "tos": i, "flags": 24}
    for i in range(12)
]  # fmt: skip


def datagram(
    version: int, seconds: int, *, sequence: int = 0, count: int | None = None, padding: int = 4
) -> bytes:
    number = len(FLOWS) if count is None else count
    out = struct.pack(">HHIII", version, number, 10_000, seconds, 250_000_000)
    if version == 7:
        out += struct.pack(">II", sequence, 0)
    for f in FLOWS:
        out += IPv4Address(f["src"]).packed + IPv4Address(f["dst"]).packed
        out += IPv4Address(f["hop"]).packed
        out += struct.pack(
            ">HHIIIIHH", f["input"], f["output"], f["packets"], f["octets"], f["first"], f["last"],
            f["sport"], f["dport"],
        )  # fmt: skip
        if version == 1:
            out += struct.pack(">HBBB3s", 0, f["protocol"], f["tos"], f["flags"], b"xyz")
            out += b"w" * padding
        else:
            out += struct.pack(
                ">BBBBHHBBHI", 0x7F, f["flags"], f["protocol"], f["tos"], 64_500, 64_501, 24, 16,
                0x0102, 0xC0000201,
            )  # fmt: skip
    return out


@pytest.mark.parametrize(("version", "padding"), [(1, 4), (1, 8), (7, 0)])
def test_every_field_is_read(build: Any, tmp_path: Path, version: int, padding: int) -> None:
    path = build.capture(tmp_path / "x.pcap", datagram(version, build.START, padding=padding))
    got = list(decode_records(path))
    assert len(got) == len(FLOWS)
    boot_ms = build.START * 1_000 + 250 - 10_000
    for ours, f in zip(got, FLOWS, strict=True):
        want = {
            "version": version, "format": f"netflow{version}", "src_addr": f["src"],
            "dst_addr": f["dst"], "next_hop": f["hop"], "input_if": 7, "output_if": 9,
            "packets": f["packets"], "bytes": f["octets"], "start": boot_ms + f["first"],
            "end": boot_ms + f["last"], "src_port": f["sport"], "dst_port": 443, "protocol": 6,
            "tos": f["tos"], "tcp_flags": 24,
        }  # fmt: skip
        if version == 7:
            want |= {"src_as": 64_500, "dst_as": 64_501, "src_mask": 24, "dst_mask": 16}
        assert {k: ours.get(k) for k in want} == want
        assert "observation_domain" not in ours
        assert "sampling_interval" not in ours


@pytest.mark.parametrize("version", [1, 7])
def test_tshark_reads_the_same(build: Any, tmp_path: Path, version: int) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = build.capture(tmp_path / "x.pcap", datagram(version, build.START))
    names = {
        "srcaddr": "src_addr", "dstaddr": "dst_addr", "nexthop": "next_hop", "inputint": "input_if",
        "outputint": "output_if", "packets": "packets", "octets": "bytes", "srcport": "src_port",
        "dstport": "dst_port", "protocol": "protocol",
    }  # fmt: skip
    if version == 7:
        names |= {"srcas": "src_as", "dstas": "dst_as", "srcmask": "src_mask"}
    out = subprocess.run(
        [tshark, "-r", path, "-d", "udp.port==2055,cflow", "-T", "fields", "-E", "occurrence=a",
         "-E", "aggregator=,", *(a for n in names for a in ("-e", f"cflow.{n}"))],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    theirs = [column.split(",") for column in out.strip("\n").split("\t")]
    ours = list(decode_records(path))
    assert theirs == [[str(row[name]) for row in ours] for name in names.values()]


def test_version_7_counts_flows_lost_and_version_1_cannot(build: Any) -> None:
    for version, lost in ((7, [0, 0, 5]), (1, [0, 0, 0])):
        wire = Wire()
        seen = []
        for sequence in (0, 12, 29):
            payload = datagram(version, build.START, sequence=sequence)
            events = wire.decode(payload, "192.0.2.1", 9, 1)
            assert sum(e.count for e in events if isinstance(e, Records)) == 12
            seen.append(sum(e.lost for e in events if isinstance(e, SequenceGap)))
        assert seen == lost


def test_a_count_that_is_wrong_is_counted_or_refused(build: Any) -> None:
    events = Wire().decode(datagram(7, build.START, count=20), "192.0.2.1", 9, 1)
    assert [e.reason for e in events if isinstance(e, Malformed)] == [
        "v7 count is larger than the datagram"
    ]
    for payload in (
        datagram(1, build.START, count=20),
        datagram(1, build.START)[:-1],
        struct.pack(">HHI12s", 1, 0, 0x2112A442, bytes(12)),  # STUN: a binding request
        datagram(7, build.START, count=0),
    ):
        (event,) = Wire().decode(payload, "192.0.2.1", 9, 1)
        assert isinstance(event, Rejected)


@pytest.mark.parametrize("version", [1, 7])
def test_every_prefix_gives_events(build: Any, version: int) -> None:
    whole = datagram(version, build.START)
    for size in range(len(whole)):
        events = Wire().decode(whole[:size], "192.0.2.1", 9, 1)
        assert isinstance(events[0], (Message, Rejected))
