"""Where the octets of a lake are, behind an interface that a folder and an object store both fit.

A document is replaced by `write`, which names the version that it replaces; whoever comes second
reads again. A folder does that by a lock and a rename, an object store by a conditional PUT. Data
files are written once, under names that nobody else uses.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import filelock

from flowpeer.lake.codec import version_of
from flowpeer.lake.staging import Staging, make_folder, sync_folder

T = TypeVar("T")
TRIES = 100
"""Of replacing a document that others replace too, on a storage without locks."""
YOUNG_NS = 2_000_000_000
"""A file that was written so short a time ago may be written again at what is, to the clock of the
file system, the same moment."""


class ConflictError(Exception):
    """The document is not the version any more that was to be replaced."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document and its version."""

    octets: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A document's key and a mark that changes with its content; the mark is empty where it is so
    young that it may change again unseen. When it was written, in seconds since 1970."""

    key: str
    mark: str
    changed_s: float


class Storage(Protocol):
    """The operations that the record needs. Keys are paths below the lake, with slashes."""

    grace_s: float
    """How long at least files that were replaced stay."""

    def read(self, key: str) -> Stored | None:
        """A document; None where there is none."""

    def write(self, key: str, octets: bytes, *, replaces: str | None) -> None:
        """Replace the version `replaces` of a document (None: there is none) in one step.

        Raises:
            ConflictError: it is another version now.
        """

    def list(self, prefix: str, *, first: str = "", end: str = "") -> Iterator[Listed]:
        """Documents below a folder, in no order; of those whose keys are at least `first` and
        below `end` all, and maybe others."""

    def cache(self, key: str, octets: bytes) -> None:
        """Keep a document that can be made again at any time, if that is possible."""

    def alone(self, key: str) -> AbstractContextManager[None]:
        """Let others that want to replace the document wait; may do nothing where `write` is
        enough by itself."""

    def ahead(self, keys: Iterable[str]) -> None:
        """These documents are about to be read; may do nothing."""

    def unique(self, key: str) -> str:
        """The key that a new data file gets in place of this one: the same, where files can be
        replaced."""

    def put(self, staged: Path, key: str) -> None:
        """Make a finished file visible. It is synced already."""

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""

    def has(self, key: str) -> bool:
        """Whether a data file is there."""

    def files(self, folder: str) -> Iterator[str]:
        """Keys of all files below a folder of data, in order."""

    def fetch(self, keys: Iterable[str], *, again: bool = False) -> None:
        """Let data files that are there be below the lake's folder; `again` those too that were
        brought before."""


class LocalStorage:
    """A folder, local or on NFS."""

    grace_s = 0.0

    def __init__(self, root: Path, staging: Staging) -> None:
        self.root = root
        self._staging = staging

    def read(self, key: str) -> Stored | None:
        """A document."""
        try:
            octets = (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stored(octets, version_of(octets))

    def write(self, key: str, octets: bytes, *, replaces: str | None) -> None:
        """Replace a document; the caller is `alone` with it."""
        held = self.read(key)
        if (held.version if held else None) != replaces:
            raise ConflictError(key)
        self._staging.write(self.root / key, octets)

    def list(self, prefix: str, *, first: str = "", end: str = "") -> Iterator[Listed]:
        """Documents below a folder."""
        pending = [prefix]
        young = time.time_ns() - YOUNG_NS
        while pending:
            folder = pending.pop()
            try:
                found = os.scandir(self.root / folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            with found:
                for item in found:
                    key = f"{folder}/{item.name}"
                    if item.name.endswith(".json"):
                        try:
                            stat = item.stat()
                        except FileNotFoundError:
                            continue
                        mark = f"{stat.st_ino}.{stat.st_mtime_ns}.{stat.st_size}"
                        yield Listed(key, "" if stat.st_mtime_ns > young else mark, stat.st_mtime)
                    elif not (end and key >= end) and first < f"{key}0" and item.is_dir():
                        pending.append(key)  # "0" is what follows "/"

    def cache(self, key: str, octets: bytes) -> None:
        """Keep a document that can be made again."""
        with suppress(OSError):
            self._staging.write(self.root / key, octets)

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """A lock of the document. Its file goes with it: there is one for each hour and table."""
        path = self.root / "locks" / f"{key.replace('/', '+')}.lock"
        make_folder(path.parent)
        lock = filelock.FileLock(path, thread_local=False)
        with lock:
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def ahead(self, keys: Iterable[str]) -> None:
        """Nothing is gained by it."""

    def unique(self, key: str) -> str:
        """The same: files are replaced."""
        return key

    def put(self, staged: Path, key: str) -> None:
        """Rename a file into its place. The folder of its table's manifests is there before it:
        files without it are those of a lake that lost them."""
        target = self.root / key
        make_folder(self.root / "manifests" / key.partition("/")[0])
        try:
            make_folder(target.parent)
            staged.replace(target)
        except FileNotFoundError:  # another process just removed the last file of the folder
            make_folder(target.parent)
            staged.replace(target)
        sync_folder(target.parent)

    def remove(self, key: str) -> None:
        """Remove a file, and its folders where they are empty then."""
        path = self.root / key
        if not path.exists():
            return
        path.unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # another process removed the folder too
            sync_folder(path.parent)
        for folder in (path.parent, path.parent.parent):
            if "=" not in folder.name:
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def has(self, key: str) -> bool:
        """Whether a file is there."""
        return (self.root / key).exists()

    def files(self, folder: str) -> Iterator[str]:
        """All files below a folder."""
        for path in sorted((self.root / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()

    def fetch(self, keys: Iterable[str], *, again: bool = False) -> None:
        """They are where they are."""


def replace(
    storage: Storage, key: str, once: Callable[[Stored | None], tuple[bytes, T] | None]
) -> T | None:
    """Replace a document by what `once` makes of it, which is asked again with what is there then
    where another writer was faster; what it says of that, None where it changes nothing."""
    for attempt in range(TRIES):
        with storage.alone(key):
            held = storage.read(key)
            made = once(held)
            if made is None:
                return None
            try:
                storage.write(key, made[0], replaces=held.version if held else None)
            except ConflictError:
                time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))
                continue
            return made[1]
    raise ConflictError(key)
