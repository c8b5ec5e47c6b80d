"""`report`: every answer of a period in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowpeer.analysis.reports import write_pack
from flowpeer.cli.answering import (
    AsOfOption,
    FormatOption,
    MetroOption,
    PeriodOption,
    formats_of,
    ready,
    said,
)
from flowpeer.cli.state import CommandState


def report(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into.")] = Path(
        "report"
    ),
    period: PeriodOption = None,
    metro: MetroOption = None,
    as_of: AsOfOption = None,
    format_: FormatOption = None,
) -> None:
    """Every answer of a period in one folder, with one page.

    Candidates and organisations, with what changed where the period before has data; exchanges,
    leaks, imbalance, exits, drills, capacity, and bills where there are contracts.
    """
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    network, record = ready(state, period, metro, as_of)
    with state.progress("answers") as advance:
        done = write_pack(
            network,
            record,
            period,
            out,
            formats=formats,
            metros=metro,
            told=lambda: advance(1),
            stating=lambda gathered: said(state, gathered, network, record, metro),
        )
    if state.json:
        state.emit({"report": str(done.page), "files": [str(path) for path in done.files]})
        return
    state.tell(f"wrote {len(done.files)} files; the page is {done.page}")
