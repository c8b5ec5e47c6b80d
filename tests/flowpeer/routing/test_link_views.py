"""Which routes a link's neighbour offers, on a port that several neighbours share (METHODS M12)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from test_sessions import CONFIG

from flowpeer.analysis.carried import CarriedPrefixes
from flowpeer.analysis.routing import LinkViews, risk_groups
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.routing.rib.snapshot import load, snapshots
from flowpeer.workspace import Workspace

A, B, C, SERVER = 64520, 64530, 64540, 64999
GROUPS = """
[[risk_groups]]
id = "cable"
interfaces = ["edge1:31"]
[[risk_groups]]
id = "router"
exporters = ["edge1"]
"""
LINKS = pl.DataFrame(
    [("edge1", 11, "transit", 1299, None), ("edge1", 31, "ix", A, 26), ("edge1", 31, "ix", B, 26),
     ("edge1", 31, "ix", None, 26)],
    schema={"exporter": pl.String, "interface": pl.Int64, "role": pl.String,
            "provider_asn": pl.Int64, "exchange": pl.Int64},
    orient="row",
).with_columns(metro=pl.lit("ams"), med=pl.lit(None, pl.Int64))  # fmt: skip
ROUTES = {"10.1.0.0/16": [A], "10.2.0.0/16": [B, A], "10.3.0.0/16": [C], "10.4.0.0/16": [1299, A]}
"""Prefix → AS path, in the one view that has it: A's own, the route server's or the transit's."""


@pytest.fixture
def network(tmp_path: Path) -> Configuration:
    (tmp_path / "flowpeer.toml").write_text(CONFIG + GROUPS)
    return Workspace(tmp_path / "flowpeer.toml").network()


def _offers(
    mrt: Any, write: Callable[..., Path], network: Configuration, folder: Path
) -> tuple[list[tuple[str, int, int]], list[bool], LinkViews]:
    octets = mrt.peers(
        [(1299, "192.0.2.1"), (A, "198.51.100.2"), (SERVER, "198.51.100.9"), (7, "203.0.113.77")]
    )
    peers = {"10.1.0.0/16": 1, "10.2.0.0/16": 2, "10.3.0.0/16": 2, "10.4.0.0/16": 0}
    for prefix, path in ROUTES.items():
        octets += mrt.rib(prefix, [(peers[prefix], mrt.attributes(path)),
                                   (3, mrt.attributes([7, 9]))])  # fmt: skip
    lake = Lake(folder / "lake")
    load(lake, write(octets))
    members = {"ix_id": [26] * 2, "asn": [A, SERVER], "ipaddr6": [None] * 2,
               "ipaddr4": ["198.51.100.2", "198.51.100.9"]}  # fmt: skip
    inputs = cast(
        "Any",
        SimpleNamespace(
            peeringdb={"netixlan": pl.DataFrame(members)},
            metros=pl.DataFrame({"metro": ["ams"], "exchanges": [[26]]}),
        ),
    )
    views, infos = LinkViews(network, inputs, LINKS), snapshots(lake)
    carried = CarriedPrefixes(pl.Series(list(ROUTES)))
    read = views.read(lake.record(), infos, carried, {})
    again = views.read(lake.record(), infos, carried, read)
    assert all(again[i.name] is read[i.name] for i in infos)
    loaded = np.zeros(LINKS.height, dtype=np.bool_)
    found = views.offers([(i, read[i.name]) for i in infos], loaded)
    return sorted(found.select("prefix", "link", "neighbour").rows()), loaded.tolist(), views


def test_each_neighbour_of_a_port_offers_its_own_routes(
    mrt: Any, write: Callable[..., Path], network: Configuration, tmp_path: Path
) -> None:
    found, loaded, _ = _offers(mrt, write, network, tmp_path)
    assert found == [
        ("10.1.0.0/16", 1, A),  # its own session
        ("10.2.0.0/16", 2, SERVER),  # the route server tells of B's
        ("10.3.0.0/16", 3, SERVER),  # C has no link of its own: the one whose neighbour is unknown
        ("10.4.0.0/16", 0, 1299),
    ]
    assert loaded == [True] * 4


def test_a_neighbour_without_any_view_is_not_loaded(
    mrt: Any, write: Callable[..., Path], network: Configuration, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(ROUTES, "10.2.0.0/16", [C, A])
    found, loaded, _ = _offers(mrt, write, network, tmp_path)
    assert [row for row in found if row[1] == 2] == []
    assert ("10.2.0.0/16", 3, SERVER) in found
    assert loaded == [True, True, False, True]


def test_a_risk_group_holds_every_neighbour_of_its_ports(network: Configuration) -> None:
    assert risk_groups(network, LINKS) == {"cable": [1, 2, 3], "router": [0, 1, 2, 3]}
