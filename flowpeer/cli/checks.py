"""`check` and `verify`: is the data what it seems to be, and does it add up?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from flowpeer.checks import integrity
from flowpeer.checks.findings import Finding
from flowpeer.checks.quality import findings
from flowpeer.cli.state import CommandState, printable
from flowpeer.period import parse_period


def show_findings(state: CommandState, found: Sequence[Finding]) -> None:
    """Print findings: all with -v, with -q what is wrong, else what is not good."""
    hidden = ("ok",) if state.verbosity == 0 else () if state.verbosity > 0 else ("ok", "note")
    for f in found:
        if f.level not in hidden:
            step = f"; {f.next_step}" if f.next_step else ""
            print(printable(f"{f.level:<8} {f.subject}: {f.text}{step}"))
    counts = Counter(f.level for f in found)
    state.say(
        f"check: {counts['ok']} ok, {counts['note']} notes, {counts['warning']} warnings"
        + ("" if state.verbosity > 0 else " (-v shows all)")
    )


def check(ctx: typer.Context) -> None:
    """Configuration, sources and data quality.

    Exit 1 if anything is wrong with the data; -v shows also what is right.
    """
    state: CommandState = ctx.obj
    found = findings(state.network(), state.lake().record())
    state.judge(found)
    state.measure()
    if state.json:
        state.emit([f._asdict() for f in found])
    else:
        show_findings(state, found)


def verify(
    ctx: typer.Context,
    period: Annotated[
        str | None, typer.Option(help="Only its hours, like 2026-07-01; see candidates.")
    ] = None,
) -> None:
    """Digests of all files, and sums through every stage.

    For a period the flow records of its hours are spread again. A damaged file costs its own hours:
    the sums of the others are compared all the same.
    """
    state: CommandState = ctx.obj
    asked = parse_period(period) if period else None
    done = integrity.verify(state.network(), state.lake(), state, asked)
    if state.json:
        state.emit(
            {
                "files": done.files,
                "faults": [
                    {"path": f.path, "what": f.what, "next_step": f.advice} for f in done.faults
                ],
                "identities": [
                    {"identity": i.name, "left": i.left, "right": i.right, "holds": i.holds}
                    for i in done.identities
                ],
            }
        )
    for fault in done.faults:
        state.warn(f"{fault.path}: {fault.what}; {fault.advice}")
    for identity in done.broken:
        state.warn(f"{identity.name}: {identity.left:,} against {identity.right:,}")
    if not state.json:
        for identity in done.identities:
            if identity.holds:
                state.tell(f"{identity.name}: {identity.left:,}")
        holding = len(done.identities) - len(done.broken)
        state.tell(f"{done.files} files, {len(done.faults)} faults, "
              f"{holding} of {len(done.identities)} identities hold")  # fmt: skip
