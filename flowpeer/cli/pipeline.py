"""`rollup` and `run`: bringing the tables up to date, only where something changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flowpeer.analysis.inputs import gather
from flowpeer.analysis.reports import write_reports
from flowpeer.checks.quality import findings
from flowpeer.cli.captures import Done
from flowpeer.cli.checks import show_findings
from flowpeer.cli.state import State, table_or_json
from flowpeer.cli.words import parse_shard, parse_time
from flowpeer.errors import UsageError
from flowpeer.pipeline.ingest import capture_files, ingest_files
from flowpeer.pipeline.rollup import plan, roll_up


def rollup(
    ctx: typer.Context,
    from_: Annotated[str | None, typer.Option("--from", help="First hour (UTC).")] = None,
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive (UTC).")] = None,
    shard: Annotated[str, typer.Option(help="i/n: only every n-th hour, from the i-th.")] = "1/1",
    explain: Annotated[
        bool, typer.Option("--explain", help="Only say what would be done, and why.")
    ] = False,
) -> None:
    """Flow records into traffic by network, where needed.

    Only the hours are done whose inputs changed: flows, routes, rates or configuration.
    """
    state: State = ctx.obj
    start, end = (parse_time(text) if text else None for text in (from_, to))
    if start and end and end <= start:
        raise UsageError(f"--to {to} is not after --from {from_}", advice="--to is exclusive")
    part = parse_shard(shard)
    if explain:
        hours = plan(state.network(), state.lake(), start=start, end=end, shard=part)
        rows = [
            {"hour": f"{h.start:%Y-%m-%dT%H:00Z}", "units": h.units,
             "changed": ";".join(h.changed) or ("pruned" if h.frozen else "up to date")}
            for h in hours
        ]  # fmt: skip
        table_or_json(state, rows, columns=["hour", "units", "changed"])
        return
    rolled = roll_up(state.network(), state.lake(), state, start=start, end=end, shard=part)
    if state.json:
        state.emit(rolled.summary())
    elif not rolled.rolled_up:
        state.tell(f"{rolled.hours} hours, all up to date")
    else:
        why = ", ".join(f"{n} {reason}" for reason, n in rolled.reasons.items())
        state.tell(f"{rolled.rolled_up} of {rolled.hours} hours rolled up ({why})")


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
) -> None:
    """All that a scheduler needs, where out of date.

    Ingests PATHS if given, loads changed sources, rolls up, checks, and writes the reports to
    --out if given. Exit 1 if the check finds something wrong with the data.
    """
    state: State = ctx.obj
    added = []
    if files := capture_files(paths or (), empty=done is not None):
        added = ingest_files(state.network(), state.lake(), files, state, done=done)
        state.reread()
    record = state.lake().record()
    rolled = roll_up(state.network(), state.lake(), state, record=record)
    found = findings(state.network(), record)
    state.judge(found)
    result: dict[str, Any] = {
        "ingest": [asdict(file) for file in added], "rollup": rolled.summary(),
        "check": [finding._asdict() for finding in found],
    }  # fmt: skip
    if out is not None:
        reports = write_reports(gather(state.network(), record, period), out)
        result["reports"] = [str(path) for path in reports.files]
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
