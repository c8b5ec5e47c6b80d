"""From format 2 to the present one, without touching a data file.

    1. an interrupted merge is completed
    2. every data file gets a second name under `before/` (a copy where links fail)
    3. manifests, records of units and names of interfaces are written from the ledger
    4. all of it is read again and compared, every file with its digest
    5. `format.json` is replaced: from then on the lake is of the present format

Until 5 the lake is what it was, and an interrupted run is simply started again. `undo` goes
back to the ledger as long as `finish` has not removed it; what came into the lake since is lost
then.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import filelock

from flowpeer.errors import InputError, LockedError, UsageError
from flowpeer.lake import codec, interface_names
from flowpeer.lake.format2 import LAYOUT, Ledger2, finish_exchange, read_document
from flowpeer.lake.manifest import Manifest, key_of
from flowpeer.lake.staging import make_folder
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.lake.units import UnitRecord, bucket_of, unit_key
from flowpeer.schema import FORMAT, PARTITIONED

BEFORE = "before"
"""Second names of the data files of the old lake, and its format.json."""
OLD_LOCKS = ("ingest", "collect", "rollup", "compact", "prune", "ribs", "reference")
Progress = Callable[[int], None]


@dataclass
class Migration:
    """What is, or was, to be done."""

    journal: bool = False
    manifests: int = 0
    files: int = 0
    units: int = 0
    missing: list[str] = field(default_factory=list)
    """Files that the ledger names and that are not there; the record names them all the same."""


def _tables(ledger: Ledger2) -> Iterator[tuple[str, datetime | None, Manifest]]:
    for table in (*PARTITIONED, "routes", "reference"):
        hours: list[datetime | None] = [None]
        if table in PARTITIONED:
            hours = [*ledger.hours(table)]
        for hour in hours:
            manifest = ledger.manifest(table, hour)
            if manifest is not None:
                yield table, hour, manifest


def look(lake: Lake) -> Migration:
    """What a migration would do.

    Raises:
        UsageError: the lake is not of format 2.
        InputError: a document of the ledger is damaged.
    """
    _require_old(lake)
    found = Migration(journal=(lake.root / "exchange" / "journal.json").exists())
    ledger = Ledger2(lake.root)
    for _, _, manifest in _tables(ledger):
        found.manifests += 1
        found.files += len(manifest.live)
        if not found.journal:
            found.missing += [f.path for f in manifest.live if not lake.path(f.path).is_file()]
    found.units = len(ledger.buckets())
    return found


def migrate(lake: Lake, progress: Progress = lambda files: None) -> Migration:
    """Bring a lake of format 2 to the present format; `progress` is given the files done.

    Raises:
        UsageError: the lake is not of format 2.
        LockedError: another process works on it.
        InputError: a document is damaged, or a file is not what was published. The lake is what it
            was.
    """
    _require_old(lake)
    with _alone(lake):
        done = Migration(journal=finish_exchange(lake.root))
        ledger = Ledger2(lake.root)
        keep = lake.root / BEFORE
        for table, hour, manifest in _tables(ledger):
            for file in manifest.live:
                _link(lake.path(file.path), keep / file.path, done.missing)
            lake.staging.write(lake.path(key_of(table, hour)), _octets(manifest))
            done.manifests += 1
            done.files += len(manifest.live)
        done.units = _units(lake, ledger)
        _names(lake)
        _compare(lake, ledger, done, progress)
        lake.staging.write(keep / "format.json", (lake.root / "format.json").read_bytes())
        lake.mark()
    lake.staging.sweep()
    return done


def undo(lake: Lake) -> int:
    """Go back to the ledger of format 2; how many files that came since are removed.

    Raises:
        UsageError: there is nothing to go back to.
    """
    keep = _require_kept(lake)
    with _alone(lake):
        # From here on it is a lake of format 2; what follows may be done again.
        lake.staging.write(lake.root / "format.json", (keep / "format.json").read_bytes())
        lake.__dict__.pop("format", None)
        known: set[str] = set()
        for _, _, manifest in _tables(Ledger2(lake.root)):
            for file in manifest.live:
                known.add(file.path)
                if not lake.path(file.path).is_file() and (keep / file.path).is_file():
                    _link(keep / file.path, lake.path(file.path), [])
        removed = 0
        for table in (*PARTITIONED, "routes", "reference"):
            for path in sorted((lake.root / table).rglob("*.parquet")):
                if path.relative_to(lake.root).as_posix() not in known:
                    path.unlink()
                    removed += 1
        shutil.rmtree(lake.root / "manifests", ignore_errors=True)
        shutil.rmtree(keep)
    return removed


def finish(lake: Lake) -> None:
    """Remove what `undo` needs: the ledger, and the second names of the old files.

    Raises:
        UsageError: nothing was migrated, or it was finished.
    """
    keep = _require_kept(lake)
    if lake.format != FORMAT:
        raise UsageError(f"{lake.root}: the migration is not complete", advice="run it again")
    shutil.rmtree(lake.root / "ledger", ignore_errors=True)
    shutil.rmtree(keep)


def _require_old(lake: Lake) -> None:
    if lake.format != LAYOUT:
        raise UsageError(
            f"{lake.root}: a lake of format {lake.format}: nothing to migrate",
            advice="`flowpeer migrate --finish` removes what is left of an older one"
            if (lake.root / BEFORE).is_dir()
            else "",
        )


def _require_kept(lake: Lake) -> Path:
    keep = lake.root / BEFORE
    if not (keep / "format.json").is_file():
        raise UsageError(f"{lake.root}: no migration to finish or to undo")
    return keep


@contextmanager
def _alone(lake: Lake) -> Iterator[None]:
    """Hold every lock that the older version takes, and those of today's single writers."""
    folder = lake.root / "locks"
    make_folder(folder)
    with ExitStack() as held:
        try:
            others = {p.stem for p in folder.glob("collect-*.lock")}
            for name in sorted({*OLD_LOCKS, *others}):
                lock = filelock.FileLock(folder / f"{name}.lock", thread_local=False)
                held.enter_context(lock.acquire(timeout=0))
            file = held.enter_context((folder / "flow-files.lock").open("a+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (filelock.Timeout, BlockingIOError):
            raise LockedError(
                f"{lake.root}: another process works on the lake",
                advice="stop collectors and scheduled jobs, then try again (exit status 75)",
            ) from None
        yield


def _link(path: Path, second: Path, missing: list[str]) -> None:
    if not path.is_file():
        missing.append(str(path))
        return
    if second.exists():
        return
    make_folder(second.parent)
    try:
        second.hardlink_to(path)
    except OSError:  # no links here, or the file has as many as it may have
        copy = second.with_name(f"{second.name}.new")
        shutil.copyfile(path, copy)
        copy.replace(second)


def _octets(manifest: Manifest) -> bytes:
    return codec.encode(manifest.header, manifest.files)


def _units(lake: Lake, ledger: Ledger2) -> int:
    buckets: dict[str, list[UnitRecord]] = {}
    for name in ledger.buckets():
        for unit in ledger.bucket(name).values():
            buckets.setdefault(bucket_of(unit.name), []).append(unit)
    for bucket, units in buckets.items():
        header = replace(Manifest.empty("units", bucket).header, generation=1, rows=len(units))
        units.sort(key=lambda u: u.name)
        octets = codec.encode(header, units)
        lake.staging.write(lake.path(unit_key(bucket)), octets)
    return sum(map(len, buckets.values()))


def _names(lake: Lake) -> None:
    """Names of interfaces; a damaged document is left out: routers repeat their names."""
    place = lake.root / "ledger" / interface_names.TABLE
    for path in sorted(place.rglob("*.json")) if place.is_dir() else ():
        try:
            interfaces = read_document(path)["interfaces"]
        except InputError:
            continue
        known_names = interface_names.KnownInterfaceNames(
            {
                int(i): {k: (us, t) for k, (us, t) in texts.items()}
                for i, texts in interfaces.items()
            }
        )
        writer, address = path.parent.name, path.stem
        lake.staging.write(
            lake.path(interface_names.document_key(writer, address)),
            codec.encode_lines(known_names),
        )


def _compare(lake: Lake, ledger: Ledger2, done: Migration, progress: Progress) -> None:
    """Read everything again as it is on disk.

    Raises:
        InputError: something is not what was to be written, or a file not what was published.
    """
    gone = set(done.missing)
    done.missing = []
    for table, hour, want in _tables(ledger):
        key = key_of(table, hour)
        if codec.decode(lake.path(key).read_bytes(), key) != want:
            raise InputError(key, "not what was to be written", advice="look at the disk")
        for file in want.live:
            path = lake.path(file.path)
            progress(1)
            if str(path) in gone:
                done.missing.append(file.path)
            elif path.stat().st_size != file.file_bytes or sha256_of(path) != file.sha256:
                raise InputError(
                    str(path), "the content is not what was published, so nothing is migrated",
                    advice="run `flowpeer verify`, and do as it says with the version that made it",
                )  # fmt: skip
