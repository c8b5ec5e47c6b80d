"""Are the files of the lake the ones that were published?

Every file is compared with its ledger document: there, same size, same SHA-256, same rows; and
every document with the digest it carries of itself. What has no document was never finished; what
has no file was taken away. Unfinished files of earlier runs are named too: the next run of the same
work clears them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError
from flowpeer.lake import names
from flowpeer.lake.ledger import Ledger
from flowpeer.lake.store import Lake, partition_hour, sha256_of
from flowpeer.schema import PARTITIONED, table_columns
from flowpeer_core.columns import arrow_schema

TABLES = (*PARTITIONED, "routes", "reference")
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the file, what, and the next step."""

    path: str
    what: str
    advice: str


DOCUMENTS = (*TABLES, "captures", names.TABLE, "pruned", "pruned_routes", "late")
Period = tuple[datetime, datetime]


def in_period(relative: str, period: Period | None) -> bool:
    """Whether a file is of an hour of the period; files that are of no hour always are."""
    if period is None or "/date=" not in relative:
        return True
    hour = partition_hour(relative)
    return hour < period[1] and hour + HOUR > period[0]


def verify_files(
    ledger: Ledger, period: Period | None = None
) -> Iterator[tuple[str, Fault | None]]:
    """Check each published file, then what does not belong; (path, None) for a good one."""
    lake = ledger.lake
    for table in DOCUMENTS:
        entries: dict[str, dict[str, Any]] = {}
        for relative in ledger.names(table):
            if not in_period(relative, period):
                continue
            try:
                entry = ledger.entry(relative)
            except InputError:
                document = lake.entry_path(relative).relative_to(lake.root)
                text = f"{document} is not what was written"
                yield relative, Fault(relative, text, _remedy(relative))
                continue
            if entry is not None and table in TABLES:
                entries[relative] = entry
        for relative, entry in entries.items():
            yield relative, _check(lake, relative, entry)
        yield from _strangers(ledger, table, period)


def _strangers(
    ledger: Ledger, table: str, period: Period | None
) -> Iterator[tuple[str, Fault | None]]:
    """Files of a table that have no document."""
    known = set(ledger.names(table))
    root = ledger.lake.root
    for path in sorted((root / table).rglob("*")) if table in TABLES else ():
        relative = path.relative_to(root).as_posix()
        if path.is_file() and relative not in known and in_period(relative, period):
            yield (
                relative,
                Fault(
                    relative,
                    "no ledger document: it was never finished, or is no file of flowpeer",
                    "run the command that makes it again, or delete it",
                ),
            )


def _check(lake: Lake, relative: str, entry: dict[str, object]) -> Fault | None:
    path = lake.path(relative)
    again = _remedy(relative)
    if not path.is_file():
        return Fault(relative, "the file is missing", again)
    if path.stat().st_size != entry["file_bytes"] or sha256_of(path) != entry["sha256"]:
        return Fault(relative, "the content is not what was published", again)
    try:
        with pq.ParquetFile(path) as file:
            rows, stated = file.metadata.num_rows, file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        return Fault(relative, f"not readable: {error}", again)
    if rows != entry["rows"]:
        return Fault(relative, f"{rows} rows, {entry['rows']} in the ledger", again)
    if not stated.equals(arrow_schema(table_columns(relative))):
        return Fault(relative, "the columns are not the stated ones", again)
    return None


def _remedy(relative: str) -> str:
    table = relative.split("/")[0]
    if table == names.TABLE:
        return names.remedy(relative)
    made_by = {
        "traffic": "`flowpeer rollup`",
        "traffic_routes": "`flowpeer rollup`",
        "routes": "`flowpeer rib load`",
        "reference": "`flowpeer peeringdb load` or `flowpeer rollup`",
    }.get(table, "`flowpeer ingest`")
    ledger = f"lake/ledger/{relative.removesuffix('.parquet')}.json"
    return f"delete it and {ledger}, then run {made_by} again"
