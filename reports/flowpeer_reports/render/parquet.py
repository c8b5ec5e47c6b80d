"""Parquet, written by pyarrow with the types that every engine reads alike."""

from __future__ import annotations

import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

_UNSIGNED = (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Int8, pl.Int16)


def parquet(frame: pl.DataFrame) -> bytes:
    """The frame as one Parquet file: int64 for small and unsigned numbers, plain text, UTC µs."""
    narrow = frame.select(_column(frame[name], type_) for name, type_ in frame.schema.items())
    table = narrow.to_arrow()
    table = table.cast(pa.schema([pa.field(f.name, _arrow(f.type)) for f in table.schema]))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _column(column: pl.Series, type_: pl.DataType) -> pl.Series:
    if type_ in _UNSIGNED:
        return column.cast(pl.Int64)
    if isinstance(type_, pl.Null):
        return column.cast(pl.String)
    if isinstance(type_, (pl.Categorical, pl.Enum)):
        return column.cast(pl.String)
    if isinstance(type_, pl.Decimal) and (type_.scale or 0) == 0:
        try:
            return column.cast(pl.Int64)
        except pl.exceptions.InvalidOperationError:
            return column
    if isinstance(type_, pl.Datetime):
        return column.dt.cast_time_unit("us")
    return column


def _arrow(type_: pa.DataType) -> pa.DataType:
    """The type without the `large_` and view variants, which some engines refuse."""
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return pa.binary()
    if pa.types.is_large_list(type_) or pa.types.is_list(type_):
        return pa.list_(_arrow(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(f.name, _arrow(f.type)) for f in type_])
    return type_
