"""Publishing a segment a second time, after a crash, changes nothing, whatever happened between."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from collector_rig import FIRST_BYTES, TEMPLATE_EVERY, numbered

from flowpeer.lake import compact
from flowpeer.lake.store import Lake
from flowpeer.pipeline.collect import SegmentUnit
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.flow_columns import coverage_table
from flowpeer_ingest.segments import SegmentSummary
from flowpeer_ingest.unit_decoder import UnitDecoder

HOUR = datetime(2026, 1, 2, 3, tzinfo=UTC)


def flows(number: int) -> pa.Table:
    """One record, of other octets for each number, received in `HOUR`."""
    tables: list[pa.Table] = []
    run = UnitDecoder(Decoder(), lambda hour, name, table: tables.append(table))
    payload = numbered(number * TEMPLATE_EVERY)
    run.datagram(payload, "192.0.2.1", 9, int(HOUR.timestamp()) * 1_000_000)
    run.finish()
    return tables[0]


def heard(records: int) -> pa.Table:
    slot = int(HOUR.timestamp()) * 1_000_000
    return coverage_table([(slot, "192.0.2.1", None, None, 1, records, 0, None, None, True)])


def publish(lake: Lake, unit: str, table: pa.Table) -> None:
    segment = SegmentUnit(lake, unit)
    segment.write(HOUR, "flows", table)
    segment.write(HOUR, "coverage", heard(table.num_rows))
    segment.publish(SegmentSummary(path=unit, rows=table.num_rows))


def stored(lake: Lake) -> dict[str, int]:
    return {name: e["sums"]["bytes"] for name, e in lake.entries("flows").items()}


def test_a_segment_published_twice_is_there_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    publish(lake, "segment-a", flows(1))
    before = lake.entries("flows")
    publish(lake, "segment-a", flows(1))
    assert lake.entries("flows") == before, "to the digest"


def test_a_segment_that_was_merged_meanwhile_is_not_published_again(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    publish(lake, "segment-a", flows(1))
    publish(lake, "segment-b", flows(2))
    for table in ("flows", "coverage"):
        assert compact.merge(lake, table, HOUR, grace_s=0) is not None
    merged = stored(lake)
    assert list(merged.values()) == [3 * TEMPLATE_EVERY + 2 * FIRST_BYTES]
    publish(lake, "segment-a", flows(1))
    assert stored(lake) == merged
    assert [entry["rows"] for entry in lake.entries("coverage").values()] == [2]
    publish(lake, "segment-c", flows(3))
    assert sum(stored(lake).values()) == 6 * TEMPLATE_EVERY + 3 * FIRST_BYTES
    assert [p for p in lake.staging.folder.rglob("*") if p.is_file()] == []
