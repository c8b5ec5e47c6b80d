"""METHODS M13: do the sums of every stage agree, to the byte?

The flows are summed here a second time, by other means than the roll-up's: DuckDB adds up the
exported counters per file, exporter, interfaces, sampler and rate, and plain Python multiplies.
What must hold, for scaled and unscaled bytes each: Σ flows − duplicate + through = Σ traffic =
Σ traffic_routes, with `through` and `duplicate` from the record. Sums are Python integers: nothing
wraps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from flowpeer.lake.account import Equality
from flowpeer.rollup.planner import Hour, RollupPlanner
from flowpeer.rollup.rates import NO_SESSION, Sampled
from flowpeer.rollup.slots import MAX_SCALED_BYTES
from flowpeer.rollup.sums import HourFigures
from flowpeer_core import sampling_rates

ALWAYS_PLAUSIBLE = MAX_SCALED_BYTES >> 24
"""Counters below this stay plausible under any rate (at most 2^24): they may be summed first."""

_FLOW_SUMS = f"""
    WITH flows AS (
        SELECT * FROM read_parquet($files, filename = true, union_by_name = true)
        -- Files of an older format lack columns.
        UNION ALL BY NAME
        SELECT NULL::BIGINT AS session, NULL::BIGINT AS sampling_numerator,
               NULL::BIGINT AS sampling_denominator
        WHERE false
    )
    SELECT filename, exporter_ip, coalesce(session, {NO_SESSION}), observation_domain, sampler_id,
           nullif(CASE WHEN direction = 1 THEN output_if ELSE input_if END, 0),
           sampling_interval, sampling_numerator, sampling_denominator,
           CASE WHEN $changing THEN epoch_us(received_at) ELSE 0 END AS received_us,
           CASE WHEN greatest(bytes, packets) >= {ALWAYS_PLAUSIBLE}
                THEN greatest(bytes, packets) END AS large,
           -- Each record is rounded by itself where its rate may not be a whole number.
           CASE WHEN $rational OR sampling_denominator > 1 THEN bytes END AS octets,
           sum(coalesce(bytes, 0)) AS bytes, count(*) AS records
    FROM flows
    GROUP BY ALL
"""  # noqa: S608 (constant numbers)


@dataclass(frozen=True, slots=True)
class FlowSums:
    """What the records of a flow file add up to, each record once."""

    scaled_bytes: int = 0
    unscaled_bytes: int = 0
    records: int = 0

    def plus(self, other: FlowSums, times: int = 1) -> FlowSums:
        """Both together; `times` −1 takes the other away."""
        return FlowSums(*(getattr(self, n) + times * getattr(other, n) for n in self.__slots__))


def conservation(rollup: RollupPlanner, *, again: bool) -> Iterator[Equality]:
    """Every identity of the whole lake: a record's parts may lie in several hours.

    With `again` the bytes of all flow records are summed again; without it, what each hour's
    roll-up added up when it read them stands for them, and the record says how many there are.
    Of files that were pruned, the sums of that time stand for their records. Flows that came too
    late for an hour whose flows were pruned are in no table, and are taken away here.
    """
    hours = HourFigures()
    late = FlowSums()
    for header in rollup.record.headers("traffic").values():
        if header.rollup is None:
            continue
        if header.rollup.figures:
            hours.add(HourFigures(**header.rollup.figures))
        for of in header.rollup.late.values():
            late = late.plus(FlowSums(of["flow_bytes"], of["flow_bytes_unscaled"], of["records"]))
    flows = FlowSums()
    if again:
        for sums in flow_sums(rollup, list(rollup.files)).values():
            flows = flows.plus(sums)
    else:
        headers = rollup.record.headers("flows")
        flows = flows.plus(FlowSums(records=sum(h.rows for h in headers.values())))
    frozen = [h for h, header in rollup.record.headers("flows").items() if header.frozen]
    for file in (f for h in frozen for f in rollup.record.manifest("flows", h).files):
        if (gone := file.pruned) is not None:
            flows = flows.plus(FlowSums(gone.scaled_bytes, gone.unscaled_bytes, gone.records))
    flows = flows.plus(late, times=-1)
    if not again:
        flows = FlowSums(hours.flow_bytes, hours.flow_bytes_unscaled, flows.records)
    if again and hours.duplicate_records:
        for kind, mine in (("", flows.scaled_bytes), ("_unscaled", flows.unscaled_bytes)):
            label = "unscaled" if kind else "scaled"
            yield Equality(
                f"{label} bytes: flows = counted once + duplicate", mine,
                getattr(hours, f"flow_bytes{kind}") + getattr(hours, f"duplicate_bytes{kind}"),
            )  # fmt: skip
    if again:
        flows = flows.plus(
            FlowSums(hours.duplicate_bytes, hours.duplicate_bytes_unscaled), times=-1
        )
    for table in ("traffic", "traffic_routes"):
        sums_of = _table_sums(rollup, table)
        yield Equality(
            f"scaled bytes: flows + through = {table}", flows.scaled_bytes + hours.through_bytes,
            sums_of[True],
        )  # fmt: skip
        yield Equality(
            f"unscaled bytes: flows + through = {table}",
            flows.unscaled_bytes + hours.through_bytes_unscaled, sums_of[False],
        )  # fmt: skip
    yield Equality(
        "records: flows = traffic" + (" + duplicate" if hours.duplicate_records else ""),
        flows.records, hours.records + hours.duplicate_records,
    )  # fmt: skip


def hours_conserved(
    rollup: RollupPlanner, hours: Sequence[Hour], *, again: bool
) -> Iterator[Equality]:
    """The identities of some hours, from the figures that the record has of each.

    With `again` the flow records are read and spread again for the other side; what was pruned
    cannot be, and of such an hour the record alone speaks.
    """
    figures = HourFigures()
    for hour in hours:
        if again and not hour.frozen:
            figures.add(rollup.recount(hour))
        else:
            header = rollup.record.header("traffic", hour.start)
            sums = header.rollup.figures if header and header.rollup else {}
            figures.add(HourFigures(**sums))
    for table in ("traffic", "traffic_routes"):
        sums_of = _table_sums(rollup, table, [hour.start for hour in hours])
        for kind, scaled in (("", True), ("_unscaled", False)):
            flows = getattr(figures, f"flow_bytes{kind}")
            through = getattr(figures, f"through_bytes{kind}")
            label = "scaled" if scaled else "unscaled"
            yield Equality(
                f"{label} bytes: flows + through = {table}", flows + through, sums_of[scaled]
            )


def _query(sql: str, asked: Mapping[str, object]) -> list[tuple[Any, ...]]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows: list[tuple[Any, ...]] = connection.execute(sql, asked).fetchall()
        return rows


def _table_sums(
    rollup: RollupPlanner, table: str, chosen: Sequence[datetime] | None = None
) -> dict[bool, int]:
    hours = rollup.record.hours(table) if chosen is None else chosen
    headers = [rollup.record.header(table, hour) for hour in hours]
    paths = rollup.lake.paths([path for h in headers if h is not None for path in h.paths])
    files = [str(path) for path in paths if path.is_file()]
    found = {True: 0, False: 0}
    if files:
        sql = "SELECT scaled, sum(bytes) FROM read_parquet($files) GROUP BY scaled"
        found.update({scaled: int(octets) for scaled, octets in _query(sql, {"files": files})})
    return found


def flow_sums(rollup: RollupPlanner, names: Sequence[str]) -> dict[str, FlowSums]:
    """Sums of flow files of the lake, by name."""
    found = dict.fromkeys(names, FlowSums())
    for changing in (False, True):
        some = [name for name in names if bool(rollup.moments(name).size) == changing]
        files = {str(p): name for p, name in zip(rollup.lake.paths(some), some, strict=True)}
        if not files:
            continue
        asked = {"files": list(files), "changing": changing, "rational": rollup.rational_rates}
        for filename, *key, stated, top, bottom, at_us, large, octets, total, count in _query(
            _FLOW_SUMS, asked
        ):
            name = files[filename]
            ip, session, domain, sampler, interface = key
            own = (top, bottom) if top and bottom else None
            if own is None and stated and session == NO_SESSION:
                own = (stated, 1)
            rate = rollup.rate(name, Sampled(ip, session, domain, sampler, interface, own, at_us))
            if rate is None or (large or 0) * rate[0] >= MAX_SCALED_BYTES * rate[1]:
                more = FlowSums(0, int(total), count)
            elif octets is None:
                more = FlowSums(sampling_rates.scaled(int(total), rate), 0, count)
            else:
                more = FlowSums(sampling_rates.scaled(octets, rate) * count, 0, count)
            found[name] = found[name].plus(more)
    return found
