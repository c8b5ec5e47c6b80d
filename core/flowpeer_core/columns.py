"""A column of a table, stated once: name, Arrow type, unit, meaning, source.

Parquet files, SQL relations and the reference pages are made from tuples of these. The types are
the ones that DuckDB, Polars, Spark, ClickHouse, Iceberg and Delta read alike: signed integers,
microsecond UTC timestamps, 16-octet addresses, plain strings.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.string()
INT = pa.int64()
"""ASNs, bytes, packets, interfaces, rates: some exporters use all 32 bits of an interface."""
SMALL = pa.int32()
"""Ports, families and other small numbers."""
REAL = pa.float64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
ADDRESS = pa.binary(16)
"""Big-endian, IPv4 in its mapped form ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of one table."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    source: str = ""
    nullable: bool = True


def column(
    name: str,
    type_: pa.DataType,
    unit: str,
    meaning: str,
    source: str = "",
    *,
    required: bool = False,
) -> TableColumn:
    """A column; one that is `required` is never null."""
    return TableColumn(name, type_, unit, meaning, source, nullable=not required)


def arrow_schema(columns: tuple[TableColumn, ...]) -> pa.Schema:
    """The Arrow schema of `columns`, in their order."""
    return pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns])
