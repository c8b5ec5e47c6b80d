"""`compact` and `prune`: what becomes of flow records that were rolled up, and of old routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from flowpeer.cli.arguments import parse_age
from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError
from flowpeer.pipeline import retention
from flowpeer.pipeline.retention import Pruned, Routes, ago

CLOSED_AFTER = "2h"
"""After the end of an hour, when nothing of it is expected any more."""


def prune(
    ctx: typer.Context,
    keep: Annotated[
        str | None, typer.Option(help="Age to keep, like 14d [keep_flows of [lake]].")
    ] = None,
    routes: Annotated[
        Routes | None,
        typer.Option(help="Snapshots of routes too: unused, or daily, which leaves one a day."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it only say what.")] = False,
) -> None:
    """Delete flow records older than `keep_flows`.

    Only files all of whose hours are rolled up; roll-ups stay. Without --yes nothing is deleted.

    With --routes also snapshots of routes that old: those no hour was rolled up with; with `daily`
    also, of those that only hours without flow records were rolled up with, all but the first of
    each day. The newest of each place and family stays, and what hours with flow records need.
    """
    state: CommandState = ctx.obj
    network, lake = state.network(), state.lake()
    age_s = parse_age(keep) if keep is not None else network.lake.keep_flows
    if age_s is None:
        raise UsageError(
            "flow records are kept forever",
            advice="set `keep_flows` under [lake], or say --keep 14d",
        )
    before = ago(age_s)
    done = retention.prune(network, lake, before, state, routes=routes, delete=yes)
    _show(state, done, before, yes)


def _show(state: CommandState, pruned: Pruned, before: datetime, yes: bool) -> None:
    plan, infos, waiting = pruned.flows, pruned.snapshots, pruned.waiting_hours
    if state.json:
        state.emit(
            {
                "before": f"{before:%Y-%m-%dT%H:%M:%SZ}", "deleted": yes,
                "files": sorted(plan.chosen), "rows": plan.rows, "bytes": plan.file_bytes,
                "waiting": sorted(plan.waiting),
                "snapshots": [info.name for info in infos or ()],
                "snapshot_bytes": pruned.snapshot_bytes,
            }
        )  # fmt: skip
    else:
        for name in plan.chosen:
            state.say(name, level=1)
        done = "deleted" if yes else "to be deleted (with --yes)"
        state.tell(
            f"{len(plan.chosen):,} files with {plan.rows:,} flow records, {plan.file_bytes:,} "
            f"bytes, received before {before:%Y-%m-%d %H:%M} UTC: {done}"
        )
        if infos is not None:
            for info in infos:
                state.say(f"routes/{info.name}", level=1)
            state.tell(
                f"{len(infos):,} route snapshots, {pruned.snapshot_bytes:,} bytes, taken before "
                f"{before:%Y-%m-%d %H:%M} UTC: {done}"
            )
    if waiting:
        state.warn(
            f"{len(plan.waiting):,} older files are kept: {len(waiting)} hours from "
            f"{waiting[0]:%Y-%m-%d %H}:00 on are not rolled up; run `flowpeer rollup`"
        )


def compact(
    ctx: typer.Context,
    after: Annotated[
        str, typer.Option(help="How long ago an hour must have ended.")
    ] = CLOSED_AFTER,
) -> None:
    """Merge the files of each closed hour into one: of flows, coverage and sampling.

    Flows only of hours that are rolled up. Queries go on meanwhile: each sees the old files or the
    new one.
    """
    state: CommandState = ctx.obj
    network, lake = state.network(), state.lake()
    done = retention.merge(network, lake, ago(parse_age(after)), state)
    if state.json:
        state.emit({"hours": done.hours, "files": done.files})
    else:
        text = f"{done.files:,} files of {done.hours:,} hours merged"
        state.tell(text if done.hours else "nothing to merge")
