"""The bills of a period: each contract and calendar month (METHODS M5 and M8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import polars as pl

from flowpeer import catalog
from flowpeer.analysis.answers import Answer
from flowpeer.analysis.coverage import exporter_coverage
from flowpeer.analysis.periods import data_span, period_of
from flowpeer.errors import NoDataError, UsageError
from flowpeer.lake.record import Record
from flowpeer.network import Configuration, Contract, PeeringCosts
from flowpeer.period import parse_period
from flowpeer.rollup.counters import per_slot, read_counters
from flowpeer_reports.billing.bills import MonthSeries, bills, month_series
from flowpeer_reports.billing.costs import Costs, Prices
from flowpeer_reports.billing.months import Month, month_named, months_of
from flowpeer_reports.billing.octets import BilledLink, Octets, octets_of
from flowpeer_reports.billing.rows import BilledPeriod
from flowpeer_reports.billing.terms import Converter, Terms, Tier, converter
from flowpeer_reports.columns.bills import BILLS
from flowpeer_reports.render import table_page

WEEKS_BEFORE = timedelta(weeks=4)
"""A running month's heading is taken from the weeks before the slots to come."""
SCREEN_COLUMNS = (
    "contract", "month", "status", "quality", "p95_in_bps", "p95_out_bps", "billed_bps",
    "commit_bps", "total", "currency", "burst_slots_allowed", "burst_slots_used_in",
    "burst_slots_used_out", "heading_for_bps", "heading_for_total", "notice_by",
)  # fmt: skip
_OF_RUNNING = tuple(c for c in SCREEN_COLUMNS if c.startswith(("burst", "heading")))
_NOT_WITH_INVOICES = ("quality", "notice_by", *_OF_RUNNING)


def _exact(amount: Decimal | None) -> Fraction | None:
    return None if amount is None else Fraction(amount)


def terms_of(network: Configuration, contract: Contract) -> Terms:
    """A configured contract, what it leaves out taken from `[network]`."""
    return Terms(
        contract=contract.id,
        provider=contract.provider or "",
        commit_bps=contract.commit or 0,
        price_per_mbps=_exact(contract.price_per_mbps),
        overage_per_mbps=_exact(contract.overage_per_mbps),
        tiers=tuple(Tier(t.from_, Fraction(t.price_per_mbps)) for t in contract.tiers),
        tier_mode=contract.tier_mode,
        billing=contract.billing,
        aggregate=contract.aggregate,
        billed_unit_bps=contract.billed_unit or 0,
        fixed_per_month=_exact(contract.fixed_per_month) or Fraction(0),
        currency=contract.currency or network.network.currency,
        timezone=contract.timezone or network.network.timezone,
        starts=contract.starts,
        ends=contract.ends,
        renewal_price_per_mbps=_exact(contract.renewal_price_per_mbps),
        notice_days=contract.notice_days,
        auto_renew=contract.auto_renew,
        outage_hours=contract.outage_hours,
    )


def exchange_rates(network: Configuration) -> Converter:
    """Amounts in the currency of `[network]`, by `[[fx]]`."""
    rates = {(r.from_, r.to): Fraction(r.rate) for r in network.fx}
    return converter(network.network.currency, rates)


def billed_links(network: Configuration) -> list[BilledLink]:
    """Every section of an interface that names a contract."""
    metro_of = {e.id: e.metro for e in network.exporters}
    return [
        BilledLink(
            i.exporter, i.index, i.contract, metro_of[i.exporter], i.l2_overhead, i.from_, i.until
        )
        for i in network.interfaces
        if i.contract is not None
    ]


@dataclass(frozen=True)
class Billing:
    """The contracts' months that belong to a period, and the octets they are counted from."""

    octets: Octets
    months: tuple[MonthSeries, ...]
    until: datetime
    """The end of what was rolled up."""


def billing(
    network: Configuration,
    record: Record,
    start: datetime,
    end: datetime,
    *,
    contracts: Sequence[str] | None = None,
    before: timedelta = timedelta(0),
) -> Billing:
    """The months of [start, end), by their names, each read whole in its contract's time zone.

    Args:
        before: how much earlier the octets begin.
    """
    terms = [
        terms_of(network, c) for c in network.contracts if contracts is None or c.id in contracts
    ]
    wanted = [(t, month) for t in terms for month in _in_force(t, start, end)]
    first, last = data_span(network, record)
    opens = min((month.start for _, month in wanted), default=start)
    closes = max((month.end for _, month in wanted), default=end)
    begin, finish = max(first, opens - before), min(last, closes)
    if finish <= begin:
        raise NoDataError(
            f"no data from {opens:%Y-%m-%d} to {closes:%Y-%m-%d}",
            advice="ask for a period inside the roll-ups",
        )
    names = {t.contract for t in terms}
    links = [link for link in billed_links(network) if link.contract in names]
    known, read = exporter_coverage(network, record, begin, finish), _counters(network)
    octets = record.read(
        "traffic",
        lambda: octets_of(links, catalog.scan_slots(record, begin, finish), known, read),
    )
    months = tuple(
        month_series(t, month, octets)
        for t, month in wanted
        if month.start < finish and month.end > begin
    )
    return Billing(octets, months, last)


def _costs(section: PeeringCosts, currency: str) -> Costs:
    def exact(prices: Mapping[int, Decimal] | None) -> dict[int, Fraction]:
        return {speed: Fraction(price) for speed, price in (prices or {}).items()}

    return Costs(
        port_per_month=exact(section.port_per_month),
        membership_per_month=_exact(section.membership_per_month),
        cross_connect_per_month=_exact(section.cross_connect_per_month),
        router_port_per_month=exact(section.router_port_per_month),
        setup=_exact(section.setup),
        amortise_months=section.amortise_months,
        currency=section.currency or currency or None,
    )


def peering_prices(network: Configuration) -> Prices:
    """What peering costs, as `[peering_costs]` and the places state it."""
    return Prices(
        general=_costs(network.peering_costs, network.network.currency),
        metros={m.id: _costs(m, "") for m in network.metros},
        exchanges={(m.id, e.id): _costs(e, "") for m in network.metros for e in m.exchanges},
        facilities={(m.id, f.id): _costs(f, "") for m in network.metros for f in m.facilities},
    )


def billed_period(
    network: Configuration, record: Record, start: datetime, end: datetime
) -> BilledPeriod | None:
    """What the money of a period's candidates is counted on; None without a contract."""
    if not network.contracts:
        return None
    made = billing(network, record, start, end)
    opens, closes = min(made.octets.start, start), max(made.octets.end, end)
    root = record.lake.root
    return BilledPeriod(
        made.octets, made.months, exchange_rates(network), peering_prices(network),
        catalog.scan(root, "traffic", start=opens, end=closes),
        catalog.scan(root, "traffic_routes", start=opens, end=closes),
    )  # fmt: skip


def _in_force(terms: Terms, start: datetime, end: datetime) -> list[Month]:
    """The months of a period in which a contract holds; one that renews itself goes on."""
    return [
        month
        for month in months_of(start, end, terms.timezone)
        if (terms.starts is None or terms.starts <= month.last_day)
        and (terms.ends is None or terms.auto_renew
             or (terms.ends.year, terms.ends.month) >= (month.year, month.number))
    ]  # fmt: skip


def unbilled(
    network: Configuration, start: datetime, end: datetime, only: Sequence[str] | None = None
) -> list[str]:
    """Contracts of links in a period in which they do not hold, in words."""
    found = []
    for contract in network.contracts:
        terms = terms_of(network, contract)
        links = {
            (i.exporter, i.index) for i in network.interfaces
            if i.contract == contract.id and (i.from_ is None or i.from_ < end)
            and (i.until is None or i.until > start)
        }  # fmt: skip
        asked = only is None or contract.id in only
        if asked and links and not _in_force(terms, start, end):
            ended = terms.ends is not None and terms.ends < start.date()
            when = f"ended {terms.ends}" if ended else f"starts {terms.starts}"
            found.append(
                f"contract {contract.id} {when}: what its {len(links)} links carry in this period "
                "is on no bill"
            )
    return found


def _counters(network: Configuration) -> pl.DataFrame | None:
    path = network.source_path("counters")
    return None if path is None else per_slot(read_counters(path, network))


def bills_answer(
    network: Configuration,
    record: Record,
    period: str | None = None,
    *,
    contracts: Sequence[str] | None = None,
    invoices: Sequence[str] = (),
    forced: bool = False,
) -> Answer:
    """The bill of each contract and month.

    Args:
        invoices: `AMOUNT`, `CONTRACT=AMOUNT` or `CONTRACT:MONTH=AMOUNT`; what is left out must be
            the only one in the answer.
        forced: give figures also where too much data is missing.

    Raises:
        UsageError: no contracts, an unknown one, or an invoice that fits none or several rows.
        NoDataError: nothing rolled up in the period.
    """
    known = [c.id for c in network.contracts]
    if not known:
        raise UsageError(
            "the configuration names no contract",
            advice="add [[contracts]] and name them as `contract` of [[interfaces]]",
        )
    for name in contracts or ():
        if name not in known:
            raise UsageError(f"no contract {name!r}", advice=f"known: {', '.join(known)}")
    start, end = _period(network, record, period)
    made = billing(network, record, start, end, contracts=contracts, before=WEEKS_BEFORE)
    rows = [(m.terms.contract, m.month.name) for m in made.months]
    found = bills(
        made.months,
        made.octets,
        now=made.until,
        invoices=dict(_invoice(text, rows) for text in invoices),
        forced=forced,
    )
    found.notes.extend(unbilled(network, start, end, contracts))
    running = any(made.until < m.month.end for m in made.months)
    filled = [c for c in _OF_RUNNING if running and found.rows[c].count()]
    screen = tuple(c for c in SCREEN_COLUMNS if c in filled or c not in _OF_RUNNING)
    if invoices:
        screen = (*(c for c in screen if c not in _NOT_WITH_INVOICES), "invoice",
                  "invoice_difference")  # fmt: skip
    names = sorted({name for _, name in rows})
    title = f"{network.network.name} (AS{network.network.asn}): transit bills, " + (
        names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" if names else "none"
    )
    return Answer(
        "bills", title, found.rows, BILLS, found,
        lambda: table_page(found.rows, BILLS, title=title, notes=found.notes),
        notes=found.notes, screen_columns=screen,
        provenance={
            "network": {"asn": network.network.asn, "name": network.network.name},
            "period": {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
        },
    )  # fmt: skip


def _period(network: Configuration, record: Record, asked: str | None) -> tuple[datetime, datetime]:
    """The months asked for; without a word the default period, the running month included."""
    if asked is not None:
        start, end = parse_period(asked)
        first, last = data_span(network, record)
        if start >= last or end <= first:
            raise NoDataError(
                f"no data in {asked}: the roll-ups go from {first:%Y-%m-%d %H:%M} to "
                f"{last:%Y-%m-%d %H:%M} UTC",
                advice="ask for a period inside that",
            )
        return start, end
    return period_of(network, record, None)


def _invoice(text: str, rows: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], Fraction]:
    match = re.fullmatch(r"(?:(?P<contract>[^=:]+)(?::(?P<month>\d{4}-\d{2}))?=)?(?P<amount>.+)",
                         text)  # fmt: skip
    try:
        amount = Fraction(Decimal(match["amount"])) if match else Fraction(0)
    except (InvalidOperation, ValueError, OverflowError):
        match = None
    if match is None or amount < 0:
        raise UsageError(
            f"--invoice {text}: {'no amount' if match is None else 'below 0'}",
            advice="write it like 1234.50, CONTRACT=1234.50 or CONTRACT:2026-07=1234.50",
        )
    if match["month"]:
        try:
            month_named(match["month"], UTC.tzname(None))
        except ValueError:
            raise UsageError(f"--invoice {text}: {match['month']} is no month",
                             advice="write it like 2026-07") from None  # fmt: skip
    fits = [
        row
        for row in rows
        if match["contract"] in (None, row[0]) and match["month"] in (None, row[1])
    ]
    if len(fits) != 1:
        raise UsageError(
            f"--invoice {text}: "
            + (f"{len(fits)} bills it may be of" if fits else "of no bill here"),
            advice="write CONTRACT:MONTH=AMOUNT; the bills here are "
            + ", ".join(f"{c}:{m}" for c, m in rows),
        )
    return fits[0], amount
