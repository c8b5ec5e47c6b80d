"""METHODS M13: do the sums of every stage agree, to the byte?

The flows are summed here a second time, by other means than the roll-up's: DuckDB adds up the
exported counters per file, exporter, interfaces, sampler and rate, and plain Python multiplies.
What must hold, for scaled and unscaled bytes each: Σ flows + through = Σ traffic =
Σ traffic_routes, with `through` from the record. Sums are Python integers: nothing wraps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from flowpeer.rollup.hours import Hour, Rollup
from flowpeer.rollup.slots import MAX_SCALED_BYTES
from flowpeer.rollup.sums import Figures

ALWAYS_PLAUSIBLE = MAX_SCALED_BYTES >> 24
"""Counters below this stay plausible under any rate (at most 2^24): they may be summed first."""

_FLOW_SUMS = f"""
    SELECT filename, exporter_ip, observation_domain, sampler_id, sampling_interval,
           coalesce(input_if, 0) AS came, coalesce(output_if, 0) AS went,
           CASE WHEN greatest(bytes, packets) >= {ALWAYS_PLAUSIBLE}
                THEN greatest(bytes, packets) END AS large,
           sum(coalesce(bytes, 0)) AS bytes, count(*) AS records
    FROM read_parquet($files, filename = true)
    GROUP BY ALL
"""  # noqa: S608 (a constant number)


@dataclass(frozen=True, slots=True)
class Identity:
    """One line of the account: what must be equal, and both sides of it."""

    name: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Equal to the byte."""
        return self.left == self.right


@dataclass(frozen=True, slots=True)
class FlowSums:
    """What the records of a flow file add up to, each record once."""

    scaled_bytes: int = 0
    unscaled_bytes: int = 0
    records: int = 0

    def plus(self, other: FlowSums, times: int = 1) -> FlowSums:
        """Both together; `times` −1 takes the other away."""
        return FlowSums(*(getattr(self, n) + times * getattr(other, n) for n in self.__slots__))


def conservation(rollup: Rollup, *, again: bool) -> Iterator[Identity]:
    """Every identity of the whole lake: a record's parts may lie in several hours.

    With `again` the bytes of all flow records are summed anew; without it, what each hour's
    roll-up added up when it read them stands for them, and the record says how many there are.
    Of files that were pruned, the sums of that time stand for their records. Flows that came too
    late for an hour whose flows were pruned are in no table, and are taken away here.
    """
    hours = Figures()
    late = FlowSums()
    for header in rollup.record.headers("traffic").values():
        if header.rollup is None:
            continue
        if header.rollup.figures:
            hours.add(Figures(**header.rollup.figures))
        for told in header.rollup.late.values():
            late = late.plus(
                FlowSums(told["flow_bytes"], told["flow_bytes_unscaled"], told["records"])
            )
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
    for table in ("traffic", "traffic_routes"):
        sums_of = _table_sums(rollup, table)
        yield Identity(
            f"scaled bytes: flows + through = {table}", flows.scaled_bytes + hours.through_bytes,
            sums_of[True],
        )  # fmt: skip
        yield Identity(
            f"unscaled bytes: flows + through = {table}",
            flows.unscaled_bytes + hours.through_bytes_unscaled, sums_of[False],
        )  # fmt: skip
    yield Identity("records: flows = traffic", flows.records, hours.records)


def hours_conserved(rollup: Rollup, hours: Sequence[Hour], *, again: bool) -> Iterator[Identity]:
    """The identities of some hours, from the figures that the record has of each.

    With `again` the flow records are read and spread anew for the other side; what was pruned
    cannot be, and of such an hour the record alone speaks.
    """
    figures = Figures()
    for hour in hours:
        if again and not hour.frozen:
            figures.add(rollup.recount(hour))
        else:
            header = rollup.record.header("traffic", hour.start)
            told = header.rollup.figures if header and header.rollup else {}
            figures.add(Figures(**told))
    for table in ("traffic", "traffic_routes"):
        sums_of = _table_sums(rollup, table, [hour.start for hour in hours])
        for kind, scaled in (("", True), ("_unscaled", False)):
            flows = getattr(figures, f"flow_bytes{kind}")
            through = getattr(figures, f"through_bytes{kind}")
            label = "scaled" if scaled else "unscaled"
            yield Identity(
                f"{label} bytes: flows + through = {table}", flows + through, sums_of[scaled]
            )


def _query(sql: str, files: list[str]) -> list[tuple[Any, ...]]:
    with duckdb.connect(":memory:") as connection:
        rows: list[tuple[Any, ...]] = connection.execute(sql, {"files": files}).fetchall()
        return rows


def _table_sums(
    rollup: Rollup, table: str, chosen: Sequence[datetime] | None = None
) -> dict[bool, int]:
    hours = rollup.record.hours(table) if chosen is None else chosen
    headers = [rollup.record.header(table, hour) for hour in hours]
    paths = [rollup.lake.path(path) for h in headers if h is not None for path in h.paths]
    files = [str(path) for path in paths if path.is_file()]
    found = {True: 0, False: 0}
    if files:
        sql = "SELECT scaled, sum(bytes) FROM read_parquet($files) GROUP BY scaled"
        found.update({scaled: int(octets) for scaled, octets in _query(sql, files)})
    return found


def flow_sums(rollup: Rollup, names: Sequence[str]) -> dict[str, FlowSums]:
    """Sums of flow files of the lake, by name."""
    files = {str(rollup.lake.path(name)): name for name in names}
    found = dict.fromkeys(names, FlowSums())
    if not files:
        return found
    for filename, ip, domain, sampler, said, came, went, large, octets, count in _query(
        _FLOW_SUMS, list(files)
    ):
        name = files[filename]
        rate = rollup.rate(name, ip, domain, sampler, said, came, went)
        if rate and (large or 0) * rate < MAX_SCALED_BYTES:
            more = FlowSums(int(octets) * rate, 0, count)
        else:
            more = FlowSums(0, int(octets), count)
        found[name] = found[name].plus(more)
    return found
