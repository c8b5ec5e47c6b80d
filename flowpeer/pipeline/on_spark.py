"""Spark as an engine: each task of ours is a job of one partition."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException

from flowpeer.errors import InputError, UsageError
from flowpeer.pipeline.executor import Done, Order

JOBS = 256
"""Handed to Spark at a time, a thread each: more would only wait there instead of here."""
DEFAULTS = {
    "spark.app.name": "flowpeer rollup",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",  # what matters comes back from the tasks
}
PROBE_S = 5.0
"""For a master to accept a connection. Spark itself goes on for a minute."""
PORT = 7077
"""Of a master whose address names none."""


class Spark:
    """A Spark application that runs `function`.

    Raises:
        UsageError: no Java.
        InputError: the master cannot be reached.
    """

    def __init__(self, address: str, function: Callable[[Order], bytes]) -> None:
        self.address = address
        self._function = function
        _find_java()
        _probe(address)
        # Without it Spark takes whatever `python3` is there.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        conf = SparkConf().setMaster(address)
        for key, value in DEFAULTS.items():
            conf.setIfMissing(key, value)
        try:
            self._context = SparkContext(conf=conf)
        except Exception as error:  # of Java, of the cluster, of its configuration
            raise InputError(address, f"cannot be used: {_line(error)}") from error
        self.threads = int(self._context.getConf().get("spark.task.cpus", "1"))
        self._pool = ThreadPoolExecutor(JOBS, "spark")

    def submit(self, label: str, order: Order, done: Done) -> None:
        """Run the function with an order somewhere."""
        self._pool.submit(self._run, label, order, done)

    def _run(self, label: str, order: Order, done: Done) -> None:
        answer: bytes | Exception
        try:
            self._context.setJobDescription(label)
            (answer,) = self._context.parallelize([order], 1).map(self._function).collect()
        except Exception as error:
            answer = self._judged(error)
        done(answer)

    def _judged(self, error: Exception) -> Exception:
        """What Spark says of a task that it gave up, in a line; for all tasks a FlowpeerError."""
        text = str(error)
        if found := re.search(r'Cannot run program "([^"]+)"', text):
            return InputError(
                self.address, f"an executor has no {found[1]}",
                advice="name the Python that has flowpeer there by PYSPARK_PYTHON",
            )  # fmt: skip
        if "PYTHON_VERSION_MISMATCH" in text:
            here = f"{sys.version_info[0]}.{sys.version_info[1]}"
            return InputError(
                self.address, f"an executor has another Python than {here}, which this is",
                advice="name one that has flowpeer there by PYSPARK_PYTHON",
            )  # fmt: skip
        if self._stopped():
            return InputError(
                self.address, f"ended the job: {_line(error)}",
                advice="what was done stays done; the next `rollup` does the rest",
            )  # fmt: skip
        return RuntimeError(_line(error))

    def _stopped(self) -> bool:
        try:
            return bool(self._context._jsc.sc().isStopped())
        except Exception:  # its Java process is gone
            return True

    def machines(self) -> int:
        """How many executors there are now, beside the driver, which is listed with them."""
        if self.address.startswith("local["):
            return 1
        with suppress(Exception):  # its Java process is gone, which the tasks tell
            return len(self._context._jsc.sc().statusTracker().getExecutorInfos()) - 1
        return 1

    def close(self) -> None:
        """End what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):  # its Java process is gone
            self._context.cancelAllJobs()
        self._context.stop()
        self._pool.shutdown()


def _find_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=str(Path(home) / "bin") if home else None) is None:
        raise UsageError(
            "Spark needs Java, and there is none" + (f" in JAVA_HOME {home}" if home else ""),
            advice="install Java 17, or set JAVA_HOME",
        )


def _probe(address: str) -> None:
    """Raise InputError where none of the masters of a Spark cluster accepts connections."""
    kind, _, places = address.partition("://")
    if kind != "spark":
        return
    why: Any = "no address"
    for place in places.split(","):
        host, _, port = place.rpartition(":") if ":" in place else (place, "", str(PORT))
        try:
            socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
        except (OSError, ValueError) as error:
            why = error
        else:
            return
    raise InputError(
        address, f"cannot be reached: {why}", advice="check the address, and that it runs"
    )


def _line(error: Exception) -> str:
    """What Spark says of an error, without the stacks of two languages below it."""
    text = str(error)
    if isinstance(error, PySparkException) and error.getMessage():
        text = error.getMessage() or text
    for pattern in (r"most recent failure: (.+)", r"SparkException: (.+)", r"Exception: (.+)"):
        if found := re.search(pattern, text):
            return found[1].strip()
    return (text.strip().splitlines() or [type(error).__name__])[0]
