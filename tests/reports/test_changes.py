"""What changed against another period: against a brute force over single routes (METHODS M17)."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import pytest
from effort import examples
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reports_world import START, Flow, World
from test_candidates_oracle import NETWORKS, Oracle, above, seen_on, worlds

from flowpeer_reports.candidates import candidates
from flowpeer_reports.changes import CAUSES, Side, changes, with_changes
from flowpeer_reports.inputs import Inputs

Route = tuple[str, int]


def inputs_of(world: World) -> Inputs:
    """Its inputs; what has no route has none."""
    made = world.inputs()
    routes = made.traffic_routes.with_columns(pl.col("prefix").replace("", None))
    return replace(made, traffic_routes=routes)


class Evidence:
    """Who takes a route by the tables of one of two worlds."""

    def __init__(self, world: World, other: World, oracle: Oracle) -> None:
        self.world, self.other, self.oracle = world, other, oracle
        self.own = {(f.prefix or "", f.origin) for f in world.flows if f.scaled}

    def paths(self, route: Route) -> list[str]:
        prefix, origin = route
        known = [p for q, p in self.world.paths if q == prefix]
        if known or not prefix or prefix in {q for q, _ in self.own}:
            return known
        net = ipaddress.ip_network(prefix)
        over = [
            q for q, _ in self.world.paths
            if q != prefix and net.subnet_of(ipaddress.ip_network(q))
        ]  # fmt: skip
        if over:
            longest = max(over, key=lambda q: int(q.split("/")[1]))
            return [p for q, p in self.world.paths if q == longest]
        alike = {q for q, o in self.own if o == origin and q}
        of_origin = [p for q, p in self.world.paths if q in alike]
        return of_origin or [p for q, p in self.other.paths if q == prefix]

    def observed(self, route: Route) -> set[int]:
        if route[1] <= 0:
            return set()
        seen = {route[1]}.union(*(seen_on(p, self.world) for p in self.paths(route)))
        return {self.oracle.party(a) for a in seen if a in NETWORKS}

    def takers(self, route: Route) -> set[int]:
        if route[1] <= 0:
            return set()
        cone = {self.oracle.party(a) for a in above(route[1], self.world) if a in NETWORKS}
        return self.observed(route) | cone


@st.composite
def two(draw: st.DrawFn) -> tuple[World, World]:
    """The same Internet with other traffic, tables, sessions and exclusions."""
    one, other = draw(worlds()), draw(worlds())
    wide = [("10.0.0.0/8", "1299 2001 2003 2006")] if draw(st.booleans()) else []
    made = replace(
        one, flows=other.flows, paths=other.paths, sessions=other.sessions,
        exclusions=other.exclusions,
    )  # fmt: skip
    return replace(one, paths=[*one.paths, *wide]), made


# Without shrinking: two worlds take minutes of it, and their first failure reads as well.
@settings(max_examples=examples(40), phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(two(), st.sampled_from([0.0, 200.0]))
def test_the_differences_are_those_of_a_brute_force(
    pair: tuple[World, World], least: float
) -> None:
    old, new = pair
    for world in pair:
        world.policy = replace(world.policy, min_expected_bps=least)
    after = candidates(inputs_of(new))
    before = candidates(inputs_of(old), named=after.ranking.parties)
    found = changes(Side(inputs_of(old), before), Side(inputs_of(new), after))
    oracle = Oracle(new, list(new.metros), {"out"}, 0.3)
    evidence = (Evidence(old, new, oracle), Evidence(new, old, oracle))
    got = {(r["metro"], r["asn"]): r for r in found.to_dicts()}
    keys = set()
    for metro in new.metros:
        orders, rates, peers, barred, has = [], [], [], [], []
        for world, answer in ((old, before), (new, after)):
            listed = answer.rows.filter(pl.col("metro") == metro, pl.col("rank") > 0)
            orders.append(listed.sort("rank")["asn"].to_list())
            rate: dict[Route, float] = {}
            for f in world.flows:
                if f.metro == metro and f.scaled:
                    key = (f.prefix or "", f.origin)
                    rate[key] = rate.get(key, 0) + (
                        f.bytes * 8 / 7200 if f.direction == "out" else 0
                    )
            rates.append(rate)
            has.append(any(f.metro == metro and f.scaled for f in world.flows))
            peers.append({oracle.party(a) for a, at, _ in world.sessions if at == metro})
            barred.append({oracle.party(a) for a, *_ in world.exclusions} | peers[-1])
        routes = set(rates[0]) | set(rates[1])

        def value(
            rate: dict[Route, float], asn: int, table: int, rows: int,
            routes: set[Route] = routes, orders: list[list[int]] = orders,
            peers: list[set[int]] = peers,
        ) -> float:  # fmt: skip
            order = orders[rows]
            over = order[: order.index(asn)] if asn in order else order
            total = 0.0
            for route in routes:
                takers, seen = evidence[table].takers(route), evidence[table].observed(route)
                if asn in takers and not takers & set(over) and not (peers[rows] - {asn}) & seen:
                    total += rate.get(route, 0.0)
            return total

        # Each metro has one router: what one period lacks, it lacks whole.
        mixed = rates[0] if has[0] and has[1] else rates[1]
        for asn in {*orders[0], *orders[1]}:
            keys.add((metro, asn))
            may = [asn not in b for b in barred]
            steps = [value(rates[0], asn, 0, 0), value(mixed, asn, 0, 0),
                     value(rates[1], asn, 0, 0), value(rates[1], asn, 1, 0),
                     value(rates[1], asn, 1, 1)]  # fmt: skip
            values = [s * may[0] for s in steps] + [steps[-1] * may[1]]
            row = got[metro, asn]
            assert row["marginal_bps_before"] == pytest.approx(values[0], abs=2e-3)
            assert row["marginal_bps"] == pytest.approx(values[-1], abs=2e-3)
            for cause, low, high in zip(CAUSES, values, values[1:], strict=False):
                assert row[f"{cause}_bps"] == pytest.approx(high - low, abs=5e-3), cause
            whole = sum(round(row[f"{c}_bps"] * 1000) for c in CAUSES)
            assert whole == round(row["marginal_bps"] * 1000) - round(
                row["marginal_bps_before"] * 1000
            )  # fmt: skip
            for answer, column, place in (
                (before, "marginal_bps_before", 0), (after, "marginal_bps", 1),
            ):  # fmt: skip
                if asn in orders[place]:
                    mine = answer.rows.filter(
                        pl.col("metro") == metro, pl.col("asn") == asn, pl.col("rank") > 0
                    )
                    assert row[column] == pytest.approx(mine["marginal_bps"].item(), abs=2e-3)
    assert set(got) == keys


def test_the_list_says_what_is_new_and_why() -> None:
    paths = [("10.1.0.0/16", "1299 2001"), ("10.2.0.0/16", "1299 2002")]
    old = World([Flow(0, 2001, 10**6, "10.1.0.0/16")], paths, metros=("ams",))
    new = World(
        [Flow(0, 2001, 3 * 10**6, "10.1.0.0/16"), Flow(0, 2002, 10**6, "10.2.0.0/16")],
        paths, metros=("ams",), sessions=[],
    )  # fmt: skip
    after = candidates(new.inputs())
    before = candidates(old.inputs(), named=after.ranking.parties)
    found = changes(Side(old.inputs(), before), Side(new.inputs(), after))
    rows = with_changes(after.rows, found, START).to_dicts()
    of = {r["asn"]: r for r in rows}
    assert (of[2001]["change"], of[2001]["first_seen"]) == ("up", date(2026, 9, 16))
    assert of[2001]["change_causes"] == ["demand +0.00 Mbps"]
    assert (of[2002]["change"], of[2002]["first_seen"]) == ("new", None)
    gone = replace(new, sessions=[(2002, "ams", "ix")])
    now = candidates(gone.inputs())
    then = candidates(new.inputs(), named=now.ranking.parties)
    changed: dict[int, Any] = {
        r["asn"]: r for r in changes(Side(new.inputs(), then), Side(gone.inputs(), now)).to_dicts()
    }
    # It is a session now: what it would have taken is lost to eligibility, nothing else.
    assert changed[2002]["status"] == "gone"
    assert changed[2002]["eligibility_bps"] == -changed[2002]["marginal_bps_before"]
    assert changed[2001]["status"] == "same"
