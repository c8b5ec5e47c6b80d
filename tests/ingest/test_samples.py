"""The compiled core says of sFlow samples what plain Python says, sample for sample."""

from __future__ import annotations

import struct
from dataclasses import asdict
from datetime import datetime
from ipaddress import ip_address
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from flowpeer_core.columns import arrow_schema
from flowpeer_core.native import library
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.schema import TABLES
from flowpeer_ingest.summary import CaptureSummary
from flowpeer_ingest.unit_decoder import UnitDecoder
from flowpeer_ingest.wire import state
from flowpeer_ingest.wire.saved import snapshot

pytestmark = pytest.mark.skipif(library() is None, reason="built without the compiled core")

NOW = 1_751_328_000_000_000
Sent = tuple[bytes, str, int, int]
"""Payload, exporter, source port, time received."""


def result(sent: list[Sent], size: int, *, plain: bool = False) -> list[Any]:
    """Counters, memory, and rows in their order, in batches of `size`."""
    tables: dict[tuple[datetime, str], list[pa.Table]] = {}
    decoder = Decoder(plain=plain)
    run = UnitDecoder(decoder, lambda hour, name, t: tables.setdefault((hour, name), []).append(t))
    for at in range(0, len(sent), size):
        run.many(*zip(*sent[at : at + size], strict=True))
    run.finish()
    summary = CaptureSummary("")
    run.summarise(summary)
    rows = {
        f"{hour} {name}": pa.concat_tables(
            [t.cast(arrow_schema(TABLES[name])) for t in parts]
        ).to_pylist()
        for (hour, name), parts in tables.items()
    }
    return [asdict(summary), snapshot(decoder.wire.state), rows]


def transport(rng: Random, protocol: int) -> bytes:
    ports = struct.pack(">HH", rng.randint(0, 65535), rng.choice([0, 443]))
    rest = bytes(9) + bytes([rng.choice([2, 16, 24])]) + bytes(6)
    return (ports + rest)[: rng.choice([20, 20, 20, 14, 13, 4, 3, 1, 0])]


def frame_of(rng: Random) -> tuple[int, bytes]:
    """(header protocol, octets) of a packet of any kind, cut anywhere."""
    protocol = rng.choice([6, 6, 17, 1, 58, 132, 47, 44, 0, 43, 50])
    body = transport(rng, protocol)
    if rng.random() < 0.5:
        options = rng.choice([0, 0, 0, 1])
        packet = struct.pack(
            ">BBHHHBBH4s4s", rng.choice([0x45 + options] * 4 + [0x41, 0x55]),
            rng.randint(0, 255), rng.randint(20, 9000), 0,
            rng.choice([0, 0x4000, 0x2000, 0x2001, 7]), 64, protocol, 0,
            bytes([10, 0, 0, 1]), bytes([10, 0, 0, rng.randint(1, 3)]),
        ) + bytes(4 * options) + body  # fmt: skip
        kind = 0x0800
    else:
        packet = struct.pack(
            ">IHBB16s16s", rng.choice([0x60000000, 0x6AB00000]), len(body), protocol,
            64, ip_address("2001:db8::1").packed, ip_address("2001:db8::2").packed,
        ) + body  # fmt: skip
        kind = 0x86DD
    link = rng.choice([1, 1, 1, 1, 11, 12, 13, 2])
    if link == 1:
        tags = rng.choice([0, 0, 0, 1, 1, 2, 3, 4, 17])
        kind = rng.choice([kind] * 6 + [0x0806, 0x8847, 0x8100])
        tag = struct.pack(">HH", rng.choice([0x8100, 0x88A8]), 7)
        packet = bytes(range(12)) + tag * tags + struct.pack(">H", kind) + packet
    if rng.randint(0, 4) == 0:
        packet = packet[: rng.randint(0, len(packet))]
    return link, packet


def address(rng: Random) -> bytes:
    kind = rng.choice([1, 1, 2, 0, 3])
    return struct.pack(">I", kind) + bytes([9] * {0: 0, 1: 4, 2: 16, 3: 4}[kind])


def record(rng: Random, kind: int) -> bytes:
    if kind == 1:
        link, frame = frame_of(rng)
        size = rng.choice([len(frame)] * 9 + [len(frame) + 9])
        body = struct.pack(">IIII", link, 1514, 4, size) + frame
    elif kind == 1002:
        masks = [rng.choice([0, 24, 64, 300, 2**32 - 1]) for _ in range(2)]
        body = address(rng) + struct.pack(">II", *masks)
    elif kind == 1003:
        paths = [
            (rng.choice([2, 2, 1]), rng.randint(0, 3))
            for _ in range(rng.choice([0, 1, 1, 2, 4, 5]))
        ]
        body = address(rng) + struct.pack(">IIII", 1, rng.randint(0, 9), 3, len(paths))
        for of, count in paths:
            body += struct.pack(f">II{count}I", of, count, *range(64_500, 64_500 + count))
        body += struct.pack(">II", 0, 100)
    elif kind in (3, 4):
        octets = bytes([7] * (4 if kind == 3 else 16))
        body = struct.pack(">II", 99, 6) + octets * 2 + struct.pack(">IIII", 5, 6, 7, 8)
    else:
        body = bytes(20)
    if rng.randint(0, 15) == 0:
        body = body[: rng.randint(0, len(body))]
    padding = bytes(-len(body) % 4)
    return struct.pack(">II", kind, len(body)) + body + padding


def sample(rng: Random) -> bytes:
    kind = rng.choice([1, 1, 1, 3, 3, 2, 4, 5, 77])
    if kind not in (1, 3):
        body = bytes(rng.randint(0, 9))
    else:
        kinds = rng.choice(
            [
                rng.sample([1, 1001, 1002, 1003, 99], rng.randint(1, 5)),
                rng.choices([1, 1, 1001, 1002, 1003, 2, 3, 4, 99], k=rng.randint(0, 5)),
            ]
        )
        records = [record(rng, kind) for kind in kinds]
        count = rng.choice([len(records)] * 9 + [len(records) + 1, 2**31])
        rate = rng.choice([1, 512, 0, 2**25])
        faces = [3, 0x3FFFFFFF, 0x40000102, 0x80000002, 0xFFFFFFFF, 0]
        if kind == 1:
            body = struct.pack(">8I", 9, 5, rate, 0, 0, rng.choice(faces), rng.choice(faces), count)
        else:
            kinds = [0, 0, 0, 1, 2, 3]
            faced = [rng.choice(kinds), rng.choice(faces), rng.choice(kinds), rng.choice(faces)]
            body = struct.pack(">11I", 9, 0, 5, rate, 0, 0, *faced, count)
        body += b"".join(records)
        if rng.randint(0, 15) == 0:
            body = body[: rng.randint(0, len(body))]
    return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 4)


def datagram(*parts: bytes, sequence: int = 1, agent: bytes = b"\x0a\0\0\1", sub: int = 0) -> bytes:
    kind = {0: 0, 4: 1, 16: 2}[len(agent)]
    head = struct.pack(">II", 5, kind) + agent
    return head + struct.pack(">IIII", sub, sequence, 1_000, len(parts)) + b"".join(parts)


def stream(rng: Random, build: Any, length: int) -> list[Sent]:
    """Datagrams of few agents, some of them damaged, some of another protocol."""
    sent: list[Sent] = []
    for i in range(length):
        payload = datagram(
            *[sample(rng) for _ in range(rng.randint(0, 6))],
            sequence=rng.choice([i, i, i, i * 3, 5, 2**32 - 1]),
            agent=rng.choice([b"", b"\x0a\0\0\1", b"\x0a\0\0\2", bytes(16)]),
            sub=rng.randint(0, 1),
        )
        exporter = f"192.0.2.{rng.randint(1, 3)}"
        what = rng.randint(0, 19)
        if what == 0:
            payload = payload[: rng.randint(0, len(payload))]
        elif what == 1 and exporter == "192.0.2.3":
            payload = build.v5([{"bytes": i}], sequence=i)
        elif what in (2, 3):
            octets = bytearray(payload)
            for _ in range(rng.randint(1, 4)):
                octets[rng.randrange(len(octets))] = rng.choice([0, 1, 2, 3, 4, 0x40, 255])
            payload = bytes(octets)
        sent.append((payload, exporter, rng.randint(7, 8), NOW + i * 4_000_000))
    return sent


@pytest.mark.parametrize("size", [1, 7, 150, 2_000])
def test_generated_samples_give_the_same_in_batches(build: Any, size: int) -> None:
    sent = stream(Random(size), build, 2_000 if size > 10 else 300)
    one, many = result(sent, size, plain=True), result(sent, size)
    assert many[0] == one[0]
    assert many[1] == one[1]
    assert many[2].keys() == one[2].keys()
    for name, rows in one[2].items():
        different = [pair for pair in zip(many[2][name], rows, strict=True) if pair[0] != pair[1]]
        assert different[:1] == [], name


def plain_sample(build: Any, *more: bytes) -> bytes:
    frame = build.ethernet(build.udp(b"x" * 60), 7)
    header = (
        struct.pack(">IIIIII", 1, 16 + len(frame) + 2, 1, 1514, 4, len(frame)) + frame + b"\0\0"
    )
    parts = [*more, header]
    body = struct.pack(">8I", 9, 5, 512, 0, 0, 3, 4, len(parts)) + b"".join(parts)
    return struct.pack(">II", 1, len(body)) + body


def test_what_agents_send_is_not_left_to_plain_python(build: Any) -> None:
    switch = struct.pack(">IIIIII", 1001, 16, 7, 0, 7, 0)
    router = struct.pack(">III4sII", 1002, 16, 1, bytes(4), 24, 16)
    path = struct.pack(">III4sIIIIIII", 1003, 36, 1, bytes(4), 1, 2, 3, 1, 2, 1, 64_500)
    counters = struct.pack(">II", 2, 12) + bytes(12)
    one = plain_sample(build, switch, router, path + bytes(0))
    payload = datagram(counters, one, plain_sample(build), one)
    rows = 0

    def write(hour: datetime, name: str, table: pa.Table) -> None:
        nonlocal rows
        rows += table.num_rows if name == "flows" else 0

    run = UnitDecoder(Decoder(), write)
    run.datagram(payload, "192.0.2.1", 7, NOW)  # makes the session known
    run.datagram = None  # type: ignore[assignment,method-assign]
    run.many([payload] * 3, ["192.0.2.1"] * 3, [7] * 3, [NOW] * 3)
    run.finish()
    assert rows == 12


def test_pseudowires_within_pseudowires_end_somewhere(build: Any) -> None:
    frame = (bytes(12) + b"\x88\x47" + b"\0\0\x11\0" + bytes(4)) * 2_500
    header = struct.pack(">IIIIII", 1, 16 + len(frame), 1, 1514, 4, len(frame)) + frame
    body = struct.pack(">8I", 9, 5, 512, 0, 0, 3, 4, 1) + header
    payload = datagram(struct.pack(">II", 1, len(body)) + body)
    sent = [(payload, "192.0.2.1", 7, NOW)] * 2
    assert result(sent, 2) == result(sent, 2, plain=True)


def test_more_agents_than_are_remembered_give_the_same(build: Any) -> None:
    one = plain_sample(build)
    sent: list[Sent] = [
        (datagram(one, sequence=i, agent=bytes([10, 0, 0, i % 70])), "192.0.2.1", 7, NOW)
        for i in range(200)
    ]
    sent += [(datagram(one, sequence=i), "192.0.2.2", 7, NOW) for i in range(50)]
    assert result(sent, 90) == result(sent, 90, plain=True)


def test_more_exporters_than_are_remembered_give_the_same(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MAX_STRANGERS_OCTETS", 10 * state.SESSION_OCTETS)
    sent = [(datagram(plain_sample(build)), f"192.0.2.{i % 14}", 7, NOW) for i in range(60)]
    many, one = result(sent, 25), result(sent, 25, plain=True)
    assert many == one
    assert sum(one[0]["forgotten_sessions"].values()) == 50
