"""A decoder that was saved and restored goes on as if nothing had happened."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowpeer_ingest import checkpoint
from flowpeer_ingest.captures import Capture
from flowpeer_ingest.checkpoint import Checkpoint
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.decompress import open_source
from flowpeer_ingest.flow_columns import FLOWS_SCHEMA
from flowpeer_ingest.unit_decoder import UnitDecoder
from flowpeer_ingest.wire import state
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.events import Malformed, TemplateLearned

Datagram = tuple[bytes, str, int, int]


def datagrams(shared: Path) -> list[Datagram]:
    found: list[Datagram] = []
    for path in sorted((shared / "corpus").glob("*.pcap")):
        stream, _ = open_source(str(path))
        with stream:
            for d in Capture(stream, str(path)).datagrams():
                found.append((d.payload, d.exporter, d.port, d.received_us))
    return found


def decode(decoder: Decoder, part: list[Datagram]) -> list[pa.Table]:
    tables: list[pa.Table] = []
    run = UnitDecoder(decoder, lambda hour, name, table: tables.append(table))
    run.many(*zip(*part, strict=True))
    run.finish()
    return [t.cast(FLOWS_SCHEMA) if "start_time" in t.column_names else t for t in tables]


def test_decoding_goes_on_from_a_checkpoint_with_the_same_result(
    shared: Path, tmp_path: Path
) -> None:
    every = datagrams(shared)
    straight, saved = Decoder(), Decoder()
    cuts = [0, 7, 150, 500, 900, 1_500, 2_200, len(every)]
    for serial, (start, stop) in enumerate(itertools.pairwise(cuts), 1):
        part = every[start:stop]
        assert decode(saved, part) == decode(straight, part)
        Checkpoint.of(saved, serial, f"segment-{serial:012d}-x-00").save(tmp_path)
        saved = Decoder()
        found, bad = checkpoint.latest(tmp_path, saved)
        assert bad == []
        assert (found.serial, found.unit) == (serial, f"segment-{serial:012d}-x-00")
        assert Checkpoint.of(saved, serial, found.unit) == found
        assert saved.wire.state.pending() == straight.wire.state.pending()
    assert sum(len(e.sessions) for e in straight.wire.state.exporters.values()) > 40


def test_records_that_wait_for_their_template_wait_in_the_checkpoint(
    build: Any, tmp_path: Path
) -> None:
    early, late = Decoder(), Decoder()
    data = build.v9(build.set_(256, build.record(build.V4, {1: 77, 2: 1})), sequence=1)
    assert [t.num_rows for t in decode(early, [(data, "192.0.2.1", 9, 10**15)])] == [1]
    assert sum(early.wire.state.pending().values()) == 1
    Checkpoint.of(early, 1, "segment-000000000001-x-00").save(tmp_path)
    checkpoint.latest(tmp_path, late)
    announced = build.v9(build.template(256, build.V4), sequence=2)
    flows = decode(late, [(announced, "192.0.2.1", 9, 10**15 + 5)])[0]
    assert flows["bytes"].to_pylist() == [77]
    assert late.wire.state.pending() == {}


EMPTY = Checkpoint.of(Decoder(), 1, "").document


def _whole(document: bytes) -> bytes:
    """A checkpoint file with this document, undamaged."""
    packed = zlib.compress(document)
    return b"flowpeer state 1\n" + zlib.crc32(packed).to_bytes(4, "big") + packed


@pytest.mark.parametrize(
    "content",
    [b"", b"flowpeer state 1\n", b"flowpeer state 1\n\0\0\0\0garbage", b"\x80\x05garbage" * 9,
     _whole(EMPTY.replace(b'"last_seen_us":{}', b'"last_seen_us":{"x":1e400}')),
     _whole(b"[" * 9999)],
)  # fmt: skip
@pytest.mark.usefixtures("garbage_waits")
def test_an_unreadable_checkpoint_is_named_and_the_one_before_it_taken(
    tmp_path: Path, content: bytes
) -> None:
    good = Checkpoint.of(Decoder(), 1, "segment-000000000001-x-00")
    good.save(tmp_path)
    broken = tmp_path / "state-000000000002.z"
    broken.write_bytes(content)
    found, bad = checkpoint.latest(tmp_path, Decoder())
    assert bad == [broken]
    assert found == good
    (tmp_path / "state-000000000001.z").unlink()
    found, bad = checkpoint.latest(tmp_path, Decoder())
    assert (found.unit, found.serial, bad) == ("", 2, [broken])


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for n in range(1, 6):
        Checkpoint.of(Decoder(), n, f"segment-{n:012d}-x-00").save(tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["state-000000000004.z", "state-000000000005.z"]


def test_different_templates_are_bounded_over_all_exporters(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MAX_LAYOUT_FIELDS", 100)
    wire = Wire()
    learned = refused = 0
    for n in range(50):
        fields = [(100 + n, 4), *build.V4]
        data = build.v9(build.template(256, fields))
        events = wire.decode(data, f"192.0.2.{n}", 9, 1)
        learned += sum(isinstance(e, TemplateLearned) for e in events)
        refused += sum(
            isinstance(e, Malformed) and e.reason == "too many different templates" for e in events
        )
    assert learned + refused == 50
    assert 10 <= learned <= 11
    # A template that others have too is no burden, but the bound holds for whoever is new.
    wire.state.forget("192.0.2.0")
    assert "192.0.2.0" not in wire.state.exporters
