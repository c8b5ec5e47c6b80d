"""A small lake with every case that the questions speak of, written by the stated schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowpeer.lake.manifest import folder_of
from flowpeer.lake.store import Lake
from flowpeer.query import QuerySession
from flowpeer.schema import CONFIGURED, CROSSINGS, TABLES
from flowpeer_core.columns import arrow_schema

START = datetime(2026, 6, 30, 22, tzinfo=UTC)
SLOTS = 48  # four hours across the end of a month
SLOT = timedelta(minutes=5)
Row = dict[str, Any]

# remote ASN: (bytes of a busy slot, prefix, path behind each provider)
REMOTES = {
    2906: (900_000_000, "192.0.2.0/24", {1299: "1299 2906", 3356: "3356 3356 6461 2906"}),
    15169: (700_000_000, "198.51.100.0/24", {1299: "1299 6461 15169", 3356: "3356 15169 15169"}),
    6461: (90_000_000, "203.0.113.0/24", {1299: "1299 6461", 3356: "3356 6461"}),
    64500: (40_000_000, "2001:db8:1::/48", {1299: "1299 6461 {64500,64501}"}),
}
CODES = {-1: 5_000_000, -2: 3_000_000, -5: 1_000_000}
GROUP = ("metro", "exporter", "interface", "role", "provider_asn", "direction", "scaled")
EDGES = (("ams", "edge1.ams", "192.0.2.250"), ("fra", "edge1.fra", "192.0.2.251"))
INTERFACES = ((11, "transit", 1299), (12, "transit", 3356), (13, "peer", 2906))


def publish(root: Path, table: str, rows: list[Row], *, time: str = "", name: str = "part") -> None:
    """Write `rows` as files of `table`, one an hour of column `time` where that is given."""
    schema = arrow_schema(TABLES[table])
    hours: dict[datetime | None, list[Row]] = {}
    for row in rows:
        hour = row[time].replace(minute=0, second=0, microsecond=0) if time else None
        hours.setdefault(hour, []).append({**dict.fromkeys(schema.names), **row})
    for hour, chosen in hours.items():
        if hour is not None:
            folder = folder_of(table, hour)
        else:
            folder = "reference" if table != "routes" else table
        stem = table if folder == "reference" else name
        Lake(root).publish(
            f"{folder}/{stem}.parquet", TABLES[table], pa.Table.from_pylist(chosen, schema=schema),
            {},
        )  # fmt: skip


def traffic_rows() -> list[Row]:
    rows: list[Row] = []

    def add(number: int, metro: str, exporter: str, interface: int | None, role: str,
            provider: int | None, direction: str, remote: int, size: int,
            *, scaled: bool = True) -> None:  # fmt: skip
        rows.append({
            "slot": START + number * SLOT, "metro": metro, "exporter": exporter,
            "interface": interface, "role": role, "provider_asn": provider,
            "direction": direction, "family": 6 if remote == 64500 else 4, "remote_asn": remote,
            "scaled": scaled, "bytes": size, "packets": size // 1000, "records": 1 + size % 7,
            "variance_low": float(size), "variance_high": float(2 * size),
        })  # fmt: skip

    for number in range(SLOTS):
        for place, (metro, exporter, _) in enumerate(EDGES):
            if metro == "fra" and number == 30:
                continue  # not heard in this slot: missing, not zero
            for interface, role, asn in INTERFACES:
                for index, (remote, (size, *_)) in enumerate(REMOTES.items()):
                    if role == "peer" and remote != 2906:
                        continue
                    if (number + index) % (index + 2) == 0 and index:
                        continue  # sparse: no row where nothing moved
                    if remote == 64500 and asn == 3356:
                        continue
                    out = size * (10 + (number * (index + 3)) % 17) // (10 + interface) + place
                    add(number, metro, exporter, interface, role, asn, "out", remote, out)
                    add(number, metro, exporter, interface, role, asn, "in", remote, out // 9 + 1)
            for remote, size in CODES.items():
                if number % 6 == place:
                    add(number, metro, exporter, 11, "transit", 1299, "in", remote, size + number)
        if number % 12 == 0:
            add(number, "ams", "edge1.ams", 99, "unknown", None, "in", 15169, 1_000 + number)
            add(number, "ams", "edge1.ams", 11, "set_aside", 1299, "in", 15169, 2_000 + number)
            add(number, "ams", "edge1.ams", None, "discarded", None, "none", 2906, 300 + number)
            add(number, "ams", "edge1.ams", 1, "internal", None, "none", -4, 77 + number)
            add(number, "fra", "192.0.2.9", 4, "unknown", None, "out", 2906, 55, scaled=False)
    return rows


def route_traffic(traffic: list[Row]) -> list[Row]:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in traffic:
        hour = row["slot"].replace(minute=0)
        prefix = REMOTES[row["remote_asn"]][1] if row["remote_asn"] in REMOTES else None
        key = (hour, *(row[name] for name in GROUP), prefix, row["remote_asn"])
        found = sums.setdefault(key, [0, 0, 0])
        for index, name in enumerate(("bytes", "packets", "records")):
            found[index] += row[name]
    names = ("hour_start", *GROUP, "prefix", "origin_asn")
    return [
        {**dict(zip(names, key, strict=True)), "bytes": b, "packets": p, "records": r,
         "variance_low": 0.0, "variance_high": 0.0}
        for key, (b, p, r) in sums.items()
    ]  # fmt: skip


def routes() -> list[Row]:
    return [
        {"snapshot": "rib", "taken_at": START + timedelta(hours=1),
         "vantage": f"AS{provider}@192.0.2.{provider % 7}", "prefix": prefix,
         "family": 6 if ":" in prefix else 4, "as_path": path,
         "origin_asn": None if path.endswith("}") else remote}
        for remote, (_, prefix, paths) in REMOTES.items()
        for provider, path in paths.items()
    ]  # fmt: skip


def configured() -> dict[str, pa.Table]:
    contracts = [(f"c{asn}", name, 20_000_000_000, 0.12, 0.15, "max_of_p95", "p95_of_sum",
                  "marginal", None, None, "USD", "UTC", None, None)
                 for asn, name in ((1299, "North Transit"), (3356, "South Transit"))]  # fmt: skip
    rows: dict[str, list[tuple[Any, ...]]] = {
        "metros": [("ams", "Amsterdam", "eu", "EU", 52.3, 4.9),
                   ("fra", "Frankfurt", "eu", "EU", 50.1, 8.7)],
        "exporters": [(e, m, a, 1000, None, "auto") for m, e, a in EDGES],
        "interfaces": [
            (e, m, i, f"et-0/0/{i}", role, asn, 100_000_000 * i if role == "transit" else None,
             f"c{asn}" if role == "transit" else None, None, None)
            for m, e, _ in EDGES for i, role, asn in INTERFACES
        ],
        "contracts": contracts,
        "sessions": [(2906, m, "pni") for m, *_ in EDGES],
    }  # fmt: skip
    tables = {}
    for name, columns in CONFIGURED.items():
        schema = arrow_schema(columns)
        cells = [
            {**dict.fromkeys(schema.names), **dict(zip(schema.names, row, strict=False))}
            for row in rows[name]
        ]
        tables[name] = pa.Table.from_pylist(cells, schema=schema)
    return tables


def fold(traffic: list[Row], tail: Callable[[datetime, str], set[int]]) -> tuple[Any, Any]:
    """Rows of `traffic` and `traffic_routes` with the networks of some metros' hours folded."""
    by_slot: dict[tuple[Any, ...], Row] = {}
    for row in traffic:
        small = row["scaled"] and row["remote_asn"] in tail(row["slot"], row["metro"])
        row = {**row, "remote_asn": -6 if small else row["remote_asn"]}
        key = (row["slot"], row["family"], row["remote_asn"], *(row[name] for name in GROUP))
        if key not in by_slot:
            by_slot[key] = row
            continue
        for name in ("bytes", "packets", "records", "variance_low", "variance_high"):
            by_slot[key][name] += row[name]
    by_route = [
        {**row, "folded": row["scaled"] and row["origin_asn"] in tail(row["hour_start"],
                                                                      row["metro"])}
        for row in route_traffic(traffic)
    ]  # fmt: skip
    return list(by_slot.values()), by_route


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "lake"
    traffic = traffic_rows()
    return build(root, traffic, route_traffic(traffic))


def build(root: Path, traffic: list[Row], by_route: list[Row]) -> Path:
    publish(root, "traffic", traffic, time="slot")
    publish(root, "traffic_routes", by_route, time="hour_start")
    publish(root, "routes", routes(), name="rib")
    publish(root, "asns", [
        {"asn": 2906, "name": "Films", "country": "US"}, {"asn": 15169, "name": "Search"},
        {"asn": 6461, "name": "Carrier"}, {"asn": -1, "name": "unrouted"},
    ])  # fmt: skip
    publish(root, "coverage", [
        {"slot": START + n * SLOT, "exporter_ip": address, "datagrams": 10, "received": 10,
         "lost": 0, "seen": not (metro == "fra" and n == 30)}
        for n in range(SLOTS) for metro, _, address in EDGES
    ], time="slot")  # fmt: skip
    mapped = bytes(10) + b"\xff\xff"
    publish(root, "flows", [
        {"received_at": START, "start_time": START, "end_time": START, "exporter_ip": "192.0.2.250",
         "observation_domain": 0, "format": "ipfix", "input_if": 1, "output_if": 11,
         "src_addr": mapped + bytes([198, 18, 0, n]), "bytes": 1500 * n, "packets": n,
         "dst_addr": bytes.fromhex("20010db8") + bytes(11) + bytes([n]), "time_corrected": False}
        for n in range(1, 4)
    ], time="received_at", name="segment")  # fmt: skip
    return root


def crossings(folder: Path) -> list[Path]:
    """A record a row of `traffic_routes` and service."""
    rows = []
    for n, row in enumerate(route_traffic(traffic_rows())):
        shares = [row["bytes"] // 3, row["bytes"] - row["bytes"] // 3]
        for k, size in enumerate(shares):
            protocol, port = ((6, 443), (17, 53), (1, None), (6, 80))[(n + k) % 4]
            rows.append({
                **{c.name: row.get(c.name) for c in CROSSINGS}, "remote_asn": row["origin_asn"],
                "bytes": size, "packets": size // 1000, "records": 1, "rate": 1000.0,
                "protocol": protocol, "remote_port": port, "dscp": 46 if k else 0,
                "local_port": None if port is None else 50_000 + n % 7, "family": 4,
                "remote_addr": bytes(10) + b"\xff\xff\xc6\x33\x64" + bytes([n % 5 + k]),
            })  # fmt: skip
    file = folder / "crossings.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(CROSSINGS)), file)
    return [file]


@pytest.fixture(scope="session")
def con(lake: Path) -> Iterator[QuerySession]:
    with QuerySession(lake, configured=configured(), crossings=crossings) as session:
        yield session
