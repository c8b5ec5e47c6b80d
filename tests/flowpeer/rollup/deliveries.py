"""Datagrams of random worlds, delivered to units of work by one, two or half of two paths."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from worlds import HOUR, make_world, octets, prepare

from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.lake.units import UnitRecord
from flowpeer.rollup.planner import RollupPlanner
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS

UNITS = ("segment-00000001-20260916T000000Z-1-ams1", "segment-00000001-20260916T000000Z-1-ams2",
         "capture-0123456789abcdef")  # fmt: skip
COLLECTORS = dict(zip(UNITS, ("ams1", "ams2", ""), strict=True))
SECOND = 1_000_000

Datagram = list[dict[str, Any]]
Delivery = dict[str, list[tuple[int, Datagram]]]
"""unit → (received later by so much, datagram) in the order they came"""


def datagrams_of(world: Any, dice: random.Random, *, numbered: bool, timed: bool) -> list[Datagram]:
    """The world's records in datagrams, whose exporters begin again in the middle."""
    for flow in world.flows:  # a moment of receipt of the same second and hour on every path
        flow["received"] -= flow["received"] % SECOND
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for flow in sorted(world.flows, key=lambda f: f["received"]):
        key = flow["exporter_ip"], flow["observation_domain"]
        groups.setdefault(key, []).append(flow)
    made: list[Datagram] = []
    for some in groups.values():
        sequence, restart = 1, len(some) // 2
        while some:
            size = dice.randint(1, 3)
            datagram, some = some[:size], some[size:]
            if len(some) < restart:
                sequence, restart = 1, -1
            last = datagram[-1]["received"]
            for flow in datagram:
                flow["received"] = last
                flow["export_time"] = last - 2 * SECOND if timed else None
                flow["datagram_sequence"] = sequence if numbered else 0
            sequence += 1
            made.append(datagram)
    return made


def rows_of(datagrams: Iterable[tuple[int, Datagram]], session: int) -> list[dict[str, Any]]:
    rows = []
    for later, datagram in datagrams:
        for flow in datagram:
            row = {c.name: None for c in FLOWS} | {
                k: v for k, v in flow.items() if k not in ("received", "start", "end")
            }
            rows.append(row | {
                "received_at": flow["received"] + later, "start_time": flow["start"],
                "end_time": flow["end"], "format": "ipfix", "time_corrected": False,
                "session": session,
                # What one collector had from options data, and another had not.
                "sampling_numerator": flow["sampling_interval"],
                "sampling_denominator": flow["sampling_interval"] and 1,
                "src_addr": octets(flow["src_addr"]), "dst_addr": octets(flow["dst_addr"]),
            })  # fmt: skip
    return rows


def publish(lake: Lake, unit: str, datagrams: Sequence[tuple[int, Datagram]], session: int) -> None:
    sink = FlowSink(lake, unit)
    by_hour: dict[int, list[dict[str, Any]]] = {}
    for row in rows_of(datagrams, session):
        by_hour.setdefault(row["received_at"] // HOUR, []).append(row)
    for hour, rows in by_hour.items():
        at = datetime.fromtimestamp(hour * 3600, UTC)
        sink.write(at, "flows", pa.Table.from_pylist(rows, arrow_schema(FLOWS)))
    sink.publish(UnitRecord(unit, collector=COLLECTORS[unit]))


def world_of(seed: int) -> Any:
    world = make_world(seed)
    # M1's choice by bytes is another matter: it hangs on what the record says of whole units.
    world.exporters = {
        ip: {**e, "metering": "egress" if e["id"] == "edge2" else "ingress"}
        for ip, e in world.exporters.items()
    }
    return world


def empty_lake(folder: Path, world: Any) -> RollupPlanner:
    folder.mkdir()
    flows, world.flows = world.flows, []
    rates, world.sampling = world.sampling, []
    rollup = prepare(folder, world)
    world.flows, world.sampling = flows, rates
    return rollup


def roll_up(rollup: RollupPlanner) -> RollupPlanner:
    again = RollupPlanner(rollup.lake, rollup.network)
    for hour in again.plan():
        if hour.changed:
            again.roll_up(hour)
    return RollupPlanner(rollup.lake, rollup.network)


def digests(lake: Lake) -> dict[str, str]:
    return {
        name: entry["sha256"]
        for table in ("traffic", "traffic_routes")
        for name, entry in lake.entries(table).items()
    }


def delivered(datagrams: list[Datagram], dice: random.Random, paths: int) -> Delivery:
    """Each datagram by at least one path; some late, in another order, some by all."""
    units = UNITS[:paths]
    found: Delivery = {unit: [] for unit in units}
    mode = dice.choice(("all", "half", "mixed", "failover"))
    for n, datagram in enumerate(datagrams):
        if mode == "all":
            some: Sequence[str] = units
        elif mode == "half":
            some = units if n < len(datagrams) // 2 else units[:1]
        elif mode == "failover":
            some = [units[n * len(units) // len(datagrams)]]
        else:
            some = [u for u in units if dice.random() < 0.5] or [dice.choice(units)]
        for unit in some:
            found[unit].append((0, datagram))
    for held in found.values():
        if dice.random() < 0.5:
            dice.shuffle(held)
    return {unit: held for unit, held in found.items() if held}


def records_of(delivery: Delivery) -> int:
    return sum(len(datagram) for held in delivery.values() for _, datagram in held)
