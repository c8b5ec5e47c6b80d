"""`verify`: are the files those that were written, and does everything add up?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowpeer.cli.state import State

if TYPE_CHECKING:
    from datetime import datetime

    from flowpeer.lake.verify import Fault
    from flowpeer.rollup.conserve import Identity
    from flowpeer.rollup.hours import Hour, Rollup

Period = tuple["datetime", "datetime"]


def verify(
    ctx: typer.Context,
    period: Annotated[
        str | None, typer.Option(help="Only its hours, like 2026-07-01; see candidates.")
    ] = None,
) -> None:
    """Digests of all files, and sums through every stage.

    For a period the flow records of its hours are spread anew. A damaged file costs its own hours:
    the sums of the others are compared all the same.
    """
    from flowpeer.cli.period import parse_period
    from flowpeer.lake import compact
    from flowpeer.lake.ledger import Ledger
    from flowpeer.lake.verify import verify_files
    from flowpeer.rollup.hours import Rollup

    state: State = ctx.obj
    lake = state.lake()
    asked = parse_period(period) if period else None
    compact.recover(lake)
    with lake.flow_files(alone=False):
        checked: set[str] = set()
        faults: list[Fault] = []
        ledger = Ledger(lake)
        for relative, fault in verify_files(ledger, asked):
            checked.add(relative)
            if fault is not None:
                faults.append(fault)
        rollup = Rollup(lake, state.network(), ledger=ledger, period=asked or (None, None))
        identities = [
            {"identity": i.name, "left": i.left, "right": i.right, "holds": i.holds}
            for i in _identities(state, rollup, asked, {fault.path for fault in faults})
        ]
    _report(state, len(checked), faults, identities)


def _identities(
    state: State, rollup: Rollup, asked: Period | None, damaged: set[str]
) -> Iterator[Identity]:
    from flowpeer.lake.account import received
    from flowpeer.rollup.conserve import Identity, conservation, hours_conserved

    ledger_is_whole = not any(path.startswith(("captures/", "flows/")) for path in damaged)
    if asked is None and ledger_is_whole:
        yield from (Identity(i.name, i.left, i.right) for i in received(rollup.ledger))
    there = rollup.files or rollup.pruned
    if not there or not rollup.snapshots:
        return
    hours = rollup.plan(*(asked or ()))
    stale = [h for h in hours if h.changed]
    if stale:
        state.warn(f"{len(stale)} hours are not rolled up, so their sums are not compared; "
                   "run `flowpeer rollup`")  # fmt: skip
    if asked is None and not damaged and not stale:
        yield from conservation(rollup, again=True)
        return
    sound = [h for h in hours if not h.changed and not h.blocked and not _hit(h, damaged)]
    if len(sound) < len(hours) - len(stale):
        state.say(f"sums of {len(sound)} of {len(hours)} hours are compared")
    yield from hours_conserved(rollup, sound, again=asked is not None)


def _hit(hour: Hour, damaged: Iterable[str]) -> bool:
    """Whether one of an hour's files is damaged."""
    from flowpeer.lake.store import partition_hour

    folders = {partition_hour(name) for name in hour.files}
    for path in damaged:
        table, _, rest = path.partition("/")
        if table in ("traffic", "traffic_routes") and rest == hour.relative:
            return True
        if table == "flows" and partition_hour(path) in folders:
            return True
    return False


def _report(
    state: State, files: int, faults: list[Fault], identities: list[dict[str, Any]]
) -> None:
    broken = [i for i in identities if not i["holds"]]
    if state.json:
        state.emit(
            {
                "files": files,
                "faults": [{"path": f.path, "what": f.what, "next_step": f.advice} for f in faults],
                "identities": identities,
            }
        )
    for fault in faults:
        state.warn(f"{fault.path}: {fault.what}; {fault.advice}")
    for identity in broken:
        state.warn(f"{identity['identity']}: {identity['left']:,} against {identity['right']:,}")
    if not state.json:
        for identity in identities:
            if identity["holds"]:
                state.tell(f"{identity['identity']}: {identity['left']:,}")
        state.tell(f"{files} files, {len(faults)} faults, "
              f"{len(identities) - len(broken)} of {len(identities)} identities hold")  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(verify)
