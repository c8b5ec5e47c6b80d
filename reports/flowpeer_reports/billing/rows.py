"""The money of every row of every list, and of exchanges that would have to be joined (M8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from flowpeer_reports.billing.bills import MonthSeries, part_note
from flowpeer_reports.billing.costs import Amounts, Prices, more_ports, opening, private, together
from flowpeer_reports.billing.octets import BilledLink, Octets
from flowpeer_reports.billing.rate import Ints, as_bps, p95_octets
from flowpeer_reports.billing.savings import (
    Key,
    Money,
    Moved,
    RouteTraffic,
    Savings,
    by_contract,
    capped,
    sections,
    usable_months,
)
from flowpeer_reports.billing.terms import Converter, printed
from flowpeer_reports.candidate_rows import Figures, Headroom
from flowpeer_reports.columns.openings import OPENINGS
from flowpeer_reports.meeting import MeetingPlace, MeetingPlaces
from flowpeer_reports.offload import INFERRED
from flowpeer_reports.ranking import Listing, Ranking, Row
from flowpeer_reports.relations import Positions
from flowpeer_reports.series import Series

EXCHANGE_RUNGS, PRIVATE_RUNGS, CLOSED_RUNG = (1, 2), (3, 4, 5), 6
TRANSPORT = "met in another metro: transport between them is not counted"
SETS = (("seen", "out"), ("own", "in"), ("inferred", "out"))


@dataclass(frozen=True)
class BilledPeriod:
    """What money is counted on: the contracts' months and what peering costs."""

    octets: Octets
    months: tuple[MonthSeries, ...]
    """Those that belong to the period by their names."""
    convert: Converter
    prices: Prices
    traffic: pl.LazyFrame
    """The table `traffic` over the months, which may begin before the period and end after it."""
    traffic_routes: pl.LazyFrame

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The slots that the months and their octets are of."""
        return self.octets.start, self.octets.end


@dataclass(frozen=True, slots=True)
class Paid:
    """Money by list and row, in the order of the frames of candidates."""

    rows: pl.DataFrame
    organisations: pl.DataFrame
    openings: pl.DataFrame
    notes: list[str]


def want_money(ranking: Ranking, series: Series) -> None:
    """Name the sets that money is counted on: (list, "seen" | "own" | "inferred", row)."""
    for listing in (*ranking.metros, ranking.organisations):
        for number, row in enumerate(listing.rows):
            for (what, way), cells in zip(SETS, _sets(ranking, listing, row), strict=True):
                if len(cells):
                    series.want((listing.name, what, number), cells, way)


def _sets(ranking: Ranking, listing: Listing, row: Row) -> tuple[Positions, Positions, Positions]:
    """Cells of the observed account, of the network's own traffic, and those inferred alone."""
    cells = row.cells + listing.base
    own = cells[:0]
    if row.asn is not None:
        members = list(ranking.parties.members(row.asn))
        own = cells[np.isin(ranking.cover.origins[ranking.cells.atom[cells]], members)]
    return row.seen + listing.base, own, cells[row.kinds == INFERRED]


def row_money(
    period: BilledPeriod,
    ranking: Ranking,
    series: Series,
    places: MeetingPlaces,
    shown: Figures,
    rooms: Mapping[tuple[str, int], float],
    busy: Mapping[tuple[str, int], float],
) -> Paid:
    """What every row saves and costs.

    Args:
        rooms: by list and number of the row: what the exchange in between can carry.
        busy: what our ports carry now, by metro and exchange (`ports.port_p95`).
    """
    links = sections(period.octets)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    anywhere: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    openings: list[dict[str, Any]] = []
    notes: list[str] = []
    for metro, listing in enumerate(ranking.metros):
        savings = Savings(period.months, period.convert)
        closed: dict[int, list[tuple[int, Money]]] = {}
        for number, row in enumerate(listing.rows):
            place = None
            if row.asn is not None and row.rank:
                place = places.meet(
                    row.asn, listing.name, shown.alone_p95.get((listing.name, number), 0.0)
                )
            key = (listing.name, number)
            p95 = shown.percentiles[key].p95_bps if key in shown.percentiles else None
            cost = cost_at(period.prices, listing.name, place, p95, rooms.get(key))
            money = savings.row(
                _moved(series, listing, number, [metro], [rooms.get(key)], links),
                cost,
                stays=row.refuses,
            )
            far = () if place is None or not place.there else (TRANSPORT,)
            _add(columns, money, far)
            if place is not None and place.rank == CLOSED_RUNG and place.ix is not None:
                closed.setdefault(place.ix, []).append((number, money))
        notes += [f"{listing.name}: {note}" for note in savings.notes()]
        if savings.projected:
            notes.append(f"{listing.name}: savings are projected: no whole month is in the data")
        for ix, rows in closed.items():
            openings.append(_opening(period, series, listing, metro, ix, rows, places))
    listing = ranking.organisations
    savings = Savings(period.months, period.convert)
    headroom = {name: Headroom(places, name, busy) for name in ranking.cells.metros}
    for number, row in enumerate(listing.rows):
        used = _used(ranking, series, listing, number, row, places)
        cost = together(
            cost_at(period.prices, one.metro, one.place, one.p95_bps,
                    headroom[one.metro].room(one.place, one.p95_bps))
            for one in used
        )  # fmt: skip
        money = savings.row(
            _moved(series, listing, number, row.metros, [None] * len(row.metros), links),
            cost,
            stays=row.refuses,
        )
        _add(anywhere, money, (TRANSPORT,) if any(one.place.there for one in used) else ())
    notes += savings.notes()
    notes += [
        f"{month.terms.contract} {month.month.name}: {text}"
        for month in usable_months(period.months)[0]
        if (text := part_note(month)) is not None
    ]
    foreign = {m.terms.currency for m in period.months if m.terms.priced}
    notes += [
        f"no [[fx]] rate of {currency}: money that hangs on contracts in {currency} is not given"
        for currency in sorted(foreign)
        if period.convert(Fraction(1), currency) is None
    ]
    return Paid(
        pl.DataFrame(columns, schema=SCHEMA),
        pl.DataFrame(anywhere, schema=SCHEMA),
        pl.DataFrame(openings, schema={c.name: c.type for c in OPENINGS}),
        list(dict.fromkeys(notes)),
    )


COLUMNS = (
    "bill_saving_per_month", "saving_per_month", "saving_with_inbound_per_month",
    "saving_upper_per_month", "saving_at_renewal_per_month", "peering_cost_per_month",
    "billed_bps_avoided", "break_even_bps", "payback_months", "saving_note",
)  # fmt: skip
SCHEMA = {name: pl.String if name == "saving_note" else pl.Float64 for name in COLUMNS}


def _add(columns: dict[str, list[Any]], money: Money, more: tuple[str, ...]) -> None:
    values: dict[str, Any] = {
        "bill_saving_per_month": printed(money.bill_saving),
        "saving_per_month": printed(money.saving),
        "saving_with_inbound_per_month": printed(money.saving_with_inbound),
        "saving_upper_per_month": printed(money.saving_upper),
        "saving_at_renewal_per_month": printed(money.saving_at_renewal),
        "peering_cost_per_month": printed(money.peering_cost),
        "billed_bps_avoided": _rate(money.billed_bps_avoided),
        "break_even_bps": _rate(money.break_even_bps),
        "payback_months": printed(money.payback_months),
        "saving_note": "; ".join((*money.notes, *more)) or None,
    }
    for name in COLUMNS:
        columns[name].append(values[name])


def _rate(value: Fraction | None) -> float | None:
    return None if value is None else round(float(value), 3)


@dataclass(frozen=True, slots=True)
class _Used:
    """A place where an organisation is met, the first of the metros that use it, and p95 there."""

    place: MeetingPlace
    metro: str
    p95_bps: float


def _used(
    ranking: Ranking, series: Series, listing: Listing, number: int, row: Row, places: MeetingPlaces
) -> list[_Used]:
    """The places of an ask over all its metros, each once: metros may share one."""
    if row.asn is None or not row.rank:
        return []
    found: dict[tuple[str, int | None, int | None], tuple[MeetingPlace, str, Ints]] = {}
    for metro in row.metros:
        name = ranking.cells.metros[metro]
        place = places.meet(row.asn, name)
        octets = np.zeros(series.slots, np.int64)
        if series.wanted((listing.name, "seen", number)):
            octets = series.get((listing.name, "seen", number), "out", metro).total()
        key = (place.there or name, place.ix, place.our_facility)
        if key in found:
            octets = octets + found[key][2]
        found[key] = (*found.get(key, (place, name))[:2], octets)
    return [
        _Used(place, name, float(as_bps(p95_octets(octets[series.inside]))))
        for place, name, octets in found.values()
    ]


def cost_at(
    prices: Prices, metro: str, place: MeetingPlace | None, p95: float | None, room: float | None
) -> Amounts:
    """What a row itself costs where it would meet; what an exchange costs that is joined for
    several rows is in `openings`."""
    if place is None:
        return Amounts()
    rank, metro = (place.there_rank, place.there) if place.there else (place.rank, metro)
    if rank in EXCHANGE_RUNGS:
        short = 0.0 if room is None or p95 is None else max(0.0, p95 - room)
        return more_ports(prices.at(metro, ix=place.ix), short)
    if rank in PRIVATE_RUNGS:
        return private(prices.at(metro, facility=place.our_facility), p95 or 0.0)
    return Amounts()


def _moved(
    series: Series, listing: Listing, number: int, metros: Sequence[int],
    rooms: Sequence[float | None], links: Mapping[Key, Sequence[BilledLink]],
) -> Moved:  # fmt: skip
    found: dict[str, dict[Key, RouteTraffic]] = {what: {} for what, _ in SETS}
    weights: dict[str, int] = {}
    for metro, room in zip(metros, rooms, strict=True):
        for what, way in SETS:
            if not series.wanted((listing.name, what, number)):
                continue
            of_set = parts(series, (listing.name, what, number), way, metro)
            found[what] |= capped(of_set, room)
            if what == "seen":
                for name, count in by_contract(links, of_set, series.start).items():
                    weights[name] = weights.get(name, 0) + count
    return Moved(series.start, found["seen"], found["own"], found["inferred"], weights)


def parts(series: Series, key: Any, way: str, metro: int) -> dict[Key, RouteTraffic]:
    """The slots of a set by interface, as money counts them."""
    got = series.get(key, way, metro)
    return {
        (link.exporter, link.interface): RouteTraffic(got.octets[n], got.packets[n])
        for n, link in enumerate(got.links)
        if link.direction == way and got.octets[n].any()
    }


def _opening(
    period: BilledPeriod, series: Series, listing: Listing, metro: int, ix: int,
    rows: Sequence[tuple[int, Money]], places: MeetingPlaces,
) -> dict[str, Any]:  # fmt: skip
    """An exchange as a bundle: what its rows save in their places of the list, less its costs."""
    total = np.zeros(series.slots, np.int64)
    for number, _ in rows:
        if series.wanted((listing.name, "seen", number)):
            total += series.get((listing.name, "seen", number), "out", metro).total()
    p95_bps = float(as_bps(p95_octets(total[series.inside])))
    cost = opening(period.prices.at(listing.name, ix=ix), p95_bps)
    own = period.convert(cost.per_month, cost.currency) if cost.currency else cost.per_month

    def summed(name: str) -> Fraction | None:
        values = [getattr(money, name) for _, money in rows]
        return None if any(v is None for v in values) else sum(values, Fraction(0))

    bill, renewal = summed("bill_saving"), summed("saving_at_renewal")
    spent = summed("peering_cost") or Fraction(0)
    avoided = summed("billed_bps_avoided")
    price = None
    if renewal is not None and avoided:
        price = (renewal + spent) / avoided  # what a bit per second is worth at renewal
    return {
        "metro": listing.name,
        "ix_id": ix,
        "exchange": places.registry.exchange(ix),
        "asns": [listing.rows[number].asn for number, _ in rows],
        "peering_cost_per_month": printed(own),
        "bill_saving_per_month": printed(bill),
        "saving_per_month": printed(None if bill is None or own is None else bill - own),
        "saving_at_renewal_per_month": printed(
            None if renewal is None or own is None else renewal + spent - own
        ),
        "break_even_bps": _rate(own / price if own is not None and price else None),
    }
