"""Already peered, still on transit: against a brute force over single flows (METHODS M14)."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import Flow, World
from test_candidates_oracle import Oracle, worlds

from flowpeer_reports.candidates import candidates
from flowpeer_reports.leaks import leaks
from flowpeer_reports.session_routes import OFFERS, TRANSIT, SessionRoutes

CAUSES = (
    "more specific by transit only", "not announced to us", "lower preference", "longer path",
    "capacity detour", "unknown",
)  # fmt: skip
PORT = {"ams": 900, "fra": 901}
CAPACITY = 1_000_000


@st.composite
def tables(draw: st.DrawFn, world: World) -> SessionRoutes:
    """What sessions announce in two epochs, an hour each, and what transits do."""
    ours = [(metro, asn) for asn, metro, _ in world.sessions]
    views = {key for key in ours if draw(st.integers(0, 3))}
    routes = sorted({f.route or "" for f in world.flows} - {""})
    offers, transit = [], []
    rate = st.sampled_from([None, 100, 100, 200])
    for epoch in (0, 1):
        for metro, asn in ours:
            for prefix in [*routes, "10.0.0.0/8", "0.0.0.0/0"]:
                if draw(st.integers(0, 3)) == 0:
                    offers.append((epoch, metro, asn, f"edge1.{metro}", PORT[metro], prefix,
                                   draw(rate), draw(st.integers(1, 3))))  # fmt: skip
        for metro in ("ams", "fra"):
            for provider in (1299, 174):
                for prefix in routes:
                    if draw(st.booleans()):
                        transit.append((epoch, f"edge1.{metro}", provider, prefix,
                                        draw(rate), draw(st.integers(1, 3))))  # fmt: skip
    return SessionRoutes(
        frozenset(views),
        pl.DataFrame(offers, schema=OFFERS, orient="row"),
        pl.DataFrame(transit, schema=TRANSIT, orient="row"),
        np.array([0, 1]),
    )


def expected(world: World, of: SessionRoutes) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """(metro, asn, prefix, origin) → cause, covering prefix, bytes, available to others."""
    oracle = Oracle(world, list(world.metros), {"out"}, 0.3)
    offers, transit = of.offers.to_dicts(), of.transit.to_dicts()
    flows = [f for f in world.flows if f.scaled and f.role == "transit"]
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for metro in world.metros:
        here = [f for f in flows if f.metro == metro]
        routes = {(f.prefix or "", f.origin) for f in here}

        def size(part: set[Any], ways: tuple[str, ...], here: list[Flow] = here) -> int:
            return sum(
                f.bytes for f in here if (f.prefix or "", f.origin) in part and f.direction in ways
            )

        def longest(peer: int, prefix: str, metro: str = metro) -> str | None:
            if not prefix:
                return None
            net = ipaddress.ip_network(prefix)
            over = [
                o["prefix"] for o in offers
                if o["metro"] == metro and oracle.party(o["asn"]) == peer
                and o["prefix"] != "0.0.0.0/0" and net.subnet_of(ipaddress.ip_network(o["prefix"]))
            ]  # fmt: skip
            return max(over, key=lambda p: int(p.split("/")[1]), default=None)

        parts = []
        for peer in oracle.peers[metro]:
            viewed = any(m == metro and oracle.party(a) == peer for m, a in of.views)
            seen = {r for r in routes if peer in oracle.observed[metro, *r]}
            lacking = {r for r in seen if viewed and longest(peer, r[0]) is None}
            more = {r for r in routes - seen if r[0] and longest(peer, r[0]) == r[0]}
            part = seen - lacking | more
            order = (-size(part, ("out",)), -size(part, ("out", "in")), peer)
            parts.append((order, peer, viewed, part, lacking))
        parts.sort(key=lambda p: p[0])
        taken: set[Any] = set()
        owned = []
        for number in (3, 4):
            for each in parts:
                mine = each[number] - taken
                taken |= mine
                owned.append((each[1], each[2], mine, number == 4))
        for peer, viewed, mine, withheld in owned:
            for prefix, origin in mine:
                by: dict[str, int] = defaultdict(int)
                over = longest(peer, prefix)
                for f in here:
                    if ((f.prefix or ""), f.origin) == (prefix, origin) and f.direction == "out":
                        cause = (
                            "not announced to us" if withheld
                            else "more specific by transit only"
                            if viewed and over is not None and over != prefix
                            else one(world, oracle, offers, transit, f, metro, peer)
                        )  # fmt: skip
                        by[cause] += f.bytes
                if by:
                    cause = min(by, key=lambda c: (-by[c], CAUSES.index(c)))
                    covering = over if over != prefix else None
                    found[metro, peer, prefix, origin] = (
                        cause, covering, sum(by.values()), withheld,
                    )  # fmt: skip
    return found


def one(
    world: World, oracle: Oracle, offers: list[Any], transit: list[Any], f: Flow, metro: str,
    peer: int,
) -> str:  # fmt: skip
    """The cause of one flow whose route the session holds, or is held to hold."""
    epoch = f.slot // 12

    def best(rows: list[Any]) -> tuple[int | None, int] | None:
        keyed = [(-(r["local_pref"] or -1), r["path_length"], r["local_pref"]) for r in rows]
        return min(((k[2], k[1]) for k in sorted(keyed, key=lambda k: k[:2])[:1]), default=None)

    theirs = best([
        o for o in offers if o["epoch"] == epoch and o["metro"] == metro
        and oracle.party(o["asn"]) == peer and o["prefix"] == f.prefix
    ])  # fmt: skip
    ours = best([
        t for t in transit if t["epoch"] == epoch and t["exporter"] == f"edge1.{metro}"
        and t["interface"] == f.provider and t["prefix"] == f.prefix
    ])  # fmt: skip
    if theirs is None:
        return "unknown"
    if ours is not None:
        known = theirs[0] is not None and ours[0] is not None
        if known and theirs[0] < ours[0]:  # type: ignore[operator]
            return "lower preference"
        if (not known or theirs[0] == ours[0]) and theirs[1] > ours[1]:
            return "longer path"
    loads: dict[int, int] = defaultdict(int)
    for g in world.flows:
        if g.role == "ix" and g.metro == metro and g.direction == "out" and g.slot // 12 == epoch:
            loads[g.slot] += g.bytes
    has_port = any(
        o["metro"] == metro and oracle.party(o["asn"]) == peer for o in offers
    )  # fmt: skip
    full = any(load * 8 >= 0.9 * 300 * CAPACITY for load in loads.values())
    return "capacity detour" if full and has_port else "unknown"


def with_ports(world: World, draw: Any) -> World:
    """The same with a port of ours on an exchange in each metro, and traffic on it."""
    more = [
        Flow(slot=draw(st.integers(0, 23)), origin=9999, bytes=draw(st.integers(1, 60_000_000)),
             provider=0, metro=metro, role="ix", interface=PORT[metro])
        for metro in ("ams", "fra") for _ in range(draw(st.integers(0, 2)))
    ]  # fmt: skip
    interfaces = [(m, p, "transit", p, 10**11) for m in ("ams", "fra") for p in (1299, 174)]
    ports = [(m, PORT[m], "ix", None, CAPACITY) for m in ("ams", "fra")]
    return replace(world, flows=[*world.flows, *more], interfaces=[*interfaces, *ports])  # type: ignore[list-item]


@settings(max_examples=examples(60))
@given(st.data())
def test_every_route_has_its_session_cause_and_bytes(data: st.DataObject) -> None:
    world = data.draw(worlds())
    if not world.sessions:
        world = replace(world, sessions=[(2002, "ams", "ix"), (2003, "fra", "ix")])
    world = with_ports(world, data.draw)
    of = data.draw(tables(world))
    inputs = world.inputs()
    routes = inputs.traffic_routes.with_columns(pl.col("prefix").replace("", None))
    inputs = replace(inputs, session_routes=of, traffic_routes=routes)
    found = leaks(inputs)
    want = expected(world, of)
    got = {
        (r["metro"], r["asn"], r["prefix"] or "", r["origin_asn"]): (
            r["cause"], r["covering_prefix"], r["out_bytes"], r["available_to_others"],
        )
        for r in found.prefixes.to_dicts()
    }  # fmt: skip
    assert got == want
    # The rows are the sums of their routes, and what stays with the session is row 0.
    for row in found.rows.to_dicts():
        mine = [
            v for k, v in want.items()
            if k[:2] == (row["metro"], row["asn"]) and v[0] == row["cause"]
        ]  # fmt: skip
        assert (row["prefixes"], row["out_bytes"]) == (len(mine), sum(v[2] for v in mine))
        assert row["in_row_0"] == (row["cause"] != "not announced to us")
        assert row["avg_bps"] == pytest.approx(row["out_bytes"] * 8 / 7200, abs=2e-3)
    listed = candidates(inputs)
    for metro in world.metros:
        row_0 = listed.rows.filter(pl.col("metro") == metro, pl.col("rank") == 0)
        kept = found.rows.filter(pl.col("metro") == metro, "in_row_0")
        assert row_0["out_bytes"].sum() == kept["out_bytes"].sum()


def test_a_route_that_is_not_announced_to_us_is_open_to_others() -> None:
    flows = [Flow(slot=s, origin=2003, bytes=10**6, prefix="10.3.0.0/16") for s in range(12)]
    world = World(
        flows,
        [("10.3.0.0/16", "1299 2001 2003"), ("10.3.0.0/16", "1299 2002 2003")],
        [(2001, 2003, -1), (2002, 2003, -1)],
        sessions=[(2001, "ams", "ix")],
    )
    blind = leaks(world.inputs())
    assert blind.rows.select("asn", "cause", "in_row_0").rows() == [(2001, "unknown", True)]
    assert candidates(world.inputs()).rows["asn"].to_list() == [2001]
    told = replace(world.inputs(), session_routes=SessionRoutes(
        views=frozenset({("ams", 2001)}), epoch_of_hour=np.array([0]),
    ))  # fmt: skip
    found = leaks(told)
    assert found.rows.select("asn", "cause", "in_row_0").rows() == [
        (2001, "not announced to us", False)
    ]
    assert found.prefixes["available_to_others"].to_list() == [True]
    listed = candidates(told).rows
    assert 0 not in listed["rank"].to_list()
    # The origin itself and its other provider may be asked; the one with the session is not again.
    assert set(listed["asn"].drop_nulls()) == {2002, 2003}
