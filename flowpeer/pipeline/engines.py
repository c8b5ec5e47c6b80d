"""Hours rolled up on the machines of an existing engine: Spark or Dask.

The plan is made once, here. Each task of the engine is some hours with the configuration that they
were planned with; executors write them into the lake, under their locks, as a local process would.
Engines do a task again when its machine is lost, and what it returned is lost with it: so whether
an hour is done, and what was in it, is read here, from the lake's record. What comes back from a
task is for the log, and tells what to try again.
"""

from __future__ import annotations

import pickle
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from math import ceil
from queue import Empty, SimpleQueue
from typing import Protocol

from flowpeer import __version__
from flowpeer.errors import FlowpeerError, InputError, UsageError
from flowpeer.pipeline.executor import Done, Messages, Order, RollupOrder, shipped
from flowpeer.pipeline.hour import Tried, already
from flowpeer.pipeline.jobs import HOURS, ROWS
from flowpeer.reporter import Collected, Reporter
from flowpeer.rollup.planner import Hour, RollupPlanner

PIECES = 8
"""Tasks at least, where there are hours enough: also little work is for several machines."""
TRIES = 2
"""Of an hour whose task is lost. The engine has repeated the task by itself before."""
HELD_TRIES = 15
HELD_S = 2.0
"""Between tries of hours that somebody works on: what a lost machine began may not have ended."""
WAIT_S = 30.0
"""Without any machine, before it is reported."""
EXTRAS = {"dask": "dask"}
"""What the addresses of engines other than Spark begin with, and the extra that each needs."""
MASTER = r"local(-cluster)?(\[.*\])?|yarn|(spark|k8s)://.+"
"""Spark's words for where it is to run."""


class Engine(Protocol):
    """Runs a function on some machines. Nothing is asked of it but that each task ends somehow."""

    address: str
    threads: int
    """For each task."""

    def submit(self, label: str, order: Order, done: Done) -> None:
        """Run the function with an order somewhere. `done` may be called in any thread.

        An engine that is gone gives a FlowpeerError to `done`.
        """

    def machines(self) -> int:
        """How many executors there are now."""

    def close(self) -> None:
        """End what runs."""


def check_address(address: str) -> None:
    """Raise UsageError for one that names no engine."""
    if not re.fullmatch(rf"{MASTER}|({'|'.join(EXTRAS)})://.+", address):
        raise UsageError(
            f"--on {address}: names no engine",
            advice="write it like spark://HOST:7077, local-cluster[2,1,1024], yarn, "
            "k8s://https://HOST:6443 or dask://HOST:8786",
        )


def connect(address: str) -> Engine:
    """Reach an engine.

    Raises:
        UsageError: its extra is not installed, or the address is none.
        InputError: it does not answer.
    """
    check_address(address)
    extra = EXTRAS.get(address.partition("://")[0], "spark")
    try:
        if extra == "dask":
            from flowpeer.pipeline.on_dask import Dask

            return Dask(address, shipped())
        from flowpeer.pipeline.on_spark import Spark

        return Spark(address, shipped())
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("flowpeer"):
            raise
        raise UsageError(
            f"--on {address}: {error.name} is not installed",
            advice=f"pip install 'flowpeer[{extra}]'",
        ) from None


def try_hours_on(
    engine: Engine, rollup: RollupPlanner, hours: Sequence[Hour], reporter: Reporter,
    advance: Callable[[int], None],
) -> Iterator[Tried]:  # fmt: skip
    """Roll up hours on an engine, which is closed at the end; how each hour ended, in the order in
    which that was known.

    Raises:
        InputError: the engine is gone, or a machine cannot do it.
        Whatever ended a process there: no room, a defect.
    """
    lake = rollup.lake
    mark = lake.staging.folder.name
    given: list[tuple[Hour, ...]] = []
    ended: SimpleQueue[tuple[int, bytes | Exception]] = SimpleQueue()

    def give(some: tuple[Hour, ...]) -> None:
        work = RollupOrder(lake.root.absolute(), mark, rollup.network, engine.threads, some)
        number = len(given)
        given.append(some)
        label = f"{some[0].name} to {some[-1].name}" if len(some) > 1 else some[0].name
        order = __version__, pickle.dumps(work)
        engine.submit(label, order, lambda answer: ended.put((number, answer)))

    tries: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.callback(lake.staging.sweep)  # of machines that are gone
        stack.enter_context(closing(engine))
        for some in shared_out(rollup, hours):
            give(some)
        open_tasks, later = len(given), list[Hour]()
        while open_tasks or later:
            if not open_tasks:
                time.sleep(HELD_S)
                for hour in later:
                    give((hour,))
                open_tasks, later = len(later), []
            number, answer = _next(ended, engine, reporter)
            open_tasks -= 1
            host, how, why = _read(engine, answer, reporter)
            for hour in given[number]:
                ended_so = how.get(hour.name, "lost")
                one = already(rollup, hour, Collected() if ended_so == "done" else reporter)
                tries[hour.name] += 1
                if one is None and ended_so == "held" and tries[hour.name] < HELD_TRIES:
                    later.append(hour)
                    continue
                if one is None and ended_so == "lost" and tries[hour.name] < TRIES:
                    give((hour,))
                    open_tasks += 1
                    continue
                if one is None and ended_so in {"done", "lost"}:
                    reporter.warn(_left_undone(lake.root, hour, ended_so, host, why))
                advance(rollup.rows(hour))
                yield one or Tried(hour, held=ended_so == "held")


def shared_out(rollup: RollupPlanner, hours: Sequence[Hour]) -> Iterator[tuple[Hour, ...]]:
    """Hours that follow one another, as tasks: each worth the start of a process, and short enough
    that a lost one costs little."""
    most = max(1, min(HOURS, ceil(len(hours) / PIECES)))
    some: list[Hour] = []
    rows = 0
    for hour in hours:
        some.append(hour)
        rows += rollup.rows(hour)
        if len(some) == most or rows >= ROWS:
            yield tuple(some)
            some, rows = [], 0
    if some:
        yield tuple(some)


def _next(
    ended: SimpleQueue[tuple[int, bytes | Exception]], engine: Engine, reporter: Reporter
) -> tuple[int, bytes | Exception]:
    """What the next task that ends tells."""
    while True:
        try:
            return ended.get(timeout=WAIT_S)
        except Empty:
            if engine.machines() == 0:
                reporter.say(f"{engine.address}: waiting, for it has given no executor yet")


def _read(
    engine: Engine, answer: bytes | Exception, reporter: Reporter
) -> tuple[str, dict[str, str], str]:
    """Pass on what a task returned; its host, how each hour ended, why the rest did not."""
    if isinstance(answer, FlowpeerError):
        raise answer
    if isinstance(answer, Exception):
        return engine.address, {}, f"{engine.address}: {answer}"
    messages: Messages = pickle.loads(answer)  # noqa: S301  # of an executor, which may do anything anyhow
    host, how, why = engine.address, dict[str, str](), ""
    for kind, what in messages:
        match kind:
            case "host":
                host = what
            case "say":
                reporter.say(f"{host}: {what[0]}", level=what[1])
            case "warn":
                reporter.warn(f"{host}: {what}")
            case "tried":
                how[what[0]] = what[1]
            case "lost":
                why = what
            case "failed":
                raise what
            case "unfit":
                raise InputError(
                    engine.address, what,
                    advice="every executor needs this flowpeer and the lake's folder under the "
                    "same path: docs/howto-engines.md",
                )  # fmt: skip
    return host, how, why


def _left_undone(root: object, hour: Hour, ended_so: str, host: str, why: str) -> str:
    text = f"{hour.start:%Y-%m-%d %H}:00 left as it was: "
    if ended_so == "done":
        return f"{text}{host} did it, and nothing of it is here; is {root} the same folder there?"
    return f"{text}{why}; is there enough memory? the next `rollup` does what is left"
