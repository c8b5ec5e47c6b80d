"""The traps of METHODS: what must not become a candidate, what must, and what stands in rank 0."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import pytest
from reports_world import Flow, World

from flowpeer_reports.candidates import Candidates, candidates

PEERINGDB_ORG = pl.DataFrame({"id": [1, 2], "asn": [174, 2009], "org_id": [7, 7], "name": ["", ""]})


def ranks(found: Candidates) -> dict[int, int]:
    return dict(found.rows.select("asn", "rank").iter_rows())


def reasons(found: Candidates) -> dict[str, int]:
    return dict(found.not_listed.select("reason", "out_bytes").iter_rows())


@pytest.mark.parametrize(
    ("origin", "world", "reason"),
    [
        (-1, {}, "unrouted"),
        (-2, {}, "private or reserved ASN"),
        (-3, {}, "AS set"),
        (-4, {}, "own"),
        (-5, {}, "no address"),
        (23456, {}, "private or reserved ASN"),
        (65001, {}, "private or reserved ASN"),
        (4294967295, {}, "private or reserved ASN"),
        (64500, {}, "own network"),
        (2001, {"siblings": [2001]}, "own sibling"),
        (2001, {"links": [(64500, 2001, 1)]}, "own sibling"),
        (1299, {}, "our transit"),
        (2009, {"links": [(2009, 1299, 1)]}, "sibling of our transit"),
        (2009, {"peeringdb": {"net": PEERINGDB_ORG}}, "sibling of our transit"),
        (2001, {"clique": [2001]}, "commercial or paid peering"),
        (2001, {"interfaces": "customer 2001"}, "customer cone"),
        (2002, {"interfaces": "customer 2001", "links": [(2001, 2002, -1)]}, "customer cone"),
        (2001, {"peeringdb": {"ixlan": pl.DataFrame({"id": [1], "rs_asn": [2001]})}}, "exchange"),
        (2001, {"exclusions": [(2001, "declined", None)]}, "excluded: declined"),
        (
            2001,
            {"exclusions": [(2001, "declined", date(2027, 5, 1))]},
            "excluded: declined (until 2027-05-01)",
        ),
    ],
)
def test_never_a_candidate_and_the_reason_is_said(
    origin: int, world: dict[str, Any], reason: str
) -> None:
    links = [("ams", p, "transit", p, 10**10) for p in (1299, 174)]
    if world.get("interfaces"):
        world = {**world, "interfaces": [*links, ("ams", 9, "customer", 2001, 10**9)]}
    else:
        world = {**world, "interfaces": links}
    found = candidates(World([Flow(0, origin, 1000), Flow(0, 3001, 7)], **world).inputs())
    assert origin not in ranks(found)
    assert reasons(found) == {reason: 1000}
    assert ranks(found) == {3001: 1}


@pytest.mark.parametrize(
    "world",
    [
        {"exclusions": [(2001, "declined", date(2026, 9, 1))]},  # expired
        {"sessions": [(2001, "fra", "pni")]},  # a peer elsewhere
        {"clique": [1299]},  # provider-free, but outside the clique
        {"links": [(2001, 1299, 0)]},
    ],
)
def test_an_ordinary_candidate_stays_one(world: dict[str, Any]) -> None:
    found = candidates(World([Flow(0, 2001, 1000)], metros=("ams", "fra"), **world).inputs())
    assert ranks(found) == {2001: 1}


def test_a_peer_elsewhere_is_an_extension() -> None:
    world = World([Flow(0, 2001, 9)], metros=("ams", "fra"), sessions=[(2001, "fra", "pni")])
    row = candidates(world.inputs()).rows.row(0, named=True)
    assert "extend: peers with us in fra" in row["feasibility_reasons"]


def test_bytes_that_a_session_should_carry_are_rank_0_and_taken_out_first() -> None:
    world = World(
        [Flow(0, 2001, 500, "10.1.0.0/16"), Flow(0, 2002, 300, "10.2.0.0/16")],
        paths=[("10.2.0.0/16", "1299 2001 2002")],
        links=[(2001, 2002, -1), (2003, 2002, -1)],
        sessions=[(2001, "ams", "ix")],
    )
    found = candidates(world.inputs())
    assert ranks(found) == {2001: 0}
    row = found.rows.row(0, named=True)
    assert (row["out_bytes"], row["meet_rank"]) == (800, 0)
    assert row["cumulative_share"] == row["cumulative_expected_share"] == 0.0  # nothing is asked


def test_a_peer_interface_is_a_session() -> None:
    links = [("ams", 1299, "transit", 1299, 10**10), ("ams", 5, "peer", 2001, 10**10)]
    assert ranks(candidates(World([Flow(0, 2001, 5)], interfaces=links).inputs())) == {2001: 0}


def test_of_a_transit_that_is_also_a_peer_only_its_own_routes_are_rank_0() -> None:
    world = World(
        [Flow(0, 1299, 500, "10.1.0.0/16"), Flow(0, 2001, 300, "10.2.0.0/16")],
        paths=[("10.2.0.0/16", "1299 2001")],
        links=[(1299, 2001, -1)],
        sessions=[(1299, "ams", "pni")],
    )
    found = candidates(world.inputs())
    assert ranks(found) == {1299: 0, 2001: 1}
    assert found.rows["out_bytes"].to_list() == [500, 300]


@pytest.mark.parametrize(
    ("path", "links", "observed"),
    [
        ("1299 2001 2002", [(2001, 2002, -1)], True),
        ("1299 2001 2001 2002 2002 2002", [(2001, 2002, -1)], True),  # prepends
        ("1299 2001 2003 2002", [(2001, 2003, 1), (2003, 2002, -1)], True),  # siblings
        ("1299 2001 2002", [(2001, 2002, 0)], False),  # a peer does not sell its peers
        ("1299 2001 2002", [(2002, 2001, -1)], False),  # uphill
        ("1299 2001 2002", [], False),  # unknown
        ("1299 2001 2003 2002", [(2001, 2003, -1)], False),  # unknown further down
        ("1299 2001 {2002}", [(2001, 2002, -1)], False),  # the origin is a set
        ("1299 2001 {7,8} 2002", [(2001, 2002, -1)], False),
        ("1299 2001 64500 2002", [(2001, 64500, -1), (64500, 2002, -1)], False),  # through us
        ("1299 2001 99999999999 2002", [(2001, 2002, -1)], False),
        ("garbage", [(2001, 2002, -1)], False),
    ],
)
def test_observed_is_downhill_on_a_path(
    path: str, links: list[tuple[int, int, int]], observed: bool
) -> None:
    flow = Flow(0, 2002, 1000, "10.2.0.0/16")
    world = World([flow], paths=[("10.2.0.0/16", path)], links=links)
    found = candidates(world.inputs(), acceptance=lambda asn, _: 1.0 if asn == 2001 else 0.0)
    evidence = found.rows.filter(pl.col("asn") == 2001)["evidence"].to_list()
    assert (evidence == [["observed 1.00"]]) == observed


def test_a_cone_with_a_loop_of_providers_ends() -> None:
    links = [(2001, 2002, -1), (2002, 2003, -1), (2003, 2001, -1)]
    found = candidates(World([Flow(0, 2003, 10)], links=links).inputs())
    assert set(ranks(found)) == {2001, 2002, 2003}


def test_figures_that_sampling_cannot_tell_apart_are_tied() -> None:
    def world(variance: int) -> World:
        return World(
            [Flow(0, 2001, 1000, variance=variance), Flow(0, 2002, 990, variance=variance)]
        )

    noisy, clear = (candidates(world(v).inputs()).rows["tied_with"].to_list() for v in (10**4, 1))
    assert noisy == [["AS2002"], ["AS2001"]]
    assert clear == [[], []]
    cut = candidates(world(10**4).inputs(), asks=1)
    assert cut.rows["tied_with"].to_list() == [["AS2002"]]  # a tie across the end of the list


def test_acceptance_can_turn_the_order_around() -> None:
    world = World([Flow(0, 2001, 1000), Flow(0, 2002, 900)]).inputs()
    likely = candidates(world, acceptance=lambda asn, _: 0.9 if asn == 2002 else 0.1)
    assert likely.rows["asn"].to_list() == [2002, 2001]
    assert likely.rows["feasibility"].to_list() == [0.9, 0.1]


def test_a_period_without_traffic_is_an_empty_list() -> None:
    found = candidates(World([], interfaces=[("ams", 1, "transit", 1299, 1)]).inputs())
    assert found.rows.is_empty()
    assert found.not_listed.is_empty()
    assert found.totals["all"]["out_bytes"] == 0


def test_slots_and_hours_that_disagree_are_reported() -> None:
    inputs = World([Flow(0, 2001, 1000)]).inputs()
    broken = replace(inputs, traffic=inputs.traffic.with_columns(bytes=pl.col("bytes") + 1))
    assert any("1,001" in n and "1,000" in n for n in candidates(broken).notes)


def test_two_runs_give_the_same_rows_whatever_the_order_of_the_input() -> None:
    flows = [Flow(i % 24, 2001 + i % 7, 997 * i + 1, f"10.{i % 11}.0.0/16") for i in range(200)]
    links = [(2001, 2001 + i, -1) for i in range(1, 7)]
    there = candidates(World(flows, links=links, hours=2).inputs())
    back = candidates(World(flows[::-1], links=links[::-1], hours=2).inputs())
    assert there.rows.equals(back.rows)
    assert there.not_listed.equals(back.not_listed)
