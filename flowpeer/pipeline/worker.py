"""A process that rolls up the hours that it is given (flowpeer.pipeline.jobs).

python -m flowpeer.pipeline.worker DESCRIPTOR
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.pipeline.hour import already, try_hour
from flowpeer.rollup.fingerprint import HOUR
from flowpeer.rollup.planner import Hour, RollupPlanner


class _ChannelReporter:
    """A `Reporter` whose user is at the other end."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel

    def say(self, text: str, *, level: int = 0) -> None:
        """Pass on what was done."""
        self._channel.send(("say", (text, level)))

    def warn(self, text: str) -> None:
        """Pass on what is wrong."""
        self._channel.send(("warn", text))

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Pass on the rows read."""
        yield lambda rows: self._channel.send(("rows", rows))


def work(channel: Connection) -> None:
    """Roll up what comes, until nobody is at the other end any more."""
    network: Configuration
    root: Path
    threads: int
    network, root, threads = channel.recv()
    lake, reporter = Lake(root), _ChannelReporter(channel)
    tables: dict[Any, Any] = {}
    try:
        with reporter.progress("") as advance:
            while hours := _given(channel):
                period = hours[0].start, hours[-1].start + HOUR
                rollup = RollupPlanner(lake, network, period=period, threads=threads, tables=tables)
                for hour in hours:
                    tried = already(rollup, hour, reporter) or try_hour(
                        rollup, hour, reporter, advance
                    )
                    channel.send(("tried", tried))
    except Exception as error:
        error.add_note(traceback.format_exc())  # which does not come along by itself
        with suppress(OSError):  # nobody is there any more
            channel.send(("failed", _portable(error)))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends
        lake.close()


def _given(channel: Connection) -> list[Hour]:
    """The next hours; none where nobody is at the other end any more."""
    try:
        return list(channel.recv())
    except (EOFError, ConnectionResetError):
        return []


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _watch(channel: Connection) -> None:
    """End this process, whatever it is at, once nobody is at the other end any more."""
    gone = select.poll()
    gone.register(channel.fileno(), 0)  # a hang-up is always reported
    gone.poll()
    os.kill(os.getpid(), signal.SIGTERM)


def _end(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # what it has begun is removed
    given = Connection(int(sys.argv[1]))
    threading.Thread(target=_watch, args=(given,), daemon=True).start()
    work(given)
