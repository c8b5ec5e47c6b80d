"""The command line: parse, call, print. Engines are imported inside the commands."""

from __future__ import annotations

import atexit
import gc
import os
import sys

__all__ = ["main"]


def main() -> None:
    """The entry point `flowpeer`."""
    ending = _Ending()
    atexit.register(ending.end)  # before anything else registers: it is called last
    # Nothing of ours multiplies matrices, and threads that wait for some cost CPU.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nor has anything plugins for pydantic, which would be looked for in all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()  # until the command's modules are imported: to look among them is a tenth of that
    from flowpeer.cli.app import run

    ending.status = run()
    raise SystemExit(ending.status)


class _Ending:
    """The end of a process whose command has ended. Python takes apart each object of the engines,
    which is half of the CPU that a small command takes, and the kernel does it at no cost."""

    status: int | None = None

    def end(self) -> None:
        """Called when all threads have ended and everything else that waits for the end is done."""
        if self.status is None:
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        except (OSError, ValueError):
            return  # Python says so, and has a status for it
        os._exit(self.status)
