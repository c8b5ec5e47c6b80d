"""What a column of an answer states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from polars.datatypes import DataType, DataTypeClass

PolarsType = DataType | DataTypeClass


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one answer."""

    name: str
    type: PolarsType
    unit: str
    meaning: str
    estimate: str = ""
    """A column that a frame may have beside it: true where the value is an estimate."""


INT, REAL, TEXT, LIST = pl.Int64, pl.Float64, pl.String, pl.List(pl.String)
ASNS, FLAG = pl.List(pl.Int64), pl.Boolean


def schema(columns: Sequence[Column]) -> pl.Schema:
    """The Polars schema of `columns`, in their order."""
    return pl.Schema({c.name: c.type for c in columns})


def pick(columns: Sequence[Column], names: Sequence[str]) -> tuple[Column, ...]:
    """The columns with these names, in the order of the names."""
    by_name = {c.name: c for c in columns}
    return tuple(by_name[n] for n in names)
