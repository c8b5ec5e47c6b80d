"""Gathering what the reports are made from: one period of the lake, the registries, the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import Any

import polars as pl

from flowpeer import catalog, schema
from flowpeer.analysis.asks import read_log
from flowpeer.analysis.bills import billed_period, unbilled
from flowpeer.analysis.carried import CarriedPrefixes
from flowpeer.analysis.coverage import covered_slots, exporter_coverage
from flowpeer.analysis.periods import period_before, period_of
from flowpeer.analysis.policy import policy_of
from flowpeer.analysis.sampling import sampling_rates
from flowpeer.analysis.sessions import session_routes, sessions_seen
from flowpeer.errors import FlowpeerError, NoDataError
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.network import RECURSIVE_CONES, Configuration
from flowpeer.network.settings import Interface
from flowpeer.period import parse_period
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.cones import TABLE as CONES
from flowpeer.routing.cones import load_cones, observe_cones
from flowpeer.routing.rib import snapshot
from flowpeer.sources import LOCK_WAIT_S
from flowpeer_core.sample import MARKER
from flowpeer_reports import ask_log
from flowpeer_reports.billing.rows import BilledPeriod
from flowpeer_reports.exclusions import ExclusionInputs
from flowpeer_reports.inputs import NO_TABLES, Inputs

SESSIONS = pl.Schema([
    ("asn", pl.Int64()), ("metro", pl.String()), ("kind", pl.String()),
    ("since", pl.Datetime("us", "UTC")),
])  # fmt: skip


@dataclass(frozen=True)
class Gathered:
    """The inputs of a report and where they came from."""

    inputs: Inputs
    provenance: dict[str, Any]
    bill: Callable[[], BilledPeriod | None] = lambda: None
    """Reads `billed`: answers without money need not."""

    @cached_property
    def billed(self) -> BilledPeriod | None:
        """What money is counted on; None without a contract."""
        return self.bill()


def _reference(lake: Lake, name: str) -> pl.DataFrame:
    return catalog.scan(lake.root, name).collect()


def _siblings(
    network: Configuration, nets: pl.DataFrame, relationships: pl.DataFrame
) -> frozenset[int]:
    """Our own other ASNs: the same organisation in PeeringDB, or siblings in the AS graph."""
    asn = network.network.asn
    orgs = nets.filter(pl.col("asn") == asn)["org_id"].drop_nulls().to_list()
    same = nets.filter(pl.col("org_id").is_in(orgs))["asn"].drop_nulls().to_list()
    linked = relationships.filter(
        (pl.col("relationship") == 1) & ((pl.col("asn") == asn) | (pl.col("other_asn") == asn))
    )
    return frozenset({*same, *linked["asn"].to_list(), *linked["other_asn"].to_list()} - {asn})


def paths_in_force(
    lake: Lake, infos: Iterable[snapshot.SnapshotInfo], routes: pl.LazyFrame, *, over: bool = False
) -> pl.DataFrame:
    """The paths to the prefixes that carried transit traffic; with `over`, to those over them too.

    A table a day repeats most of the one before: it is read for what it adds.
    """
    used = routes.filter(pl.col("role") == "transit").select("prefix").drop_nulls().unique()
    prefixes = used.collect()
    wider = CarriedPrefixes(prefixes["prefix"]) if over else None
    paths = pl.DataFrame(schema={"prefix": pl.String, "as_path": pl.String})
    for info in infos:
        table = pl.scan_parquet(lake.path(f"routes/{info.name}.parquet"))
        if wider is not None:
            prefixes = wider.over(table.select("prefix").unique().collect()["prefix"])
        added = (
            table.select("prefix", "as_path")
            .drop_nulls()
            .join(prefixes.lazy(), on="prefix", how="semi")
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
        f"{metro}: {bytes_in:,} bytes in and {bytes_out:,} bytes out on {count} interfaces that "
        "the configuration does not name are in no answer (`flowpeer check` lists them)"
        for metro, count, bytes_in, bytes_out in rows.iter_rows()
        if bytes_in + bytes_out
    ]


def _changed(network: Configuration, start: datetime, end: datetime) -> list[str]:
    """Interfaces whose capacity, role or neighbour changed within the period."""
    sections: dict[tuple[str, int], list[Interface]] = {}
    for i in sorted(network.interfaces, key=lambda i: i.from_ or start):
        if (i.from_ is None or i.from_ < end) and (i.until is None or i.until > start):
            sections.setdefault((i.exporter, i.index), []).append(i)
    notes = []
    for (exporter, index), of in sections.items():
        for old, new in pairwise(of):
            since = f"{exporter}:{index}: another {{}} since {new.from_ or start:%Y-%m-%d %H:%M}"
            if (old.role, old.asn) != (new.role, new.asn):
                notes.append(since.format("role or neighbour") + ": a link of its own")
            elif old.capacity != new.capacity and new.capacity is not None:
                suffix = f"; utilisation is of {new.capacity / 1e9:g} Gbps"
                notes.append(since.format("capacity") + suffix)
    return notes


def gather(
    network: Configuration, record: Record, asked: str | None, *, also: pl.LazyFrame | None = None,
    then: bool = False,
) -> Gathered:  # fmt: skip
    """Everything a report of one period is made from.

    Args:
        also: `traffic_routes` of a period that this one is compared with: the paths of its
            prefixes are read too.
        then: with the log of asks as it stood at the period's end, not as it stands.

    Raises:
        NoDataError: nothing rolled up, or not in the period.
    """
    lake = record.lake
    start, end = period_of(network, record, asked)
    routes = catalog.scan(lake.root, "traffic_routes", start=start, end=end)
    traffic = catalog.scan(lake.root, "traffic", start=start, end=end)
    coverage = exporter_coverage(network, record, start, end)
    covered, undescribed = record.read(
        "traffic",
        lambda: (
            covered_slots(network, coverage, slots := catalog.scan_slots(record, start, end)),
            _undescribed(slots, start, end),
        ),
    )
    notes = covered.notes
    first_used: dict[str, datetime] = {}
    for hour, header in record.headers("traffic", start=start, end=end).items():
        for name in header.rollup.snapshots if header.rollup else ():
            first_used.setdefault(name, hour)
    infos = [info for info in snapshot.snapshots(record) if info.name in first_used]
    carried = catalog.scan_sums(record, "route_days", ("role", "prefix"), start, end)
    if also is not None:
        carried = pl.concat([f.select("role", "prefix") for f in (carried, also)])
    for info in infos:
        if info.taken_at > first_used[info.name]:
            notes.append(
                f"the routes of {info.name} were taken after the period began, and are used for "
                "hours before them"
            )
    notes += undescribed
    notes += _changed(network, start, end)
    notes += unbilled(network, start, end)
    if (network.source.parent / MARKER).exists():
        notes.insert(0, "Synthetic sample network: traffic and names are invented.")
    peeringdb = {
        name.removeprefix("peeringdb_"): _reference(lake, name) for name in schema.PEERINGDB
    }
    peeringdb["netixlan"] = with_exports(peeringdb, _reference(lake, "ixf_ports"))
    relationships = _reference(lake, "as_relationships")
    configured = network.tables()
    events = read_log(network)
    log = ask_log.asks(events, as_of=end.date())
    day = None if record.until is None else record.until.date()
    standing = log if then else ask_log.asks(events, as_of=day)
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
        interfaces=_interfaces(network, start, end).join(
            _on_exchanges(network), on=["exporter", "interface"], how="left"
        ),
        contracts=_frame(configured["contracts"]),
        sessions=_sessions(network, log, end),
        exclusions=_exclusions(network, standing, end.date()),
        traffic=traffic,
        traffic_slots=catalog.scan_slots(record, start, end),
        traffic_routes=routes,
        paths=paths_in_force(lake, infos, carried, over=also is not None),
        relationships=relationships,
        **_cones(network, record, infos),
        clique=_clique(network, lake),
        asns=_reference(lake, "asns"),
        peeringdb=peeringdb,
        notes=tuple(notes),
        policy=policy_of(network),
        asks=standing,
        accepted=_accepted(network, standing),
        outcomes=ask_log.outcomes(log, _policies(peeringdb["net"]), end.date()),
        sampling=sampling_rates(
            network, record, catalog.scan_slots(record, start, end), start, end
        ),
        coverage=coverage,
        tables=pl.DataFrame(
            [(i.vantage, i.taken_at.astimezone(UTC), list(i.views)) for i in infos],
            schema=NO_TABLES, orient="row",
        ),
        registry_times=_registry_times(record),
        default_sampling=max((e.sampling or 0 for e in network.exporters), default=0) or 1000,
    )  # fmt: skip
    inputs = replace(inputs, session_routes=session_routes(inputs, network, record, carried))
    seen = sessions_seen(inputs)
    inputs = replace(inputs, sessions=pl.concat([inputs.sessions, seen], how="diagonal"))
    provenance = {
        "network": {"asn": inputs.asn, "name": inputs.name},
        "period": {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
        "slots": {"covered": covered.slots, "missing": covered.missing},
        "routes": [
            {"snapshot": i.name, "source": i.source, "sha256": i.source_digest} for i in infos
        ],
        "sources": {
            relative.removeprefix("reference/").removesuffix(".parquet"): _source(entry)
            for relative, entry in record.entries("reference").items()
            if entry.get("source") != network.source.name
        },
        "notes": notes,
    }
    bill = partial(billed_period, network, record, start, end)
    return Gathered(inputs, provenance, cache(bill))


def known(
    network: Configuration, lake: Lake, log: Sequence[ask_log.Ask], day: date
) -> ExclusionInputs:
    """What decides on a day who is never asked: it needs no traffic."""
    peeringdb = {
        name.removeprefix("peeringdb_"): _reference(lake, name) for name in schema.PEERINGDB
    }
    relationships = _reference(lake, "as_relationships")
    start = datetime.combine(day, time(), UTC)
    return ExclusionInputs(
        asn=network.network.asn,
        siblings=_siblings(network, peeringdb["net"], relationships),
        interfaces=_interfaces(network, start, start + timedelta(days=1)),
        relationships=relationships,
        clique=_clique(network, lake),
        asns=_reference(lake, "asns"),
        peeringdb=peeringdb,
        exclusions=_exclusions(network, log, day),
    )


def _interfaces(network: Configuration, start: datetime, end: datetime) -> pl.DataFrame:
    """Those of the time, as they were configured; the earlier first."""
    return (
        _frame(network.tables()["interfaces"])
        .filter(
            (pl.col("valid_from") < end).fill_null(True),
            (pl.col("valid_until") > start).fill_null(True),
        )
        .sort("valid_from", maintain_order=True)
    )


def _exclusions(network: Configuration, log: Sequence[ask_log.Ask], day: date) -> pl.DataFrame:
    """asn, reason, until: what is configured, and those who declined until a day."""
    return pl.DataFrame(
        [
            *(e.model_dump() for e in network.exclusions),
            *({"asn": asn, "reason": reason, "until": until}
              for asn, reason, until in ask_log.exclusions(log, day)),
        ],
        schema={"asn": pl.Int64, "reason": pl.String, "until": pl.Date},
    )  # fmt: skip


def _clique(network: Configuration, lake: Lake) -> frozenset[int]:
    return frozenset(_reference(lake, "as_clique")["asn"].to_list()) or frozenset(
        network.policy.clique
    )


def _source(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A file that a table was loaded from: its name, digest and time, as far as they are known."""
    facts = {
        "source": entry.get("source"), "sha256": entry.get("source_digest"),
        "time": entry.get("source_time"),
    }  # fmt: skip
    return {name: value for name, value in facts.items() if value is not None}


def _registry_times(record: Record) -> dict[str, datetime]:
    """When PeeringDB's data were taken, where it is known."""
    entry = record.entries("reference").get("reference/peeringdb_net.parquet") or {}
    stated = entry.get("source_time")
    return {} if stated is None else {"peeringdb": datetime.fromisoformat(stated)}


def gather_both(
    network: Configuration, record: Record, asked: str | None, compare: str
) -> tuple[Gathered, Gathered]:
    """A period, and the one that it is compared with: a period, or `before`.

    Raises:
        NoDataError: one of them has no data.
    """
    start, end = period_of(network, record, asked)
    if compare == "before":
        stated = parse_period(asked) if asked else (start, end)
        compare = "/".join(time.isoformat() for time in period_before(*stated))
    other = period_of(network, record, compare)

    def routes(first: datetime, last: datetime) -> pl.LazyFrame:
        return catalog.scan(record.lake.root, "traffic_routes", start=first, end=last)

    before = gather(network, record, compare, also=routes(start, end), then=True)
    return gather(network, record, asked, also=routes(*other)), before


def stale_hours(network: Configuration, record: Record, asked: str | None) -> int:
    """How many hours of a period the roll-ups are behind the flows, routes or configuration."""
    try:
        # Where no period is asked for, hours after the last one rolled up belong to it too.
        period = parse_period(asked) if asked else (period_of(network, record, None)[0], None)
        rollup = RollupPlanner(record.lake, network, record=record, period=period)
        return sum(bool(hour.changed) for hour in rollup.plan(*period))
    except FlowpeerError:  # nothing to roll up: `gather` says what is missing
        return 0


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


def _cones(
    network: Configuration, record: Record, infos: Sequence[snapshot.SnapshotInfo]
) -> dict[str, Any]:
    """The customer cones to infer from, and where they are from: of the file that is configured,
    else observed on the paths in force, made again where one of their sources has changed."""
    if network.sources.as_cones == RECURSIVE_CONES:
        return {}
    lake, path = record.lake, network.source_path("as_cones")
    peers = {s.asn for s in network.sessions}
    peers |= {i.asn for i in network.interfaces if i.role == "peer" and i.asn is not None}
    if not lake.writable:  # then those that are there
        known = record.entries("reference").get(CONES)
        source = (
            known["words"] if known else "nothing: no cones were made, and the lake is read-only"
        )
        return {"cones": _reference(lake, "as_cones"), "cones_source": source}
    try:
        with lake.lock("reference", wait_s=LOCK_WAIT_S):
            if path is not None:
                facts, _ = load_cones(lake, path)
            else:
                facts, _ = observe_cones(lake, infos, network.network.asn, peers)
    except NoDataError as error:
        none = pl.DataFrame(schema={"asn": pl.Int64, "member_asn": pl.Int64})
        return {"cones": none, "cones_source": f"nothing: {error}"}
    return {"cones": _reference(lake, "as_cones"), "cones_source": facts["words"]}


def _sessions(network: Configuration, log: Sequence[ask_log.Ask], end: datetime) -> pl.DataFrame:
    """The configured sessions, and those of asks that are live at the period's end (M16): asn,
    metro, kind, since (null: before anything is known of it)."""
    asked = {
        (asn, metro): datetime.combine(since, time(), UTC)
        for asn, metro, since in ask_log.sessions(
            log, [m.id for m in network.metros], (end - timedelta(microseconds=1)).date()
        )
    }
    rows: list[tuple[int, str, str, datetime | None]] = [
        (s.asn, s.metro, s.kind, s.from_ or asked.get((s.asn, s.metro))) for s in network.sessions
    ]
    known = {(asn, metro) for asn, metro, _, _ in rows}
    rows += [(*pair, "ask", since) for pair, since in asked.items() if pair not in known]
    # One that came up later is none of this period.
    return pl.DataFrame(
        [row for row in rows if row[3] is None or row[3] < end], schema=SESSIONS, orient="row"
    )


def _accepted(network: Configuration, log: Sequence[ask_log.Ask]) -> dict[str, list[int]]:
    """Metro → networks that said yes to an ask there, whether their session is up or not."""
    found: dict[str, list[int]] = {}
    for ask in log:
        if ask.status in ("answered_yes", "live"):
            for metro in ask.metros or [m.id for m in network.metros]:
                found.setdefault(metro, []).append(ask.asn)
    return found


def _policies(nets: pl.DataFrame) -> dict[int, str]:
    """ASN → class of its peering policy, as base rates name them."""
    rows = nets.select("asn", "policy_general").drop_nulls().iter_rows()
    return {asn: policy.lower() for asn, policy in rows}


def _on_exchanges(network: Configuration) -> pl.DataFrame:
    """exporter, interface, exchange: our own ports, by the PeeringDB id of what they are on."""
    return pl.DataFrame(
        [(*key, i.exchange) for key, i in network.interface_by_key.items() if i.exchange],
        schema={"exporter": pl.String, "interface": pl.Int64, "exchange": pl.Int64},
        orient="row",
    )


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
