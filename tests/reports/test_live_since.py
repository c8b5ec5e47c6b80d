"""A session counts from its live day: against the world in which what came before is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import START, TIME, Flow, World
from test_candidates_oracle import Oracle, worlds

from flowpeer_reports.candidates import candidates
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.leaks import leaks

NOON = START + timedelta(hours=1)


def inputs_of(world: World, since: Mapping[tuple[int, str], object]) -> Inputs:
    made = world.inputs()
    times = [since.get((asn, metro)) for asn, metro, _ in world.sessions]
    return replace(
        made, sessions=made.sessions.with_columns(pl.Series("since", times, TIME)),
        traffic_routes=made.traffic_routes.with_columns(pl.col("prefix").replace("", None)),
    )  # fmt: skip


@settings(max_examples=examples(25))
@given(st.data())
def test_before_the_live_day_it_is_as_if_it_were_not_there(data: st.DataObject) -> None:
    world = data.draw(worlds())
    world = replace(world, sessions=[*world.sessions, (2002, "ams", "ix"), (2003, "fra", "ix")])
    dated = {s[:2]: NOON for s in world.sessions if data.draw(st.integers(0, 2))}
    oracle = Oracle(world, list(world.metros), {"out"}, 0.3)
    old = {(m, oracle.party(a)) for a, m, _ in world.sessions if (a, m) not in dated}
    new = {(m, oracle.party(a)) for a, m, _ in world.sessions} - old

    def too_early(f: Flow) -> bool:
        if f.slot >= 12 or not f.scaled or f.role != "transit":
            return False
        takers = {(f.metro, a) for a in oracle.observed[f.metro, f.prefix or "", f.origin]}
        return bool(takers & new) and not takers & old

    gone = [f for f in world.flows if too_early(f)]
    less = replace(world, flows=[f for f in world.flows if not too_early(f)],
                   interfaces=[(m, p, "transit", p, 10**11) for m in world.metros
                               for p in sorted({f.provider for f in world.flows})])  # fmt: skip
    more = replace(world, interfaces=less.interfaces)
    found = candidates(inputs_of(more, dated))
    want = candidates(inputs_of(less, {}), named=found.universe.parties)
    shares = [c for c in found.rows.columns if c.startswith("cumulative")]
    for name in ("rows", "organisations"):
        one, other = getattr(found, name), getattr(want, name)
        assert one.drop(shares).equals(other.drop(shares)), name
    kept = found.not_listed.filter(~pl.col("reason").str.starts_with("peered since"))
    assert kept.equals(want.not_listed)
    early = found.not_listed.filter(pl.col("reason") == "peered since 2026-09-16")
    for way in ("out", "in"):
        assert early[f"{way}_bytes"].sum() == sum(f.bytes for f in gone if f.direction == way)
    assert set(early.select("metro", "asn").rows()) <= new
    assert found.totals["all"]["out_bytes"] == sum(
        f.bytes for f in world.flows if f.direction == "out" and f.scaled and f.role == "transit"
    )
    one, other = leaks(inputs_of(more, dated)), leaks(inputs_of(less, {}))
    assert one.prefixes.equals(other.prefixes)
    assert one.rows.equals(other.rows)


def test_shares_are_of_all_transit_and_the_words_say_since_when() -> None:
    world = World(
        [Flow(slot=s, origin=o, bytes=10**8) for s in range(24) for o in (2001, 2002)],
        hours=2, sessions=[(2002, "ams", "ix")],
    )  # fmt: skip
    inputs = inputs_of(world, {(2002, "ams"): NOON})
    found = candidates(inputs)
    first = found.rows.filter(pl.col("rank") == 1).row(0, named=True)
    assert (first["asn"], first["cumulative_share"]) == (2001, 0.5)
    early = found.not_listed.row(0, named=True)
    assert (early["reason"], early["asn"]) == ("peered since 2026-09-16", 2002)
    assert (early["out_bytes"], early["asns"]) == (12 * 10**8, 1)
    assert found.totals["all"]["transit_bps"] == pytest.approx(2 * 10**8 * 8 / 300)
    assert "2002 is peered since 2026-09-16; 1,200,000,000 bytes" in leaks(inputs).notes[0]
