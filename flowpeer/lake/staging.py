"""Unfinished files: in a folder of their own, whose name no other host, container or process uses.

A temporary file inside a dataset would break readers. The owner of a folder holds a lock beside it
as long as it lives, so whatever a killed process left is distinguished from what somebody is
writing, on any host, and removed by whoever comes next.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import weakref
from contextlib import suppress
from pathlib import Path

import filelock


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents, each of them synced into its own parent."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def host_word() -> str:
    """This host's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:40] or "host"


class Staging:
    """The unfinished files of one writer. Nothing is created before the first of them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks = root.parent / "locks"
        self._name = ""
        self._pid = 0
        self._lock: filelock.BaseFileLock | None = None

    @property
    def folder(self) -> Path:
        """The folder, which is there. A forked process has one of its own."""
        if self._pid != os.getpid():
            self._open()
        return self._root / self._name

    def _open(self) -> None:
        name = f"{host_word()}-{secrets.token_hex(8)}"
        make_folder(self._locks)
        lock = self._lock_of(name)
        lock.acquire(timeout=0)  # before the folder: whoever sweeps finds none without it
        try:
            make_folder(self._root / name)
        except OSError:
            _remove(self._root / name, lock, os.getpid())
            raise
        self._name, self._lock, self._pid = name, lock, os.getpid()
        weakref.finalize(self, _remove, self._root / name, lock, self._pid)

    def _lock_of(self, name: str) -> filelock.BaseFileLock:
        return filelock.FileLock(self._locks / f"staging+{name}.lock", thread_local=False)

    def path(self, name: str) -> Path:
        """A place for an unfinished file."""
        return self.folder / f"{secrets.token_hex(4)}-{name.replace('/', '+')}"

    def write(self, target: Path, octets: bytes) -> None:
        """Replace `target`: staged, synced, renamed, folder synced."""
        make_folder(target.parent)
        temporary = self.path(target.name)
        try:
            with temporary.open("wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError:  # no room: nothing of it takes more
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)

    def sweep(self) -> int:
        """Remove the folders of writers that are gone; how many there were."""
        gone = 0
        for folder in sorted(self._root.iterdir()) if self._root.is_dir() else ():
            if folder.name == self._name:
                continue
            lock = self._lock_of(folder.name)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                continue
            try:
                if folder.is_dir():
                    shutil.rmtree(folder, ignore_errors=True)
                else:
                    folder.unlink(missing_ok=True)
                gone += 1
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)
                lock.release()
        return gone

    def close(self) -> None:
        """Remove the folder, with whatever is in it."""
        if self._lock is not None:
            _remove(self._root / self._name, self._lock, self._pid)
        self._lock, self._pid = None, 0


def _remove(folder: Path, lock: filelock.BaseFileLock, pid: int) -> None:
    """End of a writer; of its own process, not of one that was forked from it."""
    if pid == os.getpid() and lock.is_locked:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # of a disk that fails: the file is empty, and its lock goes
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
