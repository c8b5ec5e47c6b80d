"""`report`: every answer of a period in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowpeer.analysis.reports import write_pack
from flowpeer.analysis.standing import keep, made_from, standing
from flowpeer.cli.answering import (
    AsOfOption,
    FormatOption,
    MetroOption,
    OutOption,
    PeriodOption,
    formats_of,
    ready,
    with_warnings,
)
from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError


def report(
    ctx: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder to write into. [default: report]")
    ] = None,
    period: PeriodOption = None,
    metro: MetroOption = None,
    as_of: AsOfOption = None,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Every answer of a period in one folder, with one page.

    Candidates and organisations, with what changed where the period before has data; exchanges,
    leaks, imbalance, exits, drills, capacity, and bills where there are contracts. Where DIR holds
    just this from before, nothing is done.
    """
    state: CommandState = ctx.obj
    if directory is not None and out is not None and directory != out:
        raise UsageError(f"{directory} and --out {out}", advice="name one folder to write into")
    out = directory or out or Path("report")
    formats = formats_of(format_, out)
    asked = {"answers": "report", "period": period, "metros": metro, "formats": formats}
    # An answer of an earlier time is the same to the byte whatever came since: nothing beside it.
    before = None if as_of else made_from(state.config_path, **asked)
    if (held := standing(out, before)) is not None:
        for text in held.warnings:
            state.warn(text)
        if state.json:
            files = [str(out / name) for name in held.files]
            state.emit({"report": str(out / held.page), "files": files})
            return
        state.tell(f"nothing to do: {out} was made from just this; the page is {out / held.page}")
        return
    network, record = ready(state, period, metro, as_of)
    with state.progress("answers") as advance:
        done = write_pack(
            network,
            record,
            period,
            out,
            formats=formats,
            metros=metro,
            advanced=lambda: advance(1),
            stating=lambda gathered: with_warnings(state, gathered, network, record, metro),
        )
    after = made_from(state.config_path, **asked)
    keep(out, before, after, files=done.files, page=done.page, warnings=state.warned)
    if state.json:
        state.emit({"report": str(done.page), "files": [str(path) for path in done.files]})
        return
    state.tell(f"wrote {len(done.files)} files; the page is {done.page}")
