"""How many of the networks that matter are among the first asks, on the Internet as it is.

    python bench/realworld.py [--data DIR] [--asks 30] [--recursive] [--draw 0]

DIR (default: $FLOWPEER_SHARED/data, else ../shared/data) holds reference data of other parties,
which the project does not ship: origins (2016), AS relationships (2016), ports (2021), facilities
(2016), types of networks (2025). Five metros have one exchange each and transit from AS1299, AS3356
and AS174, whose tables are made of the relationships: valley-free, shortest, lowest ASN. What a
network draws from us follows its addresses and its ports; each metro has its own taste, and favours
who is present. Siblings are those of AS Rank (2021); policies are those of a dump of 250 networks
(2026), and of the others drawn by a hash of ASN and `--draw`, as frequent as there for their type.

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
from dataclasses import dataclass
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


def types(data: Path) -> dict[int, str]:
    """ASN → its type of network."""
    with gzip.open(data / "peeringdb/2025-05-16/asn_network_types.csv.gz", "rt") as stream:
        return {int(row["asn"]): row["network_type"] for row in csv.DictReader(stream)}


def siblings(data: Path) -> pl.DataFrame:
    """Links between networks of one organisation."""
    with gzip.open(data / "asrank/asrank-2021-01.top10000.json.gz", "rt") as stream:
        nodes = [edge["node"] for edge in json.load(stream)["data"]["asns"]["edges"]]
    first: dict[str, int] = {}
    named = sorted((int(n["asn"]), n["organization"]["orgId"]) for n in nodes if n["organization"])
    links = [(first.setdefault(organisation, asn), asn, 1) for asn, organisation in named]
    return pl.DataFrame(
        [link for link in links if link[0] != link[1]],
        schema={"asn": pl.Int64, "other_asn": pl.Int64, "relationship": pl.Int64}, orient="row",
    )  # fmt: skip


def objects(data: Path, folder: Path, draw: int) -> None:
    """PeeringDB objects as one dump, with policies."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(data / "peeringdb" / name, "rt") as stream:
            return json.load(stream)["data"]  # type: ignore[no-any-return]

    nets, known, kinds = rows("2021-07-29/net.json.gz"), {}, types(data)
    by_type: dict[str, list[str]] = defaultdict(list)
    for net in rows("2026-beta/net.json.gz"):
        if policy := net["policy_general"]:
            known[net["asn"]] = policy
            by_type[net["info_type"]].append(policy)
    for net in nets:
        some = by_type.get(kinds.get(net["asn"], ""), [])
        some = some if len(some) >= 10 else list(known.values())
        dice = (net["asn"] + draw * 7919) * 2_654_435_761 % 2**32
        net["policy_general"] = known.get(net["asn"], some[dice % len(some)])
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
    kinds = types(data)
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


def inputs_of(data: Path, folder: Path, *, recursive: bool, draw: int) -> Inputs:
    """The world as the reports take it."""
    lake = Lake(folder / "lake")
    objects(data, folder, draw)
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
        paths=paths, relationships=pl.concat([links, siblings(data).cast(links.schema)]),
        clique=frozenset(catalog.scan(lake.root, "as_clique").collect()["asn"].to_list()),
        cones=cones, cones_source="recursive" if recursive else "observed",
        asns=pl.DataFrame(schema={"asn": pl.Int64, "name": pl.String, "organisation": pl.String,
                                  "country": pl.String}),
        peeringdb=peeringdb,
    )  # fmt: skip


@dataclass(frozen=True)
class Metro:
    """The list of one metro, with what is needed to say why a network is not on it sooner."""

    found: Candidates
    metro: str
    names: dict[int, str]
    octets: dict[str, int]
    """By prefix."""
    asks: int

    def rows(self) -> pl.DataFrame:
        return self.found.rows.filter(pl.col("metro") == self.metro, pl.col("asn").is_not_null())

    def carriers(self, asn: int) -> tuple[float, str]:
        """The share of a network's own bytes that the asks take as its customers' routes, and the
        largest of these asks in words."""
        ranking, party = self.found.ranking, self.found.ranking.parties.of
        listing = next(one for one in ranking.metros if one.name == self.metro)
        held, whole = Counter[int](), 0
        routes = ranking.routes(listing).select("prefix", "origin_asn", "row")
        for prefix, origin, number in routes.iter_rows():
            if party(origin) == party(asn):
                whole += self.octets[prefix]
                rank = None if number is None else listing.rows[number].rank
                if rank and rank <= self.asks:
                    held[number] += self.octets[prefix]
        some = [listing.rows[number] for number, _ in held.most_common(2)]
        return held.total() / max(1, whole), " and ".join(
            f"{self.names.get(row.asn or 0, row.asn)} (#{row.rank})" for row in some
        )

    def reason(self, asn: int) -> tuple[str, str]:
        """The class of the reason why a network is not among the first asks, and it in words."""
        party = self.found.ranking.parties.of
        rows = self.rows()
        mine = rows.filter(pl.col("asn").map_elements(party, pl.Int64) == party(asn))
        share, carriers = self.carriers(asn)
        last = rows.filter(pl.col("rank") == self.asks)["expected_bps"].to_list() or [0.0]
        row = mine.row(0, named=True) if len(mine) else None
        rest = f"{row['expected_bps'] / 1e6:,.0f} Mbps, #{row['rank']}" if row else "the tail"
        if share >= 0.9:
            return "carried", (
                f"a customer of {carriers}, which is asked first and brings {share:.0%} of it; "
                f"asked as well, it is expected to add {rest}"
            )
        if row is None or row["feasibility"] < 0.5:
            why = "; ".join(row["feasibility_reasons"][:3]) if row else "nothing known of it"
            return "unlikely", f"a yes is unlikely ({why}): {rest}"
        return (
            "less",
            f"expected to bring {rest}; the last of {self.asks} asks {last[0] / 1e6:,.0f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    shared = os.environ.get("FLOWPEER_SHARED", Path(__file__).parents[2] / "shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data")
    parser.add_argument("--asks", type=int, default=30)
    parser.add_argument("--recursive", action="store_true", help="infer from recursive cones")
    parser.add_argument("--draw", type=int, default=0, help="another draw of unknown policies")
    options = parser.parse_args()
    if not (options.data / "asrel").is_dir():
        print(f"skipped: no reference data at {options.data}; name its folder with --data")
        return
    with tempfile.TemporaryDirectory() as folder:
        inputs = inputs_of(
            options.data, Path(folder), recursive=options.recursive, draw=options.draw
        )
        found = candidates(inputs)
        names = inputs.names()
        true = inputs.traffic.group_by("metro", "remote_asn").agg(pl.col("bytes").sum()).collect()
        there, why_not = 0, Counter[str]()
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
            routes = inputs.traffic_routes.filter(pl.col("metro") == metro)
            by_prefix = dict(routes.select("prefix", "bytes").collect().iter_rows())
            here = Metro(found, metro, names, by_prefix, options.asks)
            for asn, octets in missing:
                kind, why = here.reason(asn)
                why_not[kind] += 1
                print(f"  missing AS{asn} {names.get(asn, '?')}, "
                      f"{octets * 8 / 300 / 1e6:,.0f} Mbps: {why}")  # fmt: skip
        observed = found.rows.filter(pl.col("rank").is_between(1, options.asks))
        share = float(observed["observed_bps"].sum()) / float(observed["marginal_bps"].sum())
        print(
            f"{there} of {LARGEST * len(METROS)} of the largest are among the first "
            f"{options.asks} asks; of the rest {why_not['carried']} are customers of asks that "
            f"bring nine tenths of them, of {why_not['unlikely']} a yes is unlikely, and "
            f"{why_not['less']} bring less than the last ask; {share:.0%} of what these asks would "
            "take is observed"
        )


if __name__ == "__main__":
    main()
