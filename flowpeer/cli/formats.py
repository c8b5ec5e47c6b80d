"""`migrate` and `adopt`: the record of a lake made from an older one, or from its files."""

from __future__ import annotations

from typing import Annotated

import typer

from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError
from flowpeer.lake import adopt as adopting
from flowpeer.lake import migrate as migration


def migrate(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it only say what.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Remove what --undo needs, after a migration.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go back to the older format, before --finish.")
    ] = False,
) -> None:
    """Bring the lake of an older version to the present format.

    Without --yes nothing is changed. Data files stay as they are; the records of them are written
    again and compared, every file with its digest, before the lake is of the new format. A run that
    was interrupted is started again. Stop collectors and scheduled jobs before it.
    """
    state: CommandState = ctx.obj
    lake = state.lake()
    lake.require_folder("`migrate`")
    if finish + undo + yes > 1:
        raise UsageError("--yes, --finish and --undo are three different things", advice="say one")
    if finish:
        migration.finish(lake)
        print("finished: what the older version needs is gone")
        return
    if undo:
        removed = migration.undo(lake)
        print(f"back to the older format; {removed:,} files that came since are removed")
        return
    if yes:
        total = migration.look(lake).files
        with state.progress("comparing files", total) as advance:
            done = migration.migrate(lake, advance)
    else:
        done = migration.look(lake)
    written = "written" if yes else "to be written (with --yes)"
    for path in done.missing:
        state.warn(f"{path}: the file is missing; see `flowpeer verify` afterwards")
    if state.json:
        state.emit({"done": yes, "manifests": done.manifests, "files": done.files,
                    "units": done.units, "missing": done.missing,
                    "broken_off_merge": done.journal})  # fmt: skip
        return
    print(f"{done.manifests:,} manifests of {done.files:,} files, {done.units:,} units of work: "
          f"{written}")  # fmt: skip
    if done.journal:
        print("an interrupted merge " + ("is completed" if yes else "will be completed"))
    if yes:
        state.say("try it, then `flowpeer migrate --finish`, or go back with `--undo`")


def adopt(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it only say what.")] = False,
) -> None:
    """Make manifests again from the files of a lake that lost them.

    For a lake restored without its folder `manifests`, or with a damaged manifest. What only the
    record knew is gone: hours are rolled up again, and captures already loaded are not recognised.
    """
    state: CommandState = ctx.obj
    lake = state.workspace().lake(whole=False)
    lake.require_folder("`adopt`")
    if yes:
        found = adopting.candidates(lake)
        with state.progress("reading files", sum(map(len, found.values()))) as advance:
            done = adopting.adopt(lake, advance)
    else:
        paths = [p for paths in adopting.candidates(lake).values() for p in paths]
        done = adopting.Adopted([p.relative_to(lake.root).as_posix() for p in paths])
    for path in done.unreadable:
        state.warn(f"{path}: not readable, not adopted; restore it from a backup or delete it")
    if state.json:
        state.emit({"done": yes, "files": done.files, "unreadable": done.unreadable,
                    "frozen": done.frozen})  # fmt: skip
        return
    print(f"{len(done.files):,} files without a manifest: "
          + ("adopted" if yes else "to be adopted (with --yes)"))  # fmt: skip
    if done.frozen:
        print(f"{len(done.frozen)} hours keep their roll-ups: not all of their flow records are "
              "there")  # fmt: skip
    if yes and done.files:
        state.say("now run `flowpeer rollup`, then `flowpeer verify`")
