"""`bills`: what each transit contract costs, by calendar month."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.analysis.bills import bills_answer
from flowpeer.analysis.counterfactual import counterfactual_answer
from flowpeer.analysis.imbalance import MOST_RULES
from flowpeer.checks.touching import stated_on
from flowpeer.cli.answering import (
    FormatOption,
    OutOption,
    PeriodOption,
    deliver,
    formats_of,
    gathered_for,
)
from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError


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
    with_asks: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="As if the first K of the list of organisations were peers: their observed "
            "routes outbound leave transit.",
        ),
    ] = None,
    rules: Annotated[
        int | None,
        typer.Option(
            min=0, help="With --with-asks: most rules of a metro's move list (default 20)."
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
    zone. Exit 1 where a bill is refused for missing data, or what `check` warns of touches it.

    With --with-asks K the period is billed again as if the first K asks had been peers from day
    one and the move list applied, beside the best split of tied routes that was found.
    """
    state: CommandState = ctx.obj
    formats = formats_of(format_, out)
    if rules is not None and with_asks is None:
        raise UsageError("--rules without --with-asks", advice="add --with-asks K")
    if with_asks is not None:
        if contract or invoice or force:
            raise UsageError(
                "--with-asks bills every contract again",
                advice="leave out --contract, --invoice and --force",
            )
        gathered = gathered_for(state, period, None)
        answer = counterfactual_answer(
            gathered, state.network(), state.lake().record(), asks=with_asks,
            rules=MOST_RULES if rules is None else rules,
        )  # fmt: skip
        deliver(state, answer, out=out, formats=formats)
        return
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
