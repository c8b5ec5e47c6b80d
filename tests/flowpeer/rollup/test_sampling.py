"""N of a sampling interval is the rate that the data were scaled with (METHODS M6)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import worlds

from flowpeer import catalog
from flowpeer.analysis.sampling import sampling_rates

START, END = datetime(2026, 9, 15, tzinfo=UTC), datetime(2026, 9, 17, tzinfo=UTC)


@pytest.mark.parametrize("seed", [1, 3])
def test_rates_are_those_that_bytes_were_scaled_with(tmp_path: Path, seed: int) -> None:
    """Rates that records state on one interface, others on another, an override, and none."""
    world = worlds.make_world(seed)
    world.sampling.clear()
    kept = []
    for flow in world.flows:
        ends = {flow["input_if"], flow["output_if"]}
        if {10, 11} <= ends:
            continue  # both rates in one crossing
        states = {"192.0.2.1": 4096 if 10 in ends else 512, "192.0.2.2": 100}
        flow["sampling_interval"] = states.get(flow["exporter_ip"])
        flow["bytes"] = (flow["bytes"] or 0) % (1 << 20) + 1
        kept.append(flow)
    world.flows[:] = kept
    rollup = worlds.prepare(tmp_path, world)
    for hour in rollup.plan():
        rollup.roll_up(hour)
    record = rollup.lake.record()
    routes = catalog.scan(rollup.lake.root, "traffic_routes")
    found = sampling_rates(rollup.network, record, routes, START, END)
    rates = {(e, i): rate for e, i, rate, _ in found.iter_rows() if i is not None}
    want = {("edge1", 10): 4096, ("edge1", 11): 512, ("edge2", 10): 7, ("edge2", 11): 7}
    assert rates == pytest.approx({key: want[key] for key in rates})
    assert {("edge1", 10), ("edge1", 11)} <= rates.keys()
    assert set(found["mtu"]) == {1500}
