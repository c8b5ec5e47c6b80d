"""`exchanges`: what each exchange would take."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.analysis.answers import Direction
from flowpeer.analysis.exchanges import exchanges_answer
from flowpeer.cli.answering import (
    FormatOption,
    MetroOption,
    OutOption,
    PeriodOption,
    deliver,
    formats_of,
    gathered_for,
)
from flowpeer.cli.state import CommandState


def exchanges(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    direction: Annotated[Direction, typer.Option(help="Which way the traffic goes.")] = "out",
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """What each exchange of our metros would take, joined or not."""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    gathered = gathered_for(state, period, metro)
    deliver(
        state,
        exchanges_answer(gathered, direction=direction, metros=metro),
        out=out,
        formats=formats,
    )
