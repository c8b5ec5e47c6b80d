"""sFlow v5 samples → flow records, built from the sFlow document."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.sampling import NO_RATES
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.events import Malformed, Records, Rejected, SequenceGap, Unsupported
from flowpeer_ingest.wire.sflow5 import _text

NOW = 1_751_328_000_000_000


def sample(*records: bytes, expanded: bool = False, rate: int = 512, **ports: int) -> bytes:
    in_format, in_value = ports.get("in_format", 0), ports.get("in_value", 3)
    out_format, out_value = ports.get("out_format", 0), ports.get("out_value", 4)
    if expanded:
        body = struct.pack(
            ">11I", 1, 0, 5, rate, 0, 0, in_format, in_value, out_format, out_value, len(records)
        )
    else:
        body = struct.pack(
            ">8I", 1, 5, rate, 0, 0, in_format << 30 | in_value, out_format << 30 | out_value,
            len(records),
        )  # fmt: skip
    body += b"".join(records)
    return struct.pack(">II", 3 if expanded else 1, len(body)) + body


def record(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(">II", kind, len(body)) + body


def header(frame: bytes, protocol: int = 1) -> bytes:
    return record(1, struct.pack(">IIII", protocol, len(frame) + 4, 4, len(frame)) + frame)


def datagram(*samples: bytes, sequence: int = 1, agent: str = "10.0.0.1") -> bytes:
    address = ip_address(agent)
    return (
        struct.pack(">II", 5, 1 if address.version == 4 else 2) + address.packed
        + struct.pack(">IIII", 0, sequence, 1000, len(samples)) + b"".join(samples)
    )  # fmt: skip


def decode(payload: bytes, wire: Wire | None = None) -> tuple[list[dict[str, Any]], list[Any]]:
    events = (wire or Wire()).decode(payload, "192.0.2.1", 6343, NOW)
    columns = Decoder(active_timeout_s=lambda _: 60).columns
    for event in events:
        if isinstance(event, Records):
            columns.add(event, NO_RATES)
    return [row for _, t in columns.drain(last=True) for row in t.to_pylist()], list(events)


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("tags", [(), (7,), (7, 8)])
@pytest.mark.parametrize("source", ["192.0.2.10", "2001:db8::1"])
def test_raw_header(build: Any, expanded: bool, tags: tuple[int, ...], source: str) -> None:
    packet = build.udp(b"x" * 100, source)
    rows, _ = decode(datagram(sample(header(build.ethernet(packet, *tags)), expanded=expanded)))
    (row,) = rows
    assert (row["bytes"], row["packets"], row["sampling_interval"]) == (len(packet), 1, 512)
    assert (row["input_if"], row["output_if"], row["protocol"]) == (3, 4, 17)
    assert (row["src_port"], row["dst_port"]) == (40_000, 2055)
    mapped = (
        ip_address(source).packed
        if ":" in source
        else b"\0" * 10 + b"\xff\xff" + IPv4Address(source).packed
    )
    assert row["src_addr"] == mapped
    assert row["start_time"] == row["end_time"] == row["received_at"]
    assert (row["time_corrected"], row["format"]) == (False, "sflow5")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"out_format": 1, "out_value": 2}, (3, 0)),
        ({"out_format": 2, "out_value": 7}, (3, None)),
        ({"in_value": 0x3FFFFFFF, "out_value": 0x3FFFFFFF}, (0, 0)),
    ],
)
def test_interface_formats(build: Any, where: dict[str, Any], expected: tuple[int, int]) -> None:
    rows, _ = decode(datagram(sample(header(build.ethernet(build.udp(b""))), **where)))
    assert (rows[0]["input_if"], rows[0]["output_if"]) == expected


def test_interfaces_above_30_bits_in_expanded_samples(build: Any) -> None:
    packet = header(build.ethernet(build.udp(b"")))
    rows, _ = decode(datagram(sample(packet, expanded=True, out_value=0x4C000011)))
    assert rows[0]["output_if"] == 0x4C000011


def test_mpls_and_bare_ip_headers(build: Any) -> None:
    packet = build.udp(b"abc")
    labels = struct.pack(">II", 100 << 12 | 64, 200 << 12 | 1 << 8 | 64)
    mpls = b"\x02" * 12 + b"\x88\x47" + labels + packet
    rows, _ = decode(datagram(sample(header(mpls)), sample(header(packet, 11))))
    assert [r["src_port"] for r in rows] == [40_000, 40_000]


def test_sampled_ip_router_and_gateway_records() -> None:
    ip4 = struct.pack(
        ">II4s4sIIII", 1500, 6, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 443, 50_000, 16, 8
    )
    router = struct.pack(">I4sII", 1, bytes([10, 9, 9, 9]), 24, 16)
    gateway = struct.pack(">I4sIIIIII3I", 1, bytes([10, 8, 8, 8]), 64500, 64496, 64497, 1, 2, 3,
                          64498, 64499, 4_200_000_001)  # fmt: skip
    gateway += struct.pack(">II", 0, 100)
    rows, _ = decode(datagram(sample(record(3, ip4), record(1002, router), record(1003, gateway))))
    (row,) = rows
    assert (row["bytes"], row["protocol"], row["src_port"], row["tos"]) == (1500, 6, 443, 8)
    assert (row["src_as"], row["dst_as"]) == (64496, 4_200_000_001)
    assert (row["src_mask"], row["dst_mask"]) == (24, 16)
    assert row["next_hop"][12:] == bytes([10, 9, 9, 9])
    assert row["bgp_next_hop"][12:] == bytes([10, 8, 8, 8])


def test_what_is_no_flow_is_named_and_skipped(build: Any) -> None:
    counter = struct.pack(">II", 2, 12) + bytes(12)
    arp = header(b"\x02" * 12 + b"\x08\x06" + bytes(28))
    good = sample(record(1001, bytes(16)), header(build.ethernet(build.udp(b""))))
    rows, events = decode(datagram(counter, sample(arp), good))
    assert len(rows) == 1
    assert [e.name for e in events if isinstance(e, Unsupported)] == [
        "sFlow counter sample",
        "sFlow sample without an IP packet",
    ]


def test_a_damaged_sample_does_not_cost_the_next(build: Any) -> None:
    good = sample(header(build.ethernet(build.udp(b""))))
    bad = bytearray(good)
    bad[-len(good) + 8 + 32 + 4 : -len(good) + 8 + 32 + 8] = b"\xff\xff\xff\xff"
    rows, events = decode(datagram(bytes(bad), good))
    assert len(rows) == 1
    assert [e.reason for e in events if isinstance(e, Malformed)] == ["sFlow sample does not fit"]


def test_each_agent_has_its_own_sequence() -> None:
    wire = Wire()
    lost = []
    for agent, sequence in (("10.0.0.1", 5), ("10.0.0.2", 900), ("10.0.0.1", 6), ("10.0.0.2", 903)):
        _, events = decode(datagram(sequence=sequence, agent=agent), wire)
        lost.append(sum(e.lost for e in events if isinstance(e, SequenceGap)))
    assert lost == [0, 0, 0, 2]


def test_every_prefix_gives_events(build: Any) -> None:
    whole = datagram(sample(header(build.ethernet(build.udp(b"abc"))), expanded=True))
    for size in range(4, len(whole)):
        _, events = decode(whole[:size])
        assert isinstance(events[0], Rejected) == (size < 28)


@given(st.binary(min_size=16, max_size=16))
def test_agent_text_is_canonical(octets: bytes) -> None:
    for address in (octets, octets[:4] + bytes(8) + octets[12:], bytes(12) + octets[12:]):
        text = _text(address)
        assert ip_address(text).packed == address
