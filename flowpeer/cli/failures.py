"""`exits`, `drill` and `capacity`: where traffic leaves, where it would, and when it is full."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.analysis.answers import Direction
from flowpeer.analysis.asking import asked
from flowpeer.analysis.capacity import capacity_answer
from flowpeer.analysis.drill import (
    DrillRequest,
    drill_answer,
    drt_answer,
    growths_of,
    replay_answer,
)
from flowpeer.analysis.exits import exits_answer
from flowpeer.analysis.signed import with_asks_of
from flowpeer.cli.answering import (
    FormatOption,
    MetroOption,
    OutOption,
    PeriodOption,
    WithAsksOption,
    deliver,
    formats_of,
    gathered_for,
)
from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError


def exits(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Does traffic leave where BGP says, and where the shortest path would be?"""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    gathered = gathered_for(state, period, metro)
    answer = exits_answer(gathered, state.network(), state.lake().record(), metros=metro)
    deliver(state, answer, out=out, formats=formats)


def drill(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            help="link:EXPORTER:INDEX, provider:ASN, exporter:ID, exchange:ID, facility:ID, "
            "risk_group:ID or metro:ID (repeatable: at the same time)."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every one of them, one at a time.")] = False,
    site_lost: Annotated[
        str | None, typer.Option(metavar="METRO", help="A metro lost with its demand.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="METRO", help="Where the demand of --site-lost, or of --plan, moves to."
        ),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRO",
            help="Plan a disaster-recovery test: which own prefixes to withdraw in this metro, in "
            "which order, and what each step does (repeatable; all: every metro).",
        ),
    ] = None,
    growth: Annotated[
        str, typer.Option(help="Times the present traffic: 1 to 10, or 1..10 for each.")
    ] = "1",
    with_asks: WithAsksOption = None,
    slots: Annotated[bool, typer.Option("--slots", help="Every slot too, as drill_slots.")] = False,
    replay: Annotated[
        str | None,
        typer.Option(metavar="START/END", help="An outage that was: predicted against measured."),
    ] = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """What every link carries when others fail."""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    growths_of(growth)
    asks = None if with_asks is None else with_asks_of(with_asks)
    if plan and (remove or all_ or site_lost is not None or replay is not None or slots):
        raise UsageError(
            "--plan is an answer of its own",
            advice="leave out --remove, --all, --site-lost, --slots and --replay",
        )
    if plan and metro:
        raise UsageError(
            "--plan names its metros itself", advice=f"leave out --metro: --plan {metro[0]}"
        )
    if replay is not None:
        if remove or all_ or site_lost is not None or with_asks is not None:
            raise UsageError(
                "--replay finds what was removed by itself",
                advice="leave out --remove, --all, --site-lost and --with-asks",
            )
        if period is not None or slots or growth != "1" or to is not None:
            raise UsageError(
                "--replay has a window of its own, without growth",
                advice="leave out --period, --slots, --growth and --to",
            )
        network, record = state.network(), state.lake().record()
        asked(network, record, None, metro, None, state.warn)
        answer = replay_answer(network, record, replay, metros=metro)
    elif plan:
        gathered = gathered_for(state, period, metro)
        answer = drt_answer(
            gathered, state.network(), state.lake().record(), [] if "all" in plan else plan,
            to=to, growth=growth, asks=asks,
        )  # fmt: skip
    else:
        gathered = gathered_for(state, period, metro)
        answer = drill_answer(
            gathered, state.network(), state.lake().record(),
            DrillRequest(remove or (), all_, site_lost, to, growth, slots, asks), metros=metro,
        )  # fmt: skip
    deliver(state, answer, out=out, formats=formats)


def capacity(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    direction: Annotated[Direction, typer.Option(help="Which way the traffic goes.")] = "both",
    with_asks: WithAsksOption = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """When transit is full at its growth, and what to buy.

    Where the log of asks has signed ones, month_80_after_asks is without what they take.
    """
    state: CommandState = ctx.obj
    asks = None if with_asks is None else with_asks_of(with_asks)
    formats = formats_of(format_, out)
    gathered = gathered_for(state, period, metro)
    answer = capacity_answer(
        gathered, direction=direction, metros=metro, network=state.network(),
        record=state.lake().record(), asks=asks,
    )  # fmt: skip
    deliver(state, answer, out=out, formats=formats)
