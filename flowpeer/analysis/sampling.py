"""The sampling rates that a period's traffic has, for the intervals of METHODS M6."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from flowpeer import catalog
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.rollup.planner import RollupPlanner
from flowpeer_core.slots import HOUR
from flowpeer_ingest.parts import EGRESS_IN, EGRESS_OUT, INGRESS_IN, INGRESS_OUT, WAYS

SCHEMA = {"exporter": pl.String, "interface": pl.Int64, "rate": pl.Float64, "mtu": pl.Int64}
_WAY = {
    ("in", "ingress"): INGRESS_IN, ("in", "egress"): EGRESS_IN,
    ("out", "ingress"): INGRESS_OUT, ("out", "egress"): EGRESS_OUT,
}  # fmt: skip


def sampling_rates(
    network: Configuration, record: Record, traffic: pl.LazyFrame, start: datetime, end: datetime
) -> pl.DataFrame:
    """exporter, interface, rate, mtu: N of each transit interface, and (interface null) of each
    exporter for those that nothing is known of.

    N is the scaled bytes of the roll-up over the exported ones of the same hours, so that it is
    the rate that was used, whoever stated it.

    Args:
        traffic: rows of `traffic`, or of `traffic_slots`, of the hours of the period.
    """
    first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    twice = _twice(record, first, end)
    whole = traffic.filter(
        pl.col("role") == "transit",
        ~pl.col("slot")
        .dt.truncate("1h")
        .is_in(pl.Series(sorted(twice), dtype=pl.Datetime("us", "UTC")).implode()),
    )
    sums = (
        whole.group_by("exporter", "interface")
        .agg(
            pl.col("bytes").filter(pl.col("scaled")).sum().alias("scaled_bytes"),
            pl.col("bytes").filter(~pl.col("scaled")).sum().alias("bare"),
        )
        .sort("exporter", "interface")
        .collect()
    )
    exported = _exported(network, record, first, end, twice)
    mtu = {e.id: e.mtu for e in network.exporters}
    rows: list[tuple[str, int | None, float, int]] = []
    for exporter, interface, scaled, bare in sums.iter_rows():
        sampled = exported.get((exporter, interface), 0) - bare
        if sampled > 0 and scaled and exporter in mtu:
            rows.append((exporter, interface, max(scaled / sampled, 1.0), mtu[exporter]))
    rows += [(e, None, rate, mtu[e]) for e, rate in _rates(network, record.lake, end).items()]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _twice(record: Record, start: datetime, end: datetime) -> set[datetime]:
    """Hours with records that several units hold, and those beside them: manifests count these
    records as often as they came, the roll-up once."""
    return {
        hour + n * HOUR
        for hour, header in record.headers("traffic", start=start, end=end, damaged=[]).items()
        if header.rollup and header.rollup.figures.get("duplicate_records")
        for n in (-1, 0, 1)
    }


def _exported(
    network: Configuration, record: Record, start: datetime, end: datetime, without: set[datetime]
) -> dict[tuple[str, int], int]:
    """Bytes as exported of the records that count on each transit interface (M1), by what the
    manifests say of those received in these hours, less some hours."""
    rollup = RollupPlanner(record.lake, network, record=record, period=(start, end))
    found: dict[tuple[str, int], int] = {}
    unknown: set[tuple[str, int]] = set()
    for hour in record.headers("flows", start=start, end=end, damaged=[]):
        if hour in without:
            continue
        attributor, known = rollup.metering(f"{hour:%Y-%m-%d}"), network.interfaces_at(hour)
        for ip, interfaces in record.octets("flows", hour).items():
            exporter, _ = attributor.exporter(ip)
            for index, octets in interfaces.items():
                interface = known.get((exporter, index))
                if interface is None or interface.role != "transit":
                    continue
                if len(octets) < 3 * len(WAYS):
                    unknown.add((exporter, index))
                    continue
                for way in ("in", "out"):
                    metered = attributor.counts(exporter, index, inbound=way == "in")
                    at = WAYS.index(_WAY[way, metered])
                    more = octets[at + len(WAYS)] + octets[at + 2 * len(WAYS)]
                    found[exporter, index] = found.get((exporter, index), 0) + more
    return {key: octets for key, octets in found.items() if key not in unknown}


def _rates(network: Configuration, lake: Lake, end: datetime) -> dict[str, float]:
    """Exporter → the rate that it announced in options data by then, else the configured one."""
    announced = dict(
        catalog.scan(lake.root, "sampling", end=end)
        .group_by("exporter_ip")
        .agg(pl.col("interval").max())
        .drop_nulls()
        .collect()
        .iter_rows()
    )
    rates = {}
    for exporter in network.exporters:
        intervals = [announced[str(a)] for a in exporter.addresses if announced.get(str(a))]
        rate = exporter.sampling_override or max(intervals, default=0) or exporter.sampling
        if rate:
            rates[exporter.id] = float(rate)
    return rates
