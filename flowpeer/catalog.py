"""The lake as tables: what SQL reads them with, a catalog file for other programs, Polars scans.

A relation stands for every table of `flowpeer.schema.TABLES`, with its columns in the stated
order; partitioned tables have `date` (DATE) and `hour` (INTEGER) of their folder after them. A
table without files is an empty relation of the same types. Times are TIMESTAMP WITH TIME ZONE in
DuckDB, in Polars and in the files, and the zone is UTC.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import flowpeer_sql
from flowpeer import __version__
from flowpeer.errors import InputError, UsageError
from flowpeer.lake import day_sums, older_layouts
from flowpeer.lake.listing import files_by_layout
from flowpeer.lake.relation import kinds, no_crossings, relation, to_sum
from flowpeer.lake.store import Lake
from flowpeer.schema import CONFIGURED, PARTITIONED, SUMS, TABLES
from flowpeer_core.columns import TableColumn, arrow_schema
from flowpeer_core.quoted import escape, literal

STORAGE_VERSION = "v1.5.0"
"""Of a written catalog: DuckDB 1.5 and later open it."""

NO_CROSSINGS = "crossings are made when they are asked for: use `flowpeer sql`"
"""What whoever reads them in a catalog sees, where no rows would be taken for no traffic."""

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    import pyarrow as pa

    from flowpeer.lake.record import Record

_NONE: Mapping[str, pa.Table] = MappingProxyType({})


def write_catalog(
    path: Path, lake_root: Path, *, configured: Mapping[str, pa.Table] = _NONE
) -> None:
    """A `.duckdb` file for other programs: views over the lake, macros and questions.

    Paths start with the lake's place as of now, or with the variable `lake` where it is set (SET
    VARIABLE lake = '/mnt/lake'): so it works after the lake was moved, or from another mount. The
    view `about_catalog` says what made it, and the DuckDB that it needs. It replaces `path` in one
    step, so that whoever has the old file open keeps it whole. It has the files of now: after
    `rollup` and `compact` it is to be written again (`pipeline.rollup.renew_catalog`).

    Raises:
        InputError: a file of the lake that cannot be read, or a place that cannot be written.
    """
    import duckdb

    root = lake_root.resolve()
    if (remote := Lake(root).remote) is not None:
        raise UsageError(
            f"{remote.address}: a catalog of files on an object store cannot be written",
            advice="read the tables with `flowpeer sql` or the Python API",
        )
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            made = Path(folder) / "catalog.duckdb"
            con = duckdb.connect(
                str(made), config={"storage_compatibility_version": STORAGE_VERSION}
            )
            try:
                _define(con, root, configured_rows(configured))
                con.execute(
                    f"CREATE VIEW about_catalog AS SELECT {literal(__version__)} AS flowpeer,"
                    f" {literal(STORAGE_VERSION.removeprefix('v'))} AS needs_duckdb,"
                    f" {literal(str(root))} AS lake"
                )
            finally:
                con.close()
            with made.open("rb+") as file:
                os.fsync(file.fileno())
            made.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(str(path), f"the catalog cannot be written: {reason}") from error
    folder_fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def scan(
    lake_root: Path,
    table: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.LazyFrame:
    """A Polars scan of `table` with its stated columns, then `date` and `hour` where partitioned.

    `start` (inclusive) and `end` (exclusive) choose the hours whose files are read; rows inside
    an hour are not filtered. Times without a zone are UTC. Without files: an empty frame.

    Raises:
        UsageError: no such table.
    """
    if table not in TABLES:
        raise UsageError(f"no table {table!r} in the lake", advice="see `flowpeer sql --list`")
    import polars as pl

    root = lake_root.resolve()
    stated = _polars_schema(TABLES[table])
    partitioned = table in PARTITIONED
    hive: dict[str, pl.DataType] = {"date": pl.Date(), "hour": pl.Int32()}
    wanted = {**stated, **hive} if partitioned else stated
    found = files_by_layout(Lake(root).record(), table, start=start, end=end)
    if not found:
        return pl.LazyFrame(schema=wanted)
    # A folder above the lake may be called a=b; Polars would have it a partition too.
    above: dict[str, pl.DataType] = {
        part.partition("=")[0]: pl.String() for part in root.parts if "=" in part
    }
    options: dict[str, Any] = {"hive_partitioning": partitioned}
    if partitioned:
        options |= {"hive_schema": {**above, **hive}, "also": tuple(hive)}
    frames = [older_layouts.scan(files, table, number, **options) for number, files in found]
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def scan_slots(
    record: Record, start: datetime | None = None, end: datetime | None = None
) -> pl.LazyFrame:
    """A Polars scan of `traffic_slots`; as `scan_sums`."""
    names = [column.name for column in SUMS["traffic_slots"]]
    return scan_sums(record, "traffic_slots", names, start, end)


def scan_sums(
    record: Record,
    name: str,
    columns: Sequence[str],
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.LazyFrame:
    """A Polars scan of a table of sums, of the hours of [start, end): rows to be summed, of whole
    days where those are kept.

    Args:
        columns: of those that the table shares with the one that it sums.

    Raises:
        InputError: a manifest that cannot be read.
    """
    import polars as pl

    day = timedelta(days=1)
    whole = {
        date: path
        for date, path in day_sums.kept(record, name).items()
        if (start is None or start <= datetime.combine(date, time(), UTC))
        and (end is None or datetime.combine(date, time(), UTC) + day <= end)
    }
    table = day_sums.MADE_OF[name][0]
    found = files_by_layout(record, table, start=start, end=end, without=whole)
    frames = [
        older_layouts.scan(files, table, number, hive_partitioning=False).select(columns)
        for number, files in found
    ]
    schema = _polars_schema(tuple(c for c in SUMS[name] if c.name != "day"))
    if whole:
        days = pl.scan_parquet(
            [*whole.values()], schema=schema, glob=False, hive_partitioning=False
        )
        frames.append(days.select(columns))
    return pl.concat(frames or [pl.LazyFrame(schema=schema).select(columns)])


def _polars_schema(columns: tuple[TableColumn, ...]) -> dict[str, pl.DataType]:
    import polars as pl

    empty = pl.from_arrow(arrow_schema(columns).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return dict(empty.schema)


def _define(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    configured: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Every table, view and macro."""
    from flowpeer.engine import begin, named_errors

    begin(con)
    record = Lake(root).record()
    for name in (*TABLES, *SUMS):
        with named_errors("", where=root / name):
            if name in configured:
                con.execute(
                    f'CREATE TABLE "{name}" AS'  # noqa: S608 (a name of ours)
                    " SELECT unnest(r) FROM (SELECT unnest(from_json_strict(?, ?)) AS r)",
                    [json.dumps(configured[name], default=str), json.dumps([kinds(name)])],
                )
                continue
            # Sums of days may be made again at any time, and their files go.
            made = to_sum if name in SUMS else relation
            text = made(record, name, by_week=True)
            text = text.replace(
                literal(escape(str(root)) + "/")[:-1],
                f"coalesce(getvariable('lake'), {literal(str(root))}) || '/",
            )
            con.execute(f'CREATE VIEW "{name}" AS {text}')
    with named_errors("", where=root):
        con.execute(f"CREATE VIEW crossings AS {no_crossings(NO_CROSSINGS)}")
        for script in (*flowpeer_sql.views(), *flowpeer_sql.macros()):
            con.execute(script.sql)


def configured_rows(configured: Mapping[str, pa.Table]) -> dict[str, list[dict[str, Any]]]:
    """Tables of the configuration as rows with the stated columns.

    Raises:
        UsageError: a table that is none of them, or lacks a column.
    """
    import pyarrow as pa

    if unknown := sorted(set(configured) - set(CONFIGURED)):
        raise UsageError(f"no table that a configuration makes: {', '.join(unknown)}")
    found = {}
    for name, table in configured.items():
        schema = arrow_schema(CONFIGURED[name])
        try:
            found[name] = table.select(schema.names).cast(schema).to_pylist()
        except (KeyError, pa.ArrowInvalid) as error:
            raise UsageError(f"table {name} is not as stated: {error}") from error
    return found
