"""What traffic and the tables in force show of our sessions (METHODS M9, M14)."""

from __future__ import annotations

import re
from datetime import UTC

import numpy as np
import polars as pl

from flowpeer.analysis.carried import CarriedPrefixes
from flowpeer.analysis.routing import LinkViews, Views, epochs_of
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.routing.rib import snapshot
from flowpeer_core.asns import is_public
from flowpeer_core.slots import HOUR
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.session_routes import OFFERS, TRANSIT, SessionRoutes

_PEER = re.compile(r"^AS(\d+)@")
SLOTS = 12
"""A neighbour whose traffic is in so many slots is no stray packet (M9)."""
SEEN = ("traffic", "bgp")
"""`kind` of sessions that nobody configured: by their traffic, by the view of their neighbour."""


def sessions_seen(inputs: Inputs) -> pl.DataFrame:
    """asn, metro, kind (`SEEN`): sessions that exist and are in no `[[sessions]]`, by metro.

    A neighbour on an exchange interface is known by its port's MAC address, or by its address,
    which was the next hop.
    """
    start, end = inputs.period_start.astimezone(UTC), inputs.period_end.astimezone(UTC)
    from_traffic = (
        inputs.traffic.filter(
            pl.col("role") == "ix", pl.col("provider_asn").is_not_null(),
            pl.col("slot") >= start, pl.col("slot") < end,
        )
        .group_by("metro", "provider_asn")
        .agg(pl.col("slot").n_unique())
        .filter(pl.col("slot") >= SLOTS)
        .select("metro", "provider_asn")
        .collect()
    )  # fmt: skip
    views = inputs.session_routes.sessions if inputs.session_routes else frozenset()
    known = set(inputs.sessions.select("metro", "asn").iter_rows())
    ports = inputs.interfaces.filter(pl.col("role") == "peer", pl.col("asn").is_not_null())
    known |= set(ports.select("metro", "asn").iter_rows())
    rows = []
    for kind, pairs in zip(SEEN, (from_traffic.iter_rows(), views), strict=True):
        for metro, asn in sorted(pairs):
            if (metro, asn) not in known and is_public(asn):
                known.add((metro, asn))
                rows.append((asn, metro, kind))
    rows.sort(key=lambda row: (row[1], row[0]))
    schema = {"asn": pl.Int64, "metro": pl.String, "kind": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def session_routes(
    inputs: Inputs, network: Configuration, record: Record, carried: pl.LazyFrame
) -> SessionRoutes | None:
    """Routes of the neighbours of our peering interfaces; None where no table has any.

    `carried`: role and prefix of what the routes are for.
    """
    columns = ["exporter", "interface", "metro", "role", pl.col("asn").alias("provider_asn")]
    if "exchange" in inputs.interfaces.columns:
        columns.append("exchange")
    links = inputs.interfaces.filter(pl.col("role").is_in(["transit", "peer", "ix"])).select(
        columns
    )
    link_views = LinkViews(network, inputs, links)
    first = inputs.period_start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [first + HOUR * i for i in range(-(-(inputs.period_end - first) // HOUR))]
    epochs, epoch_of_hour = epochs_of(network, snapshot.snapshots(record), hours)
    peering = [link for link in links.iter_rows(named=True) if link["role"] != "transit"]
    tables = {(i.vantage, i.views): i for epoch in epochs for i in epoch}.values()
    views = set()
    sessions = set()
    routers = False
    for link in peering:
        levels = (link["exporter"], link["metro"], "")
        for info in tables:
            if info.vantage in levels:
                own = (_PEER.match(view) for view in info.views if link_views.own(view, link))
                found_here = {(str(link["metro"]), int(peer[1])) for peer in own if peer}
                views |= found_here
                # A table for everywhere may be that of a public collector at the same exchange.
                if info.vantage or link_views.named(link):
                    sessions |= found_here
                routers = routers or link_views.routers(info, link)
    if not views and not routers:
        return None
    used = (
        carried.filter(pl.col("role") == "transit")
        .select("prefix").drop_nulls().unique().collect()["prefix"]
    )  # fmt: skip
    offers, transit = [pl.DataFrame(schema=OFFERS)], [pl.DataFrame(schema=TRANSIT)]
    numbered = links.with_row_index("link").with_columns(pl.col("link").cast(pl.Int32))
    read: dict[str, Views] = {}
    prefixes = CarriedPrefixes(used)
    for number, epoch in enumerate(epochs):
        read = link_views.read(record, epoch, prefixes, read)
        found = (
            link_views.offers(
                [(i, read[i.name]) for i in epoch], np.zeros(links.height, dtype=np.bool_)
            )
            .join(numbered, on="link")
            .with_columns(epoch=pl.lit(number, pl.Int64))
        )
        peers = found.filter(pl.col("role") != "transit").with_columns(asn="neighbour")
        offers.append(peers.select(pl.col(n).cast(k) for n, k in OFFERS.items()))
        # Compared are routes that a neighbour offers too: others would only fill memory.
        ours = found.filter(pl.col("role") == "transit").join(peers, on="prefix", how="semi")
        transit.append(ours.select(pl.col(n).cast(k) for n, k in TRANSIT.items()))
    return SessionRoutes(
        frozenset(views), pl.concat(offers), pl.concat(transit), epoch_of_hour, frozenset(sessions)
    )
