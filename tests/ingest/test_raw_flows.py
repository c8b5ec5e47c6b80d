"""Datagrams as Akvorado's inlet writes them to Kafka give what a capture of them gives."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_flow_messages import framed, message

from flowpeer_ingest.captures import Capture, Datagram
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.raw_flows import RawFlow, parse


def datagrams(octets: bytes) -> tuple[list[Datagram], Capture]:
    capture = Capture(io.BytesIO(octets), "stream")
    return list(capture.datagrams()), capture


@pytest.fixture(scope="module")
def captured(shared: Path) -> list[Datagram]:
    path = max((shared / "corpus").rglob("*.pcap"), key=lambda p: p.stat().st_size)
    found, _ = datagrams(path.read_bytes())
    assert len(found) > 100
    return found


def test_datagrams_are_those_of_the_capture(captured: list[Datagram]) -> None:
    stream = b"".join(
        framed(message(d.received_us // 1_000_000, d.payload, d.exporter)) for d in captured
    )
    found, capture = datagrams(stream)
    wanted = [
        Datagram(d.received_us // 1_000_000 * 1_000_000, d.exporter, 0, d.payload) for d in captured
    ]
    assert found == wanted
    assert (capture.packets, capture.warnings, dict(capture.skipped)) == (len(captured), [], {})


def test_messages_that_hold_no_datagram_are_counted(captured: list[Datagram]) -> None:
    one = captured[0]
    good = framed(message(1_780_000_000, one.payload, "2001:db8::1"))
    empty = b"\xff\xff\xff\xff"
    found, capture = datagrams(good + empty + framed(b"no message") + framed(b"\x08\x01") + good)
    assert [d.exporter for d in found] == ["2001:db8::1"] * 2
    assert capture.skipped == {"message without a datagram": 3}
    assert capture.warnings == []
    for cut in (good[:-1], good[:2]):
        found, capture = datagrams(good + cut)
        assert len(found) == 1
        (warning,) = capture.warnings
        assert "cut short at offset" in warning
    with pytest.raises(IngestError, match="not a packet capture"):
        datagrams(framed(b"no message") + good)


def test_fields_in_any_order_and_those_that_are_not_known() -> None:
    source = IPv6Address("::ffff:192.0.2.9").packed
    more = b"\x20\x01" + b"\x28\x01" + b"\x7d" + bytes(4) + b"\x79" + bytes(8) + b"\x40\x80\x01"
    backwards = b"\x1a\x10" + source + b"\x12\x03abc" + more + b"\x08\x80\xca\xe2\xd0\x06"
    flow = parse(backwards)
    assert flow is not None
    assert flow == RawFlow(1_780_000_000, b"abc", source)
    assert parse(backwards + b"\x0b") is None  # a group
    assert parse(b"\x1a\x04" + bytes(4) + b"\x12\x03abc\x08\x01") is None


@given(st.binary(max_size=200))
def test_any_octets_give_datagrams_or_the_one_error(octets: bytes) -> None:
    good = framed(message(1_780_000_000, b"x" * 30, "192.0.2.1"))
    datagrams(good + octets)
    parse(octets)
    with suppress(IngestError):
        datagrams(struct.pack(">I", len(octets)) + octets)
