"""What an error is to whoever runs a command: one line, a next step, and an exit status."""

from __future__ import annotations

import errno
import os
import sys
from typing import NamedTuple

import typer

from flowpeer.cli.state import printable

_DISK_ADVICE = {
    errno.ENOSPC: "make room there, then run it again: nothing is lost",
    errno.EDQUOT: "make room there, or raise the quota, then run it again: nothing is lost",
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR, errno.ENOENT),
        "name another place, or see what stands there (`ls -ld`)",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        "run it as the user who owns that (`ls -ld` says who), or name another place",
    ),
    errno.EROFS: "mount it for writing, or name another place",
    errno.EIO: "see what the kernel says of the disk (`dmesg`), then run it again",
}


class ErrorMessage(NamedTuple):
    """What went wrong, the next step, and the exit status."""

    what: str
    advice: str
    status: int

    def say(self, *, as_json: bool) -> int:
        """A line and a next step on stderr; with --json an object on stdout too."""
        if not self.what:
            return self.status
        print(printable(f"error: {self.what}"), file=sys.stderr)
        if self.advice:
            print(printable(f"try: {self.advice}"), file=sys.stderr)
        if as_json:
            import json

            document = {"error": self.what, "advice": self.advice, "exit": self.status}
            print(json.dumps(document, ensure_ascii=True))
        return self.status


def complaint(error: Exception) -> ErrorMessage:
    """What an error is to whoever runs a command."""
    from flowpeer.errors import ConfigError, FlowpeerError, from_leaf

    if isinstance(error, typer.exceptions.TyperException):
        return _explain_usage(error)
    known = error if isinstance(error, FlowpeerError) else from_leaf(error)
    if known is None:
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            advice = _DISK_ADVICE.get(error.errno or 0, "")
            return ErrorMessage(f"{where}{error.strerror or error}", advice, 3)
        if _is_full(error):
            return ErrorMessage(_first_line(error), _DISK_ADVICE[errno.ENOSPC], 3)
        if _is_damaged_table(error):
            return ErrorMessage(_first_line(error), "`flowpeer verify` names the damaged file", 3)
        return ErrorMessage(
            f"internal error: {type(error).__name__}: {_first_line(error)}",
            "run it again with --debug and report what it prints",
            4,
        )
    if isinstance(known, ConfigError) and len(known.problems) > 1:
        lines = "".join(f"\n  {problem}" for problem in known.problems)
        return ErrorMessage(known.what + lines, known.advice, known.exit_code)
    return ErrorMessage(known.what, known.advice, known.exit_code)


def _of_engine(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("polars", "pyarrow", "duckdb", "_duckdb")


def _is_full(error: Exception) -> bool:
    """An engine found no room for what it puts aside."""
    return _of_engine(error) and os.strerror(errno.ENOSPC) in str(error)


def _is_damaged_table(error: Exception) -> bool:
    """An engine could not read a Parquet file of the lake."""
    return _of_engine(error) and "parquet" in str(error).lower()


def _explain_usage(error: Exception) -> ErrorMessage:
    message = getattr(error, "format_message", lambda: str(error))()
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        print(message, file=sys.stderr)
        return ErrorMessage("", "", 2)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "flowpeer"
    return ErrorMessage(message, f"`{path} --help` lists what it takes", 2)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
