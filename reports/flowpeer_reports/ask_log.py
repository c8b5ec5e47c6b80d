"""The log of asks: events that people write and read, and what follows from them (METHODS M16).

A CSV with one event a line, append-only, kept in version control beside the configuration:

    date,organisation,asn,metros,event,until,owner,note,predicted_bps,predicted_ci95_bps,predicted_saving

`metros` are names separated by `;`, empty for all. `planned` and `asked` open an ask; the other
events go to the open asks of that ASN whose metros they share, and for all of such an ask; `live`
alone is of those metros only that it names. The predictions of the day stand in the line that
opened it. People open the file in spreadsheets: a text that one would take for a formula is written
with a ' before it, which is no part of what is read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal, get_args

from flowpeer_core.quoted import FORMULA
from flowpeer_reports.errors import ReportError

Event = Literal["planned", "asked", "answered_yes", "declined", "no_answer", "live", "withdrawn"]
EVENTS: tuple[Event, ...] = get_args(Event)
OPENING = ("planned", "asked")
CLOSED = ("declined", "no_answer", "withdrawn")
HEADER = (
    "date", "organisation", "asn", "metros", "event", "until", "owner", "note",
    "predicted_bps", "predicted_ci95_bps", "predicted_saving",
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""One event is one line."""
PATIENCE = timedelta(days=60)
"""An ask that is open for longer counts as no (METHODS M10)."""


Day = date
"""A field below is named `date`, as the column is."""


@dataclass(frozen=True, slots=True)
class AskEvent:
    """One line of the log."""

    date: Day
    organisation: str
    asn: int
    metros: tuple[str, ...]
    event: Event
    until: Day | None = None
    owner: str = ""
    note: str = ""
    predicted_bps: float | None = None
    predicted_ci95_bps: float | None = None
    predicted_saving: Decimal | None = None

    def line(self) -> str:
        """As it stands in the file."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(
            [
                self.date.isoformat(), _guarded(self.organisation), self.asn,
                ";".join(self.metros), self.event, self.until.isoformat() if self.until else "",
                _guarded(self.owner), _guarded(self.note),
                *("" if v is None else format(v, "f") if isinstance(v, Decimal) else f"{v:.0f}"
                  for v in (self.predicted_bps, self.predicted_ci95_bps, self.predicted_saving)),
            ]
        )  # fmt: skip
        return out.getvalue()


def _guarded(text: str) -> str:
    """A text as it is written; `_plain` gives it back."""
    text = _CONTROL.sub(" ", text)
    return f"'{text}" if re.match(f"'*{FORMULA}", text) else text


def _plain(cell: str) -> str:
    return cell[1:].strip() if re.match(f"'+{FORMULA}", cell) else cell


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask, as its events have left it."""

    opened: AskEvent
    status: Event
    since: date
    """Day of the last event."""
    until: date | None
    owner: str
    note: str
    live: tuple[tuple[str, date], ...] = ()
    """Metros in which a session came up ("": all of the ask's), and when."""

    @property
    def live_since(self) -> date | None:
        """Day of the first session."""
        return min((day for _, day in self.live), default=None)

    def live_in(self, metros: Sequence[str]) -> dict[str, date]:
        """Metro → since when there is a session; `metros` are all there are."""
        found: dict[str, date] = {}
        for place, day in self.live:
            for metro in (place,) if place else self.metros or metros:
                found[metro] = min(day, found.get(metro, day))
        return found

    @property
    def asn(self) -> int:
        """Who is asked."""
        return self.opened.asn

    @property
    def metros(self) -> tuple[str, ...]:
        """Where; empty: everywhere."""
        return self.opened.metros

    @property
    def open(self) -> bool:
        """Could a further event go to it?"""
        return self.status not in CLOSED

    def concerns(self, metros: Sequence[str]) -> bool:
        """Does it share a metro with these? None named means all, on either side."""
        return not metros or not self.metros or bool(set(metros) & set(self.metros))

    def answer(self, today: date) -> bool | None:
        """True: it led to a session; False: to none (METHODS M10); None: not known yet."""
        if self.live_since is not None:
            return True
        if self.status in ("declined", "no_answer"):
            return False
        if self.status in ("asked", "answered_yes") and today - self.opened.date > PATIENCE:
            return False
        return None


def parse(text: str, *, metros: Iterable[str] | None = None) -> list[AskEvent]:
    """The events of a log, in its order.

    Args:
        metros: names that `metros` may hold; None: any.

    Raises:
        ReportError: the first line that is wrong: which, what in it, and what is accepted.
    """
    known = None if metros is None else set(metros)
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    found: list[AskEvent] = []
    try:
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not found and tuple(c.strip() for c in cells) == HEADER:
                continue
            if line == 1:
                raise ReportError("line 1: not the header of a log of asks",
                                  advice=f"it is {','.join(HEADER)}")  # fmt: skip
            found.append(_event(cells, line, known))
    except csv.Error as error:
        raise ReportError(
            f"line {reader.line_num}: {error}", advice="quote cells that hold commas or quotes"
        ) from None
    return found


def _event(cells: Sequence[str], line: int, known: set[str] | None) -> AskEvent:
    if len(cells) != len(HEADER):
        raise ReportError(f"line {line}: {len(cells)} cells, not {len(HEADER)}",
                          advice=f"the header is {','.join(HEADER)}")  # fmt: skip
    row = {name: cell.strip() for name, cell in zip(HEADER, cells, strict=True)}

    def wrong(key: str, accepted: str) -> ReportError:
        return ReportError(f"line {line}: {key} = {row[key]!r}", advice=f"{accepted} is accepted")

    def day(key: str) -> date:
        try:
            return date.fromisoformat(row[key])
        except ValueError:
            raise wrong(key, "a date like 2026-05-04") from None

    def rate(key: str) -> float | None:
        if not row[key]:
            return None
        try:
            value = float(row[key])
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e16:
            raise wrong(key, "a rate in bit/s, or nothing,")
        return value

    number = row["asn"].upper().removeprefix("AS")
    if not (number.isascii() and number.isdecimal() and 1 <= int(number) < 2**32):
        raise wrong("asn", "an AS number from 1 to 4294967295")
    event = next((e for e in EVENTS if e == row["event"]), None)
    if event is None:
        raise wrong("event", f"one of {', '.join(EVENTS)}")
    places = tuple(m for m in (part.strip() for part in row["metros"].split(";")) if m)
    if known is not None and not set(places) <= known:
        raise wrong("metros", f"any of {';'.join(sorted(known))}, or nothing for all,")
    saving = None
    if row["predicted_saving"]:
        try:
            saving = Decimal(row["predicted_saving"])
        except InvalidOperation:
            raise wrong("predicted_saving", "an amount per month, or nothing,") from None
        if not saving.is_finite():
            raise wrong("predicted_saving", "an amount per month, or nothing,")
    return AskEvent(
        day("date"), _plain(row["organisation"]), int(number), places, event,
        day("until") if row["until"] else None, _plain(row["owner"]), _plain(row["note"]),
        rate("predicted_bps"), rate("predicted_ci95_bps"), saving,
    )  # fmt: skip


def asks(events: Iterable[AskEvent], *, as_of: date | None = None) -> list[Ask]:
    """Every ask with its present state, in the order in which they were opened.

    Events are taken by date, those of one day in the order of the file; `as_of` leaves out later
    ones. An event that goes to no open ask opens one, so that a session that came without asking
    can be noted.
    """
    found: list[Ask] = []
    for event in sorted(events, key=lambda e: e.date):
        if as_of is not None and event.date > as_of:
            break
        fits = [
            n
            for n, ask in enumerate(found)
            if ask.asn == event.asn and ask.open and ask.concerns(event.metros)
        ]
        if event.event in OPENING:
            # `asked` goes on with what was planned for the same metros.
            fits = [n for n in fits if found[n].status == "planned" and event.event == "asked"
                    and set(found[n].metros) == set(event.metros)]  # fmt: skip
        if not fits:
            found.append(
                Ask(
                    event, event.event, event.date, event.until, event.owner, event.note,
                    (("", event.date),) if event.event == "live" else (),
                )
            )  # fmt: skip
            continue
        for n in fits:
            found[n] = _after(found[n], event)
    return found


def _after(ask: Ask, event: AskEvent) -> Ask:
    opened = ask.opened
    if event.event == "asked":
        opened = replace(
            event,
            organisation=event.organisation or opened.organisation,
            predicted_bps=_either(event.predicted_bps, opened.predicted_bps),
            predicted_ci95_bps=_either(event.predicted_ci95_bps, opened.predicted_ci95_bps),
            predicted_saving=event.predicted_saving
            if event.predicted_saving is not None
            else opened.predicted_saving,
        )
    live = ask.live
    if event.event == "live":
        there = [m for m in event.metros if not ask.metros or m in ask.metros]
        live += tuple((metro, event.date) for metro in there or ("",))
    return Ask(
        opened, event.event, event.date, event.until, event.owner or ask.owner,
        event.note or ask.note, live,
    )  # fmt: skip


def _either(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def outcomes(
    log: Iterable[Ask], policy_of: Mapping[int, str], today: date
) -> dict[str, tuple[int, int]]:
    """Policy class → (accepted, answered) asks, the counts that base rates learn from (M10)."""
    counts: dict[str, tuple[int, int]] = {}
    for ask in log:
        answer = ask.answer(today)
        policy = policy_of.get(ask.asn)
        if answer is None or policy is None:
            continue
        accepted, answered = counts.get(policy, (0, 0))
        counts[policy] = (accepted + answer, answered + 1)
    return counts


def exclusions(log: Iterable[Ask], today: date) -> list[tuple[int, str, date]]:
    """(asn, reason, until) of those who declined until a day that has not come yet."""
    return [
        (ask.asn, f"declined {ask.since}", ask.until)
        for ask in log
        if ask.status == "declined" and ask.until is not None and ask.until >= today
    ]


def sessions(log: Iterable[Ask], metros: Sequence[str], last: date) -> list[tuple[int, str, date]]:
    """(asn, metro, live since) of every session that an ask brought, but those that ended on the
    day `last` or before: an ask that is declined or withdrawn after it was live ends its session.
    """
    return [
        (ask.asn, metro, since)
        for ask in log
        if ask.open or ask.since > last
        for metro, since in ask.live_in(metros).items()
    ]


def statuses(log: Iterable[Ask]) -> dict[int, list[Ask]]:
    """ASN → its asks, the latest last."""
    found: dict[int, list[Ask]] = {}
    for ask in log:
        found.setdefault(ask.asn, []).append(ask)
    return found


def standing(asks: Iterable[Ask], metros: Sequence[str]) -> str | None:
    """Where the last of a party's asks in some metros stands: `asked 2026-09-15, ana`."""
    mine = [ask for ask in asks if ask.status != "withdrawn" and ask.concerns(metros)]
    if not mine:
        return None
    last = max(mine, key=lambda ask: ask.since)
    owner = f", {last.owner}" if last.owner else ""
    return f"{last.status.replace('_', ' ')} {last.since}{owner}"
