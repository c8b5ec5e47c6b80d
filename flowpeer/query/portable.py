"""Types of a result that every format and engine can hold.

INTERVAL, UUID, TIME, BIT and the like become text as DuckDB writes it; HUGEINT becomes BIGINT where
all its values fit, else a decimal, else text; dates and times become text where one of them is
infinite or in no year of 1 to 9999, which is all that others know; with `flat`, structures, maps
and lists in lists become JSON text too. Everything not listed here is text, whatever a release
brings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowpeer.engine import duckdb

_AS_IT_IS = re.compile(
    r"BOOLEAN|(?:TINY|SMALL|BIG)?INT|INTEGER|U(?:TINY|SMALL)INT|UINTEGER|FLOAT|DOUBLE|VARCHAR|BLOB"
    r"|DATE|TIMESTAMP|TIMESTAMP WITH TIME ZONE|DECIMAL\(\d+,\d+\)"
)
_JSON = re.compile(
    r"BOOLEAN|(?:TINY|SMALL|BIG)?INT|INTEGER|U(?:TINY|SMALL)INT|UINTEGER|FLOAT|DOUBLE|VARCHAR"
)
_WIDE = frozenset({"HUGEINT", "UHUGEINT", "UBIGINT"})
_TIMES = re.compile(r"TIMESTAMP_(?:S|MS|NS)")
_LIST = re.compile(r"(?P<item>[A-Z_0-9 ]+(?:\(\d+,\d+\))?)\[\d*\]")
_NESTED = re.compile(r"STRUCT\(|MAP\(|UNION\(|VARIANT|JSON|.*\]$", re.DOTALL)


def selection(
    con: duckdb.DuckDBPyConnection, table: str, *, flat: bool
) -> tuple[str, list[tuple[str, str]]]:
    """The SELECT that reads `table` (as written in SQL) in portable types, and its columns."""
    found = con.execute(f"DESCRIBE {table}").fetchall()
    cells = []
    for name, kind, *_ in found:
        quoted = '"' + str(name).replace('"', '""') + '"'
        cells.append(f"{_cell(con, table, quoted, str(kind), flat=flat)} AS {quoted}")
    text = f"SELECT {', '.join(cells)} FROM {table}"  # noqa: S608 (names of ours, quoted)
    described = con.execute(f"DESCRIBE {text}").fetchall()
    return text, [(str(name), str(kind)) for name, kind, *_ in described]


def plain(columns: list[tuple[str, str]], text: str) -> str:
    """The SELECT of `text`'s cells as JSON has them: times in microseconds since 1970, octets in
    hexadecimal, dates and decimals as text. Empty where a column is none of these."""
    cells = []
    for name, kind in columns:
        quoted = '"' + name.replace('"', '""') + '"'
        if _JSON.fullmatch(kind):
            cells.append(quoted)
        elif kind in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
            cells.append(f"CASE WHEN isfinite({quoted}) THEN epoch_us({quoted}) END")
        elif kind == "BLOB":
            cells.append(f"hex({quoted})")
        elif kind == "DATE" or kind.startswith("DECIMAL"):
            cells.append(f"{quoted}::VARCHAR")
        else:
            return ""
    return f"SELECT {', '.join(cells)} FROM ({text})"  # noqa: S608 (names of ours, quoted)


def _cell(con: duckdb.DuckDBPyConnection, table: str, quoted: str, kind: str, *, flat: bool) -> str:
    if kind.startswith(("DATE", "TIMESTAMP")) and _is_far(con, table, quoted, kind):
        return f"{quoted}::VARCHAR[]" if kind.endswith("]") else f"{quoted}::VARCHAR"
    if _AS_IT_IS.fullmatch(kind):
        return quoted
    if kind in _WIDE:
        return f"{quoted}::{_number(con, table, quoted)}"
    if _TIMES.fullmatch(kind):
        return f"{quoted}::TIMESTAMP"
    if found := _LIST.fullmatch(kind):
        item = found["item"]
        item = item if _AS_IT_IS.fullmatch(item) and item != "BLOB" else "VARCHAR"
        return f"{quoted}::{item}[]"
    if _NESTED.match(kind) and kind != "JSON":
        plain = not flat and not re.search(
            r"UNION\(|VARIANT|INTERVAL|BIT\b|BIGNUM|HUGEINT|_NS", kind
        )
        return quoted if plain else f"to_json({quoted})::VARCHAR"
    return f"{quoted}::VARCHAR"


def _is_far(con: duckdb.DuckDBPyConnection, table: str, quoted: str, kind: str) -> bool:
    """Whether a date or time, or one in a list, is in none of the years 1 to 9999."""
    if kind.count("[") > 1:
        return False  # lists of lists become JSON
    low, high = (
        (f"list_min({quoted})", f"list_max({quoted})") if kind.endswith("]") else (quoted, quoted)
    )
    found = con.execute(
        f"SELECT min({low})::DATE < '0001-01-01' OR max({high})::DATE >= '9999-12-31' FROM {table}"  # noqa: S608
    ).fetchall()
    return bool(found[0][0])


def _number(con: duckdb.DuckDBPyConnection, table: str, quoted: str) -> str:
    """The type of a wide integer: by its least and greatest value."""
    low, high = con.execute(f"SELECT min({quoted}), max({quoted}) FROM {table}").fetchall()[0]  # noqa: S608
    if low is None or (low >= -(2**63) and high < 2**63):
        return "BIGINT"
    return "DECIMAL(38, 0)" if max(-low, high) < 10**38 else "VARCHAR"
