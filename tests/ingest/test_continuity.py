"""What a decoder keeps from capture to capture is bounded, and what it gives up is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowpeer_ingest import continuity
from flowpeer_ingest.checkpoint import Checkpoint
from flowpeer_ingest.continuity import Continuity
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.ingest import ingest_capture

START_US = 1_751_328_000_000_000
DAY_US = 24 * 3_600_000_000


def one(decoder: Decoder, exporter: str, received_us: int, *payloads: bytes) -> None:
    """A capture of datagrams of one exporter, all received at one time."""
    capture = Continuity(decoder)
    capture.meet([exporter] * len(payloads), [received_us] * len(payloads))
    for payload in payloads:
        decoder.wire.decode(payload, exporter, 9, received_us)
    capture.end()


def test_the_exporters_not_met_for_longest_are_forgotten(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuity, "MAX_KEPT", 3)
    decoder = Decoder()
    announced = build.v9(build.template(256, build.V4))
    waits = build.v9(build.set_(300, bytes(40)))
    for n in (1, 2, 3, 1, 4):
        one(decoder, f"192.0.2.{n}", START_US, announced, waits)
    assert [*decoder.last_seen_us] == ["192.0.2.3", "192.0.2.1", "192.0.2.4"]
    assert {*decoder.wire.state.exporters} == {*decoder.last_seen_us}
    assert decoder.lost == {("192.0.2.2", 9, 0, 300): 1}
    waiting = decoder.wire.state.pending()
    assert waiting == {(f"192.0.2.{n}", 9, 0, 300): 2 if n == 1 else 1 for n in (3, 1, 4)}


def test_data_that_waited_for_a_day_is_given_up(build: Any) -> None:
    decoder = Decoder()
    one(decoder, "192.0.2.1", START_US, build.v9(build.set_(300, bytes(40))))
    one(decoder, "192.0.2.2", START_US + DAY_US - 1, build.v9())
    assert (sum(decoder.wire.state.pending().values()), decoder.lost) == (1, {})
    one(decoder, "192.0.2.2", START_US + DAY_US + 1, build.v9())
    assert decoder.wire.state.pending() == {}
    assert decoder.lost == {("192.0.2.1", 9, 0, 300): 1}
    assert decoder.wire.state.exporters["192.0.2.1"].pending_octets == 0


def test_sampling_rates_are_of_their_time_too(build: Any, tmp_path: Path) -> None:
    decoder = Decoder()
    said = build.v9(
        build.options_template(400, [(1, 4)], [(34, 4)]),
        build.set_(400, (0).to_bytes(4, "big") + (77).to_bytes(4, "big")),
        build.template(300, build.V4),
    )
    data = build.v9(build.template(300, build.V4), build.set_(300, build.record(build.V4, {1: 9})))
    rates: list[int | None] = []

    def write(_hour: object, name: str, table: Any) -> None:
        if name == "flows":
            rates.extend(table["sampling_interval"].to_pylist())

    later = build.capture(tmp_path / "later.pcap", said, data, step=3_600)
    older = build.capture(tmp_path / "older.pcap", data)
    for path in (later, older, build.capture(tmp_path / "next.pcap", said, data, step=7_200)):
        ingest_capture(path, decoder=decoder, write=write)
    assert rates == [77, None, 77]


def test_a_memory_that_was_saved_knows_the_same(build: Any) -> None:
    decoder, other = Decoder(), Decoder()
    for n in (5, 3, 4):
        one(decoder, f"192.0.2.{n}", START_US + n, build.v9(build.template(256, build.V4)))
    saved = Checkpoint.of(decoder, 1, "capture-x")
    saved.apply(other)
    assert [*other.last_seen_us.items()] == [(f"192.0.2.{n}", START_US + n) for n in (5, 3, 4)]
    assert Checkpoint.of(other, 1, "capture-x") == saved
