"""How many of the networks that matter are among the first asks, on the Internet as it is.

    python bench/realworld.py [--data DIR] [--asks 30] [--recursive]

DIR (default: $FLOWPEER_SHARED/data, else ../shared/data) holds reference data of other parties,
which the project does not ship: origins (2016), AS relationships (2016), ports (2021), facilities
(2016), types of networks (2025). Five metros have one exchange each and transit from AS1299, AS3356
and AS174, whose tables are made of the relationships: valley-free, shortest, lowest ASN. What a
network draws from us follows its addresses and its ports; each metro has its own taste, and favours
who is present. Policies are invented, by a hash.

For each metro the 20 largest networks by true traffic that may be asked are looked for among its
first asks. Prints how many are there, of 100, and of each that is not the reason. The aim is 75.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flowpeer import catalog
from flowpeer.lake.store import Lake
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.routing.relations import load_relations
from flowpeer_core.asns import is_public
from flowpeer_reports.candidates import Candidates, candidates
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.paths import behind
from flowpeer_reports.relations import AsGraph

START = datetime(2026, 7, 1, tzinfo=UTC)
OURS = 394_000
TRANSITS = (1299, 3356, 174)
METROS = {"iad": 1, "lon": 18, "ams": 26, "fra": 31, "sjc": 5}
"""Metro → PeeringDB id of its exchange."""
METRO_BPS = 34e9
LARGEST = 20
POLICIES = ("Open",) * 6 + ("Selective",) * 3 + ("Restrictive",)
EYEBALLS = {"Cable/DSL/ISP": 3.0, "NSP": 0.7, "Content": 1.0}
PREFIXES = 4
"""Of a network in a metro, at most: routes of one network are alike here."""


def origins(path: Path) -> dict[int, list[str]]:
    """Public ASN → its prefixes, the widest first."""
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            network, length, asn = line.split()
            if asn.isdecimal() and is_public(int(asn)) and 8 <= int(length) <= 24:
                found[int(asn)].append((int(length), f"{network}/{length}"))
    return {asn: [p for _, p in sorted(some)] for asn, some in found.items()}


def paths_of(links: pl.DataFrame, transit: int) -> dict[int, tuple[int, ...]]:
    """Each AS → the path to it as one transit prefers it: of its customers, then of its peers."""
    below: dict[int, list[int]] = defaultdict(list)
    peers: set[int] = set()
    for asn, other, kind in links.iter_rows():
        if kind == -1:
            below[asn].append(other)
        elif kind == 0 and transit in (asn, other):
            peers.add(other if asn == transit else asn)
    found = {transit: (transit,)}

    def descend(level: list[int]) -> None:
        while level:
            more = []
            for asn in sorted(level):
                for customer in sorted(below[asn]):
                    if customer not in found:
                        found[customer] = (*found[asn], customer)
                        more.append(customer)
            level = more

    descend([transit])
    new = sorted(peers - found.keys())
    found.update({peer: (transit, peer) for peer in new})
    descend(new)
    return found


def objects(data: Path, folder: Path) -> None:
    """PeeringDB objects as one dump, with invented policies."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(data / "peeringdb" / name, "rt") as stream:
            return json.load(stream)["data"]  # type: ignore[no-any-return]

    nets = rows("2021-07-29/net.json.gz")
    for net in nets:
        net["policy_general"] = POLICIES[net["asn"] * 2_654_435_761 % 2**32 % len(POLICIES)]
    made = {
        "net": nets, "netixlan": rows("2021-07-29/netixlan.json.gz"),
        "ix": rows("2021-07-29/ix.json.gz"), "fac": rows("2021/fac.json.gz"),
        "ixfac": rows("2021/ixfac.json.gz"), "netfac": rows("2016/netfac.json.gz"),
    }  # fmt: skip
    for port in made["netixlan"]:
        port["operational"] = True
    (folder / "peeringdb.json").write_text(json.dumps({n: {"data": r} for n, r in made.items()}))


def weights(data: Path, prefixes: dict[int, list[str]], ports: pl.DataFrame) -> dict[int, float]:
    """What each network draws from us, as a part of all: half by addresses, half by ports."""
    with gzip.open(data / "peeringdb/2025-05-16/asn_network_types.csv.gz", "rt") as stream:
        kinds = {int(row["asn"]): row["network_type"] for row in csv.DictReader(stream)}
    size = {asn: sum(2.0 ** (32 - int(p.split("/")[1])) for p in some) ** 0.9
            for asn, some in prefixes.items()}  # fmt: skip
    speed = Counter[int]()
    for asn, bps in ports.select("asn", "speed").drop_nulls().iter_rows():
        if asn in prefixes:
            speed[asn] += bps
    taste = {asn: EYEBALLS.get(kinds.get(asn, ""), 0.5) for asn in prefixes}
    parts = [{a: v * taste[a] for a, v in some.items()} for some in (size, speed)]
    whole = [sum(part.values()) for part in parts]
    return {a: sum(p.get(a, 0) / w for p, w in zip(parts, whole, strict=True)) / 2 for a in size}


def traffic(
    prefixes: dict[int, list[str]], drawn: dict[int, float], present: dict[str, set[int]]
) -> Iterator[dict[str, Any]]:
    """Rows of `traffic_routes` of one slot."""
    for number, metro in enumerate(METROS):
        dice = np.random.default_rng((5, number))
        taste = dict(zip(sorted(drawn), dice.lognormal(0, 0.8, len(drawn)), strict=True))
        here = {a: w * taste[a] * (3 if a in present[metro] else 1) for a, w in drawn.items()}
        whole = sum(here.values())
        for asn, weight in sorted(here.items()):
            octets = int(METRO_BPS * 300 / 8 * weight / whole)
            some = prefixes[asn][:PREFIXES]
            for n, prefix in enumerate(some):
                part = octets // len(some) + (octets % len(some) if n == 0 else 0)
                port = (asn * 31 + number * 17 + n) % len(TRANSITS)
                if part:
                    yield {
                        "hour_start": START, "slot": START, "metro": metro,
                        "exporter": f"edge1.{metro}", "interface": 11 + port, "role": "transit",
                        "provider_asn": TRANSITS[port], "direction": "out", "scaled": True,
                        "prefix": prefix, "origin_asn": asn, "remote_asn": asn, "family": 4,
                        "local_prefix": None, "bytes": part, "packets": part // 900 + 1,
                        "records": 1, "variance_low": part * 9e5, "variance_high": part * 1.5e6,
                        "folded": False,
                    }  # fmt: skip


def inputs_of(data: Path, folder: Path, *, recursive: bool) -> Inputs:
    """The world as the reports take it."""
    lake = Lake(folder / "lake")
    objects(data, folder)
    load_peeringdb(lake, folder / "peeringdb.json")
    load_relations(lake, data / "asrel/20160101.as-rel.txt.gz")
    tables = ("net", "netixlan", "ix", "fac", "ixfac", "netfac", "ixlan", "org", "campus")
    peeringdb = {n: catalog.scan(lake.root, f"peeringdb_{n}").collect() for n in tables}
    links = catalog.scan(lake.root, "as_relationships").collect()
    prefixes = origins(data / "prefix2as/routeviews-rv2-20160202-1200.pfx2as.gz")
    ports = peeringdb["netixlan"]
    present = {m: set(ports.filter(pl.col("ix_id") == ix)["asn"]) for m, ix in METROS.items()}
    rows = pl.DataFrame(
        list(traffic(prefixes, weights(data, prefixes, ports), present)),
        schema_overrides={"slot": pl.Datetime("us", "UTC"), "hour_start": pl.Datetime("us", "UTC"),
                          "local_prefix": pl.String},
    )  # fmt: skip
    seen = [paths_of(links, transit) for transit in TRANSITS]
    texts = {a: [" ".join(map(str, of[a])) for of in seen if a in of] for a in prefixes}
    used = rows.select("prefix", "origin_asn").unique().sort("prefix")
    paths = pl.DataFrame(
        [(prefix, text) for prefix, asn in used.iter_rows() for text in texts[asn]],
        schema={"prefix": pl.String, "as_path": pl.String}, orient="row",
    ).unique().sort("prefix", "as_path")  # fmt: skip
    cones = None
    if not recursive:
        every = pl.Series(sorted({t for some in texts.values() for t in some}), dtype=pl.String)
        cones = behind(every, AsGraph(links), [OURS], [])
    houses = dict(peeringdb["ixfac"].group_by("ix_id").agg("fac_id").iter_rows())
    where = ["slot", "metro", "exporter", "interface", "role", "provider_asn", "direction",
             "family", "remote_asn", "scaled"]  # fmt: skip
    sums = ["bytes", "packets", "records", "variance_low", "variance_high"]
    return Inputs(
        asn=OURS, name="A network", currency="USD", siblings=frozenset(), period_start=START,
        period_end=START + timedelta(minutes=5), slots=dict.fromkeys(METROS, 1),
        missing_slots={},
        metros=pl.DataFrame(
            [{"metro": m, "name": m, "region": None, "continent": None, "latitude": None,
              "longitude": None, "facilities": sorted(houses.get(ix, []))[:2], "exchanges": [ix]}
             for m, ix in METROS.items()],
            schema={"metro": pl.String, "name": pl.String, "region": pl.String,
                    "continent": pl.String, "latitude": pl.Float64, "longitude": pl.Float64,
                    "facilities": pl.List(pl.Int64), "exchanges": pl.List(pl.Int64)},
        ),
        exchange_ports=pl.DataFrame(
            [(m, ix, False, 100_000_000_000) for m, ix in METROS.items()],
            schema={"metro": pl.String, "ix_id": pl.Int64, "route_servers": pl.Boolean,
                    "speed_bps": pl.Int64}, orient="row",
        ),
        interfaces=pl.DataFrame(
            [(f"edge1.{m}", m, 11 + n, None, "transit", asn, 100_000_000_000, None)
             for m in METROS for n, asn in enumerate(TRANSITS)],
            schema={"exporter": pl.String, "metro": pl.String, "interface": pl.Int64,
                    "name": pl.String, "role": pl.String, "asn": pl.Int64,
                    "capacity_bps": pl.Int64, "contract": pl.String}, orient="row",
        ),
        contracts=pl.DataFrame(schema={"contract": pl.String, "provider": pl.String}),
        sessions=pl.DataFrame(schema={"asn": pl.Int64, "metro": pl.String, "kind": pl.String}),
        exclusions=pl.DataFrame(schema={"asn": pl.Int64, "reason": pl.String, "until": pl.Date}),
        traffic=rows.group_by(where).agg(pl.col(sums).sum()).sort(where).lazy(),
        traffic_routes=rows.drop("slot", "remote_asn", "family").lazy(),
        paths=paths, relationships=links,
        clique=frozenset(catalog.scan(lake.root, "as_clique").collect()["asn"].to_list()),
        cones=cones, cones_source="recursive" if recursive else "observed",
        asns=pl.DataFrame(schema={"asn": pl.Int64, "name": pl.String, "organisation": pl.String,
                                  "country": pl.String}),
        peeringdb=peeringdb,
    )  # fmt: skip


def reason(found: Candidates, metro: str, asn: int, asks: int) -> tuple[str, bool]:
    """Why a network is not among the first asks of a metro, and whether that is because the rows
    above it take at least nine tenths of its own traffic on the way."""
    party = found.ranking.parties.of(asn)
    rows = found.rows.filter(pl.col("metro") == metro, pl.col("asn").is_not_null())
    mine = rows.filter(pl.col("asn").map_elements(found.ranking.parties.of, pl.Int64) == party)
    if mine.is_empty():
        return "taken by the rows above, or below the end of the list", False
    row = mine.row(0, named=True)
    words = (f"rank {row['rank']}: own {row['own_bps'] / 1e6:,.0f} Mbps, "
             f"marginal {row['marginal_bps'] / 1e6:,.0f}, expected "
             f"{row['expected_bps'] / 1e6:,.0f}; policy {row['policy'] or 'unknown'}")  # fmt: skip
    last = rows.filter(pl.col("rank") == asks)["expected_bps"]
    more = f"; the last of {asks} is expected to bring {last[0] / 1e6:,.0f}" if len(last) else ""
    taken = 10 * row["marginal_bps"] <= row["own_bps"]
    return "; ".join([words, *row["feasibility_reasons"][:3]]) + more, taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    shared = os.environ.get("FLOWPEER_SHARED", Path(__file__).parents[2] / "shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data")
    parser.add_argument("--asks", type=int, default=30)
    parser.add_argument("--recursive", action="store_true", help="infer from recursive cones")
    options = parser.parse_args()
    if not (options.data / "asrel").is_dir():
        print(f"skipped: no reference data at {options.data}; name its folder with --data")
        return
    with tempfile.TemporaryDirectory() as folder:
        inputs = inputs_of(options.data, Path(folder), recursive=options.recursive)
        found = candidates(inputs)
        names = inputs.names()
        true = inputs.traffic.group_by("metro", "remote_asn").agg(pl.col("bytes").sum()).collect()
        there = on_the_way = 0
        for metro in METROS:
            asked = found.rows.filter(
                pl.col("metro") == metro, pl.col("rank").is_between(1, options.asks)
            )
            parties = {found.ranking.parties.of(a) for a in asked["asn"]}
            mine = true.filter(
                pl.col("metro") == metro, ~pl.col("remote_asn").is_in(list(found.ranking.never))
            ).sort("bytes", descending=True).head(LARGEST)  # fmt: skip
            missing = [
                (asn, octets)
                for asn, octets in mine.select("remote_asn", "bytes").iter_rows()
                if found.ranking.parties.of(asn) not in parties
            ]
            there += mine.height - len(missing)
            print(f"{metro}: {mine.height - len(missing)} of {mine.height}; first asks: "
                  + ", ".join(names.get(a, str(a)) for a in asked["asn"].head(5)))  # fmt: skip
            for asn, octets in missing:
                why, taken = reason(found, metro, asn, options.asks)
                on_the_way += taken
                print(f"  missing AS{asn} {names.get(asn, '?')}, "
                      f"{octets * 8 / 300 / 1e6:,.0f} Mbps: {why}")  # fmt: skip
        observed = found.rows.filter(pl.col("rank").is_between(1, options.asks))
        share = float(observed["observed_bps"].sum()) / float(observed["marginal_bps"].sum())
        print(
            f"{there} of {LARGEST * len(METROS)} of the largest are among the first "
            f"{options.asks} asks, of {on_the_way} more the asks above them take at least nine "
            f"tenths; {share:.0%} of what these asks would take is observed"
        )


if __name__ == "__main__":
    main()
