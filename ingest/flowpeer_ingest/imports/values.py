"""Columns of text (or of whatever type a Parquet file has) → integers, times and addresses.

Each function gives values of the stated type, null where a cell is empty, and a mask of the cells
that hold something that cannot be read as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import polars as pl

from flowpeer_core.addresses import MAPPED, octets_of

Read: TypeAlias = tuple[pl.Series, pl.Series]
"""(values, which cells are unreadable)."""

UNSET = (bytes(16), MAPPED + bytes(4))
"""Addresses that stand for none."""
LAST_US = 1 << 52
"""In 2112: what is later is no time of a flow, and up to there doubles hold microseconds."""
_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}
_PROTOCOLS = {
    "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipip": 4, "ipv4": 4, "ipencap": 4, "ip": 0,
    "st": 5, "tcp": 6, "cbt": 7, "egp": 8, "igp": 9, "udp": 17, "hmp": 20, "rdp": 27, "dccp": 33,
    "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
    "ipv6-icmp": 58, "icmp6": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "eigrp": 88,
    "ospf": 89, "ospfigp": 89, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108, "vrrp": 112,
    "l2tp": 115, "isis": 124, "sctp": 132, "fc": 133, "udplite": 136, "mpls-in-ip": 137,
}  # fmt: skip
_DIRECTIONS = {"0": 0, "1": 1, "i": 0, "e": 1, "in": 0, "out": 1, "ingress": 0, "egress": 1}
_FORMATS = {
    "netflow_v5": "netflow5", "netflow_v9": "netflow9", "ipfix": "ipfix", "sflow_5": "sflow5",
    "netflowv5": "netflow5", "netflowv9": "netflow9",
    "1": "sflow5", "2": "netflow5", "3": "netflow9", "4": "ipfix",
}  # fmt: skip
_EMPTY = ("", "null", "NULL", "\\N")
_STRIPPED = pl.col("t").str.strip_chars()


def text(column: pl.Series) -> pl.Series:
    """As text without surrounding blanks, null where there is nothing."""
    if column.dtype.is_temporal():
        column = column.to_physical()  # the number: Polars panics on dates that no calendar has
    elif column.dtype.is_nested() or column.dtype == pl.Object:
        column = column.is_not_null().replace_strict(
            {True: f"a {column.dtype.base_type()}"}, default=None, return_dtype=pl.String
        )
    elif column.dtype == pl.Binary:
        decoded = [None if v is None else v.decode(errors="replace") for v in column]
        column = pl.Series(decoded, dtype=pl.String)
    frame = column.cast(pl.String).alias("t").to_frame()
    return frame.select(pl.when(~_STRIPPED.is_in(_EMPTY)).then(_STRIPPED)).to_series()


def integer(column: pl.Series) -> Read:
    """int64; what is below zero or beyond int64 is unreadable."""
    if column.dtype.is_integer():
        present = column.is_not_null()
        out = column.cast(pl.Int64, strict=False)
    else:
        cells = text(column)
        present = cells.is_not_null()
        out = cells.cast(pl.Int64, strict=False)
    bad = present & (out.is_null() | (out < 0)).fill_null(value=True)
    return out.set(bad, None), bad


def each(column: pl.Series, read: Callable[[str], int | str | bytes | None], kind: type) -> Read:
    """By one call for each distinct value; unreadable: a `ValueError`, or what is no counter."""
    cells = text(column)
    found: dict[str, int | str | bytes | None] = {}
    bad: list[str] = []
    for value in cells.unique().drop_nulls().to_list():
        try:
            got = read(value)
        except ValueError:
            bad.append(value)
            continue
        if isinstance(got, int) and not 0 <= got < 1 << 63:
            bad.append(value)
        else:
            found[value] = got
    type_ = {int: pl.Int64, str: pl.String, bytes: pl.Binary}[kind]
    values = cells.replace_strict(
        pl.Series(list(found), dtype=pl.String),
        pl.Series(list(found.values()), dtype=type_),
        default=None,
        return_dtype=type_,
    )
    return values, cells.is_in(bad).fill_null(value=False)


def packed(value: str) -> bytes:
    """16 octets of an address in text, IPv4 mapped. Raises ValueError."""
    return octets_of(value.partition("/")[0].partition("%")[0])


def address(column: pl.Series) -> Read:
    """16 octets; Parquet files may hold 4 or 16 octets instead of text."""
    if column.dtype == pl.Binary:
        size = column.bin.size()
        if (size.drop_nulls().is_in([4, 16])).all():
            four = (size == 4).fill_null(value=False)
            mapped = pl.select(
                pl.when(four).then(pl.lit(MAPPED) + column).otherwise(column)
            ).to_series()
            return mapped, pl.repeat(value=False, n=len(column), eager=True)
    return each(column, packed, bytes)


def _protocol(value: str) -> int:
    number = int(value) if value.isdecimal() else _PROTOCOLS.get(value.lower(), -1)
    if not 0 <= number <= 255:
        raise ValueError(value)
    return number


def protocol(column: pl.Series) -> Read:
    """The number of an IP protocol given by number or name."""
    return each(column, _protocol, int)


def _flags(value: str) -> int:
    if value.isdecimal():
        return int(value)
    if value[:2].lower() == "0x":
        return int(value, 16)
    out = 0
    for letter in value.replace(".", "").upper():
        if letter not in _FLAGS:
            raise ValueError(value)
        out |= _FLAGS[letter]
    return out


def tcp_flags(column: pl.Series) -> Read:
    """Flags as a number, or letters in any order with dots for what is not set."""
    return each(column, _flags, int)


def _mac(value: str) -> int:
    if value.isdecimal():
        return int(value) & (1 << 48) - 1
    digits = re.sub(r"[:.\-]", "", value)
    if len(digits) != 12:
        raise ValueError(value)
    return int(digits, 16)


def mac(column: pl.Series) -> Read:
    """A MAC address as a number."""
    return each(column, _mac, int)


def direction(column: pl.Series) -> Read:
    """0 ingress, 1 egress, null for anything else."""
    return each(column, lambda v: _DIRECTIONS.get(v.lower()), int)


def mask(column: pl.Series) -> Read:
    """A prefix length, alone or behind the slash of a prefix."""
    return each(column, lambda v: int(v.rpartition("/")[2]), int)


def wire_format(column: pl.Series) -> Read:
    """The name of the wire format where the tool tells it, null otherwise."""
    return each(column, lambda v: _FORMATS.get(v.lower(), v if v in _FORMATS.values() else None),
                str)  # fmt: skip


def instant(column: pl.Series) -> Read:
    """Microseconds since the epoch, in UTC.

    Numbers are seconds, milli-, micro- or nanoseconds by their size (each is beyond the year 2100
    read as the next finer one is before 1973), zero is unset; text is `YYYY-MM-DD HH:MM:SS` with
    or without T, fraction and offset. Times without an offset are UTC.
    """
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        # By its number, which is of UTC: Polars panics on dates that no calendar has.
        unit = column.dtype.time_unit if isinstance(column.dtype, pl.Datetime) else "d"
        out = column.to_physical().cast(pl.Int64)
        if unit == "ns":
            out = out // 1_000
        elif unit != "us":
            factor = 1_000 if unit == "ms" else 86_400_000_000
            beyond = (out.abs() > LAST_US // factor).fill_null(value=False)
            out = out.set(beyond, -1) * factor
        bad = ((out < 0) | (out >= LAST_US)).fill_null(value=False)
        return out.set(bad | (out == 0).fill_null(value=False), None), bad
    cells = text(column)
    frame = pl.DataFrame({"t": cells})
    number = pl.col("t").str.extract(r"^(\d+)(?:\.\d*)?$").cast(pl.Int64, strict=False)
    part = pl.col("t").str.extract(r"^\d+\.(\d{1,6})").str.pad_end(6, "0").cast(pl.Int64)
    epoch = (
        pl.when(number < 100_000_000_000)
        .then(number * 1_000_000 + part.fill_null(0))
        .when(number < 100_000_000_000_000)
        .then(number * 1_000)
        .when(number < 100_000_000_000_000_000)
        .then(number)
        .otherwise(number // 1_000)
    )
    plain = pl.col("t").str.replace(r"^(\S{10})T", "$1 ").str.replace(r"(Z| UTC|\+00:?00)$", "")
    shape = "%Y-%m-%d %H:%M:%S%.f"
    date = plain.str.to_datetime(shape, time_unit="us", strict=False).cast(pl.Int64)
    offset = (
        # Not every year with every offset: Polars panics beyond the calendar's end.
        pl.when(plain.str.contains(r"^(19|20|21)\d\d-.*[+-][01]\d:?[0-5]\d$"))
        .then(plain)
        .str.to_datetime(shape + "%z", time_unit="us", strict=False)
        .cast(pl.Int64)
    )
    out = frame.select(t=pl.coalesce(epoch, date, offset))["t"]
    beyond = out.is_null() | (out < 0) | (out >= LAST_US)
    bad = cells.is_not_null() & beyond.fill_null(value=True)
    return out.set(bad | (out == 0).fill_null(value=False), None), bad
