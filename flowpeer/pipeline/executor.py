"""Hours rolled up on another machine: what an executor of Spark or Dask does with an order.

The hours go to a process of their own, by the channel of local ones (flowpeer.pipeline.jobs), so
that neither the threads nor the memory of the executor matter, and nothing of ours stays there.
What comes back is for the log and for what is to be tried again: whether an hour is done, the
driver reads from the lake's record (flowpeer.pipeline.engines).
"""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.pipeline.jobs import started, stop
from flowpeer.rollup.planner import Hour

Order = tuple[str, bytes]
"""The version of flowpeer that gives it, and the pickled `RollupOrder`."""
Messages = list[tuple[str, Any]]
"""What came back, in order: (`host`, its name), (`unfit`, why nothing is done there), (`say`, text
and level), (`warn`, text), (`tried`, an hour and `done`, `left` or `held`), (`lost`, how the
process ended), (`failed`, what ended it)."""
Done = Callable[[bytes | Exception], None]
"""Is given what a task returned, or what the engine says of one that it gave up."""


@dataclass(frozen=True, slots=True)
class RollupOrder:
    """Hours to do.

    Args:
        root: of the lake, absolute: the same folder on every machine.
        mark: a name in its staging folder, by which it is seen to be the same.
        threads: for each hour.
    """

    root: Path
    mark: str
    network: Configuration
    threads: int
    hours: tuple[Hour, ...]


def shipped() -> Callable[[Order], bytes]:
    """A function that goes to executors as code, and not as the name of a module of ours: one that
    finds no flowpeer there, or another one, says so."""

    def roll_up_hours(order: Order) -> bytes:
        import pickle
        import socket
        import sys

        version, work = order
        at = f"{socket.gethostname()}: {sys.executable} "
        try:
            import flowpeer

            if flowpeer.__version__ != version:
                found = f"has flowpeer {flowpeer.__version__}, and here is {version}"
                return pickle.dumps([("unfit", at + found)])
            from flowpeer.pipeline.executor import do
        except ImportError as error:
            return pickle.dumps([("unfit", f"{at}has no flowpeer {version} ({error})")])
        return do(work)

    roll_up_hours.__module__ = "__main__"  # which cloudpickle does not take for importable
    return roll_up_hours


def do(order: bytes) -> bytes:
    """Carry out a pickled `RollupOrder`; the pickled `Messages`."""
    work: RollupOrder = pickle.loads(order)  # noqa: S301  # of the driver that asked for it
    messages: Messages = [("host", socket.gethostname())]
    if why := _unfit(work):
        messages.append(("unfit", f"{socket.gethostname()}: {why}"))
    else:
        _roll_up(work, messages)
    return pickle.dumps(messages)


def _unfit(work: RollupOrder) -> str:
    """Why the lake cannot be changed from here; empty where it can."""
    lake = Lake(work.root)
    if not (work.root / "staging" / work.mark).is_dir():
        return f"{work.root} is not the lake there"
    return "" if lake.writable else f"may not write into {work.root}"


def _roll_up(work: RollupOrder, messages: Messages) -> None:
    host = messages[0][1]
    worker = started(work.network, work.root, work.threads)
    try:
        worker.give(work.hours)
        while worker.hours:
            try:
                kind, what = worker.channel.recv()
            except (EOFError, OSError):
                messages.append(("lost", f"{host}: a process that rolls up {worker.end()}"))
                return
            if kind in {"say", "warn"}:
                text = what[0] if kind == "say" else what
                print(f"flowpeer: {host}: {text}", file=sys.stderr, flush=True)
            elif kind == "tried":
                hour = worker.hours.popleft()
                how = "held" if what.held else "left" if what.done is None else "done"
                what = hour.name, how
            if kind != "rows":
                messages.append((kind, what))
            if kind == "failed":
                return
    finally:
        stop([worker])
