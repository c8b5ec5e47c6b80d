"""The ladder of meeting places (METHODS M9) and the score (M10), one rung and factor at a time."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from reports_world import Flow, World

from flowpeer_reports.candidates import candidates
from flowpeer_reports.meeting import Places, distance_km

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


@pytest.mark.parametrize(
    ("ports", "facilities", "net", "rank", "text"),
    [
        ([port(is_rs_peer=True)], (18,), {}, 1, "IX: AMS-Example (route servers)"),
        ([port()], (18,), {}, 2, "IX: AMS-Example (bilateral)"),
        ([port(is_rs_peer=None)], (), {}, 2, "IX: AMS-Example (bilateral)"),
        (
            [port(is_rs_peer=True)],
            (),
            {"info_never_via_route_servers": True},
            2,
            "IX: AMS-Example (bilateral)",
        ),
        ([port(operational=False)], (18,), {}, 3, "PNI: Harbour"),
        ([port(operational=None)], (), {}, 2, "IX: AMS-Example (bilateral)"),
        ([port(ix_id=None)], (), {}, 2, "IX: AMS-Example (bilateral)"),
        ([port(net_side_id=20)], (), {}, 2, "IX: AMS-Example (bilateral, remote port)"),
        ([port(ix_side_id=20)], (19,), {}, 5, "same metro: Harbour – Dyke, 15 km"),
        ([], (21,), {}, 4, "campus: Harbour – Harbour Annexe"),
        ([], (19,), {}, 5, "same metro: Harbour – Dyke, 15 km"),
        ([port(ix_id=27, ixlan_id=27)], (), {}, 6, "join IX: Other-Example"),
        ([], (20,), {}, 7, "in fra, 360 km: PNI: Main"),
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
    place = Places(world(ports, facilities, net).inputs()).meet(ASN, "ams")
    assert (place.rank, place.text) == (rank, text)


def test_large_traffic_meets_in_a_facility_first() -> None:
    places = Places(world([port(is_rs_peer=True)], (18,)).inputs())
    assert places.meet(ASN, "ams", 9.9e9).rank == 1
    assert places.meet(ASN, "ams", 10e9).rank == 3


def test_a_port_too_small_is_said() -> None:
    places = Places(world([port(speed=1000)]).inputs())
    assert places.meet(ASN, "ams", 2e9).text.endswith("port caps at 1 Gbps")


def test_of_several_ports_the_fastest_is_named() -> None:
    places = Places(world([port(speed=1000), port(speed=10_000)]).inputs())
    assert places.meet(ASN, "ams").port_bps == 10**10


def test_distance_is_the_great_circle() -> None:
    assert distance_km((52.31, 4.76), (40.64, -73.78)) == pytest.approx(5847, abs=10)


@pytest.mark.parametrize(
    ("net", "facilities", "into", "score"),
    [
        ({"policy_general": "Open"}, (18,), 0, 0.8),
        ({"policy_general": "Selective"}, (18,), 0, 0.5),
        ({"policy_general": "Restrictive"}, (18,), 0, 0.2),
        ({"policy_general": "No"}, (18,), 0, 0.05),
        ({"policy_general": ""}, (18,), 0, 0.3875),
        ({"policy_general": "=HYPERLINK"}, (18,), 0, 0.3875),
        ({"policy_general": "Open"}, (), 0, 0.4),
        ({"policy_general": "Open"}, (20,), 0, 0.24),
        ({"policy_general": "Open"}, (999,), 0, 0.08),
        ({"policy_general": "Open", "policy_locations": "Required - EU"}, (18, 20), 0, 0.8),
        ({"policy_general": "Open", "policy_locations": "Required - EU"}, (18,), 0, 0.4),
        ({"policy_general": "Open", "policy_locations": "Required - US"}, (18, 20), 0, 0.4),
        ({"policy_general": "Open", "policy_ratio": True, "info_ratio": "Mostly Inbound"},
         (18,), 0, 0.8),
        ({"policy_general": "Open", "policy_ratio": True, "info_ratio": "Balanced"}, (18,), 0, 0.4),
        ({"policy_general": "Open", "policy_ratio": True, "info_ratio": "Balanced"},
         (18,), 10**6, 0.8),
        ({"policy_general": "Open", "policy_ratio": False, "info_ratio": "Balanced"},
         (18,), 0, 0.8),
        ({"policy_general": "Open", "policy_ratio": True, "info_ratio": None}, (18,), 0, 0.8),
    ],
)  # fmt: skip
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


def test_without_peeringdb_nothing_is_known_and_nothing_fails() -> None:
    found = candidates(World([Flow(0, ASN, 10)]).inputs())
    row = found.rows.row(0, named=True)
    assert (row["policy"], row["meet_rank"]) == (None, 7)
    assert any("no PeeringDB" in n for n in found.notes)
