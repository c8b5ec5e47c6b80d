"""A configuration that reads well and is wrong is found by name, with the likely cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl

from flowpeer.analysis.find import find_places
from flowpeer.checks.configured import configured
from flowpeer.configuration import load
from flowpeer.lake.store import Lake
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.routing.rib import snapshot

CONFIG = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "iad"
name = "Ashburn"
latitude = 39.04
longitude = -77.49
facilities = [58, 1]
exchanges = [31]
[[metros]]
id = "bare"
name = "Nowhere"
[[exporters]]
id = "edge1"
metro = "iad"
addresses = ["192.0.2.1"]
[[interfaces]]
exporter = "edge1"
index = 11
role = "transit"
asn = 3357
description = "transit AS3356 port 7"
[[interfaces]]
exporter = "edge1"
index = 12
role = "transit"
asn = 1299
[[sessions]]
asn = 15169
metro = "iad"
kind = "ix"
[[sessions]]
asn = 64511
metro = "iad"
kind = "pni"
"""
PEERINGDB: dict[str, list[dict[str, Any]]] = {
    "net": [{"id": 1, "asn": 15169, "name": "Google", "policy_general": "Open",
             "updated": "2026-03-01T10:00:00Z"}],
    "fac": [
        {"id": 1, "name": "Equinix DC1-DC15", "city": "Ashburn", "country": "US",
         "latitude": 39.02, "longitude": -77.46},
        {"id": 58, "name": "Equinix FR5", "city": "Frankfurt", "country": "DE",
         "latitude": 50.12, "longitude": 8.73},
    ],
    "ix": [{"id": 31, "name": "DE-CIX Frankfurt", "city": "Frankfurt", "country": "DE"},
           {"id": 1, "name": "Equinix Ashburn", "city": "Ashburn", "country": "US"}],
    "ixfac": [{"id": 1, "ix_id": 31, "fac_id": 58}, {"id": 2, "ix_id": 1, "fac_id": 1}],
    "netixlan": [{"id": a, "ix_id": 31, "asn": a, "operational": True} for a in (15169, 714)],
    "netfac": [{"id": 1, "fac_id": 1, "local_asn": 15169}],
}  # fmt: skip


def project(folder: Path, peeringdb: dict[str, list[dict[str, Any]]]) -> Lake:
    (folder / "flowpeer.toml").write_text(CONFIG)
    (folder / "pdb.json").write_text(json.dumps({k: {"data": v} for k, v in peeringdb.items()}))
    lake = Lake(load(folder / "flowpeer.toml").lake_path)
    load_peeringdb(lake, folder / "pdb.json")
    return lake


def told(folder: Path, lake: Lake) -> dict[tuple[str, str], str]:
    found = configured(load(folder / "flowpeer.toml"), lake, snapshot.snapshots(lake))
    return {(f.subject, f.text): f.code for f in found}


def test_what_is_wrong_is_named_with_its_cause(tmp_path: Path) -> None:
    lake = project(tmp_path, PEERINGDB)
    (tmp_path / "routes.csv").write_text("prefix,origin_asn\n8.8.8.0/24,15169\n20.0.0.0/8,8075\n")
    info, _ = snapshot.load(
        lake, tmp_path / "routes.csv", taken_at=datetime(2026, 9, 15, tzinfo=UTC)
    )
    path = lake.path(f"routes/{info.name}.parquet")
    paths = pl.Series("as_path", ["3356 15169", "1299 33567 8075"])  # 3357 is a part of one
    pl.read_parquet(path).with_columns(paths).write_parquet(path)
    found = told(tmp_path, lake)
    nobody = "AS64511 is in no view, no table of names and not in PeeringDB"
    assert {key: code for key, code in found.items() if code} == {
        ("interface 11 of edge1", "AS3357 is in no view; the description says AS3356"):
            "unknown-asn",
        ("session AS64511 in iad", f"{nobody}, which is no public number"): "unknown-asn",
        ("metro iad", "facility 58 (Equinix FR5) is in Frankfurt, 6,552 km away"): "far-place",
        ("metro iad", "exchange 31 (DE-CIX Frankfurt) is in Frankfurt, 6,552 km away"):
            "far-place",
    }  # fmt: skip
    assert [text for (subject, text), code in found.items() if not code] == [
        "has no facilities: private interconnection is never proposed there"
    ]


def test_a_dump_that_lacks_what_lists_are_made_of(tmp_path: Path) -> None:
    lake = project(tmp_path, {**PEERINGDB, "net": [{"id": 1, "asn": 714}], "netixlan": []})
    texts = [text for (subject, text) in told(tmp_path, lake) if subject == "peeringdb"]
    assert texts == [
        "the dump has no `netixlan`: it knows no ports: nobody can be met at an exchange",
        "no network in the dump has a policy: acceptance is a guess",
    ]


def test_a_dump_is_as_old_as_its_latest_object(tmp_path: Path) -> None:
    lake = project(tmp_path, PEERINGDB)
    entry = lake.entry("reference/peeringdb_net.parquet") or {}
    assert entry["source_time"] == "2026-03-01T10:00:00+00:00"


def test_places_are_found_by_name_and_city(
    tmp_path: Path, run: Callable[..., CompletedProcess[str]]
) -> None:
    lake = project(tmp_path, PEERINGDB)
    assert [(p["kind"], p["id"], p["networks"]) for p in find_places(lake, "frankfurt")] == [
        ("exchange", 31, 2), ("facility", 58, 0),
    ]  # fmt: skip
    assert [p["id"] for p in find_places(lake, "equinix ASHBURN")] == [1, 1]
    done = run("peeringdb", "find", "ashburn", "--json", cwd=tmp_path)
    assert (done.returncode, [p["id"] for p in json.loads(done.stdout)]) == (0, [1, 1])
    done = run("peeringdb", "find", "atlantis", cwd=tmp_path)
    assert (done.returncode, "no facility and no exchange" in done.stderr) == (1, True)
