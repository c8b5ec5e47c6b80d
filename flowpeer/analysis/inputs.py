"""Gathering what the reports are made from: one period of the lake, the registries, the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import polars as pl

from flowpeer import catalog, schema
from flowpeer.cli.period import default_period, parse_period
from flowpeer.errors import NoDataError, UsageError
from flowpeer.lake.ledger import Ledger
from flowpeer.lake.store import Lake, partition_hour
from flowpeer.network import Network
from flowpeer.routing import snapshot
from flowpeer.routing.cones import TABLE as CONES
from flowpeer_core.slots import HOUR, SLOT
from flowpeer_reports.inputs import Inputs
from flowpeer_sample import MARKER

EARLY = HOUR
"""Flows that began before the first datagram was heard belong to "all the data"; a record dated a
day back does not stretch the period."""
MAX_LOSS = 0.05
"""Sequence loss above which a slot does not count as covered (M5)."""


@dataclass(frozen=True)
class Gathered:
    """The inputs of a report and where they came from."""

    inputs: Inputs
    provenance: dict[str, Any]


def coverage(
    ledger: Ledger, start: datetime | None = None, end: datetime | None = None
) -> pl.DataFrame:
    """slot, exporter_ip, received, lost, seen: one row each, summed over the units."""

    def summed(_: list[str]) -> pl.DataFrame:
        return (
            catalog.scan(ledger.lake.root, "coverage", start=start, end=end)
            .group_by("slot", "exporter_ip")
            .agg(pl.col("received", "lost").sum(), pl.col("seen").any())
            .sort("slot", "exporter_ip")
            .collect()
        )

    return ledger.read("coverage", summed)


def data_span(network: Network, ledger: Ledger) -> tuple[datetime, datetime]:
    """[first, end of last) slot that was rolled up, held to what was heard.

    Raises:
        NoDataError: nothing has been rolled up.
    """
    lake, names = ledger.lake, ledger.names("traffic")
    ends = [next(filter(_has_rows(ledger), way), None) for way in (names, reversed(names))]
    slots = pl.concat(
        [
            pl.read_parquet(lake.path(name), columns=["slot"], hive_partitioning=False)
            for name in ends
            if name is not None
        ]
        or [pl.DataFrame(schema={"slot": pl.Datetime})]
    )["slot"]
    first, last = slots.min(), slots.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        raise NoDataError(
            f"{lake.root}: nothing rolled up yet", advice="run `flowpeer rollup` first"
        )
    last += SLOT
    begin = ledger.read("coverage", lambda names: _heard(network, lake, names)).min()
    final = ledger.read("coverage", lambda names: _heard(network, lake, names[::-1])).max()
    # Whole hours where a border is moved: routes are summed by the hour.
    if isinstance(begin, datetime) and first < begin - EARLY:
        first = (begin - EARLY).replace(minute=0)
    if isinstance(final, datetime) and last > final + EARLY:
        last = (final + EARLY).replace(minute=0) + HOUR
    return first, last


def _has_rows(ledger: Ledger) -> Callable[[str], bool]:
    return lambda name: bool((ledger.entry(name) or {}).get("rows"))


def _heard(network: Network, lake: Lake, names: list[str]) -> pl.Series:
    """Slots in which an exporter of ours was heard, of the first hour in `names` that has any."""
    ours = pl.col("exporter_ip").is_in(list(network.exporter_by_address))
    for _, files in groupby(names, key=partition_hour):
        frame = pl.scan_parquet(
            [lake.path(name) for name in files], glob=False, hive_partitioning=False
        )
        slots = frame.filter(pl.col("seen") & ours).select("slot").collect()["slot"]
        if slots.len():
            return slots
    return pl.Series("slot", [], dtype=pl.Datetime)


def period_of(network: Network, ledger: Ledger, asked: str | None) -> tuple[datetime, datetime]:
    """The period asked for, cut at the last slot rolled up; the default where none is asked.

    Raises:
        NoDataError: no data in it.
    """
    first, last = data_span(network, ledger)
    if asked is None:
        return default_period(first, last)
    start, end = parse_period(asked)
    if any(time.minute for time in (start, end)):
        raise UsageError(
            f"--period {asked}: begins or ends inside an hour",
            advice="reports sum routes by the hour: give full hours",
        )
    if start >= last or end <= first:
        raise NoDataError(
            f"no data in {asked}: the roll-ups go from {first:%Y-%m-%d %H:%M} to "
            f"{last:%Y-%m-%d %H:%M} UTC",
            advice="ask for a period inside that, or load more with `flowpeer ingest`",
        )
    return start, min(end, last)


@dataclass(frozen=True)
class Covered:
    """Covered and missing slots by metro (M5), the missing ones themselves, and notes."""

    slots: dict[str, int]
    missing: dict[str, int]
    uncovered: pl.DataFrame
    notes: list[str]


def covered_slots(network: Network, told: pl.DataFrame, start: datetime, end: datetime) -> Covered:
    """Which slots of [start, end) count for each metro (M5), by `coverage` of at least those.

    A slot of a metro is covered if an exporter of it was heard in it, and none that was heard
    before and after in the period was not, or with much loss. Where no exporter of a metro was
    heard (its flows came from another tool, which does not tell), every slot counts as covered.
    """
    every = pl.DataFrame(
        {"slot": pl.datetime_range(start, end, SLOT, closed="left", eager=True, time_zone="UTC")}
    )
    told = told.filter((pl.col("slot") >= start) & (pl.col("slot") < end) & pl.col("seen"))
    # A router counts from when it was first heard to when it was last: one that joins at noon
    # does not unmake the morning of the others.
    well = told.filter(pl.col("lost") <= MAX_LOSS * (pl.col("lost") + pl.col("received")))
    found = Covered({}, {}, pl.DataFrame(schema={"metro": pl.String, "slot": every["slot"].dtype}),
                    [])  # fmt: skip
    gaps = [found.uncovered]
    for metro in network.metros:
        missing, spans = every.clear(), []
        for exporter in (e for e in network.exporters if e.metro == metro.id):
            mine = pl.col("exporter_ip").is_in([str(a) for a in exporter.addresses])
            if told.filter(mine).is_empty():
                if not told.is_empty():
                    found.notes.append(f"{metro.id}: nothing was heard from {exporter.id}")
                continue
            heard = told.filter(mine)["slot"]
            spans.append((heard.min(), heard.max()))
            gaps_ = every.join(well.filter(mine), on="slot", how="anti")
            missing = missing.vstack(gaps_.filter(pl.col("slot").is_between(*spans[-1])))
        if spans:
            inside = [pl.col("slot").is_between(*span) for span in spans]
            missing = missing.vstack(every.filter(~pl.any_horizontal(inside)))
        missing = missing.unique().sort("slot")
        gaps.append(missing.select(pl.lit(metro.id).alias("metro"), "slot"))
        found.missing[metro.id] = missing.height
        found.slots[metro.id] = every.height - missing.height
    return replace(found, uncovered=pl.concat(gaps))


def _reference(lake: Lake, name: str) -> pl.DataFrame:
    return catalog.scan(lake.root, name).collect()


def _siblings(network: Network, nets: pl.DataFrame, relationships: pl.DataFrame) -> frozenset[int]:
    """Our own other ASNs: the same organisation in PeeringDB, or siblings in the AS graph."""
    asn = network.network.asn
    orgs = nets.filter(pl.col("asn") == asn)["org_id"].drop_nulls().to_list()
    same = nets.filter(pl.col("org_id").is_in(orgs))["asn"].drop_nulls().to_list()
    linked = relationships.filter(
        (pl.col("relationship") == 1) & ((pl.col("asn") == asn) | (pl.col("other_asn") == asn))
    )
    return frozenset({*same, *linked["asn"].to_list(), *linked["other_asn"].to_list()} - {asn})


def paths_in_force(
    lake: Lake, infos: Iterable[snapshot.SnapshotInfo], routes: pl.LazyFrame
) -> pl.DataFrame:
    """The paths to the prefixes that carried transit traffic.

    A table a day repeats most of the one before: it is read for what it adds.
    """
    used = routes.filter(pl.col("role") == "transit").select("prefix").drop_nulls().unique()
    carried = used.collect().lazy()
    paths = pl.DataFrame(schema={"prefix": pl.String, "as_path": pl.String})
    for info in infos:
        added = (
            pl.scan_parquet(lake.path(f"routes/{info.name}.parquet"))
            .select("prefix", "as_path")
            .drop_nulls()
            .join(carried, on="prefix", how="semi")
            .join(paths.lazy(), on=["prefix", "as_path"], how="anti")
            .unique()
            .collect()
        )
        paths = paths.vstack(added)
    return paths.sort("prefix", "as_path")


def _undescribed(traffic: pl.LazyFrame, start: datetime, end: datetime) -> list[str]:
    """What crossed interfaces that the configuration does not name, and so is in no answer."""
    rows = (
        traffic.filter(
            (pl.col("role") == "unknown") & (pl.col("slot") >= start) & (pl.col("slot") < end)
        )
        .group_by("metro")
        .agg(
            pl.struct("exporter", "interface").n_unique().alias("interfaces"),
            *(pl.col("bytes").filter((pl.col("direction") == d) & pl.col("scaled")).sum().alias(d)
              for d in ("in", "out")),
        )
        .sort("metro")
        .collect()
    )  # fmt: skip
    return [
        f"{metro}: {came:,} bytes in and {went:,} bytes out on {count} interfaces that the "
        "configuration does not name are in no answer (`flowpeer check` lists them)"
        for metro, count, came, went in rows.iter_rows()
        if came + went
    ]


def gather(
    network: Network, ledger: Ledger, asked: str | None, *, told: pl.DataFrame | None = None
) -> Gathered:
    """Everything a report of one period is made from.

    Args:
        told: `coverage` of at least the period, where it has been read already.

    Raises:
        NoDataError: nothing rolled up, or not in the period.
    """
    lake = ledger.lake
    start, end = period_of(network, ledger, asked)
    told = coverage(ledger, start, end) if told is None else told
    covered = covered_slots(network, told, start, end)
    notes = covered.notes
    routes = catalog.scan(lake.root, "traffic_routes", start=start, end=end)
    traffic = catalog.scan(lake.root, "traffic", start=start, end=end)
    first_used: dict[str, datetime] = {}
    for relative, entry in ledger.entries("traffic", first=start, last=end).items():
        hour = partition_hour(relative)
        if start - HOUR < hour < end:
            for name in entry["snapshots"]:
                first_used[name] = min(hour, first_used.get(name, hour))
    infos = [info for info in snapshot.snapshots(ledger) if info.name in first_used]
    for info in infos:
        if info.taken_at > first_used[info.name]:
            notes.append(
                f"the routes of {info.name} were taken after the period began, and are used for "
                "hours before them"
            )
    notes += _undescribed(traffic, start, end)
    if (network.source.parent / MARKER).exists():
        notes.insert(0, "Synthetic sample network: traffic and names are invented.")
    peeringdb = {
        name.removeprefix("peeringdb_"): _reference(lake, name) for name in schema.PEERINGDB
    }
    peeringdb["netixlan"] = with_exports(peeringdb, _reference(lake, "ixf_ports"))
    relationships = _reference(lake, "as_relationships")
    configured = network.tables()
    if not peeringdb["net"].height:
        notes.append("no PeeringDB loaded: policies and meeting places are unknown")
    if not relationships.height:
        notes.append("no AS relationships loaded: customer cones are unknown, own traffic only")
    inputs = Inputs(
        asn=network.network.asn,
        name=network.network.name,
        currency=network.network.currency,
        siblings=_siblings(network, peeringdb["net"], relationships),
        period_start=start,
        period_end=end,
        slots=covered.slots,
        missing_slots=covered.missing,
        uncovered=covered.uncovered,
        metros=_frame(configured["metros"]).with_columns(
            pl.Series(
                "facilities",
                [[f.id for f in m.facilities] for m in network.metros],
                pl.List(pl.Int64),
            ),
            pl.Series(
                "exchanges",
                [[e.id for e in m.exchanges] for m in network.metros],
                pl.List(pl.Int64),
            ),
        ),
        exchange_ports=pl.DataFrame(
            [
                {"metro": m.id, "ix_id": e.id, "route_servers": e.route_servers,
                 "speed_bps": e.speed}
                for m in network.metros
                for e in m.exchanges
            ],
            schema={"metro": pl.String, "ix_id": pl.Int64, "route_servers": pl.Boolean,
                    "speed_bps": pl.Int64},
        ),
        interfaces=_frame(configured["interfaces"]),
        contracts=_frame(configured["contracts"]),
        sessions=_frame(configured["sessions"]),
        exclusions=pl.DataFrame(
            [e.model_dump() for e in network.exclusions],
            schema={"asn": pl.Int64, "reason": pl.String, "until": pl.Date},
        ),
        traffic=traffic,
        traffic_routes=routes,
        paths=paths_in_force(lake, infos, routes),
        relationships=relationships,
        **_cones(ledger),
        clique=frozenset(_reference(lake, "as_clique")["asn"].to_list()),
        asns=_reference(lake, "asns"),
        peeringdb=peeringdb,
        notes=tuple(notes),
        made_on=datetime.now(UTC).date(),
        default_sampling=max((e.sampling or 0 for e in network.exporters), default=0) or 1000,
    )  # fmt: skip
    provenance = {
        "network": {"asn": inputs.asn, "name": inputs.name},
        "period": {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
        "slots": {"covered": covered.slots, "missing": covered.missing},
        "routes": [
            {"snapshot": i.name, "source": i.source, "sha256": i.source_digest} for i in infos
        ],
        "sources": {
            relative.removeprefix("reference/").removesuffix(".parquet"): entry.get("source")
            for relative, entry in ledger.entries("reference").items()
        },
        "notes": notes,
    }
    return Gathered(inputs, provenance)


def with_exports(peeringdb: dict[str, pl.DataFrame], exports: pl.DataFrame) -> pl.DataFrame:
    """PeeringDB's ports, and those of members that only the exchange's own export names.

    Column `source` is null for PeeringDB's.
    """
    ports = peeringdb["netixlan"].with_columns(source=pl.lit(None, pl.String))
    if exports.is_empty():
        return ports
    ix_of = peeringdb["ixlan"].select(pl.col("id").alias("ixlan_id"), pl.col("ix_id").alias("_ix"))
    known = ports.join(ix_of.unique("ixlan_id"), on="ixlan_id", how="left").select(
        pl.coalesce("ix_id", "_ix", "ixlan_id").alias("ix_id"), "asn"
    )
    missing = exports.join(known, on=["ix_id", "asn"], how="anti").with_columns(
        id=-1 - pl.int_range(pl.len(), dtype=pl.Int64)
    )
    return pl.concat([ports, missing.select(c for c in ports.columns if c in missing.columns)],
                     how="diagonal")  # fmt: skip


def _cones(ledger: Ledger) -> dict[str, Any]:
    """The customer cones to infer from, where loaded, and where they are from."""
    entry = ledger.entry(CONES)
    if entry is None:
        return {}
    return {"cones": _reference(ledger.lake, "as_cones"), "cones_source": entry["words"]}


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
