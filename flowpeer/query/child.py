"""The process that runs queries: `python -m flowpeer.query.child`, started by `session`.

One line of JSON a message, both ways. The first says where the lake is and what the limits are;
then the process is confined, and every further line is a query, or a word to stop one. Meanwhile
the process asks what it needs to know of the lake's tables (`relations`). An answer is a Parquet
file in the private folder, or rows where they are few. Whoever closes the input ends the process.

It imports DuckDB and what keeps it in, and no other library: it starts with every question.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TextIO

from flowpeer.engine import MEMORY_SHARE, begin, duckdb, lock
from flowpeer.errors import FlowpeerError, InputError, UsageError
from flowpeer.period import parse_period
from flowpeer.query import confine
from flowpeer.query.execute import Runner
from flowpeer.query.objects import Objects

STOP_AGAIN_S = 0.05
"""A stop that comes between two steps of a query is lost on DuckDB, so it is repeated."""


class RequestReader:
    """Reads the input beside a running query: further queries wait, a stop does not."""

    def __init__(self, lines: TextIO, reply: Callable[[dict[str, Any]], None]) -> None:
        self.requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.con: duckdb.DuckDBPyConnection | None = None
        self.running = 0
        self.stopped = 0
        self._lines = lines
        self._reply = reply
        self._waiting: list[tuple[str, queue.SimpleQueue[bool]]] = []

    def listen(self) -> None:
        for line in self._lines:
            message = json.loads(line)
            if "stop" in message:
                self.stopped = message["stop"]
                self.messages.put(message)
                self._fetched(None, here=False)
                threading.Thread(target=self._stop, args=(self.stopped,), daemon=True).start()
            elif "fetched" in message:
                self._fetched(message["fetched"], here=message["here"])
            elif "tables" in message:
                self.messages.put(message)
            else:
                self.requests.put(message)
        os._exit(0)

    def hear(self, number: int) -> list[dict[str, Any]]:
        """The tables that query `number` has asked for."""
        while True:
            message = self.messages.get()
            if message.get("stop") == number:
                raise KeyboardInterrupt
            if message.get("number") == number:
                return list(message["tables"])

    def fetch(self, place: str) -> None:
        """Have a file of an object store brought; from any thread."""
        here: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._waiting.append((place, here))
        self._reply({"number": self.running, "fetch": place})
        if self.stopped >= self.running or not here.get():
            raise FileNotFoundError(place)

    def _fetched(self, place: str | None, *, here: bool) -> None:
        """Let go those who wait for a file; None: all."""
        for one in [one for one in self._waiting if place in (None, one[0])]:
            self._waiting.remove(one)
            one[1].put(here)

    def _stop(self, number: int) -> None:
        done = threading.Event()
        while self.running == number and self.con is not None:
            self.con.interrupt()
            done.wait(STOP_AGAIN_S)


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what is stopped
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    one_at_a_time = threading.Lock()

    def reply(message: dict[str, Any]) -> None:
        with one_at_a_time:
            replies.write(json.dumps(message) + "\n")
            replies.flush()

    setup = json.loads(sys.stdin.readline() or os._exit(0))
    try:
        root, private = Path(setup["lake"]), Path(setup["private"])
        # It looks up what the machine has, and starts no thread before the process is confined.
        con = duckdb.connect(":memory:", config={"threads": 1, "async_threads": 0})
        stops = RequestReader(sys.stdin, reply)
        if setup["on_demand"]:
            from flowpeer.query.on_demand import OnDemand

            con.register_filesystem(OnDemand(stops.fetch))
        objects = Objects(con, _asking(stops, reply))
        _rehearse(con)
        memory = _allow(con, int(setup["memory"]))
        disk, threads = int(setup["disk"]), int(setup["threads"])
        confine.limit(memory_bytes=memory, disk_bytes=disk, threads=2 * threads)
        note = confine.confine(read=[root], write=[private])
        threading.Thread(target=stops.listen, daemon=True).start()
        begin(con)
        settings: dict[str, int | str] = {
            "max_temp_directory_size": f"{disk}B",
            "threads": threads,
        }  # fmt: skip
        lock(con, Path(setup["seen"]), private, settings, setup["on_demand"])
        stops.con = con
        runner = Runner(con, objects, private)
        for given in setup["attached"]:
            runner.attach(given["attach"], private / given["file"])
    except Exception as error:
        reply({"error": told_error(error)})
        return
    reply({"note": note})
    while True:
        request = stops.requests.get()
        number = request["number"]
        try:
            stops.running = number
            try:
                if stops.stopped >= number:
                    raise KeyboardInterrupt
                answer = runner.serve(request)
            finally:
                stops.running = 0
            reply({"number": number, **answer})
        except KeyboardInterrupt:
            reply({"number": number, "stopped": True})
        except Exception as error:
            if stops.stopped >= number:
                reply({"number": number, "stopped": True})
            else:
                reply({"number": number, "error": told_error(error)})


def _asking(
    stops: RequestReader, reply: Callable[[dict[str, Any]], None]
) -> Callable[[Collection[str] | None], list[dict[str, Any]]]:
    def ask(names: Collection[str] | None) -> list[dict[str, Any]]:
        number = stops.running
        reply({"number": number, "need": None if names is None else sorted(names)})
        return stops.hear(number)

    return ask


def _rehearse(con: duckdb.DuckDBPyConnection) -> None:
    """What is imported on first use is imported now: no file of Python's can be read later."""
    con.execute("SELECT $a, $b", {"a": "1", "b": [1, 0.5, None, True]}).fetchall()
    con.executemany("SELECT ?", [["1"]])
    con.extract_statements("SELECT 1")
    parse_period("2026-01-01")


def _allow(con: duckdb.DuckDBPyConnection, memory: int) -> int:
    """Set the limit of memory, or a share of the machine's or the container's; in bytes."""
    con.execute("SET memory_limit = " + (f"'{memory}B'" if memory else MEMORY_SHARE))
    found = con.execute("SELECT parse_formatted_bytes(current_setting('memory_limit'))")
    return int(found.fetchall()[0][0])


def told_error(error: Exception) -> dict[str, str]:
    """An error as the parent can raise it again."""
    if isinstance(error, MemoryError):
        error = UsageError(
            "the query needs more memory than it is allowed",
            advice="narrow it to fewer days or columns",
        )
    if not isinstance(error, FlowpeerError):
        return {"kind": type(error).__name__, "what": str(error), "advice": ""}
    path = error.path if isinstance(error, InputError) else ""
    kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "flowpeer.errors")
    return {"kind": kind, "what": error.what, "advice": error.advice, "path": path}


if __name__ == "__main__":
    main()
