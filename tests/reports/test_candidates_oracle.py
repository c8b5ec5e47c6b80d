"""The ranking against a brute-force oracle in plain Python that shares no code with it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import Flow, World

from flowpeer_reports.candidates import Weights, candidates

TRANSITS = (1299, 174)
NETWORKS = (2001, 2002, 2003, 2004, 2005, 2006)
UNKNOWN_POLICY, UNKNOWN_PLACE = (0.8 + 0.5 + 0.2 + 0.05) / 4, 0.5
P = UNKNOWN_POLICY * UNKNOWN_PLACE


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
    return World(
        flows, paths, links, metros=("ams", "fra"), hours=2, sessions=sessions, exclusions=excluded
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


class Oracle:
    """Greedy by trying everything at every step, over single routes."""

    def __init__(self, world: World, metro: str, directions: set[str], inferred: float) -> None:
        self.flows = [f for f in world.flows if f.metro == metro and f.scaled]
        self.directions = directions
        self.routes = sorted({(f.prefix or "", f.origin) for f in self.flows})
        self.observed: dict[tuple[str, int], set[int]] = {}
        self.takers: dict[tuple[str, int], dict[int, float]] = {}
        for route in self.routes:
            prefix, origin = route
            seen: set[int] = set()
            if origin > 0:
                seen = {origin}.union(*(seen_on(p, world) for q, p in world.paths if q == prefix))
                takers = dict.fromkeys(above(origin, world), inferred)
            else:
                takers = {}
            self.observed[route] = seen
            self.takers[route] = {**takers, **dict.fromkeys(seen, 1.0)}
        self.peers = {a for a, m, _ in world.sessions if m == metro}
        never = {*TRANSITS, *(a for a, *_ in world.exclusions)}
        self.allowed = set(NETWORKS) - never - self.peers
        self.transit_peer = self.peers & set(TRANSITS)

    def value(self, route: tuple[str, int], directions: set[str] | None = None) -> int:
        wanted = self.directions if directions is None else directions
        return sum(
            f.bytes
            for f in self.flows
            if (f.prefix or "", f.origin) == route and f.direction in wanted
        )

    def answer(self) -> list[dict[str, Any]]:
        free = set(self.routes)
        rows: list[dict[str, Any]] = []

        def row(rank: int, asn: int, part: set[tuple[str, int]]) -> None:
            rows.append(
                {
                    "rank": rank,
                    "asn": asn,
                    "marginal": sum(self.value(r) for r in part),
                    "out_bytes": sum(self.value(r, {"out"}) for r in part),
                    "in_bytes": sum(self.value(r, {"in"}) for r in part),
                    "routes": part,
                }
            )

        def worth(peer: int) -> tuple[int, int, int]:
            mine = [r for r in self.routes if peer in self.observed[r]]
            return (
                -sum(self.value(r) for r in mine),
                -sum(self.value(r, {"in", "out"}) for r in mine),
                peer,
            )

        for peer in sorted(self.peers, key=worth):
            part = {r for r in free if peer in self.observed[r]}
            if part:
                row(0, peer, part)
                free -= part
        universe = set(free)
        open_ = dict.fromkeys(universe, 1.0)
        left, rank = set(self.allowed), 0
        while left:
            gains = {
                a: P * sum(self.value(r) * self.takers[r].get(a, 0.0) * open_[r] for r in universe)
                for a in left
            }
            top = max(gains.values())
            if top <= 0:
                break
            # Equal to the last bit or so: the lower number; the world has few such ties.
            best = min(a for a, g in gains.items() if g >= top * (1 - 1e-12))
            rank += 1
            part = {r for r in free if best in self.takers[r]}
            row(rank, best, part)
            free -= part
            for r in universe:
                if best in self.takers[r]:
                    open_[r] *= 1 - P
            left.remove(best)
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
                if (g.provider, g.direction, g.origin, g.slot // 12)
                == (f.provider, f.direction, f.origin, f.slot // 12)
            ]
            mine = sum(g.bytes for g in alike if (g.prefix or "", g.origin) in part)
            series[f.slot][f.direction] += f.bytes * mine / sum(g.bytes for g in alike)  # type: ignore[assignment]
        values = sorted(max(s.values()) for s in series)
        return values[(19 * n + 19) // 20 - 1] * 8 / 300


@settings(max_examples=120)
@given(worlds(), st.sampled_from(["out", "in", "both"]), st.sampled_from([0.3, 1.0]))
def test_rows_equal_those_of_a_search_that_tries_everything(
    world: World, direction: Any, inferred: float
) -> None:
    found = candidates(world.inputs(), direction=direction, weights=Weights(inferred=inferred))
    directions = {"in", "out"} if direction == "both" else {direction}
    for metro in world.metros:
        oracle = Oracle(world, metro, directions, inferred)
        expected = oracle.answer()
        rows = found.rows.filter(pl.col("metro") == metro).to_dicts()
        assert [(r["rank"], r["asn"]) for r in rows] == [(e["rank"], e["asn"]) for e in expected]
        for row, want in zip(rows, expected, strict=True):
            assert (row["out_bytes"], row["in_bytes"]) == (want["out_bytes"], want["in_bytes"])
            assert row["marginal_bps"] == pytest.approx(want["marginal"] * 8 / 7200, abs=1e-3)
            # A slot's part is rounded to a byte for each ASN and interface.
            assert row["p95_bps"] == pytest.approx(oracle.p95(want["routes"], 24), abs=0.2)


@settings(max_examples=60)
@given(worlds(), st.sampled_from(["out", "in", "both"]), st.one_of(st.none(), st.integers(0, 3)))
def test_every_transit_byte_is_in_one_row_or_has_a_reason(
    world: World, direction: Any, asks: int | None
) -> None:
    found = candidates(world.inputs(), direction=direction, asks=asks)
    for way in ("out", "in"):
        whole = sum(f.bytes for f in world.flows if f.scaled and f.direction == way)
        column = f"{way}_bytes"
        assert found.rows[column].sum() + found.not_listed[column].sum() == whole
        assert found.totals["all"][column] == whole
    bare = sum(f.bytes for f in world.flows if not f.scaled)
    assert found.not_listed["unscaled_bytes"].sum() == bare == found.totals["all"]["unscaled_bytes"]
    if asks is not None:
        assert found.rows["rank"].max() in (None, *range(asks + 1))


@settings(max_examples=40)
@given(worlds(), st.integers(0, 3))
def test_a_shorter_list_is_the_head_of_the_longer_one(world: World, asks: int) -> None:
    long, short = candidates(world.inputs()), candidates(world.inputs(), asks=asks)
    head = long.rows.filter(pl.col("rank") <= asks)
    assert short.rows.equals(head)
    for metro in world.metros:
        after = long.rows.filter(pl.col("metro") == metro, pl.col("rank") == asks + 1).to_dicts()
        coming = short.next_ask[metro]
        assert (coming is None) == (not after)
        if coming:
            assert coming["asn"] == after[0]["asn"]
            assert coming["marginal_bps"] == after[0]["marginal_bps"]
