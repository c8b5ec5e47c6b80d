"""`bills`: what each transit contract costs, by calendar month."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.analysis.bills import bills_answer
from flowpeer.checks.touching import stated_on
from flowpeer.cli.answering import FormatOption, OutOption, PeriodOption, deliver, formats_of
from flowpeer.cli.state import State


def bills(
    ctx: typer.Context,
    period: PeriodOption = None,
    contract: Annotated[
        list[str] | None, typer.Option("--contract", help="Only these contracts (repeatable).")
    ] = None,
    invoice: Annotated[
        list[str] | None,
        typer.Option(
            "--invoice",
            metavar="[CONTRACT[:MONTH]=]AMOUNT",
            help="What the provider wants: the difference is shown (repeatable).",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Figures also where too much data is missing.")
    ] = False,
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """What each transit contract costs, by calendar month.

    From interface counters where they are loaded, else from flows with the framing of their
    packets. A month belongs to the period by its name and is read whole in the contract's time
    zone. Exit 1 where a bill is an estimate or is refused for missing data.
    """
    state: State = ctx.obj
    formats = formats_of(format_, out)
    network, record = state.network(), state.lake().record()
    answer = bills_answer(
        network, record, period, contracts=contract, invoices=invoice or (), forced=force
    )
    for text in stated_on(answer, network, record):
        state.warn(text)
    deliver(state, answer, out=out, formats=formats)
    for row in answer.rows.filter(answer.rows["quality"] == "refused").iter_rows(named=True):
        state.warn(
            f"{row['contract']} {row['month']}: {row['missing_slots']:,} slots without data"
            + ("" if force else ", so no bill")
        )
