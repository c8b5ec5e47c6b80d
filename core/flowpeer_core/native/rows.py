"""Rows in memory as the compiled core left them, for what reads them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowpeer_core.native import table as native

INPUT: np.dtype[Any] = np.dtype(native.CInput)


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table: the same as `table()`, which costs more than most readers need.

    The memory belongs to whoever made them, and is used again once they are gone.
    """

    schema: pa.Schema
    """Texts are indices into dictionaries."""
    num_rows: int
    columns: NDArray[Any]
    """An `INPUT` for each column: where it lies. Nulls are not counted: no bitmap, no null. One
    that is the `same` in all rows has its first value only."""
    dictionaries: Mapping[str, pa.Array]
    """By the name of a column of texts."""
    sums: Mapping[str, int]
    """Of columns."""
    corrected: int
    """Rows whose `time_corrected` is true."""
    memory: tuple[Any, ...]
    """What keeps it from being used again."""

    def array(self, place: int, count: int | None = None) -> pa.Array:
        """Values of a column, on the same memory if they differ: all, or the first `count`."""
        field, at = self.schema.field(place), self.columns[place]
        count = self.num_rows if count is None else count
        if not at["values"]:
            return pa.nulls(count, field.type)
        text = pa.types.is_dictionary(field.type)
        type_ = field.type.index_type if text else field.type
        there = 1 if at["same"] else count
        bits = (there + 7) // 8
        octets = bits if pa.types.is_boolean(type_) else there * int(at["width"])
        values = pa.foreign_buffer(int(at["values"]), octets, self.memory)
        valid = pa.foreign_buffer(int(at["valid"]), bits, self.memory) if at["valid"] else None
        array = pa.Array.from_buffers(type_, there, [valid, values])
        if there < count:
            array = array.take(pa.array(np.zeros(count, np.int32)))
        if text:
            of = self.dictionaries[field.name]
            array = pa.DictionaryArray.from_arrays(array, of, safe=False)
        return array

    def table(self) -> pa.Table:
        """The same rows as a table."""
        return pa.Table.from_arrays([*map(self.array, range(len(self.schema)))], schema=self.schema)
