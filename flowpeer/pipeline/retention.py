"""`compact` and `prune`: what becomes of flow records that were rolled up, and of old routes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flowpeer.cli.state import State

if TYPE_CHECKING:
    from flowpeer.lake.store import Lake

Routes = Literal["unused", "daily"]
CLOSED_AFTER = "2h"
"""After the end of an hour, when nothing of it is expected any more."""


def _age(text: str) -> int:
    """`14d` → seconds."""
    from flowpeer.errors import UsageError
    from flowpeer.network import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from None


def _ago(age_s: int) -> datetime:
    """The time so long ago; the first there is, for more than there was."""
    try:
        return datetime.now(UTC) - timedelta(seconds=age_s)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


@contextmanager
def flows_alone(lake: Lake, owner: str) -> Iterator[None]:
    """The flow files for oneself, after whatever was broken off is finished."""
    from flowpeer.lake import compact

    with lake.lock(owner), lake.flow_files(alone=True):
        compact.finish(lake)
        yield


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
    from flowpeer.errors import UsageError
    from flowpeer.rollup import retention
    from flowpeer.rollup.hours import Rollup

    state: State = ctx.obj
    network, lake = state.network(), state.lake()
    age_s = _age(keep) if keep is not None else network.lake.keep_flows
    if age_s is None:
        raise UsageError(
            "flow records are kept for good",
            advice="set `keep_flows` under [lake], or say --keep 14d",
        )
    before = _ago(age_s)
    # Before the flow records, whose hours need them: what was said without --yes is what is done.
    infos = _prune_routes(state, before, routes, yes)
    if not lake.entry_names("flows"):
        plan = retention.Plan()
    elif yes:
        with flows_alone(lake, "prune"):
            rollup = Rollup(lake, network)
            plan = retention.prunable(rollup, before)
            retention.prune(rollup, plan)
    else:
        plan = retention.prunable(Rollup(lake, network), before)
    _report(state, plan, before, yes, infos)


def _prune_routes(state: State, before: datetime, routes: Routes | None, yes: bool) -> Any:
    """The snapshots to delete; None where they were not asked for."""
    from flowpeer.rollup.hours import Rollup
    from flowpeer.rollup.route_retention import prunable_routes, prune_routes

    if routes is None:
        return None
    network, lake, daily = state.network(), state.lake(), routes == "daily"
    if not yes:
        return prunable_routes(Rollup(lake, network), before, daily=daily)
    with flows_alone(lake, "prune"), lake.lock("ribs"):
        infos = prunable_routes(Rollup(lake, network), before, daily=daily)
        prune_routes(lake, infos)
    return infos


def _report(state: State, plan: Any, before: datetime, yes: bool, infos: Any) -> None:
    waiting = sorted({hour for hours in plan.waiting.values() for hour in hours})
    snapshot_bytes = sum(info.file_bytes for info in infos or ())
    if state.json:
        state.emit(
            {
                "before": f"{before:%Y-%m-%dT%H:%M:%SZ}", "deleted": yes,
                "files": sorted(plan.chosen), "rows": plan.rows, "bytes": plan.file_bytes,
                "waiting": sorted(plan.waiting),
                "snapshots": [info.name for info in infos or ()], "snapshot_bytes": snapshot_bytes,
            }
        )  # fmt: skip
    else:
        for name in plan.chosen:
            state.say(name, level=1)
        done = "deleted" if yes else "to be deleted (with --yes)"
        state.tell(f"{len(plan.chosen):,} files with {plan.rows:,} flow records, "
              f"{plan.file_bytes:,} bytes, received before {before:%Y-%m-%d %H:%M} UTC: "
              f"{done}")  # fmt: skip
        if infos is not None:
            for info in infos:
                state.say(f"routes/{info.name}", level=1)
            state.tell(f"{len(infos):,} route snapshots, {snapshot_bytes:,} bytes, taken before "
                  f"{before:%Y-%m-%d %H:%M} UTC: {done}")  # fmt: skip
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
    from flowpeer.rollup import retention
    from flowpeer.rollup.hours import Rollup

    state: State = ctx.obj
    network, lake = state.network(), state.lake()
    before = _ago(_age(after))
    folders: dict[str, list[str]] = {}
    with flows_alone(lake, "compact"):
        if lake.entry_names("flows"):
            rollup = Rollup(lake, network)
            folders = retention.mergeable(rollup, before)
            names = [name for files in folders.values() for name in files]
            entries = map(rollup.ledger.entry, names)
            total = sum(int(entry["rows"]) for entry in entries if entry is not None)
            with state.progress("merging", total) as advance:
                retention.compact(lake, folders, progress=advance)
    count = sum(map(len, folders.values()))
    hours = len({folder.partition("/")[2] for folder in folders})
    if state.json:
        state.emit({"hours": hours, "files": count})
    else:
        state.tell(f"{count:,} files of {hours:,} hours merged" if hours else "nothing to merge")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(compact)
    app.command()(prune)
