"""Any octets give events or the documented error, in bounded time."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer_ingest.captures import Capture
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.decompress import open_unpacked
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.sampling import NO_RATES
from flowpeer_ingest.summary import CaptureSummary
from flowpeer_ingest.unit_decoder import UnitDecoder
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.events import Message, Records, Rejected, Unsupported

NOW = 1_751_328_000_000_000


def decode_all(payloads: list[bytes]) -> None:
    """Through the wire and the columns, with one memory."""
    wire, columns = Wire(), Decoder(active_timeout_s=lambda _: 60).columns
    for payload in payloads:
        events = wire.decode(payload, "192.0.2.1", 1, NOW)
        assert isinstance(events[0], Message | Rejected | Unsupported)
        for event in events:
            if isinstance(event, Records):
                assert len(event.flat) == event.count * event.template.layout.flat_size
                columns.add(event, NO_RATES)
    for _, table in columns.drain(last=True):
        table.validate(full=True)


HEADS = st.sampled_from(
    [
        b"\0\x05" + bytes(22),
        b"\0\x09" + bytes(18),
        b"\0\x0a\0\xff" + bytes(12),
        b"\0\0\0\x05\0\0\0\x01\x0a\0\0\x01" + bytes(12) + b"\0\0\0\x03",
        b"",
    ]
)
WORDS = st.lists(
    st.one_of(
        st.integers(0, 65535),
        st.sampled_from([0, 1, 2, 3, 4, 8, 12, 16, 256, 257, 300, 1003, 65535, 0x8001, 29305]),
    ),
    max_size=60,
).map(lambda words: struct.pack(f">{len(words)}H", *words))


@settings(max_examples=examples(300))
@given(st.lists(st.builds(bytes.__add__, HEADS, st.one_of(WORDS, st.binary())), max_size=4))
def test_random_octets_give_events(payloads: list[bytes]) -> None:
    decode_all(payloads)


@settings(max_examples=examples(200))
@given(st.binary(max_size=600), st.sampled_from([b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a", b""]))
def test_random_files_give_datagrams_or_the_one_error(data: bytes, magic: bytes) -> None:
    import io

    stream = io.BytesIO(magic + data)
    with contextlib.suppress(IngestError):
        for d in Capture(stream, "x").datagrams():
            assert isinstance(d.payload, bytes)


def payloads_of(path: Path) -> list[bytes]:
    with open_unpacked(path) as stream:
        return [d.payload for d in Capture(stream, str(path)).datagrams()]


def small_captures(shared: Path) -> list[Path]:
    corpus = shared / "corpus"
    paths = [*corpus.glob("*.pcap"), *(corpus / "sflow").glob("*.pcap")]
    return sorted(p for p in paths if p.stat().st_size < 2_000)


def test_every_prefix_of_real_messages_gives_events(shared: Path) -> None:
    for path in small_captures(shared):
        payloads = payloads_of(path)
        for i, payload in enumerate(payloads):
            wire = Wire()
            for before in payloads[:i]:
                wire.decode(before, "192.0.2.1", 1, NOW)
            for size in range(len(payload)):
                wire.decode(payload[:size], "192.0.2.1", 1, NOW)


def test_damaged_octets_in_real_messages_give_events(shared: Path) -> None:
    for path in small_captures(shared)[::3]:
        payloads = payloads_of(path)
        for at in range(0, len(payloads[0]), 5):
            damaged = bytearray(payloads[0])
            damaged[at] ^= 0xFF
            decode_all([bytes(damaged), *payloads[1:]])


def test_every_prefix_of_a_capture_is_read_or_refused(build: Any, tmp_path: Path) -> None:
    octets = build.v9(build.template(300, build.V4), build.set_(300, build.record(build.V4, {})))
    packets = [(build.START + i, build.ethernet(build.udp(octets))) for i in range(2)]
    path = tmp_path / "cut"
    for whole in (build.pcap(packets), build.pcapng(packets)):
        rows = []
        for size in range(0, len(whole) + 1, 3):
            path.write_bytes(whole[:size])
            try:
                summary = ingest_capture(path, decoder=Decoder(), write=lambda *_: None)
            except IngestError:
                assert size < 28
                continue
            rows.append(summary.rows)
        assert rows == sorted(rows)
        assert rows[-1] >= 1


@pytest.mark.parametrize(
    "fields", [[(8, 1)], [(82, 65535)], [(82, 0)] * 511 + [(8, 1)], [(82, 65535)] * 500]
)
@pytest.mark.parametrize("options", [False, True])
def test_no_datagram_is_dear(build: Any, fields: list[tuple[int, int]], options: bool) -> None:
    wire, columns = Wire(), Decoder(active_timeout_s=lambda _: 60).columns
    if options:
        template = build.options_template(300, fields[:1], [*fields[1:], (34, 0)])
    else:
        template = build.template(300, fields)
    wire.decode(build.v9(template), "192.0.2.1", 1, NOW)
    payload = build.v9(build.set_(300, bytes(65_000)))
    best = 1e9
    for _ in range(3):
        before = time.process_time()
        for event in wire.decode(payload, "192.0.2.1", 1, NOW):
            if isinstance(event, Records):
                columns.add(event, NO_RATES)
        for _, table in columns.drain(last=True):
            assert table.nbytes < 20 << 20
        best = min(best, time.process_time() - before)
    assert best < 0.25, "the bound is 50 ms on an idle machine; five times that under load"


def _hostile(build: Any) -> dict[str, list[bytes]]:
    """Datagrams that make the most work; of each list the last one is measured."""
    room = 65_400

    def set_(octets: bytes) -> bytes:
        return build.set_(300, octets)  # type: ignore[no-any-return]

    def data(fields: list[tuple[int, int]], octets: bytes) -> list[bytes]:
        template = build.template(300, fields, version=10)
        return [build.ipfix(template), build.ipfix(set_(octets))]

    held = [build.ipfix(set_(bytes(room)), sequence=0) for _ in range(60)]
    options = build.options_template(300, [(10, 1)], [(34, 1)] * 250, 10)
    packet = bytes(12) + b"\x08\0\x45" + bytes(19)
    head = struct.pack(">IIIIIIII", 1, 5, 1, 0, 0, 0, 0, 1)
    copied = struct.pack(">IIIIII", 1, 52, 1, 64, 0, 34) + packet + bytes(2)
    small = struct.pack(">II", 1, len(head + copied)) + head + copied

    def sflow(count: int, samples: bytes) -> bytes:
        return struct.pack(">IIIIIIII", 5, 1, 1, 0, 1, 1, count, 0)[:28] + samples

    many = struct.pack(">7I", 1, 5, 1, 0, 0, 0, 0)
    records = struct.pack(">II", 99, 0) * 8_000
    path = struct.pack(">II", 2, 0) * 8_000
    gateway = struct.pack(">II4sIIII", 1003, 24 + len(path), b"\0\0\0\0", 1, 2, 3, 8_000) + path
    frame = bytes([34]) + bytes(12) + b"\x08\0\x45" + bytes(19)
    return {
        "octets": data([(4, 1)], bytes(room)),
        "variable octets": data([(4, 65535)], bytes(room)),
        "empty fields": data([(82, 65535)] * 500, bytes(room)),
        "known empty fields": data([(n, 65535) for n in (1, 2, 4, 5, 6, 7, 10, 14)], bytes(room)),
        "templates": [
            build.ipfix(
                build.set_(
                    2, b"".join(struct.pack(">HHHH", 256 + i, 1, 82, 4) for i in range(8_000))
                )
            )
        ],
        "options": [build.ipfix(options), build.ipfix(set_(b"\1" * room))],
        "frames": data([(315, 65535)], frame * (room // len(frame))),
        "empty sets": [build.ipfix(set_(b"") * (room // 4))],
        "held sets": [*held, build.ipfix(build.template(300, [(4, 65535)], version=10))],
        "samples": [sflow(room // len(small), small * (room // len(small)))],
        "counter samples": [sflow(2**32 - 1, struct.pack(">II", 2, 0) * (room // 8))],
        "sample of many records": [
            sflow(
                1,
                struct.pack(">II", 1, 32 + len(records))
                + many
                + struct.pack(">I", 2**32 - 1)
                + records,
            )
        ],
        "sample of a long path": [
            sflow(
                1, struct.pack(">II", 1, 32 + len(gateway)) + many + struct.pack(">I", 1) + gateway
            )
        ],
    }


HOSTILE = (
    "octets", "variable octets", "empty fields", "known empty fields", "templates", "options",
    "frames", "empty sets", "held sets", "samples", "counter samples", "sample of many records",
    "sample of a long path",
)  # fmt: skip
SLACK = 3
"""The bound is 50 ms of CPU; a machine of others' work may be so much slower."""


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_datagram_takes_long_or_much(build: Any, kind: str) -> None:
    *before, last = _hostile(build)[kind]
    seconds = []
    for traced in (False, False, True):
        run = UnitDecoder(Decoder(), lambda *_: None)
        for payload in before:
            run.many([payload], ["192.0.2.1"], [7], [build.START * 1_000_000])
        run.drain(last=True)
        if traced:
            tracemalloc.start()
        started = time.process_time()
        run.many([last], ["192.0.2.1"], [7], [build.START * 1_000_000])
        run.drain(last=True)
        seconds.append(time.process_time() - started)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert min(seconds[:2]) < 0.05 * SLACK
    assert peak < 16 << 20


def test_held_sets_beyond_the_bound_are_counted(build: Any) -> None:
    run = UnitDecoder(Decoder(), lambda *_: None)
    *before, last = _hostile(build)["held sets"]
    for payload in [*before, last]:
        run.datagram(payload, "192.0.2.1", 7, build.START * 1_000_000)
    run.finish()
    summary = CaptureSummary("")
    run.summarise(summary)
    assert summary.pending == {"192.0.2.1 0 300": 59}
    assert summary.records == 65_400
