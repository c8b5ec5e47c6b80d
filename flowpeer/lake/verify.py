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

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.lake.store import Lake, is_intact, partition_hour, sha256_of
from flowpeer.schema import PARTITIONED, arrow_schema, table_columns

TABLES = (*PARTITIONED, "routes", "reference")
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the file, what, and the next step."""

    path: str
    what: str
    advice: str


DOCUMENTS = (*TABLES, "captures", "pruned", "pruned_routes", "late")
Period = tuple[datetime, datetime]


def in_period(relative: str, period: Period | None) -> bool:
    """Whether a file is of an hour of the period; files that are of no hour always are."""
    if period is None or "/date=" not in relative:
        return True
    hour = partition_hour(relative)
    return hour < period[1] and hour + HOUR > period[0]


def verify_files(lake: Lake, period: Period | None = None) -> Iterator[tuple[str, Fault | None]]:
    """Check each published file, then what does not belong; (path, None) for a good one."""
    yield from _documents(lake, period)
    for table in TABLES:
        damaged: list[str] = []
        entries = lake.entries(table, damaged=damaged)
        for relative, entry in entries.items():
            if in_period(relative, period):
                yield relative, _check(lake, relative, entry)
        for path in sorted((lake.root / table).rglob("*")):
            relative = path.relative_to(lake.root).as_posix()
            known = relative in entries or relative in damaged
            if path.is_file() and not known and in_period(relative, period):
                yield (
                    relative,
                    Fault(
                        relative,
                        "no ledger document: it was never finished, or is no file of flowpeer",
                        "run the command that makes it again, or delete it",
                    ),
                )


def _documents(lake: Lake, period: Period | None) -> Iterator[tuple[str, Fault | None]]:
    """Faults among the ledger documents; nothing for a good one."""
    for table in DOCUMENTS:
        for path in sorted((lake.root / "ledger" / table).rglob("*.json")):
            relative = path.relative_to(lake.root).as_posix()
            if in_period(relative, period) and not is_intact(path):
                table_file = relative.removeprefix("ledger/").removesuffix(".json") + ".parquet"
                yield (
                    table_file,
                    Fault(table_file, f"{relative} is not what was written", _remedy(table_file)),
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
    made_by = {
        "traffic": "`flowpeer rollup`",
        "traffic_routes": "`flowpeer rollup`",
        "routes": "`flowpeer rib load`",
        "reference": "`flowpeer peeringdb load` or `flowpeer rollup`",
    }.get(table, "`flowpeer ingest`")
    ledger = f"lake/ledger/{relative.removesuffix('.parquet')}.json"
    return f"delete it and {ledger}, then run {made_by} again"
