"""Hours rolled up by several processes: who does which, and what comes back.

The plan is made once, here. Hours go out with the configuration that they were planned with, a few
that follow one another at a time; each process reads the record for itself and writes its hours
into the lake, under their locks, as this one would. What comes back is what was reported and how it
ended. A process that is killed costs the hour that it was at, which another one does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.pipeline.hour import Tried
from flowpeer.reporter import Reporter
from flowpeer.rollup.planner import Hour

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

ROWS = 2_000_000
"""Of flow records that a process should have to do: its start costs about as much as half of it."""
HOURS = 24
"""Handed out at once, at most: rates and metering are read by the day."""
END_S = 30.0
"""For a process that is to end to finish what it reads, before it is killed."""
ENGINES = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS")
"""What tells Polars and pyarrow how many threads they may have."""
COMMAND = (sys.executable, "-P", "-m", "flowpeer.pipeline.worker")


@dataclass(eq=False)
class Worker:
    """A process and what it was given; the first of `hours` is the one that it is at."""

    process: subprocess.Popen[bytes]
    channel: Connection
    hours: deque[Hour] = field(default_factory=deque)

    def give(self, hours: Sequence[Hour]) -> None:
        """Hand out hours."""
        self.hours = deque(hours)
        with suppress(OSError):  # it is gone, which its end of the channel tells
            self.channel.send(hours)

    def end(self) -> str:
        """How it ended by itself."""
        self.channel.close()
        status = self.process.wait()
        return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def processes(jobs: int, hours: int, rows: Sequence[int] | None = None) -> int:
    """How many processes are worth it for some hours of so many rows each (None: as many as can
    be). One: this one, whose threads share the hours."""
    worth = jobs if rows is None else sum(rows) // max([ROWS, *rows])
    return max(1, min(jobs, hours, worth))


def try_hours(
    network: Configuration, lake: Lake, hours: Sequence[Hour], reporter: Reporter,
    advance: Callable[[int], None], *, jobs: int, count: int,
) -> Iterator[Tried]:  # fmt: skip
    """Roll up hours in `count` processes that use `jobs` cores together; how each hour ended, in
    the order in which they ended.

    Raises:
        Whatever ended a process: no room, a defect.
    """
    from multiprocessing.connection import wait

    size = min(HOURS, ceil(len(hours) / (4 * count)))
    waiting = deque(hours[at : at + size] for at in range(0, len(hours), size))
    lost: set[str] = set()
    workers: list[Worker] = []
    root = lake.root.absolute()
    try:
        for n in range(count):
            threads = jobs // count + (n < jobs % count)
            workers.append(started(network, root, threads))
            if waiting:
                workers[-1].give(waiting.popleft())
        while busy := [worker for worker in workers if worker.hours]:
            ready = wait([worker.channel for worker in busy])
            for worker in (worker for worker in busy if worker.channel in ready):
                try:
                    kind, what = worker.channel.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    yield from _ended(worker, workers, waiting, lost, reporter)
                    continue
                if kind == "rows":
                    advance(what)
                elif kind == "say":
                    reporter.say(what[0], level=what[1])
                elif kind == "warn":
                    reporter.warn(what)
                elif kind == "failed":
                    raise what
                else:
                    worker.hours.popleft()
                    yield what
                    if not worker.hours and waiting:
                        worker.give(waiting.popleft())
    finally:
        stop(workers)
        lake.staging.sweep()


def started(network: Configuration, root: Path, threads: int) -> Worker:
    """A process of so many threads that waits for hours of the lake at `root`, an absolute path."""
    from multiprocessing.connection import Pipe

    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(  # noqa: S603  # our own module
            [*COMMAND, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env=os.environ | dict.fromkeys(ENGINES, str(threads)),
            start_new_session=True,  # Ctrl-C is for this process, which ends the others
        )  # fmt: skip
    with suppress(OSError):
        ours.send((network, root, threads))
    return Worker(process, ours)


def _ended(
    worker: Worker, others: Sequence[Worker], waiting: deque[Sequence[Hour]], lost: set[str],
    reporter: Reporter,
) -> Iterator[Tried]:  # fmt: skip
    """What a process that ended by itself had to do goes to the others; an hour that ended two of
    them is left as it was, and so is everything where none is left."""
    how = worker.end()
    at, *rest = worker.hours
    given_up = [at] if at.name in lost else []
    if not given_up:
        lost.add(at.name)
        rest.append(at)
    waiting.extend([hour] for hour in rest)
    if not others:
        given_up += [hour for some in waiting for hour in some]
        waiting.clear()
    for other in others:
        if not other.hours and waiting:
            other.give(waiting.popleft())
    for hour in given_up:
        reporter.warn(
            f"{hour.start:%Y-%m-%d %H}:00 left as it was: a process that rolls up {how}; is there "
            "enough memory? fewer --jobs need less, and the next `rollup` does what is left"
        )
        yield Tried(hour)


def stop(workers: Sequence[Worker]) -> None:
    """End all processes, and what they have begun."""
    for worker in workers:
        worker.channel.close()  # one that waits for hours ends by itself
        if worker.hours:
            worker.process.send_signal(signal.SIGTERM)
    for worker in workers:
        try:
            worker.process.wait(END_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
