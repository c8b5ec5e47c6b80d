"""`asks`: the log of whom we asked for peering, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, get_args

import typer

from flowpeer.analysis.asks import (
    append,
    asks_answer,
    known_metros,
    organisation_of,
)
from flowpeer.analysis.drafts import ask_export_text, draft_answer
from flowpeer.analysis.opening import continued, openable, with_prediction
from flowpeer.analysis.outcomes import outcomes_answer
from flowpeer.cli.answering import (
    FormatOption,
    OutOption,
    PeriodOption,
    deliver,
    formats_of,
    gathered_for,
)
from flowpeer.cli.answering import MetroOption as MetrosOption
from flowpeer.cli.arguments import parse_asn
from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError
from flowpeer_reports.ask_exports import TOOLS, Tool
from flowpeer_reports.ask_log import EVENTS, OPENING, AskEvent, Event

asks = typer.Typer(
    help="The log of asks: list, add, update, draft, export, outcomes.", no_args_is_help=True
)

AsnArgument = Annotated[str, typer.Argument(metavar="ASN", help="The network, 64510 or AS64510.")]
MetroOption = Annotated[
    list[str] | None, typer.Option("--metro", help="Where (repeatable); default everywhere.")
]
DateOption = Annotated[str | None, typer.Option("--date", help="Day of the event; default today.")]
UntilOption = Annotated[str | None, typer.Option("--until", help="Until when it holds.")]
OwnerOption = Annotated[str, typer.Option("--owner", help="Who takes care of it.")]
NoteOption = Annotated[str, typer.Option("--note", help="A note.")]


def _day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: no date", advice="write it like 2026-05-04") from None


def _event(text: str, allowed: tuple[str, ...]) -> Event:
    for event in EVENTS:
        if event == text and event in allowed:
            return event
    raise UsageError(f"{text!r} is no event here", advice=f"one of {', '.join(allowed)}")


def _saving(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise UsageError(f"--predicted-saving {text}: no amount", advice="write it like 350.50")
    return amount


def _write(state: CommandState, event: AskEvent, check: Callable[[], object]) -> None:
    """Add an event to the log, if it takes it; making a prediction takes long, so it is asked
    before that and when the line is written."""
    check()
    network = state.network()
    today = max(datetime.now(UTC).date(), datetime.now().astimezone().date())
    if event.date > today and event.event != "planned":
        raise UsageError(
            f"--date {event.date}: {event.event} on a day in the future",
            advice="give the day on which it came; for a later one use `--event planned`",
        )
    if event.until is not None and event.until < event.date:
        raise UsageError(
            f"--until {event.until}: before the day of the event, {event.date}",
            advice="give the last day on which it holds",
        )
    given = (event.predicted_bps, event.predicted_ci95_bps, event.predicted_saving)
    if event.event in OPENING and given == (None, None, None):
        event, why = with_prediction(network, state.lake(), event)
        if why:
            state.say(f"note: no prediction: {why}")
    path = append(network, event, check)
    if state.json:
        state.emit({"log": str(path), "line": event.line().rstrip("\n")})
    else:
        state.tell(f"{path}: {event.line().rstrip()}")


@asks.command("list")
def list_(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only these (repeatable).")
    ] = None,
    asn: Annotated[
        list[str] | None, typer.Option("--asn", help="Only these networks (repeatable).")
    ] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="As it stood on a day.")] = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Every ask with its present state."""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    for text in status or ():
        _event(text, EVENTS)
    answer = asks_answer(
        state.network(),
        as_of=_day(as_of, "--as-of"),
        statuses=status,
        asns=[parse_asn(text) for text in asn or ()],
    )
    deliver(state, answer, out=out, formats=formats)


@asks.command("add")
def add(
    ctx: typer.Context,
    asn: AsnArgument,
    metro: MetroOption = None,
    event: Annotated[str, typer.Option("--event", help="asked, or planned.")] = "asked",
    day: DateOption = None,
    until: UntilOption = None,
    owner: OwnerOption = "",
    note: NoteOption = "",
    organisation: Annotated[
        str | None, typer.Option("--organisation", help="Default: what the registries say.")
    ] = None,
    predicted_bps: Annotated[
        float | None, typer.Option(min=0, help="Instead of the list's marginal_bps.")
    ] = None,
    predicted_ci95_bps: Annotated[
        float | None, typer.Option(min=0, help="Instead of the list's ci95_bps.")
    ] = None,
    predicted_saving: Annotated[
        str | None, typer.Option(help="Instead of the list's saving_per_month.")
    ] = None,
) -> None:
    """Open an ask: one line is added to the log, with the prediction of the day.

    One ask of a network is open at a time in a metro. The prediction is that of the list of the
    default period; of a day in the past, that of the list as it was then.
    """
    state: CommandState = ctx.obj
    network, number = state.network(), parse_asn(asn)
    if organisation is None:
        organisation = organisation_of(state.lake(), number)
    opening = AskEvent(
        _day(day, "--date") or datetime.now(UTC).date(), organisation, number,
        known_metros(network, metro or ()), _event(event, OPENING), _day(until, "--until"),
        owner, note, predicted_bps, predicted_ci95_bps, _saving(predicted_saving),
    )  # fmt: skip
    _write(state, opening, lambda: openable(network, state.lake(), opening))


@asks.command("update")
def update(
    ctx: typer.Context,
    asn: AsnArgument,
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT", help="asked, answered_yes, declined, no_answer, live or withdrawn."
        ),
    ],
    metro: MetroOption = None,
    day: DateOption = None,
    until: UntilOption = None,
    owner: OwnerOption = "",
    note: NoteOption = "",
) -> None:
    """Say what came of an ask: one line is added to the log.

    The event goes to the open ask of the network; where several are open, `--metro` names whose.
    """
    state: CommandState = ctx.obj
    network, number = state.network(), parse_asn(asn)
    metros = known_metros(network, metro or ())
    chosen = _event(event, tuple(e for e in EVENTS if e != "planned"))
    on = _day(day, "--date") or datetime.now(UTC).date()
    ask, places = continued(network, number, metros, chosen, on)
    _write(
        state,
        AskEvent(
            on, ask.opened.organisation, number, places, chosen, _day(until, "--until"), owner, note
        ),
        lambda: continued(network, number, metros, chosen, on),
    )


@asks.command("draft")
def draft(
    ctx: typer.Context,
    asn: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ASN…]", help="Networks of the list; default: every ask of it."),
    ] = None,
    period: PeriodOption = None,
    metro: MetrosOption = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", help="File with your own words; see the page on asks."),
    ] = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """A draft of an e-mail for each ask: whom to write to, what we see, where to meet."""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    numbers = [parse_asn(text) for text in asn or ()]
    gathered = gathered_for(state, period, metro)
    answer = draft_answer(gathered, numbers, metros=metro, template=template)
    deliver(state, answer, out=out, formats=formats)


@asks.command("export")
def export(
    ctx: typer.Context,
    tool: Annotated[
        str, typer.Argument(metavar="TOOL", help=f"{' or '.join(TOOLS)}: who imports it.")
    ],
    period: PeriodOption = None,
    metro: MetrosOption = None,
    most: Annotated[
        int | None, typer.Option("--asks", min=1, help="Only the first asks of the list.")
    ] = None,
    rir: Annotated[
        str, typer.Option("--rir", help="NetBox: name of the RIR object of the ASNs.")
    ] = "",
) -> None:
    """The asks of the list as Peering Manager (JSON) or NetBox (CSV) imports them, on stdout."""
    state: CommandState = ctx.obj
    chosen = next((name for name in get_args(Tool) if name == tool), None)
    if chosen is None:
        raise UsageError(f"{tool!r} is no tool here", advice=f"one of {', '.join(TOOLS)}")
    if chosen == "netbox" and not rir.strip():
        raise UsageError(
            "NetBox takes no ASN without a RIR", advice="give the name of its object: --rir NAME"
        )
    gathered = gathered_for(state, period, metro)
    sys.stdout.write(ask_export_text(gathered, chosen, metros=metro, asks=most, rir=rir))


@asks.command("outcomes")
def outcomes(
    ctx: typer.Context,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """What live asks brought, against what was predicted; each, and all together."""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    answer = outcomes_answer(state.network(), state.lake().record())
    deliver(state, answer, out=out, formats=formats)
