"""A column of a table, stated once: name, Arrow type, unit, meaning, source.

Parquet files, SQL relations and the reference pages are made from tuples of these. The types are
the ones that DuckDB, Polars, Spark, ClickHouse, Iceberg and Delta read alike: signed integers,
microsecond UTC timestamps, 16-octet addresses, plain strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # whoever asks for names alone does not wait for it
    import pyarrow as pa

Kind = Literal[
    "string", "int64", "int32", "double", "bool", "timestamp[us, tz=UTC]", "date32[day]",
    "fixed_size_binary[16]",
]  # fmt: skip
"""An Arrow type by its name."""
TEXT: Kind = "string"
INT: Kind = "int64"
"""ASNs, bytes, packets, interfaces, rates: some exporters use all 32 bits of an interface."""
SMALL: Kind = "int32"
"""Ports, families and other small numbers."""
REAL: Kind = "double"
FLAG: Kind = "bool"
TIME: Kind = "timestamp[us, tz=UTC]"
DAY: Kind = "date32[day]"
ADDRESS: Kind = "fixed_size_binary[16]"
"""Big-endian, IPv4 in its mapped form ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)."""


@cache
def arrow_type(kind: Kind) -> pa.DataType:
    """The Arrow type of that name."""
    import pyarrow as pa

    types = (
        pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_(), pa.timestamp("us", tz="UTC"),
        pa.date32(), pa.binary(16),
    )  # fmt: skip
    return {str(type_): type_ for type_ in types}[kind]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of one table."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    source: str = ""
    nullable: bool = True

    @property
    def type(self) -> pa.DataType:
        """Its Arrow type."""
        return arrow_type(self.kind)


def column(
    name: str,
    kind: Kind,
    unit: str,
    meaning: str,
    source: str = "",
    *,
    required: bool = False,
) -> TableColumn:
    """A column; one that is `required` is never null."""
    return TableColumn(name, kind, unit, meaning, source, nullable=not required)


def arrow_schema(columns: tuple[TableColumn, ...]) -> pa.Schema:
    """The Arrow schema of `columns`, in their order."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns])
