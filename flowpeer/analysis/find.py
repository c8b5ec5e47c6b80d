"""Facilities and exchanges of PeeringDB by a part of their name or city."""

from __future__ import annotations

from typing import Any

import polars as pl

from flowpeer import catalog
from flowpeer.lake.store import Lake

COLUMNS = ["kind", "id", "name", "city", "country", "networks"]


def find_places(lake: Lake, text: str) -> list[dict[str, Any]]:
    """kind, id, name, city, country, networks of all whose name or city has each word of `text`.

    networks: how many are there. Exchanges come first, each kind by how many networks.
    """
    terms = text.casefold().split()
    found = []
    for kind, table, members, key, network in (
        ("exchange", "ix", "netixlan", "ix_id", "asn"),
        ("facility", "fac", "netfac", "fac_id", "local_asn"),
    ):
        rows = catalog.scan(lake.root, f"peeringdb_{table}").collect()
        here = (
            catalog.scan(lake.root, f"peeringdb_{members}")
            .group_by(key)
            .agg(pl.col(network).n_unique().alias("networks"))
            .collect()
        )
        count = dict(here.select(key, "networks").iter_rows())
        mine = []
        for row in rows.select("id", "name", "city", "country").to_dicts():
            place = f"{row['name'] or ''} {row['city'] or ''}".casefold()
            if all(term in place for term in terms):
                mine.append({"kind": kind, **row, "networks": count.get(row["id"], 0)})
        found += sorted(mine, key=lambda r: (-r["networks"], r["id"]))
    return found
