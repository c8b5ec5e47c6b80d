"""The bill of each contract and calendar month (METHODS M5 and M8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from flowpeer_core import p95
from flowpeer_core.slots import SLOT
from flowpeer_reports.billing.months import Month
from flowpeer_reports.billing.octets import Octets, by_source
from flowpeer_reports.billing.rate import (
    Ints,
    as_bps,
    billed_of_links,
    p95_octets,
)
from flowpeer_reports.billing.terms import Terms, printed
from flowpeer_reports.columns.bills import BILLS
from flowpeer_reports.coverage import ObjectCoverage

WEEK = 7 * 288
WEEKS_BACK = 4
"""How many weeks the range of a running month's heading is taken from."""


@dataclass(frozen=True)
class MonthSeries:
    """The slots of a contract's month that count, by link."""

    terms: Terms
    month: Month
    octets: Octets
    judged: ObjectCoverage
    links: tuple[tuple[Ints, Ints], ...]
    """(in, out) of each link, in the slots that count, gaps filled."""

    @property
    def missing(self) -> int:
        """Slots of the month that lie in the data's span and do not count."""
        return self.judged.missing

    @property
    def complete(self) -> bool:
        """The data reach over the whole month."""
        return self.octets.slots == self.month.slots

    @property
    def ends(self) -> date | None:
        """The contract's last day, where it is still to come when the data end; one that renewed
        itself goes on to a day that is not known."""
        ends = self.terms.ends
        return None if ends is None or ends < self.octets.end.date() else ends

    @property
    def part(self) -> str | None:
        """The part of the month that the contract has, where that is not all of it: by its own
        days, and by those of the interfaces that name it."""
        zone = ZoneInfo(self.month.timezone)
        start, end = self.month.start, self.month.end
        here = [
            (link.since or start, link.until or end) for link in self.octets.links
            if (link.since or start) < end and (link.until or end) > start
        ]  # fmt: skip
        if self.octets.links and not here:
            return "on no link of the month"
        first, last = self.month.start.astimezone(zone).date(), self.month.last_day
        opens = max(self.terms.starts or first, first)
        closes = last if self.terms.auto_renew else min(self.terms.ends or last, last)
        if here:
            moment = timedelta(microseconds=1)
            opens = max(opens, min(since for since, _ in here).astimezone(zone).date())
            closes = min(closes, (max(to for _, to in here) - moment).astimezone(zone).date())
        return None if (opens, closes) == (first, last) else f"{opens} to {closes} only"

    @property
    def both(self) -> tuple[Ints, Ints]:
        """In and out, all links together."""
        none = np.zeros(self.judged.counted, np.int64)
        if not self.links:
            return none, none
        bytes_in, bytes_out = (np.add.reduce(one, axis=0) for one in zip(*self.links, strict=True))
        return bytes_in, bytes_out

    def billed_bps(self, less: Sequence[Ints] | None = None) -> Fraction:
        """The billed rate; `less`: outbound octets of each link and counting slot taken away."""
        links = self.links
        if less is not None:
            links = tuple(
                (bytes_in, bytes_out - gone)
                for (bytes_in, bytes_out), gone in zip(links, less, strict=True)
            )
        return as_bps(billed_of_links(links, self.terms.billing, self.terms.aggregate))


def month_series(terms: Terms, month: Month, octets: Octets) -> MonthSeries:
    """A contract's month cut out of octets that may reach further, judged by METHODS M5.

    The judgement is of both directions together, so that both have the same slots.
    """
    mine = octets.of(terms.contract, month.start, month.end)
    judged = mine.coverage.judge(by_source(mine))
    links = tuple(
        (
            judged.apply({mine.source_of(n): mine.values[n, 0]}),
            judged.apply({mine.source_of(n): mine.values[n, 1]}),
        )
        for n in range(len(mine.links))
    )
    return MonthSeries(terms, month, mine, judged, links)


@dataclass(frozen=True, slots=True)
class Bills:
    """The answer: a row a contract and month, in the columns of BILLS."""

    rows: pl.DataFrame
    notes: list[str] = field(default_factory=list)


def bills(
    series: Iterable[MonthSeries],
    octets: Octets,
    *,
    now: datetime,
    invoices: Mapping[tuple[str, str], Fraction] | None = None,
    forced: bool = False,
) -> Bills:
    """A row for each month of each contract.

    Args:
        octets: of the whole span, four weeks before the first running month if there are.
        now: until when the data reach; a month that goes on after it is projected.
        invoices: (contract, month) → the amount that the provider wants.
        forced: give figures also where more than 5 % of the slots are missing.
    """
    invoices = dict(invoices or {})
    rows: list[dict[str, Any]] = []
    notes: dict[str, list[str]] = {}
    for one in series:
        row = _row(one, octets, now, invoices.pop((one.terms.contract, one.month.name), None),
                   forced)  # fmt: skip
        rows.append(row)
        for text in _notes(one, row, now, forced):
            notes.setdefault(text, []).append(f"{one.terms.contract} {one.month.name}")
    for contract, month in invoices:
        notes.setdefault("an invoice, and no such bill in this period", []).append(
            f"{contract} {month}"
        )
    return Bills(
        pl.DataFrame(rows, schema={c.name: c.type for c in BILLS}),
        [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in notes.items()],
    )


def part_note(one: MonthSeries) -> str | None:
    """What is billed where a contract has a part of its month only."""
    if one.part is None or not one.octets.links:
        return None
    whole = [
        name
        for name, amount in (
            ("commit", one.terms.commit_bps), ("fixed charges", one.terms.fixed_per_month)
        )
        if amount
    ]  # fmt: skip
    billed = f"{' and '.join(whole)} billed for the whole month, not by the day; " if whole else ""
    return f"in force {one.part}: {billed}slots without a link of the contract count as zero"


def _row(
    one: MonthSeries, octets: Octets, now: datetime, invoice: Fraction | None, forced: bool
) -> dict[str, Any]:
    terms, month = one.terms, one.month
    bytes_in, bytes_out = one.both
    quality = _quality(one)
    known = bool(one.judged.counted) and (quality != "refused" or forced)
    rate = one.billed_bps() if known else None
    total = terms.total(rate) if rate is not None else None
    used_in, used_out = _burst(terms, bytes_in, bytes_out) if known else (None, None)
    heading = _heading(one, octets, now) if known and now < month.end else []
    row: dict[str, Any] = {
        "contract": terms.contract,
        "provider": terms.provider or None,
        "month": month.name,
        "timezone": month.timezone,
        "status": "complete" if one.complete else "projected",
        "source": one.octets.source,
        "billing": terms.billing,
        "aggregate": terms.aggregate,
        "slots": month.slots,
        "missing_slots": one.missing,
        "filled_slots": one.judged.filled,
        "quality": quality,
        "p95_in_bps": float(as_bps(p95_octets(bytes_in))) if known else None,
        "p95_out_bps": float(as_bps(p95_octets(bytes_out))) if known else None,
        "billed_bps": None if rate is None else float(terms.billed(rate)),
        "commit_bps": float(terms.commit_bps),
        "overage_bps": None if rate is None else float(terms.overage_bps(rate)),
        "usage_amount": printed(terms.usage(rate)) if rate is not None else None,
        "fixed_amount": printed(terms.fixed_per_month),
        "total": printed(total),
        "currency": terms.currency,
        "burst_slots_allowed": month.slots - p95.rank(month.slots),
        "burst_slots_used_in": used_in,
        "burst_slots_used_out": used_out,
        "heading_for_bps": float(heading[0]) if heading else None,
        "heading_for_total": printed(terms.total(heading[0])) if heading else None,
        "heading_for_low_bps": float(min(heading)) if heading else None,
        "heading_for_high_bps": float(max(heading)) if heading else None,
        "ends": terms.ends,
        "notice_by": notice_by(one),
        "invoice": printed(invoice),
        "invoice_difference": (
            printed(invoice - total) if invoice is not None and total is not None else None
        ),
    }
    return row


def _quality(one: MonthSeries) -> str:
    """Of a month that data cover to its end that of its slots; else of the slots there are."""
    if not one.complete and one.judged.quality == "exact":
        return "estimate"
    return one.judged.quality


def notice_by(one: MonthSeries) -> date | None:
    """The last day to give notice, None where no end is to come or no notice is stated."""
    if one.ends is None or one.terms.notice_days is None:
        return None
    return one.ends - timedelta(days=one.terms.notice_days)


def _burst(terms: Terms, bytes_in: Ints, bytes_out: Ints) -> tuple[int | None, int | None]:
    """Slots above the commit by billed direction; both directions billed as one count in both."""

    def above(values: Ints) -> int:
        # 8 · octets / 300 s > commit
        return int((2 * values > 75 * terms.commit_bps).sum())

    match terms.billing:
        case "in":
            return above(bytes_in), None
        case "out":
            return None, above(bytes_out)
        case "sum":
            return above(bytes_in + bytes_out), above(bytes_in + bytes_out)
        case "p95_of_max":
            return above(np.maximum(bytes_in, bytes_out)), above(np.maximum(bytes_in, bytes_out))
        case _:
            return above(bytes_in), above(bytes_out)


def _heading(one: MonthSeries, octets: Octets, now: datetime) -> list[Fraction]:
    """The billed rate of a running month, each slot to come taken from one, two, three and four
    weeks before the first of them. Empty where the data do not go back a week."""
    month, terms = one.month, one.terms
    missing = month.slots - one.octets.slots
    found: list[Fraction] = []
    for weeks in range(1, WEEKS_BACK + 1):
        # The same slot a week earlier; where that is to come itself, a further week.
        places = np.arange(missing, dtype=np.int64)
        back = (places // WEEK + weeks) * WEEK
        begin = one.octets.start + SLOT * one.octets.slots
        source = octets.of(terms.contract, octets.start, begin)
        numbers = (begin - source.start) // SLOT + places - back
        if missing == 0 or numbers.min() < 0:
            break
        judged = source.coverage.judge(by_source(source))
        where = np.searchsorted(judged.places, numbers)
        if (where >= judged.counted).any() or (judged.places[where] != numbers).any():
            break
        links = []
        for n, (bytes_in, bytes_out) in enumerate(one.links):
            more = [judged.apply({source.source_of(n): source.values[n, d]})[where] for d in (0, 1)]
            links.append(
                (np.concatenate([bytes_in, more[0]]), np.concatenate([bytes_out, more[1]]))
            )
        found.append(as_bps(billed_of_links(links, terms.billing, terms.aggregate)))
    return found


def _notes(one: MonthSeries, row: Mapping[str, Any], now: datetime, forced: bool) -> list[str]:
    notes = []
    if not one.terms.priced:
        notes.append("states no price, so there is no amount")
    if not one.octets.links:
        notes.append("no interface names this contract")
    if (text := part_note(one)) is not None:
        notes.append(text)
    if one.terms.auto_renew and one.terms.ends is not None and one.ends is None:
        notes.append(
            f"renewed itself after {one.terms.ends}: state its new `ends`, for the day of notice"
        )
    if row["quality"] == "refused":
        notes.append(
            f"{one.missing:,} of {one.octets.slots:,} slots are missing or filled from too little"
            + ("; given because it was forced" if forced else ": no bill (--force gives one)")
        )
    if row["status"] == "projected":
        notes.append(f"projected from {one.octets.slots:,} of {one.month.slots:,} slots")
    if row["billed_bps"] is not None and row["heading_for_bps"] is None and now < one.month.end:
        notes.append("where the month is heading is not given: it takes the week before, whole")
    if row["source"] != "counters" and one.octets.links:
        overheads = sorted({link.l2_overhead for link in one.octets.links})
        notes.append(
            f"from sampled flows, with {' or '.join(map(str, overheads))} octets of framing a "
            "packet; load interface counters for the octets that the provider counts"
        )
    return notes
