"""`run`: everything that a scheduler needs, in order, only what is out of date."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flowpeer.analysis.inputs import gather
from flowpeer.analysis.reports import write_reports
from flowpeer.analysis.standing import keep, made_from, standing
from flowpeer.checks.quality import findings
from flowpeer.checks.touching import stated
from flowpeer.cli.captures import Done
from flowpeer.cli.checks import show_findings
from flowpeer.cli.rollup import Jobs, On, check_engine
from flowpeer.cli.state import CommandState
from flowpeer.lake.record import Record
from flowpeer.pipeline.ingest import capture_files, ingest_files
from flowpeer.pipeline.rollup import roll_up


def run(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Captures or folders to ingest first.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write candidates and imbalance there too.")
    ] = None,
    period: Annotated[str | None, typer.Option(help="Of the reports; see candidates.")] = None,
    done: Done = None,
    jobs: Jobs = None,
    on: On = None,
) -> None:
    """All that a scheduler needs, where out of date.

    Ingests PATHS if given, loads changed sources, rolls up, checks, and writes the reports to
    --out if given. Exit 1 if the check finds something wrong with the data.
    """
    state: CommandState = ctx.obj
    check_engine(on, jobs)
    added = []
    if files := capture_files(paths or (), empty=done is not None):
        added = ingest_files(state.network(), state.lake(), files, state, done=done)
        state.reread()
    record = state.lake().record()
    rolled = roll_up(state.network(), state.lake(), state, record=record, jobs=jobs, on=on)
    found = findings(state.network(), record)
    state.judge(found)
    result: dict[str, Any] = {
        "ingest": [asdict(file) for file in added], "rollup": rolled.summary(),
        "check": [finding._asdict() for finding in found],
    }  # fmt: skip
    if out is not None:
        result["reports"] = [str(path) for path in _reports(state, record, out, period)]
    state.measure()
    if state.json:
        state.emit(result)
        return
    if paths:
        state.tell(f"ingest: {sum(file.rows for file in added):,} flow records added")
    state.tell(f"rollup: {rolled.rolled_up} of {rolled.hours} hours done")
    show_findings(state, found)
    for path in result.get("reports", ()):
        state.tell(f"wrote {path}")


def _reports(state: CommandState, record: Record, out: Path, period: str | None) -> list[Path]:
    """The files of the reports, written unless they stand there as they would be."""
    before = made_from(state.config_path, answers="run", period=period)
    if (held := standing(out, before)) is not None:
        return [out / name for name in held.files]
    gathered, _ = stated(gather(state.network(), record, period), state.network(), record)
    made = write_reports(gathered, out)
    after = made_from(state.config_path, answers="run", period=period)
    keep(out, before, after, files=made.files, page=made.page)
    return made.files
