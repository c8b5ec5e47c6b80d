"""Places where a test makes the collector die or an operation fail.

Nothing happens unless `FLOWPEER_FAULTS` is set, which only tests do. It holds rules, separated by
commas, each `action:point:n`: at the n-th passing of `point` in a process (`n*`: from the n-th
on) either die (`kill`: SIGKILL to the whole process group) or raise OSError (`ENOSPC`, `EIO`, …).
Points are the names that `point` is called with, and the calls of `os` that change a disk, since
`install` wraps them: `fsync`, `fdatasync`, `replace`, `unlink`, `truncate`, `fallocate`; with a
`+` behind it, the moment after the call. `FLOWPEER_FAULTS_LOG` names a file that gets a line for
each passing, so that a test can go through all of them.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

VARIABLE = "FLOWPEER_FAULTS"
LOG = "FLOWPEER_FAULTS_LOG"
_CALLS = {
    "fsync": "fsync", "fdatasync": "fdatasync", "replace": "replace", "unlink": "unlink",
    "ftruncate": "truncate", "posix_fallocate": "fallocate",
}  # fmt: skip

_rules: list[tuple[str, str, int, bool]] = []
_log = -1
_passed: Counter[str] = Counter()
active = False


def _nothing(name: str) -> None:
    """No faults are asked for."""


def _pass(name: str) -> None:
    _passed[name] += 1
    passed = _passed[name]
    if _log >= 0:
        os.write(_log, f"{os.getpid()} {name} {passed}\n".encode())
    for action, where, n, onwards in _rules:
        if where == name and (passed == n or (onwards and passed > n)):
            if action == "kill":
                os.killpg(os.getpgid(0), signal.SIGKILL)
            number = getattr(errno, action)
            raise OSError(number, os.strerror(number), f"<{name}>")


point: Callable[[str], None] = _nothing


def install() -> None:
    """Read the variables; wrap the calls of `os` if they ask for anything."""
    global _log, point, active
    rules, log = os.environ.get(VARIABLE, ""), os.environ.get(LOG, "")
    if active or not (rules or log):
        return
    active = True
    for rule in filter(None, rules.split(",")):
        action, where, n = rule.rsplit(":", 2)
        _rules.append((action, where, int(n.rstrip("*")), n.endswith("*")))
    if log:
        _log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    point = _pass
    for call, name in _CALLS.items():
        setattr(os, call, _wrapped(getattr(os, call), name))


def _wrapped(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _pass(name)
        result = call(*args, **kwargs)
        _pass(name + "+")
        return result

    return wrapper
