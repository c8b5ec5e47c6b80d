"""Capture files → datagrams, whatever the file format and the link."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import subprocess
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowpeer_ingest.captures import Capture, Datagram
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.ingest import ingest_capture

PAYLOAD = b"payload of a datagram"


def read(data: bytes) -> tuple[list[Datagram], Capture]:
    capture = Capture(io.BytesIO(data), "x.pcap")
    return list(capture.datagrams()), capture


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["micro", "nano", "ng-micro", "ng-nano"])
def test_file_formats_give_the_same_datagrams(build: Any, order: str, kind: str) -> None:
    packets = [
        (1_751_328_000.25, build.ethernet(build.udp(PAYLOAD))),
        (1_751_328_001.5, build.ethernet(build.udp(b"x", "2001:db8::1", 9))),
    ]
    if kind.startswith("ng"):
        data = build.pcapng(packets, order=order, power=9 if kind == "ng-nano" else 6)
    else:
        data = build.pcap(packets, order=order, nano=kind == "nano")
    assert read(data)[0] == [
        Datagram(1_751_328_000_250_000, "192.0.2.10", 40_000, PAYLOAD),
        Datagram(1_751_328_001_500_000, "2001:db8::1", 9, b"x"),
    ]


@pytest.mark.parametrize("source", ["192.0.2.10", "2001:db8::1"])
@pytest.mark.parametrize(
    "link", ["ethernet", "vlan", "qinq", "sll", "sll2", "raw", "raw12", "null", "loop"]
)
def test_link_types(build: Any, link: str, source: str) -> None:
    packet = build.udp(PAYLOAD, source)
    four = "." in source
    kind = b"\x08\0" if four else b"\x86\xdd"
    number, data = {
        "ethernet": (1, build.ethernet(packet)),
        "vlan": (1, build.ethernet(packet, 7)),
        "qinq": (1, build.ethernet(packet, 7, 8)),
        "sll": (113, bytes(14) + kind + packet),
        "sll2": (276, kind + bytes(18) + packet),
        "raw": (101, packet),
        "raw12": (12, packet),
        "null": (0, struct.pack("<I", 2 if four else 30) + packet),
        "loop": (108, struct.pack(">I", 2 if four else 30) + packet),
    }[link]
    for make in (build.pcap, build.pcapng):
        (datagram,), capture = read(make([(1.0, data)], link=number))
        assert (datagram.exporter, datagram.payload) == (source, PAYLOAD)
        assert (capture.packets, dict(capture.skipped)) == (1, {})


def test_mapped_source_is_the_ipv4_exporter(build: Any) -> None:
    data = build.pcap([(1.0, build.ethernet(build.udp(PAYLOAD, "::ffff:192.0.2.77")))])
    assert read(data)[0][0].exporter == "192.0.2.77"


def test_what_is_no_datagram_is_counted_by_reason(build: Any) -> None:
    tcp = bytearray(build.udp(b"", "192.0.2.1"))
    tcp[9] = 6
    packets = [
        b"\x02" * 12 + b"\x08\x06" + bytes(28),
        build.ethernet(bytes(tcp)),
        build.ethernet(build.udp(PAYLOAD))[:30],
        b"\x02" * 5,
        build.ethernet(build.udp(PAYLOAD)),
    ]
    datagrams, capture = read(build.pcap([(1.0, p) for p in packets]))
    assert len(datagrams) == 1
    assert dict(capture.skipped) == {"not IP": 1, "not UDP": 1, "packet cut short": 2}
    assert capture.packets == 5


def test_ethernet_padding_is_no_payload(build: Any) -> None:
    data = build.pcap([(1.0, build.ethernet(build.udp(b"ab")) + bytes(16))])
    assert read(data)[0][0].payload == b"ab"


def fragments(build: Any, payload: bytes, size: int, source: str) -> list[bytes]:
    """IP fragments of one UDP datagram, `size` octets each (a multiple of 8)."""
    whole = build.udp(payload, source)
    four = whole[0] >> 4 == 4
    body = whole[20 if four else 40 :]
    out = []
    for at in range(0, len(body), size):
        part = body[at : at + size]
        more = at + size < len(body)
        if four:
            head = bytearray(whole[:20])
            head[2:4] = struct.pack(">H", 20 + len(part))
            head[6:8] = struct.pack(">H", at // 8 | more << 13)
            out.append(bytes(head) + part)
        else:
            head = bytearray(whole[:40])
            head[4:6] = struct.pack(">H", 8 + len(part))
            head[6] = 44
            out.append(bytes(head) + struct.pack(">BBHI", 17, 0, at | more, 99) + part)
    return out


@pytest.mark.parametrize("source", ["192.0.2.10", "2001:db8::1"])
@pytest.mark.parametrize("order", [1, -1])
def test_fragments_are_put_together_in_any_order(build: Any, source: str, order: int) -> None:
    payload = bytes(range(256)) * 20
    parts = fragments(build, payload, 1480, source)[::order]
    datagrams, capture = read(build.pcap([(1.0, build.ethernet(p)) for p in parts]))
    assert [d.payload for d in datagrams] == [payload]
    assert datagrams[0].port == 40_000
    assert dict(capture.skipped) == {"fragment put together": len(parts) - 1}


def test_incomplete_fragments_are_counted(build: Any) -> None:
    parts = fragments(build, bytes(4000), 1480, "192.0.2.10")
    datagrams, capture = read(build.pcap([(1.0, build.ethernet(p)) for p in parts[:-1]]))
    assert datagrams == []
    assert dict(capture.skipped) == {"fragment of an incomplete datagram": 2}


def test_fragments_too_old_are_given_up(build: Any) -> None:
    parts = fragments(build, bytes(2000), 1480, "192.0.2.10")
    packets = [(1.0, build.ethernet(parts[0])), (100.0, build.ethernet(parts[1]))]
    datagrams, capture = read(build.pcap(packets))
    assert datagrams == []
    assert sum(capture.skipped.values()) == capture.packets == 2


@pytest.mark.parametrize("make", ["pcap", "pcapng"])
def test_a_capture_cut_short_is_a_warning_with_its_offset(build: Any, make: str) -> None:
    data = getattr(build, make)([(1.0, build.ethernet(build.udp(PAYLOAD)))] * 2)
    datagrams, capture = read(data[:-9])
    assert len(datagrams) == 1
    (warning,) = capture.warnings
    assert "x.pcap: cut short at offset" in warning


def test_an_absurd_packet_length_is_a_warning_not_memory(build: Any) -> None:
    data = build.pcap([(1.0, build.ethernet(build.udp(PAYLOAD)))])
    data += struct.pack("<IIII", 1, 0, 0x7FFFFFFF, 0x7FFFFFFF)
    datagrams, capture = read(data)
    assert len(datagrams) == 1
    assert "damaged at offset" in capture.warnings[0]


@pytest.mark.parametrize("data", [b"", b"no capture", b"\xd4\xc3\xb2\xa1\0", b"\x0a\x0d\x0d\x0a"])
def test_what_is_no_capture_is_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    if data.startswith(b"\x0a"):  # a pcapng that ends in its first block is cut short
        assert ingest_capture(path, decoder=Decoder(), write=lambda *_: None).warnings
        return
    with pytest.raises(IngestError) as e:
        ingest_capture(path, decoder=Decoder(), write=lambda *_: None)
    assert str(path) in str(e.value)
    assert e.value.advice


def test_link_type_that_is_not_read_is_named(build: Any) -> None:
    with pytest.raises(IngestError, match="link type 147"):
        read(build.pcap([], link=147))


def test_packed_capture_gives_the_same_tables_and_progress(build: Any, tmp_path: Path) -> None:
    plain = build.capture(
        tmp_path / "a.pcap", *[build.v5([{}] * 20, sequence=20 * i) for i in range(50)]
    )
    packed = tmp_path / "a.pcap.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    results = []
    for path in (plain, packed):
        tables: list[pa.Table] = []
        seen: list[int] = []
        summary = ingest_capture(
            path, decoder=Decoder(), progress=seen.append,
            write=lambda _h, _n, t, tables=tables: tables.append(t),  # type: ignore[misc]
        )  # fmt: skip
        assert seen[-1] == path.stat().st_size
        assert seen == sorted(seen)
        results.append((summary.rows, tables))
    assert results[0][0] == 1000
    assert all(a.equals(b) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_rows_of_a_refused_file_do_not_slip_into_the_next(build: Any, tmp_path: Path) -> None:
    whole = build.capture(tmp_path / "a.pcap", *[build.v5([{}] * 30) for _ in range(400)])
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(whole.read_bytes(), 0)[:-400_000])
    decoder = Decoder()
    rows: list[int] = []

    def write(_hour: object, name: str, table: pa.Table) -> None:
        if name == "flows":
            rows.append(len(table))

    with pytest.raises(IngestError, match="cut short"):
        ingest_capture(cut, decoder=decoder, write=write)
    summary = ingest_capture(whole, decoder=decoder, write=write)
    assert sum(rows) == summary.rows == 12_000


@pytest.mark.parametrize("version", [5, 9, 10])
def test_tshark_reads_the_same_values(build: Any, tmp_path: Path, version: int) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    rows = [
        {8: f"10.0.{i}.1", 12: f"172.16.{i}.2", 7: 1000 + i, 11: 443, 4: 6, 1: 1500 * i + 40,
         2: i + 1, 10: 7, 14: 9}
        for i in range(12)
    ]  # fmt: skip
    if version == 5:
        payload = build.v5(
            [
                {"src": r[8], "dst": r[12], "sport": r[7], "dport": r[11], "bytes": r[1],
                 "packets": r[2], "input": 7, "output": 9}
                for r in rows
            ]
        )  # fmt: skip
    else:
        octets = b"".join(build.record(build.V4, r) for r in rows)
        payload = build.message(
            version, build.template(300, build.V4, version=version), build.set_(300, octets)
        )
    path = build.capture(tmp_path / "x.pcap", payload)
    names = (
        "srcaddr",
        "dstaddr",
        "srcport",
        "dstport",
        "octets",
        "packets",
        "inputint",
        "outputint",
    )
    out = subprocess.run(
        [tshark, "-r", path, "-d", "udp.port==2055,cflow", "-T", "fields", "-E", "occurrence=a",
         "-E", "aggregator=,", *(a for n in names for a in ("-e", f"cflow.{n}"))],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    theirs = [column.split(",") for column in out.strip("\n").split("\t")]
    ours: list[dict[str, Any]] = []

    def write(_hour: object, name: str, table: pa.Table) -> None:
        if name == "flows":
            ours.extend(table.to_pylist())

    ingest_capture(path, decoder=Decoder(), write=write)

    def text(value: Any) -> str:
        if isinstance(value, bytes):
            return str(ip_address(value).ipv4_mapped or IPv4Address(0))  # type: ignore[union-attr]
        return str(value)

    columns = (
        "src_addr",
        "dst_addr",
        "src_port",
        "dst_port",
        "bytes",
        "packets",
        "input_if",
        "output_if",
    )
    assert [[text(r[c]) for r in ours] for c in columns] == theirs
