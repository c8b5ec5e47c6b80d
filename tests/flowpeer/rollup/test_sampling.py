"""N of a sampling interval is the rate that the data were scaled with (METHODS M6)."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import worlds

import flowpeer
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
    traffic = catalog.scan(rollup.lake.root, "traffic")
    found = sampling_rates(rollup.network, record, traffic, START, END)
    rates = {(e, i): rate for e, i, rate, _ in found.iter_rows() if i is not None}
    want = {("edge1", 10): 4096, ("edge1", 11): 512, ("edge2", 10): 7, ("edge2", 11): 7}
    assert rates == pytest.approx({key: want[key] for key in rates})
    assert {("edge1", 10), ("edge1", 11)} <= rates.keys()
    assert set(found["mtu"]) == {1500}


def test_what_came_twice_halves_no_rate(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import test_any_order as any_order

    datagrams = [d for d in any_order.world(1) if d.exporter == 2]
    files = [
        any_order.capture(tmp_path / f"{n}.pcap", some)
        for n, some in enumerate((datagrams, datagrams[: len(datagrams) // 2]))
    ]
    any_order.rolled_up(tmp_path / "lake", files)
    net = flowpeer.open(tmp_path / "lake" / "flowpeer.toml")
    record = net.lake.record()
    traffic = catalog.scan(net.lake.root, "traffic")
    first = datetime(2025, 6, 30, tzinfo=UTC)
    found = sampling_rates(net.configuration, record, traffic, first, first + timedelta(days=3))
    headers = record.headers("traffic").values()
    assert sum(h.rollup.figures["duplicate_records"] for h in headers if h.rollup) > 0
    assert set(found.filter(exporter="e2")["rate"]) == {300.0}


def test_a_rate_that_was_announced_later_is_no_rate_of_a_period(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import test_any_order as any_order

    file = any_order.capture(tmp_path / "all.pcap", any_order.world(1))
    any_order.rolled_up(tmp_path / "lake", [file])
    net = flowpeer.open(tmp_path / "lake" / "flowpeer.toml")
    announced = catalog.scan(net.lake.root, "sampling").collect()
    first = announced["first_seen"].min()
    assert isinstance(first, datetime)

    def rates(end: datetime) -> dict[str, float]:
        traffic = catalog.scan(net.lake.root, "traffic", end=end)
        found = sampling_rates(
            net.configuration, net.lake.record(), traffic, end - timedelta(days=2), end
        )
        rows = found.filter(found["interface"].is_null()).select("exporter", "rate")
        return dict(rows.iter_rows())

    after, before = rates(first + timedelta(days=1)), rates(first - timedelta(days=1))
    given = {e.id: e.sampling_override or e.sampling for e in net.configuration.exporters}
    stated = {exporter: rate for exporter, rate in given.items() if rate}
    assert before == stated
    assert after != before
