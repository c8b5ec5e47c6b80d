"""Datagrams that reach the lake by one, two or half of two paths: each counts once (M13)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import oracle
import pyarrow as pa
import pytest
from worlds import HOUR, MIDNIGHT, make_world, octets, prepare, table_rows

from flowpeer.lake import compact
from flowpeer.lake.flows import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.lake.units import UnitRecord
from flowpeer.rollup.hours import Rollup
from flowpeer.rollup.reconcile import conservation, hours_conserved
from flowpeer.rollup.retention import prunable, prune
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS

UNITS = ("segment-00000001-20260916T000000Z-1-ams1", "segment-00000001-20260916T000000Z-1-ams2",
         "capture-0123456789abcdef")  # fmt: skip
COLLECTORS = dict(zip(UNITS, ("ams1", "ams2", ""), strict=True))
FIRST_FIRST = sorted(UNITS, key=lambda unit: (COLLECTORS[unit], unit))
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


def empty_lake(folder: Path, world: Any) -> Rollup:
    folder.mkdir()
    flows, world.flows = world.flows, []
    rates, world.sampling = world.sampling, []
    rollup = prepare(folder, world)
    world.flows, world.sampling = flows, rates
    return rollup


def roll_up(rollup: Rollup) -> Rollup:
    again = Rollup(rollup.lake, rollup.network)
    for hour in again.plan():
        if hour.changed:
            again.roll_up(hour)
    return Rollup(rollup.lake, rollup.network)


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
            some = units[n * len(units) // len(datagrams)][0:0] or [
                units[n * len(units) // len(datagrams)]
            ]
        else:
            some = [u for u in units if dice.random() < 0.5] or [dice.choice(units)]
        for unit in some:
            found[unit].append((0, datagram))
    for unit, held in found.items():
        if dice.random() < 0.5:
            dice.shuffle(held)
        if unit != FIRST_FIRST[0]:
            continue
    return {unit: held for unit, held in found.items() if held}


def records_of(delivery: Delivery) -> int:
    return sum(len(datagram) for held in delivery.values() for _, datagram in held)


@pytest.mark.parametrize(
    ("numbered", "timed"), [(True, True), (False, True), (True, False)],
    ids=["numbered", "without numbers", "without times"],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(6))
def test_traffic_is_that_of_a_single_delivery(
    seed: int, numbered: bool, timed: bool, tmp_path: Path
) -> None:
    dice, world = random.Random(seed), world_of(seed)
    world.sampling = []
    datagrams = datagrams_of(world, dice, numbered=numbered, timed=timed)
    single = empty_lake(tmp_path / "single", world)
    publish(single.lake, UNITS[2], [(0, d) for d in datagrams], 1)
    roll_up(single)
    expected = digests(single.lake)
    assert expected
    delivery = delivered(datagrams, dice, 2 + seed % 2)
    for n in range(2):  # all at once, and rolled up after each unit; in any order
        order = dice.sample(list(delivery), len(delivery))
        lake = empty_lake(tmp_path / f"several{n}", world)
        for session, unit in enumerate(order):
            publish(lake.lake, unit, delivery[unit], session)
            if n:
                roll_up(lake)
        done = roll_up(lake)
        assert digests(lake.lake) == expected
        assert not any(hour.changed for hour in done.plan())
        hours = done.record.headers("traffic").values()
        figures = [h.rollup.figures for h in hours if h.rollup]
        copies = records_of(delivery) - len(world.flows)
        assert sum(f["duplicate_records"] for f in figures) == copies
        identities = [
            *conservation(done, again=True), *conservation(done, again=False),
            *hours_conserved(done, done.plan(), again=True),
        ]  # fmt: skip
        assert all(i.holds for i in identities), identities
        crossings = sum(t.num_rows for h in done.plan() for t in done.crossings(h))
        base = Rollup(single.lake, single.network)
        assert crossings == sum(t.num_rows for h in base.plan() for t in base.crossings(h))


def _two(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> tuple[Rollup, int]:
    """One datagram in a capture, and one of another unit that differs in something."""
    world = world_of(3)
    world.sampling = []
    base = {
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "received": MIDNIGHT + HOUR // 2,
        "start": MIDNIGHT + HOUR // 2 - SECOND, "end": MIDNIGHT + HOUR // 2, "input_if": 10,
        "output_if": 15, "direction": 0, "src_addr": "20.0.0.1", "dst_addr": "198.18.0.1",
        "bytes": 1000, "packets": 3, "sampling_interval": None, "sampler_id": None,
        "min_length": None, "max_length": None, "export_time": MIDNIGHT + HOUR // 2,
        "datagram_sequence": 7,
    }  # fmt: skip
    rollup = empty_lake(folder, world)
    publish(rollup.lake, UNITS[2], [(0, [base])], 1)
    publish(rollup.lake, UNITS[0], [(0, [change(dict(base))])], 2)
    done = roll_up(rollup)
    return done, sum(row["bytes"] for row in table_rows(done.lake, "traffic"))


@pytest.mark.parametrize(
    ("change", "times"),
    [
        ({}, 1),
        ({"datagram_sequence": 8}, 2),
        ({"export_time": MIDNIGHT + HOUR // 2 + SECOND}, 2),  # the exporter began again
        ({"observation_domain": 1}, 2),
        ({"exporter_ip": "192.0.2.2"}, None),
        ({"bytes": 1001}, None),  # another sender behind this address
        ({"received": MIDNIGHT + HOUR // 2 + 29 * SECOND}, 1),
        ({"sampling_interval": 1000}, 1),
    ],
)
def test_what_tells_a_datagram(change: dict[str, Any], times: int | None, tmp_path: Path) -> None:
    done, total = _two(tmp_path / "lake", lambda flow: flow | change)
    if times is None:
        assert total > 1000 * 1000
    else:
        assert total == times * 1000 * 1000
    assert all(i.holds for i in conservation(done, again=True))


def test_copies_on_both_sides_of_a_border_of_an_hour(tmp_path: Path) -> None:
    at = MIDNIGHT + HOUR
    done, total = _two(tmp_path / "lake", lambda flow: flow | {"received": at + SECOND})
    assert total == 1000 * 1000
    assert len(done.record.hours("flows")) == 2


def test_merging_and_pruning_change_nothing(tmp_path: Path) -> None:
    dice, world = random.Random(5), world_of(5)
    world.sampling = []
    datagrams = datagrams_of(world, dice, numbered=True, timed=True)
    rollup = empty_lake(tmp_path / "lake", world)
    thirds = [(0, d) for n, d in enumerate(datagrams) if n % 3]
    publish(rollup.lake, UNITS[0], [(0, d) for d in datagrams[::2]], 1)
    publish(rollup.lake, UNITS[1], thirds, 2)
    first = rollup.record.hours("flows") or rollup.lake.record().hours("flows")
    for hour in first:  # of capture, merged and segment the names are in another order
        compact.merge(rollup.lake, "flows", hour, grace_s=0)
    publish(rollup.lake, UNITS[2], [(0, d) for d in datagrams[1::2]], 3)
    done = roll_up(rollup)
    before = digests(done.lake)
    for hour in first:
        compact.merge(rollup.lake, "flows", hour, grace_s=0)
    done = Rollup(rollup.lake, rollup.network)
    hours = done.plan()
    assert not any(hour.changed for hour in hours)
    for hour in hours:
        done.roll_up(hour)
    assert digests(done.lake) == before
    done = Rollup(rollup.lake, rollup.network)
    prune(done, prunable(done, datetime.fromtimestamp((MIDNIGHT + 2 * HOUR) // SECOND, UTC)))
    done = Rollup(rollup.lake, rollup.network)
    assert all(i.holds for i in conservation(done, again=True))
    assert digests(done.lake) == before


def test_oracle_counts_the_single_delivery(tmp_path: Path) -> None:
    world = world_of(8)
    datagrams = datagrams_of(world, random.Random(8), numbered=True, timed=True)
    rollup = empty_lake(tmp_path / "lake", world)
    world.sampling = []
    for session, unit in enumerate(UNITS):
        publish(rollup.lake, unit, [(0, d) for d in datagrams], session)
    done = roll_up(rollup)
    traffic, _, _ = oracle.roll_up(world)
    rows = table_rows(done.lake, "traffic")
    assert sum(r["bytes"] for r in rows) == sum(r["bytes"] for r in traffic.values()) > 0
