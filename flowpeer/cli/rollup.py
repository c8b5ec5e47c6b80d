"""`rollup`: bringing the tables up to date, only where something changed."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.cli.arguments import parse_shard, parse_time
from flowpeer.cli.state import CommandState, table_or_json
from flowpeer.errors import UsageError
from flowpeer.pipeline.rollup import plan, roll_up

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, max=1024, show_default=False,
        help="Cores to use, by as many processes where there are several hours to do. Without it "
        "all cores, and fewer processes where there is little to do.",
    ),
]  # fmt: skip
On = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="ENGINE", show_default=False,
        help="Have the hours done by an engine: spark://HOST:PORT, local-cluster[2,1,1024], yarn, "
        "k8s://https://HOST:PORT, or dask://HOST:PORT.",
    ),
]  # fmt: skip


def check_engine(on: str | None, jobs: int | None) -> None:
    """Raise UsageError for words that do not go together."""
    if on is not None and jobs is not None:
        raise UsageError(
            "--jobs is for this machine, and --on for others",
            advice="leave out --jobs: the engine decides how many hours run in parallel",
        )


def rollup(
    ctx: typer.Context,
    from_: Annotated[str | None, typer.Option("--from", help="First hour (UTC).")] = None,
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive (UTC).")] = None,
    shard: Annotated[str, typer.Option(help="i/n: only every n-th hour, from the i-th.")] = "1/1",
    jobs: Jobs = None,
    on: On = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only say what would be done, and why.")
    ] = False,
) -> None:
    """Flow records into traffic by network, where needed.

    Only the hours are done whose inputs changed: flows, routes, rates or configuration.
    """
    state: CommandState = ctx.obj
    start, end = (parse_time(text) if text else None for text in (from_, to))
    if start and end and end <= start:
        raise UsageError(f"--to {to} is not after --from {from_}", advice="--to is exclusive")
    check_engine(on, jobs)
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
    rolled = roll_up(
        state.network(), state.lake(), state, start=start, end=end, shard=part, jobs=jobs, on=on
    )
    if state.json:
        state.emit(rolled.summary())
    elif not rolled.rolled_up:
        state.tell(f"{rolled.hours} hours, all up to date")
    else:
        why = ", ".join(f"{n} {reason}" for reason, n in rolled.reasons.items())
        state.tell(f"{rolled.rolled_up} of {rolled.hours} hours rolled up ({why})")
