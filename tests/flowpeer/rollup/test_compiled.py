"""The compiled sums against the same in plain Python, on records of every kind."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from ctypes import addressof
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import worlds

from flowpeer.rollup import aggregate, compiled, hour_sums, slots
from flowpeer.rollup.codes import Codes, HourContext, Macs
from flowpeer.rollup.compiled import CompiledOrdering, CompiledSums
from flowpeer.rollup.hour_sums import HourSums, SomeSums
from flowpeer.rollup.plain import PlainOrdering, PlainSums
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reading import COLUMNS, MACS, NEXT_HOPS, NULLS, FlowBatch
from flowpeer.rollup.sums import (
    ENTRIES,
    KeyedSums,
    KeyField,
    OrderedSums,
    Ordering,
    SortedSums,
    SummedRows,
)
from flowpeer.routing.rib.match import RouteTable
from flowpeer_core.native import library
from flowpeer_core.native import table as native
from flowpeer_core.slots import HOUR_SLOTS

HOUR = datetime(2026, 9, 16, 1, tzinfo=UTC)
BEGIN = worlds.MIDNIGHT + worlds.HOUR
PORTS = ["80.249.208.1", "80.249.208.2", "2001:7f8:1::1"]
MACS_KNOWN = [0x02AB_0000_0001, 0x02AB_0000_0002]
CORE = library()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> HourContext:
    """What a world's hour is rolled up with, and ports of an exchange."""
    rollup: RollupPlanner = worlds.prepare(tmp_path_factory.mktemp("world"), worlds.make_world(5))
    (hour,) = (h for h in rollup.plan() if h.start == HOUR)
    made = rollup.context(hour.start)
    ports = [f"{port}/{128 if ':' in port else 32}" for port in PORTS]
    members = RouteTable.from_routes(ports, [13335, 20940, 13335])
    macs = Macs(np.array(MACS_KNOWN), np.array([64600, 64601]))
    return HourContext(
        **{**vars(made), "neighbours": members, "macs": macs, "mtu": {"192.0.2.1": 9000}}
    )


@pytest.fixture(scope="module")
def file() -> str:
    return "flows/date=2026-09-16/hour=01/unit-0.parquet"


def addresses(dice: random.Random, some: list[str | None], rows: int) -> pa.Array:
    return pa.array([worlds.octets(dice.choice(some)) for _ in range(rows)], pa.binary(16))


def batch(dice: random.Random, file: str, rows: int) -> FlowBatch:
    """Records inside, outside and across the hour, with counters up to the largest."""
    start, end = [], []
    for _ in range(rows):
        lasts = dice.choice(
            [0, 1, 59_999_999, 300_000_000, dice.randrange(slots.MAX_DURATION_US),
             slots.MAX_DURATION_US]
        )  # fmt: skip
        start.append(BEGIN + dice.randrange(-worlds.HOUR, 2 * worlds.HOUR))
        if dice.random() < 0.2:
            start[-1] -= start[-1] % 300_000_000
        end.append(start[-1] + lasts)
    counters: list[int | None] = [None, 0, 1, 1499, 1500, 40, 9000, 1 << 53, 1 << 50, 1 << 26]

    def numbers(values: list[int | None], type_: Any = None) -> pa.Array:
        return pa.array([dice.choice(values) for _ in range(rows)], type_ or pa.int64())

    hops: list[str | None] = [None, "0.0.0.0", "::", "192.0.2.77", *PORTS]
    exporters = [*worlds.EXPORTERS, "203.0.113.9"]
    columns: dict[str, Any] = {
        "start_time": pa.array(start, pa.timestamp("us", "UTC")),
        "end_time": pa.array(end, pa.timestamp("us", "UTC")),
        "exporter_ip": pa.array([dice.choice(exporters) for _ in range(rows)]).dictionary_encode(),
        "observation_domain": numbers([0, 1]),
        "input_if": numbers([None, 0, 9, *range(10, 16)]),
        "output_if": numbers([None, 0, 9, *range(10, 16)]),
        "direction": numbers([None, 0, 1], pa.int32()),
        "src_addr": addresses(dice, [*worlds.REMOTES, "198.18.0.1", "198.18.3.9"], rows),
        "dst_addr": addresses(dice, [*worlds.REMOTES, "198.18.0.1", "2001:db8::1"], rows),
        "bytes": numbers(counters),
        "packets": numbers(counters),
        "sampling_interval": numbers([None, 1, 512]),
        "sampler_id": numbers([None, 1]),
        "min_length": numbers([None, 40, 1 << 40]),
        "max_length": numbers([None, 1500, 1 << 40]),
        "session": numbers([None, 4000]),
        "sampling_numerator": numbers([None, 0, 7, 1 << 62, 1000]),
        "sampling_denominator": numbers([None, 0, 1, 3, 1 << 18]),
        "next_hop": addresses(dice, hops, rows),
        "bgp_next_hop": addresses(dice, hops, rows),
        "src_mac": numbers([None, 0, 5, *MACS_KNOWN]),
        "dst_mac": numbers([None, 0, (1 << 48) - 1, *MACS_KNOWN]),
        "moment": 0,
    }
    for name in (*COLUMNS, *NEXT_HOPS, *MACS):
        constant = dice.random()
        if constant < 0.1 and name not in ("start_time", "end_time", "exporter_ip"):
            value = dice.choice([0, 3]) if name not in ("sampler_id", "session") else NULLS[name]
            columns[name] = 0 if "addr" in name or "hop" in name else value
        elif constant < 0.3:  # as readers give them: a part of a larger array
            column = columns[name]
            columns[name] = pa.concat_arrays([column[:3], column]).slice(min(3, rows))
    return FlowBatch(file, rows, columns)


def everything(
    ordering: Ordering, found: list[SortedSums], codes: Codes, seed: int
) -> Iterator[list[list[Any]]]:
    """All rows under new keys, some of which fall together."""
    dice, fields = np.random.default_rng(seed), codes.route_fields
    few, sides = dice.integers(4, size=codes.routes), dice.permutation(len(codes.sides))
    change = dice.integers(1 << 36, dtype=np.uint64)
    for changed in (None, lambda key: key ^ change):
        parts = [
            KeyedSums(
                some.entries,
                [
                    KeyField(*fields["local"], 0),
                    KeyField(*fields["route"], 20, few),
                    KeyField(*fields["side"], 30, sides[some.order]),
                    KeyField(native.SLOT_BIT, 4, 55),
                ],
            )
            for some in found
        ]
        yield in_order(ordering.ordered(parts, changed))


def in_order(sums: OrderedSums) -> list[list[Any]]:
    """All of their rows, taken some at a time."""
    rows: list[list[Any]] = [[] for _ in SummedRows._fields]
    room = SummedRows.room(70)
    while made := sums.take(room, 3):
        for into, column in zip(rows, room, strict=True):
            into += column[3 : 3 + made].tolist()
    return rows


@pytest.mark.skipif(CORE is None, reason="built without the compiled core")
@pytest.mark.parametrize("seed", range(20))
def test_compiled_sums_equal_plain_ones(seed: int, context: HourContext, file: str) -> None:
    assert CORE is not None
    dice, codes = random.Random(seed), Codes(context)
    aside: list[SortedSums] = []
    fast = CompiledSums(
        CORE, codes, HOUR, 1 if seed % 3 == 0 else compiled.HELD_OCTETS,
        lambda some: aside.append(SortedSums(some.entries.copy(), some.order)),
    )  # fmt: skip
    made = PlainSums(codes, HOUR), fast
    for rows in (1, 63, 64, 65, dice.randrange(400)):
        some = batch(dice, file, rows)
        plain, other = (one.add(some) for one in made)
        assert plain == other
        each = [one.each(some) for one in made]
        there = each[0][0]["crossings"] > 0
        assert each[0][0].tobytes() == each[1][0].tobytes()
        assert each[0][1][there].tobytes() == each[1][1][there].tobytes()
    first, last = (one.kept() for one in made)
    assert first is not None
    assert last is not None
    assert first.order == last.order
    assert (np.diff(last.entries["key"].astype(object)) > 0).all()
    assert bool(aside) == (seed % 3 == 0)
    if not aside:
        assert first.entries.tobytes() == last.entries.tobytes()
    for mine, other in zip(
        everything(PlainOrdering(), [first], codes, seed),
        everything(CompiledOrdering(CORE), [*aside, last], codes, seed), strict=True,
    ):  # fmt: skip
        assert mine == other


@pytest.mark.skipif(CORE is None, reason="built without the compiled core")
def test_records_of_a_whole_hour_with_two_crossings_are_summed(
    context: HourContext, file: str
) -> None:
    """64 of them, which are worked on together, have more keys than a new table has places."""
    assert CORE is not None
    dice = random.Random(1)
    some = batch(dice, file, 64)
    remotes = [f"20.{n}.0.1" for n in range(64)]
    routes = RouteTable.from_routes([f"{ip}/32" for ip in remotes], [*range(1, 65)])
    codes = Codes(replace(context, routes=lambda *_: routes))
    columns = dict.fromkeys(some.columns, 0) | {
        "start_time": pa.array([BEGIN] * 64, pa.timestamp("us", "UTC")),
        "end_time": pa.array([BEGIN + worlds.HOUR - 1] * 64, pa.timestamp("us", "UTC")),
        "exporter_ip": pa.array(["192.0.2.2"] * 64).dictionary_encode(),
        "input_if": 10, "output_if": 14, "direction": 1,
        "src_addr": pa.array([worlds.octets(ip) for ip in remotes], pa.binary(16)),
        "dst_addr": pa.array([worlds.octets(ip) for ip in reversed(remotes)], pa.binary(16)),
    }  # fmt: skip
    several = replace(some, columns=columns)
    made = PlainSums(codes, HOUR), CompiledSums(CORE, codes, HOUR, compiled.HELD_OCTETS)
    assert made[0].add(several) == made[1].add(several)
    kept = made[1].kept()
    assert kept is not None
    assert len(kept.entries) == 64 * HOUR_SLOTS * 2 == native.LEAST_ROOM
    assert kept.entries.tobytes() == made[0].kept().entries.tobytes()


@pytest.mark.skipif(CORE is None, reason="built without the compiled core")
def test_of_more_sums_than_fit_none_are_kept(context: HourContext, file: str) -> None:
    assert CORE is not None
    dice = random.Random(1)
    sums = CompiledSums(CORE, Codes(context), HOUR, 1)
    many, few = batch(dice, file, 20_000), batch(dice, file, 20)
    sums.add(few)
    assert sums.kept() is not None
    sums.add(many)
    assert sums.kept() is None
    sums.clear()
    sums.add(few)
    assert sums.kept() is not None


def some_sums(codes: Codes, dice: np.random.Generator, rows: int) -> SomeSums:
    """Sums as the decoder of a file keeps them, with numbers of sides of its own."""
    sides = dice.permutation(40)[: dice.integers(1, 41)]
    fields, entries = codes.route_fields, np.zeros(rows, ENTRIES)
    parts = (
        (0, dice.integers(1 << fields["route"][0], size=rows)),
        (fields["route"][0], dice.integers(codes.routes, size=rows)),
        (fields["side"][0], dice.integers(len(sides), size=rows)),
        (native.SLOT_BIT, dice.integers(HOUR_SLOTS, size=rows)),
    )
    for at, values in parts:
        entries["key"] |= values.astype(np.uint64) << np.uint64(at)
    entries["bytes"] = dice.integers(1 << 40, size=rows)
    return SomeSums(entries[np.argsort(entries["key"])], sides.astype(np.int64))


@pytest.mark.parametrize("how", ["plain", "compiled"])
@pytest.mark.parametrize("seed", range(5))
def test_sums_of_a_slot_come_side_after_side(
    seed: int, how: str, context: HourContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "plain":
        monkeypatch.setattr(hour_sums, "library", lambda: None)
    monkeypatch.setattr(hour_sums, "GROUP_ROWS", [1, 50, 300, 1 << 18][seed % 4])
    codes, dice = Codes(context), np.random.default_rng(seed)
    of, rank = HourSums(codes), dice.permutation(40)
    assert list(of.groups(rank)) == []
    added = [some_sums(codes, dice, int(rows)) for rows in (*dice.integers(0, 400, 6), 0)]
    for some in added:
        assert of.add(some)
    codes_of = [codes.route_part("route", some.entries["key"]) for some in added]
    assert np.flatnonzero(of.used).tolist() == np.unique(np.concatenate(codes_of)).tolist()

    def rows(groups: Any, slot: int | None) -> list[tuple[int, int, int]]:
        """Rank, key without the side, and bytes, of those of a slot."""
        found = []
        for entries, ranks in groups:
            ranked = ranks[codes.route_part("side", entries["key"])]
            rest = entries["key"] - (
                codes.route_part("side", entries["key"]) << codes.route_fields["side"][0]
            ).view(np.uint64)
            at = entries["key"] >> np.uint64(native.SLOT_BIT)
            found += [
                (int(r), int(k), int(b))
                for r, k, b, n in zip(ranked, rest, entries["bytes"], at, strict=True)
                if slot is None or n == slot
            ]
        return sorted(found)

    every = [(some.entries, rank[some.sides]) for some in added]
    for slot in (*range(HOUR_SLOTS), None):
        groups = [rows(some, None) for some in of.groups(rank, slot)]
        assert sorted(row for group in groups for row in group) == rows(every, slot)
        for one, after in itertools.pairwise(groups):
            assert one[-1][0] < after[0][0]
        if seed % 4 == 0:
            assert all(len({r for r, *_ in group}) == 1 for group in groups)
        if seed % 4 == 3:
            assert len(groups) == 1


def test_a_side_that_is_none_of_the_hours_may_be_named_where_no_key_has_it(
    context: HourContext,
) -> None:
    codes, entries = Codes(context), np.zeros(1, ENTRIES)
    entries["key"] = 1 << codes.route_fields["side"][0]
    of = HourSums(codes)
    assert of.add(SomeSums(entries, np.array([-2, 0])))
    (((found, ranks),),) = of.groups(np.zeros(1, np.int64))
    assert found.tobytes() == entries.tobytes()
    assert ranks[1] == 0


@pytest.mark.parametrize("how", ["plain", "compiled"])
def test_sums_of_no_such_key_are_not_added(
    how: str, context: HourContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "plain":
        monkeypatch.setattr(hour_sums, "library", lambda: None)
    codes, dice = Codes(context), np.random.default_rng(1)
    of, good = HourSums(codes), some_sums(codes, dice, 100)

    def with_key(key: int, at: int) -> SomeSums:
        entries = good.entries.copy()
        entries["key"][at] = key
        return SomeSums(entries, good.sides)

    (side, bits), (route, _) = codes.route_fields["side"], codes.route_fields["route"]
    assert codes.routes < 1 << codes.route_bits
    bad = {
        "order": SomeSums(good.entries[::-1].copy(), good.sides),
        "slot": with_key(HOUR_SLOTS << native.SLOT_BIT, -1),
        "side": with_key(11 << native.SLOT_BIT | (1 << bits) - 1 << side, -1),
        "route": with_key(codes.routes << route, 0),
        "no side": SomeSums(good.entries, np.full(len(good.sides), -2)),
        "no sides": SomeSums(good.entries, np.empty(0, np.int64)),
    }
    for name, some in bad.items():
        assert not of.add(some), name
    for seed in range(20):
        entries = np.zeros(50, ENTRIES)
        entries["key"] = np.sort(
            np.random.default_rng(seed).integers(1 << 64, size=50, dtype=np.uint64)
        )
        of.add(SomeSums(entries, np.arange(1 << 10)))  # whatever it is, no memory is touched
    assert list(of.groups(np.arange(1 << 10))) == []


def one_record(file: str, start: int, end: int, octets: int) -> FlowBatch:
    made = batch(random.Random(1), file, 1)
    times = (pa.array([at], pa.timestamp("us", "UTC")) for at in (start, end))
    columns = dict(zip(("start_time", "end_time"), times, strict=True))
    return FlowBatch(file, 1, {**made.columns, **columns, "bytes": pa.array([octets])})


def sums_of(how: str, context: HourContext) -> Any:
    if how == "plain":
        return PlainSums(Codes(context), HOUR)
    if CORE is None:
        pytest.skip("built without the compiled core")
    return CompiledSums(CORE, Codes(context), HOUR, compiled.HELD_OCTETS)


@pytest.mark.parametrize("how", ["plain", "compiled"])
def test_records_that_nobody_may_write_are_refused(
    how: str, context: HourContext, file: str
) -> None:
    sums = sums_of(how, context)
    for start, end, octets, why in (
        (BEGIN + 5, BEGIN + 4, 1, "out of order"),
        (BEGIN, BEGIN + slots.MAX_DURATION_US + 1, 1, "too far apart"),
        (BEGIN, BEGIN, -1, "below zero"),
    ):
        with pytest.raises(ValueError, match=why):
            sums.add(one_record(file, start, end, octets))


@pytest.mark.parametrize("how", ["plain", "compiled"])
def test_a_sum_that_does_not_fit_is_refused(how: str, context: HourContext, file: str) -> None:
    sums = sums_of(how, context)
    sums.add(one_record(file, BEGIN, BEGIN, (1 << 63) - 1))
    with pytest.raises(OverflowError, match="cannot be traffic"):
        sums.add(one_record(file, BEGIN, BEGIN, (1 << 63) - 1))


@pytest.mark.skipif(CORE is None, reason="built without the compiled core")
def test_a_key_beyond_its_ranks_is_refused() -> None:
    assert CORE is not None
    ordering, entries = CompiledOrdering(CORE), np.zeros(2, ENTRIES)
    entries["key"] = 3, 4
    ranks = np.arange(5)[::-1]
    good = ordering.ordered([KeyedSums(entries, [KeyField(0, 3, 0, ranks)])])
    assert in_order(good)[0] == [0, 1]
    for field in (KeyField(0, 3, 0, ranks[:4]), KeyField(0, 65, 0)):
        with pytest.raises(RuntimeError, match="refuses its arguments"):
            ordering.ordered([KeyedSums(entries, [field])])


@pytest.mark.skipif(CORE is None, reason="built without the compiled core")
def test_addresses_match_as_in_the_compiled_table() -> None:
    """Nested prefixes of both families, on addresses around every border."""
    assert CORE is not None
    dice = random.Random(3)
    texts = {f"{dice.randrange(1, 4)}.{dice.randrange(3)}.0.0/{dice.randrange(9, 17)}"
             for _ in range(200)}  # fmt: skip
    prefixes = {str(p) for p in map(_network, texts)}
    prefixes |= {str(_network(f"2a0{dice.randrange(9)}:{dice.randrange(9)}:{dice.randrange(9)}::"
                              f"{dice.randrange(9)}/{dice.choice([16, 24, 32, 48, 64, 128])}"))
                 for _ in range(300)}  # fmt: skip
    table = RouteTable.from_routes(sorted(prefixes), [1] * len(prefixes))
    asked: list[bytes | None] = [None]
    for prefix in map(_network, prefixes):
        for end in (int(prefix.network_address), int(prefix.broadcast_address)):
            for near in (end - 1, end, end + 1):
                mapped = near | 0xFFFF << 32 if prefix.version == 4 else near
                asked.append(mapped.to_bytes(16))
    kept = compiled._Kept()
    first, second = (
        kept.input("next_hop", pa.array(asked, pa.binary(16))),
        kept.input("next_hop", 0),
    )
    routes = kept.routes(table)
    out = np.empty(len(asked), np.int32)
    CORE.flowpeer_match(
        addressof(routes), addressof(first), addressof(second), len(asked), out.ctypes.data
    )
    halves = [np.array([int.from_bytes(a[n : n + 8]) for a in asked[1:] if a], np.uint64)
              for n in (0, 8)]  # fmt: skip
    assert out[0] == -1
    assert out[1:].tolist() == table.match(*halves).tolist()


def _network(text: str) -> Any:
    return ip_network(text, strict=False)


@pytest.mark.parametrize("seed", [3, 8])
def test_without_the_compiled_core_the_rows_are_the_same(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("with", "without"):
        folder = tmp_path / name
        folder.mkdir()
        rollup = worlds.prepare(folder, worlds.make_world(seed), 3, "fold_share = 0.4")
        if name == "without":
            for module in (aggregate, hour_sums):
                monkeypatch.setattr(module, "library", lambda: None)
        for hour in rollup.plan():
            rollup.roll_up(hour)
        made.append([
            worlds.table_rows(rollup.lake, table) for table in ("traffic", "traffic_routes")
        ])  # fmt: skip
    assert made[0] == made[1]
