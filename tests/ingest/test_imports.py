"""Other tools' files become the flows that the same records become out of a capture."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowpeer_core.columns import arrow_schema
from flowpeer_ingest import plausible
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.imports import row_files, values
from flowpeer_ingest.imports.importer import (
    ExportSummary,
    Mapping,
    ingest_export,
    is_export,
    read_mapping,
)
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.schema import FLOWS

needs_nfdump = pytest.mark.skipif(
    shutil.which("nfdump") is None or shutil.which("nfcapd") is None,
    reason="nfdump is not installed",
)
SAID_ALIKE = (
    "start_time", "end_time", "exporter_ip", "input_if", "output_if", "direction", "src_addr",
    "dst_addr", "dst_port", "protocol", "tos", "bytes", "packets", "time_corrected",
)  # fmt: skip


def flows(path: Path, **options: Any) -> tuple[ExportSummary, list[dict[str, Any]]]:
    tables: list[pa.Table] = []

    def write(hour: datetime, name: str, table: pa.Table) -> None:
        assert name == "flows"
        assert table.schema == arrow_schema(FLOWS)
        table.validate(full=True)
        for column in FLOWS:
            if not column.nullable:
                assert table[column.name].null_count == 0
        for received in table["received_at"].to_pylist():
            assert received.replace(minute=0, second=0, microsecond=0) == hour
        tables.append(table)

    summary = ingest_export(path, write=write, **options)
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    aside = sum(summary.implausible.values())
    assert summary.records == summary.rows + sum(summary.rows_rejected.values()) + aside
    assert summary.rows == len(rows)
    assert summary.rows + aside == sum(e.records for e in summary.exporters.values())
    return summary, rows


def octets(text: str) -> bytes:
    a = ip_address(text)
    return a.packed if a.version == 6 else bytes(10) + b"\xff\xff" + a.packed


# nfdump


@pytest.fixture(scope="module")
def sent(build: Any) -> list[bytes]:
    """Datagrams of now: NetFlow v5 (sampled), v9 and IPFIX over IPv6."""
    now = int(time.time())
    rng = random.Random(3)
    fields = [
        (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (5, 1), (6, 1), (1, 8), (2, 8), (10, 4), (14, 4),
        (21, 4), (22, 4), (16, 4), (17, 4), (9, 1), (13, 1), (15, 4), (61, 1),
    ]  # fmt: skip
    octets9 = b"".join(
        build.record(
            fields,
            {
                8: f"192.0.2.{i}", 12: f"198.51.100.{rng.randrange(256)}", 7: 443,
                11: rng.randrange(65536), 4: rng.choice([6, 17]), 5: 8, 6: 27,
                1: rng.randrange(1 << 33), 2: rng.randrange(1, 9_999), 10: 1 << 20, 14: 7,
                21: 3_600_000, 22: 3_600_000 - rng.randrange(60_000), 16: 64_500, 17: 4_200_000_001,
                9: 24, 13: 20, 15: "203.0.113.1", 61: i % 2,
            },
        )
        for i in range(20)
    )  # fmt: skip
    six = [(27, 16), (28, 16), (4, 1), (32, 2), (139, 2), (1, 4), (2, 4), (10, 2), (14, 2),
           (152, 8), (153, 8), (56, 6), (80, 6)]  # fmt: skip
    octets10 = build.record(
        six,
        {
            27: "2001:db8::1", 28: "2001:db8:1::2", 4: 58, 139: 128 * 256, 1: 4_000, 2: 4, 10: 5,
            14: 6, 152: now * 1000 - 5_000, 153: now * 1000 - 1, 56: 0x020304050607, 80: 0xA,
        },
    )  # fmt: skip
    return [
        build.v9(
            build.template(256, fields), build.set_(256, octets9), seconds=now, uptime=3_600_000
        ),
        build.ipfix(build.template(300, six, version=10), build.set_(300, octets10), seconds=now),
    ]


@pytest.fixture(scope="module")
def nfcapd(sent: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that nfcapd wrote of these datagrams."""
    folder = tmp_path_factory.mktemp("nfcapd")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        port = sender.getsockname()[1]
        sender.close()
    process = subprocess.Popen(
        ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", folder, "-t", "3600", "-z"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        listening = f"0100007F:{port:04X}"
        while listening not in Path("/proc/net/udp").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for payload in sent:
                sender.sendto(payload, ("127.0.0.1", port))
        time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    (path,) = [p for p in folder.iterdir() if p.name.startswith("nfcapd.2")]
    return path


def captured(sent: list[bytes], build: Any, folder: Path) -> list[dict[str, Any]]:
    packets = [
        (int.from_bytes(p[8:12] if p[1] == 9 else p[4:8], "big"), build.udp(p, "127.0.0.1"))
        for p in sent
    ]
    path = folder / "same.pcap"
    path.write_bytes(build.pcap(packets, link=101))
    tables: list[pa.Table] = []
    ingest_capture(
        path,
        decoder=Decoder(),
        write=lambda _, name, t: tables.append(t) if name == "flows" else None,
    )
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return rows


@needs_nfdump
def test_nfcapd_files_give_the_flows_of_the_same_datagrams(
    nfcapd: Path, sent: list[bytes], build: Any, tmp_path: Path
) -> None:
    summary, rows = flows(nfcapd)
    want = captured(sent, build, tmp_path)
    assert summary.tool == "nfdump"
    assert len(rows) == len(want) == 21
    both = zip(
        sorted(rows, key=lambda r: (r["src_addr"], r["dst_port"])),
        sorted(want, key=lambda r: (r["src_addr"], r["dst_port"])),
        strict=True,
    )
    for got, expected in both:
        for column in ("direction", "tos"):  # nfdump writes 0 for what is not said
            expected[column] = expected[column] or 0
        assert {c: got[c] for c in SAID_ALIKE} == {c: expected[c] for c in SAID_ALIKE}
    v9 = [r for r in rows if r["src_as"]]
    assert {(r["src_as"], r["dst_as"], r["src_mask"], r["dst_mask"]) for r in v9} == {
        (64_500, 4_200_000_001, 24, 20)
    }
    (six,) = [r for r in rows if r["protocol"] == 58]
    assert (six["src_mac"], six["dst_mac"]) == (0x020304050607, 0xA)


@needs_nfdump
@pytest.mark.parametrize("format_", ["json", "csv"])
def test_what_nfdump_prints_is_read_as_its_file(nfcapd: Path, tmp_path: Path, format_: str) -> None:
    printed = tmp_path / "flows.txt.gz"
    done = subprocess.run(
        ["nfdump", "-r", nfcapd, "-o", format_], env={"TZ": "UTC"}, capture_output=True, check=True
    )
    printed.write_bytes(gzip.compress(done.stdout))
    summary, rows = flows(printed)
    _, want = flows(nfcapd)
    assert summary.lines_rejected == {}
    assert summary.warnings == []
    columns = [c for c in SAID_ALIKE if c not in ("start_time", "end_time")]
    assert [{c: r[c] for c in columns} for r in rows] == [{c: w[c] for c in columns} for w in want]


@needs_nfdump
def test_bytes_that_nfcapd_scaled_are_not_scaled_again(build: Any, tmp_path: Path) -> None:
    line = {
        "type": "FLOW", "sampled": 1, "first": "2026-01-01T00:00:00.000",
        "last": "2026-01-01T00:00:01.000", "received": "2026-01-01T00:00:02.000",
        "in_packets": 1000, "in_bytes": 100_000, "src4_addr": "192.0.2.1",
        "dst4_addr": "192.0.2.2", "ip4_router": "192.0.2.3",
    }  # fmt: skip
    path = tmp_path / "x"
    path.write_text(json.dumps(line) + "\n" + json.dumps({**line, "sampled": 0}) + "\n")
    summary, rows = flows(path)
    assert [r["sampling_interval"] for r in rows] == [1, None]
    assert list(summary.notes.values()) == [1]


@needs_nfdump
def test_a_damaged_nfcapd_file_is_one_error(nfcapd: Path, tmp_path: Path) -> None:
    broken = tmp_path / "nfcapd.202601010000"
    whole = nfcapd.read_bytes()
    for octets_ in (whole[:2] + b"\xff" * 300, whole[: len(whole) // 2], whole[:2]):
        broken.write_bytes(octets_)
        with pytest.raises(IngestError, match="nfdump refuses it"):
            flows(broken)


def test_nfcapd_without_nfdump_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nfcapd.202601010000"
    path.write_bytes(b"\x0c\xa5" + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(IngestError, match="nfdump is not installed"):
        flows(path)


@needs_nfdump
def test_the_command_takes_them_once(nfcapd: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    (tmp_path / "flowpeer.toml").write_text(
        '[network]\nasn = 64500\nname = "x"\nprefixes = ["192.0.2.0/24"]\n[lake]\npath = "lake"\n'
        '[[metros]]\nid = "ams"\nname = "Amsterdam"\n'
        '[[exporters]]\nid = "e"\nmetro = "ams"\naddresses = ["192.0.2.1"]\n'
        '[[interfaces]]\nexporter = "e"\nindex = 3\nname = "et-0/0/1"\nrole = "transit"\nasn = 1\n'
    )
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(nfcapd, folder)
    (folder / "akvorado.csv").write_text(_csv(AKVORADO))
    (folder / "notes.csv").write_text("who,what\nme,nothing\n")
    done = run("ingest", folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.returncode, done.stdout) == (0, "22 flow records added from 2 files\n")
    done = run("ingest", folder, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 flow records added from 0 files\n")
    done = run("--json", "sql", "select input_if, output_if from flows where format = 'akvorado'",
               cwd=tmp_path)  # fmt: skip
    assert json.loads(done.stdout) == [{"input_if": 3, "output_if": None}]
    done = run("ingest", folder / "notes.csv", cwd=tmp_path)
    assert done.returncode == 3
    assert "notes.csv" in done.stderr


# The other tools, by their documentation

ONE = {
    "src_addr": octets("198.51.100.7"), "dst_addr": octets("203.0.113.9"), "src_port": 443,
    "dst_port": 50_123, "protocol": 6, "bytes": 12_345, "packets": 10, "exporter_ip": "192.0.2.1",
    "src_as": 64_500, "dst_as": 64_501, "sampling_interval": 1_000,
}  # fmt: skip
TIMES = {
    "start_time": datetime.fromisoformat("2026-01-02T03:04:05+00:00"),
    "end_time": datetime.fromisoformat("2026-01-02T03:04:35+00:00"),
    "time_corrected": False,
}
_START = 1_767_323_045


def _csv(row: dict[str, Any], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, row, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return out.getvalue()


GOFLOW2 = {
    "type": "NETFLOW_V9", "time_received_ns": (_START + 40) * 10**9, "sequence_num": 1,
    "sampling_rate": 1000, "sampler_address": "192.0.2.1",
    "time_flow_start_ns": _START * 10**9, "time_flow_end_ns": (_START + 30) * 10**9,
    "bytes": 12345, "packets": 10, "src_addr": "198.51.100.7", "src_net": "198.51.100.0/24",
    "dst_addr": "203.0.113.9", "dst_net": "203.0.113.0/20", "etype": "IPv4", "proto": "TCP",
    "src_port": 443, "dst_port": 50123, "in_if": 3, "out_if": 9, "src_mac": "02:00:00:00:00:01",
    "dst_mac": "00:00:00:00:00:00", "src_as": 64500, "dst_as": 64501, "tcp_flags": 24,
}  # fmt: skip
GOFLOW = {
    "Type": "IPFIX", "TimeReceived": _START + 40, "SamplingRate": 1000,
    "SamplerAddress": "192.0.2.1", "TimeFlowStart": _START, "TimeFlowEnd": _START + 30,
    "Bytes": 12345, "Packets": 10, "SrcAddr": "198.51.100.7", "DstAddr": "203.0.113.9",
    "Proto": 6, "SrcPort": 443, "DstPort": 50123, "InIf": 3, "OutIf": 9, "SrcAS": 64500,
    "DstAS": 64501, "SrcNet": 24, "DstNet": 20,
}  # fmt: skip
PMACCT = {
    "event_type": "purge", "as_src": 64500, "as_dst": 64501, "peer_ip_src": "192.0.2.1",
    "iface_in": 3, "iface_out": 9, "ip_src": "198.51.100.7", "ip_dst": "203.0.113.9",
    "mask_src": 24, "mask_dst": 20, "port_src": 443, "port_dst": 50123, "tcp_flags": "24",
    "ip_proto": "tcp", "tos": 0, "sampling_rate": 1000,
    "timestamp_start": "2026-01-02 03:04:05.000000", "timestamp_end": "2026-01-02 03:04:35.000000",
    "timestamp_arrival": "2026-01-02 03:04:45.250000", "packets": 10, "flows": 1, "bytes": 12345,
    "writer_id": "default/1",
}  # fmt: skip
PMACCT_CSV = {
    "SRC_AS": 64500, "DST_AS": 64501, "PEER_SRC_IP": "192.0.2.1", "IN_IFACE": 3, "OUT_IFACE": 9,
    "SRC_IP": "198.51.100.7", "DST_IP": "203.0.113.9", "SRC_MASK": 24, "DST_MASK": 20,
    "SRC_PORT": 443, "DST_PORT": 50123, "TCP_FLAGS": 24, "PROTOCOL": "tcp", "TOS": 0,
    "SAMPLING_RATE": 1000, "TIMESTAMP_START": f"{_START}.0", "TIMESTAMP_END": f"{_START + 30}.000",
    "PACKETS": 10, "FLOWS": 1, "BYTES": 12345,
}  # fmt: skip
AKVORADO = {
    "TimeReceived": "2026-01-02 03:04:45", "SamplingRate": 1000,
    "ExporterAddress": "::ffff:192.0.2.1", "ExporterName": "edge1, \"ams\"",
    "SrcAddr": "::ffff:198.51.100.7", "DstAddr": "::ffff:203.0.113.9", "SrcNetMask": 24,
    "DstNetMask": 20, "SrcAS": 64500, "DstAS": 64501, "InIfName": "et-0/0/1", "OutIfName": "ae7",
    "EType": 2048, "Proto": 6, "SrcPort": 443, "DstPort": 50123, "Bytes": 12345, "Packets": 10,
    "FlowDirection": "ingress",
}  # fmt: skip
TABLE = {
    "exporter_ip": "192.0.2.1", "received_at": "2026-01-02T03:04:45Z",
    "start_time": "2026-01-02T04:04:05+01:00", "end_time": "2026-01-02T03:04:35.000Z",
    "src_addr": "198.51.100.7", "dst_addr": "203.0.113.9", "src_port": 443, "dst_port": 50123,
    "protocol": "TCP", "bytes": 12345, "packets": 10, "src_as": 64500, "dst_as": 64501,
    "input_if": 3, "output_if": 9, "src_mask": 24, "dst_mask": 20, "sampling_interval": 1000,
    "tcp_flags": "0x18", "next_hop": "",
}  # fmt: skip
INDEX = {"et-0/0/1": 3, "ae7": 9}


@pytest.mark.parametrize(
    ("tool", "content", "timed"),
    [
        ("goflow2", json.dumps(GOFLOW2) + "\n", True),
        ("goflow2", json.dumps(GOFLOW) + "\n", True),
        ("pmacct", json.dumps(PMACCT) + "\n", True),
        ("pmacct", _csv(PMACCT_CSV), True),
        ("akvorado", _csv(AKVORADO), False),
        ("akvorado", _csv(AKVORADO, "\t"), False),
        ("akvorado", json.dumps(AKVORADO) + "\n", False),
        ("table", _csv(TABLE), True),
        ("table", _csv(TABLE, ";"), True),
        ("table", json.dumps(TABLE) + "\n", True),
        ("table", json.dumps([TABLE], indent=1), True),
    ],
)
def test_a_record_of_each_tool(tmp_path: Path, tool: str, content: str, timed: bool) -> None:
    path = tmp_path / "export"
    path.write_text(content)
    assert is_export(path)
    summary, (row,) = flows(
        path, interface_of=lambda e, n: INDEX.get(n) if e == "192.0.2.1" else None
    )
    assert summary.tool == tool
    assert {c: row[c] for c in ONE} == ONE
    assert (row["input_if"], row["output_if"]) == (3, 9)
    assert (row["src_mask"], row["dst_mask"]) == (24, 20)
    if timed:
        assert {c: row[c] for c in TIMES} == TIMES
    else:
        assert row["time_corrected"]
    assert summary.warnings == []


def test_parquet_of_any_types(tmp_path: Path) -> None:
    path = tmp_path / "flows.parquet"
    frame = pl.DataFrame(
        {
            "TimeReceived": pl.Series([_START + 40], dtype=pl.UInt32),
            "SamplingRate": pl.Series([1000], dtype=pl.UInt64),
            "ExporterAddress": [octets("192.0.2.1")],
            "SrcAddr": [octets("198.51.100.7")],
            "DstAddr": [octets("203.0.113.9")],
            "SrcAS": pl.Series([64500], dtype=pl.UInt32),
            "DstAS": pl.Series([64501], dtype=pl.UInt32),
            "Proto": pl.Series([6], dtype=pl.UInt32),
            "SrcPort": pl.Series([443], dtype=pl.UInt16),
            "DstPort": pl.Series([50123], dtype=pl.UInt16),
            "Bytes": pl.Series([12345], dtype=pl.UInt64),
            "Packets": pl.Series([10], dtype=pl.UInt64),
            "InIfName": [b"et-0/0/1"],
        }
    )
    frame.write_parquet(path)
    summary, (row,) = flows(path, interface_of=lambda _, n: INDEX.get(n))
    assert summary.tool == "akvorado"
    assert {c: row[c] for c in ONE} == ONE
    assert row["input_if"] == 3


def test_flows_written_as_parquet_come_back_the_same(build: Any, tmp_path: Path) -> None:
    capture = build.capture(tmp_path / "c.pcap", build.v5([{"bytes": 70, "src_as": 9}] * 5))
    tables: list[pa.Table] = []
    ingest_capture(
        capture, decoder=Decoder(),
        write=lambda _, name, t: tables.append(t) if name == "flows" else None,
    )  # fmt: skip
    path = tmp_path / "flows.parquet"
    pq.write_table(tables[0].cast(arrow_schema(FLOWS)), path)
    _, rows = flows(path)
    assert rows == tables[0].to_pylist()


def test_a_mapping_names_columns_and_constants(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        '[columns]\nsrc_addr = "From"\ndst_addr = "To"\nbytes = "Octets"\nend_time = "Seen"\n'
        '[constants]\nexporter_ip = "192.0.2.9"\nsampling_interval = 512\n'
    )
    path = tmp_path / "own.csv"
    path.write_text("From|To|Octets|Seen\n192.0.2.1|2001:db8::1|99|1767323045\n")
    assert not is_export(path)
    mapping = read_mapping(tmp_path / "m.toml")
    assert is_export(path, mapping)
    summary, (row,) = flows(path, mapping=mapping)
    assert (row["exporter_ip"], row["bytes"], row["sampling_interval"]) == ("192.0.2.9", 99, 512)
    assert row["dst_addr"] == octets("2001:db8::1")
    assert row["received_at"] == row["end_time"] == TIMES["start_time"]
    assert list(summary.exporters) == ["192.0.2.9"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[columns]\nsrc = 'a'\n", "src is no column"),
        ("[column]\n", "unknown table"),
        ("columns = 3\n", "not a table"),
        ("[columns]\nbytes = 3\n", "not text"),
        ("[columns\n", "not a mapping"),
    ],
)
def test_a_wrong_mapping_is_one_error(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(IngestError, match=what):
        read_mapping(tmp_path / "m.toml")


def test_unreadable_cells_are_refused_by_reason_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    good = _csv(TABLE).splitlines()
    header, line = good
    bad = [
        line.replace("198.51.100.7", "198.51.100"), line.replace("12345", "-1"),
        line.replace("192.0.2.1,", ",", 1), line.replace("TCP", "magic"),
        line.replace("12345", str((1 << 48) + 1)), "too,short", line.replace(",443,", ",1e9,"),
    ]  # fmt: skip
    path.write_text("\n".join([header, line, *bad, line]) + "\n")
    summary, rows = flows(path)
    assert len(rows) == 2
    assert summary.rows_rejected == {
        "src_addr not readable": 1, "bytes not readable": 1, "no exporter": 1,
        "protocol not readable": 1, "src_port not readable": 1,
    }  # fmt: skip
    assert summary.implausible == {"bytes beyond 2^48": 1}
    assert summary.records == summary.rows + sum(summary.rows_rejected.values()) + 1
    assert summary.flow_bytes == 2 * 12345 + (1 << 48)
    assert [one.bytes for one in summary.sample] == [(1 << 48) + 1]
    assert summary.lines_rejected == {"2 instead of 20 cells": 1}
    assert "row 2: src_addr is '198.51.100'" in summary.warnings


def test_lines_that_are_no_json_are_counted_with_the_first_of_them(tmp_path: Path) -> None:
    path = tmp_path / "x"
    line = json.dumps(GOFLOW2)
    path.write_text("\n".join([line, line[:40], "[1]", "", line, "{}", line[:-1]]))
    summary, rows = flows(path)
    assert len(rows) == 2
    assert summary.lines_rejected == {"not a JSON object": 3}
    assert summary.warnings[0] == "line 2: not a JSON object"
    assert summary.rows_rejected == {"no exporter": 1}


@pytest.mark.parametrize(
    ("value", "read"),
    [("1e400", None), ("1" * 400, None), ("NaN", None), ("-Infinity", None), ("12e2", 1200),
     ('"7\\ud800"', None), ("1700", 1700), ("1700.0", 1700),
     ('500, "bytes": 600', 500)],
)  # fmt: skip
def test_a_line_of_json_costs_itself_whatever_number_it_holds(
    tmp_path: Path, value: str, read: int | None
) -> None:
    good = json.dumps({**GOFLOW2, "bytes": 300})
    odd = json.dumps({**GOFLOW2, "bytes": -1}).replace("-1", value)
    path = tmp_path / "x"
    path.write_text("\n".join([good, odd, "no JSON", good]) + "\n")
    summary, rows = flows(path)
    assert [row["bytes"] for row in rows] == ([300, 300] if read is None else [300, read, 300])
    assert summary.lines_rejected == {"not a JSON object": 1}
    assert sum(summary.rows_rejected.values()) == (read is None)


def test_other_files_are_refused_with_what_is_taken(tmp_path: Path) -> None:
    for content in (b"", b"\0\1\2", b"a,b\n1,2\n", b"{}", b"[]", b'{"a": 1}\n', b"PAR1 no"):
        path = tmp_path / "x"
        path.write_bytes(content)
        with pytest.raises(IngestError):
            flows(path)


def test_a_table_without_an_exporter_asks_for_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("src_addr,dst_addr,bytes,end_time\n192.0.2.1,192.0.2.2,3,1767323045\n")
    with pytest.raises(IngestError, match="without a column for exporter_ip") as error:
        flows(path)
    assert "--mapping" in error.value.advice
    _, (row,) = flows(path, mapping=Mapping({}, {"exporter_ip": "192.0.2.9"}))
    assert row["exporter_ip"] == "192.0.2.9"


def test_rows_go_to_the_hour_they_were_received_in(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    lines = "".join(f"192.0.2.9,192.0.2.1,192.0.2.2,{i},{_START + i * 600}\n" for i in range(20))
    path.write_text("exporter_ip,src_addr,dst_addr,bytes,received_at\n" + lines)
    _, rows = flows(path)
    assert sorted(r["bytes"] for r in rows) == list(range(20))


@settings(max_examples=examples(150))
@given(st.binary(max_size=300), st.sampled_from(["csv", "json", "array", "parquet", "raw"]))
@example(b"(\xb5/\xfd", "json")
@example(b"\x1f\x8b\x08\x00", "json")
def test_any_octets_give_rows_or_the_one_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, kind: str
) -> None:
    head = {
        "csv": ",".join(TABLE).encode() + b"\n", "json": json.dumps(GOFLOW2).encode() + b"\n",
        "array": b"[" + json.dumps(GOFLOW2).encode() + b",\n", "parquet": b"PAR1", "raw": b"",
    }  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(head[kind] + noise)
    with contextlib.suppress(IngestError):
        flows(path)


@pytest.mark.parametrize("indent", [None, 1, "\t"])
def test_an_array_is_cut_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: Any
) -> None:
    rows = [{**GOFLOW2, "bytes": i, "packets": 0, "label": "a{b} , c"} for i in range(12)]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows, indent=indent))
    for block in (997, 1_003, 5_000):
        monkeypatch.setattr(row_files, "BLOCK", block)
        _, got = flows(path)
        assert [r["bytes"] for r in got] == list(range(12))


READABLE: list[tuple[Callable[[pl.Series], values.Read], str, Any]] = [
    (values.instant, "1767323045", 1767323045_000_000),
    (values.instant, "1767323045.25", 1767323045_250_000),
    (values.instant, "1767323045250", 1767323045_250_000),
    (values.instant, "1767323045250125", 1767323045_250_125),
    (values.instant, "1767323045250125999", 1767323045_250_125),
    (values.instant, "2026-01-02 03:04:05", 1767323045_000_000),
    (values.instant, "2026-01-02T03:04:05.5Z", 1767323045_500_000),
    (values.instant, "2026-01-02T05:04:05+0200", 1767323045_000_000),
    (values.instant, "2026-01-02 03:04:05 UTC", 1767323045_000_000),
    (values.instant, "0", None),
    (values.tcp_flags, "...AP.S.", 26),
    (values.tcp_flags, "0x1b", 27),
    (values.protocol, "ipv6-icmp", 58),
    (values.mac, "02-00-00-00-00-0f", 0x02000000000F),
    (values.direction, "egress", 1),
    (values.direction, "undefined", None),
    (values.mask, "192.0.2.0/24", 24),
    (values.address, "::ffff:192.0.2.1", octets("192.0.2.1")),
    (values.integer, "9223372036854775807", (1 << 63) - 1),
    (values.integer, "", None),
]


@pytest.mark.parametrize(("read", "cell", "value"), READABLE)
def test_cells(read: Callable[[pl.Series], values.Read], cell: str, value: Any) -> None:
    got, bad = read(pl.Series([cell, None]))
    assert got.to_list() == [value, None]
    assert not bad.any()


@pytest.mark.parametrize(
    ("read", "cell"),
    [
        (values.instant, "yesterday"), (values.instant, "2026-13-01 00:00:00"),
        (values.integer, "-1"), (values.integer, str(1 << 63)), (values.protocol, "256"),
        (values.tcp_flags, "XYZ"), (values.mac, "02:00"), (values.address, "192.0.2.256"),
    ],
)  # fmt: skip
def test_cells_that_are_not_readable(read: Callable[[pl.Series], values.Read], cell: str) -> None:
    got, bad = read(pl.Series([cell, None]))
    assert got.to_list() == [None, None]
    assert bad.to_list() == [True, False]


@pytest.mark.parametrize("packing", ["zstd", "gzip"])
def test_a_packed_row_is_a_bad_row_and_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    row = json.dumps(GOFLOW2).encode() + b"\n"
    path = tmp_path / "x.json"
    path.write_bytes(row + pa.compress(row * 50_000, packing, asbytes=True) + b"\n" + row)
    monkeypatch.setattr(row_files, "BLOCK", len(row))  # so that a block begins with it
    _, rows = flows(path)
    assert len(rows) == 2


ROW = "192.0.2.1,2026-09-16 01:02:03,198.18.0.1,8.8.8.8,100"
HEADER = "exporter_ip,received_at,src_addr,dst_addr,bytes"


def test_a_carriage_return_in_a_header_is_a_blank(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_bytes(f"{HEADER}\r,note\n{ROW},x\n".encode())
    assert [r["bytes"] for r in flows(path)[1]] == [100]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"{HEADER}\r{ROW}\r{ROW}\r", "lines that end in a carriage return alone"),
        (f"{HEADER},Bytes\n{ROW},7\n", "2 columns are called 'bytes'"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_error(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "flows.csv"
    path.write_bytes(text.encode())
    with pytest.raises(IngestError, match=what) as raised:
        ingest_export(path, write=lambda *_: None)
    assert raised.value.path == str(path)
    assert raised.value.advice


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("bytes", 2**63), ("bytes", "9223372036854775808"), ("tcp_flags", 2**64),
        ("src_mac", "f" * 40), ("src_addr", 3221225985), ("src_addr", True), ("dst_addr", [1]),
        ("received_at", -5), ("received_at", "9999-12-31 23:59:59-99:99"), ("bytes", 1e300),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_value_costs_its_row_alone(
    tmp_path: Path, column: str, cell: object
) -> None:
    good = dict(zip(HEADER.split(","), ROW.split(","), strict=True))
    path = tmp_path / "flows.json"
    for rows in ([good, {**good, column: cell}, good], [{**good, column: cell}]):
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
        summary, made = flows(path)
        assert len(made) == len(rows) - 1
        assert summary.rows_rejected == {f"{column} not readable": 1}


def test_parquet_cells_of_any_type_cost_their_rows_alone(tmp_path: Path) -> None:
    good = {"exporter_ip": "192.0.2.1", "src_addr": "198.18.0.1", "dst_addr": "8.8.8.8"}
    times = [1_789_520_523_000, 2**62, -(2**62)]
    strange: dict[str, pl.Series] = {
        "received_at": pl.Series(times).cast(pl.Datetime("ms", "Europe/Berlin")),
        "start_time": pl.Series(times).cast(pl.Datetime("ms")),
        "bytes": pl.Series([100, 2**63, 1], dtype=pl.UInt64),
        "packets": pl.Series([1, 1, 2**62]).cast(pl.Datetime("ns")),
        "src_port": pl.Series([[1], None, [2]]),
        "next_hop": pl.Series([b"\xff\xfe", b"", b"\x01\x02\x03"]),
    }
    for name, column in strange.items():
        frame = pl.DataFrame({n: [v] * 3 for n, v in good.items()} | {
            "received_at": [1_789_520_523] * 3, "bytes": [100] * 3, name: column})  # fmt: skip
        frame.write_parquet(tmp_path / "flows.parquet")
        summary, made = flows(tmp_path / "flows.parquet")
        left_out = {**summary.rows_rejected, **summary.implausible}
        assert 1 <= len(made) + sum(left_out.values()) == 3, name
        assert set(left_out) <= {f"{name} not readable", *plausible.REASONS}, name
        assert left_out, name
