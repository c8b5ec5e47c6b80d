"""What the commands that give an answer share: their options, and how an answer is put out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from flowpeer.analysis.answers import FORMATS, Answer, FileFormat
from flowpeer.analysis.asking import asked
from flowpeer.analysis.inputs import Gathered, gather, gather_both
from flowpeer.checks.touching import stated
from flowpeer.cli.state import CommandState, terminal_width
from flowpeer.errors import UsageError
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.period import parse_period

PeriodOption = Annotated[
    str | None,
    typer.Option(
        "--period",
        help="2026Q3, 2026-07, 2026-07-01/2026-07-08; default: the last whole quarter with data, "
        "else all.",
    ),
]
MetroOption = Annotated[
    list[str] | None, typer.Option("--metro", help="Only these metros (repeatable).")
]
WithAsksOption = Annotated[
    str | None,
    typer.Option(
        metavar="K|signed",
        help="As if the first K of the list of organisations were peers, or those that the log of "
        "asks says yes of (signed): their observed routes outbound leave transit.",
    ),
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="As it was made then, from the same inputs: later hours are left out, and the default "
        "period is that of the day. In UTC, 2026-10-05 or 2026-10-05T06:00.",
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write files into.")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", help=f"{','.join(FORMATS)}: several with --out, one on stdout without."
    ),
]


def formats_of(text: str | None, out: Path | None) -> list[FileFormat]:
    """The formats asked for; none: the screen. Raises UsageError."""
    asked = [f.strip() for f in text.split(",")] if text else (["csv"] if out else [])
    chosen = [f for f in FORMATS if f in asked]
    wrong = [f for f in asked if f not in FORMATS]
    if wrong:
        raise UsageError(
            f"--format {','.join(wrong)}: unknown", advice=f"one of {', '.join(FORMATS)}"
        )
    if len(chosen) > 1 and out is None:
        raise UsageError("several formats need a folder", advice="add --out DIR")
    if "xlsx" in chosen and find_spec("xlsxwriter") is None:
        raise UsageError(
            "XLSX needs XlsxWriter, which is not installed",
            advice='pip install "flowpeer[report]"',
        )
    return sorted(chosen, key=asked.index)


def gathered_for(state: CommandState, period: str | None, metros: Sequence[str] | None) -> Gathered:
    """The inputs of an answer; says so where the roll-ups are not up to date, or where figures
    hang on data with something wrong.

    Raises:
        UsageError: a period or metro that is misspelt, before any work is done.
        NoDataError: nothing rolled up, or not in the period.
    """
    network, record = ready(state, period, metros)
    return with_warnings(state, gather(network, record, period), network, record, metros)


def with_warnings(
    state: CommandState, gathered: Gathered, network: Configuration, record: Record,
    metros: Sequence[str] | None,
) -> Gathered:  # fmt: skip
    """With what its figures depend on among its notes; warnings are printed: status 1."""
    gathered, wrong = stated(gathered, network, record, metros or None)
    for text in wrong:
        state.warn(text)
    return gathered


def compared_for(
    state: CommandState,
    period: str | None,
    metros: Sequence[str] | None,
    compare: str | None,
    as_of: str | None = None,
) -> tuple[Gathered, Gathered | None]:
    """The same, with the period that it is compared with: None where none is asked for."""
    if compare is not None and compare != "before":
        parse_period(compare)
    network, record = ready(state, period, metros, as_of)
    if compare is None:
        return with_warnings(state, gather(network, record, period), network, record, metros), None
    gathered, before = gather_both(network, record, period, compare)
    return with_warnings(state, gathered, network, record, metros), before


def ready(
    state: CommandState, period: str | None, metros: Sequence[str] | None, as_of: str | None = None
) -> tuple[Configuration, Record]:
    """The network and what the lake has, or had; says so where the roll-ups are not up to date, or
    where an input is younger than that.

    Raises:
        UsageError: a period or metro that is misspelt, before any work is done.
        NoDataError: nothing rolled up, or not in the period.
    """
    if period is not None:
        parse_period(period)
    network = state.network()
    record = state.lake().record()
    asked(network, record, period, metros, as_of, state.warn)
    return network, record


def deliver(
    state: CommandState, answer: Answer, *, out: Path | None, formats: list[FileFormat]
) -> None:
    """Write an answer into files, or put it out in one format; without one, on the screen."""
    if out is not None:
        paths = answer.write(out, formats)
        if state.json:
            state.emit([str(p) for p in paths])
        else:
            for path in paths:
                state.tell(f"wrote {path}")
        return
    if not formats and not state.json:
        sys.stdout.write(answer.on_screen(terminal_width()))
        return
    format_: FileFormat = "json" if state.json else formats[0]
    if format_ in ("json", "csv", "parquet"):  # these have no place for them
        for note in answer.notes:
            state.say(f"note: {note}")
    made = answer.render(format_)
    if isinstance(made, bytes):
        sys.stdout.buffer.write(made)
    else:
        sys.stdout.write(made)
