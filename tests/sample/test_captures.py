"""The captures against tshark, and against a small reader that knows nothing of the encoders."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flowpeer_sample import answers
from flowpeer_sample import world as w
from flowpeer_sample.datagrams import LARGEST, REFRESH, capture

pytestmark = pytest.mark.slow


V5_RECORD = struct.Struct("!4s4s4sHHIIIIHHBBBBHHBBH")


def path_of(sample: Path, exporter: w.Exporter) -> Path:
    packed = ".gz" if exporter.compressed else ""
    return sample / f"captures/{exporter.id}.pcap{packed}"


@dataclass
class Reading:
    """What the small reader finds in one capture."""

    records: int = 0
    bytes: int = 0
    packets: int = 0
    by_ports: Counter[tuple[int, int]] = field(default_factory=Counter)
    sequence_errors: int = 0
    longest_ms: int = 0
    crossing_slots: int = 0
    rates: set[int] = field(default_factory=set)
    first_options: float | None = None
    first_data: float | None = None
    templates_at: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    largest: int = 0
    odd_packets: int = 0


def datagrams(content: bytes) -> Iterator[tuple[float, bytes]]:
    offset = 24
    while offset < len(content):
        second, micro, kept, whole = struct.unpack_from("<IIII", content, offset)
        assert kept == whole
        frame = content[offset + 16 : offset + 16 + kept]
        skip = 14 + (40 if frame[12:14] == b"\x86\xdd" else 20)
        assert struct.unpack_from("!H", frame, skip + 4)[0] == len(frame) - skip
        assert struct.unpack_from("!H", frame, skip + 2)[0] == 2055
        yield second + micro / 1e6, frame[skip + 8 :]
        offset += 16 + kept


def record_values(body: bytes, fields: list[tuple[int, int]]) -> Iterator[dict[int, int]]:
    """RFC 7011 section 7 by the letter, one field after the other."""
    offset = 0
    least = sum(1 if size == 65535 else size for _, size in fields)
    while len(body) - offset >= least:
        values = {}
        for element, size in fields:
            if size == 65535:
                size = body[offset]
                offset += 1
            values[element] = int.from_bytes(body[offset : offset + size], "big")
            offset += size
        yield values


def count(read: Reading, v: dict[int, int], start: int, end: int) -> None:
    read.records += 1
    read.bytes += v[1]
    read.packets += v[2]
    read.by_ports[v[10], v[14]] += v[1]
    read.longest_ms = max(read.longest_ms, end - start)
    read.crossing_slots += start // 300_000 != end // 300_000
    read.odd_packets += not 40 <= v[1] / v[2] <= 1500


def read_v5(content: bytes) -> Reading:
    read, expected = Reading(), 0
    for at, payload in datagrams(content):
        read.times.append(at)
        read.largest = max(read.largest, len(payload))
        _, n, _, _, _, sequence, _, _, rate = struct.unpack_from("!HHIIIIBBH", payload)
        read.sequence_errors += sequence != expected
        expected = sequence + n
        if rate:
            read.rates.add(rate & 0x3FFF)
        assert len(payload) == 24 + 48 * n
        for r in V5_RECORD.iter_unpack(payload[24:]):
            length = (r[8] - r[7]) % (1 << 32)
            count(read, {1: r[6], 2: r[5], 10: r[3], 14: r[4]}, 0, length)
    return read


def read_templated(content: bytes) -> Reading:
    read, expected = Reading(), 0
    templates: dict[int, list[tuple[int, int]]] = {}
    options: set[int] = set()
    for at, payload in datagrams(content):
        read.times.append(at)
        read.largest = max(read.largest, len(payload))
        version = struct.unpack_from("!H", payload)[0]
        head = 20 if version == 9 else 16
        unix, sequence = struct.unpack_from("!II", payload, 8 if version == 9 else 4)
        assert abs(at - unix) < 1
        read.sequence_errors += sequence != expected
        expected += version == 9
        offset = head
        while offset < len(payload):
            number, size = struct.unpack_from("!HH", payload, offset)
            body = payload[offset + 4 : offset + size]
            offset += size
            if number in (0, 2):
                read.templates_at.append(at)
            if number in (0, 1, 2, 3):
                learn(templates, options, number, body)
                continue
            for v in record_values(body, templates[number]):
                expected += version == 10
                if number in options:
                    read.first_options = read.first_options or at
                    read.rates.add(v[50] if 50 in v else (v[305] + v[306]) // v[305])
                    continue
                read.first_data = read.first_data or at
                if 34 in v:
                    read.rates.add(v[34])
                unix_ms = (v[152], v[153]) if 152 in v else (v[22], v[21])
                count(read, v, unix_ms[0], unix_ms[1])
        assert offset == len(payload)
    return read


def learn(
    templates: dict[int, list[tuple[int, int]]], options: set[int], number: int, body: bytes
) -> None:
    offset = 0
    while len(body) - offset >= 6:
        if number in (0, 2):
            template, fields = struct.unpack_from("!HH", body, offset)
            offset += 4
        elif number == 1:
            template, scope, rest = struct.unpack_from("!HHH", body, offset)
            fields = (scope + rest) // 4
            offset += 6
        else:
            template, fields, _ = struct.unpack_from("!HHH", body, offset)
            offset += 6
        pairs = [struct.unpack_from("!HH", body, offset + 4 * k) for k in range(fields)]
        if number == 1:
            pairs[0] = (-1, pairs[0][1])  # a scope type is not an element
        templates[template] = pairs
        offset += 4 * fields
        if number in (1, 3):
            options.add(template)


@pytest.fixture(scope="module")
def readings(sample: Path) -> dict[str, Reading]:
    made = {}
    for e in w.EXPORTERS:
        path = path_of(sample, e)
        content = path.read_bytes()
        content = gzip.decompress(content) if e.compressed else content
        made[e.id] = (read_v5 if e.format == "netflow5" else read_templated)(content)
    return made


def test_a_plain_reader_finds_the_exported_sums(readings: dict[str, Reading]) -> None:
    found = {name: (r.records, r.bytes, r.packets) for name, r in readings.items()}
    told = {e.exporter: (e.records, e.bytes, e.packets) for e in answers.exported()}
    assert found == told


def test_sequence_numbers_have_no_gap(readings: dict[str, Reading]) -> None:
    assert {name: r.sequence_errors for name, r in readings.items()} == dict.fromkeys(readings, 0)


def test_the_rate_is_where_the_configuration_says(readings: dict[str, Reading]) -> None:
    for e in w.EXPORTERS:
        told = set() if e.rate in ("config", "nowhere") else {w.SAMPLING}
        assert readings[e.id].rates == told, e.id
    late = readings["edge1.nyc"]
    assert late.first_data is not None
    assert late.first_options is not None
    assert late.first_options > late.first_data + 300


def test_templates_come_first_and_again(readings: dict[str, Reading]) -> None:
    for e in w.EXPORTERS:
        if e.format != "netflow5":
            times = readings[e.id].templates_at
            assert times[0] == readings[e.id].times[0]
            assert max(np.diff(times)) < REFRESH + 1


def test_everything_is_received_in_order_within_the_day(readings: dict[str, Reading]) -> None:
    for name, r in readings.items():
        assert r.times == sorted(r.times), name
        assert r.times[0] >= w.DAY
        assert r.times[-1] < w.DAY + 86_400
        assert {int(t - w.DAY) // 300 for t in r.times} == set(range(288)), name
        assert r.largest <= LARGEST


def test_records_are_plausible(readings: dict[str, Reading]) -> None:
    for name, r in readings.items():
        assert r.odd_packets == 0, name
        assert 55_000 < r.longest_ms <= 60_000, name
    assert readings["edge1.fra"].crossing_slots > 1000


def test_interfaces_add_up_to_the_answers(readings: dict[str, Reading]) -> None:
    for e in w.EXPORTERS:
        if e.metering == "both":
            continue
        scale = 1 if e.rate == "nowhere" else w.SAMPLING
        found = {c.interface for c in answers.crossings() if c.exporter == e.id}
        ports = readings[e.id].by_ports
        for i in w.INTERFACES:
            if i.metro != e.metro or i.role == "internal":
                continue
            assert i.index in found
            came = sum(v for (port, _), v in ports.items() if port == i.index) * scale
            left = sum(v for (_, port), v in ports.items() if port == i.index) * scale
            mine = [c for c in answers.crossings() if (c.exporter, c.interface) == (e.id, i.index)]
            assert came == sum(c.bytes for c in mine if c.direction == "in")
            assert left == sum(c.bytes for c in mine if c.direction == "out")


@pytest.mark.parametrize("exporter", w.EXPORTERS, ids=lambda e: e.id)
def test_tshark_reads_the_same_sums_and_finds_no_fault(sample: Path, exporter: w.Exporter) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    names = ("cflow.octets", "cflow.packets", "_ws.expert.message", "udp.checksum.status",
             "ip.checksum.status")  # fmt: skip
    command = [tshark, "-r", str(path_of(sample, exporter)), "-d", "udp.port==2055,cflow",
               "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields",
               "-E", "occurrence=a", "-E", "separator=|"]  # fmt: skip
    for name in names:
        command += ["-e", name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split("|") for line in lines]
    octets = [int(v) for row in rows for v in row[0].split(",") if v]
    packets = sum(int(v) for row in rows for v in row[1].split(",") if v)
    assert {row[2] for row in rows} == {""}
    good = "1"
    assert {row[3] for row in rows} == {good}
    assert {row[4] for row in rows} == {"" if ":" in exporter.address else good}
    told = next(e for e in answers.exported() if e.exporter == exporter.id)
    assert (len(octets), sum(octets), packets) == (told.records, told.bytes, told.packets)


def test_an_hour_is_the_beginning_of_the_day() -> None:
    assert capture("lax").startswith(capture("lax", 3600))


def test_one_router_wraps_its_uptime_during_the_day(sample: Path) -> None:
    content = gzip.decompress((sample / "captures/edge1.dfw.pcap.gz").read_bytes())
    uptimes = [struct.unpack_from("!I", payload, 4)[0] for _, payload in datagrams(content)]
    steps = [(b - a) for a, b in pairwise(uptimes) if b < a]
    assert len(steps) == 1
    assert steps[0] < -(1 << 31)
