"""The command line in processes that need not import it: each is forked from one that has.

Importing the engines takes a second of CPU, most of what a command on a small lake takes, and the
tests run hundreds. A command forked here is a process of its own with its own environment, folder,
streams and exit status, like any other.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

LONGEST = 1 << 17
"""Octets of a request."""
TIME_LIMIT_S = 600


class Warm:
    """A process that has imported every command, and forks itself to run one."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def run(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        """`flowpeer WORDS`, finished. Raises TimeoutError."""
        request = json.dumps([list(words), str(cwd), dict(environment)]).encode()
        assert len(request) <= LONGEST
        ours, theirs = socket.socketpair()
        with (
            ours,
            tempfile.TemporaryFile("w+", encoding="utf-8") as given,
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        ):
            given.write(stdin)
            given.seek(0)
            with theirs:
                handed = [given.fileno(), out.fileno(), err.fileno(), theirs.fileno()]
                socket.send_fds(self._channel, [request], handed)
            ours.settimeout(TIME_LIMIT_S)
            status = ours.recv(16)
            assert status, "the process that runs commands is gone"
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, int(status), out.read(), err.read())

    def close(self) -> None:
        """Let it end."""
        self._channel.close()
        self._server.wait(TIME_LIMIT_S)


def serve(channel: socket.socket) -> None:
    """Run what is asked for until the other end is closed; returns in processes to be ended."""
    from flowpeer.cli.commands import COMMANDS

    for command in COMMANDS:
        import_module(f"flowpeer.cli.{command.target.partition(':')[0]}")
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
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        with suppress(OSError):
            os.write(answer, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(answer)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    words, cwd, environment = json.loads(request)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["flowpeer", *words]
    from flowpeer.cli import main

    main()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        serve(listening)
