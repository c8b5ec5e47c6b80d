"""Manifests made again from the files of a lake that has lost them, or some of them.

What the files hold is in the record again: rows, sums, digests, and the facts of flow records. What
only the record knew is gone: which captures were loaded, sequence numbers, and what an hour was
rolled up from, so that hours are rolled up again. An hour with a roll-up and without flow files
that were received in it is taken as pruned: it keeps its roll-up, and is frozen.

Only hours and tables without a readable manifest are adopted; a file beside a good manifest that
does not name it was never finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError
from flowpeer.lake import codec
from flowpeer.lake.manifest import (
    File,
    Manifest,
    PrunedFile,
    RollupFacts,
    UnitEntry,
    folder_of,
    hour_name,
    key_of,
    partition_hour,
    summarised,
)
from flowpeer.lake.record import Record
from flowpeer.lake.staged import SUMMED, exact_sum
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.schema import FORMAT, PARTITIONED, table_columns
from flowpeer_core.slots import HOUR_US
from flowpeer_ingest.facts import Facts, hour_text
from flowpeer_ingest.parts import FlowFacts

Progress = Callable[[int], None]
Key = tuple[str, datetime | None]
ROLLED_UP = ("traffic", "traffic_routes")


@dataclass
class Adopted:
    """What was, or would be, adopted."""

    files: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    """Hours whose flow records are not all there any more."""


def candidates(lake: Lake) -> dict[Key, list[Path]]:
    """Files by table and hour, of those without a readable manifest."""
    found: dict[Key, list[Path]] = {}
    for table in (*PARTITIONED, "routes", "reference"):
        for path in sorted((lake.root / table).rglob("*.parquet")):
            relative = path.relative_to(lake.root).as_posix()
            try:
                hour = partition_hour(relative) if table in PARTITIONED else None
            except ValueError:
                continue
            found.setdefault((table, hour), []).append(path)
    return {key: paths for key, paths in found.items() if not _readable(lake, *key)}


def _readable(lake: Lake, table: str, hour: datetime | None) -> bool:
    key = key_of(table, hour)
    held = lake.storage.read(key)
    if held is None:
        return False
    try:
        codec.decode(held.octets, key)
    except InputError:
        return False
    return True


def adopt(lake: Lake, progress: Progress = lambda files: None) -> Adopted:
    """Make the missing manifests; `progress` is given the files read.

    Raises:
        LockedError: another process changes the lake.
    """
    done = Adopted()
    with lake.lock("ingest"), lake.lock("ribs"), lake.lock("reference"):
        begun: Counter[datetime] = Counter()
        """Flow records by the hour they start in."""
        made: dict[Key, Manifest] = {}
        for (table, hour), paths in sorted(candidates(lake).items(), key=_order):
            files = []
            for path in paths:
                progress(1)
                try:
                    files.append(_file(lake, path, begun))
                except (pa.ArrowException, OSError, KeyError, ValueError):
                    done.unreadable.append(path.relative_to(lake.root).as_posix())
                else:
                    done.files.append(files[-1].path)
            made[table, hour] = _manifest(table, hour, files)
        if not lake.path("format.json").exists():
            lake.mark()
        for (table, hour), manifest in made.items():
            octets = codec.encode(manifest.header, manifest.files)
            lake.staging.write(lake.path(key_of(table, hour)), octets)
        if any(table in ROLLED_UP for table, _ in made):
            _freeze(lake, begun, done)
    return done


def _order(item: tuple[Key, list[Path]]) -> tuple[str, str]:
    (table, hour), _ = item
    return table, "" if hour is None else hour_name(hour)


def _manifest(table: str, hour: datetime | None, files: list[File]) -> Manifest:
    files.sort(key=lambda f: f.path)
    header = summarised(table, hour_name(hour) if hour else "", files)
    if table in ROLLED_UP:
        header = replace(header, rollup=RollupFacts(figures=_figures(files)))
    return Manifest(replace(header, generation=1), tuple(files))


def _figures(files: list[File]) -> dict[str, int]:
    """The figures of an hour as far as its rows tell them: what is counted twice is in them."""
    facts = [file.facts for file in files]
    return {
        "flow_bytes": sum(f["scaled_bytes"] for f in facts),
        "flow_bytes_unscaled": sum(f["unscaled_bytes"] for f in facts),
        "records": sum(f["records"] for f in facts),
    }


def _file(lake: Lake, path: Path, begun: Counter[datetime]) -> File:
    relative = path.relative_to(lake.root).as_posix()
    table = relative.partition("/")[0]
    sums: Counter[str] = Counter()
    gathered = Facts()
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        columns = parquet.schema_arrow
        stated = {c.name for c in table_columns(relative)}
        layout = FORMAT if stated <= set(columns.names) else FORMAT - 1
        rows = 0
        for group in range(parquet.metadata.num_row_groups):
            read = parquet.read_row_group(group)
            rows += read.num_rows
            for name in SUMMED:
                if name in columns.names:
                    sums[name] += exact_sum(read.column(name))
            if table == "flows":
                gathered.add(read)
                for hour, count in _starts(read):
                    begun[hour] += count
    digest = sha256_of(path)
    facts = gathered.facts() if table == "flows" else None
    units: tuple[UnitEntry, ...] = ()
    if table in ("flows", "sampling", "coverage"):
        units = (UnitEntry(relative, digest, rows, facts=facts),)
    return File(
        relative, rows, path.stat().st_size, digest, dict(sums), layout, units,
        facts=_facts(table, path, digest),
    )  # fmt: skip


def _starts(rows: pa.Table) -> Iterator[tuple[datetime, int]]:
    hours = pl.Series(rows["start_time"].cast(pa.int64()).to_numpy()) // HOUR_US
    for hour, count in hours.value_counts().iter_rows():
        yield datetime.fromisoformat(f"{hour_text(hour)}:00:00+00:00"), count


def _facts(table: str, path: Path, digest: str) -> dict[str, Any]:
    if table in ROLLED_UP:
        frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        sums = frame.group_by("scaled").agg(pl.col("bytes", "records").sum()).collect()
        octets = dict(sums.select("scaled", "bytes").iter_rows())
        return {
            "scaled_bytes": octets.get(True, 0), "unscaled_bytes": octets.get(False, 0),
            "records": int(sums["records"].sum()),
        }  # fmt: skip
    if table == "routes":
        return _snapshot(path, digest)
    return {"source": "adopted"} if table == "reference" else {}


def _snapshot(path: Path, digest: str) -> dict[str, Any]:
    """What a snapshot's rows tell of it."""
    frame = pl.scan_parquet(path, glob=False)
    row = frame.select(
        pl.col("taken_at").first(), pl.col("as_path").is_not_null().any().alias("paths"),
        *(pl.col("prefix").filter(pl.col("family") == f).n_unique().alias(str(f)) for f in (4, 6)),
    ).collect()  # fmt: skip
    views = sorted(frame.select("vantage").unique().collect()["vantage"].to_list())
    tied = len(views) == 1 and "@" not in views[0]
    return {
        "taken_at": row["taken_at"][0].isoformat(), "asked_taken_at": None,
        "vantage": views[0] if tied else "", "asked_vantage": None,
        "views": [] if tied else views, "prefixes4": row["4"][0], "prefixes6": row["6"][0],
        "source": path.name, "source_digest": digest, "skipped": {}, "peers": [],
        "kind": "mrt" if row["paths"][0] else "table",
    }  # fmt: skip


def _freeze(lake: Lake, begun: Counter[datetime], done: Adopted) -> None:
    """Freeze the hours whose flow records are gone: none is there that was received in them.

    Where a few that were received later are left, the sums of that hour's records are not known.
    """
    record = Record(lake)
    received = {hour for hour in record.hours("flows") if record.stands("flows", hour).live}
    for hour in record.hours("traffic"):
        if hour in received:
            continue
        done.frozen.append(hour_name(hour))
        rollup = record.stands("traffic", hour).header.rollup
        figures = rollup.figures if rollup and not begun[hour] else {}
        path = f"{folder_of('flows', hour)}/gone.parquet"
        gone = File(
            path, 0, 0, "",
            units=(UnitEntry(path, "", 0, facts=FlowFacts(hours=(hour_name(hour),))),),
            pruned=PrunedFile(
                "", figures.get("flow_bytes", 0), figures.get("flow_bytes_unscaled", 0),
                figures.get("records", 0),
            ),
        )  # fmt: skip
        held = record.stands("flows", hour)
        files = (*(f for f in held.files if f.path != path), gone)
        made = held.next(files, pending=held.header.pending, retired=held.header.retired)
        octets = codec.encode(made.header, made.files)
        lake.staging.write(lake.path(key_of("flows", hour)), octets)
