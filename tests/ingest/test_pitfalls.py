"""What collectors got wrong about real exporters, and what must hold here instead.

Beside what has a test where it belongs (`test_wire`, `test_columns`, `test_time_and_rate`,
`test_sflow`): each of these was a bug in some collector's issue tracker.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.summary import CaptureSummary

Rows = list[dict[str, Any]]
Read = Callable[..., tuple[Rows, CaptureSummary]]
KEY = [(8, 4), (12, 4)]
BOTH = {8: "192.0.2.1", 12: "198.51.100.1"}


@pytest.fixture
def read(build: Any, tmp_path: Path) -> Read:
    """Flow records and counters of datagrams, by way of a capture."""

    def through(*payloads: bytes) -> tuple[Rows, CaptureSummary]:
        rows: Rows = []

        def write(_hour: object, name: str, table: Any) -> None:
            rows.extend(table.to_pylist() if name == "flows" else ())

        path = build.capture(tmp_path / "x.pcap", *payloads)
        return rows, ingest_capture(path, decoder=Decoder(), write=write)

    return through


def one(build: Any, read: Read, version: int, fields: Any, values: dict[int, Any]) -> Any:
    """The only flow of one record, of which nothing is malformed."""
    payload = build.message(
        version,
        build.template(300, [*KEY, *fields], version=version),
        build.set_(300, build.record([*KEY, *fields], BOTH | values)),
    )
    (row,), summary = read(payload)
    assert summary.malformed == {}
    return row


@pytest.mark.parametrize("count", [0, 1, 3, 9, 65_535])
def test_the_count_in_a_v9_header_is_not_believed(build: Any, read: Read, count: int) -> None:
    octets = build.record(build.V4, {1: 9})
    payload = bytearray(build.v9(build.template(300, build.V4), *[build.set_(300, octets * 2)] * 3))
    payload[2:4] = struct.pack(">H", count)
    rows, summary = read(bytes(payload))
    assert (len(rows), summary.malformed) == (6, {})


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 4])
def test_padding_is_no_record_of_empty_variable_fields(
    build: Any, read: Read, padding: int
) -> None:
    fields = [(82, 65535), (8, 4), (96, 65535)]
    octets = b"".join(build.record(fields, {82: b"ae0", 96: b"", 8: f"10.0.0.{i}"}) for i in (1, 2))
    rows, summary = read(
        build.ipfix(
            build.template(300, fields, version=10), build.set_(300, octets + bytes(padding))
        )
    )
    assert [row["src_addr"][-1] for row in rows] == [1, 2]
    assert summary.malformed == {}


def test_variable_length_in_v9(build: Any, read: Read) -> None:
    row = one(build, read, 9, [(82, 65535), (1, 4)], {82: b"Gi0/1", 1: 77})
    assert row["bytes"] == 77


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 12])
def test_numbers_of_any_size(build: Any, read: Read, size: int) -> None:
    fields = [(1, size), (10, size), (16, size), (2, size)]
    row = one(build, read, 9, fields, {1: 200, 10: 65, 16: 99, 2: 3})
    assert (row["bytes"], row["input_if"], row["src_as"], row["packets"]) == (200, 65, 99, 3)


def test_switch_times_in_eight_octets(build: Any, read: Read) -> None:
    row = one(build, read, 9, [(22, 8), (21, 8)], {22: 7_000, 21: 9_000})
    assert (row["end_time"] - row["start_time"]).total_seconds() == 2
    assert row["end_time"].timestamp() == build.START - 1
    assert row["time_corrected"] is False


def test_milliseconds_of_ipfix_in_v9(build: Any, read: Read) -> None:
    now = build.START * 1_000
    row = one(build, read, 9, [(152, 8), (153, 8)], {152: now - 9_000, 153: now - 250})
    assert row["start_time"].timestamp() == build.START - 9
    assert row["end_time"].timestamp() == build.START - 0.25


def test_a_rate_holds_for_the_data_before_it_in_the_same_datagram(build: Any, read: Read) -> None:
    rows, _ = read(
        build.ipfix(
            build.template(300, build.V4, version=10),
            build.set_(300, build.record(build.V4, {1: 9})),
            build.options_template(400, [(149, 4)], [(305, 4), (306, 4)], 10),
            build.set_(400, struct.pack(">III", 0, 1, 999)),
        )
    )
    assert [row["sampling_interval"] for row in rows] == [1_000]


def test_options_data_with_counters_and_interfaces_is_no_flow(build: Any, read: Read) -> None:
    fields = [(1, 4), (2, 4), (10, 4), (14, 4), (82, 8)]
    rows, summary = read(
        build.v9(
            build.options_template(400, [(1, 4)], fields),
            build.set_(400, bytes(4) + build.record(fields, {1: 9, 2: 1, 10: 3, 82: b"x" * 8})),
        )
    )
    assert (rows, summary.options_records) == ([], 1)


def test_a_flow_metered_twice_keeps_direction_and_interfaces(build: Any, read: Read) -> None:
    fields = [*KEY, (10, 4), (14, 4), (61, 1), (1, 4)]
    octets = b"".join(
        build.record(fields, BOTH | {10: 3, 14: 4, 61: way, 1: 100}) for way in (0, 1)
    )
    rows, _ = read(build.v9(build.template(300, fields), build.set_(300, octets)))
    assert [(r["direction"], r["input_if"], r["output_if"]) for r in rows] == [(0, 3, 4), (1, 3, 4)]


def test_physical_interfaces_stand_in_for_interfaces(build: Any, read: Read) -> None:
    row = one(build, read, 10, [(252, 4), (253, 4)], {252: 71, 253: 72})
    assert (row["input_if"], row["output_if"]) == (71, 72)
    fields = [(252, 4), (10, 4), (14, 4), (253, 4)]
    row = one(build, read, 10, fields, {252: 71, 10: 5, 14: 6, 253: 72})
    assert (row["input_if"], row["output_if"]) == (5, 6)


def test_post_counters_are_not_the_reverse_direction(build: Any, read: Read) -> None:
    row = one(build, read, 10, [(1, 4), (2, 4), (23, 4), (24, 4)], {1: 90, 2: 1, 23: 80, 24: 1})
    assert (row["bytes"], row["packets"]) == (90, 1)


def test_a_copied_frame_says_the_flow(build: Any, read: Read) -> None:
    packet = build.udp(b"x" * 40)
    fields = [(10, 4), (315, 65535)]
    payload = build.ipfix(
        build.template(300, fields, version=10),
        build.set_(300, build.record(fields, {10: 8, 315: build.ethernet(packet, 5)})),
    )
    (row,), _ = read(payload)
    assert (row["bytes"], row["packets"], row["input_if"]) == (len(packet), 1, 8)
    assert (row["src_port"], row["dst_port"], row["protocol"]) == (40_000, 2_055, 17)


def test_types_of_vendors_and_lengths_of_their_own_are_skipped(build: Any, read: Read) -> None:
    fields = [(57_590, 2), (56_701, 32), (43, 2), (40_005, 1), (33_000, 12), (70, 3), (1, 4)]
    row = one(build, read, 9, fields, {56_701: b"x" * 32, 33_000: b"y" * 12, 70: b"abc", 1: 55})
    assert row["bytes"] == 55


def test_enterprise_elements_are_not_those_of_the_same_number(build: Any, read: Read) -> None:
    fields = [(1, 4), (1, 4, 35_632), (7, 2, 9), (2, 4)]
    payload = build.ipfix(
        build.template(300, [*KEY, *fields], version=10),
        build.set_(300, build.record(KEY, BOTH) + struct.pack(">IIHI", 100, 4_000_000, 80, 1)),
    )
    (row,), _ = read(payload)
    assert (row["bytes"], row["packets"], row["src_port"]) == (100, 1, None)


def test_a_bad_options_template_does_not_cost_what_stands_beside_it(build: Any, read: Read) -> None:
    bad = build.set_(3, struct.pack(">HHHHH", 400, 1, 7, 34, 4))
    rows, summary = read(
        build.ipfix(
            bad,
            build.template(300, build.V4, version=10),
            build.set_(300, build.record(build.V4, {1: 9})),
        )
    )
    assert [row["bytes"] for row in rows] == [9]
    assert summary.malformed == {"options template with a wrong scope count": 1}


def test_both_slots_of_a_dual_stack_record(build: Any, read: Read) -> None:
    fields = [(27, 16), (28, 16), (29, 1), (9, 1)]
    row = one(build, read, 9, fields, {9: 24, 29: 0, 27: bytes(16), 28: bytes(16)})
    assert row["src_addr"][10:] == b"\xff\xff" + bytes([192, 0, 2, 1])
    assert row["src_mask"] == 24
    payload = build.v9(
        build.template(300, [*KEY, *fields]),
        build.set_(
            300,
            build.record([*KEY, *fields], {8: 0, 12: 0, 27: "2001:db8::1", 28: "2001:db8::2",
                                           29: 48, 9: 0}),
        ),
    )  # fmt: skip
    (row,), _ = read(payload)
    assert (row["src_addr"][:4], row["src_mask"]) == (bytes.fromhex("20010db8"), 48)


def sflow(*samples: bytes, behind: bytes = b"") -> bytes:
    head = struct.pack(">II4sIIII", 5, 1, bytes([10, 0, 0, 1]), 0, 1, 1_000, len(samples))
    return head + b"".join(samples) + behind


def sample(frame: bytes, protocol: int = 1) -> bytes:
    record = struct.pack(">IIII", protocol, 1_514, 4, len(frame)) + frame + bytes(-len(frame) % 4)
    body = struct.pack(">8I", 1, 5, 512, 0, 0, 3, 4, 1) + struct.pack(">II", 1, len(record))
    return struct.pack(">II", 1, len(body + record)) + body + record


def test_ipv6_extension_headers_in_a_sample(build: Any, read: Read) -> None:
    packet = bytearray(build.udp(b"x" * 40, "2001:db8::1"))
    hop_by_hop = bytes([17, 0]) + bytes(6)
    packet[6] = 0
    packet[4:6] = struct.pack(">H", len(packet) - 40 + 8)
    long = bytes(packet[:40]) + hop_by_hop + bytes(packet[40:])
    (row,), _ = read(sflow(sample(build.ethernet(long))))
    assert (row["protocol"], row["src_port"], row["dst_port"]) == (17, 40_000, 2_055)
    assert row["bytes"] == len(long)


@pytest.mark.parametrize(("kept", "port"), [(14 + 20 + 4, 40_000), (14 + 20 + 3, None)])
def test_a_header_cut_short_says_what_is_there(
    build: Any, read: Read, kept: int, port: int | None
) -> None:
    packet = build.udp(b"x" * 900)
    (row,), _ = read(sflow(sample(build.ethernet(packet)[:kept])))
    assert (row["bytes"], row["protocol"], row["src_port"]) == (len(packet), 17, port)


def test_discarded_packets_and_octets_behind_the_samples_are_no_error(
    build: Any, read: Read
) -> None:
    dropped = struct.pack(">II", 5, 40) + bytes(40)
    good = sample(build.ethernet(build.udp(b"x")))
    rows, summary = read(sflow(dropped, good, behind=bytes(12)))
    assert (len(rows), summary.malformed) == (1, {})
    assert summary.unsupported == {"sFlow discarded packet sample": 1}
