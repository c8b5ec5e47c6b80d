"""Addresses in Polars columns of 16 octets: `ip`, `ip_str`, `ip_in` and `ip_is4`, as in SQL."""

from __future__ import annotations

from ipaddress import ip_network

import polars as pl

from flowpeer_core.addresses import octets_of, text_of

__all__ = ["ip", "ip_in", "ip_is4", "ip_str"]

Columns = pl.Expr | str
_IPV4_BITS = 96
"""Bits before an IPv4 address in its mapped form (RFC 4291, 2.5.5.2)."""


def ip(text: str) -> pl.Expr:
    """The 16 octets of an address, to compare a column with. Raises ValueError where it is none."""
    return pl.lit(octets_of(text))


def ip_str(column: Columns) -> pl.Expr:
    """Canonical text (RFC 5952) of addresses; null stays null."""
    return _expr(column).map_batches(_texts, return_dtype=pl.String)


def ip_in(column: Columns, cidr: str) -> pl.Expr:
    """Whether addresses lie in a prefix; bits after its length are ignored, without one it is a
    single address. It is a range of octets, so a scan can leave out row groups by it.

    Raises:
        ValueError: no prefix.
    """
    low, high = _ends(cidr)
    return _expr(column).is_between(pl.lit(low), pl.lit(high))


def ip_is4(column: Columns) -> pl.Expr:
    """Whether addresses are IPv4 addresses."""
    return ip_in(column, "0.0.0.0/0")


def _expr(column: Columns) -> pl.Expr:
    return pl.col(column) if isinstance(column, str) else column


def _ends(cidr: str) -> tuple[bytes, bytes]:
    """First and last address of a prefix, in 16 octets."""
    address, slash, _ = cidr.partition("/")
    octets = int.from_bytes(octets_of(address))
    mapped = ":" not in address
    length = ip_network(cidr, strict=False).prefixlen if slash else (32 if mapped else 128)
    rest = 128 - length - (_IPV4_BITS if mapped else 0)
    low = octets >> rest << rest
    return low.to_bytes(16), (low | (1 << rest) - 1).to_bytes(16)


def _texts(column: pl.Series) -> pl.Series:
    distinct = column.unique().drop_nulls()
    texts = pl.Series([text_of(octets) for octets in distinct], dtype=pl.String)
    return column.replace_strict(distinct, texts, default=None, return_dtype=pl.String)
