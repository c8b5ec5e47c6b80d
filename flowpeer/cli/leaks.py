"""`leaks`: already peered, still on transit."""

from __future__ import annotations

import typer

from flowpeer.analysis.leaks import leaks_answer
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


def leaks(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """What is peered already and still rides transit: why, by which routes, and the money."""
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    answer = leaks_answer(gathered_for(state, period, metro), metros=metro)
    deliver(state, answer, out=out, formats=formats)
