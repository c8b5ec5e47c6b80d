"""The command line in processes that need not import it: each is forked from one that has.

Importing the engines takes a second of CPU, most of what a command on a small lake takes, and the
tests run hundreds. A command forked here is a process of its own with its own environment, folder,
streams and exit status, like any other.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from _typeshed import HasFileno

Finished = subprocess.CompletedProcess[str]

LATE = ("flowpeer.workspace", "highspy", "numpy.ma", "numpy.random", "xlsxwriter")
"""What commands import when they need it."""
LONGEST = 1 << 17
"""Octets of a request."""
TIME_LIMIT_S = 600


class Result(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


class Running:
    """A command in a process of its own."""

    def __init__(self, channel: socket.socket, words: Sequence[str], cwd: Path,
                 environment: Mapping[str, str], stdin: bytes, *, apart: bool) -> None:  # fmt: skip
        request = json.dumps([list(words), str(cwd), dict(environment), apart]).encode()
        assert len(request) <= LONGEST
        self._answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stdout = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self.stderr = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        with theirs, tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            handed = [given.fileno(), self.stdout.fileno(), self.stderr.fileno(), theirs.fileno()]
            socket.send_fds(channel, [request], handed)
        self._answer.settimeout(TIME_LIMIT_S)
        self.pid = self._number()
        self.returncode: int | None = None

    def _number(self) -> int:
        octets = self._answer.recv(16)
        assert octets, "the process that runs commands is gone"
        return int(octets)

    def kill(self) -> None:
        """SIGKILL to the group of a process that was begun apart, if it still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def finish(self, timeout: float = TIME_LIMIT_S) -> Result:
        """Wait for its end, once. Raises TimeoutError."""
        status = self.wait(timeout)
        return Result(status, *self.communicate())

    # As `subprocess.Popen` has them

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        if self.returncode is None and select.select([self._answer], [], [], 0)[0]:
            self.wait(TIME_LIMIT_S)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit status. Raises TimeoutError."""
        if self.returncode is None:
            self._answer.settimeout(timeout)
            self.returncode = self._number()
            self._answer.close()
            self.stdout.seek(0)
            self.stderr.seek(0)
        return self.returncode

    def communicate(self, timeout: float = TIME_LIMIT_S) -> tuple[str, str]:
        """Wait for its end; what it wrote. Raises TimeoutError."""
        self.wait(timeout)
        with self.stdout, self.stderr:
            return self.stdout.read(), self.stderr.read()

    def octets(self, timeout: float = TIME_LIMIT_S) -> tuple[bytes, bytes]:
        """As `communicate`, not decoded."""
        self.wait(timeout)
        with self.stdout, self.stderr:
            return self.stdout.buffer.read(), self.stderr.buffer.read()

    def send_signal(self, number: int) -> None:
        """To itself alone."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Warm:
    """A process that has imported every command, and forks itself to run one."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def begin(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: bytes = b"",
        *, apart: bool = False,
    ) -> Running:  # fmt: skip
        """`flowpeer WORDS`; `apart`: in a session and process group of its own."""
        return Running(self._channel, words, cwd, environment, stdin, apart=apart)

    def close(self) -> None:
        """Let it end."""
        self._channel.close()
        self._server.wait(TIME_LIMIT_S)


@cache
def warm() -> Warm:
    """The process of this test process that runs commands."""
    return Warm()


def flowpeer(*words: object, cwd: Path | None = None, stdin: str = "") -> Finished:
    """`flowpeer WORDS` as a user runs it, finished."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWPEER_", "COV"))}
    running = warm().begin([*map(str, words)], cwd or Path.cwd(), environment, stdin.encode())
    return Finished(words, *running.finish())


def begin(folder: Path, *words: str, **environment: str) -> Running:
    """`flowpeer WORDS` in `folder`, in a process group of its own, with more variables. Those of
    `flowpeer_ingest.faults` make it die, or a call of it fail, at a point of its work."""
    return warm().begin(words, folder, {**os.environ, **environment}, apart=True)


def no_power_cut() -> None:
    """No call waits for the disk, which takes half the time of many tests. What is written others
    read at once, and a process that is killed takes none of it away: only a power cut would."""

    def at_once(descriptor: int | HasFileno) -> None:
        pass

    os.fsync = os.fdatasync = at_once


def serve(channel: socket.socket) -> None:
    """Run what is asked for until the other end is closed."""
    no_power_cut()
    from flowpeer.cli.app import run
    from flowpeer.cli.commands import COMMANDS
    from flowpeer_ingest import faults

    for command in COMMANDS:
        import_module(f"flowpeer.cli.{command.target.partition(':')[0]}")
    for module in LATE:
        with suppress(ImportError):  # an extra that is not installed
            import_module(module)
    gc.collect()
    gc.freeze()  # no collection in a child walks, and so copies, what was imported here
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, handed, _, _ = socket.recv_fds(channel, LONGEST, 4)
        if not request:
            return
        if os.fork() == 0:
            channel.close()
            break
        for descriptor in handed:
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, answer = handed
    words, cwd, environment, apart = json.loads(request)
    if child := os.fork():
        if apart:
            with suppress(OSError):  # it has done so itself
                os.setpgid(child, child)
        with suppress(OSError):
            os.write(answer, b"%d" % child)
        _, status = os.waitpid(child, 0)
        with suppress(OSError):
            os.write(answer, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(answer)
    if apart:
        with suppress(OSError):
            os.setpgid(0, 0)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["flowpeer", *words]
    try:
        faults.install()
        leave(run())
    except BaseException:
        traceback.print_exc()
    leave(1)


def leave(status: int) -> NoReturn:
    """End this process as Python does, but without taking apart every object that was imported,
    which costs most of what a small command does."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        serve(listening)
    leave(0)
