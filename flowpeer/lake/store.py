"""A lake folder: its files, its record, its locks.

    lake/
      format.json                            which layout of files and documents this is
      flows/date=…/hour=…/<unit>.parquet     tables
      manifests/…                            the record of them (flowpeer.lake.manifest)
      manifests/exported_interfaces/…        interfaces' names (flowpeer.lake.interface_names)
      staging/<host>-<random>/               unfinished files (flowpeer.lake.staging)
      cache/                                 derived files that may be deleted at any time
      decoder/                               for the next capture (flowpeer.lake.decoder_state)
      locks/                                 one lock file for each thing that is being changed

A file is written in the staging folder, synced, renamed into place, its folder synced; only then
the record names it. A crash anywhere leaves either the old state, or a file that no manifest names,
which `flowpeer verify` names and the next run of the same work replaces.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import filelock

from flowpeer.errors import InputError, LockedError, UsageError
from flowpeer.lake.format2 import Ledger2
from flowpeer.lake.manifest import File, Manifest, partition_hour
from flowpeer.lake.record import DocumentSource, Manifests, Record
from flowpeer.lake.staging import Staging, make_folder, sync_folder
from flowpeer.lake.storage import ConflictError, LocalStorage, Storage
from flowpeer.mirror import remote_of
from flowpeer.schema import FORMAT, PARTITIONED
from flowpeer_core.columns import TableColumn

if TYPE_CHECKING:
    import pyarrow as pa

    from flowpeer.lake.commit import Change
    from flowpeer.lake.staged import StagedTable

READABLE = (2, FORMAT)
SINGLE = ("routes", "reference")
"""Tables of single files, each of which is replaced as a whole."""
OWN = frozenset({"rows", "sums", "file_bytes", "sha256"})
"""What the record says of every file, beside the facts of one."""


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


@dataclass(slots=True)
class HeldLock:
    """The token of a lock of a lake: what functions require that one process at a time may run."""

    root: Path
    what: str
    released: bool = False

    def require(self, root: Path, what: str) -> None:
        """Raise RuntimeError, for it is a defect, unless this is that lock, and held."""
        if self.released or (self.root, self.what) != (root, what):
            raise RuntimeError(f"the lock `{what}` of {root} is not held")


class Lake:
    """A lake folder. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.remote = remote_of(root)
        """Where it is, if this folder only keeps what was read of it."""
        self.cache = root / "cache"
        self.catalog = root / "catalog.duckdb"
        """For other programs; it is kept current where somebody wrote one."""
        self.staging = Staging(root / "staging")
        self.storage = self._storage()
        self._marked = False

    def __str__(self) -> str:
        """Where it is, for people."""
        return self.remote.address if self.remote is not None else str(self.root)

    def _storage(self) -> Storage:
        if self.remote is None:
            return LocalStorage(self.root, self.staging)
        from flowpeer.lake.s3 import S3Storage

        return S3Storage(self.root, self.staging, self.remote)

    # What it is

    @cached_property
    def format(self) -> int:
        """The lake's format; of a new lake, the present one.

        Raises:
            UsageError: one that this flowpeer cannot read, or below a folder named like its days.
        """
        # DuckDB and Polars take the dates of rows from the folders of a path, the first ones first.
        if any(part.startswith(("date=", "hour=")) for part in self.root.resolve().parts):
            raise UsageError(
                f"{self.root.resolve()}: a folder above the lake is named like those of its days",
                advice="rename the folder date=… or hour=… that the lake is in, or move the lake",
            )
        try:
            document = json.loads(self._stated())
            number, by = document["format"], document.get("written_by", "a newer flowpeer")
        except (FileNotFoundError, NotADirectoryError):
            if self.remote is not None or not (self.root / "ledger").is_dir():
                return FORMAT
            number, by = 1, ""  # the first format had no such file
        except (ValueError, TypeError, KeyError, AttributeError):
            number, by = "unknown", ""
        if number in READABLE:
            return int(number)
        newer = isinstance(number, int) and number > FORMAT
        raise UsageError(
            f"{self}: a lake of format {number}, and this flowpeer reads formats "
            f"{' and '.join(map(str, READABLE))}",
            advice=f"it was written by {by}: use that version, or a later one"
            if newer
            else "use the flowpeer that made it, or give `path` under [lake] a new folder and "
            "ingest again",
        )

    def _stated(self) -> bytes:
        """What says its format. Raises FileNotFoundError where nothing does."""
        if self.remote is None:
            return (self.root / "format.json").read_bytes()
        held = self.storage.read("format.json")
        if held is None:
            raise FileNotFoundError
        return held.octets

    def check_format(self) -> None:
        """Raise where the lake cannot be read: another version's, or without its manifests."""
        if self.format == FORMAT and self.remote is None:
            self._has_manifests()

    def _has_manifests(self) -> None:
        """Raises InputError for tables that are there while their record is not."""
        for table in (*PARTITIONED, "routes", "reference"):
            folder, record = self.root / table, self.root / "manifests" / table
            if not folder.is_dir() or record.is_dir() or record.with_suffix(".json").is_file():
                continue
            if next(folder.rglob("*.parquet"), None) is not None:
                raise InputError(
                    str(folder), "files without the manifests that name them",
                    advice="restore the folder `manifests` too, or make it again from the files "
                    "with `flowpeer adopt`",
                )  # fmt: skip

    def check_writable(self) -> None:
        """Raise UsageError for a lake of an older format, and mark a new one."""
        if self.format != FORMAT:
            raise UsageError(
                f"{self}: a lake of format {self.format}: it can be read, not changed",
                advice="bring it to the present format with `flowpeer migrate`",
            )
        if self.remote is None:
            if not (self.root / "format.json").exists():
                self.mark()
        elif not self._marked:
            if self.storage.read("format.json") is None:
                self.mark()
            self._marked = True

    @property
    def writable(self) -> bool:
        """Whether this process may change it: the present format, and the right to write."""
        return self.format == FORMAT and os.access(self.root, os.W_OK)

    def mark(self) -> None:
        """State the present format."""
        from flowpeer import __version__

        document = {"format": FORMAT, "written_by": f"flowpeer {__version__}"}
        octets = (json.dumps(document) + "\n").encode()
        if self.remote is None:
            self.staging.write(self.root / "format.json", octets)
        else:
            with suppress(ConflictError):  # another one was faster
                self.storage.write("format.json", octets, replaces=None)
        self.__dict__.pop("format", None)

    def source(self) -> DocumentSource:
        """Where its record is read from."""
        return Manifests(self.storage) if self.format == FORMAT else Ledger2(self.root)

    def record(self) -> Record:
        """Its record, for one command."""
        return Record(self)

    def path(self, relative: str) -> Path:
        """The file of `relative`, which must stay inside the lake."""
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"not a path inside the lake: {relative!r}")
        if self.remote is None:
            return self.root / pure
        key, table = pure.as_posix(), pure.parts[0]
        if table in SINGLE:
            file = self.record().single(table).get(key)
            key = key if file is None else file.key
        return self.places([key])[0]

    def paths(self, relatives: Iterable[str]) -> list[Path]:
        """The same for files of tables in hours."""
        return self.places(list(relatives))

    def places(self, keys: Sequence[str]) -> list[Path]:
        """Where these keys are read."""
        self.storage.fetch(keys)
        return [self.root / key for key in keys]

    def require_folder(self, what: str) -> None:
        """Raise UsageError for a lake on an object store, of which `what` cannot be done."""
        if self.remote is not None:
            raise UsageError(
                f"{self}: {what} is not possible on an object store",
                advice="do it in a lake on a file system, then `flowpeer lake merge` it into this",
            )

    def check_room(self, table: str, octets: int) -> None:
        """Raise UsageError where files of a table are more than may be kept here."""
        if self.remote is not None and octets > self.remote.cache_octets:
            raise UsageError(
                f"{self}: {octets:,} octets of `{table}` are to be read, and "
                f"{self.remote.cache_octets:,} may be kept here",
                advice="ask for fewer days, or raise `cache_size` under [lake]",
            )

    # Changing it

    @contextmanager
    def lock(self, what: str, *, wait_s: float = 0.0, once: bool = False) -> Iterator[HeldLock]:
        """Hold the lock of something that one process at a time changes; gives its token.

        Args:
            once: one of very many, whose file goes with the lock.

        Raises:
            LockedError: another process holds it.
        """
        self.check_writable()
        folder = self.root / "locks"
        make_folder(folder)
        lock = filelock.FileLock(folder / f"{what}.lock", thread_local=False)
        try:
            lock.acquire(timeout=wait_s)
        except filelock.Timeout:
            raise LockedError(
                f"{self}: another `{what}` is running",
                advice="wait for it to end, then try again (exit status 75)",
            ) from None
        held = HeldLock(self.root, what)
        try:
            if not once:
                self.staging.sweep()
            yield held
        finally:
            held.released = True
            if once:
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def stage(self, relative: str, columns: tuple[TableColumn, ...]) -> StagedTable:
        """Open a file for what is to stand at a path."""
        from flowpeer.lake.staged import StagedTable  # and pyarrow

        self.check_writable()
        return StagedTable(self.staging.path(relative), columns)

    def close(self) -> None:
        """Remove its own staging folder."""
        self.staging.close()

    # Single files: of routes and reference, and whatever is published whole

    def publish(
        self,
        relative: str,
        columns: tuple[TableColumn, ...],
        tables: pa.Table | Iterable[pa.Table],
        facts: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write one file with the stated columns, and its facts.

        Returns what `entry` gives from then on. `facts` are read after the last table.
        """
        import pyarrow as pa

        from flowpeer.lake.commit import Change

        staged = self.stage(relative, columns)
        try:
            for table in [tables] if isinstance(tables, pa.Table) else tables:
                staged.write(table)
            file = replace(staged.finish(relative), facts=dict(facts))
        except BaseException:
            staged.discard()
            raise
        made = self.put(staged.path, file)

        def edit(manifest: Manifest) -> Change:
            before = [f for f in manifest.files if f.path == relative]
            kept = (f for f in manifest.files if f.path != relative)
            return Change((*kept, made), tuple(f.key for f in before if f.pruned is None))

        self._edit(relative, edit)
        return made.document

    def put(self, staged: Path, file: File) -> File:
        """Make a finished file visible; the file as its manifest is to name it."""
        key = self.storage.unique(file.path)
        self.storage.put(staged, key)
        if key == file.path:
            return replace(file, object="") if file.object else file
        if file.path.partition("/")[0] in SINGLE:
            return replace(file, object=key)
        return replace(file, path=key)

    def entry(self, relative: str) -> dict[str, Any] | None:
        """What is known of a file of `routes` or `reference`: rows, sums, file_bytes, sha256, and
        its facts. None where there is none."""
        file = self.record().single(relative.partition("/")[0]).get(relative)
        return None if file is None else file.document

    def entries(self, table: str) -> dict[str, dict[str, Any]]:
        """The same for all files of a table, by path."""
        return self.record().entries(table)

    def remember(self, relative: str, facts: Mapping[str, Any]) -> None:
        """Replace the facts of a file; as `entry` gives them."""
        from flowpeer.lake.commit import Change

        added = {k: v for k, v in facts.items() if k not in OWN}
        self.check_writable()
        self._edit(
            relative,
            lambda m: Change(
                tuple(replace(f, facts=added) if f.path == relative else f for f in m.files)
            ),
        )

    def remove(self, relative: str, *, pruned_at: str = "") -> None:
        """Take a file out of the lake; with `pruned_at` the record keeps that it was there."""
        from flowpeer.lake.commit import Change
        from flowpeer.lake.manifest import PrunedFile

        def edit(manifest: Manifest) -> Change | None:
            mine = [f for f in manifest.live if f.path == relative]
            if not mine:
                return None
            kept = [f for f in manifest.files if f.path != relative]
            if pruned_at:
                kept += [replace(f, pruned=PrunedFile(pruned_at)) for f in mine]
            return Change(tuple(kept), retired=tuple(f.key for f in mine))

        self.check_writable()
        self._edit(relative, edit)

    def _edit(self, relative: str, edit: Callable[[Manifest], Change | None]) -> None:
        from flowpeer.lake.commit import commit

        table = relative.partition("/")[0]
        hour = partition_hour(relative) if table in PARTITIONED else None
        commit(self, table, hour, edit)


__all__ = ["Lake", "make_folder", "sync_folder"]
