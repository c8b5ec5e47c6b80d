"""PeeringDB objects, names, relationships and configuration refer to each other soundly."""

from __future__ import annotations

import bz2
import csv
import ipaddress
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowpeer_sample import world as w
from flowpeer_sample.networks import CLIQUE, internet


@pytest.fixture(scope="module")
def peeringdb(sample: Path) -> dict[str, list[dict[str, Any]]]:
    document = json.loads((sample / "peeringdb.json").read_text())
    return {k: v["data"] for k, v in document.items() if k != "meta"}


@pytest.fixture(scope="module")
def configuration(sample: Path) -> dict[str, Any]:
    return tomllib.loads((sample / "flowpeer.toml").read_text())


def test_every_reference_between_objects_resolves(
    peeringdb: dict[str, list[dict[str, Any]]],
) -> None:
    ids = {kind: {row["id"] for row in rows} for kind, rows in peeringdb.items()}
    assert all(len(ids[kind]) == len(rows) for kind, rows in peeringdb.items())
    keys = {"org_id": "org", "net_id": "net", "ix_id": "ix", "ixlan_id": "ixlan", "fac_id": "fac",
            "campus_id": "campus"}  # fmt: skip
    seen = set()
    for kind, rows in peeringdb.items():
        for row in rows:
            for key, target in keys.items():
                if row.get(key) is not None:
                    assert row[key] in ids[target], (kind, row)
                    seen.add((kind, key))
    assert {("netixlan", "ixlan_id"), ("netfac", "fac_id"), ("fac", "campus_id")} <= seen


def test_ports_lie_on_their_lan_and_are_unique(peeringdb: dict[str, list[dict[str, Any]]]) -> None:
    pools = {(p["ixlan_id"], p["protocol"]): ipaddress.ip_network(p["prefix"])
             for p in peeringdb["ixpfx"]}  # fmt: skip
    taken = set()
    for port in peeringdb["netixlan"]:
        for key, protocol in (("ipaddr4", "IPv4"), ("ipaddr6", "IPv6")):
            address = ipaddress.ip_address(port[key])
            assert address in pools[port["ixlan_id"], protocol]
            assert address not in taken
            taken.add(address)


def test_policies_ratios_and_outages_of_every_kind_occur(
    peeringdb: dict[str, list[dict[str, Any]]],
) -> None:
    policies = {n["policy_general"] for n in peeringdb["net"]}
    assert policies == {"Open", "Selective", "Restrictive", "No", ""}
    assert {n["policy_ratio"] for n in peeringdb["net"]} == {True, False}
    assert {p["operational"] for p in peeringdb["netixlan"]} == {True, False}
    assert {p["is_rs_peer"] for p in peeringdb["netixlan"]} == {True, False}
    per_lan = [(p["asn"], p["ixlan_id"]) for p in peeringdb["netixlan"]]
    assert len(set(per_lan)) < len(per_lan), "some networks have two ports on one LAN"


def test_the_configuration_names_what_the_registry_has(
    configuration: dict[str, Any], peeringdb: dict[str, list[dict[str, Any]]]
) -> None:
    facilities = {f["id"] for f in peeringdb["fac"]}
    exchanges = {x["id"] for x in peeringdb["ix"]}
    assert [m["id"] for m in configuration["metros"]] == [
        "nyc", "iad", "chi", "dfw", "lax", "ams", "fra", "lon", "par"
    ]  # fmt: skip
    for metro in configuration["metros"]:
        assert set(metro["facilities"]) <= facilities
        assert {x["id"] for x in metro.get("exchanges", ())} <= exchanges
    contracts = {c["id"] for c in configuration["contracts"]}
    for port in configuration["interfaces"]:
        assert ("contract" in port) == (port["role"] == "transit")
        assert port.get("contract", next(iter(contracts))) in contracts
    ports = {(i["exporter"], i["index"]) for i in configuration["interfaces"]}
    assert ("edge1.lon", w.FORGOTTEN) not in ports
    par = next(e for e in configuration["exporters"] if e["id"] == "edge1.par")
    assert "sampling" not in par


def test_sessions_at_an_exchange_have_a_port_there(
    configuration: dict[str, Any], peeringdb: dict[str, list[dict[str, Any]]]
) -> None:
    at = {(p["asn"], p["ix_id"]) for p in peeringdb["netixlan"]}
    exchange = {m["id"]: m["exchanges"][0]["id"] for m in configuration["metros"]
                if "exchanges" in m}  # fmt: skip
    kinds = [s["kind"] for s in configuration["sessions"]]
    assert kinds.count("pni") == 5
    assert kinds.count("ix") > 20
    for s in configuration["sessions"]:
        if s["kind"] == "ix":
            assert (s["asn"], exchange[s["metro"]]) in at
        else:
            assert any(
                i["role"] == "peer" and i["asn"] == s["asn"] and i["exporter"].endswith(s["metro"])
                for i in configuration["interfaces"]
            )


def test_names_are_unique_and_numbers_public(sample: Path) -> None:
    with (sample / "asns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = [int(r["asn"]) for r in rows]
    assert len({r["name"] for r in rows}) == len(rows) == len(internet().networks) + 1
    assert all(n == w.ASN or 131_072 <= n < 4_200_000_000 for n in numbers)
    assert 300 <= len(rows) <= 500


def test_relationships_name_the_clique_and_our_transits(sample: Path) -> None:
    lines = bz2.decompress((sample / "as-rel2.txt.bz2").read_bytes()).decode().splitlines()
    clique = next(line for line in lines if line.startswith("# inferred clique:"))
    assert {int(a) for a in clique.split(":")[1].split()} == set(CLIQUE)
    rows = {tuple(line.split("|")[:3]) for line in lines if not line.startswith("#")}
    for p in w.PROVIDERS:
        assert p.asn in CLIQUE
        assert (str(p.asn), str(w.ASN), "-1") in rows
    assert (str(w.ASN), str(w.CUSTOMER), "-1") in rows
