"""Rows of `crossings` add up to `traffic` and `traffic_routes`, to the byte, whatever sums them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import make_world, prepare

from flowpeer.configuration import load
from flowpeer.errors import UsageError
from flowpeer.lake.store import Lake
from flowpeer.pipeline import crossings
from flowpeer.query import QuerySession
from flowpeer_sql import questions

SIDE = "metro, exporter, interface, role, provider_asn, direction, scaled"
SUMS = "sum(bytes) AS bytes, sum(packets) AS packets, sum(records) AS records"


@pytest.fixture(scope="module", params=["sample network", 21, 22, 23])
def con(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[QuerySession]:
    if request.param == "sample network":
        folder: Path = request.getfixturevalue("demo_folder")
    else:
        folder = tmp_path_factory.mktemp("world")
        rollup = prepare(folder, make_world(request.param), 3)
        for hour in rollup.plan():
            rollup.roll_up(hour)
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)

    def make(into: Path) -> list[Path]:
        return crossings.write_crossings(network, lake, into)

    with QuerySession(lake.root, configured=network.tables, crossings=make) as session:
        yield session


def same(con: QuerySession, one: str, other: str) -> int:
    """Rows of `one`, which are those of `other`."""
    rows = con.query(
        f"SELECT (SELECT count(*) FROM ({one})) AS n,"
        f" (SELECT count(*) FROM (({one}) EXCEPT ({other}))) AS more,"
        f" (SELECT count(*) FROM (({other}) EXCEPT ({one}))) AS fewer"
    ).to_pylist()[0]
    assert (rows["more"], rows["fewer"]) == (0, 0), rows
    return int(rows["n"])


def test_crossings_by_network_are_traffic(con: QuerySession) -> None:
    keys = f"{SIDE}, family, remote_asn"
    assert same(
        con,
        f"SELECT hour_start, {keys}, {SUMS} FROM crossings GROUP BY ALL",
        f"SELECT date_trunc('hour', slot) AS hour_start, {keys}, {SUMS} FROM traffic GROUP BY ALL",
    )


def test_crossings_by_route_are_traffic_routes(con: QuerySession) -> None:
    keys = f"hour_start, {SIDE}, prefix, origin_asn, local_prefix"
    assert same(
        con,
        f"SELECT {keys}, {SUMS} FROM crossings GROUP BY ALL",
        f"SELECT {keys}, {SUMS} FROM traffic_routes GROUP BY ALL",
    )


@pytest.mark.parametrize("by", ["local_port, remote_port", "protocol", "remote_addr", "dscp"])
def test_sums_by_service_add_up_to_traffic(con: QuerySession, by: str) -> None:
    assert same(
        con,
        f"SELECT role, direction, scaled, sum(bytes) AS bytes FROM ("
        f"SELECT {by}, role, direction, scaled, sum(bytes) AS bytes FROM crossings GROUP BY ALL)"
        " GROUP BY ALL",
        "SELECT role, direction, scaled, sum(bytes) AS bytes FROM traffic GROUP BY ALL",
    )


def test_every_record_is_there_with_its_own_service(con: QuerySession) -> None:
    """What the rows say of a record is what `flows` says, whichever end is the remote one."""
    ports = (
        "SELECT exporter_ip, start_time, protocol, tos, tcp_flags, least({0}, {1}) AS low,"
        " greatest({0}, {1}) AS high, least({2}, {3}) AS one, greatest({2}, {3}) AS other FROM {4}"
    )
    rows = con.query(
        "SELECT count(*) AS strange FROM ("
        + ports.format("remote_port", "local_port", "remote_addr", "local_addr", "crossings")
        + " EXCEPT "
        + ports.format("src_port", "dst_port", "src_addr", "dst_addr", "flows")
        + ")"
    )
    assert rows.to_pylist() == [{"strange": 0}]


def test_time_of_the_parameters_is_that_of_the_crossings() -> None:
    assert crossings.span_of({}) == (None, None)
    assert crossings.span_of({"period": "2026-09"}) == crossings.span_of(
        {"period_start": "2026-09-01", "period_end": "2026-10-01 00:00:00"}
    )
    with pytest.raises(UsageError, match="no time"):
        crossings.span_of({"period_start": "soon"})


def test_crossings_are_made_only_for_what_names_them(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(into: Path) -> list[Path]:
        made.append(into)
        return []

    apart = ("ports_and_protocols", "top_talkers")
    with QuerySession(tmp_path, crossings=make) as session:
        session.query("SHOW TABLES")
        for question in questions():
            if question.name not in apart:
                session.query(f"FROM {question.name}()")
        assert not made
        for name in apart:
            session.query(f"FROM {name}()")
        assert len(made) == 1  # once for the session
