"""`export`: tables of the lake for other engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError
from flowpeer.period import parse_period

TABLES = ("traffic", "traffic_routes")


def export(
    ctx: typer.Context,
    into: Annotated[str, typer.Argument(help="What is written: iceberg.")],
    folder: Annotated[Path, typer.Argument(help="A table each is a folder in it.", metavar="DIR")],
    table: Annotated[
        list[str] | None,
        typer.Option(help=f"A table of the lake; repeatable [{', '.join(TABLES)}]."),
    ] = None,
    period: Annotated[
        str | None, typer.Option(help="Only its hours: 2026Q3, 2026-07, START/END.")
    ] = None,
) -> None:
    """Tables of the lake for other engines: Iceberg.

    Copies, which engines open by the folder's path. A table that is there gets a new version with
    what is exported now; readers of the version before keep theirs. Needs pyiceberg: pip install
    flowpeer[iceberg].
    """
    state: CommandState = ctx.obj
    if into != "iceberg":
        raise UsageError(f"no export into {into!r}", advice="flowpeer export iceberg DIR")
    start, end = (None, None) if period is None else parse_period(period)
    try:
        from flowpeer.pipeline.iceberg import export as exported
    except ImportError as error:
        raise UsageError(
            f"{error.name or error} is not installed", advice="pip install flowpeer[iceberg]"
        ) from error
    done = []
    for one in exported(
        state.network(), state.lake(), folder, table or TABLES, start=start, end=end
    ):
        done.append({"table": one.table, "path": str(one.path), "rows": one.rows})
        if not state.json:
            state.tell(f"{one.table}: {one.rows:,} rows in {one.path}, version {one.version}")
    if state.json:
        state.emit(done)
