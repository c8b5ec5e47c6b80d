"""`lake merge`: lakes of several collectors joined."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flowpeer.cli.state import CommandState
from flowpeer.lake import join
from flowpeer.lake.store import Lake

lake = typer.Typer(
    help="Lakes of several collectors: join them.", no_args_is_help=True, rich_markup_mode=None
)


@lake.command()
def merge(
    ctx: typer.Context,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER", help="Lakes to take in.")],
) -> None:
    """Take what other lakes hold into this one.

    Captures and segments, routes, PeeringDB and names of interfaces; what is here already is passed
    over, and the other lakes stay as they are. Datagrams that both hold count once. Stop `compact`
    and `prune` of the other lakes meanwhile, and roll up afterwards. Broken off, do it again.
    """
    state: CommandState = ctx.obj
    into = state.lake()
    results = []
    for folder in folders:
        other = Lake(folder)
        join.check(into, other)
        with state.progress(f"joining {folder}", join.files_of(other)) as advance:
            done = join.join(into, other, advance)
        results.append({"lake": str(folder), **asdict(done)})
        if not state.json:
            print(f"{folder}: {done.units:,} units, {done.rows:,} rows in {done.files:,} files, "
                  f"{done.snapshots:,} snapshots of routes taken; {done.known:,} units were here "
                  "already")  # fmt: skip
    if state.json:
        state.emit({"lakes": results})
    else:
        state.say("now run `flowpeer rollup`, then `flowpeer verify`")
