"""`rollup` and `run`: bringing the tables up to date, only where something changed."""

from __future__ import annotations

import errno
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowpeer.cli.captures import Done
from flowpeer.cli.state import State, table_or_json

if TYPE_CHECKING:
    from flowpeer.lake.ledger import Ledger
    from flowpeer.network import Network
    from flowpeer.rollup.hours import Hour, Rollup


def _shard(text: str) -> tuple[int, int]:
    from flowpeer.errors import UsageError

    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return int(match[1]), int(match[2])
    raise UsageError(f"--shard {text}: not i/n with 1 ≤ i ≤ n", advice="write it like 1/4")


def roll_up(
    state: State,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    shard: tuple[int, int] = (1, 1),
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """Bring the roll-ups up to date; how many hours there are, were done, and why."""
    from flowpeer.lake import compact
    from flowpeer.rollup.hours import Rollup
    from flowpeer.sources import load_sources

    network, lake = _classified(state), state.lake()
    load_sources(lake, network, state.say, warn=state.warn)
    owner = "rollup" if shard == (1, 1) else f"rollup-{shard[0]}-of-{shard[1]}"
    compact.recover(lake)
    with lake.lock(owner), lake.flow_files(alone=False):
        rollup = Rollup(lake, network, ledger=ledger, period=(start, end))
        hours = rollup.plan(start, end, shard=shard)
        stale = [hour for hour in hours if hour.changed]
        reasons = Counter(reason for hour in stale for reason in hour.changed)
        total = sum(rollup.rows(hour) for hour in stale)
        done = 0
        with state.progress("rolling up rows", total) as advance:
            for hour in stale:
                try:
                    figures = rollup.roll_up(hour, progress=advance)
                except OSError as error:
                    # A damaged file costs its own hour, not the others.
                    if error.errno == errno.ENOSPC:
                        raise
                    state.warn(
                        f"{hour.start:%Y-%m-%d %H}:00 left as it was: {first_line(error)}; "
                        "find the file with `flowpeer verify`"
                    )
                    continue
                except OverflowError as error:
                    # Forged counters must not keep the other hours from being done.
                    state.warn(
                        f"{hour.start:%Y-%m-%d %H}:00 left as it was: {error}; find the exporter "
                        "with `flowpeer sql` in `flows`, and mend its sampling rate or refuse it"
                    )
                    continue
                done += 1
                state.say(
                    f"{hour.start:%Y-%m-%d %H}:00 {figures.records:,} records, "
                    f"{figures.flow_bytes:,} bytes ({', '.join(hour.changed)})",
                    level=1,
                )
                if figures.implausible_records:
                    state.warn(
                        f"{hour.start:%Y-%m-%d %H}:00 {figures.implausible_records:,} records "
                        "whose bytes × rate cannot be traffic; kept unscaled"
                    )
        for hour in hours:
            _count_late(state, rollup, hour)
            if hour.blocked:
                state.warn(
                    f"{hour.start:%Y-%m-%d %H}:00 left as it was: the ledger document of "
                    f"{hour.blocked} is damaged; see `flowpeer verify`"
                )
    return {"hours": len(hours), "rolled_up": done, "reasons": dict(reasons)}


def _classified(state: State) -> Network:
    """The configuration, with all that its rules are to read: without some names, hours would be
    done anew with interfaces unknown.

    Raises:
        InputError: names that exporters said cannot be read.
    """
    from flowpeer.errors import InputError
    from flowpeer.lake.names import remedy

    network = state.network()
    for relative in network.classified.damaged:
        path = state.lake().entry_path(relative)
        raise InputError(str(path), "interface names that cannot be read", advice=remedy(relative))
    return network


def first_line(error: Exception) -> str:
    """What a library says, without what it says below."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _count_late(state: State, rollup: Rollup, hour: Hour) -> None:
    """Say once what came too late for an hour whose flows were pruned."""
    if rollup.late_is_counted(hour):
        return
    late = rollup.count_late(hour)
    state.warn(
        f"{hour.start:%Y-%m-%d %H}:00 {late.records:,} records with "
        f"{late.flow_bytes + late.flow_bytes_unscaled:,} bytes came after its flow records were "
        "pruned: they are in `flows`, and in no roll-up"
    )


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
    from flowpeer.cli.routes import parse_time
    from flowpeer.errors import UsageError

    state: State = ctx.obj
    start, end = (parse_time(text) if text else None for text in (from_, to))
    if start and end and end <= start:
        raise UsageError(f"--to {to} is not after --from {from_}", advice="--to is exclusive")
    if explain:
        _explain(state, start, end, _shard(shard))
        return
    done = roll_up(state, start=start, end=end, shard=_shard(shard))
    if state.json:
        state.emit(done)
    elif not done["rolled_up"]:
        state.tell(f"{done['hours']} hours, all up to date")
    else:
        why = ", ".join(f"{n} {reason}" for reason, n in done["reasons"].items())
        state.tell(f"{done['rolled_up']} of {done['hours']} hours rolled up ({why})")


def _explain(
    state: State, start: datetime | None, end: datetime | None, shard: tuple[int, int]
) -> None:
    from flowpeer.rollup.hours import Rollup

    rollup = Rollup(state.lake(), _classified(state), period=(start, end))
    hours = rollup.plan(start, end, shard=shard)
    rows = [
        {"hour": f"{h.start:%Y-%m-%dT%H:00Z}", "files": len(h.files),
         "changed": ";".join(h.changed) or ("pruned" if h.frozen else "up to date")}
        for h in hours
    ]  # fmt: skip
    table_or_json(state, rows, columns=["hour", "files", "changed"])


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
    from flowpeer.cli.answers import write_reports
    from flowpeer.cli.captures import capture_files, ingest_files
    from flowpeer.cli.quality import findings, show_findings
    from flowpeer.lake.ledger import Ledger

    state: State = ctx.obj
    files = capture_files(paths or (), empty=done is not None)
    result: dict[str, Any] = {"ingest": ingest_files(state, files, done=done) if files else []}
    ledger = Ledger(state.lake())
    result["rollup"] = roll_up(state, ledger=ledger)
    result["check"] = found = findings(state, ledger)
    if out is not None:
        reports = write_reports(state, out, period=period, ledger=ledger)
        result["reports"] = [str(path) for path in reports.files]
    if state.json:
        state.emit(result)
        return
    if paths:
        state.tell(f"ingest: {sum(r['rows'] for r in result['ingest']):,} flow records added")
    state.tell(f"rollup: {result['rollup']['rolled_up']} of {result['rollup']['hours']} hours done")
    show_findings(state, found)
    for path in result.get("reports", ()):
        state.tell(f"wrote {path}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(rollup)
    app.command()(run)
