"""The ladder of meeting places (METHODS M9) and the score (M10), one rung and factor at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from reports_world import Flow, World

from flowpeer_reports.candidates import candidates
from flowpeer_reports.meeting import MeetingPlaces
from flowpeer_reports.places import distance_km
from flowpeer_reports.policy import NetworkTerms, Policy

ASN = 2001
FACILITIES = pl.DataFrame(
    {
        "id": [18, 19, 20, 21],
        "name": ["Harbour", "Dyke", "Main", "Harbour Annexe"],
        "campus_id": [5, None, None, 5],
        "latitude": [52.30, 52.40, 50.11, 52.30],
        "longitude": [4.94, 4.80, 8.68, 4.95],
    }
)


def port(**changes: Any) -> dict[str, Any]:
    return {"asn": ASN, "net_id": 1, "ix_id": 26, "ixlan_id": 26, "speed": 100_000,
            "is_rs_peer": False, "operational": True, "net_side_id": None, "ix_side_id": None,
            **changes}  # fmt: skip


def world(
    ports: list[dict[str, Any]] | None = None,
    facilities: tuple[int, ...] = (),
    net: dict[str, Any] | None = None,
    out: int = 10**6,
    into: int = 0,
) -> World:
    tables = {
        "net": pl.DataFrame([{"id": 1, "asn": ASN, "name": "Their Net", **(net or {})}]),
        "fac": FACILITIES,
        "ix": pl.DataFrame({"id": [26, 27], "name": ["AMS-Example", "Other-Example"]}),
        "ixfac": pl.DataFrame({"ix_id": [26, 27], "fac_id": [18, 19]}),
        "campus": pl.DataFrame({"id": [5], "name": ["Quay"]}),
        "carrier": pl.DataFrame({"id": [1, 2], "name": ["Lines Ltd", "Nowhere"]}),
        "carrierfac": pl.DataFrame({"carrier_id": [1, 1, 2], "fac_id": [18, 19, 19]}),
        "netfac": pl.DataFrame([{"net_id": 1, "fac_id": f, "local_asn": ASN} for f in facilities]),
    }
    if ports:
        tables["netixlan"] = pl.DataFrame(ports, infer_schema_length=None)
    flows = [Flow(0, ASN, out)]
    if into:
        flows.append(Flow(0, ASN, into, direction="in"))
    return World(
        flows,
        metros=("ams", "fra"),
        peeringdb=tables,
        places={
            "ams": {"facilities": [18], "latitude": 52.3, "longitude": 4.9},
            "fra": {"facilities": [20], "latitude": 50.1, "longitude": 8.7},
        },
        ports=[("ams", 26, True, 10**10)],
    )


AMS = "IX: AMS-Example [ix 26]"
SPEEDS = "theirs 100G, ours 10G"


@pytest.mark.parametrize(
    ("ports", "facilities", "net", "rank", "text"),
    [
        # We are on the route servers: they would carry it once the other side joins too.
        ([port()], (18,), {}, 1, f"{AMS} (route servers, once they join, {SPEEDS})"),
        ([port(is_rs_peer=None)], (), {}, 1, f"{AMS} (route servers, once they join, {SPEEDS})"),
        # Both are, and the traffic rides transit all the same.
        (
            [port(is_rs_peer=True)],
            (18,),
            {},
            2,
            f"{AMS} (not by the route servers: ask bilateral, {SPEEDS})",
        ),
        (
            [port()],
            (),
            {"info_never_via_route_servers": True},
            2,
            f"{AMS} (bilateral, {SPEEDS})",
        ),
        ([port(operational=False)], (18,), {}, 3, "PNI: Harbour [fac 18]"),
        (
            [port(is_rs_peer=True, operational=None, speed=None)],
            (),
            {},
            2,
            f"{AMS} (not by the route servers: ask bilateral, ours 10G)",
        ),
        (
            [port(ix_id=None, is_rs_peer=True, net_side_id=20)],
            (),
            {},
            2,
            f"{AMS} (not by the route servers: ask bilateral, remote port, {SPEEDS})",
        ),
        (
            [port(ix_side_id=20)],
            (19,),
            {},
            5,
            "same metro: Harbour [fac 18] – Dyke [fac 19], 15 km, by Lines Ltd",
        ),
        ([], (21,), {}, 4, "campus Quay: Harbour [fac 18] – Harbour Annexe [fac 21]"),
        ([port(ix_id=27, ixlan_id=27)], (), {}, 6, "join IX: Other-Example [ix 27] (theirs 100G)"),
        ([], (20,), {}, 7, "in fra, 360 km: PNI: Main [fac 20]"),
        ([], (999,), {}, 7, "no common place in PeeringDB"),
        ([], (), {}, 7, "no place known: not in PeeringDB"),
    ],
)
def test_the_first_rung_that_holds(
    ports: list[dict[str, Any]],
    facilities: tuple[int, ...],
    net: dict[str, Any],
    rank: int,
    text: str,
) -> None:
    place = MeetingPlaces(world(ports, facilities, net).inputs()).meet(ASN, "ams")
    assert (place.rank, place.text) == (rank, text)


def test_large_traffic_meets_in_a_facility_first() -> None:
    inputs = world([port(is_rs_peer=True)], (18,)).inputs()
    places = MeetingPlaces(inputs)
    assert places.meet(ASN, "ams", 9.9e9).rank == 2
    assert places.meet(ASN, "ams", 10e9).rank == 3
    policy = Policy(networks={ASN: NetworkTerms(pni_from_bps=5e9)})
    assert MeetingPlaces(replace(inputs, policy=policy)).meet(ASN, "ams", 6e9).rank == 3


def test_large_traffic_of_the_list_meets_in_a_facility_first_though_rows_above_take_it() -> None:
    """The threshold is held against the percentile standing alone, not against the marginal."""
    above, size = 2002, 4 * 10**11  # of one slot: 10.7 Gbps
    built = world([port(is_rs_peer=True)], (18,))
    built.flows = [Flow(s, ASN, size, "10.1.0.0/16") for s in range(12)]
    built.flows += [Flow(s, above, size, "10.2.0.0/16") for s in range(12)]
    built.paths = [("10.1.0.0/16", f"1299 {above} {ASN}")]
    built.links = [(above, ASN, -1)]
    found = candidates(built.inputs(), acceptance=lambda asn, _: 0.9)
    assert found.rows["asn"].to_list() == [above, ASN]
    row = found.rows.row(1, named=True)
    assert (row["marginal_bps"], row["meet_rank"], row["status"]) == (0.0, 3, "if #1 says no")


def test_ports_of_one_exchange_add_up_and_what_is_beyond_them_is_said() -> None:
    built = world([port(speed=1000), port(speed=10_000)])
    assert MeetingPlaces(built.inputs()).meet(ASN, "ams").their_bps == 11 * 10**9
    built.flows = [Flow(s, ASN, 9 * 10**11) for s in range(12)]  # 24 Gbps
    row = candidates(built.inputs()).rows.row(0, named=True)
    # Ours is 10G, of which 80 % may be used.
    assert row["over_port_bps"] == pytest.approx(24e9 - 8e9)
    assert row["p95_bps"] == row["marginal_bps"] == 24e9  # speeds change no volume


def test_rows_share_the_headroom_of_our_port_in_order() -> None:
    built = world([port(), port(asn=2002, net_id=2)])
    built.peeringdb = {**built.peeringdb, "net": pl.DataFrame({"id": [1, 2], "asn": [ASN, 2002]})}
    built.flows = [Flow(s, ASN, 15 * 10**10) for s in range(12)]  # 4 Gbps
    built.flows += [Flow(s, 2002, 12 * 10**10) for s in range(12)]  # 3.2 Gbps
    # The port itself: 3 Gbps in, 1 out; interface 77 of the same router.
    ix = [Flow(s, 3001, n * 375 * 10**8, direction=d, role="ix", interface=77)
          for s in range(12) for n, d in ((3, "in"), (1, "out"))]  # fmt: skip
    built.flows += ix
    built.interfaces = [("ams", 1299, "transit", 1299, 10**11), ("ams", 77, "ix", None, 10**10)]
    inputs = built.inputs()
    ports = inputs.interfaces.with_columns(
        exchange=pl.when(pl.col("interface") == 77).then(26).otherwise(None).cast(pl.Int64)
    )
    rows = candidates(replace(inputs, interfaces=ports)).rows
    assert rows["asn"].to_list() == [ASN, 2002]
    # 8 − 3 Gbps are left for the first, 1 for the second.
    assert rows["over_port_bps"].to_list() == pytest.approx([0.0, 2.2e9])


def test_what_would_be_a_place_but_for_one_thing_is_told() -> None:
    ports = [port(operational=False), port(ix_id=27, ixlan_id=27, ix_side_id=20)]
    found = candidates(world(ports, (18,)).inputs()).places.row(0, named=True)
    assert (found["option"], found["meet_rank"], found["our_facility"]) == (1, 3, 18)
    assert found["note"] == (
        "AMS-Example: their port is not operational; Other-Example: their port is in another city"
    )


def test_a_party_meets_where_any_member_does() -> None:
    built = world([port(asn=2002, net_id=2, is_rs_peer=True)], (18,))
    net = pl.DataFrame({"id": [1, 2], "asn": [ASN, 2002], "org_id": [5, 5]})
    built.peeringdb = {**built.peeringdb, "net": net}
    row = candidates(built.inputs()).rows.row(0, named=True)
    assert (row["asn"], row["asns"], row["meet_rank"]) == (ASN, [ASN, 2002], 2)


def test_distance_is_the_great_circle() -> None:
    assert distance_km((52.31, 4.76), (40.64, -73.78)) == pytest.approx(5847, abs=10)


@pytest.mark.parametrize(
    ("net", "facilities", "into", "score"),
    [
        ({"policy_general": "Open"}, (18,), 0, 0.8),
        ({"policy_general": "Selective"}, (18,), 0, 0.5),
        ({"policy_general": "Restrictive"}, (18,), 0, 0.15),
        ({"policy_general": "No"}, (18,), 0, 0.02),
        ({"policy_general": ""}, (18,), 0, 0.3675),
        ({"policy_general": "=HYPERLINK"}, (18,), 0, 0.3675),
        ({"policy_general": "Open"}, (), 0, 0.24),
        ({"policy_general": "Open"}, (20,), 0, 0.24),
        ({"policy_general": "Open"}, (999,), 0, 0.24),
        ({"policy_general": "Open", "policy_locations": "Required - EU"}, (18, 20), 0, 0.8),
        ({"policy_general": "Open", "policy_locations": "Required - EU"}, (18,), 0, 0.4),
        ({"policy_general": "Open", "policy_locations": "Required - US"}, (18, 20), 0, 0.4),
        # One direction only, where nothing of the other is metered: unknown.
        ({"policy_general": "Open", "policy_ratio": True}, (18,), 0, 0.8),
        ({"policy_general": "Open", "policy_ratio": True}, (18,), 5 * 10**5, 0.8),
        ({"policy_general": "Open", "policy_ratio": True}, (18,), 499_999, 0.4),
        ({"policy_general": "Open", "policy_ratio": True}, (18,), 2_000_001, 0.4),
        ({"policy_general": "Open", "policy_ratio": False}, (18,), 1, 0.8),
        ({"policy_general": "Open"}, (18,), 1, 0.8),
    ],
)
def test_score_is_the_policy_times_its_hard_factors(
    net: dict[str, Any], facilities: tuple[int, ...], into: int, score: float
) -> None:
    row = candidates(world(None, facilities, net, into=into).inputs()).rows.row(0, named=True)
    assert row["feasibility"] == pytest.approx(score)
    factors = 1.0
    for reason in row["feasibility_reasons"]:
        factors *= float(reason.split()[0])
    assert factors == pytest.approx(score, abs=0.01)
    assert row["expected_value"] == pytest.approx(score * row["marginal_bps"], abs=0.01)


def scored(built: World, **changes: Any) -> dict[str, Any]:
    inputs = built.inputs()
    return candidates(replace(inputs, **changes)).rows.row(0, named=True)


def test_traffic_in_one_direction_exceeds_a_ratio_where_both_are_metered() -> None:
    built = world(None, (18,), {"policy_general": "Open", "policy_ratio": True})
    built.flows = [*built.flows, Flow(0, 3001, 5, direction="in")]
    assert scored(built)["feasibility"] == pytest.approx(0.4)


def test_the_operator_knows_better() -> None:
    built = world(None, (18,), {"policy_general": "No"})
    known = NetworkTerms(acceptance=0.9, note="met at a conference")
    row = scored(built, policy=Policy(min_expected_bps=0, networks={ASN: known}))
    assert row["feasibility"] == 0.9
    assert row["feasibility_reasons"] == ["0.90 acceptance (configuration): met at a conference"]
    assert row["cumulative_expected_share"] == pytest.approx(0.9)  # no more a policy of no


@pytest.mark.parametrize(
    ("policy", "score"),
    [
        (Policy(minimum_bps={"selective": 2e4}), 0.5),
        (Policy(minimum_bps={"selective": 3e4}), 0.15),
        (Policy(minimum_bps={"open": 3e4}), 0.5),
        (Policy(minimum_bps={"selective": 3e4}, networks={ASN: NetworkTerms(minimum_bps=1)}), 0.5),
        (Policy(networks={ASN: NetworkTerms(minimum_bps=3e4)}), 0.15),
        (Policy(base_rates={"open": 0, "selective": 0.6, "restrictive": 0, "no": 0}), 0.6),
    ],
)
def test_a_volume_below_their_minimum_is_held_against_us(policy: Policy, score: float) -> None:
    built = world(None, (18,), {"policy_general": "Selective"}, out=10**7)  # 22.2 kbps
    row = scored(built, policy=replace(policy, min_expected_bps=0))
    assert row["feasibility"] == pytest.approx(score)


def test_the_minimum_is_held_against_all_that_it_takes_standing_alone() -> None:
    built = world(None, (18,), {"policy_general": "Selective"}, out=10**7)
    above = 2002
    built.flows = [*built.flows, Flow(0, above, 10**9, "10.2.0.0/16")]
    built.paths = [(built.flows[0].route or "", f"1299 {above} {ASN}")]
    built.links = [(above, ASN, -1)]
    policy = Policy(min_expected_bps=0, minimum_bps={"selective": 2e4})
    rows = candidates(replace(built.inputs(), policy=policy)).rows
    row = rows.row(1, named=True)
    assert (row["asn"], row["marginal_bps"], row["feasibility"]) == (ASN, 0.0, 0.5)


def test_outcomes_of_our_own_asks_move_the_base_rate() -> None:
    built = world(None, (18,), {"policy_general": "Selective"})
    row = scored(built, outcomes={"selective": (1, 10), "open": (20, 20)})
    assert row["feasibility"] == pytest.approx((0.5 * 10 + 1) / 20)
    assert "1 of 10 were accepted" in row["feasibility_reasons"][0]
    notes = candidates(replace(built.inputs(), outcomes={"selective": (1, 10)})).notes
    assert any("feasibility is a score: 10 of our asks are answered" in n for n in notes)
    notes = candidates(replace(built.inputs(), outcomes={"open": (20, 30)})).notes
    assert not any("is a score" in n for n in notes)


def test_without_peeringdb_nothing_is_known_and_nothing_fails() -> None:
    found = candidates(World([Flow(0, ASN, 10)]).inputs())
    row = found.rows.row(0, named=True)
    assert (row["policy"], row["meet_rank"]) == (None, 7)
    assert any("no PeeringDB" in n for n in found.notes)
