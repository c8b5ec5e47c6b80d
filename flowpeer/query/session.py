"""The parent's side of a query: a child process that is asked, waited for, and stopped.

Nothing of DuckDB runs here. So Ctrl-C is noticed at once, and a query that does not stop when it is
asked to is killed, with everything it took.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flowpeer import errors
from flowpeer.errors import FlowpeerError, UsageError
from flowpeer.mirror import ON_DEMAND, remote_of
from flowpeer.query.table_sources import NONE, Crossings, Relations
from flowpeer_core.machine import cores

if TYPE_CHECKING:
    import pyarrow as pa

GRACE_S = 1.0
"""Between the word to stop and the end of the process."""

DISK_BYTES = 64 << 30
"""What a query may put aside in its private folder."""


AT_ONCE = 16
"""Files of an object store that are brought."""

_ASKS = frozenset({"need", "fetch"})
"""Of a message of the process that is no answer."""

LOOK_S = 1.0
"""How often a waiting session looks for a Ctrl-C whose exception was lost."""


class _Interrupts:
    """Ctrl-C while a query runs.

    The exception that a signal handler raises is lost where the interpreter is just in a callback
    (of the garbage collector, say), so what came is remembered as well.
    """

    def __init__(self) -> None:
        self.came = False
        self._ours = False

    def __enter__(self) -> _Interrupts:
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.look()

    def _note(self, *_: object) -> None:
        self.came = True
        raise KeyboardInterrupt

    def look(self) -> None:
        """Raise KeyboardInterrupt if there was one that nobody has seen."""
        if self.came:
            self.came = False
            raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a statement gave: `rows` of them, in a table, or as cells where they are few.

    `columns` are names and DuckDB's types of `cells`, in which times are microseconds since 1970
    UTC, octets hexadecimal, dates and decimals text. Both are None where there is a table.
    """

    rows: int
    table: pa.Table | None = None
    columns: list[tuple[str, str]] | None = None
    cells: list[list[Any]] | None = None

    def arrow(self) -> pa.Table:
        """The table; empty where the statement made one instead of reading any."""
        import pyarrow as pa

        return pa.table({}) if self.table is None else self.table


class QuerySession:
    """Queries over the lake at `lake_root`, in a process of their own that can only read it.

    `configured` holds the tables made from flowpeer.toml, or gives them when a query first names a
    table; `crossings` makes the files of the table of that name (`pipeline.crossings`), without it
    there are none; `memory_bytes` is what a query may take, else a share of the machine's
    (`flowpeer.engine.MEMORY_SHARE`). Temporary tables and views
    live as long as the process: until `close`, or until a query had to be killed. `note` says what
    the system lacks to keep the process in, once it has started. Use it from one thread at a time.
    """

    def __init__(
        self,
        lake_root: Path,
        *,
        configured: Mapping[str, pa.Table] | Callable[[], Mapping[str, pa.Table]] = NONE,
        crossings: Crossings | None = None,
        memory_bytes: int | None = None,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self.note = ""
        self._made = False
        self._cancelled = False
        self._lake = lake_root.resolve()
        self._configured = configured
        self._crossings = crossings
        self._relations: Relations | None = None
        self._memory = memory_bytes or 0
        self._disk = disk_bytes
        self._number = 0
        self._attached: list[dict[str, Any]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._heard = b""
        self._interrupts = _Interrupts()
        self._sending = threading.Lock()
        self._fetching: ThreadPoolExecutor | None = None
        self._not_fetched: Exception | None = None

    def __enter__(self) -> QuerySession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        timeout_seconds: float | None = None,
        flat: bool = False,
        most: int = 0,
    ) -> pa.Table:
        """The rows of one reading statement, with `$name` parameters bound.

        SELECT, FROM, WITH, VALUES, TABLE, PIVOT, DESCRIBE, SHOW and SUMMARIZE are taken, EXPLAIN of
        one of them, and CREATE TEMP TABLE|VIEW name AS one of them (which gives no rows), also
        before another statement. Types are those that every engine has (`query.portable`): sums
        that DuckDB gives as HUGEINT come back as int64 where they fit, intervals as text; with
        `flat` structures and maps as JSON text too. A result of more than `most` octets, as text,
        is refused (0: none is).

        Raises:
            UsageError: anything else, an error in the statement (with its line and column), a
                query that needs more memory than allowed, or was still running after
                `timeout_seconds`.
            InputError: a file of the lake that cannot be read.
            KeyboardInterrupt: Ctrl-C; the query is stopped.
        """
        answer = self.ask(sql, parameters, timeout_seconds=timeout_seconds, flat=flat, most=most)
        return answer.arrow()

    def ask(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        timeout_seconds: float | None = None,
        flat: bool = False,
        few: int = -1,
        most: int = 0,
    ) -> QueryResult:
        """As `query`; up to `few` rows come as cells, for which no library is imported."""
        values = {name: _plain(name, value) for name, value in (parameters or {}).items()}
        request = {"sql": sql, "flat": flat, "few": few, "most": most, "parameters": values}
        outcome = self._exchange(request, timeout_seconds)
        self._made = self._made or bool(outcome["made"])
        if "file" not in outcome:
            columns = [(name, kind) for name, kind in outcome.get("columns", [])]
            return QueryResult(outcome.get("rows", 0), None, columns, outcome.get("cells", []))
        import pyarrow.parquet as pq

        path = self._private() / Path(outcome["file"]).name
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read().replace_schema_metadata(None)
        path.unlink()
        return QueryResult(outcome["rows"], table)

    def attach(self, name: str, path: Path) -> None:
        """A file of the operator's own as the table `name`, to be read only; as it is now.

        Raises:
            InputError: a file that cannot be read.
            UsageError: there is a table of that name.
        """
        from flowpeer.query.attach import to_parquet

        file = f"attached_{len(self._attached)}.parquet"
        to_parquet(path, self._private() / file)
        self._exchange({"attach": name, "file": file}, None)
        self._attached.append({"attach": name, "file": file})

    def cancel(self) -> None:
        """From another thread: the query that runs, or is about to, raises UsageError. There is
        no further one."""
        self._cancelled = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process and remove its folder."""
        self._end()
        if self._fetching is not None:
            self._fetching.shutdown(cancel_futures=True)
            self._fetching = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _exchange(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        """Send a request, starting the process where there is none, and wait for its answer."""
        with self._interrupts:
            return self._answer(request, seconds)

    def _answer(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        self._number += 1
        request = {"number": self._number, **request}
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        try:
            if self._process is None:
                self._start(deadline)
            if self._cancelled:
                raise UsageError("the query was cancelled")
            self._not_fetched = None
            if self._relations is not None:
                self._relations.fetched_octets = 0
            self._send(request)
            reply = self._reply(deadline)
            while reply is not None and (
                _ASKS & reply.keys() or reply.get("number") not in (None, self._number)
            ):  # else it is an answer that nobody waited for any more
                if "need" in reply and reply["number"] == self._number:
                    tables = self._find(reply["need"])
                    self._send({"number": self._number, "tables": tables})
                if "fetch" in reply:
                    self._fetch(reply["fetch"])
                reply = self._reply(deadline)
        except BaseException:
            self._interrupts.came = False  # this is it, or it ends all the same
            self._stop()
            raise
        if reply is None:
            lost = self._stop()
            raise UsageError(
                f"the query was stopped after {seconds:g} s{lost}",
                advice="narrow it to fewer days or columns, or allow more with --timeout",
            )
        if reply.get("stopped"):
            raise KeyboardInterrupt
        if "error" in reply:
            raise self._not_fetched or _error(reply["error"])
        return reply

    def _fetch(self, place: str) -> None:
        """Bring a file of an object store, several at once, and tell the process."""
        if self._fetching is None:
            self._fetching = ThreadPoolExecutor(AT_ONCE, "fetching")
        self._fetching.submit(self._brought, place)

    def _brought(self, place: str) -> None:
        assert self._relations is not None
        try:
            self._relations.fetch(place)
        except Exception as error:
            self._not_fetched = self._not_fetched or error
        with contextlib.suppress(FlowpeerError, AssertionError):  # it ended meanwhile
            self._send({"fetched": place, "here": self._not_fetched is None})

    def _start(self, deadline: float) -> None:
        private = self._private()
        log = private / "messages"
        with log.open("wb") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flowpeer.query.child"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages,
                start_new_session=True, bufsize=0,
            )  # fmt: skip
        self._heard = b""
        self._send(
            {
                "lake": str(self._lake),
                "on_demand": [ON_DEMAND] if remote_of(self._lake) is not None else [],
                "seen": str(self._seen()),
                "private": str(private),
                "attached": self._attached,
                "memory": self._memory,
                "disk": self._disk,
                "threads": cores(),
            }
        )
        reply = self._reply(deadline)
        if reply is not None and "error" in reply:
            self._end()
            raise _error(reply["error"])
        self.note = str(reply["note"]) if reply is not None else ""

    def _seen(self) -> Path:
        """The lake as DuckDB is given it: a path that is no pattern, of which it would list the
        folder above."""
        if not set("*?[") & set(str(self._lake)):
            return self._lake
        link = self._private() / "lake"
        if not link.is_symlink():
            link.symlink_to(self._lake)
        return link

    def _find(self, names: list[str] | None) -> list[dict[str, Any]]:
        if self._relations is None:
            self._relations = Relations(self._seen(), self._configured, self._crossings)
        return self._relations.find(names, self._private())

    def _private(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="flowpeer-sql-")
        return Path(self._folder.name)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        data = json.dumps(message, default=str).encode() + b"\n"
        try:
            with self._sending:
                while data:
                    data = data[os.write(self._process.stdin.fileno(), data) :]
        except BrokenPipeError:
            self._died()

    def _reply(self, deadline: float) -> dict[str, Any] | None:
        """The next message; None where it has not come by the deadline."""
        assert self._process is not None
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            self._interrupts.look()
            remaining = deadline - time.monotonic()
            ready, _, _ = select.select([out], [], [], min(max(0.0, remaining), LOOK_S))
            if not ready:
                if remaining > LOOK_S:
                    continue
                return None
            data = os.read(out, 1 << 16)
            if not data:
                self._died()
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _died(self) -> None:
        """The process ended by itself: its limits, or a defect of an engine."""
        assert self._process is not None
        status = self._process.wait()
        lost = self._end()
        errors = (self._private() / "messages").read_text(errors="replace").strip()
        if "bad_alloc" in errors or "MemoryError" in errors or status == -9:
            raise UsageError(
                f"the query needs more memory than it is allowed{lost}",
                advice="narrow it to fewer days or columns",
            )
        why = errors.splitlines()[-1] if errors else f"status {status}"
        raise UsageError(
            f"the query ended its process: {why[:200]}{lost}", advice="write it in another way"
        )

    def _stop(self) -> str:
        """Tell the process to stop; where it does not, end it. Says what was lost."""
        if self._process is None:
            return ""
        try:
            if self._process.poll() is None:
                self._send({"stop": self._number})
                until = time.monotonic() + GRACE_S
                while (reply := self._reply(until)) is not None:
                    if reply.get("number") == self._number and not _ASKS & reply.keys():
                        return ""
        except (KeyboardInterrupt, FlowpeerError):
            pass
        return self._end()

    def _end(self) -> str:
        if self._process is None:
            return ""
        process, self._process = self._process, None
        process.kill()
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        made, self._made = self._made, False
        return ", and its temporary tables are gone" if made else ""


def _error(outcome: dict[str, str]) -> FlowpeerError:
    """An error of the child as one of ours."""
    kind = getattr(errors, outcome["kind"], None)
    if not (isinstance(kind, type) and issubclass(kind, FlowpeerError)):
        return FlowpeerError(f"{outcome['kind']}: {outcome['what']}", advice=outcome["advice"])
    error = kind.__new__(kind)
    FlowpeerError.__init__(error, outcome["what"], advice=outcome["advice"])
    if isinstance(error, errors.InputError):
        error.path, error.offset, error.line = outcome["path"], None, None
    return error


def _plain(name: str, value: object) -> object:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(name, v) for v in value]
    raise UsageError(
        f"parameter {name} is a {type(value).__name__}", advice="give text or a number"
    )
