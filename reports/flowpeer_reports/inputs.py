"""All that the answers are made from, as frames; the caller gathers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.ask_log import Ask
from flowpeer_reports.coverage import Coverage
from flowpeer_reports.errors import ReportError
from flowpeer_reports.policy import Policy
from flowpeer_reports.session_routes import SessionRoutes

NO_TABLES = pl.Schema([
    ("vantage", pl.String()), ("taken_at", pl.Datetime("us", "UTC")),
    ("views", pl.List(pl.String)),
])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One period of one network. Frames have the columns of the application's tables."""

    asn: int
    name: str
    currency: str
    siblings: frozenset[int]
    """Our own other ASNs."""
    period_start: datetime
    period_end: datetime
    """UTC, half-open."""
    slots: dict[str, int]
    """Metro → covered slots of the period (M5)."""
    missing_slots: dict[str, int]
    """Metro → slots of the period that are not covered."""
    uncovered: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"metro": pl.String, "slot": pl.Datetime("us", "UTC")}
        )
    )
    """metro, slot: those slots themselves; what was seen of them is in no percentile."""
    metros: pl.DataFrame
    """metro, name, region, continent, latitude, longitude, facilities, exchanges (lists of
    PeeringDB ids)."""
    exchange_ports: pl.DataFrame
    """metro, ix_id, route_servers, speed_bps: our own ports."""
    interfaces: pl.DataFrame
    """exporter, metro, interface, name, role, asn, capacity_bps, contract."""
    contracts: pl.DataFrame
    """contract, provider, and the terms."""
    sessions: pl.DataFrame
    """asn, metro, kind: peerings that exist; `since` where it is known when they came up."""
    exclusions: pl.DataFrame
    """asn, reason, until (date or null)."""
    traffic: pl.LazyFrame
    """One row per slot × interface × direction × family × remote ASN, of the period."""
    traffic_routes: pl.LazyFrame
    """One row per hour × interface × direction × prefix × local prefix, of the period."""
    paths: pl.DataFrame
    """prefix, as_path: the distinct paths of the tables in force."""
    relationships: pl.DataFrame
    """asn, other_asn, relationship: −1 asn is the provider, 0 peers, 1 siblings."""
    clique: frozenset[int]
    cones: pl.DataFrame | None = None
    """asn, member_asn: customer cones to infer from; None: recursive ones, an upper bound."""
    cones_source: str = ""
    """Where `cones` are from, in words."""
    asns: pl.DataFrame
    """asn, name, organisation, country."""
    peeringdb: dict[str, pl.DataFrame]
    """PeeringDB objects by type ("net", "netixlan", …); types and columns may be missing."""
    notes: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)
    """What the operator decided about the ranking."""
    declared: pl.DataFrame | None = None
    """asn, member_asn: whose routes networks say they announce (IRR AS-SETs)."""
    traffic_slots: pl.LazyFrame | None = None
    """`traffic` without the remote network, whose rows are to be summed; None: `traffic` itself."""
    accepted: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Metro → networks that agreed to peer there; their sessions may not be live yet (M16)."""
    asks: Sequence[Ask] = ()
    """Our own asks as they stand (M16)."""
    outcomes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Policy class → (accepted, answered) of our own asks (M10)."""
    coverage: Coverage | None = None
    """Due and covered slots of each exporter over the period; None: only the metros' covered slots
    are known (M5)."""
    sampling: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={
                "exporter": pl.String,
                "interface": pl.Int64,
                "rate": pl.Float64,
                "mtu": pl.Int64,
            }
        )
    )
    """exporter, interface, rate (scaled ÷ exported bytes of the period), mtu: for sampling
    intervals (M6); interface null: of those of the exporter that are not named."""
    session_routes: SessionRoutes | None = None
    """What sessions announce to us, where a view of theirs is loaded (M14)."""
    tables: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=NO_TABLES))
    """Routing tables that the period was rolled up with: vantage ("" for all metros), taken_at,
    views (`AS<peer>@<address>`, or the vantage)."""
    registry_times: Mapping[str, datetime] = field(default_factory=dict)
    """`peeringdb` → when its data were taken, where that is known."""
    default_sampling: int = 1000
    """N of the 1:N of an exporter that `sampling` does not name."""

    def __post_init__(self) -> None:
        for name, moment in (("period_start", self.period_start), ("period_end", self.period_end)):
            if moment.tzinfo is None:
                raise ReportError(f"{name} has no time zone", advice="give it in UTC")
        if self.period_end <= self.period_start:
            raise ReportError("the period is empty", advice="give an end after its start")

    @property
    def period_slots(self) -> int:
        """Slots of the whole period, covered or not."""
        return int((self.period_end - self.period_start).total_seconds()) // SLOT_SECONDS

    def slots_of(self, metro: str) -> int:
        """Covered slots n of a metro; the whole period's where nothing is known of it."""
        return self.slots.get(metro) or self.period_slots

    def averaging_slots(self) -> dict[str, int]:
        """Metro → slots to average over: the covered ones, and others that carried transit.

        Volumes hold the bytes of every slot, so slots that are not covered and hold some count.
        """
        from_traffic = (
            transit(self.traffic, self, "slot")
            .join(self.uncovered.lazy(), on=["metro", "slot"], how="semi")
            .group_by("metro")
            .agg(pl.col("slot").n_unique())
            .collect()
        )
        extra = dict(from_traffic.iter_rows())
        metros = {*self.slots, *extra}
        return {m: (self.slots_of(m) if m in self.slots else 0) + extra.get(m, 0) for m in metros}

    def silence(self) -> pl.DataFrame:
        """metro, exporter, weight: what an exporter's bytes count for in an average (M5)."""
        exporters = self.interfaces.select("metro", "exporter").unique().sort("metro", "exporter")
        if self.coverage is None:
            slots = self.averaging_slots()
            weights = [
                self.period_slots / (slots.get(m) or self.period_slots)
                for m in exporters["metro"].to_list()
            ]
        else:
            carries = self._carries(self.coverage)
            quiet = np.zeros(self.coverage.slots, dtype=np.bool_)
            weights = [
                float(self.coverage.factor(e, carries.get(e, quiet)))
                for e in exporters["exporter"].to_list()
            ]
        return exporters.with_columns(weight=pl.Series(weights, dtype=pl.Float64))

    def _carries(self, coverage: Coverage) -> dict[str, npt.NDArray[np.bool_]]:
        """Slots with bytes, covered or not, of the exporters that something is missing of."""
        silent = [e.exporter for e in coverage.exporters if coverage.missing(e.exporter)]
        carries = {e: np.zeros(coverage.slots, dtype=np.bool_) for e in silent}
        if silent:
            start = int(self.period_start.astimezone(UTC).timestamp())
            from_traffic = (
                transit(self.traffic, self, "slot")
                .filter(pl.col("exporter").is_in(silent))
                .select("exporter", place=(pl.col("slot").dt.epoch("s") - start) // SLOT_SECONDS)
                .unique()
                .collect()
            )
            for exporter, place in from_traffic.iter_rows():
                carries[exporter][place] = True
        return carries

    def names(self) -> dict[int, str]:
        """ASN → name; PeeringDB's where the table of names has none."""
        known: dict[int, str] = {}
        net = pdb(self.peeringdb, "net", {"asn": pl.Int64, "name": pl.String})
        for frame in (net, self.asns.select("asn", "name")):
            rows = frame.drop_nulls()
            known |= dict(zip(rows["asn"].to_list(), rows["name"].to_list(), strict=True))
        return known


def transit(frame: pl.LazyFrame, inputs: Inputs, time: str) -> pl.LazyFrame:
    """The transit rows of a traffic table inside the period; `time` names its time column."""
    start = inputs.period_start.astimezone(UTC)
    end = inputs.period_end.astimezone(UTC)
    if time == "hour_start":  # an hour that the period begins in holds nothing before it
        start = start.replace(minute=0, second=0, microsecond=0)
    return frame.filter(
        pl.col("role") == "transit",
        pl.col("direction").is_in(["in", "out"]),
        pl.col(time) >= start,
        pl.col(time) < end,
    )


def covered(frame: pl.LazyFrame, inputs: Inputs) -> pl.LazyFrame:
    """Rows with metro and slot, less those of slots that are not covered (M5)."""
    return frame.join(inputs.uncovered.lazy(), on=["metro", "slot"], how="anti")


def chosen_metros(inputs: Inputs, seen: Sequence[str], metros: Sequence[str] | None) -> list[str]:
    """The metros to report on: the configured ones, then any other that has traffic.

    Raises:
        ReportError: a metro is asked for that is neither.
    """
    known = list(dict.fromkeys([*inputs.metros["metro"].to_list(), *sorted(seen)]))
    if metros is None:
        return known
    wrong = [m for m in metros if m not in known]
    if wrong:
        raise ReportError(
            f"no such metro: {', '.join(wrong)}", advice=f"known metros: {', '.join(known)}"
        )
    return [m for m in known if m in set(metros)]


def coverage_notes(inputs: Inputs, metros: Sequence[str]) -> tuple[list[str], set[str]]:
    """What missing slots do to percentiles (M5), and the metros whose p95 is refused."""
    notes: list[str] = []
    refused: set[str] = set()
    for metro in metros:
        missing = inputs.missing_slots.get(metro, 0)
        total = missing + inputs.slots.get(metro, inputs.period_slots)
        if not total or missing * 100 <= total:
            continue
        share = f"{missing:,} of {total:,} slots are not covered ({missing / total:.1%})"
        if missing * 20 > total:
            refused.add(metro)
            notes.append(f"{metro}: {share}; above 5 % no 95th percentile is given")
        else:
            notes.append(f"{metro}: {share}; its 95th percentiles are estimates")
    return notes, refused


def pdb(
    tables: Mapping[str, pl.DataFrame], name: str, columns: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame:
    """Some columns of a PeeringDB table; what is missing is null, for null is unknown."""
    frame = tables.get(name)
    if frame is None:
        return pl.DataFrame(schema=dict(columns))
    return frame.select(
        pl.col(c).cast(t, strict=False) if c in frame.columns else pl.lit(None, t).alias(c)
        for c, t in columns.items()
    )
