"""`candidates` and `imbalance`: the two questions of a peering manager."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.analysis.answers import Direction
from flowpeer.analysis.candidates import ListOf, candidate_answer, compared
from flowpeer.analysis.imbalance import imbalance_answer
from flowpeer.cli.answering import (
    AsOfOption,
    FormatOption,
    MetroOption,
    OutOption,
    PeriodOption,
    compared_for,
    deliver,
    formats_of,
    gathered_for,
)
from flowpeer.cli.state import CommandState
from flowpeer_reports.billing.order import RankBy

TERMINAL_ASKS = 10
"""Rows a metro on a screen where --asks says nothing; files have all."""


def candidates(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    asks: Annotated[int | None, typer.Option(min=1, help="Rows a metro.")] = None,
    direction: Annotated[Direction, typer.Option(help="Which way the traffic goes.")] = "out",
    list_: Annotated[
        ListOf,
        typer.Option("--list", help="Rows a metro, or an organisation over all its metros."),
    ] = "metros",
    apart: Annotated[bool, typer.Option("--apart", help="Tell siblings apart.")] = False,
    join_ix: Annotated[
        list[int] | None,
        typer.Option("--join-ix", help="As if on this exchange (PeeringDB id, repeatable)."),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="PERIOD",
            help="What changed since that period, and why; `before`: the period before.",
        ),
    ] = None,
    rank_by: Annotated[
        RankBy,
        typer.Option(
            "--rank-by",
            help="What puts the rows into order: expected bytes, or what is expected to be saved "
            "as the contracts stand or at their renewal.",
        ),
    ] = "bytes",
    as_of: AsOfOption = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Whom to ask for peering, where, and what it is worth."""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    compared(compare, rank_by)
    gathered, before = compared_for(state, period, metro, compare, as_of)
    if asks is None and not formats and not state.json:
        asks = TERMINAL_ASKS
    answer = candidate_answer(
        gathered, direction=direction, metros=metro, asks=asks, of=list_, apart=apart,
        join=join_ix or (), before=before, rank_by=rank_by,
    )  # fmt: skip
    deliver(state, answer, out=out, formats=formats)


def imbalance(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    direction: Annotated[Direction, typer.Option(help="Which way the traffic goes.")] = "both",
    rules: Annotated[int, typer.Option(min=0, help="Most rules of a metro's move list.")] = 20,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Is transit balanced against what is paid for?"""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    gathered = gathered_for(state, period, metro)
    answer = imbalance_answer(
        gathered, direction=direction, metros=metro, network=state.network(),
        record=state.lake().record(), rules=rules,
    )  # fmt: skip
    deliver(state, answer, out=out, formats=formats)
