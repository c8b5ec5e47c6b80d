"""The ranking against a brute-force oracle in plain Python that shares no code with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import polars as pl
import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports_world import Flow, World

from flowpeer.analysis.scratch import FileStore
from flowpeer_reports.candidates import candidates, placed_bytes
from flowpeer_reports.policy import Weights

TRANSITS = (1299, 174)
NETWORKS = (2001, 2002, 2003, 2004, 2005, 2006)
RATES = {"Open": 0.8, "Selective": 0.5, "Restrictive": 0.15, "No": 0.02}
P = sum(RATES.values()) / 4
PLACE = 0.3
"""PeeringDB is loaded and nobody is anywhere."""
SECONDS = 7200


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A small Internet: links go from lower to higher numbers, so there is no loop of providers."""
    links = [
        (a, b, -1)
        for i, a in enumerate(NETWORKS)
        for b in NETWORKS[i + 1 :]
        if draw(st.integers(0, 3)) == 0
    ]
    links += [(t, n, -1) for t in TRANSITS for n in NETWORKS if draw(st.booleans())]
    if draw(st.booleans()):
        links.append((2005, 2006, 1))
    prefixes = {f"10.{i}.0.0/16": draw(st.sampled_from(NETWORKS)) for i in range(6)}
    paths = []
    for prefix, origin in prefixes.items():
        for _ in range(draw(st.integers(0, 2))):
            middle = draw(st.lists(st.sampled_from(NETWORKS), max_size=3))
            hops = [draw(st.sampled_from(TRANSITS)), *middle, *[origin] * draw(st.integers(1, 2))]
            tail = draw(st.sampled_from(["", "", "", " {2003 2004}"]))
            paths.append((prefix, " ".join(map(str, hops)) + tail))
    routes = st.one_of(
        st.sampled_from(sorted(prefixes.items())),
        st.sampled_from([(None, -1), ("10.9.0.0/16", -3)]),
    )
    flows = []
    for _ in range(draw(st.integers(1, 14))):
        prefix, origin = draw(routes)
        flows.append(
            Flow(
                slot=draw(st.integers(0, 23)),
                origin=origin,
                bytes=draw(st.integers(1, 10**6)),
                prefix=prefix if prefix is not None else "",
                provider=draw(st.sampled_from(TRANSITS)),
                metro=draw(st.sampled_from(["ams", "fra"])),
                direction=draw(st.sampled_from(["out", "out", "in"])),
                variance=draw(st.integers(0, 10**9)),
                scaled=draw(st.integers(0, 9)) > 0,
            )
        )
    sessions = [(n, "ams", "ix") for n in NETWORKS if draw(st.integers(0, 5)) == 0]
    excluded = [(n, "no", None) for n in NETWORKS if draw(st.integers(0, 7)) == 0]
    policies = {n: draw(st.sampled_from(["", *RATES])) for n in NETWORKS}
    # PeeringDB knows some of them, some as one organisation; with its places nobody is judged.
    listed = [n for n in NETWORKS if draw(st.booleans())]
    net = pl.DataFrame(
        [
            {"id": n, "asn": n, "name": f"N{n}", "org_id": draw(st.integers(1, 9)),
             "policy_general": policies[n]}
            for n in listed
        ]
        + [  # somebody else, so that PeeringDB is loaded
            {"id": 9999, "asn": 9999, "name": "N9999", "org_id": 99, "policy_general": None}
        ],
        schema={"id": pl.Int64, "asn": pl.Int64, "name": pl.String, "org_id": pl.Int64,
                "policy_general": pl.String},
    )  # fmt: skip
    return World(
        flows,
        paths,
        links,
        metros=("ams", "fra"),
        hours=2,
        sessions=sessions,
        exclusions=excluded,
        peeringdb={"net": net},
    )


def seen_on(path: str, world: World) -> set[int]:
    """Networks on the path after which every link goes downhill."""
    hops: list[int] = []
    if "{" in path:
        return set()  # the origin is a set: its links are unknown
    for token in path.split():
        if not hops or hops[-1] != int(token):
            hops.append(int(token))
    known = set(world.links)
    down = {(a, b) for a, b, k in known if k == -1}
    down |= {(a, b) for a, b, k in known if k == 1} | {(b, a) for a, b, k in known if k == 1}
    good = {hops[-1]}
    for left, right in reversed(list(pairwise(hops))):
        if (left, right) not in down:
            break
        good.add(left)
    return good


def above(origin: int, world: World) -> set[int]:
    """Every network whose customer cone holds the origin."""
    found, todo = set(), [origin]
    while todo:
        at = todo.pop()
        for a, b, kind in world.links:
            ups = [a] if b == at and kind in (-1, 1) else [b] if a == at and kind == 1 else []
            for up in ups:
                if up not in found and up != origin:
                    found.add(up)
                    todo.append(up)
    return found


def families(world: World) -> dict[int, frozenset[int]]:
    """Network → everybody that it is one party with."""
    known = world.peeringdb["net"].filter(pl.col("asn").is_in(NETWORKS))
    rows = known.select("asn", "org_id").rows()
    linked = [(a, b) for a, b, kind in world.links if kind == 1]
    linked += [(a, b) for a, o in rows for b, p in rows if o == p]
    of = {n: {n} for n in NETWORKS}
    for _ in NETWORKS:
        for a, b in linked:
            of[a] = of[b] = of[a] | of[b]
            for member in of[a]:
                of[member] = of[a]
    return {n: frozenset(members) for n, members in of.items()}


class Oracle:
    """Greedy by trying everything at every step, over single routes; `metros` as one universe."""

    def __init__(
        self, world: World, metros: list[str], directions: set[str], inferred: float
    ) -> None:
        self.world, self.metros, self.inferred = world, metros, inferred
        self.flows = [f for f in world.flows if f.metro in metros and f.scaled]
        self.directions = directions
        self.routes = sorted({(f.metro, f.prefix or "", f.origin) for f in self.flows})
        self.net = {r["asn"]: r for r in world.peeringdb["net"].to_dicts()}
        self.family = families(world)
        own = {n: sum(f.bytes for f in world.flows if f.origin == n and f.scaled) for n in NETWORKS}
        self.ask = {
            members: min(
                [m for m in members if m in self.net] or members, key=lambda m: (-own[m], m)
            )
            for members in set(self.family.values())
        }
        self.observed: dict[Any, set[int]] = {}
        self.takers: dict[Any, dict[int, float]] = {}
        for route in self.routes:
            _, prefix, origin = route
            seen: set[int] = set()
            cone: set[int] = set()
            if origin > 0:
                seen = {origin}.union(*(seen_on(p, world) for q, p in world.paths if q == prefix))
                cone = above(origin, world)
            self.observed[route] = {self.party(a) for a in seen if a in NETWORKS}
            self.takers[route] = {
                **dict.fromkeys((self.party(a) for a in cone if a in NETWORKS), inferred),
                **dict.fromkeys(self.observed[route], 1.0),
            }
        never = {a for a, *_ in world.exclusions}
        self.barred = {self.party(a) for a in never}
        self.peers = {m: {self.party(a) for a, at, _ in world.sessions if at == m} for m in metros}

    def party(self, asn: int) -> int:
        return self.ask[self.family[asn]]

    def p(self, asn: int) -> float:
        return RATES.get((self.net.get(asn) or {}).get("policy_general", ""), P) * PLACE

    def refuses(self, asn: int) -> bool:
        return bool((self.net.get(asn) or {}).get("policy_general") == "No")

    def value(self, route: Any, directions: set[str] | None = None) -> int:
        wanted = self.directions if directions is None else directions
        return sum(
            f.bytes
            for f in self.flows
            if (f.metro, f.prefix or "", f.origin) == route and f.direction in wanted
        )

    def bps(self, octets: float) -> float:
        return octets * 8 / SECONDS

    def answer(self, least: float) -> list[dict[str, Any]]:
        free = set(self.routes)
        seen_free = set(self.routes)
        rows: list[dict[str, Any]] = []

        def row(
            rank: int | None, asn: int | None, part: set[Any], seen: set[Any], expected: float
        ) -> None:
            rows.append(
                {
                    "rank": rank,
                    "asn": asn,
                    "marginal": sum(self.value(r) for r in part),
                    "observed": sum(self.value(r) for r in seen),
                    "expected": expected,
                    "out_bytes": sum(self.value(r, {"out"}) for r in part),
                    "in_bytes": sum(self.value(r, {"in"}) for r in part),
                    "routes": part,
                }
            )

        peered: dict[int, set[Any]] = {}
        for metro in self.metros:

            def worth(peer: int, metro: str = metro) -> tuple[int, int, int]:
                mine = [r for r in self.routes if r[0] == metro and peer in self.observed[r]]
                return (
                    -sum(self.value(r) for r in mine),
                    -sum(self.value(r, {"in", "out"}) for r in mine),
                    peer,
                )

            for peer in sorted(self.peers[metro], key=worth):
                part = {r for r in free if r[0] == metro and peer in self.observed[r]}
                peered.setdefault(peer, set()).update(part)
                free -= part
                seen_free -= part
        of = {a: sum(self.value(r) for r in part) for a, part in peered.items() if part}
        small = [a for a in of if self.bps(of[a]) < least]
        for peer in sorted(of, key=lambda a: (-of[a], a)) if len(self.metros) > 1 else of:
            if peer not in small or len(small) == 1:
                row(0, peer, peered[peer], peered[peer], of[peer])
        if len(small) > 1:
            part = set().union(*(peered[a] for a in small))
            row(0, None, part, part, sum(of[a] for a in small))
        universe = set(free)
        parties = {self.party(n) for n in NETWORKS}
        can = {
            a: {
                r
                for r in universe
                if a in self.takers[r] and a not in self.barred and a not in self.peers[r[0]]
            }
            for a in parties
        }
        # Where a candidate takes nothing that ranks, in a metro, it is none there.
        can = {
            a: {r for r in mine if any(self.value(q) for q in mine if q[0] == r[0])}
            for a, mine in can.items()
        }
        left = {a for a, mine in can.items() if mine}
        open_ = dict.fromkeys(universe, 1.0)
        rank = 0
        while left:
            gains = {
                a: self.p(a) * sum(self.value(r) * self.takers[r][a] * open_[r] for r in can[a])
                for a in left
            }
            top = max(gains.values())
            # Equal to the last bit or so: the lower number; the world has few such ties.
            best = min(a for a, g in gains.items() if g >= top * (1 - 1e-12))
            if top <= 0 or round(self.bps(gains[best]), 3) < least:
                break
            rank += 1
            part = free & can[best]
            seen = {r for r in seen_free & can[best] if best in self.observed[r]}
            row(rank, best, part, seen, gains[best])
            free -= part
            if not self.refuses(best):
                seen_free -= seen
                for r in can[best]:
                    open_[r] *= 1 - self.p(best) * self.takers[r][best]
            left.remove(best)
        if left:
            part = free & set().union(*(can[a] for a in left))
            willing = [a for a in left if not self.refuses(a)]
            seen = {
                r for r in seen_free if any(r in can[a] and a in self.observed[r] for a in willing)
            }
            expected = 0.0
            for r in universe:
                none = 1.0
                for a in willing:
                    if r in can[a]:
                        none *= 1 - self.p(a) * self.takers[r][a]
                expected += self.value(r) * open_[r] * (1 - none)
            row(None, None, part, seen, expected)
        return rows

    def p95(self, part: set[tuple[str, int]], n: int) -> float:
        """From the definition: slots by ASN, shares by hour and interface."""
        series = [dict.fromkeys(self.directions, 0) for _ in range(n)]
        for f in self.flows:
            if f.direction not in self.directions:
                continue
            alike = [
                g
                for g in self.flows
                if (g.metro, g.provider, g.direction, g.origin, g.slot // 12)
                == (f.metro, f.provider, f.direction, f.origin, f.slot // 12)
            ]
            mine = sum(g.bytes for g in alike if (g.metro, g.prefix or "", g.origin) in part)
            series[f.slot][f.direction] += f.bytes * mine / sum(g.bytes for g in alike)  # type: ignore[assignment]
        values = sorted(max(s.values()) for s in series)
        return values[(19 * n + 19) // 20 - 1] * 8 / 300


def same(rows: list[dict[str, Any]], expected: list[dict[str, Any]], total: int) -> None:
    """Every figure of the ranking, row by row; shares from the sums."""
    assert [(r["rank"], r["asn"]) for r in rows] == [(e["rank"], e["asn"]) for e in expected]
    taken = seen = hoped = 0.0
    for row, want in zip(rows, expected, strict=True):
        assert (row["out_bytes"], row["in_bytes"]) == (want["out_bytes"], want["in_bytes"])
        for name in ("marginal", "observed", "expected"):
            assert row[f"{name}_bps"] == pytest.approx(want[name] * 8 / SECONDS, abs=2e-3)
        if row["rank"] != 0:
            taken += want["marginal"]
            if row["policy"] != "No":
                seen, hoped = seen + want["observed"], hoped + want["expected"]
        if total:
            assert row["cumulative_share"] == pytest.approx(taken / total)
            assert row["cumulative_observed_share"] == pytest.approx(seen / total)
            assert row["cumulative_expected_share"] == pytest.approx(hoped / total)


@settings(max_examples=examples(25))
@given(
    worlds(),
    st.sampled_from(["out", "in", "both"]),
    st.sampled_from([0.3, 1.0]),
    st.sampled_from([0.0, 100.0, 400.0]),
)
def test_rows_equal_those_of_a_search_that_tries_everything(
    world: World, direction: Any, inferred: float, least: float
) -> None:
    weights = Weights(inferred=inferred)
    world.policy = replace(world.policy, weights=weights, min_expected_bps=least)
    found = candidates(world.inputs(), direction=direction)
    directions = {"in", "out"} if direction == "both" else {direction}
    for metro in world.metros:
        oracle = Oracle(world, [metro], directions, inferred)
        expected = oracle.answer(least)
        rows = found.rows.filter(pl.col("metro") == metro).to_dicts()
        same(rows, expected, sum(map(oracle.value, oracle.routes)))
        for row, want in zip(rows, expected, strict=True):
            # A slot's part is rounded to a byte for each ASN and interface.
            assert row["p95_bps"] == pytest.approx(oracle.p95(want["routes"], 24), abs=0.2)
    oracle = Oracle(world, list(world.metros), directions, inferred)
    total = sum(map(oracle.value, oracle.routes))
    same(found.organisations.to_dicts(), oracle.answer(least), total)


@settings(max_examples=examples(15))
@given(worlds(), st.sampled_from(["out", "in", "both"]), st.one_of(st.none(), st.integers(0, 3)))
def test_every_transit_byte_is_in_one_row_or_has_a_reason(
    world: World, direction: Any, asks: int | None
) -> None:
    found = candidates(world.inputs(), direction=direction, asks=asks)
    ways: tuple[Literal["out", "in"], ...] = ("out", "in")
    for way in ways:
        whole = sum(f.bytes for f in world.flows if f.scaled and f.direction == way)
        assert placed_bytes(world.inputs(), way) == whole
        column = f"{way}_bytes"
        assert found.rows[column].sum() + found.not_listed[column].sum() == whole
        beside = found.not_listed_organisations[column].sum()
        assert found.organisations[column].sum() + beside == whole
        assert found.totals["all"][column] == whole
    bare = sum(f.bytes for f in world.flows if not f.scaled)
    assert found.not_listed["unscaled_bytes"].sum() == bare == found.totals["all"]["unscaled_bytes"]
    if asks is None:
        assert found.not_listed_organisations.equals(found.not_listed)
    else:
        assert found.rows["rank"].max() in (None, *range(asks + 1))


@settings(max_examples=examples(10))
@given(worlds(), st.integers(0, 3))
def test_a_shorter_list_is_the_head_of_the_longer_one(world: World, asks: int) -> None:
    inputs = world.inputs()
    long = candidates(inputs)
    short = candidates(inputs, asks=asks)
    head = long.rows.filter(pl.col("rank") <= asks)
    assert short.rows.filter(pl.col("rank").is_not_null()).equals(head)
    for metro in world.metros:
        after = long.rows.filter(pl.col("metro") == metro, pl.col("rank") == asks + 1).to_dicts()
        coming = short.next_ask[metro]
        assert (coming is None) == (not after)
        if coming:
            assert coming["asn"] == after[0]["asn"]
            assert coming["marginal_bps"] == after[0]["marginal_bps"]


@settings(max_examples=examples(5), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worlds())
def test_hours_summed_one_by_one_are_the_same_list(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    whole = candidates(world.inputs())
    with monkeypatch.context() as patch:
        for rows in ("universe.ROUTES", "series.ROWS"):
            patch.setattr(f"flowpeer_reports.{rows}_AT_ONCE", 1)
        patch.setattr("flowpeer_reports.greedy.ENTRIES_AT_ONCE", 1)
        parts = candidates(world.inputs(), stores=FileStore)
    assert parts.rows.equals(whole.rows)
    assert parts.organisations.equals(whole.organisations)
    assert parts.not_listed.equals(whole.not_listed)
    assert parts.totals == whole.totals


@settings(max_examples=examples(15))
@given(worlds(), st.integers(0, 2))
def test_slots_and_hours_that_differ_are_named_with_both_sums(world: World, what: int) -> None:
    """A route that slots lack, a link that routes lack, unscaled bytes that one of them has."""
    inputs = world.inputs()
    traffic, routes = inputs.traffic.collect(), inputs.traffic_routes.collect()
    before = candidates(inputs)
    assert not [note for note in before.notes if "traffic holds" in note]
    of = routes.filter(pl.col("role") == "transit", "scaled")
    if of.is_empty():
        return
    link = of.select("metro", "exporter", "interface", "direction").row(0, named=True)
    here = pl.all_horizontal(pl.col(name) == value for name, value in link.items())
    mine = here & (pl.col("role") == "transit")
    if what == 0:
        traffic = traffic.filter(~mine | (pl.int_range(pl.len()) > pl.len() // 2))
    elif what == 1:
        routes = routes.filter(~mine)
    else:
        traffic = traffic.with_columns(scaled=pl.col("scaled") & ~mine)

    def sums(frame: pl.DataFrame, scaled: bool) -> int:
        rows = frame.filter(pl.col("role") == "transit", pl.col("scaled") == scaled)
        rows = rows.filter(metro=link["metro"], direction=link["direction"])
        return int(rows["bytes"].sum())

    expected = {
        f"{link['metro']} {link['direction']}: traffic holds {slots:,} transit bytes and "
        f"traffic_routes {hours:,}; run the verification of the lake before using this list"
        for scaled in (True, False)
        if (slots := sums(traffic, scaled)) != (hours := sums(routes, scaled))
    }
    found = candidates(replace(inputs, traffic=traffic.lazy(), traffic_routes=routes.lazy()))
    assert {note for note in found.notes if "traffic holds" in note} == expected
