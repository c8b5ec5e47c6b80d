"""The walls around the process that runs a query.

Linux: Landlock (kernel 5.13; landlock(7)) by its three system calls, which have no wrapper in the
C library. What is handled and not given to a path is denied, for this thread and those it starts;
so it is called before DuckDB starts any. Limits of the process (setrlimit(2)) hold everywhere.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

# include/uapi/linux/landlock.h: rights by the version of the interface that brought them.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << n for n in range(4))
_READ = _READ_FILE | _READ_DIR
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TRUNCATE = 1 << 14
_MAKE_AND_REMOVE = 0b1_1011_0000  # folders and files
_NET_TCP = 0b11  # version 4: bind, connect
_SCOPES = 0b11  # version 6: abstract sockets, signals

NOBODY = 65534
MIB = 1 << 20
THREAD_BYTES = 16 * MIB
"""Stack of a thread and the like: it counts as data."""
BASE_BYTES = 512 * MIB
"""What a process takes besides its query's data: arenas, the result's copy."""


class _Rules(ctypes.Structure):
    _fields_ = (
        ("fs", ctypes.c_uint64),
        ("net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def landlock_version() -> int:
    """Of the kernel's interface; 0 where it has none, or it is switched off."""
    if not sys.platform.startswith("linux"):
        return 0
    version = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(0, int(version))


def confine(*, read: Sequence[Path], write: Sequence[Path]) -> str:
    """From here on this process reads below `read` and writes below `write`, and nowhere else.

    Returns what is missing of that, in words for whoever runs it; empty where all of it holds.
    """
    version = landlock_version()
    if version:
        _landlock(version, read, write)
        return ""
    if os.name == "posix" and os.geteuid() == 0 and _as_nobody(read, write):
        return ""
    return (
        "this system has no Landlock: a query is kept in by the list of what it may call,"
        " not by the kernel"
    )


def limit(*, memory_bytes: int, disk_bytes: int, threads: int) -> None:
    """Bounds that the kernel holds: data segments, sizes of files, no core dumps."""
    most = _data_bytes() + memory_bytes + BASE_BYTES + threads * THREAD_BYTES
    for what, value in (
        (resource.RLIMIT_DATA, most),
        (resource.RLIMIT_FSIZE, disk_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def _data_bytes() -> int:
    """Of data segments so far: what the libraries took when they were loaded."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except (OSError, ValueError, IndexError):
        return BASE_BYTES
    return pages * os.sysconf("SC_PAGE_SIZE")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _landlock(version: int, read: Sequence[Path], write: Sequence[Path]) -> None:
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 (numbers, not paths)
        raise RuntimeError("Landlock holds for one thread, and there are more")
    libc = _libc()
    handled = max(rights for since, rights in _ALL_FILE_RIGHTS.items() if since <= version)
    rules = _Rules(handled, _NET_TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 8 * (1 + (version >= 4) + (version >= 6))
    handle = _call(libc, _CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    try:
        own = (_READ | _WRITE_FILE | _MAKE_AND_REMOVE | _TRUNCATE) & handled
        for paths, rights in ((read, _READ), (write, own)):
            for path in paths:
                try:
                    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
                except FileNotFoundError:
                    continue  # nothing there, nothing to allow
                try:
                    rule = struct.pack("=Qi", rights, beneath)
                    _call(libc, _ADD_RULE, handle, _PATH_BENEATH, rule, 0)
                finally:
                    os.close(beneath)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
        _call(libc, _RESTRICT_SELF, handle, 0)
    finally:
        os.close(handle)


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result


def _as_nobody(read: Sequence[Path], write: Sequence[Path]) -> bool:
    """Become the user nobody, if nobody can read what is to be read."""
    for path in write:
        os.chown(path, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    able = all(os.access(p, os.R_OK | os.X_OK, effective_ids=True) for p in read if p.exists())
    os.seteuid(0)
    os.setegid(0)
    if able:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    return able
