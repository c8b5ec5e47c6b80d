"""Already peered, still on transit: by cause, with the routes and the money (METHODS M14).

A route has one cause, that of most of its bytes: tables change by the hour, and a port is full in
some hours only. Its percentile and its saving are those of whole routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.announced import AnnouncedRoutes, announced_routes
from flowpeer_reports.billing.rows import BilledPeriod, parts
from flowpeer_reports.billing.savings import Moved, Savings
from flowpeer_reports.billing.terms import printed
from flowpeer_reports.candidates import series_of, universe
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.leaks import LEAK_PREFIXES, LEAKS
from flowpeer_reports.inputs import Inputs, transit
from flowpeer_reports.offload import Cover
from flowpeer_reports.percentiles import counted, percentile
from flowpeer_reports.ranking import Cells, bps, cells_of, of_sessions
from flowpeer_reports.session_routes import SessionRoutes
from flowpeer_reports.store import MemoryStore, Stores
from flowpeer_reports.universe import Universe, flows_of

MORE_SPECIFIC = "more specific by transit only"
NOT_ANNOUNCED = "not announced to us"
PREFERENCE = "lower preference"
LONGER = "longer path"
DETOUR = "capacity detour"
UNKNOWN = "unknown"
CAUSES = (MORE_SPECIFIC, NOT_ANNOUNCED, PREFERENCE, LONGER, DETOUR, UNKNOWN)
FULL = 0.9
"""Of its capacity in any slot of the hour: a port that traffic may go around."""
_ROUTE = ["metro", "asn", "prefix", "origin_asn"]


@dataclass(slots=True)
class Leaks:
    """The answer; frames have the columns of `flowpeer_reports.columns.leaks`."""

    rows: pl.DataFrame
    prefixes: pl.DataFrame
    notes: list[str]


def leaks(
    inputs: Inputs,
    *,
    metros: list[str] | None = None,
    stores: Stores = MemoryStore,
    billed: BilledPeriod | None = None,
) -> Leaks:
    """What networks with a session of ours should carry outbound, and transit carries.

    Savings are counted along the rows of each metro, the largest first.
    """
    world = universe(inputs, metros, None, stores)
    cells = cells_of(inputs, world.flows, world.metros, ("out",))
    sessions = inputs.session_routes or SessionRoutes()
    units = world.cover.units
    prefixes = units["prefix"].drop_nulls().unique().to_list()
    announced = announced_routes(sessions, world.parties, prefixes)
    routes = _routes(inputs, world, cells)
    judged = _judged(inputs, world, sessions, announced, routes)
    listed = (
        judged.group_by("metro", "asn", "cause", "withheld")
        .agg(prefixes=pl.len(), out_bytes=pl.col("bytes").sum())
        .with_columns(
            place=pl.col("metro").replace_strict(
                {m: i for i, m in enumerate(world.metros)}, return_dtype=pl.Int64
            )
        )
        .sort("place", "out_bytes", "asn", "cause", descending=[False, True, False, False])
        .drop("place")
    )
    shown = _figures(inputs, world, judged, listed, stores, billed)
    names = inputs.names()
    rows = listed.with_columns(
        *shown,
        name=pl.col("asn").replace_strict(names, default=None, return_dtype=pl.String),
        in_row_0=~pl.col("withheld"),
        currency=pl.lit(inputs.currency),
    )
    detail = (
        judged.with_columns(out_bytes="bytes", available_to_others="withheld")
        .sort("metro", "out_bytes", "prefix", descending=[False, True, False])
        .select(pl.col(n).cast(k) for n, k in schema(LEAK_PREFIXES).items())
    )
    return Leaks(
        rows.select(pl.col(n).cast(k) for n, k in schema(LEAKS).items()), detail,
        _notes(inputs, world, announced, listed),
    )  # fmt: skip


def _routes(inputs: Inputs, world: Universe, cells: Cells) -> pl.DataFrame:
    """metro, asn, prefix, origin_asn, withheld: routes that a session of the metro is about."""
    found, never = world.cover, world.never
    origin_party = world.parties.named(np.where(found.origins > 0, found.origins, 0))
    pieces = []
    for number, metro in enumerate(world.metros):
        _, _, of = of_sessions(inputs, found, world.parties, cells, number, never, origin_party)
        atoms = cells.atom[cells.of(number)]
        parts_ = [(asn, part, False) for asn, part, _ in of.held]
        parts_ += [(asn, part, True) for asn, part in of.withheld]
        pieces += [
            pl.DataFrame(
                {"metro": metro, "asn": asn, "atom": atoms[part].astype(np.int32),
                 "withheld": withheld}
            )
            for asn, part, withheld in parts_
        ]  # fmt: skip
    none = pl.DataFrame(
        schema={"metro": pl.String, "asn": pl.Int64, "atom": pl.Int32, "withheld": pl.Boolean}
    )
    pieces = [p.with_columns(pl.col("asn").cast(pl.Int64)) for p in pieces]
    return pl.concat([none, *pieces]).join(found.units, on="atom").select(*_ROUTE, "withheld")


def _judged(
    inputs: Inputs,
    world: Universe,
    sessions: SessionRoutes,
    announced: AnnouncedRoutes,
    routes: pl.DataFrame,
) -> pl.DataFrame:
    """The routes with outbound bytes, each with its cause."""
    first = inputs.period_start.replace(minute=0, second=0, microsecond=0)
    hourly = (
        transit(inputs.traffic_routes, inputs, "hour_start")
        .filter(pl.col("direction") == "out", "scaled")
        .group_by("hour_start", "metro", "exporter", "interface", "prefix", "origin_asn")
        .agg(pl.col("bytes").sum())
        .join(routes.lazy(), on=["metro", "prefix", "origin_asn"], nulls_equal=True)
        .join(
            world.since.drop("asn").lazy(),
            on=["metro", "prefix", "origin_asn"],
            how="left",
            nulls_equal=True,
        )
        .filter((pl.col("hour_start") >= pl.col("since")).fill_null(True))
        .with_columns(hour=(pl.col("hour_start") - first).dt.total_hours())
        .collect()
    )
    hours = hourly["hour"].to_numpy()
    epochs = sessions.epoch_of_hour
    epoch = epochs[hours] if len(epochs) else np.zeros(len(hours), dtype=np.int64)
    hourly = hourly.with_columns(epoch=pl.Series(epoch, dtype=pl.Int64))
    hourly = hourly.join(announced.routes, on=["metro", "asn", "prefix"], how="left")
    hourly = hourly.join(
        announced.views.with_columns(viewed=pl.lit(True)), on=["metro", "asn"], how="left"
    )
    offers = sessions.offers.with_columns(
        pl.Series("asn", world.parties.named(sessions.offers["asn"].to_numpy()), pl.Int64)
    )
    theirs = _best(offers, ["epoch", "metro", "asn", "prefix"], "their")
    ours = _best(sessions.transit, ["epoch", "exporter", "interface", "prefix"], "our")
    busy = _busy(inputs, offers)
    joined = (
        hourly.join(theirs, on=["epoch", "metro", "asn", "prefix"], how="left")
        .join(ours, on=["epoch", "exporter", "interface", "prefix"], how="left")
        .join(busy, on=["metro", "asn", "hour_start"], how="left")
    )
    exact = pl.col("over") == pl.col("prefix")
    here = exact & pl.col("their_prefix")
    same = (pl.col("their_preference") == pl.col("our_preference")).fill_null(True)
    cause = (
        pl.when("withheld").then(pl.lit(NOT_ANNOUNCED))
        .when(pl.col("viewed") & pl.col("over").is_not_null() & ~exact)
        .then(pl.lit(MORE_SPECIFIC))
        .when(here & (pl.col("their_preference") < pl.col("our_preference")))
        .then(pl.lit(PREFERENCE))
        .when(here & same & (pl.col("their_length") > pl.col("our_length")))
        .then(pl.lit(LONGER))
        .when(here & pl.col("busy")).then(pl.lit(DETOUR))
        .otherwise(pl.lit(UNKNOWN))
    )  # fmt: skip
    order = {name: i for i, name in enumerate(CAUSES)}
    by_cause = (
        joined.with_columns(cause=cause)
        .group_by(*_ROUTE, "withheld", "over", "cause")
        .agg(pl.col("bytes").sum())
        .sort(
            *_ROUTE, "bytes",
            pl.col("cause").replace_strict(order, return_dtype=pl.Int64),
            descending=[*[False] * len(_ROUTE), True, False],
        )
    )  # fmt: skip
    return by_cause.group_by(_ROUTE, maintain_order=True).agg(
        pl.col("withheld", "cause").first(),
        covering_prefix=pl.col("over").filter(pl.col("over") != pl.col("prefix")).first(),
        bytes=pl.col("bytes").sum(),
    )


def _best(offers: pl.DataFrame, key: list[str], whose: str) -> pl.DataFrame:
    """The best route of each key: highest LOCAL_PREF, then the shortest path."""
    return (
        offers.sort("local_pref", "path_length", descending=[True, False], nulls_last=True)
        .group_by(key, maintain_order=True)
        .agg(pl.col("local_pref").first(), pl.col("path_length").first())
        .rename({"local_pref": f"{whose}_preference", "path_length": f"{whose}_length"})
        .with_columns(pl.lit(True).alias(f"{whose}_prefix"))
    )


def _busy(inputs: Inputs, offers: pl.DataFrame) -> pl.DataFrame:
    """metro, asn, hour_start, busy: hours in which a port of the session is full in a slot."""
    ports = offers.select("metro", "asn", "exporter", "interface").unique()
    sizes = inputs.interfaces.select("exporter", "interface", "capacity_bps").drop_nulls().unique()
    ports = ports.join(sizes, on=["exporter", "interface"])
    full = (
        inputs.traffic.filter(
            pl.col("direction") == "out", "scaled",
            pl.col("slot") >= inputs.period_start, pl.col("slot") < inputs.period_end,
        )
        .join(ports.lazy(), on=["metro", "exporter", "interface"])
        .group_by("metro", "asn", "exporter", "interface", "capacity_bps", "slot")
        .agg(pl.col("bytes").sum())
        .filter(pl.col("bytes") * 8 >= FULL * SLOT_SECONDS * pl.col("capacity_bps"))
        .select("metro", "asn", hour_start=pl.col("slot").dt.truncate("1h"))
        .unique()
        .collect()
    )  # fmt: skip
    return full.with_columns(busy=pl.lit(True))


def _figures(
    inputs: Inputs, world: Universe, judged: pl.DataFrame, listed: pl.DataFrame, stores: Stores,
    billed: BilledPeriod | None,
) -> list[pl.Series]:  # fmt: skip
    """avg_bps, p95_bps, saving_per_month and transits of each row."""
    types: dict[str, Any] = {
        "avg_bps": pl.Float64, "p95_bps": pl.Float64, "saving_per_month": pl.Float64,
        "transits": pl.List(pl.String),
    }  # fmt: skip
    if listed.is_empty():
        return [pl.Series(name, [], type_) for name, type_ in types.items()]
    number = listed.select("metro", "asn", "cause").with_row_index("row")
    owned = judged.join(number, on=["metro", "asn", "cause"]).select(
        "metro", "prefix", "origin_asn", "row"
    )
    tags = owned.group_by("prefix", "origin_asn").agg(tag=pl.col("row").sort())
    units = world.cover.units.drop("atom").join(
        tags, on=["prefix", "origin_asn"], how="left", nulls_equal=True
    )
    kinds = (
        units.select("origin_asn", "tag").unique().sort("origin_asn", "tag", nulls_last=True)
        .with_row_index("atom").with_columns(pl.col("atom").cast(pl.Int32))
    )  # fmt: skip
    units = units.join(kinds, on=["origin_asn", "tag"], nulls_equal=True)
    nobody = np.zeros(0, dtype=np.int64)
    found = Cover(
        units.select("prefix", "origin_asn", "atom"),
        kinds["origin_asn"].fill_null(-1).to_numpy(),
        nobody, np.zeros(1, dtype=np.int64), nobody.astype(np.int32), nobody.astype(np.int8),
    )  # fmt: skip
    flows = flows_of(world.routes, world.metros, found.units, stores)
    cells = cells_of(inputs, flows, world.metros, ("out",))
    series = series_of(inputs, billed, found, cells, flows, stores(), world.since)
    rows_of = dict(kinds.drop_nulls("tag").select("atom", "tag").iter_rows())
    metros = cells.metro_of()
    sets: list[list[int]] = [[] for _ in range(listed.height)]
    metro_of_row = [world.metros.index(m) for m in listed["metro"].to_list()]
    for cell, atom in enumerate(cells.atom.tolist()):
        for row in rows_of.get(atom, ()):
            if metro_of_row[row] == metros[cell]:
                sets[row].append(cell)
    places = [np.array(s, dtype=np.int64) for s in sets]
    for row, cell_numbers in enumerate(places):
        series.want(row, cell_numbers, "out")
    series.load()
    averages = [bps(float(cells.rate[p].sum()), inputs.period_slots) for p in places]
    p95: list[float | None] = []
    saved: list[float | None] = []
    last = -1
    for row, metro in enumerate(metro_of_row):
        if metro != last:
            slots = counted(inputs, series, metro, world.metros[metro], ("out",))
            savings = None if billed is None else Savings(billed.months, billed.convert)
            last = metro
        values, variance, shaped = slots.line(series, row, metro, ("out",))
        p95.append(percentile(slots, values, variance, shaped=shaped).p95_bps)
        if savings is None:
            saved.append(None)
        else:
            moved = Moved(series.start, parts(series, row, "out", metro))
            saved.append(printed(savings.row(moved).bill_saving))
    carried = (
        pl.concat(map(flows.of, world.metros))
        .join(flows.links.filter(pl.col("direction") == "out"), on="link")
        .join(kinds.drop_nulls("tag").select("atom", row="tag").explode("row"), on="atom")
        .join(number.select("row", "metro"), on=["row", "metro"])
        .group_by("row", "provider_asn").agg(pl.col("bytes").sum())
        .with_columns(share=pl.col("bytes") / pl.col("bytes").sum().over("row"))
        .sort("row", "bytes", "provider_asn", descending=[False, True, False])
    )  # fmt: skip
    transits: list[list[str]] = [[] for _ in places]
    for row, provider, share in carried.select("row", "provider_asn", "share").iter_rows():
        transits[row].append(f"{'unknown' if provider is None else f'AS{provider}'} {share:.2f}")
    columns: list[list[Any]] = [averages, p95, saved, transits]
    return [
        pl.Series(name, values, type_)
        for (name, type_), values in zip(types.items(), columns, strict=True)
    ]


def _notes(
    inputs: Inputs, world: Universe, announced: AnnouncedRoutes, listed: pl.DataFrame
) -> list[str]:
    made = [
        f"{metro}: AS{asn} is peered since {since:%Y-%m-%d}; {octets:,} bytes that rode transit "
        "before that are no leak"
        for metro, asn, since, octets in world.early.filter(pl.col("direction") == "out")
        .group_by("metro", "asn", "since")
        .agg(pl.col("bytes").sum())
        .sort("metro", "asn")
        .iter_rows()
    ]
    total = int(listed["out_bytes"].sum())
    if not total:
        return [*made, "nothing of what our sessions should carry rides transit"]
    by: dict[str, Any] = dict(
        listed.group_by("cause").agg(pl.col("out_bytes").sum()).sort("cause").iter_rows()
    )
    split = ", ".join(f"{by[c] / total:.0%} {c}" for c in CAUSES if by.get(c))
    made.append(f"by cause: {split}")
    pairs = listed.select("metro", "asn").unique()
    blind = pairs.join(announced.views, on=["metro", "asn"], how="anti").height
    if blind:
        made.append(
            f"{blind} of {pairs.height} sessions with such traffic have no view of their own "
            "loaded: its cause is unknown, and all of it stays in row 0"
        )
    return made
