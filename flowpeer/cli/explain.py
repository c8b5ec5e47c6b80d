"""`explain`: why a network is where it is in the list."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.analysis.explain import explain_answer
from flowpeer.cli.answering import (
    FormatOption,
    MetroOption,
    OutOption,
    PeriodOption,
    deliver,
    formats_of,
    gathered_for,
)
from flowpeer.cli.arguments import parse_asn
from flowpeer.cli.state import CommandState


def explain(
    ctx: typer.Context,
    asn: Annotated[str, typer.Argument(metavar="ASN", help="The network, 64510 or AS64510.")],
    period: PeriodOption = None,
    metro: MetroOption = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Why a network is where it is in the list, or not there: each number with its SQL."""
    state: CommandState = ctx.obj
    formats, number = formats_of(format_, out), parse_asn(asn)
    answer = explain_answer(gathered_for(state, period, metro), number, metros=metro)
    deliver(state, answer, out=out, formats=formats)
