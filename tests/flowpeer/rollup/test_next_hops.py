"""Whose port a flow took on an exchange: by MAC addresses and next hops (METHODS M1)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from small_network import NETWORK

from flowpeer.configuration import load
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.registry.ixf import load_ixf
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.rib import snapshot
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS

WHEN = datetime(2026, 9, 16, 1, tzinfo=UTC)
CONFIG = (
    NETWORK
    + """\
exchanges = [26]
[[exporters]]
id = "edge1"
metro = "ams"
addresses = ["192.0.2.1"]
sampling = 1
[[interfaces]]
exporter = "edge1"
index = 10
role = "ix"
[[interfaces]]
exporter = "edge1"
index = 11
role = "internal"
"""
)
PORTS = {
    "net": {"data": [{"id": n, "asn": 64600 + n, "name": f"Member {n}"} for n in (1, 2)]},
    "ix": {"data": [{"id": 26, "name": "An exchange"}]},
    "netixlan": {
        "data": [
            {"id": n, "net_id": n, "ix_id": 26, "asn": 64600 + n, "speed": 10000,
             "ipaddr4": f"203.0.113.{n}", "ipaddr6": f"2001:db8:26::{n}"}
            for n in (1, 2)
        ]
    },
}  # fmt: skip
ONE, TWO, STRANGER = "203.0.113.1", "203.0.113.2", "203.0.113.99"
ONE6 = "2001:db8:26::1"


def packed(text: str | None) -> bytes | None:
    if text is None:
        return None
    address = ip_address(text)
    return (b"" if address.version == 6 else bytes(10) + b"\xff\xff") + address.packed


def neighbours(folder: Path, export: object = None, **given: object) -> dict[str, int | None]:
    """Direction → the neighbour on the exchange of one record that comes in at it and leaves
    there again, or comes from inside."""
    (folder / "flowpeer.toml").write_text(CONFIG)
    (folder / "peeringdb.json").write_text(json.dumps(PORTS))
    (folder / "table.txt").write_text("20.0.0.0/8\t7\n")
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    load_peeringdb(lake, folder / "peeringdb.json")
    if export is not None:
        (folder / "ixf.json").write_text(json.dumps(export))
        load_ixf(lake, folder / "ixf.json")
    snapshot.load(lake, folder / "table.txt", taken_at=WHEN)
    row = {c.name: None for c in FLOWS} | {
        "received_at": WHEN, "start_time": WHEN, "end_time": WHEN, "format": "ipfix",
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "time_corrected": False,
        "input_if": 11, "output_if": 10, "src_addr": packed("198.18.0.1"),
        "dst_addr": packed("20.0.0.1"), "bytes": 1000, "packets": 1, **given,
    }  # fmt: skip
    sink = FlowSink(lake, "unit")
    sink.write(WHEN, "flows", pa.Table.from_pylist([row], arrow_schema(FLOWS)))
    sink.publish()
    rollup = RollupPlanner(lake, network)
    (hour,) = rollup.plan()
    rollup.roll_up(hour)
    traffic = pl.read_parquet(f"{lake.root}/traffic/**/*.parquet", hive_partitioning=False)
    of_port = traffic.filter(pl.col("role") == "ix")
    assert of_port["bytes"].to_list() == [1000] * of_port.height
    return dict(of_port.select("direction", "provider_asn").iter_rows())


@pytest.mark.parametrize(
    ("bgp_next_hop", "next_hop", "neighbour"),
    [
        (ONE, TWO, 64601),  # BGP's own comes first: the other may be a step inside the network
        (None, TWO, 64602),
        ("0.0.0.0", TWO, 64602),  # both mean that there is none
        ("::", TWO, 64602),
        ("0.0.0.0", ONE6, 64601),
        (ONE6, TWO, 64601),
        (STRANGER, TWO, None),  # it says who it was: nobody that is known
        ("0.0.0.0", "0.0.0.0", None),
        (None, None, None),
    ],
)
def test_the_neighbour_on_an_exchange_is_the_port_of_the_next_hop(
    tmp_path: Path, bgp_next_hop: str | None, next_hop: str | None, neighbour: int | None
) -> None:
    hops = {"bgp_next_hop": packed(bgp_next_hop), "next_hop": packed(next_hop)}
    assert neighbours(tmp_path, **hops) == {"out": neighbour}


def export(*members: tuple[int, str]) -> dict[str, object]:
    return {
        "ixp_list": [{"ixp_id": 1, "peeringdb_id": 26}],
        "member_list": [
            {"asnum": asn, "connection_list": [
                {"ixp_id": 1, "vlan_list": [{"ipv4": {"mac_addresses": [mac]}}]}
            ]}
            for asn, mac in members
        ],
    }  # fmt: skip


MEMBERS = export((64601, "02:AB:00:00:00:01"), (64602, "02ab.0000.0002"))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"dst_mac": 0x02AB_0000_0002, "next_hop": packed(ONE)}, {"out": 64602}),  # METHODS M1
        ({"dst_mac": 0x02AB_0000_0009, "next_hop": packed(ONE)}, {"out": 64601}),
        ({"src_mac": 0x02AB_0000_0002}, {"out": None}),  # it comes from inside
        (
            {"input_if": 10, "output_if": 11, "src_addr": packed("20.0.0.1"),
             "dst_addr": packed("198.18.0.1"), "src_mac": 0x02AB_0000_0001},
            {"in": 64601},
        ),
        (
            {"input_if": 10, "output_if": 11, "src_addr": packed("20.0.0.1"),
             "dst_addr": packed("198.18.0.1"), "src_mac": 7, "next_hop": packed(ONE)},
            {"in": None},
        ),
    ],
)  # fmt: skip
def test_the_neighbour_on_an_exchange_is_the_member_with_the_mac_address(
    given: dict[str, object], found: dict[str, int | None], tmp_path: Path
) -> None:
    assert neighbours(tmp_path, MEMBERS, **given) == found


def test_a_mac_address_of_two_members_is_of_none(tmp_path: Path) -> None:
    both = export((64601, "02:ab:00:00:00:01"), (64602, "02:ab:00:00:00:01"))
    assert neighbours(tmp_path, both, dst_mac=0x02AB_0000_0001) == {"out": None}
