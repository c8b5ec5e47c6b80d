"""Files written before a column was added or renamed, as the tables of today.

Added columns are nullable, and null in what is older. `RENAMED` names those that had another name.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowpeer.lake.manifest import File
from flowpeer.schema import FORMAT, TABLES, table_columns
from flowpeer_core.columns import arrow_schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

RENAMED = {"coverage": {"exporter_ip": "exporter", "seen": "heard"}}
"""Old names by present ones, of files of a layout before 3."""


def names_in(table: str, there: list[str], layout: int) -> dict[str, str | None]:
    """Of each stated column, its name in a file that has these; None where it is missing."""
    old = RENAMED.get(table, {}) if layout < FORMAT else {}
    return {
        name: stands if (stands := old.get(name, name)) in there else None
        for name in (c.name for c in TABLES[table])
    }


def by_layout(files: Iterable[File]) -> list[tuple[int, list[File]]]:
    """Files of each layout, those of the oldest first."""
    found: dict[int, list[File]] = {}
    for file in files:
        found.setdefault(file.layout, []).append(file)
    return sorted(found.items())


def uniform(rows: pa.Table, table: str, layout: int) -> pa.Table:
    """Rows of an older file with exactly the stated columns."""
    import pyarrow as pa

    schema = arrow_schema(TABLES[table])
    names = names_in(table, rows.schema.names, layout)
    return pa.Table.from_arrays(
        [
            rows.column(names[f.name]) if names[f.name] else pa.nulls(rows.num_rows, f.type)
            for f in schema
        ],
        schema=schema,
    )


def scan(
    paths: list[Path], table: str, layout: int, *, also: Iterable[str] = (), **options: Any
) -> pl.LazyFrame:
    """The stated columns of files of one layout, and those of `also`, which the paths hold.

    `options` are those of `pl.scan_parquet`.
    """
    import polars as pl
    import pyarrow.parquet as pq

    empty = pl.from_arrow(arrow_schema(TABLES[table]).empty_table())
    assert isinstance(empty, pl.DataFrame)
    if layout >= FORMAT:
        schema = dict(empty.schema)
        frame = pl.scan_parquet(
            paths, schema=schema, glob=False, missing_columns="insert", **options
        )
        return frame.select(*schema, *also)
    frame = pl.scan_parquet(paths, glob=False, **options)
    names = names_in(table, pq.read_schema(paths[0]).names, layout)
    cells = [
        pl.lit(None, dtype).alias(name) if (stands := names[name]) is None
        else pl.col(stands).alias(name)
        for name, dtype in empty.schema.items()
    ]  # fmt: skip
    return frame.select(*cells, *also)


def differs(relative: str, stated: pa.Schema, layout: int) -> bool:
    """Whether a file's columns are not those of its table, as they were in its layout."""
    columns = arrow_schema(table_columns(relative))
    if layout >= FORMAT:
        return not stated.equals(columns)
    old = RENAMED.get(relative.partition("/")[0], {})
    today = {old.get(f.name, f.name): f for f in columns}
    required = {name for name, f in today.items() if not f.nullable}
    return not required <= set(stated.names) or any(
        f.name not in today or f.type != today[f.name].type for f in stated
    )
