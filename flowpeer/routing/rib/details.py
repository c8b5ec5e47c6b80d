"""All that the snapshots in force say of an address, a prefix or a network: `flowpeer lookup`.

Every vantage point has its own snapshot in force (METHODS M4): the network-wide one and those of
exporters and metros. Each of their views may have another route, and a view belongs to a provider
where its peer's ASN is an interface's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer.lake.store import Lake
from flowpeer.routing.rib.match import RouteTable, open_table
from flowpeer.routing.rib.snapshot import SnapshotInfo, in_force

SHOWN = 1000
"""More specific routes, or routes of a network, that are listed; the others are counted."""
_COLUMNS = [
    "prefix", "vantage", "origin_asn", "as_path", "next_hop", "med", "local_pref", "communities",
    "path_id",
]  # fmt: skip

Interfaces = Mapping[int, Sequence[str]]
"""ASN → our interfaces to it, in words."""


@dataclass(frozen=True)
class Rib:
    """The snapshots in force at one time."""

    lake: Lake
    infos: Sequence[SnapshotInfo]
    when: datetime
    interfaces: Interfaces
    _tables: dict[str, RouteTable] = field(default_factory=dict, repr=False)

    def table(self, info: SnapshotInfo) -> RouteTable:
        """The routes of a snapshot, opened once: a trie that is asked for is made once."""
        found = self._tables.get(info.name)
        if found is None:
            found = self._tables[info.name] = open_table(self.lake, info)
        return found

    def of_family(self, family: int) -> list[SnapshotInfo]:
        """One snapshot for each vantage point, the network-wide one first."""
        found = {}
        for vantage in sorted({info.vantage for info in self.infos}):
            own = [info for info in self.infos if info.vantage == vantage]
            info = in_force(own, self.when, exporter=vantage, metro=vantage, family=family)
            if info is not None:
                found[info.name] = info
        return list(found.values())

    def prefix(self, network: IPv4Network | IPv6Network) -> dict[str, Any]:
        """Routes over, of and inside a prefix (an address is one of full length).

        Returns:
            exact: there is a route of just this prefix; covering: the routes over it, longest
            first; more_specific and more_specific_count: those inside; views: for each view its
            longest route over it.
        """
        asked = str(network)
        over = [str(network.supernet(new_prefix=n)) for n in range(network.prefixlen, -1, -1)]
        covering: dict[str, dict[str, Any]] = {}
        inside: dict[str, dict[str, Any]] = {}
        views: list[dict[str, Any]] = []
        count = 0
        for info in self.of_family(network.version):
            views += self._views(info, over)
            table = self.table(info)
            above = table.trie.covering(asked)
            places = [place for place in table.trie.covered(asked) if place not in above[:1]]
            count = max(count, len(places))
            for row in _routes(table, places[:SHOWN], info):
                inside.setdefault(row["prefix"], row)
            for row in _routes(table, above, info):
                covering.setdefault(row["prefix"], row)
        exact = covering.pop(asked, None)
        ordered = sorted(covering.values(), key=lambda row: -int(row["prefix"].split("/")[1]))
        return {
            "exact": exact is not None,
            "covering": [*([exact] if exact else []), *ordered],
            "more_specific": list(inside.values())[:SHOWN],
            "more_specific_count": count,
            "views": views,
        }

    def _views(self, info: SnapshotInfo, over: list[str]) -> list[dict[str, Any]]:
        frame = (
            pl.scan_parquet(self.lake.path(f"routes/{info.name}.parquet"), glob=False)
            .filter(pl.col("prefix").is_in(over))
            .select(_COLUMNS)
            .collect()
        )
        longest = {prefix: -place for place, prefix in enumerate(over)}
        best: dict[str, int] = {}
        rows = frame.to_dicts()
        for row in rows:
            rank = longest[row["prefix"]]
            best[row["vantage"]] = max(best.get(row["vantage"], rank), rank)
        found = [
            {
                "vantage": row["vantage"] or info.vantage,
                "interfaces": self._interfaces_of(row["vantage"]),
                "snapshot": info.name,
                **{key: row[key] for key in _COLUMNS if key != "vantage"},
            }
            for row in rows
            if best[row["vantage"]] == longest[row["prefix"]]
        ]
        return sorted(found, key=lambda row: (not row["interfaces"], row["vantage"]))

    def _interfaces_of(self, vantage: str) -> list[str]:
        asn = vantage.partition("@")[0].removeprefix("AS")
        return list(self.interfaces.get(int(asn), ())) if asn.isdigit() else []

    def asn(self, asn: int) -> dict[str, Any]:
        """What a network originates, and where it is seen.

        Returns:
            prefixes4, prefixes6: distinct ones; routes: the first of them, as the best view has
            them; neighbours: the networks before it on the paths, with the routes that come so,
            most first; views: prefixes in each view.
        """
        prefixes: dict[str, int] = {}
        routes: dict[str, dict[str, Any]] = {}
        neighbours: Counter[int] = Counter()
        views: list[dict[str, Any]] = []
        infos = {i.name: i for family in (4, 6) for i in self.of_family(family)}
        for info in infos.values():
            frame = (
                pl.scan_parquet(self.lake.path(f"routes/{info.name}.parquet"), glob=False)
                .filter(pl.col("origin_asn") == asn)
                .select("prefix", "family", "vantage", "as_path")
                .collect()
            )
            prefixes |= dict(frame.select("prefix", "family").unique().iter_rows())
            steps = frame["as_path"].str.extract(rf"(\d+)(?: {asn})+$").drop_nulls()
            neighbours.update(
                dict(steps.cast(pl.Int64, strict=False).drop_nulls().value_counts().iter_rows())
            )
            counts = frame.group_by("vantage", "family").agg(pl.col("prefix").n_unique())
            of_view: dict[str, dict[int, int]] = {}
            for vantage, family, number in counts.sort("vantage", "family").iter_rows():
                of_view.setdefault(vantage, {})[family] = number
            views += [
                {
                    "vantage": vantage or info.vantage,
                    "interfaces": self._interfaces_of(vantage),
                    "snapshot": info.name,
                    "prefixes4": by_family.get(4, 0),
                    "prefixes6": by_family.get(6, 0),
                }
                for vantage, by_family in of_view.items()
            ]
            table = self.table(info)
            places = np.flatnonzero(table.origin_asn == asn).tolist()
            for row in _routes(table, places[:SHOWN], info):
                routes.setdefault(row["prefix"], row)
        families = Counter(prefixes.values())
        return {
            "prefixes4": families[4],
            "prefixes6": families[6],
            "routes": list(routes.values())[:SHOWN],
            "neighbours": [
                {"asn": other, "routes": n}
                for other, n in sorted(neighbours.items(), key=lambda item: (-item[1], item[0]))
            ],
            "views": sorted(views, key=lambda row: (not row["interfaces"], row["vantage"])),
        }


def parse_prefix(text: str) -> IPv4Network | IPv6Network:
    """A prefix, host bits cleared, IPv4-mapped ones as IPv4. Raises ValueError for others."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((int(mapped), network.prefixlen - 96))
    return network


def _routes(table: RouteTable, places: Sequence[int], info: SnapshotInfo) -> list[dict[str, Any]]:
    """Routes of a compiled table by their places."""
    keys = ("prefix", "origin_asn", "origins", "as_path")
    return [
        {key: row[key] for key in keys}
        | {"vantage": row["vantage"] or info.vantage, "snapshot": info.name}
        for row in table.routes.take(pa.array(places, pa.int64())).to_pylist()
    ]
