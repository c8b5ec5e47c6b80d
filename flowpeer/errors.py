"""What can go wrong, and what the process then says and returns.

    FlowpeerError            facts, message, next step        exit
    ├── UsageError           invalid usage                    2
    │   └── ConfigError      flowpeer.toml: every mistake      2
    ├── InputError           a file that cannot be read        3   (also ValueError)
    ├── NoDataError          nothing to work on                3   (also LookupError)
    ├── LockedError          another process holds the lake   75
    └── StoreError           an object store                  2 or 3

Exit 1 is no exception: the work was done, and the message says what is wrong with the data.
An exception outside this tree is a defect of the program: exit 4. `from_leaf` turns the base
error of each leaf package into one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class FlowpeerError(Exception):
    """Base: `what` happened (one line), `advice` is the next step, `exit_code` the status."""

    exit_code = 4

    def __init__(self, what: str, *, advice: str = "") -> None:
        self.what = what
        self.advice = advice
        super().__init__(what)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is made of several facts keeps them on the way from another process."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[FlowpeerError], args: tuple[str, ...], facts: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class UsageError(FlowpeerError):
    """Bad command line or configuration."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more mistakes in a configuration file, all of them at once.

    `problems` holds one line each: where in the file, the value, what would be accepted.
    """

    def __init__(self, path: str, problems: Sequence[str], *, advice: str = "") -> None:
        self.path = path
        self.problems = tuple(problems)
        head = self.problems[0] if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        super().__init__(f"{path}: {head}", advice=advice)


class InputError(FlowpeerError, ValueError):
    """A file that cannot be read: where it stopped and why."""

    exit_code = 3

    def __init__(
        self,
        path: str,
        what: str,
        *,
        offset: int | None = None,
        line: int | None = None,
        advice: str = "",
    ) -> None:
        self.path = path
        self.offset = offset
        self.line = line
        at = f", line {line}" if line is not None else ""
        at += f", offset {offset}" if offset is not None else ""
        super().__init__(f"{path}{at}: {what}", advice=advice)


class NoDataError(FlowpeerError, LookupError):
    """A period, table or source without data."""

    exit_code = 3


class LockedError(FlowpeerError):
    """Another process is working on the lake."""

    exit_code = 75


class StoreError(FlowpeerError):
    """An object store cannot be used as it is asked to (2), or not now (3).

    It is no InputError: a document that cannot be fetched is not a damaged one.
    """

    def __init__(self, what: str, *, advice: str = "", exit_code: int = 3) -> None:
        self.exit_code = exit_code
        super().__init__(what, advice=advice)


def suggestion(word: str, known: Iterable[str]) -> str:
    """What may have been meant by a word that is not known; else what is known."""
    choices = list(known)
    near = difflib.get_close_matches(word, choices, n=1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(choices) or 'none'}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError names `path` where it names no file: that of `write` and `fsync` never does."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def is_interrupt(error: Exception) -> bool:
    """Whether Ctrl-C stands behind it: DuckDB, where it hears it in the main thread, raises an
    error of its own for it."""
    return type(error) is RuntimeError and str(error) == "Query interrupted"


def from_leaf(error: Exception) -> FlowpeerError | None:
    """The error of this tree that says what a leaf package's base error says; None for others."""
    from flowpeer_ingest.errors import IngestError
    from flowpeer_reports.errors import ReportError

    if isinstance(error, IngestError):
        return InputError(error.path or "-", error.what, offset=error.offset, advice=error.advice)
    if isinstance(error, ReportError):
        return UsageError(str(error), advice=getattr(error, "advice", ""))
    return None
