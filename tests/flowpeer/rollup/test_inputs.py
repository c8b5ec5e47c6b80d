"""What an hour is rolled up from: each part of its fingerprint, and traps of M1 and M2."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import oracle
import pyarrow as pa
import pytest
import worlds

from flowpeer.configuration import load
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.sums import HourFigures
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS, SAMPLING

START = datetime(2026, 9, 16, tzinfo=UTC)
HOUR_US = 3_600_000_000
MEMBERS = {"80.249.208.1": 8075, "80.249.208.2": 2906, "2001:7f8:1::a500:6939:1": 6939}


def flow(at: int, **values: Any) -> dict[str, Any]:
    """One record, `at` microseconds after midnight."""
    time = worlds.MIDNIGHT + at
    return {
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "received": time, "start": time,
        "end": time, "input_if": 15, "output_if": 10, "direction": None,
        "src_addr": "198.18.0.1", "dst_addr": "20.0.0.1", "bytes": 1000, "packets": 2,
        "sampling_interval": None, "sampler_id": None, "min_length": None, "max_length": None,
    } | values  # fmt: skip


def world_of(*flows: dict[str, Any]) -> Any:
    world = worlds.make_world(1)
    world.flows[:] = flows
    world.sampling.clear()
    return world


def done(folder: Path, world: Any) -> RollupPlanner:
    folder.mkdir(exist_ok=True)
    rollup: RollupPlanner = worlds.prepare(folder, world)
    for hour in rollup.plan():
        rollup.roll_up(hour)
    return rollup


def changed(folder: Path) -> dict[int, tuple[str, ...]]:
    """Hours after midnight that are out of date, and why."""
    network = load(folder / "flowpeer.toml")
    plan = RollupPlanner(Lake(network.lake_path), network).plan()
    return {(h.start - START) // timedelta(hours=1): h.changed for h in plan if h.changed}


def edit(folder: Path, old: str, new: str) -> None:
    config = folder / "flowpeer.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))


def exchange(folder: Path, ports: dict[str, int]) -> None:
    """Be present at exchange 26, with these members; exchange 27 is none of ours."""
    if "exchanges" not in (folder / "flowpeer.toml").read_text():
        edit(folder, 'id = "ams"', 'id = "ams"\nexchanges = [26]')
    rows = [
        {"id": n, "ix_id": 26, "ixlan_id": 26, "asn": asn, "net_id": asn,
         "ipaddr6" if ":" in ip else "ipaddr4": ip}
        for n, (ip, asn) in enumerate(ports.items(), 1)
    ]  # fmt: skip
    rows.append({"id": 99, "ix_id": 27, "ixlan_id": 27, "asn": 174, "net_id": 174,
                 "ipaddr4": "80.249.209.9"})  # fmt: skip
    path = folder / "peeringdb.json"
    path.write_text(json.dumps({"netixlan": {"data": rows}}))
    load_peeringdb(Lake(folder / "lake"), path)


def test_metering_that_is_set_redoes_the_hours_with_its_interfaces(tmp_path: Path) -> None:
    other = flow(HOUR_US, exporter_ip="192.0.2.2")
    done(tmp_path, world_of(flow(0), other, flow(2 * HOUR_US, input_if=15, output_if=15)))
    assert changed(tmp_path) == {}
    edit(tmp_path, 'addresses = ["192.0.2.1"]\nmetering = "auto"',
         'addresses = ["192.0.2.1"]\nmetering = "egress"')  # fmt: skip
    assert changed(tmp_path) == {0: ("metering",), 2: ("metering",)}


def test_egress_records_that_are_seen_late_redo_the_other_hours_of_the_day(tmp_path: Path) -> None:
    next_day = 24 * HOUR_US
    rollup = done(tmp_path, world_of(flow(0), flow(next_day)))
    sink = FlowSink(rollup.lake, "egress")
    row = {c.name: None for c in FLOWS} | {
        "received_at": worlds.MIDNIGHT + 5 * HOUR_US, "start_time": worlds.MIDNIGHT + 5 * HOUR_US,
        "end_time": worlds.MIDNIGHT + 5 * HOUR_US, "exporter_ip": "192.0.2.1", "format": "ipfix",
        "observation_domain": 0, "direction": 1, "output_if": 10, "time_corrected": False,
        "bytes": 1 << 30, "packets": 1 << 20,  # more than all ingress ones: the natural way
    }  # fmt: skip
    sink.write(
        START + timedelta(hours=5), "flows", pa.Table.from_pylist([row], arrow_schema(FLOWS))
    )
    sink.publish()
    assert changed(tmp_path) == {0: ("metering",), 5: ("new",)}, "not the hour of the next day"


def test_a_rate_that_comes_late_redoes_the_hours_that_lack_one(tmp_path: Path) -> None:
    rollup = done(tmp_path, world_of(flow(0), flow(HOUR_US, sampling_interval=512),
                                     flow(2 * HOUR_US, exporter_ip="2001:db8:1::3")))  # fmt: skip
    sink = FlowSink(rollup.lake, "late")
    row = {
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "sampler_id": None, "interface": None,
        "interval": 4000, "first_seen": worlds.MIDNIGHT + 9 * HOUR_US,
        "last_seen": worlds.MIDNIGHT + 9 * HOUR_US,
    }  # fmt: skip
    sink.write(
        START + timedelta(hours=9), "sampling", pa.Table.from_pylist([row], arrow_schema(SAMPLING))
    )
    sink.publish()
    assert changed(tmp_path) == {0: ("sampling",)}


def test_members_of_an_exchange_redo_the_hours_that_crossed_one(tmp_path: Path) -> None:
    done(tmp_path, world_of(flow(0, output_if=13), flow(HOUR_US)))
    exchange(tmp_path, MEMBERS)
    assert changed(tmp_path) == {0: ("exchanges",)}
    network = load(tmp_path / "flowpeer.toml")
    rollup = RollupPlanner(Lake(network.lake_path), network)
    for hour in rollup.plan():
        rollup.roll_up(hour)
    assert changed(tmp_path) == {}
    exchange(tmp_path, MEMBERS | {"80.249.208.2": 32934})
    assert changed(tmp_path) == {0: ("exchanges",)}


def compare(rollup: RollupPlanner, world: Any) -> list[dict[str, Any]]:
    """Both tables against plain Python, to the byte; the rows of `traffic`."""
    made = {}
    for table, wanted in zip(("traffic", "traffic_routes"), oracle.roll_up(world), strict=False):
        rows = worlds.table_rows(rollup.lake, table)
        sums = ("bytes", "packets", "records", "variance_low", "variance_high", "folded")
        got = {tuple(v for k, v in row.items() if k not in sums): row for row in rows}
        assert len(got) == len(rows), "a key is there twice"
        assert {k: r["bytes"] for k, r in got.items()} == {k: r["bytes"] for k, r in wanted.items()}
        made[table] = rows
    return made["traffic"]


def test_a_record_takes_the_last_rate_announced_at_or_before_its_receipt(tmp_path: Path) -> None:
    world = world_of(*(flow(hour * HOUR_US + 60_000_000) for hour in range(4)))
    for minutes, interval in ((10, 100), (90, 200), (150, 300)):
        world.sampling.append({
            "exporter_ip": "192.0.2.1", "observation_domain": 0, "sampler_id": None,
            "interface": None, "interval": interval,
            "first_seen": worlds.MIDNIGHT + minutes * 60_000_000,
        })  # fmt: skip
    rows = compare(done(tmp_path, world), world)
    assert [r["bytes"] // 1000 for r in sorted(rows, key=lambda r: r["slot"])] == [
        100, 100, 200, 300,
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_on_an_exchange_are_told_by_next_hop(seed: int, tmp_path: Path) -> None:
    world = worlds.make_world(100 + seed)
    world.members = MEMBERS
    dice = random.Random(seed)
    hops = [*MEMBERS, "80.249.209.9", "203.0.113.1", "0.0.0.0", "::", None]
    for one in world.flows:
        one["output_if"] = dice.choice([13, 13, one["output_if"]])
        for name, column in (("hop", "next_hop"), ("bgp_hop", "bgp_next_hop")):
            one[name] = dice.choice(hops)
            one[column] = worlds.octets(one[name])
    (tmp_path / "flowpeer.toml").touch()
    rollup = worlds.prepare(tmp_path, world)
    exchange(tmp_path, MEMBERS)
    rollup = RollupPlanner(rollup.lake, load(tmp_path / "flowpeer.toml"))
    for hour in rollup.plan():
        rollup.roll_up(hour)
    rows = compare(rollup, world)
    out = {r["provider_asn"] for r in rows if r["role"] == "ix" and r["direction"] == "out"}
    assert {None} < out <= {None, *MEMBERS.values()}
    assert {r["provider_asn"] for r in rows if r["role"] == "ix" and r["direction"] == "in"} <= {
        None
    }


@pytest.mark.parametrize("seed", [3, 4])
def test_what_came_in_and_was_dropped_counts_and_is_told(seed: int, tmp_path: Path) -> None:
    world = worlds.make_world(seed)
    for number, one in enumerate(world.flows):
        if number % 3 == 0:
            one |= {"input_if": 10, "output_if": None if number % 2 else 0, "bytes": 700 + number}
    rollup = done(tmp_path, world)
    compare(rollup, world)
    told = HourFigures()
    for header in rollup.lake.record().headers("traffic").values():
        told.add(HourFigures(**header.rollup.figures))
    want = 0
    for one in world.flows:
        rate = oracle.rate_of(world, one)
        (side, _), *_ = oracle.crossings(world, one)
        if side["direction"] == "in" and side["role"] in oracle.EXTERNAL and not one["output_if"]:
            want += (one["bytes"] or 0) * rate
    assert told.discarded_inbound_bytes == want > 0


def test_unrouted_of_both_families_are_one_row_of_routes_and_two_of_traffic(tmp_path: Path) -> None:
    ends = ("99.1.1.1", "2a00::1", "99.1.1.2")
    world = world_of(*(flow(0, src_addr=None, dst_addr=end) for end in ends))
    rollup = done(tmp_path, world)
    rows = compare(rollup, world)
    assert sorted((r["family"], r["records"]) for r in rows) == [(4, 2), (6, 1)]
    (route,) = worlds.table_rows(rollup.lake, "traffic_routes")
    assert (route["prefix"], route["origin_asn"], route["records"]) == (None, -1, 3)
