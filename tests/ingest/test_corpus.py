"""Captures of real exporters decode to the values that other decoders agreed on."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowpeer_core.columns import arrow_schema
from flowpeer_core.native import library
from flowpeer_ingest.compiled import SCHEMA
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.records import DecodeRun
from flowpeer_ingest.schema import TABLES
from flowpeer_ingest.summary import CaptureSummary

REVIEWED_FRAMES = {
    "juniper-inline-srv6": "IPv4 in IPv6 without a routing header: the oracle took the inner "
    "packet here and the outer one of the same shape in juniper-inline-cpid; we take the outer one",
}

COUNTED = {
    "malformed-v5-count.pcap": {"v5 count is larger than the datagram": 2},
    "nprobe-ipfix-enterprise.pcap": {"options template with a wrong scope count": 1},
}
"""What is malformed in the corpus and must be counted; malformed-v9.pcap (sets that are not
aligned to 4 octets) is decoded as a whole."""


def captures(shared: Path) -> list[str]:
    with (shared / "corpus/MANIFEST.csv").open(newline="") as f:
        return [row["file"] for row in csv.DictReader(f)]


def test_every_capture_gives_the_expected_records(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "sflow").mkdir()
    malformed = {}
    for name in captures(shared):
        run = DecodeRun(shared / "corpus" / name)
        lines = [json.dumps(row) for row in run.records()]
        (tmp_path / name).with_suffix(".json").write_text("\n".join(lines))
        if run.summary.malformed:
            malformed[name] = dict(run.summary.malformed)
    done = subprocess.run(
        [
            sys.executable,
            shared / "corpus/compare_decode.py",
            shared / "corpus",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    failed = {
        line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("FAIL")
    }
    assert not failed, done.stdout
    assert done.returncode == 0, done.stdout
    assert malformed == COUNTED


def test_flows_of_every_capture_add_up_and_keep_the_schema(shared: Path) -> None:
    for name in captures(shared):
        rows: Counter[str] = Counter()

        def write(hour: object, table: str, rows_: pa.Table, rows: Counter[str] = rows) -> None:
            wanted = SCHEMA if table == "flows" and library() else arrow_schema(TABLES[table])
            assert rows_.schema == wanted
            rows_.validate(full=True)
            for column in TABLES[table]:
                if not column.nullable:
                    assert rows_[column.name].null_count == 0
            rows[table] += len(rows_)

        s: CaptureSummary = ingest_capture(shared / "corpus" / name, decoder=Decoder(), write=write)
        assert s.rows_rejected == {}
        assert s.records == s.rows + sum(s.implausible.values())
        assert s.rows == rows["flows"]
        assert s.packets == s.datagrams + sum(s.skipped.values())
        assert s.datagrams == sum(e.datagrams for e in s.exporters.values()) + sum(
            s.rejected.values()
        )
        assert s.records == sum(e.records for e in s.exporters.values())


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("cisco-ncs55xx-v9-multi-sampling", {2000, 4000}),
        ("cisco-iosxr-v9-sampler-akvorado", {30000}),
        ("huawei-ce8851-netstream-v9", {2048}),
        ("juniper-mx80-v5", {1000}),
        ("cisco-iosxr-ipfix-v6-sampling", {256}),
    ],
)
def test_rates_reach_the_flows(shared: Path, name: str, rates: set[int]) -> None:
    seen: set[int] = set()

    def write(hour: object, table: str, rows: pa.Table) -> None:
        if table == "flows":
            seen.update(rows["sampling_interval"].to_pylist())

    ingest_capture(shared / f"corpus/{name}.pcap", decoder=Decoder(), write=write)
    assert seen == rates


def test_flow_keys_are_read_out_of_copied_frames(shared: Path) -> None:
    checked = 0
    for path in sorted((shared / "corpus/expected").glob("juniper-inline-*.json")):
        if path.stem in REVIEWED_FRAMES:
            continue
        want = [json.loads(line) for line in path.read_text().splitlines()]
        got = list(DecodeRun(shared / f"corpus/{path.stem}.pcap").records())
        assert len(got) == len(want)
        for ours, theirs in zip(got, want, strict=True):
            for key, value in theirs.get("from_frame", {}).items():
                if key in ours:
                    assert ours[key] == value, (path.stem, key)
                    checked += 1
    assert checked >= 20


def test_flows_in_bulk_equal_the_records_one_set_at_a_time(shared: Path) -> None:
    for name in captures(shared):
        bulk: Counter[tuple[object, ...]] = Counter()

        def write(hour: object, table: str, rows: pa.Table, bulk: Counter[Any] = bulk) -> None:
            if table == "flows":
                names = ("exporter_ip", "src_port", "protocol", "input_if", "sampling_interval")
                bulk.update(zip(*(rows[n].to_pylist() for n in names), strict=True))

        summary = ingest_capture(shared / "corpus" / name, decoder=Decoder(), write=write)
        if summary.implausible or "yaf" in name:  # those set aside and split biflows differ
            continue
        single = Counter(
            tuple(
                row.get(k)
                for k in ("exporter", "src_port", "protocol", "input_if", "sampling_interval")
            )
            for row in DecodeRun(shared / "corpus" / name).records()
        )
        assert bulk == single, name
