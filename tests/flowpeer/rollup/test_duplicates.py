"""Datagrams that reach the lake by one, two or half of two paths: each counts once (M13)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import oracle
import pytest
from deliveries import (
    SECOND,
    UNITS,
    datagrams_of,
    delivered,
    digests,
    empty_lake,
    publish,
    records_of,
    roll_up,
    world_of,
)
from effort import seeds
from worlds import HOUR, MIDNIGHT, table_rows

from flowpeer.lake import compact
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import conservation, hours_conserved
from flowpeer.rollup.retention import prunable, prune


@pytest.mark.parametrize(
    ("numbered", "timed"), [(True, True), (False, True), (True, False)],
    ids=["numbered", "without numbers", "without times"],
)  # fmt: skip
@pytest.mark.parametrize("seed", seeds(6, 1))
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
        base = RollupPlanner(single.lake, single.network)
        assert crossings == sum(t.num_rows for h in base.plan() for t in base.crossings(h))


def _two(
    folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> tuple[RollupPlanner, int]:
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
    publish(rollup.lake, UNITS[2], [(0, d) for d in datagrams[::2]], 1)
    publish(rollup.lake, UNITS[1], thirds, 2)
    first = rollup.record.hours("flows") or rollup.lake.record().hours("flows")
    for hour in first:  # later, rows and units are in another order than the units' names
        compact.merge(rollup.lake, "flows", hour, grace_s=0)
    publish(rollup.lake, UNITS[0], [(0, d) for d in datagrams[1::2]], 3)
    done = roll_up(rollup)
    before = digests(done.lake)
    for hour in first:
        compact.merge(rollup.lake, "flows", hour, grace_s=0)
    done = RollupPlanner(rollup.lake, rollup.network)
    hours = done.plan()
    assert not any(hour.changed for hour in hours)
    for hour in hours:
        done.roll_up(hour)
    assert digests(done.lake) == before
    done = RollupPlanner(rollup.lake, rollup.network)
    prune(done, prunable(done, datetime.fromtimestamp((MIDNIGHT + 2 * HOUR) // SECOND, UTC)))
    done = RollupPlanner(rollup.lake, rollup.network)
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
