"""Closed hours of what ingest publishes merged into one file each.

A collector publishes a file a minute and table; an hour of sixty files costs every reader sixty
openings. The merged file is written first, then the manifest names it in place of the others, which
stay for a grace period for readers that have the manifest of before. Nothing is locked meanwhile:
where an input is not there any more when the manifest is to be changed, the merge gives up.

The merged file's entry keeps those of the files it was made of, so that a roll-up's fingerprint
stays what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError
from flowpeer.lake.commit import Change, commit
from flowpeer.lake.manifest import File, Manifest, folder_of
from flowpeer.lake.older_layouts import uniform
from flowpeer.lake.publish import MERGED
from flowpeer.lake.store import Lake, sha256_of
from flowpeer_ingest.schema import TABLES

ROWS_AT_ONCE = 1 << 20
"""Rows of merged files that are in memory together."""


def merge(
    lake: Lake,
    table: str,
    hour: datetime,
    *,
    grace_s: float,
    progress: Callable[[int], None] | None = None,
) -> File | None:
    """Replace the files of one hour by one; None where another process was faster.

    Raises:
        InputError: a file is not the one that was published. The lake is unchanged then.
    """
    files = lake.record().manifest(table, hour).live
    for file in files:
        if sha256_of(lake.path(file.path)) != file.sha256:
            raise InputError(
                str(lake.path(file.path)), "the content is not what was published, so not merged",
                advice="run `flowpeer verify`",
            )  # fmt: skip
    units = sorted((u for f in files for u in f.units), key=lambda u: u.path)
    digests = "".join(unit.sha256 for unit in units)
    name = f"{MERGED}{hashlib.sha256(digests.encode()).hexdigest()[:16]}"
    relative = f"{folder_of(table, hour)}/{name}.parquet"
    staged = lake.stage(relative, TABLES[table])
    try:
        for rows in _in_row_groups(lake, table, files):
            staged.write(rows)
            if progress is not None:
                progress(rows.num_rows)
        # In the order of the rows, which tells the unit of each.
        merged = replace(
            staged.finish(relative), units=tuple(unit for file in files for unit in file.units)
        )
    except BaseException:
        staged.discard()
        raise
    merged = lake.put(staged.path, merged)
    replaced = {file.path: file.sha256 for file in files}
    named = False

    def edit(manifest: Manifest) -> Change | None:
        nonlocal named
        there = {f.path: f.sha256 for f in manifest.live}
        named = merged.path in there
        if named or any(there.get(path) != digest for path, digest in replaced.items()):
            return None
        kept = (f for f in manifest.files if f.pruned or f.path not in replaced)
        return Change((*kept, merged), retired=tuple(replaced))

    if commit(lake, table, hour, edit, grace_s=grace_s) is not None:
        return merged
    if not named:
        lake.storage.remove(merged.path)
    return None


def _in_row_groups(lake: Lake, table: str, files: tuple[File, ...]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for read in files:
        with pq.ParquetFile(lake.path(read.path), page_checksum_verification=True) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                waiting.append(uniform(pa.Table.from_batches([batch]), table, read.layout))
                rows += batch.num_rows
                if rows >= ROWS_AT_ONCE:
                    yield pa.concat_tables(waiting)
                    waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
