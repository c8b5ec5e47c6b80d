"""The percentile of a row: its own slots, and only those that count (METHODS M5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from reports_world import START, Flow, World

from flowpeer_reports.candidates import candidates


def test_what_was_heard_in_slots_that_do_not_count_is_in_no_percentile() -> None:
    slots, gone = 108, (14, 59)  # less than 5 % missing: there is a percentile, an estimate
    sizes = [10**9 if n in gone else (n * 37 % 109 + 1) * 10**6 for n in range(slots)]
    flows = [Flow(slot=n, origin=2001, bytes=size) for n, size in enumerate(sizes)]
    missing = pl.DataFrame(
        {"metro": ["ams"] * 2, "slot": [START + n * timedelta(minutes=5) for n in gone]},
        schema={"metro": pl.String, "slot": pl.Datetime("us", "UTC")},
    )
    inputs = World(flows, hours=9, slots={"ams": slots - 2}, missing={"ams": 2}).inputs()
    counted = sorted(size for n, size in enumerate(sizes) if n not in gone)
    (row,) = candidates(replace(inputs, uncovered=missing)).rows.to_dicts()
    want = counted[-(-95 * len(counted) // 100) - 1]
    assert row["p95_bps"] == pytest.approx(want * 8 / 300)
