from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from flowpeer.checks.sources import ages, own_places, provider_paths
from flowpeer.configuration import load
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.registry.as_names import load_names
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.schema import TRAFFIC_ROUTES
from flowpeer_core.columns import arrow_schema

TEXT = """
[network]
asn = 64500
name = "Example"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "ams"
name = "Amsterdam"
facilities = [18, 19, 20]
exchanges = [26, 27]
"""


def _network(folder: Path) -> Configuration:
    (folder / "flowpeer.toml").write_text(TEXT)
    return load(folder / "flowpeer.toml")


def _peeringdb(lake: Lake, folder: Path, **objects: list[dict[str, Any]]) -> None:
    path = folder / "pdb.json"
    path.write_text(json.dumps({name: {"data": rows} for name, rows in objects.items()}))
    load_peeringdb(lake, path)


def test_our_places_are_held_against_peeringdb(tmp_path: Path) -> None:
    network, lake = _network(tmp_path), Lake(tmp_path / "lake")
    assert list(own_places(network, lake)) == []  # nothing loaded: nothing to say
    _peeringdb(
        lake,
        tmp_path,
        net=[{"id": 7, "asn": 64500}, {"id": 8, "asn": 1}],
        ix=[{"id": 26}, {"id": 27}, {"id": 31}],
        fac=[{"id": 18}, {"id": 19}, {"id": 44}],
        netixlan=[
            {"id": 1, "net_id": 7, "ix_id": 26, "asn": 64500},
            {"id": 2, "net_id": 7, "ix_id": 31, "asn": 64500},
            {"id": 3, "net_id": 8, "ix_id": 27, "asn": 1},
        ],
        netfac=[
            {"id": 1, "net_id": 7, "fac_id": 18, "local_asn": 64500},
            {"id": 2, "net_id": 7, "fac_id": 44, "local_asn": 64500},
            {"id": 3, "net_id": 8, "fac_id": 19, "local_asn": 1},
        ],
    )
    assert [(f.level, f.subject, f.text) for f in own_places(network, lake)] == [
        ("note", "metro ams", "PeeringDB does not list us at exchange 27"),
        ("note", "metro ams", "PeeringDB does not list us at facility 19"),
        ("warning", "metro ams", "PeeringDB has no facility 20"),
        ("note", "configuration", "PeeringDB lists us at 1 more of kind exchange: 31"),
        ("note", "configuration", "PeeringDB lists us at 1 more of kind facility: 44"),
    ]


def test_a_network_that_peeringdb_does_not_list_is_told_once(tmp_path: Path) -> None:
    network, lake = _network(tmp_path), Lake(tmp_path / "lake")
    _peeringdb(lake, tmp_path, net=[{"id": 8, "asn": 1}])
    (finding,) = own_places(network, lake)
    assert "no port and no facility of AS64500" in finding.text


def test_the_age_of_each_registry_is_told(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    assert list(ages(lake)) == []
    _peeringdb(lake, tmp_path, net=[{"id": 8, "asn": 1}])
    names = tmp_path / "names.csv"
    names.write_text("asn,name\n1,One\n")
    load_names(lake, names)
    now = datetime.now(UTC)
    assert {(f.subject, f.level) for f in ages(lake, now)} == {
        ("peeringdb", "ok"),
        ("as_names", "ok"),
    }
    later = {f.subject: f for f in ages(lake, now + timedelta(days=40))}
    assert later["peeringdb"].level == "note"
    assert later["peeringdb"].text == "pdb.json, 40 days old"
    assert later["peeringdb"].next_step == "load a newer file"  # `sync` refuses to replace one
    assert later["as_names"].level == "ok"


def test_the_share_with_a_path_through_its_provider_is_exact(
    demo_copy: Path, run: Callable[..., Any]
) -> None:
    lake = Lake(demo_copy / "lake")
    (finding,) = provider_paths(lake.record())
    assert finding.level == "ok"
    traffic = pl.read_parquet(demo_copy / "lake" / "traffic_routes" / "**" / "*.parquet")
    carried = traffic.filter(
        (pl.col("role") == "transit") & pl.col("scaled") & pl.col("prefix").is_not_null()
    )
    assert set(carried.columns) >= set(arrow_schema(TRAFFIC_ROUTES).names)
    (info,) = json.loads(run("rib", "list", "--json", cwd=demo_copy).stdout)
    path = lake.path(f"routes/{info['name']}.parquet")
    routes = pl.read_parquet(path, glob=False)
    gone = carried.group_by("provider_asn").agg(pl.col("bytes").sum()).sort("bytes").row(-1)[0]
    routes.filter(~pl.col("vantage").str.starts_with(f"AS{gone}@")).write_parquet(path)
    left = {(v.split("@")[0], p) for v, p in routes.select("vantage", "prefix").iter_rows()}
    total = known = 0
    for provider, prefix, octets in carried.select("provider_asn", "prefix", "bytes").iter_rows():
        total += octets
        known += octets * (provider != gone and (f"AS{provider}", prefix) in left)
    (finding,) = provider_paths(lake.record())
    assert finding.level == "note"
    assert finding.text.startswith(f"{known / total:.1%} of the transit bytes")
