"""What a row saves, contract by contract, each with the SQL that counts it from the lake (M8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import floor
from string import Template

import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.billing.bills import MonthSeries
from flowpeer_reports.billing.rows import BilledPeriod, parts
from flowpeer_reports.billing.savings import Savings
from flowpeer_reports.billing.terms import Terms
from flowpeer_reports.candidates import Candidates
from flowpeer_reports.ranking import Listing, Row

BILLED = {
    "max_of_p95": "greatest(p95(came, {n}), p95({went}, {n}))",
    "p95_of_max": "p95(greatest(came, {went}), {n})",
    "in": "p95(came, {n})",
    "out": "p95({went}, {n})",
    "sum": "p95(came + {went}, {n})",
}
"""By billing mode: the octets of the slot that sets the bill."""


_LINES = """
WITH route (prefix, origin_asn, place) AS (VALUES $routes),
link (exporter, interface, framing) AS (VALUES $links),
part AS (
    SELECT hour_start, exporter, interface, origin_asn, place, sum(bytes) AS octets
    FROM traffic_routes LEFT JOIN route USING (prefix, origin_asn)
    WHERE $of_hours GROUP BY ALL),
share AS (
    SELECT *, octets::DOUBLE / (sum(octets) OVER (
        PARTITION BY hour_start, exporter, interface, origin_asn))::DOUBLE AS share
    FROM part),
gone AS (
    SELECT slot, exporter, interface,
        sum(round(bytes * share) + framing * round(packets * share)) AS upto,
        coalesce(sum(round(bytes * share) + framing * round(packets * share))
            FILTER (WHERE place < $mine), 0) AS above
    FROM traffic JOIN link USING (exporter, interface) JOIN share USING (exporter, interface)
    WHERE hour_start = date_trunc('hour', slot) AND remote_asn = origin_asn
        AND place IS NOT NULL AND $of_slots GROUP BY ALL),
whole AS (
    SELECT slot, exporter, interface,
        coalesce(sum(bytes + framing * packets) FILTER (WHERE direction = 'in'), 0) AS came,
        coalesce(sum(bytes + framing * packets) FILTER (WHERE direction = 'out'), 0) AS went
    FROM traffic JOIN link USING (exporter, interface) WHERE scaled AND $span GROUP BY ALL),
slots AS (
    SELECT slot, sum(came)::BIGINT AS came,
        sum(greatest(went - coalesce(above, 0), 0))::BIGINT AS before,
        sum(greatest(went - coalesce(upto, 0), 0))::BIGINT AS after
    FROM whole LEFT JOIN gone USING (slot, exporter, interface) GROUP BY slot),
billed AS (SELECT $before * 8 / $seconds AS before, $after * 8 / $seconds AS after FROM slots)
SELECT floor(100 * ($fall) + 0.5)::BIGINT AS cents FROM billed
"""
SQL = Template(" ".join(_LINES.split()))
"""`share`: what each row's routes have of a network's bytes on a link in an hour; `gone`: what the
rows above take in each slot, and they with this one; `whole`: what the links are billed by."""


@dataclass(frozen=True, slots=True)
class BillReduction:
    """What one contract's bill falls by a month when a row says yes."""

    contract: str
    before_bps: Fraction
    after_bps: Fraction
    cents: int
    currency: str
    sql: str | None
    """None where a percentile is not plainly that of the slots: readings of counters, gaps that
    were filled, several months, tiers or units."""


def bill_reductions(
    billed: BilledPeriod, found: Candidates, number: int, listing: Listing, row: Row, where: str
) -> Iterator[BillReduction]:
    """The contracts whose bill changes, in their order.

    Args:
        where: the rows of `traffic_routes` and `traffic` that the list is made of, as SQL with
            `{time}` for the column of time.
    """
    series, metro = found.series, listing.name
    savings = Savings(billed.months, billed.convert)
    above = []
    for n, other in enumerate(listing.rows):
        if other is row:
            break
        if series.wanted((metro, "seen", n)) and not other.refuses:
            above.append(n)
            savings.take(parts(series, (metro, "seen", n), "out", number), series.start)
    mine = next(n for n, other in enumerate(listing.rows) if other is row)
    if not series.wanted((metro, "seen", mine)):
        return
    moved = parts(series, (metro, "seen", mine), "out", number)
    for months, before, after in savings.changed(moved, series.start):
        terms = months[0].terms
        now = [terms.total(b) or Fraction(0) for b in before]
        then = [terms.total(a) or Fraction(0) for a in after]
        reduction = (sum(now, Fraction(0)) - sum(then, Fraction(0))) / len(months)
        sql = None
        if _plain(months, found):
            routes = _routes(found, listing, number, [*above, mine])
            sql = _sql(months[0], routes, mine, where)
        yield BillReduction(
            terms.contract, before[0], after[0], floor(reduction * 100 + Fraction(1, 2)),
            terms.currency, sql,
        )  # fmt: skip


def _plain(months: Sequence[MonthSeries], found: Candidates) -> bool:
    """Whether the bill is that of all slots as they are in `traffic`."""
    month, terms = months[0], months[0].terms
    return (
        len(months) == 1
        and terms.billing in BILLED
        and terms.aggregate == "p95_of_sum"
        and not (terms.tiers or terms.billed_unit_bps or month.octets.counted.any())
        and not any(link.since or link.until for link in month.octets.links)
        and not (month.judged.missing or month.judged.filled or month.judged.left_out)
        and month.judged.counted == month.octets.slots
        and not found.universe.flows.folded
        and not found.universe.since.height
    )


def _routes(found: Candidates, listing: Listing, number: int, rows: Sequence[int]) -> pl.DataFrame:
    """prefix, origin_asn, place: the routes that rows are seen on, by their places in the list."""
    base = found.ranking.cells.of(number).start
    frames = [
        pl.DataFrame(
            {"atom": found.ranking.cells.atom[listing.rows[n].seen + base], "place": n}
        ).with_columns(pl.col("atom").cast(pl.Int32))
        for n in rows
    ]
    joined = pl.concat(frames).join(found.ranking.cover.units, on="atom").drop_nulls()
    return joined.select("prefix", "origin_asn", "place").sort("place", "prefix")


def _sql(month: MonthSeries, routes: pl.DataFrame, mine: int, where: str) -> str:
    octets, terms = month.octets, month.terms
    links = [f"({_quoted(k.exporter)}, {k.interface}, {k.l2_overhead})" for k in octets.links]
    pairs = [f"({_quoted(prefix)}, {asn}, {place})" for prefix, asn, place in routes.iter_rows()]
    billed, cost = BILLED[terms.billing], _cost(terms)
    texts = {
        "routes": ", ".join(pairs),
        "links": ", ".join(links),
        "mine": str(mine),
        "of_hours": where.replace("{time}", "hour_start"),
        "of_slots": where.replace("{time}", "slot"),
        "span": f"slot >= {_moment(octets.start)} AND slot < {_moment(octets.end)}",
        "before": billed.format(n=octets.slots, went="before"),
        "after": billed.format(n=octets.slots, went="after"),
        "seconds": str(SLOT_SECONDS),
        "fall": f"{cost.format('before')} - {cost.format('after')}",
    }
    return SQL.substitute(texts)


def _cost(terms: Terms) -> str:
    """What is above the commit, in the contract's currency: the rest of the bill stays."""
    price = terms.price_per_mbps if terms.overage_per_mbps is None else terms.overage_per_mbps
    return f"greatest({{}} - {terms.commit_bps}, 0) / 1e6 * {float(price or 0)!r}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _moment(time: datetime) -> str:
    return f"TIMESTAMPTZ '{time:%Y-%m-%d %H:%M:%S}+00'"
