"""Asks in place against plain Python: what moves to the byte, and every drill after it."""

from __future__ import annotations

import random
from copy import copy
from typing import Any

import numpy as np
import polars as pl
import pytest
from drill_world import DrillWorld, Link, Offer, largest_remainder, random_world

from flowpeer_reports.demand import Announced, demand
from flowpeer_reports.drill import after
from flowpeer_reports.failover import FailoverCompiler
from flowpeer_reports.removals import groups
from flowpeer_reports.signed import Asks, SignedNetwork, signed

EXCHANGE, FACILITY = 2, 3


def _asks(world: DrillWorld, seed: int) -> tuple[Asks, dict[tuple[str, str], int]]:
    """Two asks with some prefixes each, and (metro, prefix) → rank."""
    dice = random.Random(seed)
    metros = list(dict.fromkeys(link.metro for link in world.links))
    prefixes = sorted({r[3] for r in world.routes if r[3]})
    rows, taken = [], {}
    for rank, asn in ((1, 64501), (2, 64502)):
        for metro in metros:
            if dice.random() < 0.7:
                rung = dice.choice([EXCHANGE, FACILITY])
                ix = 26 if rung == EXCHANGE else None
                rows.append((rank, asn, f"Net {asn}", metro, rung, "somewhere", ix, None))
                for prefix in prefixes:
                    if (metro, prefix) not in taken and dice.random() < 0.5:
                        taken[metro, prefix] = rank
    frame = pl.DataFrame(
        rows,
        schema={"rank": pl.Int64, "asn": pl.Int64, "name": pl.String, "metro": pl.String,
                "rung": pl.Int64, "meet": pl.String, "ix": pl.Int64, "facility": pl.Int64},
        orient="row",
    )  # fmt: skip
    routes = pl.DataFrame(
        [(rank, metro, prefix, 1) for (metro, prefix), rank in taken.items()],
        schema={"rank": pl.Int64, "metro": pl.String, "prefix": pl.String,
                "origin_asn": pl.Int64},
        orient="row",
    )  # fmt: skip
    return Asks(frame, routes, "some asks"), taken


def _plain(world: DrillWorld, asks: Asks, taken: dict[tuple[str, str], int]) -> DrillWorld:
    """The world with the asks in place, one route at a time."""
    grown = copy(world)
    grown.links, grown.offers = list(world.links), [list(e) for e in world.offers]
    seat: dict[tuple[int, str], int] = {}
    planned: dict[tuple[str, str], int] = {}
    for row in asks.rows.iter_rows(named=True):
        metro = row["metro"]
        ports = [(-x.capacity, i) for i, x in enumerate(world.links)
                 if x.exchange == row["ix"] and x.metro == metro and row["ix"]]  # fmt: skip
        if ports:
            seat[row["rank"], metro] = min(ports)[1]
            continue
        shared = row["rung"] == EXCHANGE
        name = f"ask-ix26.{metro}" if shared else f"ask-AS{row['asn']}.{metro}"
        if (name, metro) not in planned:
            planned[name, metro] = len(grown.links)
            grown.links.append(Link(name, 0, metro, "ix" if shared else "peer",
                                    None if shared else row["asn"], 0,
                                    26 if shared else None))  # fmt: skip
        seat[row["rank"], metro] = planned[name, metro]
    asn_of = dict(asks.rows.select("rank", "asn").iter_rows())
    for epoch in grown.offers:
        fresh = []
        for prefix in sorted({p for _, p in taken}):
            old = [o for o in epoch if o.prefix == prefix]
            known = [o.local_pref for o in old]
            best = max(known) + 1 if old and None not in known else None  # type: ignore[type-var]
            origin = 0 if old and all(o.origin is not None for o in old) else None
            fresh += [
                Offer(prefix, seat[rank, m], asn_of[rank], best, 1, origin, None,
                      world.default_scope)
                for (m, p), rank in taken.items() if p == prefix and (rank, m) in seat
            ]  # fmt: skip
        epoch += fresh
    routes, away = [], {}
    whole: dict[tuple[int, int], int] = {}
    for hour, link, way, prefix, local, size in world.routes:
        if way == "out":
            whole[hour, link] = whole.get((hour, link), 0) + size
        metro = world.links[link].metro
        rank = taken.get((metro, prefix or ""))
        if way == "out" and world.links[link].role == "transit" and (rank, metro) in seat:
            to = seat[rank, metro]  # type: ignore[index]
            part = away.setdefault((hour, link), {})
            part[to * 10 + rank] = part.get(to * 10 + rank, 0) + size  # type: ignore[operator]
            link = to
        routes.append((hour, link, way, prefix, local, size))
    grown.routes = routes
    more = len(grown.links) - len(world.links)
    grown.loads = {w: np.vstack([d, np.zeros((more, d.shape[1]), np.int64)])
                   for w, d in world.loads.items()}  # fmt: skip
    for (hour, link), parts in away.items():
        weights: dict[Any, int] = {**parts, "stays": whole[hour, link] - sum(parts.values())}
        for slot in range(hour * 12, hour * 12 + 12):
            amount = int(world.loads["out"][link, slot])
            for key, size in largest_remainder(amount, weights).items():
                if key != "stays":
                    grown.loads["out"][link, slot] -= size
                    grown.loads["out"][key // 10, slot] += size
    return grown


def _compiler(world: DrillWorld, made: SignedNetwork) -> FailoverCompiler:
    moved = made.moved.with_columns(direction=pl.lit("out"))
    parts = [
        part.join(moved, on=["link", "prefix", "origin_asn", "direction"], how="left").with_columns(
            link=pl.coalesce("to", "link")
        )
        for part in world.parts()
    ]
    announced = Announced(world.home, world.announced)
    asked = demand(parts, made.found, made.offers, np.array(world.epoch_of_hour), made.choice,
                   announced)  # fmt: skip
    height = made.found.links.height
    hourly = made.found.into.reshape(height, world.hours, 12).sum(axis=2)
    return FailoverCompiler(made.found, made.choice, asked, announced, hourly)


@pytest.mark.parametrize("seed", range(16))
def test_asks_in_place_equal_plain_python_and_so_does_every_drill(seed: int) -> None:
    world = random_world(seed)
    asks, taken = _asks(world, seed)
    found, offers, choice = world.offered()
    made = signed(found, offers, choice, world.metros, world.parts, asks)
    grown = _plain(world, asks, taken)
    assert made.found.links["exporter"].to_list() == [x.exporter for x in grown.links]
    assert made.found.out.tolist() == grown.loads["out"].tolist()
    assert made.found.out.sum(axis=0).tolist() == world.loads["out"].sum(axis=0).tolist()
    assert made.asks["moved_bytes"].sum() == int(
        (made.found.out - grown_zero(found, grown)).clip(0).sum()
    )
    compiler = _compiler(world, made)
    removals = groups(made.found.links, {})
    assert not any(r.kind == "exporter" and r.name.startswith("ask-") for r in removals)
    for removal in removals:
        expected = grown.drill(removal)
        for way, fall in zip(("out", "in"), compiler.compile(removal), strict=True):
            state = after(compiler, removal, fall, way)
            assert state.without_way.tolist() == expected[way]["no way"].tolist()
            place = {link: i for i, link in enumerate(state.links.tolist())}
            for link in set(range(len(grown.links))) - set(removal.links):
                got = state.bytes[place[link]] if link in place else grown.loads[way][link]
                assert got.tolist() == expected[way][link].tolist(), (removal, way, link)


def grown_zero(found: Any, grown: DrillWorld) -> Any:
    """Outbound bytes before, with a row of zeros for each planned link."""
    more = len(grown.links) - found.links.height
    return np.vstack([found.out, np.zeros((more, found.slots), np.int64)])


def test_an_offer_in_front_leaves_the_order_of_the_others_as_it_was() -> None:
    """Preferred to all others; without it the class decides as before."""
    world = random_world(3)
    _, offers, _ = world.offered()
    prefix = next(iter(offers.of_prefix[0]))
    grown = offers.preferring({prefix: [(99, 7)]}, 0, 100)
    assert grown.loaded[99]
    first, table = grown.table()
    class_ = grown.of_prefix[0][prefix]
    old_first, old = offers.table()
    before = offers.of_prefix[0][prefix]
    rows = table[first[class_] : first[class_ + 1]]
    assert rows[0, 0] == 99
    assert rows[1:].tolist() == old[old_first[before] : old_first[before + 1]].tolist()
    assert (rows[0, 2] > rows[1:, 2]).all() or rows[0, 2] == -1
    assert offers.of_prefix[0][prefix] == before
