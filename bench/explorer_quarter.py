"""A quarter of nine metros for the explorer: the lake of `bench/quarter.py`, and what pages ask.

To its `traffic` come `traffic_routes` (the bytes of each network and hour over its prefixes, so
that both tables add up), a routing table with a view of each provider, relationships, PeeringDB,
names, contracts.
"""

from __future__ import annotations

import json
import multiprocessing
import struct
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from quarter import INTERFACES, METROS, NETWORKS, START, generate

DAYS = 92
"""The third quarter of 2026."""
CARRIERS = 400
PROVIDERS = [asn for _, role, asn in INTERFACES if role == "transit"]
MEMBERS = 2_000
"""Networks of PeeringDB, each on the exchanges of three metros."""


def networks() -> list[int]:
    """ASNs by rank of their traffic, as in `quarter.hours`."""
    import numpy as np

    found: list[int] = (np.random.default_rng(1).permutation(64_000)[:NETWORKS] + 1).tolist()
    return found


def prefixes(rank: int) -> list[str]:
    """One to three of a network; those of family 6 there are of family 6 here."""
    numbers = range(3 * rank, 3 * rank + 1 + rank % 3)
    if rank % 5 == 0:
        return [f"2600:{n >> 16:x}:{n & 0xFFFF:x}::/48" for n in numbers]
    return [f"{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24" for n in numbers]


def carrier(rank: int, provider: int) -> int:
    """The network between a provider and one of this rank: another one behind each provider."""
    return 100_000 + (rank * 7 + provider) % CARRIERS


def routing_table(path: Path) -> None:
    """MRT, one view of each provider."""
    when = int(START.timestamp())
    table = bytes(4) + struct.pack(">HH", 0, len(PROVIDERS))
    for number, asn in enumerate(PROVIDERS):
        table += struct.pack(">B4s4sI", 2, bytes(4), bytes([192, 0, 2, 100 + number]), asn)
    with path.open("wb") as file:
        file.write(struct.pack(">IHHI", when, 13, 1, len(table)) + table)
        for rank, asn in enumerate(networks()):
            entries = struct.pack(">H", len(PROVIDERS))
            for peer, provider in enumerate(PROVIDERS):
                hops = [provider, carrier(rank, provider), asn]
                attributes = b"\x40\x01\x01\x00\x40\x02" + bytes([2 + 4 * len(hops), 2, len(hops)])
                attributes += struct.pack(f">{len(hops)}I", *hops)
                attributes += b"\x40\x03\x04\xc0\x00\x02" + bytes([100 + peer])
                entries += struct.pack(">HIH", peer, when, len(attributes)) + attributes
            for number, text in enumerate(prefixes(rank)):
                prefix = ip_network(text)
                octets = prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]
                body = struct.pack(">IB", 3 * rank + number, prefix.prefixlen) + octets + entries
                kind = 2 if prefix.version == 4 else 4
                file.write(struct.pack(">IHHI", when, 13, kind, len(body)) + body)


def relationships() -> str:
    links = {(p, 100_000 + c) for p in PROVIDERS for c in range(CARRIERS)}
    for rank, asn in enumerate(networks()):
        links |= {(carrier(rank, p), asn) for p in PROVIDERS}
    lines = ["# inferred clique: " + " ".join(map(str, sorted(PROVIDERS)))]
    return "\n".join([*lines, *(f"{a}|{b}|-1|bench" for a, b in sorted(links))]) + "\n"


def peeringdb() -> dict[str, Any]:
    policies = ("Open", "Selective", "Open", "Restrictive")
    found: dict[str, list[dict[str, Any]]] = {k: [] for k in
        ("org", "fac", "net", "ix", "ixlan", "netixlan", "netfac")}  # fmt: skip
    for m in range(METROS):
        found["ix"].append({"id": m + 1, "name": f"Exchange {m}", "city": f"Metro {m}"})
        found["ixlan"].append({"id": m + 1, "ix_id": m + 1})
        found["fac"].append({"id": m + 1, "name": f"Facility {m}", "city": f"Metro {m}"})
    for rank, asn in enumerate([*networks()[:MEMBERS], 64500]):
        found["org"].append({"id": asn, "name": f"Organisation {asn}"})
        found["net"].append({
            "id": asn, "org_id": asn, "asn": asn, "name": f"Network {asn}",
            "info_type": "Content", "policy_general": policies[rank % 4],
        })  # fmt: skip
        for m in range(METROS) if asn == 64500 else {rank % METROS, rank % 7, rank % 5}:
            found["netixlan"].append({
                "id": len(found["netixlan"]) + 1, "net_id": asn, "asn": asn, "ix_id": m + 1,
                "ixlan_id": m + 1, "speed": 100_000, "is_rs_peer": rank % 2 == 0,
                "operational": True, "ipaddr4": f"80.{m}.{rank >> 8}.{rank & 255}",
            })  # fmt: skip
            found["netfac"].append({"id": len(found["netfac"]) + 1, "net_id": asn,
                                    "fac_id": m + 1, "local_asn": asn})  # fmt: skip
    return {kind: {"data": rows} for kind, rows in found.items()}


def configuration() -> str:
    lines = ["[network]", "asn = 64500", 'name = "Bench"',
             'prefixes = ["198.18.0.0/15", "2001:db8::/32"]', "[lake]", 'path = "lake"',
             "[sources]", 'ribs = "ribs"', 'peeringdb = "peeringdb.json"',
             'as_relationships = "as-rel2.txt"', 'as_names = "asns.csv"']  # fmt: skip
    for m in range(METROS):
        lines += ["[[metros]]", f'id = "m{m}x"', f'name = "Metro {m}"', 'continent = "EU"',
                  f"facilities = [{m + 1}]", f"exchanges = [{m + 1}]", f"latitude = {40 + m}",
                  f"longitude = {m}", "[[exporters]]", f'id = "edge1.m{m}x"', f'metro = "m{m}x"',
                  f'addresses = ["192.0.2.{m + 1}"]', "sampling = 1000"]  # fmt: skip
        for index, role, asn in INTERFACES:
            lines += ["[[interfaces]]", f'exporter = "edge1.m{m}x"', f"index = {index}",
                      f'role = "{role}"', f"asn = {asn}", 'capacity = "100G"']  # fmt: skip
            lines += [f'contract = "c{asn}"'] if role == "transit" else []
    for asn in PROVIDERS:
        lines += ["[[contracts]]", f'id = "c{asn}"', f'provider = "Provider {asn}"',
                  'commit = "20G"', "price_per_mbps = 0.12", 'billing = "max_of_p95"']  # fmt: skip
    return "\n".join(lines) + "\n"


def routes(folder: Path, numbers: list[int]) -> int:
    """Write some hours of routes, from the traffic of the same hours; how many rows."""
    import polars as pl

    from flowpeer import schema
    from flowpeer.lake.store import Lake
    from flowpeer_core.columns import arrow_schema

    lake = Lake(folder / "lake")
    asns = networks()
    of_network = pl.DataFrame(
        [(asn, prefix, k, 1 + rank % 3, rank % 5 == 0)
         for rank, asn in enumerate(asns) for k, prefix in enumerate(prefixes(rank))],
        schema=["remote_asn", "prefix", "k", "parts", "six"], orient="row",
    ).with_columns(
        local_prefix=pl.when("six").then(pl.lit("2001:db8::/32")).otherwise(pl.lit("198.18.0.0/15"))
    )  # fmt: skip
    keys = ["metro", "exporter", "interface", "role", "provider_asn", "direction", "scaled"]
    sums = ["bytes", "packets", "records"]
    total = 0
    for number in numbers:
        begin = START + timedelta(hours=number)
        at = f"date={begin:%Y-%m-%d}/hour={begin.hour:02d}/part.parquet"
        frame = (
            pl.read_parquet(folder / "lake/traffic" / at, hive_partitioning=False)
            .group_by(*keys, "remote_asn").agg(pl.col(*sums, "variance_low", "variance_high").sum())
            .join(of_network, on="remote_asn")
            .with_columns(
                pl.col(*sums) // pl.col("parts")
                + pl.when(pl.col("k") == 0).then(pl.col(*sums) % pl.col("parts")).otherwise(0),
                pl.col("variance_low", "variance_high") / pl.col("parts"),
                hour_start=pl.lit(begin).cast(pl.Datetime("us", "UTC")),
                origin_asn="remote_asn", folded=pl.lit(None, pl.Boolean),
            )
            .sort("metro", "interface", "direction", "prefix")
        )  # fmt: skip
        target = arrow_schema(schema.TRAFFIC_ROUTES)
        table = frame.select(target.names).to_arrow().cast(target)
        lake.publish(f"traffic_routes/{at}", schema.TRAFFIC_ROUTES, table, {})
        total += table.num_rows
    return total


def make(folder: Path, days: int = DAYS) -> None:
    """The network and its lake in a folder."""
    from flowpeer import open as opened

    rows = generate(folder, days)
    (folder / "flowpeer.toml").write_text(configuration())
    (folder / "peeringdb.json").write_text(json.dumps(peeringdb()))
    (folder / "as-rel2.txt").write_text(relationships())
    names = [f"{asn},Network {asn},Organisation {asn},DE" for asn in networks()]
    (folder / "asns.csv").write_text("\n".join(["asn,name,organisation,country", *names]) + "\n")
    (folder / "ribs").mkdir(exist_ok=True)
    routing_table(folder / "ribs" / "rib.mrt")
    every = list(range(24 * days))
    fresh = multiprocessing.get_context("spawn")  # Polars does not survive a fork
    with ProcessPoolExecutor(2, fresh) as pool:
        more = sum(pool.map(routes, [folder, folder], [every[0::2], every[1::2]]))
    network = opened(folder / "flowpeer.toml")
    network.lookup("16.0.0.1")  # loads all sources
    record = network.lake.record()
    for table in ("traffic", "traffic_routes"):  # as `rollup` leaves a lake
        record.headers(table)
    record.pack()
    network.sum_days()
    (folder / "rows").write_text(f"{rows} {more}")
