"""What tables show of our sessions: whose view is whose, and what it holds (METHODS M14)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from small_network import NETWORK

from flowpeer.analysis.sessions import SLOTS, session_routes, sessions_seen
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.routing.rib.snapshot import load
from flowpeer.workspace import Workspace
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.session_routes import SessionRoutes

CONFIG = (
    NETWORK
    + """\
exchanges = [26]
[[exporters]]
id = "edge1"
metro = "ams"
addresses = ["203.0.113.1"]
[[interfaces]]
exporter = "edge1"
index = 11
role = "transit"
asn = 1299
[[interfaces]]
exporter = "edge1"
index = 21
role = "peer"
asn = 64510
[[interfaces]]
exporter = "edge1"
index = 31
role = "ix"
exchange = 26
"""
)
START = datetime(2026, 1, 1, tzinfo=UTC)
CARRIED = pl.LazyFrame({"role": ["transit"], "prefix": ["10.1.0.0/16"]})


@pytest.fixture
def network(tmp_path: Path) -> Configuration:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    return Workspace(tmp_path / "flowpeer.toml").network()


def inputs_of() -> Any:
    """The part of the inputs that is looked at."""
    ports = {"ix_id": [26], "asn": [64520], "ipaddr4": ["198.51.100.2"], "ipaddr6": [None]}
    return SimpleNamespace(
        interfaces=pl.DataFrame(
            {"exporter": ["edge1"] * 3, "metro": ["ams"] * 3, "interface": [11, 21, 31],
             "role": ["transit", "peer", "ix"], "asn": [1299, 64510, None],
             "exchange": [None, None, 26]}
        ),
        period_start=START, period_end=START + timedelta(hours=2),
        peeringdb={"netixlan": pl.DataFrame(ports)},
        metros=pl.DataFrame({"metro": ["ams"], "exchanges": [[26]]}),
    )  # fmt: skip


def test_views_belong_to_the_sessions_of_their_neighbours(
    mrt: Any, write: Callable[..., Path], network: Configuration, tmp_path: Path
) -> None:
    octets = mrt.peers([(1299, "192.0.2.1"), (64510, "192.0.2.2"), (64520, "198.51.100.2")])
    octets += mrt.rib("10.1.0.0/16", [
        (0, mrt.attributes([1299, 64510])), (1, mrt.attributes([64510], local_pref=200)),
    ])  # fmt: skip
    octets += mrt.rib("10.0.0.0/8", [(2, mrt.attributes([64520]))])
    octets += mrt.rib("10.2.0.0/16", [(1, mrt.attributes([64510]))])  # carries nothing
    lake = Lake(tmp_path / "lake")
    load(lake, write(octets))
    found = session_routes(inputs_of(), network, lake.record(), CARRIED)
    assert found is not None
    assert found.views == {("ams", 64510), ("ams", 64520)}
    assert sorted(found.offers.rows(), key=str) == [
        (0, "ams", 64510, "edge1", 21, "10.1.0.0/16", 200, 1),
        (0, "ams", 64520, "edge1", 31, "10.0.0.0/8", None, 1),
    ]
    assert found.transit.rows() == [(0, "edge1", 11, "10.1.0.0/16", None, 2)]
    assert found.epoch_of_hour.tolist() == [0, 0]


def test_tables_of_transits_alone_say_nothing_of_sessions(
    mrt: Any, write: Callable[..., Path], network: Configuration, tmp_path: Path
) -> None:
    octets = mrt.peers([(1299, "192.0.2.1")])
    octets += mrt.rib("10.1.0.0/16", [(0, mrt.attributes([1299, 64510]))])
    lake = Lake(tmp_path / "lake")
    load(lake, write(octets))
    assert session_routes(inputs_of(), network, lake.record(), CARRIED) is None


@pytest.mark.parametrize(("vantage", "exists"), [("", False), ("ams", True), ("edge1", True)])
def test_a_view_of_our_own_routers_is_a_session_and_a_public_collectors_is_not(
    mrt: Any, write: Callable[..., Path], network: Configuration, tmp_path: Path, vantage: str,
    exists: bool,
) -> None:  # fmt: skip
    octets = mrt.peers([(64520, "198.51.100.2")])
    octets += mrt.rib("10.1.0.0/16", [(0, mrt.attributes([64520]))])
    lake = Lake(tmp_path / "lake")
    load(lake, write(octets), vantage=vantage)
    found = session_routes(inputs_of(), network, lake.record(), CARRIED)
    assert found is not None
    assert found.views == {("ams", 64520)}
    assert found.sessions == ({("ams", 64520)} if exists else set())


def test_who_exchanges_traffic_with_us_on_an_exchange_has_a_session() -> None:
    slots = {64: SLOTS, 65: SLOTS - 1, 66: SLOTS, 67: SLOTS, 68: SLOTS}
    rows = [
        (START + timedelta(minutes=5 * n), "ams", "transit" if asn == 66 else "ix", asn)
        for asn, count in slots.items()
        for n in range(count)
        for _ in range(2)  # two networks behind it in one slot are one slot
    ]
    before = START - timedelta(minutes=5)
    rows += [(before, "ams", "ix", 65), (START, "ams", "ix", None), (START, "fra", "ix", 64)]
    at = {"slot": pl.Datetime("us", "UTC"), "metro": pl.String, "role": pl.String,
          "provider_asn": pl.Int64}  # fmt: skip
    inputs = SimpleNamespace(
        period_start=START, period_end=START + timedelta(hours=2),
        traffic=pl.LazyFrame(rows, schema=at, orient="row"),
        session_routes=SessionRoutes(sessions=frozenset({("fra", 69), ("ams", 64)})),
        sessions=pl.DataFrame([(68, "ams", "ix")], schema={"asn": pl.Int64, "metro": pl.String,
                              "kind": pl.String}, orient="row"),
        interfaces=pl.DataFrame({"metro": ["ams"], "role": ["peer"], "asn": [67]}),
    )  # fmt: skip
    found = sessions_seen(cast("Inputs", inputs))
    assert found.rows() == [(64, "ams", "traffic"), (69, "fra", "bgp")]
