"""The spool gives back what was put into it, or says how far it goes; never anything else."""

from __future__ import annotations

import os
import random
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flowpeer_ingest import spool
from flowpeer_ingest.datagrams import ENTRY
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.publisher import Publisher
from flowpeer_ingest.segments import SegmentSummary
from flowpeer_ingest.service import Log
from flowpeer_ingest.spool import PAGE, Reading, Segment, SegmentName
from flowpeer_ingest.stats import Stats

RUN = "0badcafe"


def put(segment: Segment, payloads: list[bytes], at_us: int = 1) -> None:
    """A block without slots, as the receiver packs them."""
    entries = np.zeros(len(payloads), ENTRY)
    entries["length"] = [len(p) for p in payloads]
    entries["offset"] = np.cumsum(entries["length"]) - entries["length"]
    entries["received_us"] = at_us
    entries["source_port"] = 7
    segment.add(entries, b"".join(payloads))


def make(folder: Path, blocks: list[list[bytes]], counter: int = 1) -> Segment:
    segment = Segment(folder, SegmentName(counter, 0, RUN), 1 << 20)
    for i, payloads in enumerate(blocks):
        put(segment, payloads, i)
    return segment


def stored(path: Path, reading: Reading | None = None) -> list[bytes]:
    return [p for block in spool.read(path, reading) for p in block.datagrams()]


BLOCKS = [[b"one", b"", b"three" * 300], [b"four"], [bytes([n]) * n for n in range(1, 60)]]
ALL = [p for block in BLOCKS for p in block]


def test_a_sealed_segment_holds_every_datagram_in_order(tmp_path: Path) -> None:
    segment = make(tmp_path, BLOCKS)
    assert stored(segment.path) == ALL, "also before it is sealed"
    path = segment.seal()
    assert path is not None
    reading = Reading()
    assert stored(path, reading) == ALL
    assert (reading.datagrams, reading.torn) == (len(ALL), 0)
    assert path.stat().st_size == reading.end < 1 << 20
    firsts = [block.first for block in spool.read(path)]
    assert firsts == [0, 3, 4]
    assert spool.segments(tmp_path, "sealed") == [SegmentName(1, 0, RUN)]


def test_an_empty_segment_leaves_no_file(tmp_path: Path) -> None:
    segment = Segment(tmp_path, SegmentName(1, 0, RUN), 1 << 20)
    assert segment.seal() is None
    assert list(tmp_path.iterdir()) == []


def test_a_cut_at_any_octet_keeps_the_blocks_before_it(tmp_path: Path) -> None:
    segment = make(tmp_path, BLOCKS)
    whole = segment.path.read_bytes()[: segment.position]
    segment.close()
    segment.path.unlink()
    ends = []
    at = PAGE
    for payloads in BLOCKS:
        body = -(-sum(map(len, payloads)) // 8) * 8
        at += spool.BLOCK_OCTETS + body + len(payloads) * ENTRY.itemsize
        ends.append(at)
    assert at == len(whole)
    path = SegmentName(1, 0, RUN).path(tmp_path, "open")
    for cut in random.Random(1).sample(range(PAGE, len(whole)), 400):
        # What the kernel had not written yet reads as zeros in a preallocated file.
        path.write_bytes(whole[:cut] + bytes(1 << 12))
        whole_blocks = [b for b, e in zip(BLOCKS, ends, strict=True) if not any(whole[cut:e])]
        kept = [p for payloads in whole_blocks for p in payloads]
        found = spool.recover(tmp_path)
        sealed = SegmentName(1, 0, RUN).path(tmp_path, "sealed")
        if not kept:
            assert not path.exists()
            assert not sealed.exists()
            continue
        assert found.datagrams == len(kept)
        assert stored(sealed) == kept
        assert spool.recover(tmp_path) == spool.Recovered(), "recovery may be repeated"
        sealed.unlink()


def test_any_changed_octet_is_noticed(tmp_path: Path) -> None:
    segment = make(tmp_path, BLOCKS)
    path = segment.seal()
    assert path is not None
    whole = path.read_bytes()
    chance = random.Random(2)
    for _ in range(500):
        at = chance.randrange(PAGE, len(whole))
        changed = bytearray(whole)
        changed[at] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        reading = Reading()
        found = stored(path, reading)
        assert found == ALL[: len(found)]
        assert len(found) < len(ALL)
        assert reading.torn > 0


def test_a_stale_block_of_another_segment_is_not_taken(tmp_path: Path) -> None:
    one = make(tmp_path, [[b"old"] * 5], counter=1)
    block = one.path.read_bytes()[PAGE : one.position]
    one.seal()
    other = make(tmp_path, [[b"new"] * 2], counter=2)
    os.pwrite(other.file, block, other.position)
    assert stored(other.path) == [b"new"] * 2
    other.close()


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(PAGE), b"flowpeer" + bytes(PAGE)])
def test_a_file_that_is_no_segment_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(IngestError, match="not a spool segment"):
        list(spool.read(path))


def test_random_octets_behind_a_good_header_give_nothing(tmp_path: Path) -> None:
    segment = make(tmp_path, [])
    head = segment.path.read_bytes()[:PAGE]
    segment.close()
    chance = random.Random(3)
    path = tmp_path / "x"
    for size in range(0, 3_000, 37):
        lie = b"FPB1" + struct.pack("<II", 0, 0) + chance.randbytes(52)
        path.write_bytes(head + (lie if size % 2 else b"") + chance.randbytes(size))
        assert stored(path) == []


def test_what_recovery_cannot_read_is_kept_aside(tmp_path: Path) -> None:
    path = SegmentName(3, 0, RUN).path(tmp_path, "open")
    path.write_bytes(b"no segment at all" * 1_000)
    found = spool.recover(tmp_path)
    assert found.unreadable == 1
    assert (
        SegmentName(3, 0, RUN).path(tmp_path, "failed").read_bytes() == b"no segment at all" * 1_000
    )


def test_the_end_is_looked_for_inside_a_segment_which_is_done_again_later(
    build: Any, tmp_path: Path
) -> None:
    class Unit:
        rows = 0
        discarded = published = False

        def write(self, hour: datetime, name: str, table: pa.Table) -> None:
            self.rows += table.num_rows

        def publish(self, summary: SegmentSummary) -> dict[str, int]:
            self.published = True
            return {}

        def discard(self) -> None:
            self.discarded = True

    units: list[Unit] = []

    def unit(name: str) -> Unit:
        units.append(Unit())
        return units[-1]

    make(tmp_path, [[build.v9(build.template(300, [(1, 4)]))], [build.v9()], [build.v9()]]).seal()
    publisher = Publisher(
        tmp_path, Stats(tmp_path), Log(lambda text: None), unit=unit,
        active_timeout_s=lambda _: 60, configured=frozenset(), allowed=None,
    )  # fmt: skip
    asked: list[int] = []
    publisher.over = lambda: bool(asked.append(1)) or len(asked) > 2
    assert publisher.all(lambda: False) is None
    assert (len(asked), units[0].discarded, units[0].published) == (3, True, False)
    assert publisher.decoder.wire.state.exporters == {}, "as if it had not been begun"
    publisher.over = lambda: False
    assert publisher.all(lambda: False) is True
    assert (units[1].published, spool.segments(tmp_path, "sealed")) == (True, [])
