"""Whose port a flow left through on an exchange: found by its next hops (METHODS M1)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from flowpeer.configuration import load
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.rib import snapshot
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS

WHEN = datetime(2026, 9, 16, 1, tzinfo=UTC)
CONFIG = """
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "ams"
name = "Amsterdam"
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
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    (tmp_path / "peeringdb.json").write_text(json.dumps(PORTS))
    (tmp_path / "table.txt").write_text("20.0.0.0/8\t7\n")
    network = load(tmp_path / "flowpeer.toml")
    lake = Lake(network.lake_path)
    load_peeringdb(lake, tmp_path / "peeringdb.json")
    snapshot.load(lake, tmp_path / "table.txt", taken_at=WHEN)
    row = {c.name: None for c in FLOWS} | {
        "received_at": WHEN, "start_time": WHEN, "end_time": WHEN, "format": "ipfix",
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "time_corrected": False,
        "input_if": 11, "output_if": 10, "src_addr": packed("198.18.0.1"),
        "dst_addr": packed("20.0.0.1"), "bytes": 1000, "packets": 1,
        "bgp_next_hop": packed(bgp_next_hop), "next_hop": packed(next_hop),
    }  # fmt: skip
    sink = FlowSink(lake, "unit")
    sink.write(WHEN, "flows", pa.Table.from_pylist([row], arrow_schema(FLOWS)))
    sink.publish()
    rollup = RollupPlanner(lake, network)
    (hour,) = rollup.plan()
    rollup.roll_up(hour)
    traffic = pl.read_parquet(f"{lake.root}/traffic/**/*.parquet", hive_partitioning=False)
    of_port = traffic.filter(pl.col("role") == "ix").select("provider_asn", "remote_asn", "bytes")
    assert of_port.rows() == [(neighbour, 7, 1000)]
