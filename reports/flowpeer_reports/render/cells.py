"""Values to text for people, and frames to the few types that every plain format can hold."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl

    from flowpeer_reports.columns import Column, PolarsType

# C0, C1, format characters (bidi overrides among them), surrogates, line separators: each can
# move the cursor, hide or reorder text on somebody's screen.
CONTROL_PATTERN = (
    "[\\x00-\\x1f\\x7f-\\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)
_CONTROL = re.compile(f"(?:{CONTROL_PATTERN}|[\ud800-\udfff])+")
_RATE_UNITS = ("bps", "kbps", "Mbps", "Gbps", "Tbps", "Pbps")
_NAMES_OF_NUMBERS = re.compile(  # numbers that name something: no thousands separators
    r"(?:^|_)(?:asn|as|id|interface|if|port|vlan|rank|year|month|day|hour|version|protocol)$",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?:^|_)(?:share|utilisation\w*|feasibility|ratio|d|jain|d_\w+)$")


class Labelled(Protocol):
    """A column, as far as its cells are written by it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def unit(self) -> str:
        """Of its values."""


def clean(text: str) -> str:
    """Text without control, formatting and line-breaking characters."""
    return _CONTROL.sub(" ", text).strip() if _CONTROL.search(text) else text.strip()


def display_width(text: str) -> int:
    """Columns the text takes on a terminal: wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(ch) else 2 if unicodedata.east_asian_width(ch) in "WF" else 1
        for ch in text
    )


def inferred(name: str, type_: PolarsType) -> Column:
    """A column of a frame that nobody stated: its unit is read off its name."""
    from flowpeer_reports.columns import Column

    return Column(name, type_, unit_of(name), "")


def unit_of(name: str) -> str:
    """The unit that a column's name says; empty where it says none."""
    if name.endswith("_bps") or name == "bps":
        return "bit/s"
    if name.endswith("bytes"):
        return "bytes"
    if _NAMES_OF_NUMBERS.search(name):
        return "ASN" if name.lower().endswith("asn") else "name"
    return "fraction" if _FRACTION.search(name) else ""


def rate(bps: float) -> str:
    """Bits per second with three significant digits: 12.3 Gbps."""
    size = abs(bps)
    power = 0
    while power + 1 < len(_RATE_UNITS) and size >= 999.5:
        size /= 1000
        power += 1
    digits = 0 if power == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{'−' if bps < 0 else ''}{size:.{digits}f} {_RATE_UNITS[power]}"


def human(value: Any, column: Labelled) -> str:
    """One cell as people read it, on one line, without control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _number(value, column)
    if isinstance(value, datetime):
        tail = "" if value.microsecond == 0 else f".{value.microsecond:06d}"
        return f"{value:%Y-%m-%d %H:%M:%S}{tail}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return "; ".join(human(v, column) for v in value)
    return clean(str(value))


def texts(frame: pl.DataFrame, column: Column) -> list[str]:
    """The cells of a column as people read them; `~` stands before an estimate."""
    cells = [human(v, column) for v in frame[column.name].to_list()]
    if not column.estimate or column.estimate not in frame.columns:
        return cells
    marks = frame[column.estimate].to_list()
    return [f"~{c}" if c and mark else c for c, mark in zip(cells, marks, strict=True)]


def _number(value: float, column: Labelled) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if column.unit == "bit/s":
        return rate(value)
    if column.unit.startswith("currency"):
        return f"{round(value, 2) + 0.0:,.2f}"
    if is_name(column):
        return str(int(value)) if float(value).is_integer() else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if column.unit in ("fraction", "score", "index"):
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def is_number(type_: PolarsType) -> bool:
    """Whether cells of this type stand at the right."""
    return type_.is_numeric()


def is_name(column: Labelled) -> bool:
    """Whether the numbers of this column name something, as ASNs do."""
    if column.unit.startswith("fraction"):  # as slope_per_year, of fractions a year
        return False
    return column.unit in ("ASN", "name") or bool(_NAMES_OF_NUMBERS.search(column.name))


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame in booleans, integers, floats, dates, UTC times, text and lists of them.

    Octets become hexadecimal text, records JSON text; NaN and infinities, which JSON lacks and
    spreadsheets misread, become null.
    """
    return frame.select(_plain(name, type_, frame) for name, type_ in frame.schema.items())


def _plain(name: str, type_: pl.DataType, frame: pl.DataFrame) -> pl.Series:
    import polars as pl

    column = frame[name]
    if type_.is_float():
        return column.set(~column.is_finite(), None)
    if isinstance(type_, pl.Decimal) and (type_.scale or 0) == 0:
        try:
            return column.cast(pl.Int64)
        except pl.exceptions.InvalidOperationError:
            return column.cast(pl.String)
    if isinstance(type_, (pl.Decimal, pl.Time, pl.Categorical, pl.Enum, pl.Duration)):
        return column.cast(pl.Int64 if isinstance(type_, pl.Duration) else pl.String)
    if type_ in (pl.UInt128, pl.Int128):
        return column.cast(pl.String)
    if isinstance(type_, pl.Binary):
        return column.bin.encode("hex")
    if isinstance(type_, pl.Datetime):
        zoned = column if type_.time_zone else column.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC")
    if isinstance(type_, pl.Struct):
        return column.struct.json_encode()
    if isinstance(type_, pl.Array):
        column = column.arr.to_list()
        type_ = column.dtype
    if isinstance(type_, pl.List):
        inner = type_.inner
        if inner.is_nested() or isinstance(inner, (pl.Binary, pl.Object)):
            return pl.Series(name, [_texts(v) for v in column], pl.List(pl.String))
        return column
    if isinstance(type_, pl.Object):
        return pl.Series(name, [None if v is None else str(v) for v in column], pl.String)
    if isinstance(type_, pl.Null):
        return column.cast(pl.String)
    return column


def _texts(values: Sequence[Any] | None) -> list[str | None] | None:
    if values is None:
        return None
    return [
        None if v is None else v.hex() if isinstance(v, (bytes, bytearray)) else str(v)
        for v in values
    ]
