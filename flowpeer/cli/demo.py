"""`demo`: the whole pipeline on a sample network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from flowpeer.cli.state import CommandState, terminal_width
from flowpeer.pipeline.demo import run_demo

DEMO_ASKS = 3
"""Candidates a metro that the demo prints; the HTML page has more."""


def demo(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to make.")] = Path(
        "flowpeer-demo"
    ),
    lake: Annotated[
        str,
        typer.Option("--lake", help="Where its lake is to be, like s3://BUCKET/demo [DIR/lake]."),
    ] = "",
) -> None:
    """The whole pipeline on a synthetic sample network, in DIR."""
    state: CommandState = ctx.obj
    begun = time.monotonic()
    state.config = directory / "flowpeer.toml"
    done = run_demo(directory, state, lake=lake)
    if state.json:
        state.emit(
            {
                "directory": str(directory),
                "records_added": done.records_added,
                "hours_rolled_up": done.hours_rolled_up,
                "files": [str(path) for path in done.files],
                "report": str(done.page),
            }
        )
        return
    from flowpeer.analysis.answers import shown_again  # and the engine of tables

    if done.unchanged:
        state.say("nothing to do: sample, lake and report are what they were")
    width = terminal_width()
    for facts in done.written.shown:
        print(shown_again(done.folder, facts, width, asks=DEMO_ASKS))
    print(f"Report: {done.page}")
    print(f"Next: cd {directory} && flowpeer check")
    state.say(f"{time.monotonic() - begun:.1f} s")
