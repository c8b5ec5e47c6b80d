"""Publishing files so that a reader sees all of one or nothing.

A file is written in a staging folder beside the tables (a temporary file inside a dataset breaks
readers), synced, renamed into place, its folder synced; only then is its ledger document written,
in the same way. A crash anywhere leaves either the old state, or a file whose ledger document does
not match its digest, which `flowpeer verify` names and the next run of the same work replaces.

    lake/
      format.json                            which layout of files and documents this is
      flows/date=…/hour=…/<unit>.parquet     tables
      ledger/flows/date=…/hour=…/<unit>.json one document a file: rows, sums, digest, facts
      ledger/exported_interfaces/…           what routers call interfaces (flowpeer.lake.names)
      staging/<owner>/                       unfinished files; emptied when the owner starts
      cache/                                 derived files that may be deleted at any time
      decoder/                               what the next capture knows (flowpeer.lake.memory)
      locks/                                 one lock file for each kind of work
      exchange/                              a merged hour on its way in (flowpeer.lake.compact)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import filelock
import numpy as np
import pyarrow as pa

from flowpeer.errors import InputError, LockedError, UsageError, naming
from flowpeer_core.columns import Column, arrow_schema
from flowpeer_core.native.encodings import usual
from flowpeer_core.native.writing import open_writer
from flowpeer_ingest.encoding import FLOWS_ENCODING
from flowpeer_ingest.schema import FLOWS

FORMAT = 2
"""Raised when an older flowpeer could not read what this one writes, or the other way round."""
SUMMED = ("bytes", "packets", "records", "datagrams", "received", "lost")


def exact_sum(column: pa.ChunkedArray) -> int:
    """The sum of an int64 column as a Python integer: pyarrow's own wraps silently."""
    total = 0
    for chunk in column.chunks:
        values = chunk.fill_null(0).to_numpy(zero_copy_only=False)
        total += (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum(dtype=np.uint64))
    return total


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's octets."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(path: Path) -> str:
    """`sha256_of` a file that a user named. Raises InputError where it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(
            str(path),
            f"cannot be read: {error.strerror}",
            advice="check the path and its permissions",
        ) from None


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


def write_atomically(path: Path, content: bytes, *, staging: Path) -> None:
    """Replace `path` by `content`: staged, synced, renamed, folder synced."""
    make_folder(staging)
    make_folder(path.parent)
    temporary = staging / f"{os.getpid()}-{path.name}"
    with naming(temporary), temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


class StagedTable:
    """One Parquet file in the making: `write` tables to it, then `publish` or `discard` it."""

    def __init__(self, lake: Lake, relative: str, columns: tuple[Column, ...]) -> None:
        self._lake = lake
        self.relative = relative
        self._schema = arrow_schema(columns)
        self._summed = [c.name for c in columns if c.name in SUMMED]
        self.rows = 0
        self.sums = dict.fromkeys(self._summed, 0)
        make_folder(lake.staging)
        self._temporary = lake.staging / f"{os.getpid()}-{relative.replace('/', '+')}"
        self._file = self._temporary.open("wb")
        self._writer = open_writer(
            self._file, self._schema, FLOWS_ENCODING if columns is FLOWS else usual(self._schema)
        )

    def write(self, table: pa.Table) -> None:
        """Append the rows of `table`, which must have exactly the stated columns and types."""
        if not table.schema.equals(self._schema):
            table = table.select(self._schema.names).cast(self._schema)
        self.rows += table.num_rows
        for name in self._summed:
            self.sums[name] += exact_sum(table.column(name))
        with naming(self._temporary):
            self._writer.write(table)

    def finish(self, facts: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
        """Complete and sync the file, still in the staging folder; it and its ledger document."""
        with naming(self._temporary):
            self._writer.close()
            self._file.close()
        with naming(self._temporary), self._temporary.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self._temporary, {
            "rows": self.rows,
            "sums": self.sums,
            "file_bytes": self._temporary.stat().st_size,
            "sha256": digest,
            **facts,
        }

    def publish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Finish the file, move it into the lake and write its ledger document."""
        temporary, document = self.finish(facts)
        target = self._lake.path(self.relative)
        make_folder(target.parent)
        # No document stands beside a file that it does not describe, whatever happens between.
        self._lake.forget_entry(self.relative)
        temporary.replace(target)
        sync_folder(target.parent)
        self._lake.write_entry(self.relative, document)
        return document

    def discard(self) -> None:
        """Drop the unfinished file."""
        with suppress(OSError):  # no room for what it still holds
            self._file.close()
        self._temporary.unlink(missing_ok=True)


class Lake:
    """A lake folder. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        self._owner = "main"

    def check_format(self) -> None:
        """Raise UsageError if the lake is of another version of flowpeer; a new lake is of none."""
        try:
            said = json.loads((self.root / "format.json").read_bytes())["format"]
        except FileNotFoundError:
            if not (self.root / "ledger").is_dir():
                return
            said = 1  # the first format had no such file
        except (ValueError, TypeError, KeyError):
            said = "unknown"
        if said != FORMAT:
            raise UsageError(
                f"{self.root}: a lake of format {said}, and this flowpeer reads and writes "
                f"format {FORMAT}",
                advice="use the flowpeer that made it, or give `path` under [lake] a new folder "
                "and ingest again",
            )

    def _mark(self) -> None:
        """Say which format it is, before anything is published."""
        path = self.root / "format.json"
        if not path.exists():
            text = json.dumps({"format": FORMAT}) + "\n"
            write_atomically(path, text.encode(), staging=self.staging)

    @property
    def staging(self) -> Path:
        """Where the current owner writes unfinished files."""
        return self.root / "staging" / self._owner

    def path(self, relative: str) -> Path:
        """The file of `relative`, which must stay inside the lake."""
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"not a path inside the lake: {relative!r}")
        return self.root / pure

    def entry_path(self, relative: str) -> Path:
        """Where the ledger document of `relative` is."""
        return self.path(f"ledger/{relative.removesuffix('.parquet')}.json")

    @contextmanager
    def lock(self, owner: str, *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the lock of one kind of work, and clear what an earlier owner left unfinished.

        Raises:
            LockedError: another process holds it.
        """
        folder = self.root / "locks"
        make_folder(folder)
        lock = filelock.FileLock(folder / f"{owner}.lock")
        try:
            lock.acquire(timeout=wait_s)
        except filelock.Timeout:
            raise LockedError(
                f"{self.root}: another `{owner}` is running",
                advice="wait for it to end, then try again (exit status 75)",
            ) from None
        previous, self._owner = self._owner, owner
        try:
            if self.staging.is_dir():
                for leftover in self.staging.iterdir():
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            self._owner = previous
            lock.release()

    @contextmanager
    def flow_files(self, *, alone: bool) -> Iterator[None]:
        """Keep the files of `flows` where they are while they are read, or have them alone.

        Any number of processes may read (and ingest may add files); one alone may take files away.

        Raises:
            LockedError: somebody replaces or, with `alone`, reads them.
        """
        folder = self.root / "locks"
        make_folder(folder)
        with (folder / "flow-files.lock").open("a") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    f"{self.root}: flow files are being "
                    + ("read by a roll-up" if alone else "merged or pruned"),
                    advice="wait for it to end, then try again (exit status 75)",
                ) from None
            yield

    def stage(self, relative: str, columns: tuple[Column, ...]) -> StagedTable:
        """Open a file that becomes visible when it is published."""
        self._mark()
        return StagedTable(self, relative, columns)

    def publish(
        self,
        relative: str,
        columns: tuple[Column, ...],
        tables: pa.Table | Iterable[pa.Table],
        facts: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write one Parquet file with the stated columns, and its ledger document with `facts`.

        Returns the ledger document: rows, sums, file_bytes, sha256 and the facts.
        """
        staged = self.stage(relative, columns)
        try:
            for table in [tables] if isinstance(tables, pa.Table) else tables:
                staged.write(table)
        except BaseException:
            staged.discard()
            raise
        return staged.publish(facts)

    def write_entry(self, relative: str, document: Mapping[str, Any]) -> None:
        """Write the ledger document of `relative`: the last act of publishing it."""
        self._mark()
        write_atomically(self.entry_path(relative), document_octets(document), staging=self.staging)

    def forget_entry(self, relative: str) -> None:
        """Remove the ledger document of `relative`, if there is one."""
        path = self.entry_path(relative)
        if path.exists():
            path.unlink()
            sync_folder(path.parent)

    def entry(self, relative: str) -> dict[str, Any] | None:
        """The ledger document of a published file; None where there is none."""
        path = self.entry_path(relative)
        try:
            return _read_document(path)
        except FileNotFoundError:
            return None

    def entry_names(self, table: str) -> list[str]:
        """Relative paths of all files below the folder `table` that have a document, sorted."""
        root = str(self.path("ledger"))
        found: list[str] = []
        pending = [table]
        while pending:
            folder = pending.pop()
            try:
                listed = os.scandir(f"{root}/{folder}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            with listed:
                for item in listed:
                    if item.name.endswith(".json"):
                        found.append(f"{folder}/{item.name.removesuffix('.json')}.parquet")
                    elif item.is_dir():
                        pending.append(f"{folder}/{item.name}")
        return sorted(found)

    def entries(self, table: str, *, damaged: list[str] | None = None) -> dict[str, dict[str, Any]]:
        """Ledger documents of all files below the folder `table`, by relative path, sorted.

        Raises:
            InputError: one cannot be read, unless `damaged` is there to take its name.
        """
        return documents(self.entry_names(table), self.entry, damaged)

    def remove(self, relative: str) -> None:
        """Take a file out of the lake: its ledger document first, so that none is left dangling."""
        for path in (self.entry_path(relative), self.path(relative)):
            if path.exists():
                path.unlink()
                sync_folder(path.parent)


def documents(
    names: Iterable[str],
    read: Callable[[str], dict[str, Any] | None],
    damaged: list[str] | None,
) -> dict[str, dict[str, Any]]:
    """What `read` gives for each name, but for files taken away since they were listed.

    Raises:
        InputError: a document is damaged, unless `damaged` is there to take its name.
    """
    found: dict[str, dict[str, Any]] = {}
    for relative in names:
        try:
            document = read(relative)
        except InputError:
            if damaged is None:
                raise
            damaged.append(relative)
            continue
        if document is not None:
            found[relative] = document
    return found


_SEAL = re.compile(rb',\n "~sha256": "([0-9a-f]{64})"\n}\n\Z')


def document_octets(document: Mapping[str, Any]) -> bytes:
    """A ledger document as it stands on disk: JSON, its last member the digest of all before."""
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    body = text.removesuffix("\n}").encode()
    return body + b',\n "~sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def _read_document(path: Path) -> dict[str, Any]:
    octets = path.read_bytes()
    seal = _SEAL.search(octets)
    body = octets[: seal.start()] if seal else b""
    if seal is None or hashlib.sha256(body).hexdigest().encode() != seal[1]:
        raise InputError(
            str(path),
            "this ledger document is not what was written",
            advice="delete this file and run the command again: the work is redone",
        )
    document: dict[str, Any] = json.loads(body + b"}")
    return document


def hour_folder(table: str, date: str, hour: int) -> str:
    """The partition folder of a table: `table/date=YYYY-MM-DD/hour=HH`."""
    return f"{table}/date={date}/hour={hour:02d}"


_PARTITION = re.compile(r"/date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})/", re.ASCII)


def partition_hour(relative: str) -> datetime:
    """The UTC hour of a partitioned file, from its path."""
    match = _PARTITION.search(relative)
    if match is None:
        raise ValueError(f"not a file of a partitioned table: {relative!r}")
    return datetime.fromisoformat(f"{match[1]}T{match[2]}:00+00:00")
