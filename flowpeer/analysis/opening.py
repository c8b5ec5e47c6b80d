"""May the log of asks take an event, and what the list of the day predicts (METHODS M16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal

import polars as pl

from flowpeer.analysis.asks import log_path, read_log
from flowpeer.analysis.inputs import gather, known
from flowpeer.analysis.policy import policy_of
from flowpeer.analysis.scratch import FileStore
from flowpeer.errors import NoDataError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer_reports.ask_log import Ask, AskEvent, Event, asks
from flowpeer_reports.candidates import Valuation, candidates
from flowpeer_reports.exclusions import never_candidates
from flowpeer_reports.parties import parties
from flowpeer_reports.relations import AsGraph

CENT = Decimal("0.01")
ADVICE = (
    "where that is wrong, see [[interfaces]], [[exclusions]] and [policy] of the configuration, "
    "the registries, and refusals in the log of asks"
)


def openable(network: Configuration, lake: Lake, event: AskEvent) -> None:
    """May an ask be opened?

    Of one network, or of its siblings as one party, one ask is open at a time in a metro. A second
    is for other metros, or follows one that was closed: declined, no_answer or withdrawn.

    Raises:
        UsageError: an ask is open there already, or the network is never asked; the reason.
        InputError: the log of asks cannot be read.
    """
    log = asks(read_log(network), as_of=event.date)
    of = known(network, lake, log, event.date)
    policy = policy_of(network)
    siblings = parties(
        of.relationships, of.peeringdb, {}, policy.sibling_groups, apart=policy.siblings == "apart"
    )
    never = never_candidates(of, AsGraph(of.relationships), siblings, event.date)
    if (reason := never.get(event.asn)) is not None:
        raise UsageError(f"AS{event.asn} is never asked: {reason}", advice=ADVICE)
    party = siblings.members(siblings.of(event.asn))
    for ask in (*log, *asks(read_log(network))):
        if ask.asn in party and ask.open and ask.concerns(event.metros):
            if event.event == "asked" and _goes_on(ask, event):
                continue
            raise _open_already(network, ask, event)


def _goes_on(ask: Ask, event: AskEvent) -> bool:
    """`asked` goes on with what was planned for the same metros."""
    planned = ask.status == "planned" and ask.asn == event.asn
    return planned and set(ask.metros) == set(event.metros)


def _open_already(network: Configuration, ask: Ask, event: AskEvent) -> UsageError:
    who = f"AS{event.asn}" + (f": its sibling AS{ask.asn}" if ask.asn != event.asn else "")
    return UsageError(
        f"{log_path(network).name}: {who} has an ask in {_where(ask.metros)} that is open: "
        f"{ask.status} on {ask.since}",
        advice=f"say what came of it with `flowpeer asks update {ask.asn} …`, or name other metros",
    )


def _where(metros: Sequence[str]) -> str:
    return ", ".join(metros) or "all metros"


def continued(
    network: Configuration, asn: int, metros: Sequence[str], event: Event, day: date
) -> tuple[Ask, tuple[str, ...]]:
    """The ask that an event goes to, and the metros to write with it.

    An event goes for all of an ask, so the metros named have to hold those of each ask that it
    goes to; `live` alone may be of some of its metros.

    Raises:
        UsageError: there is none, it is not clear which, or the day is before its last event.
        InputError: the log of asks cannot be read.
    """
    name = log_path(network).name
    there = [
        ask
        for ask in asks(read_log(network))
        if ask.asn == asn and ask.open and ask.concerns(metros)
    ]
    if not there:
        raise UsageError(
            f"{name}: no open ask of AS{asn}" + (f" in {', '.join(metros)}" if metros else ""),
            advice=f"open one with `flowpeer asks add {asn}`, or see `flowpeer asks list`",
        )
    if (wrong := _unclear(network, there, metros, event)) is not None:
        raise wrong
    if (latest := max(ask.since for ask in there)) > day:
        raise UsageError(
            f"{name}: the last event of the ask of AS{asn} is of {latest}, after {day}",
            advice="give its day or a later one with --date, or edit the file",
        )
    return there[-1], tuple(metros) or there[-1].metros


def _unclear(
    network: Configuration, there: Sequence[Ask], metros: Sequence[str], event: Event
) -> UsageError | None:
    """Why an event does not say which of these asks it goes to, or goes to none of them."""
    last, everywhere = there[-1], [m.id for m in network.metros]
    who = f"AS{last.asn}"
    part = any(set(ask.metros or everywhere) - set(metros) for ask in there)
    if len(there) > 1 and (part or event == "asked"):
        which = "; ".join(f"{_where(a.metros)} ({a.status} {a.since})" for a in there)
        return UsageError(
            f"{log_path(network).name}: {who} has {len(there)} open asks: {which}",
            advice="name the metros of the one that is meant with --metro, or those of all",
        )
    is_of = f"{log_path(network).name}: the ask of {who} is for {_where(last.metros)}, "
    if event == "asked" and last.status != "planned":
        return UsageError(
            f"{is_of}and {last.status} already",
            advice="`asked` follows `planned`; see `flowpeer asks list`",
        )
    other = event == "asked" and set(metros) != set(last.metros or everywhere)
    if metros and event != "live" and (part or other):
        return UsageError(
            f"{is_of}and {event} goes for all of it",
            advice="leave --metro out; or note `withdrawn`, and open an ask for each answer",
        )
    return None


def with_prediction(network: Configuration, lake: Lake, event: AskEvent) -> tuple[AskEvent, str]:
    """The event with what the list of the default period, as it was on that day, predicts: of one
    metro its row, else that of the organisation over the metros asked.

    Returns it, and why there is no prediction where there is none.
    """
    record = lake.record()
    if event.date < datetime.now(UTC).date():
        record.until = datetime.combine(event.date, time(), UTC)
    try:
        gathered = gather(network, record, None)
    except NoDataError as error:
        return event, str(error) if record.until is None else f"no data of before {event.date}"
    found = candidates(
        gathered.inputs, metros=event.metros or None, stores=FileStore,
        money=Valuation(gathered.billed, signing=False),
    )  # fmt: skip
    asked = found.universe.parties.of(event.asn)
    rows = found.rows if len(event.metros) == 1 else found.organisations
    row = rows.filter(pl.col("asn") == asked, pl.col("rank") > 0)
    if not row.height:
        return event, (
            f"AS{event.asn} is no row of the list in {_where(event.metros)}; "
            f"`flowpeer explain {event.asn}` says why"
        )
    bps, ci95, saving = row.select("marginal_bps", "ci95_bps", "saving_per_month").row(0)
    amount = None if saving is None else Decimal(str(saving)).quantize(CENT, ROUND_HALF_UP)
    return replace(
        event, predicted_bps=bps, predicted_ci95_bps=ci95, predicted_saving=amount
    ), ""  # fmt: skip
