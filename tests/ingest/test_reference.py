"""The tables agree with each other, so that the reference made from them is true."""

from __future__ import annotations

import re
from typing import Any

from flowpeer_ingest.records import DecodeRun
from flowpeer_ingest.reference import FORMATS, also_in, column_of
from flowpeer_ingest.schema import FLOWS
from flowpeer_ingest.wire import events
from flowpeer_ingest.wire.elements import BY_NUMBER, ELEMENTS

COLUMNS = {c.name: c for c in FLOWS}


def test_every_element_is_listed_once_and_fills_a_column() -> None:
    assert len(BY_NUMBER) == len(ELEMENTS)
    for e in ELEMENTS:
        for column in column_of(e.key).removesuffix(" of a second flow").split(", "):
            assert column in COLUMNS, (e.number, column)


def test_the_schemas_sources_are_elements_that_fill_that_column() -> None:
    checked = 0
    for column in FLOWS:
        for number in map(int, re.findall(r"(?<![\dv])\d{1,3}(?!\d)", column.source)):
            if column.name in ("received_at", "time_corrected") or column.source == "header":
                continue
            assert number in BY_NUMBER, (column.name, number)
            assert column.name in column_of(BY_NUMBER[number].key), (column.name, number)
            checked += 1
    assert checked > 50


def test_every_format_is_described() -> None:
    assert [name for name, _, _ in FORMATS] == [*events.FORMATS.values()]
    assert also_in(8) == ["v1", "v5", "v7", "sFlow"]
    assert also_in(16) == ["v5", "v7", "sFlow"]
    assert also_in(150) == []


def test_options_data_is_shown_when_asked_for(build: Any, tmp_path: Any) -> None:
    options = build.options_template(400, [(1, 4)], [(48, 1), (50, 4)])
    data = build.set_(400, b"\0\0\0\x09\x01\0\0\x03\xe8")
    path = build.capture(tmp_path / "x.pcap", build.v9(options, data, domain=3))
    assert list(DecodeRun(path).records()) == []
    run = DecodeRun(path, options=True)
    (row,) = run.records()
    assert row["options"] is True
    assert row["values"] == {"scope_system": 9, "samplerId": 1, "samplerRandomInterval": 1000}
    assert (row["observation_domain"], row["template_id"]) == (3, 400)
    assert run.summary.options_records == 1


def test_biflow_is_one_row_of_the_view(build: Any, tmp_path: Any) -> None:
    fields = [(85, 8), (86, 8), (85, 8, 29305), (86, 8, 29305)]
    octets = b"".join(v.to_bytes(8, "big") for v in (10, 1, 20, 2))
    payload = build.ipfix(build.template(300, fields, version=10), build.set_(300, octets))
    (row,) = DecodeRun(build.capture(tmp_path / "x.pcap", payload)).records()
    counts = {k: v for k, v in row.items() if "bytes" in k or "packets" in k}
    assert counts == {
        "bytes_total": 10,
        "packets_total": 1,
        "reverse_bytes_total": 20,
        "reverse_packets_total": 2,
    }
