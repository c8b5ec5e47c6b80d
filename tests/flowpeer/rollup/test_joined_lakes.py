"""Lakes of several collectors, joined: the roll-ups of one lake that took in everything."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from deliveries import (
    UNITS,
    datagrams_of,
    delivered,
    digests,
    empty_lake,
    publish,
    roll_up,
    world_of,
)

from flowpeer.errors import InputError, UsageError
from flowpeer.lake import compact, join
from flowpeer.lake.interface_names import KnownInterfaceNames, document_key, exported
from flowpeer.lake.store import Lake
from flowpeer.lake.verify import verify_files
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import conservation
from flowpeer.rollup.retention import prunable, prune


def lakes(folder: Path, seed: int) -> tuple[RollupPlanner, list[RollupPlanner]]:
    """One lake with every unit, and a lake for each two of three units."""
    dice, world = random.Random(seed), world_of(seed)
    world.sampling = []
    datagrams = datagrams_of(world, dice, numbered=True, timed=True)
    delivery = delivered(datagrams, dice, 3)
    whole = empty_lake(folder / "whole", world)
    parts = [empty_lake(folder / f"part{n}", world) for n in range(3)]
    for session, (unit, held) in enumerate(delivery.items()):
        publish(whole.lake, unit, held, session)
        for n in (session, (session + 1) % 3):
            publish(parts[n].lake, unit, held, session)
    return whole, parts


def test_merged_lakes_are_one_lake(tmp_path: Path) -> None:
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        whole, parts = lakes(folder, seed)
        for hour in parts[1].lake.record().hours("flows"):
            compact.merge(parts[1].lake, "flows", hour, grace_s=0)  # of its two units one is new
        into = parts[0]
        first = join.join(into.lake, parts[1].lake)
        second = join.join(into.lake, parts[2].lake)
        again = join.join(into.lake, parts[1].lake)
        there = {unit.name: unit for unit in whole.lake.record().units()}
        assert {unit.name: unit for unit in into.lake.record().units()} == there
        assert first.units + second.units <= len(there)
        assert (again.units, again.files, again.rows) == (0, 0, 0)
        done, expected = roll_up(into), roll_up(whole)
        assert digests(done.lake) == digests(expected.lake)
        assert all(i.holds for i in conservation(done, again=True))
        assert not [fault for _, fault in verify_files(done.lake.record()) if fault]
        hours = {h.start: h.parts for h in expected.plan()}
        assert {h.start: h.parts for h in done.plan()} == hours


@pytest.mark.parametrize("stop", range(1, 8))
def test_broken_off_it_is_done_again(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = lakes(tmp_path, 4)
    for hour in parts[1].lake.record().hours("flows"):
        compact.merge(parts[1].lake, "flows", hour, grace_s=0)
    into = parts[0]
    before = [f.path for f in into.lake.record().files("flows")]
    steps = 0

    def failing(work: Any) -> Any:
        def once(*given: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == stop:
                raise OSError(28, "No space left on device")
            return work(*given, **named)

        return once

    with monkeypatch.context() as patch:
        for name in ("_copied", "_parted", "commit", "complete"):
            patch.setattr(join, name, failing(getattr(join, name)))
        try:
            join.join(into.lake, parts[1].lake)
        except OSError:
            assert [f.path for f in into.lake.record().files("flows")] == before
    join.join(into.lake, parts[1].lake)
    join.join(into.lake, parts[2].lake)
    assert digests(roll_up(into).lake) == digests(roll_up(whole).lake)
    assert not [fault for _, fault in verify_files(into.lake.record()) if fault]


def test_what_cannot_be_joined_says_so(tmp_path: Path) -> None:
    _, parts = lakes(tmp_path, 1)
    with pytest.raises(UsageError, match="is this lake itself"):
        join.join(parts[0].lake, Lake(parts[0].lake.root))
    with pytest.raises(UsageError, match="no lake of format"):
        join.join(parts[0].lake, Lake(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    world = world_of(9)
    other = empty_lake(tmp_path / "other", world)
    segment = next(u for u in UNITS if parts[0].lake.record().unit(u) and u.startswith("segment"))
    publish(other.lake, segment, [(0, world.flows[:0])], 1)
    with pytest.raises(InputError, match="is in both lakes and is not the same"):
        join.join(parts[0].lake, other.lake)
    rolled = roll_up(parts[1])
    prune(rolled, prunable(rolled, max(h.start for h in rolled.plan())))
    before = {u.name for u in parts[0].lake.record().units()}
    with pytest.raises(InputError, match="were pruned"):
        join.join(parts[0].lake, parts[1].lake)
    assert {u.name for u in parts[0].lake.record().units()} == before


def test_routes_and_names_come_too(tmp_path: Path) -> None:
    _, parts = lakes(tmp_path, 1)
    empty = Lake(tmp_path / "empty")
    key = document_key("ams1", "192.0.2.1")
    from flowpeer.lake import codec

    octets = codec.encode_lines(KnownInterfaceNames({10: {"name": (1, "et-0/0/1")}}))
    parts[0].lake.storage.write(key, octets, replaces=None)
    done = join.join(empty, parts[0].lake)
    assert done.snapshots == len(parts[0].lake.record().single("routes")) > 0
    assert empty.record().single("routes") == parts[0].lake.record().single("routes")
    assert exported(empty.root, ["192.0.2.1"]).texts == {
        "192.0.2.1": {10: {"name": (1, "et-0/0/1")}}
    }
