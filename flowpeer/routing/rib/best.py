"""One route a prefix out of all views of a snapshot: what the compiled match is made from.

Of several views the best is taken: shortest AS path (a set counts 1, confederation segments
nothing), then the lowest vantage text, then the order of the file. A snapshot of forty peers has
ten million routes and a million prefixes: it is read in parts, and only prefixes are kept.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError
from flowpeer.routing.source import BEST_ROUTES
from flowpeer_core.asns import AS_SET

PART_ROWS = 1 << 17
_PLACES = 1 << 32
_COLUMNS = ["prefix", "vantage", "origin_asn", "as_path"]
_KEYED = pa.schema(
    [
        ("prefix", pa.string()),
        ("vantage", pa.string()),
        ("origin_asn", pa.int64()),
        ("as_path", pa.string()),
        ("key", pa.int64()),
    ]
)


def combined(path: Path) -> pa.Table:
    """One row a prefix of a published snapshot, sorted by prefix text, with the columns of
    BEST_ROUTES.

    origin_asn is −3 for an AS_SET; origins lists all where the views have more than one.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return _combined(path)
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise InputError(
            str(path), f"cannot be read: {error}", advice="load this snapshot's file again"
        ) from None


def _combined(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        parts = file.iter_batches(PART_ROWS, columns=["vantage"])
        views = sorted({view for part in parts for view in part.column(0).unique().to_pylist()})
        ranked = pl.Enum(views)
        best = _KEYED.empty_table()
        origins = pl.DataFrame(schema={"prefix": pl.String, "origin_asn": pl.Int64})
        kept: list[pa.Table] = []
        pairs: list[pl.DataFrame] = []
        first = 0
        for batch in file.iter_batches(PART_ROWS, columns=_COLUMNS):
            table = pa.Table.from_batches([batch]).select(_COLUMNS)
            frame = pl.DataFrame(pl.from_arrow(table)).with_columns(key=_key(ranked, first))
            pairs.append(_compact(frame.select("prefix", "origin_asn").unique()))
            keys = frame.group_by("prefix").agg(pl.col("key").min())["key"].sort()
            # Taken in Arrow: a part of a Polars column would keep all of its text alive.
            lowest = table.take(pa.array(keys.to_numpy() % _PLACES - first))
            kept.append(lowest.append_column("key", pa.array(keys.to_numpy())).cast(_KEYED))
            first += table.num_rows
            if sum(part.num_rows for part in kept) > max(PART_ROWS, best.num_rows):
                best = _lowest([best, *kept])
                kept.clear()
            if sum(part.height for part in pairs) > max(PART_ROWS, origins.height):
                origins = _compact(pl.concat([origins, *pairs]).unique())
                pairs.clear()
    best = _lowest([best, *kept])
    origins = pl.concat([origins, *pairs]).unique()
    disputed = (
        origins.group_by("prefix")
        .agg(origins=pl.col("origin_asn").fill_null(AS_SET).sort())
        .filter(pl.col("origins").list.len() > 1)
    )
    chosen = pl.DataFrame(pl.from_arrow(best)).with_columns(pl.col("origin_asn").fill_null(AS_SET))
    result = chosen.join(disputed, on="prefix", how="left").sort("prefix").to_arrow()
    return result.select(BEST_ROUTES.names).cast(BEST_ROUTES)


def _key(ranked: pl.Enum, first: int) -> pl.Expr:
    """A number that orders routes: path length, rank of the vantage, place in the file.

    Ranks beyond 16 bits fall together and leave the choice to the place.
    """
    length = (
        pl.col("as_path").str.count_matches(" ", literal=True)
        + (pl.col("as_path").str.len_bytes() > 0).cast(pl.UInt32)
        - pl.col("as_path").str.count_matches(r"[(\[]")
    ).fill_null(0)
    rank = pl.col("vantage").cast(ranked).to_physical().cast(pl.Int64).clip(0, 0xFFFF)
    place = pl.int_range(first, first + pl.len(), dtype=pl.Int64)
    return length.clip(0, 0x7FFF).cast(pl.Int64) * (1 << 48) + rank * _PLACES + place


def _lowest(tables: list[pa.Table]) -> pa.Table:
    """The row with the lowest key of each prefix."""
    table = pa.concat_tables(tables).combine_chunks()
    frame = pl.DataFrame(pl.from_arrow(table.select(["prefix", "key"]))).with_row_index("row")
    rows = frame.sort("key").group_by("prefix", maintain_order=True).first()["row"]
    return table.take(pa.array(rows.to_numpy()))


def _compact(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows without the text of those that they were chosen from."""
    schema = pa.schema([("prefix", pa.large_string()), ("origin_asn", pa.int64())])
    return pl.DataFrame(pl.from_arrow(frame.to_arrow().cast(schema)))
