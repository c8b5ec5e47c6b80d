"""Closed hours of what ingest publishes merged into one file each.

A collector publishes a file a minute and table; an hour of sixty files costs every reader sixty
openings. The merged file is made beside the tables, in a folder of its own, and that folder then
changes places with the hour's folder in one step (renameat2 with RENAME_EXCHANGE): a reader that
lists the folder sees all of the old files or the one new file. Files that arrived meanwhile are
carried over.

    lake/exchange/
      files/          the merged file; after the exchange, the old files
      ledger/         its document; after the exchange, the old documents
      journal.json    written when both are complete: from then on a crash is repaired by going on

The merged file's document keeps the documents of the files it was made of (`made_of`), so that a
roll-up's fingerprint stays what it was.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError
from flowpeer.lake.flows import MERGED, merged_facts
from flowpeer.lake.store import (
    Lake,
    document_octets,
    make_folder,
    partition_hour,
    sha256_of,
    sync_folder,
    write_atomically,
)  # fmt: skip
from flowpeer_ingest.schema import TABLES

HOUR = timedelta(hours=1)
ROWS_AT_ONCE = 1 << 20
"""Rows of merged files that are in memory together."""
_AT_FDCWD, _EXCHANGE = -100, 2


def units(entries: Mapping[str, dict[str, Any]]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Flow files as they were published: name → (file that holds its rows now, its document)."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for relative, entry in entries.items():
        made_of = entry.get("made_of") or {relative: entry}
        found.update({name: (relative, unit) for name, unit in made_of.items()})
    return dict(sorted(found.items()))


def closed_hours(lake: Lake, table: str, before: datetime) -> dict[str, list[str]]:
    """Folders of a table with more than one file whose hour ended at or before a time."""
    folders: dict[str, list[str]] = {}
    for relative in lake.entry_names(table):
        if partition_hour(relative) + HOUR <= before:
            folders.setdefault(str(PurePosixPath(relative).parent), []).append(relative)
    return {folder: files for folder, files in folders.items() if len(files) > 1}


def merge(
    lake: Lake, files: list[str], *, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Replace the files of one hour by one; the ledger document of the new file.

    The caller holds `lake.flow_files(alone=True)`.

    Raises:
        InputError: a file is not the one that was published, or the file system cannot exchange
            folders. The lake is unchanged then.
    """
    entries: dict[str, dict[str, Any]] = {}
    for relative in files:
        entry = lake.entry(relative)
        if entry is None or sha256_of(lake.path(relative)) != entry["sha256"]:
            raise InputError(
                str(lake.path(relative)), "the content is not what was published, so not merged",
                advice="run `flowpeer verify`",
            )  # fmt: skip
        entries[relative] = entry
    folder = str(PurePosixPath(files[0]).parent)
    table = folder.partition("/")[0]
    made_of = {name: unit for name, (_, unit) in units(entries).items()}
    digests = "".join(unit["sha256"] for unit in made_of.values())
    name = f"{MERGED}{hashlib.sha256(digests.encode()).hexdigest()[:16]}"
    staged = lake.stage(f"{folder}/{name}.parquet", TABLES[table])
    try:
        for rows in _in_row_groups(lake, files):
            staged.write(rows)
            if progress is not None:
                progress(rows.num_rows)
        facts = merged_facts(made_of) if table == "flows" else {}
        temporary, document = staged.finish({**facts, "made_of": made_of})
    except BaseException:
        staged.discard()
        raise
    area = lake.root / "exchange"
    shutil.rmtree(area, ignore_errors=True)
    make_folder(area / "files")
    temporary.replace(area / "files" / f"{name}.parquet")
    sync_folder(area / "files")
    write_atomically(
        area / "ledger" / f"{name}.json", document_octets(document), staging=lake.staging
    )
    journal = {"folder": folder, "name": name, "merged": [PurePosixPath(f).stem for f in files]}
    write_atomically(area / "journal.json", json.dumps(journal).encode(), staging=lake.staging)
    finish(lake)
    return document


def _in_row_groups(lake: Lake, files: list[str]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for relative in files:
        with pq.ParquetFile(lake.path(relative), page_checksum_verification=True) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                waiting.append(pa.Table.from_batches([batch]))
                rows += batch.num_rows
                if rows >= ROWS_AT_ONCE:
                    yield pa.concat_tables(waiting)
                    waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def finish(lake: Lake) -> bool:
    """Complete an exchange that was begun; whether there was one.

    Each step finds out whether it was done before, so it may be killed and called again. The caller
    holds `lake.flow_files(alone=True)`.
    """
    area = lake.root / "exchange"
    try:
        journal = json.loads((area / "journal.json").read_bytes())
    except FileNotFoundError:
        return False
    folder, name, merged = journal["folder"], journal["name"], set(journal["merged"])
    pairs = (
        (area / "files", lake.path(folder), ".parquet"),
        (area / "ledger", lake.path("ledger") / folder, ".json"),
    )
    done: list[tuple[Path, Path]] = []
    for ours, theirs, suffix in pairs:
        if (ours / f"{name}{suffix}").exists():
            try:
                exchange(ours, theirs)
            except OSError as error:
                for pair in done:
                    exchange(*pair)
                shutil.rmtree(area)
                raise InputError(
                    str(theirs), f"folders cannot be exchanged on this file system: "
                    f"{error.strerror}", advice="leave the files as they are",
                ) from None  # fmt: skip
            done.append((ours, theirs))
    for ours, theirs, suffix in pairs:  # files that came while the others were being merged
        for path in sorted(ours.glob(f"*{suffix}")) if ours.is_dir() else ():
            if path.stem not in merged:
                path.replace(theirs / path.name)
        sync_folder(theirs)
    for ours, _, _ in pairs:
        shutil.rmtree(ours, ignore_errors=True)
    (area / "journal.json").unlink()
    sync_folder(area)
    return True


def recover(lake: Lake) -> None:
    """Complete an exchange that somebody broke off.

    Raises:
        LockedError: it is not broken off but going on.
    """
    if (lake.root / "exchange" / "journal.json").exists():
        with lake.flow_files(alone=True):
            finish(lake)


def exchange(one: Path, other: Path) -> None:
    """Let two folders change places, in one step. Raises OSError where that cannot be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(38, "Function not implemented")
    done = libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    for folder in {one.parent, other.parent}:
        sync_folder(folder)
