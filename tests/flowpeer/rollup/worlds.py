"""Random worlds that hold the traps of METHODS, published as flows for a roll-up to read."""

from __future__ import annotations

import ipaddress
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import oracle
import polars as pl
import pyarrow as pa

from flowpeer.configuration import load
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.rib import snapshot
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS, SAMPLING

MIDNIGHT = int(datetime(2026, 9, 16, tzinfo=UTC).timestamp()) * 1_000_000
HOUR = 3_600_000_000
EXPORTERS = {
    "192.0.2.1": {"id": "edge1", "metro": "ams", "sampling": 1000, "sampling_override": None,
                  "metering": "auto"},
    "192.0.2.2": {"id": "edge2", "metro": "fra", "sampling": None, "sampling_override": 7,
                  "metering": "egress"},
    "2001:db8:1::3": {"id": "edge3", "metro": "fra", "sampling": None, "sampling_override": None,
                      "metering": "auto"},
}  # fmt: skip
ROLES = [("transit", 1299), ("transit", 3356), ("peer", 15169), ("ix", None), ("customer", 2914),
         ("internal", None)]  # fmt: skip
ROUTES: dict[str, int | None] = {
    "0.0.0.0/0": 3356, "::/0": 3356, "20.0.0.0/8": 8075, "20.1.0.0/16": 2906, "20.1.2.0/24": 64512,
    "20.1.2.3/32": 13335, "31.0.0.0/9": 0, "31.64.0.0/10": 23456, "31.128.0.0/9": 4294967295,
    "45.0.0.0/8": None, "46.0.0.0/8": 64500, "2600::/12": 7922, "2600:10::/32": 20940,
    "2600:10::1/128": 4200000001,
}  # fmt: skip
REMOTES = ["20.0.0.1", "20.1.0.1", "20.1.2.1", "20.1.2.3", "31.1.1.1", "31.65.0.1", "31.200.0.1",
           "45.1.1.1", "46.1.1.1", "99.1.1.1", "2600:1::1", "2600:10::2", "2600:10::1", "2a00::1",
           "198.18.3.4", "2001:db8::77", None]  # fmt: skip
OWN = ["198.18.0.0/15", "198.18.3.0/24", "2001:db8::/32"]


def make_world(seed: int) -> Any:
    dice = random.Random(seed)
    interfaces = {
        (e["id"], 10 + n): {"role": role, "asn": asn}
        for e in EXPORTERS.values()
        for n, (role, asn) in enumerate(ROLES)
    }
    world = oracle.World(64500, OWN, EXPORTERS, interfaces, ROUTES)
    for _ in range(dice.randint(20, 120)):
        received = MIDNIGHT + dice.randrange(3 * HOUR)
        duration = dice.choice([0, 1, 999_999, 60_000_000, 299_999_999, 300_000_000, 900_000_001])
        end = received - dice.randrange(60_000_000)
        if dice.random() < 0.2:
            end -= end % 300_000_000
        rated = dice.random()
        world.flows.append({
            "exporter_ip": dice.choice([*EXPORTERS, "203.0.113.9"]),
            "observation_domain": dice.choice([0, 1]),
            "received": received, "start": end - duration, "end": end,
            "input_if": dice.choice([None, 0, 9, *range(10, 16)]),
            "output_if": dice.choice([None, 0, 9, *range(10, 16)]),
            "direction": dice.choice([None, 0, 1]),
            "src_addr": dice.choice([*REMOTES, "198.18.0.1", "198.18.3.9"]),
            "dst_addr": dice.choice([*REMOTES, "198.18.0.1", "2001:db8::1"]),
            "bytes": dice.choice([None, 0, 1, 1499, 1 << 20, dice.randrange(1 << 25)]),
            "packets": dice.choice([None, 1, 3, 1000]),
            "sampling_interval": None if rated < 0.6 else dice.choice([1, 512, 4096]),
            "sampler_id": dice.choice([None, 1, 2]),
            "min_length": dice.choice([None, 40, 64]), "max_length": dice.choice([None, 1500]),
        })  # fmt: skip
    for _ in range(dice.randint(0, 6)):
        scope = dice.choice([(None, None), (1, None), (2, None), (None, 10), (None, 12)])
        world.sampling.append({
            "exporter_ip": dice.choice(list(EXPORTERS)),
            "observation_domain": dice.choice([0, 1]), "sampler_id": scope[0],
            "interface": scope[1], "interval": dice.choice([10, 100, 2000]),
            "first_seen": MIDNIGHT + dice.randrange(3 * HOUR),
        })  # fmt: skip
    return world


def octets(address: str | None) -> bytes | None:
    if address is None:
        return None
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


def toml_of(world: Any, lake: str = "", path: str = "lake") -> str:
    lines = [
        "[network]", f"asn = {world.asn}", 'name = "Test"', f"prefixes = {world.prefixes}",
        "[lake]", f'path = "{path}"', lake,
    ]  # fmt: skip
    for metro in sorted({e["metro"] for e in world.exporters.values()}):
        lines += ["[[metros]]", f'id = "{metro}"', f'name = "{metro}"']
    for address, e in world.exporters.items():
        lines += ["[[exporters]]", f'id = "{e["id"]}"', f'metro = "{e["metro"]}"',
                  f'addresses = ["{address}"]', f'metering = "{e["metering"]}"']  # fmt: skip
        lines += [f"{k} = {e[k]}" for k in ("sampling", "sampling_override") if e[k]]
    for (exporter, index), i in world.interfaces.items():
        lines += ["[[interfaces]]", f'exporter = "{exporter}"', f"index = {index}",
                  f'role = "{i["role"]}"']  # fmt: skip
        lines += [f"asn = {i['asn']}"] if i["asn"] else []
    return "\n".join(lines)


def publish(lake: Lake, world: Any, units: int) -> None:
    """Put the world's records into the lake as `units` units of work."""
    sink = {n: FlowSink(lake, f"unit-{n}") for n in range(units)}

    def hour_of(time: int) -> datetime:
        return datetime.fromtimestamp(time // HOUR * 3600, UTC)

    rows: dict[tuple[int, datetime], list[dict[str, Any]]] = {}
    for n, flow in enumerate(world.flows):
        row = {c.name: None for c in FLOWS} | {k: v for k, v in flow.items() if k != "received"}
        row |= {
            "received_at": flow["received"], "start_time": flow.pop("start"),
            "end_time": flow.pop("end"), "format": "ipfix", "time_corrected": False,
            "src_addr": octets(flow["src_addr"]), "dst_addr": octets(flow["dst_addr"]),
        }  # fmt: skip
        flow["start"], flow["end"] = row["start_time"], row["end_time"]
        row.pop("start", None), row.pop("end", None)
        rows.setdefault((n % units, hour_of(flow["received"])), []).append(row)
    for (n, hour), some in rows.items():  # together, as ingest does, so that batches are batches
        sink[n].write(hour, "flows", pa.Table.from_pylist(some, arrow_schema(FLOWS)))
    for rate in world.sampling:
        row = {**rate, "last_seen": rate["first_seen"]}
        sink[0].write(
            hour_of(rate["first_seen"]), "sampling",
            pa.Table.from_pylist([row], arrow_schema(SAMPLING)),
        )  # fmt: skip
    for one in sink.values():
        one.publish()


def prepare(
    folder: Path, world: Any, units: int = 2, lake: str = "", path: str = "lake"
) -> RollupPlanner:
    """A lake with a world's routes and records; `lake` are more lines of its section."""
    (folder / "flowpeer.toml").write_text(toml_of(world, lake, path))
    for family, mark in (("4", "."), ("6", ":")):  # tables of the two families come apart
        (folder / f"routes{family}-2026-09-15.txt").write_text(
            "".join(
                f"{prefix.replace('/', chr(9))}\t{'{1299,3356}' if origin is None else origin}\n"
                for prefix, origin in world.routes.items()
                if mark in prefix
            )
        )
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    for table in sorted(folder.glob("routes*.txt")):
        snapshot.load(lake, table, taken_at=datetime(2026, 9, 15, tzinfo=UTC))
    publish(lake, world, units)
    return RollupPlanner(lake, network)


def table_rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    frames = [
        pl.read_parquet(lake.path(name), hive_partitioning=False) for name in lake.entries(table)
    ]
    return pl.concat(frames).to_dicts()
