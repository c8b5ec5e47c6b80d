"""What is gathered of flow records: the compiled core and plain Python find the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer_core.native import library
from flowpeer_core.native.table import CFacts
from flowpeer_core.slots import HOUR_US
from flowpeer_ingest.compiled import SCHEMA
from flowpeer_ingest.facts import COLUMNS, MAX_OCTETS, Facts
from flowpeer_ingest.flow_columns import FLOWS_SCHEMA
from flowpeer_ingest.parts import ANY_DOMAIN, FlowFacts

BEGIN_US = 1_767_225_600_000_000
EXPORTERS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")


def flows(rows: int, seed: int, *, wide: bool, coded: bool = False) -> pa.Table:
    """Random records; `wide`: hostile ones, with more interfaces, domains and hours than are kept
    at once, and counters and rates up to all bits."""
    rng = np.random.default_rng(seed)

    def some(top: int, nulls: float) -> pa.Array:
        return pa.array(rng.integers(0, top, rows), mask=rng.random(rows) < nulls)

    hours = 400 if wide else 2
    start = BEGIN_US + rng.integers(-hours * HOUR_US, hours * HOUR_US, rows)
    end = np.where(
        rng.random(rows) < 0.2,
        start // HOUR_US * HOUR_US + HOUR_US,
        start + rng.integers(0, HOUR_US, rows),
    )
    columns = {
        "start_time": pa.array(start),
        "end_time": pa.array(end),
        "received_at": pa.array(BEGIN_US + rng.integers(0, HOUR_US, rows)),
        "export_time": pa.array(
            BEGIN_US + rng.integers(0, HOUR_US, rows), mask=rng.random(rows) < 0.3
        ),
        "exporter_ip": pa.array(np.array(EXPORTERS)[rng.integers(0, len(EXPORTERS), rows)]),
        "observation_domain": some(900 if wide else 3, 0.1),
        "datagram_sequence": some(1 << 32, 0.2),
        "session": some(3, 0.3),
        "input_if": some(1 << 32 if wide else 9, 0.1),
        "output_if": some(9, 0.1),
        "direction": some(2, 0.3),
        "bytes": some(1 << 62 if wide else 1 << 20, 0.1),
        "sampling_interval": some(1 << 30 if wide else 2_000, 0.2),
        "sampling_numerator": some(9, 0.5),
        "time_corrected": pa.array(rng.random(rows) < 0.5),
    }
    schema = SCHEMA if coded else FLOWS_SCHEMA
    arrays = [columns.get(f.name, pa.nulls(rows)).cast(f.type, safe=False) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def gathered(tables: list[pa.Table], *, plain: bool) -> FlowFacts:
    facts = Facts(plain=plain)
    for table in tables:
        facts.add(table)
    return facts.facts()


@pytest.mark.skipif(library() is None, reason="built without the compiled core")
@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 4_000), st.booleans(), st.booleans())
def test_both_paths_find_the_same(seed: int, rows: int, wide: bool, coded: bool) -> None:
    table = flows(rows, seed, wide=wide, coded=coded)
    tables = [table, table.slice(rows // 3), pa.concat_tables([table.slice(1), table.slice(2)])]
    compiled = gathered(tables, plain=False)
    assert compiled == gathered(tables, plain=True)
    assert compiled.hours
    assert sum(map(len, compiled.seen.values())) > 0


@pytest.mark.parametrize("plain", [False, True])
def test_what_a_record_says_is_counted_where_it_belongs(plain: bool) -> None:
    columns = {name: [None] for name in FLOWS_SCHEMA.names}
    columns |= {
        "start_time": [BEGIN_US], "end_time": [BEGIN_US + HOUR_US], "received_at": [BEGIN_US],
        "exporter_ip": ["192.0.2.1"], "input_if": [7], "output_if": [9], "direction": [1],
        "bytes": [1 << 62], "sampling_interval": [1_000], "session": [None],
        "datagram_sequence": [5], "observation_domain": [3], "time_corrected": [True],
    }  # fmt: skip
    table = pa.Table.from_arrays(
        [pa.array(columns[f.name], f.type) for f in FLOWS_SCHEMA], schema=FLOWS_SCHEMA
    )
    found = gathered([table], plain=plain)
    assert found.hours == ("2026-01-01T00",)  # it ends on the border of the next one
    assert found.octets["192.0.2.1"][7] == (0, MAX_OCTETS, *[0] * 7, MAX_OCTETS, 0, 0)
    assert found.octets["192.0.2.1"][9] == (0, 0, 0, MAX_OCTETS, *[0] * 7, MAX_OCTETS)
    assert found.announced == ()
    assert found.time_corrected == 1
    assert set(found.spans["192.0.2.1"]) == {3}
    assert found.spans["192.0.2.1"][3][2:] == (5, 5)


def test_domains_beyond_what_is_kept_apart_are_put_together() -> None:
    found = gathered([flows(3_000, 1, wide=True)], plain=False)
    for spans in found.spans.values():
        assert len(spans) == 65
        assert ANY_DOMAIN in spans


def test_columns_are_those_of_flows() -> None:
    assert set(COLUMNS.values()) <= set(FLOWS_SCHEMA.names)
    assert [name for name, _ in CFacts._fields_[: len(COLUMNS)]] == [*COLUMNS]
